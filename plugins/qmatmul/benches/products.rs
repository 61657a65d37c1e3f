//! `fast` products in GFLOP/s for every encoding that has kernels, weights of 4096 rows of 4096 values, on one core; and with weights
//! that stay `compact`, of those that are spread otherwise. `bitquilt bench
//! qmatmul` measures sessions, other shapes, more threads, weights that come from memory, and rooflines.

use std::time::Duration;

use bitquilt_kernels::{CompactWeight, Isa, PackedWeight, Serial};
use bitquilt_plugin_api::{PreparedMemory, WorkerScratch};
use bitquilt_qmatmul::named;
use criterion::{BenchmarkId, Criterion, Throughput};

/// Rows of the weight, and values of each.
const SIZE: usize = 4096;

/// Rows that are quantized.
const QUANTIZED: usize = 32;

/// Near a uniform distribution, the same on each run.
fn uniform(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn products(criterion: &mut Criterion) {
    let values = uniform(SIZE * SIZE);
    for encoding in bitquilt_qmatmul::encodings() {
        let bytes = match bitquilt_ggml_blocks::format(encoding) {
            Some(format) => {
                // Some searches for the best codes take long: a few rows, again and again.
                let mut bytes = vec![0; QUANTIZED * format.row_bytes(SIZE).expect("whole blocks")];
                format.quantize(
                    &values[..QUANTIZED * SIZE],
                    SIZE,
                    Some(&values[..SIZE].iter().map(|x| x * x).collect::<Vec<_>>()),
                    &mut bytes,
                );
                bytes.repeat(SIZE / QUANTIZED)
            }
            // f32 is no format: its bytes are the values'.
            None => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
        };
        let weight = PackedWeight::pack(
            named(encoding).expect("it is listed"),
            Isa::detect(),
            SIZE,
            SIZE,
            &bytes,
            &Serial,
            PreparedMemory::on_heap,
        )
        .expect("valid");
        let layout = weight.activations();
        let compact = CompactWeight::new(named(encoding).expect("it is listed"), Isa::detect(), SIZE, SIZE);
        let compact = compact.expect("valid");
        let mut memory = vec![0; compact.as_ref().map_or(0, CompactWeight::scratch_bytes)];
        let mut group = criterion.benchmark_group(encoding);
        for m in [1, 8, 32, 512] {
            let x = &values[..m * SIZE];
            let mut activations = vec![0; layout.bytes(SIZE, m).expect("small")];
            let mut out = vec![0.0; m * SIZE];
            group.throughput(Throughput::Elements((2 * m * SIZE * SIZE) as u64));
            group.bench_function(BenchmarkId::new("m", m), |bencher| {
                bencher.iter(|| {
                    layout.store(Isa::detect(), SIZE, x, &mut activations, &Serial).expect("valid");
                    weight.multiply(&activations, m, &mut out, &Serial).expect("valid");
                });
            });
            let Some(compact) = &compact else { continue };
            group.bench_function(BenchmarkId::new("compact m", m), |bencher| {
                let bytes_of_worker = memory.len();
                let scratch = WorkerScratch::new(&mut memory, bytes_of_worker, bytes_of_worker, 1)
                    .expect("one worker's");
                bencher.iter(|| {
                    layout.store(Isa::detect(), SIZE, x, &mut activations, &Serial).expect("valid");
                    compact.multiply(&bytes, &activations, m, &mut out, &scratch, &Serial).expect("valid");
                });
            });
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args();
    products(&mut criterion);
    criterion.final_summary();
}
