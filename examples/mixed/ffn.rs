//! A transformer's feed-forward block: `down(silu(gate(x)) * up(x))`, in full precision and with an encoding for each weight.

use bitquilt::checkpoint::TensorDict;
use bitquilt::registry::Registry;
use bitquilt::{Error, Graph, Tensor, TensorType, Value};
use std::sync::Arc;

/// The three weights as f32, each `[outputs, inputs]` as checkpoints have them.
pub struct FeedForward {
    /// `[hidden, width]`.
    pub gate: Tensor,
    /// `[hidden, width]`.
    pub up: Tensor,
    /// `[width, hidden]`.
    pub down: Tensor,
}

/// How checkpoints name the weights of a layer: GGUF's names, then those of safetensors files.
const NAMES: [fn(usize, &str) -> String; 2] = [
    |layer, part| format!("blk.{layer}.ffn_{part}.weight"),
    |layer, part| format!("model.layers.{layer}.mlp.{part}_proj.weight"),
];

impl FeedForward {
    /// The weights of a layer, decoded; none if the checkpoint has no such layer.
    pub fn from_checkpoint(
        tensors: &TensorDict,
        registry: &Registry,
        layer: usize,
    ) -> Result<Option<Self>, Error> {
        let find = |part: &str| -> Result<Option<Tensor>, Error> {
            let tensor = NAMES.iter().find_map(|name| tensors.get(&name(layer, part)));
            tensor.map(|tensor| registry.to_f32(tensor).map_err(Error::from)).transpose()
        };
        Ok(match (find("gate")?, find("up")?, find("down")?) {
            (Some(gate), Some(up), Some(down)) => Some(Self { gate, up, down }),
            _ => None,
        })
    }

    /// Values in a row of `x`.
    pub fn width(&self) -> usize {
        self.gate.shape()[1]
    }

    /// The weights in order, with their names.
    pub fn weights(&self) -> [(&'static str, &Tensor); 3] {
        [("gate", &self.gate), ("up", &self.up), ("down", &self.down)]
    }

    /// The block in full precision. Its input `x` is f32 `[rows, width]`.
    pub fn full_precision(&self, registry: &Arc<Registry>, rows: usize) -> Result<Graph, Error> {
        self.graph(registry, rows, |graph, _, x, (name, weight)| {
            let weight = graph.constant_named(name, weight)?;
            let transposed = graph.transpose(weight, &[1, 0])?;
            Ok(graph.matmul(x, transposed)?)
        })
    }

    /// The block with an encoding for each of gate, up and down.
    pub fn quantized(
        &self,
        registry: &Arc<Registry>,
        rows: usize,
        encodings: [&str; 3],
    ) -> Result<Graph, Error> {
        self.graph(registry, rows, |graph, index, x, (name, weight)| {
            let encoded = registry.require_encoding(encodings[index])?.quantize(weight)?;
            let weight = graph.constant_named(name, &encoded.tensor)?;
            Ok(graph.qmatmul(x, weight)?)
        })
    }

    fn graph(
        &self,
        registry: &Arc<Registry>,
        rows: usize,
        multiply: impl Fn(&mut Graph, usize, Value, (&'static str, &Tensor)) -> Result<Value, Error>,
    ) -> Result<Graph, Error> {
        let mut graph = Graph::new(registry, [])?;
        let x = graph.add_input("x", TensorType::f32([rows, self.width()]))?;
        let [of_gate, of_up, of_down] = self.weights();
        let gate = multiply(&mut graph, 0, x, of_gate)?;
        let up = multiply(&mut graph, 1, x, of_up)?;
        let gate = graph.silu(gate)?;
        let hidden = graph.mul(gate, up)?;
        let y = multiply(&mut graph, 2, hidden, of_down)?;
        graph.output_named("y", y)?;
        Ok(graph)
    }
}

/// The root of the mean squared difference, over the root mean square of `expected`.
pub fn relative_error(expected: &[f32], found: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let error: f64 = expected.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    (error / size).sqrt()
}

/// Activations for trying the block: values of about a normal distribution, the same each time.
pub fn activations(rows: usize, width: usize) -> Result<Tensor, Error> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..rows * width).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    Ok(Tensor::new([rows, width], values)?)
}
