//! What plugins may have beside encodings and plain ops: effects, inputs by name, attributes of every kind, kernels above others. All of it
//! from a library's file.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use bitquilt::plugin_api::{
    Attribute, Error, InferContext, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin,
    PrepareContext, Prepared, Result, RunContext, Selector, Split,
};
use bitquilt::{Graph, InferenceSession, Model, Tensor, TensorType, Value, dim};
use bitquilt_tests::PluginDir;

fn session() -> InferenceSession {
    let dir = PluginDir::new();
    dir.add_fixture("wide");
    let session = InferenceSession::builder().threads(2).plugin_dir(dir.path()).build().unwrap();
    assert_eq!(session.refusals(), []);
    session
}

fn graph(session: &InferenceSession, inputs: impl IntoIterator<Item = TensorType>) -> Graph {
    Graph::new(session.registry(), inputs).unwrap()
}

fn tick(graph: &mut Graph, label: &str) -> [Value; 2] {
    let outputs = graph.node("wide.tick", []).named(label).attribute("label", label).values().unwrap();
    outputs.try_into().unwrap()
}

/// The counts of the outputs of a run.
fn counts(model: &Model) -> Vec<i64> {
    let results = model.execute::<&Tensor>([]).unwrap();
    let tensor = |(_, tensor): (&str, &Tensor)| tensor.values::<i64>().map_or(-1, |values| values[0]);
    results.iter().map(tensor).collect()
}

#[test]
fn effects_happen_in_the_order_in_which_they_were_added() {
    let session = session();
    let mut graph = graph(&session, []);
    let (first, second, third) =
        (tick(&mut graph, "first"), tick(&mut graph, "second"), tick(&mut graph, "third"));
    // Asked for in another order than they were added, and the second not at all.
    graph.output_named("a", third[1]).unwrap();
    graph.output_named("b", first[1]).unwrap();
    graph.output_named("token", second[0]).unwrap();
    let model = session.load(&graph).unwrap();
    let before = counts(&model)[1];
    for run in 1..4 {
        assert_eq!(counts(&model)[..2], [before + 3 * run + 2, before + 3 * run]);
    }
    let plan = model.explain().unwrap();
    let ran: Vec<(&str, Option<&str>)> =
        plan.nodes.iter().map(|node| (&*node.node, node.effect.as_deref())).collect();
    assert_eq!(ran, ["first", "second", "third"].map(|name| (name, Some("wide.ticks"))));
    assert!(plan.to_string().contains("effect: wide.ticks"), "{plan}");
}

#[test]
fn an_effect_that_nobody_takes_happens_and_is_not_folded() {
    let session = session();
    let mut graph = graph(&session, []);
    let [_, count] = tick(&mut graph, "counted");
    for index in 0..5 {
        tick(&mut graph, &format!("unseen{index}"));
    }
    graph.output(count).unwrap();
    let model = session.load(&graph).unwrap();
    let before = counts(&model)[0];
    assert_eq!(counts(&model), [before + 6]);
}

