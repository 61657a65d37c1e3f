//! Importance: what is recorded in runs, and what weights are encoded with it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt::checkpoint::Metadata;
use bitquilt::plugin_api::{
    Error, InferContext, Kernel, Op, OpSignature, OutputType, Plugin, Result, RunContext,
};
use bitquilt::quantize::importance::{Chunks, ImportanceError, ImportanceMatrix};
use bitquilt::{
    Attribute, DType, Dim, Graph, InferenceSession, RunError, State, Tensor, TensorDict, TensorType, Value,
    dim,
};
use bitquilt_plugin_kit::conformance::{Check, Conformance, Verdict};

/// `test.pair(x, w, v)`: `x` times the transposes of an encoded and of a dense weight, summed.
struct Pair;

impl Op for Pair {
    fn signature(&self) -> OpSignature {
        let inputs = OpSignature::new("test.pair").dense("x").encoded("w").dense("v");
        inputs.contracts("x", "w").contracts("x", "v")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let [x, w, v] = cx.inputs() else { return Err(Error::invalid("three inputs are expected")) };
        let ([m, k], [n, columns], [rows, others]) = (&x.shape[..], &w.shape[..], &v.shape[..]) else {
            return Err(Error::invalid("matrices are expected"));
        };
        match x.dtype() == Some(DType::F32)
            && v.dtype() == Some(DType::F32)
            && (k, n) == (columns, rows)
            && k == others
        {
            true => Ok(vec![TensorType::f32([m.clone(), n.clone()]).into()]),
            false => Err(Error::invalid("f32 [m, k], and weights [n, k] are expected")),
        }
    }
}

impl Kernel for Pair {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(0)?.into_values::<f32>()?.fill(0.0);
        Ok(())
    }
}

/// `test.any(x, w)`: zeros, for `x`, `[m, k]` of any dtype, and `w`, f32 `[n, k]`.
struct AnyOf;

impl Op for AnyOf {
    fn signature(&self) -> OpSignature {
        OpSignature::new("test.any").dense("x").dense("w").contracts("x", "w")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let [x, w] = cx.inputs() else { return Err(Error::invalid("two inputs are expected")) };
        Ok(vec![TensorType::f32([x.shape[0].clone(), w.shape[0].clone()]).into()])
    }
}

impl Kernel for AnyOf {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(0)?.into_values::<f32>()?.fill(0.0);
        Ok(())
    }
}

fn session(threads: usize) -> InferenceSession {
    InferenceSession::builder().threads(threads).simple_op(Pair).simple_op(AnyOf).build().unwrap()
}

/// Numbers of both signs and many magnitudes.
fn noise(shape: impl Into<Vec<usize>>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let value = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        unit * 10f32.powi((state >> 33) as i32 % 4)
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Tensor::new(shape, values).unwrap()
}

/// The sum of the squares of each column, by a loop.
fn sums<'t>(activations: impl IntoIterator<Item = &'t Tensor>) -> (Vec<f64>, f64) {
    let (mut sums, mut rows) = (Vec::new(), 0.0);
    for activation in activations {
        let columns = *activation.shape().last().unwrap();
        sums.resize(columns, 0.0);
        for row in activation.values::<f32>().unwrap().chunks(columns) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x) * f64::from(*x);
            }
            rows += 1.0;
        }
    }
    (sums, rows)
}

