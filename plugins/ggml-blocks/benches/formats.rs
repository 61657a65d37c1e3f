//! Every format in MB of f32 a second: quantized without and with importance, and decoded, on one core.

use bitquilt_ggml_blocks::{FORMATS, Importance};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use std::time::Duration;

/// Values in a row.
const ROW: usize = 4096;
/// Rows.
const ROWS: usize = 16;

/// Near a normal distribution, the same on each run.
fn normal(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::BytesDecimal((ROW * ROWS * size_of::<f32>()) as u64));
    group
}

fn formats(criterion: &mut Criterion) {
    let rows = normal(ROW * ROWS);
    let importance: Vec<f32> = normal(ROW).into_iter().map(|x| 0.5 + x.abs()).collect();
    for (name, importance) in [("quantize", None), ("quantize with importance", Some(&importance[..]))] {
        let mut group = group(criterion, name);
        for format in FORMATS {
            match (format.importance, importance) {
                (Importance::Ignored, Some(_)) | (Importance::Required, None) => continue,
                _ => {}
            }
            let mut bytes = vec![0; ROWS * format.row_bytes(ROW).expect("whole blocks")];
            group.bench_function(BenchmarkId::from_parameter(format.name), |bencher| {
                bencher.iter(|| format.quantize(&rows, ROW, importance, &mut bytes));
            });
        }
    }
    let mut group = group(criterion, "dequantize");
    for format in FORMATS {
        let mut bytes = vec![0; ROWS * format.row_bytes(ROW).expect("whole blocks")];
        format.quantize(&rows, ROW, Some(&importance), &mut bytes);
        let mut values = vec![0.0; ROW * ROWS];
        group.bench_function(BenchmarkId::from_parameter(format.name), |bencher| {
            bencher.iter(|| format.dequantize(&bytes, &mut values));
        });
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .configure_from_args();
    formats(&mut criterion);
    criterion.final_summary();
}
