//! The search of the mix of encodings that loses least in a size.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::path::Path;

use bitquilt::interrupt::Interrupt;
use bitquilt::plugin_api::{EncodingSpec, QuantizationEncoding, Rows};
use bitquilt::quantize::allocation::{
    Allocation, AllocationError, Allocator, FixedWeight, Measure, Stage, Subject, TargetSize,
};
use bitquilt::quantize::{Recipe, Target};
use bitquilt::{Graph, InferenceSession, Tensor, TensorDict, TensorType, dim};
use bitquilt_tests::random::Random;

const WIDTH: usize = 128;

fn random(shape: [usize; 2], scale: f32, random: &mut Random) -> Tensor {
    // Sums of uniform numbers are near a normal distribution, as weights are.
    let mut value = || scale * (0..4).map(|_| random.float()).sum::<f32>();
    Tensor::new(shape, (0..shape[0] * shape[1]).map(|_| value()).collect::<Vec<f32>>()).unwrap()
}

/// Three branches of two layers, of which the second counts a tenth of the first, and the third a hundredth.
fn graph(session: &InferenceSession) -> Graph {
    let mut numbers = Random::new(5);
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(WIDTH)])).unwrap();
    let mut sum = None;
    for part in [1.0f32, 0.1, 0.01] {
        let mut y = x;
        for scale in [0.1, 0.1 * part] {
            let weight = graph.quantize("f32", &random([WIDTH, WIDTH], scale, &mut numbers)).unwrap();
            y = graph.node("qmatmul", [y, weight]).attribute("precision", "exact").value().unwrap();
        }
        sum = Some(sum.map_or(y, |sum| graph.add(sum, y).unwrap()));
    }
    graph.output_named("y", sum.unwrap()).unwrap();
    graph
}

fn inputs() -> Vec<TensorDict> {
    let mut numbers = Random::new(9);
    (0..2).map(|set| TensorDict::from_iter([("x", random([5 + set, WIDTH], 1.0, &mut numbers))])).collect()
}

struct Search<'a> {
    target: TargetSize,
    encodings: &'a [&'a str],
    fixed: &'a [(&'a str, &'a str)],
    cache: Option<&'a Path>,
    quick: bool,
}

impl Default for Search<'_> {
    fn default() -> Self {
        Self { target: TargetSize::Bits(4.6), encodings: &[], fixed: &[], cache: None, quick: false }
    }
}

impl Search<'_> {
    fn run(
        &self,
        subject: &Subject<'_>,
        session: &InferenceSession,
        stages: &mut Vec<(Stage, usize)>,
    ) -> Result<Allocation, String> {
        let fixed = self
            .fixed
            .iter()
            .map(|(weight, target)| FixedWeight { weight: (*weight).to_owned(), target: Target::of(target) });
        let allocator = Allocator {
            session,
            subject,
            target: self.target,
            encodings: self.encodings.iter().map(|name| (*name).to_owned()).collect(),
            fixed: fixed.collect(),
            importance: TensorDict::new(),
            cache: self.cache.map(Path::to_owned),
            quick: self.quick,
        };
        allocator.search(&mut |stage, done, _| stages.push((stage, done))).map_err(|error| error.to_string())
    }

    fn of_graph(&self, session: &InferenceSession) -> Result<Allocation, String> {
        let graph = graph(session);
        self.run(&Subject::of_graph("branches", &graph, inputs()), session, &mut Vec::new())
    }
}

fn session(threads: usize) -> InferenceSession {
    InferenceSession::builder().threads(threads).build().unwrap()
}

#[test]
fn what_counts_more_gets_more_bits() {
    let session = session(2);
    let found = Search::default().of_graph(&session).unwrap();
    assert!(found.bytes() <= found.budget && found.bits() > 4.4, "{} bits", found.bits());
    let bits: Vec<f64> = found.weights.iter().map(|weight| weight.bits(weight.choice())).collect();
    assert_eq!(found.weights.len(), 6);
    assert!(bits[0] > bits[2] && bits[2] > bits[4] && bits[1] > bits[3] && bits[3] > bits[5], "{bits:?}");
    // It was run, and so were uniform encodings, which lose more.
    let (best, others): (Vec<_>, Vec<_>) =
        found.candidates.iter().enumerate().partition(|(index, _)| *index == found.best);
    assert!(others.len() >= 3 && others.iter().all(|(_, other)| other.loss >= best[0].1.loss));
    assert!(
        others.iter().any(|(_, other)| other.name.ends_with("everywhere") && other.loss > 2.0 * found.loss)
    );
    let ratio = found.predicted / found.loss;
    assert!((0.8..1.25).contains(&ratio), "{} predicted, {} found", found.predicted, found.loss);
    assert!(
        found
            .frontier
            .windows(2)
            .all(|pair| { pair[0].bytes < pair[1].bytes && pair[0].predicted > pair[1].predicted })
    );
}