/// A graph that multiplies `x`, `[n, 2, columns]`, by weights in every way, and a state of it that records. Outputs of a `qmatmul` are
/// multiplied again.
fn recording(session: &InferenceSession, columns: usize) -> State {
    let registry = session.registry();
    let mut graph = Graph::new(registry, []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("n"), dim(2), dim(columns)])).unwrap();
    let encoded = |shape: [usize; 2], seed| {
        registry.require_encoding("q8_0").unwrap().quantize(&noise(shape, seed)).unwrap().tensor
    };
    let weight = |graph: &mut Graph, name: &str, tensor: &Tensor| graph.constant_named(name, tensor).unwrap();
    let up = weight(&mut graph, "up", &encoded([64, columns], 1));
    let gate = weight(&mut graph, "gate", &encoded([64, columns], 2));
    let unnamed = graph.constant(&encoded([32, columns], 3)).unwrap();
    let down = weight(&mut graph, "down", &encoded([columns, 64], 4));
    let dense = weight(&mut graph, "dense", &noise([16, columns], 5));
    let column_major = weight(&mut graph, "not rows", &noise([columns, 16], 6));
    let table = weight(&mut graph, "table", &encoded([8, columns], 7));
    let transposed = graph.transpose(dense, &[1, 0]).unwrap();
    let decoded = graph.dequantize(gate).unwrap();
    let decoded =
        graph.node("transpose", [decoded]).attribute("axes", Attribute::Ints(vec![-1, -2])).value().unwrap();
    let hidden = graph.qmatmul(x, up).unwrap();
    let mut outputs: Vec<Value> = vec![graph.qmatmul(x, gate).unwrap(), graph.qmatmul(x, unnamed).unwrap()];
    outputs.push(graph.op("matmul", [x, transposed]).unwrap());
    outputs.push(graph.op("matmul", [x, column_major]).unwrap());
    outputs.push(graph.op("matmul", [x, decoded]).unwrap());
    // A tied weight: rows are looked up, and it is multiplied by twice.
    let rows = graph.constant(&Tensor::new([1], [3i32]).unwrap()).unwrap();
    outputs.push(graph.qgather(table, rows).unwrap());
    let y = graph.qmatmul(hidden, down).unwrap();
    outputs.push(graph.qmatmul(x, table).unwrap());
    outputs.push(graph.qmatmul(y, table).unwrap());
    let flat = graph.reshape(x, ["2 * n".parse::<Dim>().unwrap(), dim(columns)]).unwrap();
    let v = weight(&mut graph, "v", &noise([8, columns], 8));
    let w = weight(&mut graph, "w", &encoded([8, columns], 9));
    outputs.push(graph.op("test.pair", [flat, w, v]).unwrap());
    graph.output_named("hidden", hidden).unwrap();
    graph.output_named("y", y).unwrap();
    outputs.into_iter().for_each(|output| graph.output(output).unwrap());
    let mut state = session.load(&graph).unwrap().new_state().unwrap();
    state.set_record_importance(true);
    state
}

#[test]
fn sums_are_those_of_a_loop_over_all_runs() {
    let mut state = recording(&session(2), 96);
    state.set_profile(true);
    let runs: Vec<Tensor> = [3, 1, 40].map(|n| noise([n, 2, 96], n as u64)).into();
    let (mut hidden, mut y) = (Vec::new(), Vec::new());
    for x in &runs {
        let results = state.run([("x", x)]).unwrap().to_owned().unwrap();
        hidden.push(results.tensor("hidden").unwrap().clone());
        y.push(results.tensor("y").unwrap().clone());
    }
    assert_eq!(state.profile().unwrap().runs, 3);
    let importance = state.importance().unwrap();
    let of_x = sums(&runs);
    let twice = (of_x.0.iter().map(|sum| 2.0 * sum).collect(), 2.0 * of_x.1);
    let (table, rows) = sums(&y);
    let table = (of_x.0.iter().zip(table).map(|(sum, more)| sum + more).collect(), of_x.1 + rows);
    let expected = [
        ("constant.2", &of_x),
        ("dense", &of_x),
        ("down", &sums(&hidden)),
        ("gate", &twice),
        ("table", &table),
        ("up", &of_x),
        ("v", &of_x),
        ("w", &of_x),
    ];
    let names: Vec<&str> = importance.iter().map(|(name, _)| name).collect();
    assert_eq!(names, expected.map(|(name, _)| name));
    for (name, (sums, rows)) in expected {
        let found = importance.get(name).unwrap();
        assert_eq!((found.sums(), found.counts()), (&sums[..], &[*rows][..]), "{name}");
        let means: Vec<f32> = sums.iter().map(|sum| (sum / rows) as f32).collect();
        assert_eq!(found.means(), means, "{name}");
    }
    // Anew, and not at all.
    state.set_record_importance(true);
    assert!(state.importance().unwrap().iter().all(|(_, columns)| columns.rows() == 0.0));
    state.set_record_importance(false);
    assert_eq!(state.importance(), None);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let importance = |threads| {
        let mut state = recording(&session(threads), 1056);
        for n in [1, 300, 7] {
            assert!(state.run([("x", &noise([n, 2, 1056], n as u64))]).is_ok());
        }
        state.importance().unwrap()
    };
    let one = importance(1);
    assert!(
        one.iter().all(|(_, columns)| columns.rows() > 0.0 && columns.sums().iter().all(|sum| *sum > 0.0))
    );
    for threads in [2, 3, 5] {
        assert_eq!(importance(threads), one, "{threads} threads");
    }
}

