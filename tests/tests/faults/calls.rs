//! Functions that fail when they are called: an author's, a destructor, a task.

use bitquilt::{Error, Graph, InferenceSession, Tensor, TensorType};
use bitquilt_tests::PluginDir;
use bitquilt_tests::host::Host;

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let node = |fault: &'static str| {
        case(fault, move |host, dir| host_with(host, dir, |session| node(session, fault)))
    };
    let encoding = |name: &'static str| {
        case(name, move |host, dir| host_with(host, dir, |session| encoding(session, name)))
    };
    let mut cases = Vec::new();
    cases.extend(
        [
            "sound",
            "quantize_panics",
            "payload_panics",
            "quantize_fails_halfway",
            "long_error",
            "invalid_error",
            "dequantize_panics",
            "drop_panics",
        ]
        .map(encoding),
    );
    cases.push(case("qmatmul of an encoding whose dequantize panics", |host, dir| {
        host_with(host, dir, |session| multiplies(session, "calls.dequantize_panics"))
    }));
    cases.extend(
        [
            "",
            "infer panics",
            "infer fails",
            "no output",
            "two outputs",
            "many outputs",
            "smaller output",
            "larger output",
            "foreign symbol",
            "negative alias",
            "changing mind",
            "supports panics",
            "unsupported",
            "prepare panics",
            "prepare fails",
            "releases nonsense",
            "transforms nonsense",
            "transform bytes panics",
            "huge transform",
            "transform panics",
            "transform fails",
            "transform drop panics",
            "scratch panics",
            "huge scratch",
            "huge worker scratch",
            "run panics",
            "run fails",
            "long error",
            "invalid error",
            "payload panics",
            "task panics",
            "every task panics",
            "task panics in a task",
            "nested",
            "output twice",
            "no such input",
            "foreign thread",
            "drop panics",
        ]
        .map(node),
    );
    cases.push(case("a kernel that calls back into the host", |host, dir| {
        host_with(host, dir, |session| calls_back(session, "q4_0"))
    }));
    cases.push(case("a kernel that calls a decoder that panics", |host, dir| {
        host_with(host, dir, |session| calls_back(session, "calls.dequantize_panics"))
    }));
    cases
}

/// What `call` answers in a session that has the plugin, which is then what it was.
fn host_with(host: &Host, dir: &PluginDir, call: impl Fn(&InferenceSession) -> Result<(), Error>) -> String {
    dir.add_fixture("calls");
    let session = host.session(&[dir.path()]);
    assert_eq!(session.refusals(), []);
    let before = host.gained("before", &session);
    let said = call(&session).map_or_else(|error| error.to_string(), |()| "nothing is wrong".to_owned());
    assert_eq!(host.gained("after", &session), before);
    // A second call finds the host as the first did; only an op that changes its mind may differ.
    let again = call(&session).map_or_else(|error| error.to_string(), |()| "nothing is wrong".to_owned());
    assert_eq!(said, again);
    said
}

/// `calls.copy` with a fault, from the graph to the results.
fn node(session: &InferenceSession, fault: &str) -> Result<(), Error> {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([4])])?;
    let copy = graph.node("calls.copy", [graph.input(0)]).named("it").attribute("fault", fault).value()?;
    graph.output(copy)?;
    let model = session.load(&graph)?;
    let x = Tensor::new([4], [1f32, 2.0, 3.0, 4.0])?;
    let mut state = model.new_state()?;
    let outcome =
        state.run([("input0", &x)]).map(|results| results.get::<f32>("output0").map(<[f32]>::to_vec));
    // One run that fails takes nothing from the next.
    let again = state.run([("input0", &x)]).map(|results| results.get::<f32>("output0").map(<[f32]>::to_vec));
    assert_eq!(format!("{outcome:?}"), format!("{again:?}"), "{fault}");
    assert_eq!(outcome??[..1], [1.0], "{fault}");
    Ok(())
}

/// An encoding with a fault, there and back.
fn encoding(session: &InferenceSession, name: &str) -> Result<(), Error> {
    let encoding = session.registry().require_encoding(&format!("calls.{name}"))?;
    let values = Tensor::new([2, 8], [0.25f32; 16])?;
    let encoded = encoding.quantize(&values)?.tensor;
    let decoded = encoding.dequantize(&encoded)?;
    assert_eq!(decoded.values::<f32>()?, values.values::<f32>()?);
    Ok(())
}

/// Four encoded rows that nobody has decoded yet. Scales that are half-precision floats are finite.
fn blocks(session: &InferenceSession, encoding: &str) -> Result<Tensor, Error> {
    let spec = session.registry().require_encoding(encoding)?.spec();
    let bytes: Vec<u8> =
        (0..4 * (256 / spec.block_len) * spec.block_bytes).map(|index| (index % 60) as u8).collect();
    Ok(Tensor::from_encoded(spec, [4, 256], &bytes)?)
}

/// Multiplies with blocks that are decoded in the run.
fn multiplies(session: &InferenceSession, encoding: &str) -> Result<(), Error> {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([2, 256])])?;
    let weight = graph.constant(&blocks(session, encoding)?)?;
    let product = graph.qmatmul(graph.input(0), weight)?;
    graph.output(product)?;
    session.load(&graph)?.execute([("input0", &Tensor::full([2, 256], 1f32))])?;
    Ok(())
}

fn calls_back(session: &InferenceSession, encoding: &str) -> Result<(), Error> {
    let mut graph = Graph::new(session.registry(), [])?;
    let encoded = blocks(session, encoding)?;
    let weight = graph.constant(&encoded)?;
    let copy = graph.op("calls.back", [weight])?;
    graph.output(copy)?;
    let results = session.load(&graph)?.execute::<&Tensor>([])?;
    let decoded = session.registry().require_encoding(encoding)?.dequantize(&encoded)?;
    assert_eq!(results.get::<f32>("output0")?, decoded.values::<f32>()?);
    Ok(())
}
