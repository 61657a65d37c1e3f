//! Graphs with very many parts: what is done with them takes time in proportion to their size.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitquilt::{DType, Graph, InferenceSession, Tensor, TensorType, dim};

/// The parts of the small graph, and how many times more the large one has.
const PARTS: usize = 3_125;
const TIMES: usize = 16;
/// Sixteen times the parts in 16 times the time are linear, in 256 times the time quadratic. A machine that has others to serve, or memory
/// to find, makes the one two or three times as long; that is far from the other.
const MOST_GROWTH: f64 = 100.0;
/// Less than this is too little to be measured, and too little for anything quadratic.
const LITTLE: Duration = Duration::from_millis(400);
/// So many times what takes too long is done again: what is quadratic is so each time.
const TURNS: usize = 3;

/// A graph of many parts, and its inputs.
struct Case {
    graph: Graph,
    inputs: Vec<(String, Tensor)>,
}

/// The processor time of this thread so far.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes to `time`, which is one.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The time of all that is done with a graph.
fn times(make: fn(&InferenceSession, usize) -> Case, parts: usize) -> Vec<(&'static str, Duration)> {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph.safetensors");
    let mut times = Vec::new();
    let mut begin = thread_time();
    let mut lap = |name| {
        let now = thread_time();
        times.push((name, now - begin));
        begin = now;
    };
    let Case { graph, inputs } = make(&session, parts);
    lap("build");
    graph.save(&path).unwrap();
    lap("save");
    let graph = Graph::load(&path, session.registry()).unwrap();
    lap("open");
    let model = session.load(&graph).unwrap();
    lap("load");
    assert!(!model.explain().unwrap().nodes.is_empty());
    lap("explain");
    let mut state = model.new_state().unwrap();
    state.set_profile(true);
    for _ in 0..2 {
        let results = state.run(inputs.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
        for (name, _) in model.outputs() {
            assert_eq!(results.view(name).unwrap().values::<f32>().unwrap()[0], 2.0);
        }
    }
    lap("run");
    assert!(state.profile().unwrap().to_string().contains("op"));
    for (name, _) in model.outputs() {
        assert!(state.state(name).is_none());
    }
    lap("profile");
    times
}

/// What grew more than it may, and how.
fn excess(make: fn(&InferenceSession, usize) -> Case) -> Vec<String> {
    let (small, large) = (times(make, PARTS), times(make, TIMES * PARTS));
    let growth = |small: Duration, large: Duration| large.as_secs_f64() / small.as_secs_f64().max(1e-9);
    small
        .into_iter()
        .zip(large)
        .inspect(|((name, small), (_, large))| {
            println!("{name:8} {small:10.1?} {large:10.1?} {:5.1}", growth(*small, *large));
        })
        .filter(|((_, small), (_, large))| *large >= LITTLE && growth(*small, *large) >= MOST_GROWTH)
        .map(|((name, small), (_, large))| format!("{name}: {small:?} and then {large:?}"))
        .collect()
}

fn check(make: fn(&InferenceSession, usize) -> Case) {
    let mut turns = Vec::new();
    while turns.len() < TURNS {
        match excess(make) {
            excess if excess.is_empty() => return,
            excess => turns.push(excess),
        }
    }
    panic!("more than linear in each of {TURNS} turns: {turns:?}");
}

fn one() -> Tensor {
    Tensor::full([1], 1f32)
}

/// As many inputs, symbols, nodes and outputs, with all the outputs' memory alive at the end.
#[test]
fn inputs_symbols_and_outputs() {
    check(|session, parts| {
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let mut inputs = Vec::new();
        for index in 0..parts {
            let (name, symbol) = (format!("input{index}"), format!("s{index}"));
            let value = graph.add_input(&name, TensorType::f32([dim(symbol.as_str())])).unwrap();
            let sum = graph.op("add", [value, value]).unwrap();
            graph.output(sum).unwrap();
            inputs.push((name, one()));
        }
        assert!(graph.input_named("input7").is_some());
        Case { graph, inputs }
    });
}

/// Nodes that each take what the one before yields.
#[test]
fn a_chain_of_nodes() {
    check(|session, parts| {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("n")])]).unwrap();
        let mut value = graph.input(0);
        for _ in 0..parts {
            value = graph.op("relu", [value]).unwrap();
        }
        let sum = graph.op("add", [value, value]).unwrap();
        graph.output(sum).unwrap();
        Case { graph, inputs: vec![("input0".to_owned(), one())] }
    });
}

/// Constants and inputs that one node takes, which all are alive in it.
#[test]
fn inputs_of_a_node() {
    check(|session, parts| {
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let mut inputs = Vec::new();
        let mut values = Vec::new();
        for index in 0..parts / 2 {
            let name = format!("input{index}");
            let value = graph.add_input(&name, TensorType::f32([dim("n")])).unwrap();
            values.push(graph.op("add", [value, value]).unwrap());
            values.push(graph.constant(&one()).unwrap());
            inputs.push((name, one()));
        }
        let whole = graph.op("concat", values).unwrap();
        graph.output(whole).unwrap();
        Case { graph, inputs }
    });
}

/// States that are each written and read.
#[test]
fn states() {
    check(|session, parts| {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([1])]).unwrap();
        let at = graph.constant(&Tensor::scalar(0i64)).unwrap();
        let two = graph.op("add", [graph.input(0), graph.input(0)]).unwrap();
        for index in 0..parts {
            let state = graph.state(format!("state{index}"), TensorType::dense(DType::F32, [2])).unwrap();
            let next = graph.op("append", [state, two, at]).unwrap();
            graph.output(next).unwrap();
        }
        Case { graph, inputs: vec![("input0".to_owned(), one())] }
    });
}