#[test]
fn narrow_activations_are_widened_and_others_refused() {
    // Columns that are no multiple of what is in registers.
    let values: Vec<f32> = (0..3 * 21).map(|i| (i as f32 - 30.0) / 4.0).collect();
    let session = session(2);
    let sums = |x: &Tensor| {
        let mut graph = Graph::new(session.registry(), [x.tensor_type()]).unwrap();
        let weight = graph.constant_named("w", &noise([2, 21], 1)).unwrap();
        let y = graph.node("test.any", [graph.input(0), weight]).named("any").value().unwrap();
        graph.output(y).unwrap();
        let mut state = session.load(&graph).unwrap().new_state().unwrap();
        state.set_record_importance(true);
        state.run([("input0", x)]).map(drop).map_err(|error| error.to_string())?;
        let columns = state.importance().unwrap().get("w").unwrap().clone();
        Ok::<_, String>((columns.sums().to_vec(), columns.rows()))
    };
    let x = Tensor::new([3, 21], values).unwrap();
    let expected = Ok(self::sums([&x]));
    let narrow = |encoding: &str, dtype: DType| {
        let encoded = session.registry().require_encoding(encoding).unwrap().quantize(&x).unwrap().tensor;
        Tensor::from_bytes(dtype, [3, 21], encoded.bytes()).unwrap()
    };
    assert_eq!(sums(&x), expected);
    assert_eq!(sums(&narrow("f16", DType::F16)), expected);
    assert_eq!(sums(&narrow("bf16", DType::BF16)), expected);
    assert_eq!(sums(&Tensor::full([0, 21], 1f32)), Ok((vec![0.0; 21], 0.0)));
    let largest = (vec![2.0 * f64::from(f32::MAX).powi(2); 21], 2.0);
    assert_eq!(sums(&Tensor::full([2, 21], f32::MAX)), Ok(largest));
    assert_eq!(
        sums(&Tensor::full([2, 21], 1i32)).unwrap_err(),
        "node `any` (test.any): importance is recorded of activations in f32, f16 and bf16, and this one holds other values"
    );
}

#[test]
fn activations_that_are_not_finite_are_errors_of_the_node() {
    for (bad, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let session = session(2);
        let mut graph = Graph::new(session.registry(), [TensorType::f32([4, 64])]).unwrap();
        let weight = graph.quantize("q8_0", &noise([2, 64], 1)).unwrap();
        let y = graph.node("qmatmul", [graph.input(0), weight]).named("up").value().unwrap();
        graph.output(y).unwrap();
        let mut state = session.load(&graph).unwrap().new_state().unwrap();
        state.set_record_importance(true);
        let mut values = vec![1f32; 256];
        (values[2 * 64 + 37], values[3 * 64]) = (bad, f32::NAN);
        let found = state.run([("input0", &Tensor::new([4, 64], values).unwrap())]).map(drop).unwrap_err();
        assert!(matches!(&found, RunError::Node { node, .. } if node == "up"));
        let sentence = format!(
            "node `up` (qmatmul): its activation is {shown} at row 2, column 37; importance is recorded of finite values"
        );
        assert_eq!(found.to_string(), sentence);
    }
}

