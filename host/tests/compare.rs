//! Weights of checkpoints, compared with others and with what encodings make of them.
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::quantize::NamePattern;
use bitquilt::quantize::compare::{CompareError, Comparison, Difference, Mismatch, Reference};
use bitquilt::registry::Registry;
use bitquilt::{InferenceSession, Tensor, TensorDict};

struct Workplace {
    directory: tempfile::TempDir,
    session: InferenceSession,
}

impl Workplace {
    fn new() -> Self {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        Self { directory: tempfile::tempdir().unwrap(), session }
    }

    fn registry(&self) -> &Registry {
        self.session.registry()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn save(&self, name: &str, tensors: &[(&str, Tensor)]) -> Checkpoint {
        let dict: TensorDict = tensors.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
        checkpoint::save(&dict, self.path(name)).unwrap();
        Checkpoint::open(self.path(name)).unwrap()
    }

    fn encode(&self, encoding: &str, tensor: &Tensor) -> Tensor {
        self.registry().require_encoding(encoding).unwrap().quantize(tensor).unwrap().tensor
    }

    fn compare(&self, reference: &Checkpoint, other: &Checkpoint) -> Result<Comparison, String> {
        let compared = Reference::new(reference, self.registry()).compare(other, |_| {});
        compared.map_err(|error| self.scrub(&error))
    }

    fn scrub(&self, error: &CompareError) -> String {
        scrub(error, self.directory.path())
    }
}

fn scrub(error: &impl ToString, directory: &Path) -> String {
    error.to_string().replace(&format!("{}/", directory.display()), "")
}

fn matrix(shape: [usize; 2], values: &[f32]) -> Tensor {
    Tensor::new(shape, values).unwrap()
}

/// Values of many magnitudes.
fn noise(shape: [usize; 2]) -> Tensor {
    let value = |i: usize| ((i * 7919 % 4093) as f32 - 2046.0) / 1024.0;
    matrix(shape, &(0..shape[0] * shape[1]).map(value).collect::<Vec<_>>())
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} is not {expected}");
}

#[test]
fn figures_are_those_by_hand_and_the_worst_comes_first() {
    let here = Workplace::new();
    let ids = Tensor::new([2], [1i64, 2]).unwrap();
    let norm = Tensor::full([4], 0.5f32);
    let a = here.save(
        "a",
        &[
            ("ids", ids.clone()),
            ("norm", norm.clone()),
            ("u", matrix([1, 2], &[1.0, 0.0])),
            ("v", matrix([2, 1], &[3.0, 4.0])),
        ],
    );
    let b = here.save(
        "b",
        &[
            ("ids", ids),
            ("norm", norm),
            ("u", matrix([1, 2], &[0.0, 1.0])),
            ("v", matrix([2, 1], &[3.0, 2.5])),
        ],
    );
    let compared = here.compare(&a, &b).unwrap();
    let names: Vec<_> = compared.weights.iter().map(|it| (it.name.as_str(), it.encoding.as_str())).collect();
    assert_eq!(names, [("u", "f32"), ("v", "f32"), ("norm", "f32")]);
    assert_eq!(compared.unlike, None);

    let of = |index: usize| &compared.weights[index].difference;
    near(of(0).rel_rms(), 2f64.sqrt());
    near(of(0).cosine(), 0.0);
    near(of(1).rel_rms(), 0.3);
    near(of(1).snr_db().unwrap(), 10.0 * (25.0f64 / 2.25).log10());
    near(of(1).cosine(), 19.0 / (25.0f64 * 15.25).sqrt());
    assert_eq!((of(1).max_abs(), of(2).rel_rms(), of(2).snr_db(), of(2).cosine()), (1.5, 0.0, None, 1.0));
    // Squares of A: 1 and 25 and 1; of the error: 2 and 2.25.
    near(compared.total().rel_rms(), (4.25f64 / 27.0).sqrt());
    assert_eq!((compared.bytes(), compared.bits(), compared.total().values()), (32, 32.0, 8));
}

