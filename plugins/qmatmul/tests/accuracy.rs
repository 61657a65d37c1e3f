//! The error of quantized activations, against what ggml's formats of activations cost on the same input.
//!
//! ggml's are modelled by their definitions: the decoded activations, multiplied and summed in f64, so that its rounding
//! of sums does not count against it.

mod encoded;
mod random;

use bitquilt_ggml_blocks::Format;
use bitquilt_kernels::{Isa, PackedWeight, Serial};
use bitquilt_plugin_api::PreparedMemory;
use bitquilt_qmatmul::named;
use random::normal;

/// How ggml stores the activations for a weight's encoding.
#[derive(Clone, Copy, PartialEq)]
enum Activations {
    /// Blocks of 32 with a half-precision scale.
    Q8_0,
    /// The same, and for the minima a half-precision sum.
    Q8_1,
    /// Blocks of 256 with a single-precision scale.
    Q8K,
    /// Shorter floats, as the weight's.
    Floats,
}

/// ggml's choice for an encoding: by the length of a block, and whether it has a minimum beside its scale.
fn activations(format: &Format) -> Activations {
    match (format.block_len, format.halves) {
        (1, _) => Activations::Floats,
        (256, _) => Activations::Q8K,
        (_, [_scale, _minimum]) => Activations::Q8_1,
        _ => Activations::Q8_0,
    }
}

const N: usize = 1024;
const P: usize = 24;
const M: usize = 4;

/// Of ggml's error.
const LIMIT: f64 = 1.02;

fn half(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

/// A row of activations as ggml decodes it for weights of a format, and for each 32 the correction of the products of a minimum.
fn ggml(x: &[f32], format: &Format, kind: Activations) -> (Vec<f64>, Vec<f64>) {
    let mut decoded = Vec::new();
    let mut corrections = vec![0.0; x.len() / 32];
    match kind {
        Activations::Floats => {
            let mut bytes = vec![0; format.row_bytes(x.len()).expect("whole blocks")];
            format.quantize(x, x.len(), None, &mut bytes);
            let mut floats = vec![0.0; x.len()];
            format.dequantize(&bytes, &mut floats);
            decoded.extend(floats.into_iter().map(f64::from));
        }
        Activations::Q8_0 | Activations::Q8_1 => {
            for (block, correction) in x.chunks_exact(32).zip(&mut corrections) {
                let scale = block.iter().fold(0f32, |a, x| a.max(x.abs())) / 127.0;
                let codes: Vec<f32> = block.iter().map(|x| (x * (1.0 / scale)).round()).collect();
                decoded.extend(codes.iter().map(|&q| f64::from(q) * f64::from(half(scale))));
                if kind == Activations::Q8_1 {
                    let sum: f32 = codes.iter().sum();
                    *correction = f64::from(half(sum * scale)) - f64::from(sum) * f64::from(half(scale));
                }
            }
        }
        Activations::Q8K => {
            for block in x.chunks_exact(256) {
                let max = block.iter().fold(0f32, |a, &x| if x.abs() > a.abs() { x } else { a });
                let inverse = -127.0 / max;
                decoded.extend(block.iter().map(|x| {
                    f64::from((inverse * x).round_ties_even().min(127.0)) * f64::from(1.0 / inverse)
                }));
            }
        }
    }
    (decoded, corrections)
}

/// The minimum of each 32 values of a row of a format that ggml multiplies with [`Activations::Q8_1`].
fn minima(format: &Format, row: &[u8]) -> Vec<f64> {
    let at = format.halves[1];
    let minimum = |block: &[u8]| half::f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
    row.chunks_exact(format.block_bytes).map(minimum).collect()
}

#[test]
fn no_worse_than_ggml() {
    println!("encoding   rms error   ggml's      ratio");
    for encoding in bitquilt_qmatmul::encodings() {
        // f32 is no format: nothing is rounded.
        let Some(format) = bitquilt_ggml_blocks::format(encoding) else { continue };
        let kind = activations(format);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for seed in 1..=10 {
            let rows = normal(seed, P * N, 12);
            let x = normal(seed + 100, M * N, 12);
            let row_bytes = format.row_bytes(N).expect("whole blocks");
            let bytes = encoded::quantized(format, &rows, N);
            let mut decoded = vec![0.0; P * N];
            format.dequantize(&bytes, &mut decoded);

            let weight = PackedWeight::pack(
                named(encoding).unwrap(),
                Isa::detect(),
                N,
                P,
                &bytes,
                &Serial,
                PreparedMemory::on_heap,
            )
            .expect("valid");
            let layout = weight.activations();
            let mut activations = vec![0; layout.bytes(N, M).expect("small")];
            layout.store(Isa::detect(), N, &x, &mut activations, &Serial).expect("valid");
            let mut out = vec![0.0; M * P];
            weight.multiply(&activations, M, &mut out, &Serial).expect("valid");

            for (column, out) in x.chunks_exact(N).zip(out.chunks_exact(P)) {
                let (quantized, corrections) = ggml(column, format, kind);
                for (r, row) in decoded.chunks_exact(N).enumerate() {
                    let dot = |x: &mut dyn Iterator<Item = f64>| -> f64 {
                        row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
                    };
                    let exact = dot(&mut column.iter().map(|&x| f64::from(x)));
                    let mut ggml = dot(&mut quantized.iter().copied());
                    if kind == Activations::Q8_1 {
                        let minima = minima(format, &bytes[r * row_bytes..][..row_bytes]);
                        ggml += minima.iter().zip(&corrections).map(|(m, c)| m * c).sum::<f64>();
                    }
                    ours += (f64::from(out[r]) - exact).powi(2);
                    theirs += (ggml - exact).powi(2);
                }
            }
        }
        let count = (10 * M * P) as f64;
        let (ours, theirs) = ((ours / count).sqrt(), (theirs / count).sqrt());
        println!("{encoding:8} {ours:11.3e} {theirs:11.3e} {:9.3}", ours / theirs);
        assert!(ours <= LIMIT * theirs, "{encoding}: {ours} is more than {LIMIT} times {theirs}");
    }
}
