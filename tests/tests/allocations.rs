//! A run whose binding was seen before allocates nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use bitquilt::plugin_api::{
    Executor, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext, Scratch, Shapes,
    WorkerScratch,
};
use bitquilt::{Graph, InferenceSession, State, Tensor, TensorType, dim};
use bitquilt_tests::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `test.double(x)`, in parallel tasks that use the workers' scratch memory.
struct Double;

impl Op for Double {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.double").dense("x")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![cx.inputs()[0].clone().into()])
    }
}

impl Kernel for Double {
    fn scratch(&self, _: &Shapes<'_>) -> Scratch {
        Scratch { shared: 4, per_worker: 8 }
    }
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let x = cx.input(0)?.values::<f32>()?;
        let executor: Executor<'_> = cx.executor();
        let scratch: WorkerScratch<'_> = cx.worker_scratch();
        assert_eq!(cx.shared_scratch().len(), 4);
        executor.par_chunks_mut(cx.output(0)?.into_values::<f32>()?, 2, scratch, |index, chunk, scratch| {
            assert_eq!(scratch.len(), 8);
            chunk.iter_mut().zip(&x[index * 2..]).for_each(|(y, x)| *y = 2.0 * x);
        });
        Ok(())
    }
}

#[test]
fn steady_state_has_no_heap_allocation() {
    let session = InferenceSession::builder().threads(2).simple_op(Double).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("n")])]).unwrap();
    let mut value = graph.input(0);
    for _ in 0..20 {
        value = graph.op("test.double", [value]).unwrap();
    }
    graph.output(value).unwrap();
    let model = session.load(&graph).unwrap();
    let mut state = model.new_state().unwrap();
    let inputs = [Tensor::full([5], 1f32), Tensor::full([1], 1f32), Tensor::full([300], 1f32)];
    let run = |state: &mut State, x: &Tensor| {
        let results = state.run([("input0", x)]).unwrap();
        assert!(results.get::<f32>("output0").unwrap().iter().all(|y| *y == f32::powi(2.0, 20)));
    };
    for profile in [false, true] {
        state.set_profile(profile);
        inputs.iter().for_each(|x| run(&mut state, x));
        let before = Counting::allocations();
        for _ in 0..50 {
            inputs.iter().for_each(|x| run(&mut state, x));
        }
        assert_eq!(Counting::allocations() - before, 0, "profile: {profile}");
    }
    compact_products();
}

/// Products with weights that are unpacked at each run, whose importance is recorded. The count is that of the process, so that this is no test of its own.
fn compact_products() {
    let session = InferenceSession::builder().threads(2).option("prepare", "compact").build().unwrap();
    for encoding in ["iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs", "tq1_0"] {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(256)])]).unwrap();
        let dense = Tensor::full([37, 256], 0.5f32);
        let encoding = session.registry().require_encoding(encoding).unwrap();
        let weight = encoding.quantize_with_importance(&dense, &[1.0; 256]).unwrap().tensor;
        let weight = graph.constant(&weight).unwrap();
        let product = graph.qmatmul(graph.input(0), weight).unwrap();
        graph.output(product).unwrap();
        let model = session.load(&graph).unwrap();
        assert!(model.explain().unwrap().nodes[0].note.contains("unpacked at each run"));
        let mut state = model.new_state().unwrap();
        state.set_record_importance(true);
        let inputs = [1, 9].map(|rows| Tensor::full([rows, 256], 1f32));
        let run = |state: &mut State| {
            inputs.iter().for_each(|x| assert!(state.run([("input0", x)]).is_ok()));
        };
        run(&mut state);
        let before = Counting::allocations();
        run(&mut state);
        assert_eq!(Counting::allocations() - before, 0, "{}", encoding.spec().name);
    }
}