#[test]
fn the_loss_is_that_of_the_graph_with_the_recipe() {
    let session = session(1);
    let found = Search::default().of_graph(&session).unwrap();
    let graph = graph(&session);
    let mut weights: TensorDict =
        graph.weights().into_iter().map(|(name, tensor)| (name, tensor.clone())).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.toml");
    std::fs::write(&path, found.recipe()).unwrap();
    let recipe = Recipe::read(&path).unwrap().requantizing(true);
    recipe.apply(&mut weights, session.registry(), |_, _| {}).unwrap();
    assert_eq!(weights.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum::<u64>(), found.bytes());
    let (own, encoded) =
        (session.load(&graph).unwrap(), session.load(&graph.with_weights(&weights).unwrap()).unwrap());
    let mut losses = Vec::new();
    for set in inputs() {
        let x = [("x", set.get("x").unwrap())];
        let (a, b) = (own.execute(x).unwrap(), encoded.execute(x).unwrap());
        let (a, b) = (a.get::<f32>("y").unwrap(), b.get::<f32>("y").unwrap());
        let error: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        losses.push(error / a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>());
    }
    assert!(
        (found.loss - losses.iter().sum::<f64>() / 2.0).abs() < 1e-12 * found.loss,
        "{losses:?} {}",
        found.loss
    );
}

#[test]
fn every_number_of_threads_finds_the_same() {
    let found = [1, 2, 5].map(|threads| Search::default().of_graph(&session(threads)).unwrap());
    for other in &found[1..] {
        assert_eq!(
            (other.loss, other.predicted, other.best),
            (found[0].loss, found[0].predicted, found[0].best)
        );
        assert_eq!(other.weights, found[0].weights);
        assert_eq!(other.candidates, found[0].candidates);
    }
}

#[test]
fn a_search_goes_on_from_its_cache() {
    let session = session(1);
    let directory = tempfile::tempdir().unwrap();
    let graph = graph(&session);
    let builds = RefCell::new(0);
    let subject = Subject {
        build: Box::new(|others| {
            *builds.borrow_mut() += 1;
            graph.with_weights(others)
        }),
        ..Subject::of_graph("branches", &graph, inputs())
    };
    let search = Search { cache: Some(directory.path()), ..Search::default() };
    let run = || {
        *builds.borrow_mut() = 0;
        let found = search.run(&subject, &session, &mut Vec::new()).unwrap();
        let count = *builds.borrow();
        (found, count)
    };
    let (first, all) = run();
    // Interrupted: the last figures are not there, and the one before them not whole.
    let file = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    let lost: usize = text.lines().rev().take(8).map(|line| line.len() + 1).sum();
    std::fs::write(&file, &text[..text.len() - lost - 5]).unwrap();
    let (second, some) = run();
    let (third, none) = run();
    for other in [second, third] {
        assert_eq!((other.loss, other.weights), (first.loss, first.weights.clone()));
    }
    assert!(all > some && some > none, "{all} {some} {none}");
    // With importance weights are encoded otherwise: nothing of the losses is taken over.
    let vector =
        Tensor::new([WIDTH], (0..WIDTH).map(|it| (it % 5) as f32 + 0.1).collect::<Vec<f32>>()).unwrap();
    let importance: TensorDict =
        graph.weights().into_iter().map(|(name, _)| (name, vector.clone())).collect();
    let weighed = |cache: Option<&Path>| {
        let allocator = Allocator {
            session: &session,
            subject: &subject,
            target: search.target,
            encodings: Vec::new(),
            fixed: Vec::new(),
            importance: importance.clone(),
            cache: cache.map(Path::to_owned),
            quick: false,
        };
        allocator.search(&mut |_, _, _| {}).unwrap()
    };
    let (cached, fresh) = (weighed(search.cache), weighed(None));
    assert_eq!((cached.loss, cached.weights), (fresh.loss, fresh.weights));
    assert_ne!(cached.loss, first.loss);
    // Another text is another search: nothing of the losses is taken over.
    let others = Subject {
        passages: inputs().into_iter().take(1).map(|set| vec![set]).collect(),
        ..Subject::of_graph("branches", &graph, vec![])
    };
    let other = search.run(&others, &session, &mut Vec::new()).unwrap();
    assert_ne!(other.loss, first.loss);
}

