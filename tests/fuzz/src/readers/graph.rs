//! Saved graphs.

use bitquilt::{Bindings, DType, Element, Graph, GraphError, Model, Tensor, TensorType, dim};

use super::checkpoint::say;
use crate::{Scratch, session};

/// The most bytes of the arena and of an input of a graph that is run.
const SMALL: usize = 1 << 20;

/// Adds all of a graph to an empty one.
type Maker = fn(&mut Graph) -> Result<(), GraphError>;

/// Graphs with symbols, encoded weights, folded constants, states, and attributes of every kind.
pub(super) fn corpus(scratch: &Scratch) -> Vec<Vec<u8>> {
    let makers: [Maker; 4] = [products, shapes, states, constants];
    let files = makers.into_iter().map(|make| {
        let mut graph = Graph::new(session().registry(), []).expect("an empty graph");
        make(&mut graph).expect("a graph of the corpus can be made");
        let path = scratch.path("corpus.safetensors");
        graph.save(&path).expect("a small file can be written");
        std::fs::read(&path).expect("it was written")
    });
    files.collect()
}

fn products(graph: &mut Graph) -> Result<(), GraphError> {
    let x = graph.add_input("x", TensorType::f32([dim("n"), dim(64)]))?;
    let weight = graph.quantize("q4_0", &Tensor::full([32, 64], 0.15f32))?;
    let product =
        graph.node("qmatmul", [x, weight]).named("product").attribute("precision", "exact").value()?;
    let scale = graph.constant(&Tensor::full([32], 0.5f32))?;
    let norm = graph.node("rms_norm", [product, scale]).attribute("eps", 1e-5).value()?;
    let soft = graph.op("softmax", [norm])?;
    graph.output_named("y", soft)
}

fn shapes(graph: &mut Graph) -> Result<(), GraphError> {
    let shape: [bitquilt::Dim; 3] = ["past + seq", "2", "8"].map(|dim| dim.parse().expect("a dimension"));
    graph.add_input("past", TensorType::f32([dim("past")]))?;
    let seq = graph.add_input("seq", TensorType::f32([dim("seq")]))?;
    let x = graph.add_input("x", TensorType::f32(shape))?;
    let rows: Vec<bitquilt::Dim> = ["_", "16"].map(|dim| dim.parse().expect("a dimension")).into();
    let rows = graph.node("reshape", [x]).attribute("shape", rows).value()?;
    let turned = graph.node("transpose", [rows]).attribute("axes", vec![1i64, 0]).value()?;
    let some = graph.node("slice", [turned]).attribute("start", 2i64).attribute("end", 9i64).value()?;
    let both = graph.node("concat", [seq, seq]).attribute("axis", 0i64).value()?;
    let half = graph.node("cast", [both]).attribute("dtype", "f16").value()?;
    graph.output(some)?;
    graph.output(half)
}

fn states(graph: &mut Graph) -> Result<(), GraphError> {
    let x = graph.add_input("x", TensorType::f32([dim("seq"), dim(2), dim(8)]))?;
    let at = graph.add_input("at", TensorType::dense(DType::I64, Vec::<usize>::new()))?;
    let cache = graph.state("cache", TensorType::dense(DType::F16, [16, 2, 8]))?;
    let cache = graph.op("append", [cache, x, at])?;
    let wide = graph.node("cast", [cache]).attribute("dtype", "f32").value()?;
    let turned = graph.node("rope", [x, at]).attribute("pairing", "half").attribute("theta", 1e4).value();
    graph.output(wide)?;
    match turned {
        Ok(turned) => graph.output(turned),
        Err(_) => graph.output(x),
    }
}

fn constants(graph: &mut Graph) -> Result<(), GraphError> {
    let mut value = graph.constant(&Tensor::full([1, 4], 1f32))?;
    for _ in 0..4 {
        value = graph.op("concat", [value, value])?;
    }
    let x = graph.add_input("x", TensorType::f32([dim("n"), dim(4)]))?;
    let ids = graph.constant(&Tensor::new([2], [0i64, 3]).expect("two values"))?;
    let some = graph.node("gather", [value, ids]).attribute("axis", 0i64).value()?;
    let sum = graph.node("add", [some, some]).value()?;
    let mean = graph.node("mean", [x]).attribute("keep_axis", true).value()?;
    graph.output(sum)?;
    graph.output(mean)
}

/// A graph is read, saved and read to the same, loaded, explained, and run with small inputs.
pub(super) fn read(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.file("input.safetensors", bytes);
    let graph = match Graph::load(&path, session().registry()) {
        Ok(graph) => graph,
        Err(error) => return say(&error),
    };
    let copies = ["first.safetensors", "second.safetensors"].map(|name| scratch.path(name));
    graph.save(&copies[0]).expect("a graph that was read can be saved");
    let again = Graph::load(&copies[0], session().registry()).expect("a graph that was saved can be read");
    again.save(&copies[1]).expect("a graph that was read can be saved");
    let [first, second] = copies.map(|path| std::fs::read(path).expect("it was written"));
    assert!(first == second, "a graph is another when it was saved and read");
    let model = match session().load(&graph) {
        Ok(model) => model,
        Err(error) => return say(&error),
    };
    match model.explain() {
        Ok(plan) => drop(plan.to_string()),
        Err(error) => say(&error),
    }
    for number in [0, 1, 3, usize::MAX / 2, usize::MAX] {
        run(&model, number);
    }
}

/// Runs a model twice with zeros, if all of it is small where each symbol has this value.
fn run(model: &Model, number: usize) {
    let symbols = model.inputs().flat_map(|(_, tensor)| &tensor.shape).flat_map(|dim| dim.symbols());
    let bindings: Bindings = symbols.map(|symbol| (symbol.to_owned(), number)).collect();
    let small = match model.explain_for(&bindings) {
        Ok(plan) => plan.arena_bytes.is_some_and(|bytes| bytes <= SMALL) && plan.state_bytes <= SMALL,
        Err(error) => return say(&error),
    };
    let inputs: Option<Vec<(&str, Tensor)>> =
        model.inputs().map(|(name, tensor)| Some((name, zeros(tensor, &bindings)?))).collect();
    let Some(inputs) = inputs.filter(|_| small) else { return };
    let mut state = match model.new_state() {
        Ok(state) => state,
        Err(error) => return say(&error),
    };
    for _ in 0..2 {
        match state.run(inputs.iter().map(|(name, tensor)| (*name, tensor))) {
            Ok(results) => drop(results.to_owned().expect("results can be copied")),
            Err(error) => say(&error),
        }
    }
}

fn zeros(tensor: &TensorType, bindings: &Bindings) -> Option<Tensor> {
    let Element::Dense(dtype) = tensor.element else { return None };
    let shape = tensor.evaluate(bindings).ok()?;
    let count = shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))?;
    let bytes = count.checked_mul(dtype.size()?).filter(|bytes| *bytes <= SMALL)?;
    Tensor::from_bytes(dtype, shape, &vec![0; bytes]).ok()
}
