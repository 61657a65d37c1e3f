//! A layer of attention with a cache, loaded once: any number of rows at a time gives the same bits.

#![allow(clippy::unwrap_used)]

use bitquilt::{
    Attention, DType, Graph, InferenceSession, Model, Rope, RopePairing, State, Tensor, TensorType, dim,
};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const N: usize = 16;
const CONTEXT: usize = 300;
const ROW: usize = (HEADS + 2 * KV_HEADS) * N;

/// `x` is queries, keys and values; `positions` those of its rows.
fn model(session: &InferenceSession, cache: DType, pairing: RopePairing) -> Model {
    let types = [TensorType::f32([dim("seq"), dim(ROW)]), TensorType::dense(DType::I64, [dim("seq")])];
    let mut graph = Graph::new(session.registry(), types).unwrap();
    let (x, positions) = (graph.input(0), graph.input(1));
    let mut heads = |from: usize, count: usize| {
        let (start, end) = ((from * N) as i64, ((from + count) * N) as i64);
        let part = graph.slice(x, 1, start, Some(end)).unwrap();
        graph.reshape(part, [dim("seq"), dim(count), dim(N)]).unwrap()
    };
    let (q, k, v) = (heads(0, HEADS), heads(HEADS, KV_HEADS), heads(HEADS + KV_HEADS, KV_HEADS));
    let factors: Vec<f32> = (0..N / 2).map(|pair| 1.0 + pair as f32 / 4.0).collect();
    let factors = graph.constant(&Tensor::new([N / 2], factors).unwrap()).unwrap();
    let rope = Rope { pairing, factors: Some(factors), ..Rope::default() };
    let (q, k) = (graph.rope(q, positions, rope).unwrap(), graph.rope(k, positions, rope).unwrap());
    let mut cached = |name: &str, rows| {
        let state = graph.state(name, TensorType::dense(cache, [CONTEXT, KV_HEADS, N])).unwrap();
        graph.append(state, rows, positions).unwrap()
    };
    let (k, v) = (cached("k", k), cached("v", v));
    let options = Attention { causal: true, positions: Some(positions), ..Attention::default() };
    let y = graph.attention(q, k, v, options).unwrap();
    let y = graph.reshape(y, [dim("seq"), dim(HEADS * N)]).unwrap();
    graph.output(y).unwrap();
    let last = graph.slice(y, 0, -1, None).unwrap();
    graph.output(last).unwrap();
    session.load(&graph).unwrap()
}

fn rows(begin: usize, end: usize) -> Tensor {
    let values: Vec<f32> = (begin * ROW..end * ROW).map(|i| (i * 7919 % 2003) as f32 / 500.0 - 2.0).collect();
    Tensor::new([end - begin, ROW], values).unwrap()
}

fn run(state: &mut State, begin: usize, end: usize) -> Vec<f32> {
    let positions: Vec<i64> = (begin as i64..end as i64).collect();
    let positions = Tensor::new([end - begin], positions).unwrap();
    let results = state.run([("input0", &rows(begin, end)), ("input1", &positions)]).unwrap();
    let (all, last) = (results.get::<f32>("output0").unwrap(), results.get::<f32>("output1").unwrap());
    assert_eq!(last, &all[all.len() - HEADS * N..]);
    all.to_vec()
}

#[test]
fn prefill_and_decode_have_the_same_bits() {
    for threads in [1, 2] {
        let session = InferenceSession::builder().threads(threads).build().unwrap();
        for (cache, pairing) in [(DType::F32, RopePairing::Half), (DType::F16, RopePairing::Interleaved)] {
            let model = model(&session, cache, pairing);
            let whole = run(&mut model.new_state().unwrap(), 0, CONTEXT);
            for cuts in [vec![0, 1, 130, 131, 280, CONTEXT], (0..=CONTEXT).collect()] {
                let mut state = model.new_state().unwrap();
                let parts: Vec<f32> =
                    cuts.windows(2).flat_map(|cut| run(&mut state, cut[0], cut[1])).collect();
                assert!(parts == whole, "{threads} threads, {cache}, {} parts", cuts.len() - 1);
            }
        }
    }
}

#[test]
fn a_context_that_is_full_is_an_error() {
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut state = model(&session, DType::F32, RopePairing::Half).new_state().unwrap();
    run(&mut state, 0, CONTEXT);
    let positions = Tensor::new([1], [CONTEXT as i64]).unwrap();
    let error = state.run([("input0", &rows(0, 1)), ("input1", &positions)]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("goes to position 300, the cache has room for 300 rows"), "{error}");
}