/// The ops of the host that multiply by weights: each is recorded above.
#[test]
fn every_op_that_multiplies_by_weights_says_so() {
    let session = session(1);
    let ops = session.registry().ops().filter(|op| !op.signature().contractions.is_empty());
    let mut names: Vec<&str> = ops.map(|op| op.signature().name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["matmul", "qmatmul", "test.any", "test.pair"]);
}

#[test]
fn what_is_said_of_weights_is_checked() {
    /// Says of its weight what is not so.
    struct Wrong;
    impl Op for Wrong {
        fn signature(&self) -> OpSignature {
            OpSignature::new("test.wrong").dense("x").dense("w").contracts_transposed("x", "w")
        }
        fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
            let [Dim::Fixed(3), Dim::Fixed(k)] = cx.inputs()[0].shape[..] else {
                return Err(Error::invalid("f32 [3, k]"));
            };
            match cx.inputs()[1].shape[..] {
                [Dim::Fixed(n), Dim::Fixed(columns)] if columns == k && n != k => {
                    Ok(vec![TensorType::f32([3, n]).into()])
                }
                _ => Err(Error::invalid("f32 [n, k]")),
            }
        }
    }
    impl Kernel for Wrong {
        fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
            cx.output(0)?.into_values::<f32>()?.fill(0.0);
            Ok(())
        }
    }
    let verdict = |plugin: Plugin| {
        let findings = Conformance::of(plugin).unwrap().run();
        findings.into_iter().find(|finding| finding.check == Check::Types).unwrap().verdict
    };
    assert!(matches!(verdict(Plugin::new("pair", "1").simple_op(Pair)), Verdict::Passed(_)));
    let Verdict::Failed(reason) = verdict(Plugin::new("wrong", "1").simple_op(Wrong)) else {
        panic!("it passed")
    };
    assert!(
        reason.contains("the columns of `w` are multiplied with `x`; its last but one dimension is"),
        "{reason}"
    );

    // And where it is recorded.
    let session = InferenceSession::builder().simple_op(Wrong).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 8])]).unwrap();
    let weight = graph.constant(&Tensor::full([8, 4], 1f32)).unwrap();
    let weight = graph.transpose(weight, &[1, 0]).unwrap();
    let y = graph.op("test.wrong", [graph.input(0), weight]).unwrap();
    graph.output(y).unwrap();
    let mut state = session.load(&graph).unwrap().new_state().unwrap();
    state.set_record_importance(true);
    let error = state.run([("input0", &Tensor::full([3, 8], 1f32))]).map(drop).unwrap_err().to_string();
    let sentence =
        "the op says that an activation of shape [3, 8] is multiplied with the 4 columns of a weight";
    assert!(error.contains(sentence), "{error}");
}

#[test]
fn each_matrix_of_experts_has_its_own_importance() {
    let session = session(2);
    let registry = session.registry();
    let (experts, rows, columns) = (3, 5, 256);
    let weight = noise([experts, rows, columns], 11);
    let mut vectors: Vec<f32> = (0..experts * columns).map(|i| 0.1 + (i * 37 % 101) as f32).collect();
    // The second was never reached.
    vectors[columns..2 * columns].fill(0.0);
    let matrix = |index: usize| {
        let values = &weight.values::<f32>().unwrap()[index * rows * columns..][..rows * columns];
        Tensor::new([rows, columns], values).unwrap()
    };
    for (name, is_required) in [("q4_k", false), ("iq4_xs", false), ("iq2_xxs", true)] {
        let encoding = registry.require_encoding(name).unwrap();
        let whole = encoding.quantize_with_importance(&weight, &vectors).unwrap();
        let parts = (0..experts).map(|index| {
            let vector = &vectors[index * columns..][..columns];
            let encoded = match (index, is_required) {
                (1, false) => encoding.quantize(&matrix(1)),
                (1, true) => encoding.quantize_with_importance(&matrix(1), &vec![1.0; columns]),
                _ => encoding.quantize_with_importance(&matrix(index), vector),
            };
            encoded.unwrap().tensor.bytes().to_vec()
        });
        assert_eq!(whole.tensor.bytes(), parts.collect::<Vec<_>>().concat(), "{name}");
        let for_all = encoding.quantize_with_importance(&weight, &vectors[..columns]).unwrap().tensor;
        assert_ne!(for_all.bytes(), whole.tensor.bytes(), "{name}");
        assert!(encoding.quantize_with_importance(&weight, &vectors[..2 * columns]).is_err());
        assert!(encoding.check(&weight, Some(&vectors)).is_ok());
    }
}

