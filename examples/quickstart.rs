//! The same product in full precision and quantized, side by side.

use bitquilt::{Error, Graph, InferenceSession, Tensor, TensorType};

fn main() -> Result<(), Error> {
    bitquilt_examples::end_with_the_reader();
    let session = InferenceSession::builder().build()?;
    let input = Tensor::full([32, 64], 0.5f32);

    // In full precision: [32, 64] @ [64, 32].
    let dense = Tensor::full([64, 32], 0.15f32);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])])?;
    let constant = graph.constant(&dense)?;
    let product = graph.matmul(graph.input(0), constant)?;
    graph.output(product)?;
    let full = session.load(&graph)?.execute([("input0", &input)])?;

    // Quantized: the weight is transposed, [32, 64], and qmatmul takes it so.
    let encoding = session.registry().require_encoding("q4_0")?;
    let quantized = encoding.quantize(&Tensor::full([32, 64], 0.15f32))?.tensor;
    let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])])?;
    let constant = graph.constant(&quantized)?; // or both at once: graph.quantize("q4_0", &tensor)?
    let product = graph.qmatmul(graph.input(0), constant)?;
    graph.output(product)?;
    let model = session.load(&graph)?;
    let close = model.execute([("input0", &input)])?;

    let (full, close) = (full.get::<f32>("output0")?, close.get::<f32>("output0")?);
    let difference = full.iter().zip(close).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    println!("output [32, 32]       full precision {}, q4_0 {}", full[0], close[0]);
    println!("largest difference    {difference} ({:.2} %)", 100.0 * difference / full[0].abs());
    println!(
        "bytes of the weight   full precision {}, q4_0 {}",
        dense.bytes().len(),
        quantized.bytes().len()
    );
    Ok(())
}
