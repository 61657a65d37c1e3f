//! What it costs to look at what was encoded: `RegisteredEncoding::quantize` beside all that it does but that, which is to see that the
//! values are finite and to call the format's own function, on the same rows, in turns, on one thread. `cargo bench -p bitquilt --bench quantize [-- NAME ..]` prints the medians and their ratio.

use std::time::{Duration, Instant};

use bitquilt::{InferenceSession, Tensor};
use bitquilt_ggml_blocks::{FORMATS, Format, Importance};

/// Values in a row.
const ROW: usize = 4096;
/// Rows: as many as a thread takes at a time, four times.
const ROWS: usize = 64;
/// Turns; each format has as many of them as take a second, but one of them at least.
const TURNS: usize = 41;

/// Near a normal distribution, the same on each run.
fn normal(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn time(run: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    run();
    begin.elapsed()
}

/// The median of quantizing without and with the look, in seconds.
fn medians(session: &InferenceSession, format: &Format, values: &[f32]) -> (f64, f64) {
    let encoding = session.registry().require_encoding(format.name).expect("every format is registered");
    let tensor = Tensor::new([values.len() / ROW, ROW], values).expect("whole rows");
    let weights = (format.importance == Importance::Required).then(|| vec![1.0; ROW]);
    let without = || {
        let row_bytes = format.row_bytes(ROW).expect("whole blocks");
        let mut bytes = vec![0u8; tensor.shape()[0] * row_bytes];
        let rows = values.chunks(ROW).zip(bytes.chunks_mut(row_bytes));
        for (row, bytes) in rows {
            assert!(row.iter().fold(true, |finite, x| finite & x.is_finite()));
            format.quantize(row, ROW, weights.as_deref(), bytes);
        }
        std::hint::black_box(bytes);
    };
    let with = || {
        let quantized = match &weights {
            Some(weights) => encoding.quantize_with_importance(&tensor, weights),
            None => encoding.quantize(&tensor),
        };
        assert_eq!(std::hint::black_box(quantized).expect("finite").warnings, []);
    };
    let turns = ((1.0 / time(without).as_secs_f64()) as usize).clamp(1, TURNS);
    let (without, with) = (0..turns).map(|_| (time(without), time(with))).unzip();
    (median(without), median(with))
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let session = InferenceSession::builder().build().expect("a session");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let values = normal(ROWS * ROW);
    println!("{:10} {:>16} {:>16} {:>8}", "encoding", "without, ns/value", "with, ns/value", "cost");
    for format in FORMATS {
        if !names.is_empty() && !names.iter().any(|name| name == format.name) {
            continue;
        }
        // Formats that search the longest are timed on fewer rows.
        let values = if format.importance == Importance::Required { &values[..4 * ROW] } else { &values[..] };
        let (without, with) = pool.install(|| medians(&session, format, values));
        let nanoseconds = |time: f64| 1e9 * time / values.len() as f64;
        let cost = 100.0 * (with / without - 1.0);
        println!(
            "{:10} {:>16.3} {:>16.3} {cost:>7.1}%",
            format.name,
            nanoseconds(without),
            nanoseconds(with)
        );
    }
}