#[test]
fn an_interrupted_search_stops_and_goes_on_from_its_cache() {
    let session = session(1);
    let graph = graph(&session);
    let subject = Subject::of_graph("branches", &graph, inputs());
    let allocator = |cache: Option<&Path>| Allocator {
        session: &session,
        subject: &subject,
        target: TargetSize::Bits(4.6),
        encodings: Vec::new(),
        fixed: Vec::new(),
        importance: TensorDict::new(),
        cache: cache.map(Path::to_owned),
        quick: false,
    };
    let whole = allocator(None).search(&mut |_, _, _| {}).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let allocator = allocator(Some(directory.path()));
    // A stage is entered, and as many steps of it are done as before plus two, until the request is made.
    for stage in [Stage::Errors, Stage::Sensitivities, Stage::Candidates, Stage::Refinement] {
        for steps in [0, 2] {
            let interrupt = Interrupt::new();
            let (mut first, mut later) = (None, 0);
            let stopped = interrupt.scope(|| {
                allocator.search(&mut |at, done, _| {
                    later += usize::from(interrupt.is_requested());
                    if at == stage && done >= *first.get_or_insert(done) + steps {
                        interrupt.request();
                    }
                })
            });
            let error = stopped.map(drop).unwrap_err();
            assert!(matches!(error, AllocationError::Interrupted), "{stage:?}: {error}");
            // A probe that is running is told when it is done; nothing else begins.
            assert!(later <= 1, "{stage:?}: {later} more steps were begun");
        }
    }
    let found = allocator.search(&mut |_, _, _| {}).unwrap();
    assert_eq!((found.loss, found.weights), (whole.loss, whole.weights));
}

#[test]
fn rules_go_first() {
    let session = session(1);
    let search = Search {
        fixed: &[("constant.5", "q8_0"), ("constant.0", "keep")],
        target: TargetSize::Bits(11.0),
        ..Search::default()
    };
    let found = search.of_graph(&session).unwrap();
    let named = |name: &str| found.weights.iter().find(|weight| weight.name == name).unwrap();
    assert_eq!(
        (named("constant.5").choice().target.to_string(), named("constant.5").is_fixed),
        ("q8_0".to_owned(), true)
    );
    assert_eq!(
        (named("constant.0").choice().bytes, named("constant.0").choice().error),
        (4 * 128 * 128, 0.0)
    );
    assert!(found.bytes() <= found.budget);
    let quick = Search { quick: true, ..Search::default() }.of_graph(&session).unwrap();
    assert!(quick.bytes() <= quick.budget && quick.loss.is_finite());
}

/// Four bits a value, and a scale of 16 bits for 128 of them.
struct Wide;

impl QuantizationEncoding for Wide {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("test.wide", 128, 66)
    }

    fn quantize(
        &self,
        rows: Rows<'_>,
        _: Option<&[f32]>,
        dst: &mut [u8],
    ) -> bitquilt::plugin_api::Result<()> {
        for (values, dst) in rows.values().chunks(128).zip(dst.chunks_mut(66)) {
            let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
            let bits = ((most / 7.0).to_bits() >> 16) as u16;
            let scale = f32::from_bits(u32::from(bits) << 16);
            let code = |value: f32| {
                let steps = if scale == 0.0 { 0.0 } else { value / scale };
                (steps.round() + 8.0).clamp(0.0, 15.0) as u8
            };
            dst[..2].copy_from_slice(&bits.to_le_bytes());
            for (pair, dst) in values.chunks(2).zip(&mut dst[2..]) {
                *dst = code(pair[0]) | code(pair[1]) << 4;
            }
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> bitquilt::plugin_api::Result<()> {
        for (block, dst) in blocks.chunks(66).zip(dst.chunks_mut(128)) {
            let scale = f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16);
            for (byte, pair) in block[2..].iter().zip(dst.chunks_mut(2)) {
                pair[0] = (f32::from(byte & 15) - 8.0) * scale;
                pair[1] = (f32::from(byte >> 4) - 8.0) * scale;
            }
        }
        Ok(())
    }
}

