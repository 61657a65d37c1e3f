//! The example `mixed`: its output error is what the errors of its weights make of it.

#![allow(clippy::unwrap_used)]

#[path = "../../examples/mixed/ffn.rs"]
#[allow(dead_code)]
mod ffn;

use std::path::{Path, PathBuf};

use bitquilt::registry::Registry;
use bitquilt::{InferenceSession, Tensor, checkpoint};
use bitquilt_tests::PluginDir;
use ffn::{FeedForward, activations, relative_error};

/// A matrix in f64, row by row.
struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn of(tensor: &Tensor) -> Self {
        let values = tensor.values::<f32>().unwrap().iter().map(|value| f64::from(*value)).collect();
        Self { columns: tensor.shape()[1], values }
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.columns)
    }

    /// `self @ transpose(weight)`.
    fn times(&self, weight: &Matrix) -> Matrix {
        let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum();
        let values = self.rows().flat_map(|x| weight.rows().map(move |w| dot(x, w))).collect();
        Matrix { columns: weight.values.len() / weight.columns, values }
    }

    fn zip(&self, other: &Matrix, of: impl Fn(f64, f64) -> f64) -> Matrix {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| of(*a, *b)).collect();
        Matrix { columns: self.columns, values }
    }

    fn size(&self) -> f64 {
        self.values.iter().map(|value| value * value).sum::<f64>().sqrt()
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The derivative of [`silu`].
fn silu_slope(x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}

/// The relative error of the block's output that the weights' errors make to first order.
fn predicted(block: &FeedForward, registry: &Registry, encodings: [&str; 3], x: &Tensor) -> f64 {
    let [gate, up, down] = block.weights().map(|(_, weight)| Matrix::of(weight));
    let mut errors = block.weights().into_iter().zip(encodings).map(|((_, weight), encoding)| {
        let encoding = registry.require_encoding(encoding).unwrap();
        let decoded = encoding.dequantize(&encoding.quantize(weight).unwrap().tensor).unwrap();
        Matrix::of(&decoded).zip(&Matrix::of(weight), |decoded, weight| decoded - weight)
    });
    let [gate_error, up_error, down_error] = std::array::from_fn(|_| errors.next().unwrap());
    let x = Matrix::of(x);
    let (g, u) = (x.times(&gate), x.times(&up));
    let (dg, du) = (x.times(&gate_error), x.times(&up_error));
    let hidden = g.zip(&u, |g, u| silu(g) * u);
    let of_gate = dg.zip(&g, |dg, g| dg * silu_slope(g)).zip(&u, |slope, u| slope * u);
    let of_up = du.zip(&g, |du, g| du * silu(g));
    let hidden_error = of_gate.zip(&of_up, |a, b| a + b);
    let error = hidden_error.times(&down).zip(&hidden.times(&down_error), |a, b| a + b);
    error.size() / hidden.times(&down).size()
}

fn check(file: &Path, layer: usize, rows: usize, encodings: [&str; 3]) {
    let plugins = PluginDir::new();
    plugins.add("acme_int3", std::fs::read(custom_plugin()).unwrap());
    let session = InferenceSession::builder().threads(2).plugin_dir(plugins.path()).build().unwrap();
    assert!(session.refusals().is_empty(), "{}", session.refusals()[0]);
    let registry = session.registry();
    let tensors = checkpoint::load(file, registry).unwrap();
    let block = FeedForward::from_checkpoint(&tensors, registry, layer).unwrap().unwrap();
    let x = activations(rows, block.width()).unwrap();
    let output = |graph| {
        let model = session.load(&graph).unwrap();
        model.execute([("x", &x)]).unwrap().get::<f32>("y").unwrap().to_vec()
    };
    let full = output(block.full_precision(registry, rows).unwrap());
    let mixed = output(block.quantized(registry, rows, encodings).unwrap());
    let (found, predicted) = (relative_error(&full, &mixed), predicted(&block, registry, encodings, &x));
    println!("{encodings:?}: error {found:.4}, predicted {predicted:.4}");
    assert!(found < 2.0 * predicted && predicted < 2.0 * found, "{encodings:?}: {found} {predicted}");
}

/// The library that cargo built of `examples/custom-encoding`, beside this test.
fn custom_plugin() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let test = std::env::current_exe().unwrap();
    test.with_file_name(format!("{DLL_PREFIX}acme_int3{DLL_SUFFIX}"))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_shipped_block_errs_as_its_weights_do() {
    let file = root().join("examples/data/ffn.safetensors");
    for encodings in
        [["q8_0", "q8_0", "q6_k"], ["q4_0", "acme.int3", "q4_k"], ["acme.int3", "iq4_nl", "q6_k"]]
    {
        check(&file, 0, 16, encodings);
    }
}

#[test]
fn a_real_block_errs_as_its_weights_do() {
    let file = root().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !file.is_file() {
        println!("skipped: {} is not there; tests/fetch_models.sh fetches it", file.display());
        return;
    }
    for (layer, encodings) in [(3, ["q4_0", "acme.int3", "q4_k"]), (17, ["q5_0", "acme.int3", "q8_0"])] {
        check(&file, layer, 4, encodings);
    }
}
