//! Graphs, loading and running: order, folding, memory, states, transforms. The ops are the test's own.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bitquilt::plugin_api::{
    Error, Executor, InferContext, InputTransform, Kernel, KernelKey, KernelProvider, Op, OpSignature,
    OutputType, PrepareContext, Prepared, PreparedMemory, Result, RunContext, Selector, SignatureError,
    Support, TensorView,
};
use bitquilt::{
    DType, Graph, InferenceSession, LoadError, NodeProblem, RunError, Tensor, TensorType, Value, dim,
};

/// `test.inc(x)`: each f32 plus one; counts its runs.
#[derive(Clone, Default)]
struct Inc(Arc<AtomicUsize>);

impl Op for Inc {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.inc").dense("x")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![cx.inputs()[0].clone().into()])
    }
}

impl Kernel for Inc {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let x = cx.input(0)?.values::<f32>()?;
        let y = cx.output(0)?.into_values::<f32>()?;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x + 1.0);
        Ok(())
    }
}

/// `test.sum(x..)`: the sum of one or more f32 tensors of one shape.
struct Sum;

impl Op for Sum {
    fn signature(&self) -> OpSignature {
        use bitquilt::plugin_api::{Arity, InputKind};
        OpSignature::new("test.sum").input("x", InputKind::Dense, Arity::Many)
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        match cx.inputs().iter().find(|input| **input != cx.inputs()[0]) {
            Some(other) => Err(Error::invalid(format_args!("{} and {other} have no sum", cx.inputs()[0]))),
            None => Ok(vec![cx.inputs()[0].clone().into()]),
        }
    }
}

impl Kernel for Sum {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let y = cx.output(0)?.into_values::<f32>()?;
        y.fill(0.0);
        for input in 0..cx.input_count() {
            let x = cx.input(input)?.values::<f32>()?;
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
        }
        Ok(())
    }
}

/// `test.push(state, x)`: moves the state's values back by one and puts `x` `[1]` first.
struct Push;

impl Op for Push {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.push").state("state").dense("x")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![OutputType::alias(cx.inputs()[0].clone(), 0)])
    }
}

impl Kernel for Push {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let x = cx.input(1)?.values::<f32>()?;
        let state = cx.state(0)?.into_values::<f32>()?;
        state.rotate_right(1);
        state[0] = x[0];
        Ok(())
    }
}

/// `test.flat(x)`: the same memory with one dimension.
struct Flat;

impl Op for Flat {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.flat").dense("x")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let count = bitquilt::Dim::product(&cx.inputs()[0].shape)?;
        Ok(vec![OutputType::alias(TensorType::f32([count]), 0)])
    }
}

/// `test.scaled(x, factor)`: `x` times a constant factor that `prepare` takes over, by way of a shared transform `-x`.
#[derive(Clone, Default)]
struct Scaled(Arc<Mutex<Vec<&'static str>>>);

impl Op for Scaled {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.scaled").dense("x").dense("factor").optional("offset", 0.0)
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![cx.inputs()[0].clone().into()])
    }
}

struct ScaledKernel {
    /// An f32.
    factor: PreparedMemory,
    offset: f32,
}

struct Negated(Arc<Mutex<Vec<&'static str>>>);

impl KernelProvider for Scaled {
    fn key(&self) -> KernelKey {
        KernelKey::new("test.scaled", Selector::Dense, "taken-over").priority(5)
    }
    fn supports(&self, node: &bitquilt::plugin_api::NodeView<'_>) -> Support {
        if node.is_constant(1) { Support::Yes } else { Support::no("the factor is no constant") }
    }
    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        self.0.lock().unwrap().push("prepare");
        let factor = cx.constant(1).ok_or_else(|| Error::failed("no factor"))?.values::<f32>()?[0];
        let offset = cx.attributes().float("offset")? as f32;
        let mut held = cx.memory(4)?;
        held.copy_from_slice(&factor.to_le_bytes());
        let kernel = ScaledKernel { factor: held, offset };
        Ok(Prepared::new(kernel).releases(1).transform(0, "negated", Negated(self.0.clone())).note("by -x"))
    }
}

impl InputTransform for Negated {
    fn bytes(&self, shape: &[usize]) -> usize {
        shape.iter().product::<usize>() * 4
    }
    fn run(&self, input: TensorView<'_>, dst: &mut [u8], _: Executor<'_>) -> Result<()> {
        self.0.lock().unwrap().push("transform");
        for (dst, x) in dst.chunks_exact_mut(4).zip(input.values::<f32>()?) {
            dst.copy_from_slice(&(-x).to_le_bytes());
        }
        Ok(())
    }
}