#[test]
fn weights_are_compared_with_what_encodings_make_of_them() {
    let here = Workplace::new();
    // A block of q4_0 whose scale is 1: all is exact but 0.5, which becomes 1.
    let mut values = [0f32; 32];
    (values[0], values[1], values[2]) = (-8.0, 7.0, 0.5);
    let a = here.save(
        "a",
        &[("w", matrix([1, 32], &values)), ("odd", noise([2, 33])), ("norm", Tensor::full([32], 1f32))],
    );
    let compared = Reference::new(&a, here.registry()).encode("q4_0", None, |_| {}).unwrap();
    let [weight] = &compared.weights[..] else { panic!("{compared:?}") };
    assert_eq!((weight.name.as_str(), weight.encoding.as_str(), weight.bytes), ("w", "q4_0", 18));
    assert_eq!((weight.bits(), weight.difference.max_abs()), (4.5, 0.5));
    near(weight.difference.rel_rms(), (0.25f64 / 113.25).sqrt());
    assert_eq!(compared.unfit, [("odd".to_owned(), 33)]);

    // The same as with a checkpoint that has them.
    let tensor = noise([70, 1024]);
    let (a, bf16) = (here.save("a", &[("w", tensor.clone())]), here.encode("bf16", &tensor));
    for encoding in ["q8_0", "q4_k", "iq4_nl", "bf16"] {
        let b = here.save("b", &[("w", here.encode(encoding, &tensor))]);
        let expected = here.compare(&a, &b).unwrap();
        let found = Reference::new(&a, here.registry()).encode(encoding, None, |_| {}).unwrap();
        assert_eq!(found.weights[0].difference, expected.weights[0].difference, "{encoding}");
        assert_eq!(found.bits(), expected.bits(), "{encoding}");
        assert!(found.total().rel_rms() > 0.0 && found.total().rel_rms() < 0.2, "{encoding}: {found:?}");
        // Whole, they are those of the checkpoint, too.
        let encoded = Reference::new(&a, here.registry()).encoded(encoding, None).unwrap();
        assert_eq!(encoded.require("w").unwrap(), &b.tensor("w", here.registry()).unwrap(), "{encoding}");
    }
    // What has the encoding already is as it was.
    let same = here.save("same", &[("w", bf16)]);
    let found = Reference::new(&same, here.registry()).encode("bf16", None, |_| {}).unwrap();
    assert!(found.total().is_exact());
}

#[test]
fn figures_do_not_depend_on_the_number_of_threads() {
    let here = Workplace::new();
    let (tensor, other) = (noise([300, 512]), here.encode("q5_k", &noise([300, 512])));
    let (a, b) = (here.save("a", &[("w", tensor)]), here.save("b", &[("w", other)]));
    let figures: Vec<[Difference; 2]> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let reference = Reference::new(&a, here.registry());
                let encoded = reference.encode("q4_0", None, |_| {}).unwrap();
                [here.compare(&a, &b).unwrap().total(), encoded.total()]
            })
        })
        .collect();
    assert!(figures.iter().all(|it| *it == figures[0]), "{figures:?}");
}

