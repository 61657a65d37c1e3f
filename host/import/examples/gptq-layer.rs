//! A small checkpoint as programs write it that quantize with GPTQ, for `bitquilt import`.
//!
//! `cargo run --example gptq-layer -- DIRECTORY` makes DIRECTORY with one layer of 64 outputs and 128 inputs in groups of 64.

use std::error::Error;
use std::{env, fs};

use bitquilt::{Tensor, TensorDict, checkpoint};

const OUTPUTS: usize = 64;
const INPUTS: usize = 128;
const GROUPS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args().nth(1).ok_or("name the directory to make")?;
    fs::create_dir_all(&directory)?;
    // Eight codes of 4 bits in a word, along the inputs; zeros along the outputs, each stored less one.
    let codes: Vec<i32> =
        (0..INPUTS / 8 * OUTPUTS).map(|word| (word as u32).wrapping_mul(2_654_435_761) as i32).collect();
    let mut tensors = TensorDict::new();
    tensors.insert("layer.qweight", Tensor::new([INPUTS / 8, OUTPUTS], codes)?);
    tensors.insert("layer.qzeros", Tensor::full([GROUPS, OUTPUTS / 8], 0x7777_7777i32));
    tensors.insert("layer.scales", Tensor::full([GROUPS, OUTPUTS], 0.01f32));
    tensors.insert("layer.bias", Tensor::full([OUTPUTS], 0f32));
    checkpoint::save(&tensors, format!("{directory}/model.safetensors"))?;
    let config = r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": false}}"#;
    fs::write(format!("{directory}/config.json"), config)?;
    println!("{directory}: a layer of {OUTPUTS} outputs and {INPUTS} inputs");
    Ok(())
}
