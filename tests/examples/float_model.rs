//! Makes a model of f32 weights that computes the same function as a Llama of a GGUF file, and whose weights lie on no grid of an encoding.
//!
//! A file that was quantized is on the grid of its encoding: that encoding loses nothing, and wins every comparison. Here columns and rows
//! are rescaled where the model does not notice: a norm's weights times `s` and the columns behind it divided by `s`, the rows of the value
//! projection and the columns of the output projection, the rows of `ffn_up` and the columns of `ffn_down`. `s` is log-normal with the
//! deviation 0.12. The embedding cannot be rescaled, since it is the output's matrix, too: it gets normal noise of 0.4 of the step of its
//! blocks of 32.
//!
//!     cargo run --release -p bitquilt-tests --example float_model -- IN.gguf OUT.gguf [SEED]

use std::error::Error;

use bitquilt::checkpoint::metadata::Value;
use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::{InferenceSession, Tensor, TensorDict};
use bitquilt_tests::random::Random;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, seed @ ..] = &arguments[..] else {
        return Err("IN.gguf OUT.gguf [SEED] were expected".into());
    };
    let seed = seed.first().map_or(Ok(1), |seed| seed.parse())?;
    let session = InferenceSession::builder().build()?;
    let file = Checkpoint::open(input)?;
    let count = |key: &str| file.metadata().require::<usize>(key);
    let (heads, pairs) = (count("llama.attention.head_count")?, count("llama.attention.head_count_kv")?);
    let layers = count("llama.block_count")?;
    let mut weights = TensorDict::new();
    *weights.metadata_mut() = file.metadata().clone();
    for (name, _) in file.tensors() {
        weights.insert(name, session.registry().to_f32(&file.tensor(name, session.registry())?)?);
    }
    let mut model = Model { weights, random: Random::new(seed) };
    for layer in 0..layers {
        model.rescale_layer(layer, heads, pairs)?;
    }
    model.add_noise("token_embd.weight")?;
    model.weights.metadata_mut().insert("general.file_type", Value::U32(0));
    checkpoint::save(&model.weights, output)?;
    Ok(())
}

struct Model {
    weights: TensorDict,
    random: Random,
}

impl Model {
    fn rescale_layer(&mut self, layer: usize, heads: usize, pairs: usize) -> Result<(), Box<dyn Error>> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        for (norm, behind) in
            [("attn_norm", &["attn_q", "attn_k", "attn_v"][..]), ("ffn_norm", &["ffn_gate", "ffn_up"])]
        {
            let scales = self.scales(&name(norm), 0)?;
            self.scale(&name(norm), |_, column| scales[column])?;
            for part in behind {
                self.scale(&name(part), |_, column| 1.0 / scales[column])?;
            }
        }
        let scales = self.scales(&name("ffn_up"), 0)?;
        self.scale(&name("ffn_up"), |row, _| scales[row])?;
        self.scale(&name("ffn_down"), |_, column| 1.0 / scales[column])?;

        // A column of the output projection is one of a head, whose value is that of a pair, which several heads share.
        let scales = self.scales(&name("attn_v"), 0)?;
        let width = scales.len() / pairs;
        let columns = self.weights.require(&name("attn_output"))?.shape()[1];
        assert_eq!(columns, heads * width, "a head's query and value have the same width");
        self.scale(&name("attn_v"), |row, _| scales[row])?;
        self.scale(&name("attn_output"), |_, column| {
            let (head, within) = (column / width, column % width);
            1.0 / scales[head / (heads / pairs) * width + within]
        })
    }

    /// A factor for each index of a dimension.
    fn scales(&mut self, name: &str, dimension: usize) -> Result<Vec<f32>, Box<dyn Error>> {
        let count = self.weights.require(name)?.shape()[dimension];
        Ok((0..count).map(|_| (0.12 * self.normal()).exp() as f32).collect())
    }

    /// A number of the normal distribution, by the transformation of Box and Muller.
    fn normal(&mut self) -> f64 {
        let mut uniform = || (f64::from(self.random.float()) + 1.0) / 2.0;
        let (first, second) = (1.0 - uniform(), uniform());
        (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
    }

    /// Multiplies each value by the factor of its row and column.
    fn scale(&mut self, name: &str, factor: impl Fn(usize, usize) -> f32) -> Result<(), Box<dyn Error>> {
        let tensor = self.weights.require(name)?;
        let (shape, width) = (tensor.shape().to_vec(), tensor.shape().last().copied().unwrap_or(1));
        let values = tensor.values::<f32>()?.iter().enumerate();
        let scaled: Vec<f32> =
            values.map(|(index, value)| value * factor(index / width, index % width)).collect();
        self.weights.insert(name, Tensor::new(shape, scaled)?);
        Ok(())
    }

    /// Adds noise of 0.4 of the step that 8 bits have in each block of 32.
    fn add_noise(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let tensor = self.weights.require(name)?.clone();
        let mut values = tensor.values::<f32>()?.to_vec();
        for block in values.chunks_mut(32) {
            let step = block.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
            for value in block {
                *value += 0.4 * step * self.normal() as f32;
            }
        }
        self.weights.insert(name, Tensor::new(tensor.shape().to_vec(), values)?);
        Ok(())
    }
}
