//! Times the standard ops on shapes of a small language model: `ops [FILTER] [THREADS]`.
//!
//! A line for each op and shape: the least and the median time of a run of a graph of that op alone.

use std::time::{Duration, Instant};

use bitquilt::{
    Attention, DType, Graph, GraphError, InferenceSession, Rope, RopePairing, Tensor, TensorType, Value,
};

type Build = fn(&mut Graph) -> Result<Value, GraphError>;

struct Case {
    name: &'static str,
    inputs: Vec<Tensor>,
    build: Build,
}

fn case(name: &'static str, inputs: impl IntoIterator<Item = Tensor>, build: Build) -> Case {
    Case { name, inputs: inputs.into_iter().collect(), build }
}

fn floats(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
    Tensor::new(shape, values).unwrap_or_else(|error| panic!("{error}"))
}

fn halves(shape: &[usize]) -> Tensor {
    let bytes: Vec<u8> = floats(shape)
        .values::<f32>()
        .unwrap_or(&[])
        .iter()
        .flat_map(|x| [0u8, if *x < 0.0 { 0xb4 } else { 0x34 }])
        .collect();
    Tensor::from_bytes(DType::F16, shape, &bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn attend(graph: &mut Graph) -> Result<Value, GraphError> {
    let [q, k, v, positions] = [0, 1, 2, 3].map(|index| graph.input(index));
    graph.attention(q, k, v, Attention { causal: true, positions: Some(positions), ..Attention::default() })
}

fn turn(graph: &mut Graph, pairing: RopePairing) -> Result<Value, GraphError> {
    let (x, positions) = (graph.input(0), graph.input(1));
    graph.rope(x, positions, Rope { pairing, ..Rope::default() })
}

fn cases() -> Vec<Case> {
    let positions = |from: i64, count: i64| {
        let positions: Vec<i64> = (from..from + count).collect();
        Tensor::new([positions.len()], positions).unwrap_or_else(|error| panic!("{error}"))
    };
    let attention = |name, seq: usize, from: i64, heads: [usize; 2], n, half: bool| {
        let [k, v] = [(); 2].map(|()| {
            let shape = [1024, heads[1], n];
            if half { halves(&shape) } else { floats(&shape) }
        });
        case(name, [floats(&[seq, heads[0], n]), k, v, positions(from, seq as i64)], attend)
    };
    vec![
        attention("attention 1@511 9/3x64 f32", 1, 511, [9, 3], 64, false),
        attention("attention 1@511 9/3x64 f16", 1, 511, [9, 3], 64, true),
        attention("attention 1@511 6/6x48 f32", 1, 511, [6, 6], 48, false),
        attention("attention 1@511 6/6x48 f16", 1, 511, [6, 6], 48, true),
        attention("attention 512@0 9/3x64 f32", 512, 0, [9, 3], 64, false),
        attention("attention 512@0 9/3x64 f16", 512, 0, [9, 3], 64, true),
        attention("attention 512@0 6/6x48 f32", 512, 0, [6, 6], 48, false),
        case("rope 1 interleaved", [floats(&[1, 9, 64]), positions(511, 1)], |g| {
            turn(g, RopePairing::Interleaved)
        }),
        case("rope 512 interleaved", [floats(&[512, 9, 64]), positions(0, 512)], |g| {
            turn(g, RopePairing::Interleaved)
        }),
        case("rope 512 half", [floats(&[512, 9, 64]), positions(0, 512)], |g| turn(g, RopePairing::Half)),
        case("rms_norm 1", [floats(&[1, 576]), floats(&[576])], |g| g.rms_norm(g.input(0), g.input(1), 1e-5)),
        case("rms_norm 512", [floats(&[512, 576]), floats(&[576])], |g| {
            g.rms_norm(g.input(0), g.input(1), 1e-5)
        }),
        case("300 nodes of 16 values", [floats(&[16])], |g| (0..300).try_fold(g.input(0), |x, _| g.relu(x))),
        case("silu 1", [floats(&[1, 1536])], |g| g.silu(g.input(0))),
        case("silu 512", [floats(&[512, 1536])], |g| g.silu(g.input(0))),
        case("mul 1", [floats(&[1, 1536]), floats(&[1, 1536])], |g| g.mul(g.input(0), g.input(1))),
        case("mul 512", [floats(&[512, 1536]), floats(&[512, 1536])], |g| g.mul(g.input(0), g.input(1))),
        case("add 512", [floats(&[512, 576]), floats(&[512, 576])], |g| g.add(g.input(0), g.input(1))),
    ]
}

fn main() -> Result<(), bitquilt::Error> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let threads = std::env::args().nth(2).and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let session = InferenceSession::builder().threads(threads).build()?;
    for case in cases().into_iter().filter(|case| case.name.contains(&filter)) {
        let types: Vec<TensorType> = case.inputs.iter().map(Tensor::tensor_type).collect();
        let mut graph = Graph::new(session.registry(), types)?;
        let output = (case.build)(&mut graph)?;
        graph.output(output)?;
        let mut state = session.load(&graph)?.new_state()?;
        let names: Vec<String> = (0..case.inputs.len()).map(|index| format!("input{index}")).collect();
        let (begin, mut times) = (Instant::now(), Vec::new());
        while begin.elapsed() < Duration::from_millis(300) {
            let before = Instant::now();
            state.run(names.iter().map(String::as_str).zip(&case.inputs))?;
            times.push(before.elapsed());
        }
        times.sort();
        println!("{:<30} {:>10.1?} {:>10.1?}", case.name, times[0], times[times.len() / 2]);
    }
    Ok(())
}