#[test]
fn rows_count_alike_whatever_is_merged() {
    let session = session(1);
    let part = |runs: &[u64]| {
        let mut state = recording(&session, 96);
        for seed in runs {
            assert!(state.run([("x", &noise([1 + *seed as usize, 2, 96], *seed))]).is_ok());
        }
        let mut importance = state.importance().unwrap();
        importance.set_source(format!("{runs:?}"), Chunks { count: runs.len() as u64, size: 10 });
        importance
    };
    let mut merged = part(&[1, 2]);
    merged.merge(&part(&[5])).unwrap();
    let whole = part(&[1, 2, 5]);
    for (name, columns) in whole.iter() {
        let found = merged.get(name).unwrap();
        assert_eq!(found.counts(), columns.counts());
        assert!(found.means().iter().zip(columns.means()).all(|(a, b)| (a - b).abs() <= 1e-6 * b), "{name}");
    }
    assert_eq!(merged.datasets(), ["[1, 2]", "[5]"]);
    assert_eq!(merged.chunks(), Chunks { count: 3, size: 10 });
    let mut other = recording(&session, 128);
    assert!(other.run([("x", &noise([1, 2, 128], 1))]).is_ok());
    let before = ImportanceMatrix::default().merge(&merged);
    assert!(before.is_ok());
    let error = merged.merge(&other.importance().unwrap()).unwrap_err();
    assert!(
        matches!(error, ImportanceError::OtherColumns { columns: 96, other_columns: 128, .. }),
        "{error}"
    );
}

#[test]
fn means_of_a_program_are_importance() {
    let means = TensorDict::from_iter([
        ("experts", Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap()),
        ("up", Tensor::new([2], vec![0.5f32, 0.0]).unwrap()),
    ]);
    let matrix = ImportanceMatrix::of_means(&means).unwrap();
    assert!(!matrix.is_counted());
    let weights: [(&str, &[usize]); 2] = [("up", &[3, 2]), ("experts", &[2, 5, 2])];
    let (vectors, coverage) = matrix.vectors(weights, |name| means.contains(name)).unwrap();
    assert!(coverage.is_whole());
    for name in ["up", "experts"] {
        assert_eq!(vectors.values::<f32>(name).unwrap(), means.values::<f32>(name).unwrap());
    }
    let mut metadata = Metadata::default();
    matrix.describe(&mut metadata);
    assert!(metadata.get("quantize.imatrix.file").is_none());
    assert!(metadata.get("quantize.imatrix.entries_count").is_some());
    for (tensor, expected) in [
        (
            Tensor::new([2], vec![1f32, -1.0]).unwrap(),
            "has -1 at column 1; finite numbers that are not negative were expected",
        ),
        (
            Tensor::new([2], vec![f32::NAN, 1.0]).unwrap(),
            "has NaN at column 0; finite numbers that are not negative were expected",
        ),
        (Tensor::new([1, 1, 2], vec![1f32, 1.0]).unwrap(), "is f32 [1, 1, 2], an f32 vector was expected"),
        (Tensor::new([2], vec![1i32, 1]).unwrap(), "is i32 [2], an f32 vector was expected"),
    ] {
        let error = ImportanceMatrix::of_means(&TensorDict::from_iter([("up", tensor)])).unwrap_err();
        assert_eq!(error.to_string(), format!("the importance of `up` {expected}"));
    }
}