#[test]
fn a_value_that_is_not_finite_is_named_wherever_it_is() {
    let here = Workplace::new();
    let mut values = vec![1f32; 9000 * 512];
    let whole = here.save("whole", &[("w", matrix([9000, 512], &values))]);
    (values[8500 * 512 + 7], values[8999 * 512]) = (f32::NAN, f32::INFINITY);
    let broken = here.save("broken", &[("w", matrix([9000, 512], &values))]);
    let encoded = Reference::new(&broken, here.registry()).encode("q4_0", None, |_| {}).unwrap_err();
    let sentence =
        "broken, tensor `w`: the value at row 8500, column 7 is NaN; only finite values are compared";
    for (found, expected) in [
        (here.compare(&whole, &broken).unwrap_err(), sentence),
        (here.compare(&broken, &whole).unwrap_err(), sentence),
        (
            here.scrub(&encoded),
            "broken, tensor `w`: the value at row 8500, column 7 is NaN; `q4_0` encodes finite values only",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_two_checkpoints_do_not_share_is_one_sentence() {
    let here = Workplace::new();
    let x = || Tensor::full([2, 32], 1f32);
    let a = here.save("a", &[("layer.0.up", x()), ("layer.0.down", x()), ("same", x()), ("text", x())]);
    let text = Tensor::full([4], 1u8);
    let b = here.save(
        "b",
        &[("layer_0.up", x()), ("layer.0.down", Tensor::full([32, 2], 1f32)), ("same", x()), ("text", text)],
    );
    let compared = here.compare(&a, &b).unwrap();
    assert_eq!(compared.weights.len(), 1);
    let unlike = compared.unlike.unwrap();
    assert!(unlike.mismatches.contains(&Mismatch::NotInReference {
        name: "layer_0.up".to_owned(),
        similar: vec!["layer.0.up".to_owned()]
    }));
    assert_eq!(
        scrub(&unlike, here.directory.path()),
        "a and b have not the same weights: b lacks `layer.0.up` (is it `layer_0.up` there?); a lacks `layer_0.up` (is it `layer.0.up` \
         there?); the shapes of `layer.0.down` ([2, 32] and [32, 2]) differ; b has no floats in `text` (u8)"
    );
    let only = NamePattern::new("same").unwrap();
    let compared = Reference::new(&a, here.registry()).only(Some(&only)).compare(&b, |_| {}).unwrap();
    assert_eq!((compared.weights.len(), compared.unlike), (1, None));

    let many: Vec<(String, Tensor)> = (0..9).map(|index| (format!("q{index}"), x())).collect();
    let many: Vec<(&str, Tensor)> =
        many.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let unlike = here.compare(&here.save("many", &many), &a).unwrap().unlike.unwrap();
    let said = scrub(&unlike, here.directory.path());
    assert_eq!(
        said,
        "many and a have not the same weights: a lacks `q0`, `q1`, `q2` and 6 more; many lacks `layer.0.down`, `layer.0.up`, `same` and \
         1 more"
    );
}

#[test]
fn what_cannot_be_compared_is_a_sentence() {
    let here = Workplace::new();
    let a = here.save("a", &[("w", noise([2, 33])), ("v", noise([2, 31]))]);
    let none = here.save("none", &[("ids", Tensor::full([2, 2], 1i64))]);
    let of = |file: &Checkpoint, only: Option<&str>, encoding: &str, importance: Option<&TensorDict>| {
        let only = only.map(|glob| NamePattern::new(glob).unwrap());
        let reference = Reference::new(file, here.registry()).only(only.as_ref());
        here.scrub(&reference.encode(encoding, importance, |_| {}).unwrap_err())
    };
    for (found, expected) in [
        (
            of(&a, None, "q4_0", None),
            "a: none of the 2 weights has rows of whole blocks of `q4_0`, which have 32 values; the rows of `v` have 31",
        ),
        (
            of(&none, None, "q4_0", None),
            "none has no weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values)",
        ),
        (
            of(&a, Some("x*"), "bf16", None),
            "a has no weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values) whose names match `x*`",
        ),
        (
            here.compare(&none, &none).unwrap_err(),
            "none has no tensors that hold f32, f16 or bf16 values or are encoded",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let unknown = of(&a, None, "q4_9", None);
    assert!(unknown.contains("`q4_9`"), "{unknown}");
    let blind = here.save("blind", &[("w", noise([1, 256]))]);
    assert_eq!(
        of(&blind, None, "iq2_xxs", None),
        "blind, tensor `w`: `iq2_xxs` needs an importance vector: one weight for each of the 256 columns"
    );
}

#[test]
fn histograms_count_what_is_compared_and_only_where_they_are_asked_for() {
    let here = Workplace::new();
    // More than is encoded at a time.
    let (rows, columns) = (2100, 2048);
    let a = here.save("a", &[("w", noise([rows, columns])), ("zeros", Tensor::full([2, 32], 0f32))]);
    let registry = here.registry();
    let without = Reference::new(&a, registry).encode("q4_0", None, |_| {}).unwrap();
    assert!(without.weights.iter().all(|weight| weight.histograms.is_none()));
    let asked = || Reference::new(&a, registry).with_histograms(true);
    let with = asked().encode("q4_0", None, |_| {}).unwrap();
    let encoded = |name: &str| {
        let rows = a.tensor(name, registry).unwrap();
        let decoded = registry.to_f32(&here.encode("q4_0", &rows)).unwrap();
        (rows.values::<f32>().unwrap().to_vec(), decoded.values::<f32>().unwrap().to_vec())
    };
    for (weight, plain) in with.weights.iter().zip(&without.weights) {
        assert_eq!(weight.difference, plain.difference);
        let (values, decoded) = encoded(&weight.name);
        let errors: Vec<f32> = values.iter().zip(&decoded).map(|(a, b)| a - b).collect();
        let found = weight.histograms.clone().unwrap();
        for (histogram, values) in [(&found.values, &values), (&found.error, &errors)] {
            let side = histogram.counts.len() / 2;
            let mut expected = vec![0u64; 2 * side + 1];
            for value in values {
                let steps =
                    (f64::from(value.abs()) / histogram.width + 0.5).floor().min(side as f64) as usize;
                expected[if *value < 0.0 { side - steps } else { side + steps }] += 1;
            }
            assert_eq!(histogram.counts, expected, "{}", weight.name);
        }
    }
    // The same for every number of threads, and of one file beside another.
    let (b, c) =
        (here.save("b", &[("w", noise([8, 32]))]), here.save("c", &[("w", Tensor::full([8, 32], 0.25f32))]));
    for threads in [1, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| asked().encode("q4_0", None, |_| {})).unwrap(), with);
        let beside =
            pool.install(|| Reference::new(&b, registry).with_histograms(true).compare(&c, |_| {})).unwrap();
        let found = beside.weights[0].histograms.clone().unwrap();
        assert_eq!([found.values.counts.iter().sum::<u64>(), found.error.counts.iter().sum()], [256, 256]);
    }
}