#[test]
fn runs_that_share_a_group_take_turns() {
    let session = session();
    let mut graph = graph(&session, []);
    let labels: Vec<String> = (0..20).map(|index| format!("tick{index}")).collect();
    for label in &labels {
        let [_, count] = tick(&mut graph, label);
        graph.output_named(label.clone(), count).unwrap();
    }
    let model = session.load(&graph).unwrap();
    let results = std::thread::scope(|scope| {
        let run = || {
            let mut runs = Vec::new();
            for _ in 0..50 {
                let results = model.execute::<&Tensor>([]).unwrap();
                let count = |label: &String| results.get::<i64>(label).unwrap()[0];
                runs.push(labels.iter().map(count).collect::<Vec<_>>());
            }
            runs
        };
        let threads = [0; 3].map(|_| scope.spawn(run));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    for run in results {
        let first = run[0];
        assert_eq!(run, (first..first + 20).collect::<Vec<_>>());
    }
}

/// `min(gain * (2 x + 3 x^2) + bias, limit)`.
fn mixed(x: f32, gain: Option<f32>, bias: Option<f32>, limit: Option<f32>) -> f32 {
    let sum = (3.0 * x + 2.0) * x;
    let value = gain.unwrap_or(1.0) * sum + bias.unwrap_or(0.0);
    limit.map_or(value, |limit| value.min(limit))
}

#[test]
fn inputs_are_left_out_by_name_and_attributes_are_absent() {
    let session = session();
    let (x, gain, bias) = ([0.5f32, -2.0, 3.0], [2.0f32, -1.0, 0.5], [10.0f32, 20.0, 30.0]);
    let file = tempfile::tempdir().unwrap();
    for (has_gain, has_bias, limit) in
        [(false, false, None), (true, false, Some(11.0)), (false, true, None), (true, true, Some(-3.0))]
    {
        let mut graph = graph(&session, [(); 3].map(|()| TensorType::f32([dim("n")])));
        let [x_in, gain_in, bias_in] = [0, 1, 2].map(|index| graph.input(index));
        let output = graph
            .node("wide.mix", [x_in])
            // In any order.
            .maybe_input("bias", has_bias.then_some(bias_in))
            .maybe_input("gain", has_gain.then_some(gain_in))
            .attribute("weights", vec![2.0, 3.0])
            .attribute("powers", vec!["one".to_owned(), "two".to_owned()])
            .maybe_attribute("limit", limit.map(f64::from))
            .value()
            .unwrap();
        graph.output(output).unwrap();
        let path = file.path().join("graph.safetensors");
        graph.save(&path).unwrap();
        for graph in [&graph, &Graph::load(&path, session.registry()).unwrap()] {
            let tensors = [x, gain, bias].map(|values| Tensor::new([3], values).unwrap());
            let names = ["input0", "input1", "input2"];
            let results = session.load(graph).unwrap().execute(names.into_iter().zip(&tensors)).unwrap();
            let expected: Vec<f32> = (0..3)
                .map(|i| mixed(x[i], has_gain.then_some(gain[i]), has_bias.then_some(bias[i]), limit))
                .collect();
            assert_eq!(results.get::<f32>("output0").unwrap(), expected);
        }
    }
}

#[test]
fn what_is_given_by_name_is_checked() {
    let session = session();
    let refused = |inputs: usize, names: &[&str], attributes: &[(&str, Attribute)]| {
        let mut graph = graph(&session, [(); 4].map(|()| TensorType::f32([3usize])));
        let values: Vec<Value> = (0..4).map(|index| graph.input(index)).collect();
        let node = graph.node("wide.mix", values[..inputs].to_vec());
        let node = names.iter().fold(node, |node, name| node.input(name, values[3]));
        let given = attributes.iter();
        given
            .fold(node, |node, (name, value)| node.attribute(name, value.clone()))
            .value()
            .unwrap_err()
            .to_string()
    };
    let weights = || ("weights", Attribute::Floats(vec![1.0]));
    for (inputs, names, attributes, sentence) in [
        (1, &["gain", "gain"][..], vec![weights()], "the input `gain` was given twice"),
        (2, &["gain"], vec![weights()], "the input `gain` was given twice"),
        (1, &["x"], vec![weights()], "it has no input `x` to be given by name; it has gain, bias"),
        (1, &["offset"], vec![weights()], "it has no input `offset` to be given by name; it has gain, bias"),
        (0, &["gain"], vec![weights()], "it takes the inputs (x, [gain], [bias]), 0 were given"),
        (4, &[], vec![weights()], "it takes the inputs (x, [gain], [bias]), 4 were given"),
        (1, &[], vec![], "the attribute `weights` is missing; give a list of numbers"),
        (1, &[], vec![("weights", Attribute::Float(1.0))], "takes a list of numbers, not 1.0"),
        (
            1,
            &[],
            vec![weights(), ("powers", Attribute::Texts(vec![String::new(); 2]))],
            "2 `powers` do not name 1 `weights`",
        ),
        (
            1,
            &[],
            vec![weights(), ("powers", Attribute::Text("one".to_owned()))],
            "takes a list of texts, not \"one\"",
        ),
    ] {
        let error = refused(inputs, names, &attributes);
        assert!(error.contains(sentence), "{error}");
    }
}

#[test]
fn a_kernel_leaves_shapes_to_the_one_that_it_displaces() {
    let (wide, plain) = (session(), InferenceSession::builder().threads(2).build().unwrap());
    let values = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
    let (n, p) = (96, 27);
    let model = |session: &InferenceSession| {
        let mut graph = graph(session, [TensorType::f32([dim("m"), n.into()])]);
        let weight = graph.quantize("q8_0", &Tensor::new([p, n], values(p * n, 0.37)).unwrap()).unwrap();
        let product = graph.qmatmul(graph.input(0), weight).unwrap();
        graph.output(product).unwrap();
        let decoded = graph.dequantize(weight).unwrap();
        graph.output_named("decoded", decoded).unwrap();
        session.load(&graph).unwrap()
    };
    let (wide, plain) = (model(&wide), model(&plain));
    for m in [1, 2, 3, 40, 1] {
        let x = values(m * n, 0.61);
        let tensor = Tensor::new([m, n], &x).unwrap();
        let [ours, theirs] = [&wide, &plain].map(|model| model.execute([("input0", &tensor)]).unwrap());
        let (found, decoded) = (ours.get::<f32>("output0").unwrap(), ours.get::<f32>("decoded").unwrap());
        if m > 2 {
            assert_eq!(found, theirs.get::<f32>("output0").unwrap());
        } else {
            let expected = x.chunks(n).flat_map(|x| {
                decoded.chunks(n).map(move |w| {
                    x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() as f32
                })
            });
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
        let plan = wide.explain_for(&[("m".to_owned(), m)].into()).unwrap();
        let node = plan.nodes.iter().find(|node| node.op == "qmatmul").unwrap();
        let (kernel, plugin) = node.kernel.clone().unwrap();
        assert_eq!(kernel == "wide-gemv", m <= 2, "{kernel} of {plugin}");
        let other = if m <= 2 { "it serves other shapes" } else { "it does not serve these shapes" };
        assert!(node.others.iter().any(|(_, why)| why == other), "{plan}");
        // Lent memory: the weight decoded by one kernel and packed by the other.
        assert!(node.held_bytes > 4 * n * p, "{}", node.held_bytes);
    }
    let plan = wide.explain().unwrap().to_string();
    assert!(plan.contains("it serves the shapes that `wide-gemv` does not"), "{plan}");
}

#[test]
fn what_a_plugin_says_of_itself_arrives() {
    let session = session();
    let registry = session.registry();
    let plain = registry.encoding("wide.plain").unwrap().spec();
    assert_eq!(plain.layout.as_deref(), Some("block_len = 4\nblock_bytes = 16\n"));
    assert_eq!(registry.encoding("q4_0").unwrap().spec().layout, None);
    let signature = |op: &str| registry.op(op).unwrap().signature().clone();
    let tick = signature("wide.tick");
    assert_eq!((tick.effect.as_deref(), tick.pure), (Some("wide.ticks"), false));
    assert_eq!(signature("wide.mix").split, Split::Elementwise);
    let product = signature("qmatmul");
    let contraction = product.contractions[0];
    assert_eq!((contraction.activation, contraction.weight, product.split), (0, 1, Split::Rows(1)));
    assert!(product.pure && product.effect.is_none());
}

#[test]
fn importance_is_recorded_of_both_weights_of_a_plugins_op() {
    let session = session();
    let mut graph = graph(&session, [TensorType::f32([dim("rows"), dim(32)])]);
    let encoding = session.registry().require_encoding("q8_0").unwrap();
    let encoded = encoding.quantize(&Tensor::full([3, 32], 0.5f32)).unwrap().tensor;
    let w = graph.constant_named("w", &encoded).unwrap();
    let v = graph.constant(&Tensor::full([3, 32], 1f32)).unwrap();
    let pair = graph.op("wide.pair", [graph.input(0), w, v]).unwrap();
    graph.output(pair).unwrap();
    let mut state = session.load(&graph).unwrap().new_state().unwrap();
    state.set_record_importance(true);
    let x = Tensor::new([2, 32], (0..64).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let products = state.run([("input0", &x)]).unwrap().get::<f32>("output0").unwrap().to_vec();
    assert!(
        products
            .iter()
            .zip([496.0, 1520.0].iter().flat_map(|x| [1.5 * x; 3]))
            .all(|(a, b)| (a - b).abs() < 0.1)
    );
    let importance = state.importance().unwrap();
    let expected: Vec<f32> = (0..32).map(|i| (i * i + (i + 32) * (i + 32)) as f32 / 2.0).collect();
    for name in ["w", "constant.1"] {
        let columns = importance.get(name).unwrap();
        assert_eq!((columns.means(), columns.rows()), (expected.clone(), 2.0), "{name}");
    }
    assert_eq!(importance.len(), 2);
}

/// An op and its kernel, which are what a test makes of them.
#[derive(Clone)]
struct Made {
    signature: OpSignature,
    key: KernelKey,
    or_next: bool,
}

impl Op for Made {
    fn signature(&self) -> OpSignature {
        self.signature.clone()
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![cx.inputs()[0].clone().into()])
    }
}

impl KernelProvider for Made {
    fn key(&self) -> KernelKey {
        self.key.clone()
    }
    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let prepared = Prepared::new(self.clone());
        match (self.or_next, cx.next()) {
            (true, Some(next)) => Ok(prepared.or_next(next)),
            (true, None) => Err(Error::failed("there is no next kernel")),
            _ => Ok(prepared),
        }
    }
}

impl Kernel for Made {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(0)?.into_bytes().copy_from_slice(cx.input(0)?.bytes());
        Ok(())
    }
}

fn made(signature: OpSignature) -> Made {
    let key = KernelKey::for_every(&signature, "plain");
    Made { signature, key, or_next: false }
}

#[test]
fn what_cannot_be_is_refused_when_it_is_registered() {
    let plain = || OpSignature::new("test.made").dense("x");
    let in_space = |space| {
        let made = made(plain());
        Made { key: made.key.clone().space(space), ..made }
    };
    let refused =
        |plugin: Plugin| InferenceSession::builder().plugin(plugin).build().err().unwrap().to_string();
    let plugin = |made: Made| Plugin::new("test", "1").op(made.clone()).kernel(made);
    for (plugin, sentence) in [
        (
            plugin(in_space(1)),
            "the kernel `test.made for dense inputs at priority 0` is for memory space 1; this host has space 0, its own memory, and no other",
        ),
        (plugin(made(plain().contracts("x", "w"))), "contracts inputs that are not an activation"),
        (
            plugin(made(plain().split(Split::Rows(7)))),
            "is split by the rows of an input that is not one tensor",
        ),
        (plugin(made(plain().effect(""))), "is empty"),
        (plugin(made(plain().effect("a group"))), "has other characters"),
    ] {
        let error = refused(plugin);
        assert!(error.contains(sentence), "{error}");
    }
    assert_eq!(Selector::Dense, in_space(0).key.selector);
    InferenceSession::builder().plugin(plugin(in_space(0))).build().unwrap();
}

#[test]
fn a_kernel_that_displaces_nothing_cannot_leave_shapes() {
    let made = Made { or_next: true, ..made(OpSignature::new("test.made").dense("x")) };
    let plugin = Plugin::new("test", "1").op(made.clone()).kernel(made);
    let session = InferenceSession::builder().plugin(plugin).build().unwrap();
    let mut graph = graph(&session, [TensorType::f32([3usize])]);
    let copied = graph.op("test.made", [graph.input(0)]).unwrap();
    graph.output(copied).unwrap();
    let error = session.load(&graph).err().unwrap().to_string();
    assert!(error.contains("there is no next kernel"), "{error}");
}
