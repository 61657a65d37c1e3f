//! Saving and loading tensors, quantized ones included.

use bitquilt::{Error, InferenceSession, Tensor, TensorDict, checkpoint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    bitquilt_examples::end_with_the_reader();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint.safetensors");
    run(&path)?;
    Ok(())
}

fn run(path: &std::path::Path) -> Result<(), Error> {
    let session = InferenceSession::builder().build()?;
    let encoding = session.registry().require_encoding("q4_k")?;

    let mut tensors = TensorDict::new();
    tensors.insert("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4])?);
    tensors.insert("y", Tensor::full([10, 5], -1.23f32));
    tensors.insert("weight", encoding.quantize(&Tensor::full([8, 256], 0.15f32))?.tensor);
    checkpoint::save(&tensors, path)?;

    let tensors = checkpoint::load(path, session.registry())?;
    println!("x       {:?}", tensors.values::<i32>("x")?);
    println!("y       {} values of {}", tensors.require("y")?.len(), tensors.values::<f32>("y")?[0]);
    let weight = tensors.require("weight")?;
    println!("weight  {} in {} bytes {:?}", weight.tensor_type(), weight.bytes().len(), weight.byte_shape());
    Ok(())
}