impl Kernel for ScaledKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        assert!(cx.input(1).is_err(), "the factor was released");
        let negated: &[f32] = bitquilt::plugin_api::bytemuck::cast_slice(cx.transformed(0)?);
        let factor = f32::from_le_bytes([self.factor[0], self.factor[1], self.factor[2], self.factor[3]]);
        let y = cx.output(0)?.into_values::<f32>()?;
        y.iter_mut().zip(negated).for_each(|(y, x)| *y = -x * factor + self.offset);
        Ok(())
    }
}

fn session() -> (InferenceSession, Arc<AtomicUsize>, Arc<Mutex<Vec<&'static str>>>) {
    let (inc, scaled) = (Inc::default(), Scaled::default());
    let (runs, log) = (inc.0.clone(), scaled.0.clone());
    let builder = InferenceSession::builder().threads(2).simple_op(inc).simple_op(Sum).simple_op(Push);
    let builder = builder.op(Flat).op(scaled.clone()).kernel(scaled);
    (builder.build().unwrap(), runs, log)
}

fn graph(session: &InferenceSession, inputs: impl IntoIterator<Item = TensorType>) -> Graph {
    Graph::new(session.registry(), inputs).unwrap()
}

fn chain(graph: &mut Graph, mut value: Value, nodes: usize) -> Value {
    for _ in 0..nodes {
        value = graph.op("test.inc", [value]).unwrap();
    }
    value
}

#[test]
fn a_chain_of_a_hundred_thousand_nodes_runs_in_two_buffers() {
    let (session, runs, _) = session();
    let mut graph = graph(&session, [TensorType::f32([3])]);
    let x = graph.input(0);
    let end = chain(&mut graph, x, 100_000);
    graph.output(end).unwrap();
    let model = session.load(&graph).unwrap();
    let results = model.execute([("input0", &Tensor::new([3], [0f32, 1.0, 2.0]).unwrap())]).unwrap();
    assert_eq!(results.get::<f32>("output0").unwrap(), [100_000f32, 100_001.0, 100_002.0]);
    assert_eq!(runs.load(Ordering::Relaxed), 100_000);
    assert!(model.explain().unwrap().arena_bytes.unwrap() <= 128);
}

#[test]
fn symbols_are_bound_by_each_run() {
    let (session, ..) = session();
    let types = [TensorType::f32([dim("seq"), dim(2)]), TensorType::f32([dim("seq"), dim(2)])];
    let mut graph = graph(&session, types);
    let sum = graph.op("test.sum", [graph.input(0), graph.input(1)]).unwrap();
    let flat = graph.op("test.flat", [sum]).unwrap();
    graph.output(flat).unwrap();
    let model = session.load(&graph).unwrap();
    let mut state = model.new_state().unwrap();
    for seq in [1usize, 5, 2, 5, 0] {
        let (a, b) = (Tensor::full([seq, 2], 1.5f32), Tensor::full([seq, 2], 2.0f32));
        let results = state.run([("input0", &a), ("input1", &b)]).unwrap();
        assert_eq!(results.get::<f32>("output0").unwrap(), vec![3.5f32; seq * 2]);
        assert_eq!(results.view("output0").unwrap().shape(), [seq * 2]);
    }
    let (one, two) = (Tensor::full([1, 2], 1f32), Tensor::full([2, 2], 1f32));
    for (inputs, sentence) in [
        (vec![("input0", &one), ("input1", &two)], "makes `seq` 2, another dimension has made it 1"),
        (vec![("input0", &one)], "the input `input1` was given 0 times"),
        (vec![("input0", &one), ("input0", &one)], "was given 2 times"),
        (vec![("x", &one)], "no input `x`; it has `input0`, `input1`"),
        (
            vec![("input0", &Tensor::full([1, 3], 1f32)), ("input1", &one)],
            "is f32 [seq, 2], f32 [1, 3] was given",
        ),
        (
            vec![("input0", &Tensor::full([1, 2], 1i32)), ("input1", &one)],
            "is f32 [seq, 2], i32 [1, 2] was given",
        ),
    ] {
        let error = state.run(inputs).err().unwrap().to_string();
        assert!(error.contains(sentence), "{error}");
    }
    let lying =
        TensorView::from_parts(bitquilt::plugin_api::ElementView::Dense(DType::F32), &[1, 2], &[0; 4]);
    assert!(matches!(state.run([("input0", lying), ("input1", lying)]), Err(RunError::InputBytes { .. })));
}