#[test]
fn an_encoding_of_the_program_is_chosen_where_it_is_better() {
    let session = InferenceSession::builder().threads(1).encoding(Wide).build().unwrap();
    let of = |encodings: &[&str]| {
        Search { target: TargetSize::Bits(4.2), encodings, ..Search::default() }.of_graph(&session).unwrap()
    };
    let (with, without) = (of(&["q8_0", "q2_0", "test.wide"]), of(&["q8_0", "q2_0"]));
    assert!(with.loss < without.loss, "{:#?}", with.candidates);
    assert!(with.weights.iter().any(|weight| weight.choice().target.to_string() == "test.wide"));
}

#[test]
fn what_cannot_be_is_one_sentence() {
    let session = session(1);
    let graph = graph(&session);
    let with = |weights: &TensorDict| graph.with_weights(weights).unwrap();
    let mut nan = random([WIDTH, WIDTH], 0.1, &mut Random::new(1)).values::<f32>().unwrap().to_vec();
    nan[200] = f32::NAN;
    let nan = Tensor::new([WIDTH, WIDTH], nan).unwrap();
    let nan_inputs = vec![TensorDict::from_iter([("x", Tensor::full([1, WIDTH], f32::NAN))])];
    let encoded = nan.as_encoded(session.registry().require_encoding("f32").unwrap().spec()).unwrap();
    let with_nan = with(&TensorDict::from_iter([("constant.2", encoded)]));
    let mut unused = Graph::new(session.registry(), [TensorType::f32([2, WIDTH])]).unwrap();
    let [used, idle] = [1, 2]
        .map(|seed| unused.quantize("f32", &random([WIDTH, WIDTH], 0.1, &mut Random::new(seed))).unwrap());
    let y = unused.qmatmul(unused.input(0), used).unwrap();
    unused.qmatmul(y, idle).unwrap();
    unused.output(y).unwrap();
    let unused_inputs = vec![TensorDict::from_iter([("input0", Tensor::full([2, WIDTH], 1f32))])];
    let empty = Graph::new(session.registry(), [TensorType::f32([2, WIDTH])]).unwrap();
    let small = Search { target: TargetSize::Bits(0.5), ..Search::default() };
    let fixed =
        Search { fixed: &[("constant.1", "keep")], target: TargetSize::Bytes(60_000), ..Search::default() };
    let lamp = Search { encodings: &["q4_0", "lamp"], ..Search::default() };
    let plain = Search::default();
    for (search, graph, sets, expected) in [
        (&small, &graph, inputs(), "the target of 6144 bytes is below what is possible: the 6 weights take"),
        (
            &fixed,
            &graph,
            inputs(),
            "the recipe fixes the encodings of 1 weights, which take 65536 bytes; the target for all weights is 60000 bytes",
        ),
        (&lamp, &graph, inputs(), "no encoding `lamp` is registered"),
        (&plain, &graph, Vec::new(), "there are no inputs to measure the loss on"),
        (
            &plain,
            &graph,
            nan_inputs,
            "the output `y` of the model as it is holds what is no finite number: no loss can be measured",
        ),
        (&plain, &with_nan, inputs(), "tensor `constant.2`: the value at row 1, column 72 is NaN"),
        (
            &plain,
            &unused,
            unused_inputs,
            "no output of the graph depends on the weight `constant.1`: it has no loss that could be measured; exclude it",
        ),
        (&plain, &empty, inputs(), "there are no weights of rank 2 or more to choose encodings for"),
    ] {
        let found = search.run(&Subject::of_graph("g", graph, sets), &session, &mut Vec::new()).map(drop);
        let found = found.unwrap_err();
        assert!(found.contains(expected), "{found}\nwas found, and expected was\n{expected}");
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let cache = directory.path().join("file");
    let found = Search { cache: Some(&cache), ..Search::default() }.of_graph(&session).map(drop).unwrap_err();
    assert!(found.contains("file"), "{found}");
    assert_eq!(Subject::of_graph("g", &graph, Vec::new()).measure, Measure::RelativeError);
}
