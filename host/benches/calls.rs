//! What a host does beside computing: nanoseconds that a node of a graph of many small ones takes, and microseconds that loading one does.
//! `cargo bench -p bitquilt --bench calls` prints the medians and the fastest.

use std::time::{Duration, Instant};

use bitquilt::{Error, Graph, InferenceSession, Tensor, TensorType, Value};

/// Nodes of a graph.
const NODES: usize = 256;
/// Measurements of each figure.
const TURNS: usize = 201;
/// Runs of a measurement.
const RUNS: usize = 20;

/// A node after the one before it.
type Next = fn(&mut Graph, Value) -> Result<Value, Error>;

/// Graphs of nodes that compute next to nothing, on a row of 32 values.
const GRAPHS: [(&str, Next); 4] = [
    ("add", |graph, x| Ok(graph.add(x, x)?)),
    ("reshape and neg", |graph, x| {
        let x = graph.reshape(x, [2usize, 16])?;
        let x = graph.neg(x)?;
        Ok(graph.reshape(x, [1usize, 32])?)
    }),
    ("qmatmul q8_0", |graph, x| {
        let weight = graph.quantize("q8_0", &Tensor::full([32, 32], 0.01f32))?;
        Ok(graph.qmatmul(x, weight)?)
    }),
    ("softmax", |graph, x| Ok(graph.softmax(x, -1)?)),
];

fn graph_of(session: &InferenceSession, next: Next) -> Result<Graph, Error> {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([1usize, 32])])?;
    let mut x = graph.input(0);
    for _ in 0..NODES {
        x = next(&mut graph, x)?;
    }
    graph.output(x)?;
    Ok(graph)
}

/// The median and the least of measurements.
fn summary(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort();
    [times[times.len() / 2], times[0]].map(|time| time.as_secs_f64())
}

fn measure(name: &str, next: Next, threads: usize) -> Result<(), Error> {
    let session = InferenceSession::builder().threads(threads).build()?;
    let graph = graph_of(&session, next)?;
    let load = || {
        let begin = Instant::now();
        session.load(&graph).map(|_| begin.elapsed())
    };
    let loads = (0..TURNS / 10).map(|_| load()).collect::<Result<Vec<_>, _>>()?;
    let mut state = session.load(&graph)?.new_state()?;
    let x = Tensor::full([1, 32], 0.5f32);
    state.run([("input0", &x)])?;
    let mut runs = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let begin = Instant::now();
        for _ in 0..RUNS {
            state.run([("input0", &x)])?;
        }
        runs.push(begin.elapsed());
    }
    let [node, least] = summary(runs).map(|seconds| seconds * 1e9 / (RUNS * NODES) as f64);
    let [load, least_load] = summary(loads).map(|seconds| seconds * 1e6);
    println!("{name:16} {threads:7} {node:10.1} {least:10.1} {load:12.0} {least_load:12.0}");
    Ok(())
}

fn main() -> Result<(), Error> {
    println!(
        "{:16} {:>7} {:>10} {:>10} {:>12} {:>12}",
        "nodes", "threads", "ns a node", "least", "us to load", "least"
    );
    for (name, next) in GRAPHS {
        for threads in [1, 2] {
            measure(name, next, threads)?;
        }
    }
    Ok(())
}