#[test]
fn what_is_constant_is_computed_once_and_what_is_dead_never() {
    let (session, runs, _) = session();
    let mut graph = graph(&session, [TensorType::f32([2])]);
    let constant = graph.constant(&Tensor::new([2], [1f32, 2.0]).unwrap()).unwrap();
    let folded = chain(&mut graph, constant, 4);
    let flat = graph.op("test.flat", [folded]).unwrap();
    let sum = graph.op("test.sum", [graph.input(0), flat]).unwrap();
    let x = graph.input(0);
    let dead = chain(&mut graph, x, 3);
    assert_eq!(graph.tensor_type(dead).to_string(), "f32 [2]");
    graph.output(sum).unwrap();
    graph.output_named("constant", folded).unwrap();
    graph.output_named("input", graph.input(0)).unwrap();
    let model = session.load(&graph).unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    let x = Tensor::new([2], [10f32, 20.0]).unwrap();
    for _ in 0..2 {
        let results = model.execute([("input0", &x)]).unwrap();
        assert_eq!(results.get::<f32>("output0").unwrap(), [15f32, 26.0]);
        assert_eq!(results.get::<f32>("constant").unwrap(), [5f32, 6.0]);
        assert_eq!(results.tensor("input").unwrap(), &x);
        assert!(results.get::<f32>("nothing").unwrap_err().to_string().contains("no output `nothing`"));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    assert_eq!(model.explain().unwrap().nodes.len(), 1);
}

#[test]
fn states_live_from_run_to_run_and_have_one_newest_version() {
    let (session, ..) = session();
    let mut graph = graph(&session, [TensorType::f32([1])]);
    let first = graph.state("history", TensorType::f32([3])).unwrap();
    let before = graph.op("test.inc", [first]).unwrap();
    let second = graph.op("test.push", [first, graph.input(0)]).unwrap();
    let third = graph.op("test.push", [second, graph.input(0)]).unwrap();
    let problem = graph.op("test.inc", [first]).unwrap_err().to_string();
    assert_eq!(
        problem,
        "node `test.inc.3` (test.inc): input `x` is a state that node `test.push.1` has written since; take what that node yields"
    );
    assert!(graph.op("test.push", [second, graph.input(0)]).is_err());
    assert!(
        graph
            .op("test.push", [graph.input(0), graph.input(0)])
            .unwrap_err()
            .to_string()
            .contains("is no state")
    );
    assert!(graph.output(second).is_err());
    graph.output_named("before", before).unwrap();
    graph.output_named("after", third).unwrap();
    let model = session.load(&graph).unwrap();
    let (mut one, mut other) = (model.new_state().unwrap(), model.new_state().unwrap());
    for (x, before, after) in
        [(7f32, [1f32, 1.0, 1.0], [7f32, 7.0, 0.0]), (8.0, [8.0, 8.0, 1.0], [8.0, 8.0, 7.0])]
    {
        let results = one.run([("input0", &Tensor::full([1], x))]).unwrap();
        assert_eq!(results.get::<f32>("before").unwrap(), before);
        assert_eq!(results.get::<f32>("after").unwrap(), after);
    }
    assert_eq!(one.state("history").unwrap().values::<f32>().unwrap(), [8f32, 8.0, 7.0]);
    let results = other.run([("input0", &Tensor::full([1], 1f32))]).unwrap();
    assert_eq!(results.get::<f32>("after").unwrap(), [1f32, 1.0, 0.0]);
    one.reset();
    assert_eq!(one.state("history").unwrap().values::<f32>().unwrap(), [0f32; 3]);
    assert!(one.state("other").is_none());
}

#[test]
fn kernels_are_prepared_once_for_equal_nodes_and_share_transforms() {
    let (session, _, log) = session();
    let mut graph = graph(&session, [TensorType::f32([2])]);
    let x = graph.input(0);
    let factor = graph.constant(&Tensor::scalar(3f32)).unwrap();
    let other = graph.constant(&Tensor::scalar(5f32)).unwrap();
    let values: Vec<Value> = [(factor, 0.0), (factor, 0.0), (other, 0.0), (factor, 1.0)]
        .map(|(factor, offset)| {
            graph.node("test.scaled", [x, factor]).attribute("offset", offset).value().unwrap()
        })
        .into();
    let sum = graph.op("test.sum", values).unwrap();
    graph.output(sum).unwrap();
    let model = session.load(&graph).unwrap();
    assert_eq!(*log.lock().unwrap(), ["prepare"; 3]);
    log.lock().unwrap().clear();
    let results = model.execute([("input0", &Tensor::new([2], [1f32, 2.0]).unwrap())]).unwrap();
    assert_eq!(results.get::<f32>("output0").unwrap(), [15f32, 29.0]);
    assert_eq!(*log.lock().unwrap(), ["transform"]);
    let plan = model.explain().unwrap();
    assert_eq!((plan.constant_bytes, plan.held_bytes), (0, 12));
    assert!(plan.to_string().contains("taken-over (program)"), "{plan}");
}

#[test]
fn a_node_that_nothing_can_run_is_named() {
    let (session, ..) = session();
    let mut graph = graph(&session, [TensorType::f32([2]), TensorType::f32([0; 0])]);
    let scaled = graph.node("test.scaled", [graph.input(0), graph.input(1)]).named("late").value().unwrap();
    graph.output(scaled).unwrap();
    assert_eq!(
        session.load(&graph).err().unwrap().to_string(),
        "node `late` (test.scaled): no kernel can run it here: taken-over (program): the factor is no constant"
    );
    let empty = Graph::new(session.registry(), []).unwrap();
    assert_eq!(session.load(&empty).err().unwrap(), LoadError::NoOutputs);
    let other = InferenceSession::builder().build().unwrap();
    assert!(matches!(other.load(&graph), Err(LoadError::UnknownOp { .. })));
}

#[test]
fn wrong_nodes_are_refused_as_they_are_built() {
    let (session, ..) = session();
    let mut first = graph(&session, [TensorType::f32([2]), TensorType::f32([3])]);
    let second = graph(&session, [TensorType::f32([2])]);
    let (x, y) = (first.input(0), first.input(1));
    let mut problem = |op: &str, inputs: &[Value]| match first.op(op, inputs.iter().copied()) {
        Err(bitquilt::GraphError::Node { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    assert!(matches!(problem("nothing", &[x]), NodeProblem::UnknownOp { .. }));
    assert!(matches!(
        problem("test.inc", &[x, y]),
        NodeProblem::Signature(SignatureError::InputCount { found: 2, .. })
    ));
    assert!(matches!(
        problem("test.sum", &[]),
        NodeProblem::Signature(SignatureError::InputCount { found: 0, .. })
    ));
    assert!(matches!(problem("test.inc", &[second.input(0)]), NodeProblem::ForeignValue { .. }));
    assert_eq!(problem("test.sum", &[x, y]).to_string(), "f32 [2] and f32 [3] have no sum");
    let attribute = first.node("test.inc", [x]).attribute("eps", 1.0).value().unwrap_err();
    assert_eq!(attribute.to_string(), "node `test.inc.0` (test.inc): it has no attribute `eps`; it has none");
    let kind = first.node("test.scaled", [x, y]).attribute("offset", "far").value().unwrap_err();
    assert!(kind.to_string().ends_with("the attribute `offset` takes a number, not \"far\""));
    first.node("test.inc", [x]).named("twice").value().unwrap();
    assert!(first.node("test.inc", [x]).named("twice").value().is_err());
    assert!(first.add_input("input0", TensorType::f32([1])).is_err());
    assert!(
        first.add_input("z", TensorType::f32([dim("a b")])).unwrap_err().to_string().contains("no symbol")
    );
    assert!(first.state("s", TensorType::f32([dim("n")])).is_err());
    let product: bitquilt::Dim = "2*n".parse().unwrap();
    let mut unbound = graph(&session, [TensorType::f32([product])]);
    unbound.output(unbound.input(0)).unwrap();
    assert!(matches!(session.load(&unbound), Err(LoadError::UnboundSymbol { .. })));
}

#[test]
fn many_states_run_beside_each_other() {
    let (session, ..) = session();
    let mut graph = graph(&session, [TensorType::f32([dim("n")])]);
    let x = graph.input(0);
    let end = chain(&mut graph, x, 50);
    graph.output(end).unwrap();
    let model = session.load(&graph).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6usize {
            let model = &model;
            scope.spawn(move || {
                let mut state = model.new_state().unwrap();
                for round in 0..100 {
                    let n = 1 + (round + thread) % 5;
                    let x = Tensor::full([n], thread as f32);
                    let results = state.run([("input0", &x)]).unwrap();
                    assert_eq!(results.get::<f32>("output0").unwrap(), vec![thread as f32 + 50.0; n]);
                }
            });
        }
    });
}
