//! `bitquilt quantize` and `bitquilt dequantize`, and what they say of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::registry::Registry;
use bitquilt::{DType, Graph, InferenceSession, Tensor, TensorDict, TensorType, dim};
use bitquilt_tests::gguf::{GgufFile, GgufTensor};

/// A directory with a model, and the command in it.
struct Workplace {
    directory: tempfile::TempDir,
    session: InferenceSession,
}

impl Workplace {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let this = Self { directory, session: InferenceSession::builder().build().unwrap() };
        this.save("model", &this.model());
        this
    }

    /// Two layers of weights, of all three dtypes, and what is no weight.
    fn model(&self) -> TensorDict {
        let mut model = TensorDict::new();
        model.insert("layer.0.up", Tensor::new([3, 512], values(3 * 512)).unwrap());
        model.insert("layer.0.down", narrow(DType::F16, [2, 256]));
        model.insert("layer.1.up", narrow(DType::BF16, [5, 256]));
        model.insert(
            "layer.1.done",
            self.registry().require_encoding("q8_0").unwrap().quantize(&weight([2, 64])).unwrap().tensor,
        );
        model.insert("norm", Tensor::new([512], values(512)).unwrap());
        model.insert("ids", Tensor::new([2, 2], [1i64, 2, 3, 4]).unwrap());
        model.insert("experts", weight([2, 2, 256]));
        model.insert("kernel", weight([2, 1, 2, 3]));
        model.metadata_mut().insert("author", "nobody");
        model
    }

    fn registry(&self) -> &Registry {
        self.session.registry()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn save(&self, name: &str, tensors: &TensorDict) {
        checkpoint::save(tensors, self.path(name)).unwrap();
    }

    fn load(&self, name: &str) -> TensorDict {
        checkpoint::load(self.path(name), self.registry()).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
        command.current_dir(self.directory.path()).args(arguments);
        command.env_remove("BITQUILT_PLUGIN_PATH").env("XDG_DATA_HOME", self.directory.path());
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command says as it fails, on one line; nothing was written.
    fn fails(&self, arguments: &[&str]) -> String {
        let before = self.files();
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(self.files(), before, "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        text.split_whitespace().filter(|word| !["×", "│"].contains(word)).collect::<Vec<_>>().join(" ")
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// Values of both signs and many magnitudes, all of which bf16 and f16 hold.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 255) as f32 - 127.0) / 64.0).collect()
}

fn weight<const R: usize>(shape: [usize; R]) -> Tensor {
    Tensor::new(shape, values(shape.iter().product())).unwrap()
}

/// [`weight`] in a smaller dtype.
fn narrow(dtype: DType, shape: [usize; 2]) -> Tensor {
    let bits = |x: f32| match dtype {
        DType::F16 => half::f16::from_f32(x).to_bits(),
        _ => half::bf16::from_f32(x).to_bits(),
    };
    let bytes: Vec<u8> =
        values(shape.iter().product()).into_iter().flat_map(|x| bits(x).to_le_bytes()).collect();
    Tensor::from_bytes(dtype, shape, &bytes).unwrap()
}

#[test]
fn weights_are_encoded_and_the_rest_is_carried_over() {
    let here = Workplace::new();
    let said = here.succeeds(&["quantize", "model", "out", "--encoding", "q4_k"]);
    assert!(said.starts_with("out: of 8 tensors 4 are q4_k\n\n"), "{said}");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    // 512 x 3 + 256 x 2 + 256 x 5 + 256 x 4 values of 4.5 bits; of the two that are narrow, two bytes a value before.
    let row = lines.iter().find(|line| line.first() == Some(&"q4_k")).unwrap();
    assert_eq!(row[1..5], ["4", "0.01", "0.00", "4.500"], "{said}");
    assert!(row[5].ends_with('%') && !row[5].starts_with("0.000"), "{said}");
    assert!(lines.iter().any(|line| line.starts_with(&["q8_0,", "as", "before", "1"])), "{said}");
    assert!(said.contains("and 3 other tensors of "), "{said}");
    assert!(
        said.contains("`layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew"),
        "{said}"
    );
    let (model, out) = (here.load("model"), here.load("out"));
    assert_eq!(out.metadata(), model.metadata());
    let encoding = here.registry().require_encoding("q4_k").unwrap();
    for (name, tensor) in model.iter() {
        let expected = match name {
            "layer.0.up" => encoding.quantize(tensor).unwrap().tensor,
            "layer.0.down" => encoding.quantize(&weight([2, 256])).unwrap().tensor,
            "layer.1.up" => encoding.quantize(&weight([5, 256])).unwrap().tensor,
            "experts" => encoding.quantize(&weight([2, 2, 256])).unwrap().tensor,
            _ => tensor.clone(),
        };
        assert_eq!(out.require(name).unwrap(), &expected, "{name}");
    }
    let file = fs::read(here.path("out")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let stored = tensors.tensor("layer.0.up").unwrap();
    assert_eq!((stored.dtype(), stored.shape()), (safetensors::Dtype::U8, &[3, 288][..]));
    let inspected = here.succeeds(&["inspect", "out"]);
    let mut lines = inspected.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert!(lines.any(|line| line == "q4_k [3, 512] 864 bytes layer.0.up"), "{inspected}");
}

#[test]
fn dequantizing_restores_f32() {
    let here = Workplace::new();
    here.succeeds(&["quantize", "model", "out", "-e", "q6_k", "--only", "layer.0.*"]);
    assert_eq!(here.succeeds(&["dequantize", "out", "back"]), "back: 3 of 8 tensors were decoded to f32\n");
    let (model, out, back) = (here.load("model"), here.load("out"), here.load("back"));
    assert_eq!(back.metadata(), model.metadata());
    for (name, tensor) in back.iter() {
        let encoded = out.require(name).unwrap();
        let expected = match encoded.encoding() {
            Some(_) => here.registry().to_f32(encoded).unwrap(),
            None => model.require(name).unwrap().clone(),
        };
        assert_eq!(tensor, &expected, "{name}");
    }
    // Decoded values are encoded as the same bytes: nothing is lost from there on.
    here.succeeds(&["quantize", "back", "again", "-e", "q8_0", "--only", "layer.1.done"]);
    assert_eq!(here.load("again").get("layer.1.done"), model.get("layer.1.done"));
}

#[test]
fn what_is_read_is_not_written_over() {
    let here = Workplace::new();
    fs::hard_link(here.path("model"), here.path("same")).unwrap();
    for output in ["model", "./model", "same"] {
        let sentence = format!("{output} is the file that is read; name another for what is written");
        assert_eq!(here.fails(&["quantize", "model", output, "-e", "q4_0"]), sentence);
        assert_eq!(here.fails(&["quantize", "model", output, "-e", "q4_0", "--dry-run"]), sentence);
        assert_eq!(here.fails(&["dequantize", "model", output]), sentence);
        assert_eq!(here.fails(&["convert", "model", output]), sentence);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let here = Workplace::new();
    let mut model = TensorDict::new();
    model.insert("w", weight([64, 4096]));
    here.save("large", &model);
    for (threads, out) in [("1", "one"), ("2", "two"), ("5", "five")] {
        here.succeeds(&["quantize", "large", out, "-e", "iq3_s", "--threads", threads]);
        here.succeeds(&["dequantize", out, &format!("{out}-back"), "--threads", threads]);
    }
    for (one, other) in [("one", "two"), ("one", "five"), ("one-back", "two-back"), ("one-back", "five-back")]
    {
        assert_eq!(fs::read(here.path(one)).unwrap(), fs::read(here.path(other)).unwrap(), "{other}");
    }
}

#[test]
fn importance_is_a_vector_for_each_weight() {
    let here = Workplace::new();
    let vector: Vec<f32> = (0..512).map(|i| (i % 9) as f32).collect();
    let mut importance = TensorDict::new();
    importance.insert("layer.0.up", Tensor::new([512], &vector).unwrap());
    here.save("importance", &importance);
    let only = ["--only", "layer.0.up", "--importance", "importance"];
    for name in ["q4_k", "iq2_xxs"] {
        here.succeeds(&[&["quantize", "model", "out", "-e", name], &only[..]].concat());
        let encoding = here.registry().require_encoding(name).unwrap();
        let expected = encoding.quantize_with_importance(&weight([3, 512]), &vector).unwrap().tensor;
        assert_eq!(here.load("out").require("layer.0.up").unwrap(), &expected, "{name}");
    }
    // Whoever takes no account of it says so.
    let output = here.run(&[&["quantize", "model", "out", "-e", "q8_0"], &only[..]].concat());
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("`q8_0` takes no account of importance"));
}

#[test]
fn wrong_importance_is_refused() {
    let here = Workplace::new();
    let says = |vector: Tensor| {
        let mut importance = TensorDict::new();
        importance.insert("layer.0.up", vector);
        here.save("importance", &importance);
        here.fails(&[
            "quantize",
            "model",
            "out",
            "-e",
            "q4_0",
            "--only",
            "layer.0.up",
            "--importance",
            "importance",
        ])
    };
    let with = |value: f32| {
        let mut values = vec![1.0; 512];
        values[7] = value;
        Tensor::new([512], values).unwrap()
    };
    let not = |value: &str| {
        let expected = "finite numbers that are not negative were expected";
        format!("importance, tensor `layer.0.up`: it has {value} at column 7; {expected}")
    };
    let wide =
        |columns| format!("importance: `layer.0.up` has {columns} columns there, and 512 in the model");
    for (vector, sentence) in [
        (Tensor::full([511], 1f32), wide(511)),
        (Tensor::full([2, 512], 1f32), wide(1024)),
        (with(f32::NAN), not("NaN")),
        (with(-1.0), not("-1")),
        (with(f32::INFINITY), not("inf")),
        (
            Tensor::full([512], 1f64),
            "importance, tensor `layer.0.up`: it is f64 [512], an f32 vector was expected".to_owned(),
        ),
        (
            Tensor::full([1, 1, 512], 1f32),
            "importance, tensor `layer.0.up`: it is f32 [1, 1, 512], an f32 vector was expected".to_owned(),
        ),
    ] {
        assert_eq!(says(vector), sentence);
    }
    let own = here.fails(&["quantize", "model", "importance", "-e", "q4_0", "--importance", "./importance"]);
    assert_eq!(own, "./importance is the importance, which would be lost; name another OUT");
    here.save("other", &[("blk.0.up", Tensor::full([512], 1f32))].into_iter().collect());
    assert_eq!(
        here.fails(&["quantize", "model", "out", "-e", "q4_0", "--importance", "other"]),
        "other has importance for weights such as `blk.0.up`, and none for a weight of the model, such as `experts`; record it from this \
         model, or from a file with the same names"
    );
    let needed = here.fails(&["quantize", "model", "out", "-e", "iq1_s"]);
    assert!(needed.starts_with("`iq1_s` needs importance: give --importance FILE"), "{needed}");
}

#[test]
fn wrong_values_and_shapes_are_refused() {
    let here = Workplace::new();
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut rows = values(4 * 96);
        rows[2 * 96 + 31] = value;
        // A later one is not what is named.
        rows[3 * 96] = f32::NAN;
        let mut model = here.model();
        model.insert("layer.2.up", Tensor::new([4, 96], rows).unwrap());
        here.save("bad", &model);
        let said = here.fails(&["quantize", "bad", "out", "-e", "q4_0"]);
        let sentence = format!("the value at row 2, column 31 is {shown}; `q4_0` encodes finite values only");
        assert_eq!(said, format!("bad, tensor `layer.2.up`: {sentence}"));
    }
    let said = here.fails(&["quantize", "bad", "out", "-e", "q4_k"]);
    assert_eq!(
        said,
        "bad: weight `layer.2.up`: its rows have 96 values, no multiple of the 256 in a block of `q4_k`; choose another encoding for \
         it, or a `fallback` that fits, or leave it out with --exclude"
    );
    // Half an infinity is one, too.
    let infinite =
        [half::f16::ONE, half::f16::INFINITY].map(|x| x.to_bits().to_le_bytes()).concat().repeat(16);
    let mut model = TensorDict::new();
    model.insert("w", Tensor::from_bytes(DType::F16, [1, 32], &infinite).unwrap());
    here.save("bad", &model);
    assert!(here.fails(&["quantize", "bad", "out", "-e", "bf16"]).contains("row 0, column 1 is inf"));
}

#[test]
fn a_recipe_says_which_weight_gets_what() {
    let here = Workplace::new();
    let recipe = "fallback = 'q8_0'\n[[rule]]\nweights = 'layer.0.*'\nencoding = 'q6_k'\n[[rule]]\nweights = 'experts'\n\
                  encoding = 'keep'\n[[rule]]\nweights = '*'\nencoding = 'q4_k'\n";
    fs::write(here.path("r.toml"), recipe).unwrap();
    let mut model = here.model();
    model.insert("layer.2.up", weight([4, 96]));
    here.save("model", &model);
    let said = here.succeeds(&["quantize", "model", "out", "--recipe", "r.toml"]);
    assert!(
        said.starts_with(
            "out: of 9 tensors 1 is q4_k; 2 are q6_k; 1 is q8_0, since its rows are no whole blocks of q4_k\n"
        ),
        "{said}"
    );
    let out = here.load("out");
    let elements: Vec<String> =
        out.iter().map(|(name, tensor)| format!("{name} {}", tensor.element())).collect();
    let expected = [
        "experts f32",
        "ids i64",
        "kernel f32",
        "layer.0.down q6_k",
        "layer.0.up q6_k",
        "layer.1.done q8_0",
        "layer.1.up q4_k",
        "layer.2.up q8_0",
        "norm f32",
    ];
    assert_eq!(elements, expected);
    // The same weights with one encoding and its fallback.
    let said = here.succeeds(&["quantize", "model", "one", "-e", "q4_k", "--fallback", "q8_0"]);
    assert!(
        said.starts_with(
            "one: of 9 tensors 4 are q4_k; 1 is q8_0, since its rows are no whole blocks of q4_k\n"
        ),
        "{said}"
    );
    assert_eq!(here.load("one").get("layer.2.up"), out.get("layer.2.up"));

    fs::write(here.path("r.toml"), "[[rule]]\nweights = 'block.*'\nencoding = 'q4_0'\n").unwrap();
    let said = here.fails(&["quantize", "model", "out2", "--recipe", "r.toml"]);
    assert!(
        said.starts_with("model: the rule `block.*` = q4_0 of the recipe decides for no weight"),
        "{said}"
    );
    let neither = here.run(&["quantize", "model", "out2"]);
    assert_eq!(neither.status.code(), Some(2));
    let said = String::from_utf8(neither.stderr).unwrap();
    assert!(said.contains("--encoding <[GLOB=]NAME>") && said.contains("--recipe <FILE.toml>"), "{said}");
}

/// A model of one weight `w`, [2, 256].
fn one_weight(here: &Workplace, name: &str, scale: impl Fn(usize) -> f32) {
    let mut model = TensorDict::new();
    let rows: Vec<f32> = values(512).into_iter().enumerate().map(|(i, x)| x * scale(i)).collect();
    model.insert("w", Tensor::new([2, 256], rows).unwrap());
    here.save(name, &model);
}

#[test]
fn weights_that_no_block_holds_are_refused() {
    let here = Workplace::new();
    one_weight(&here, "large", |_| 1e9);
    one_weight(&here, "outlier", |i| if i == 300 { 1e30 } else { 1.0 });
    fs::write(here.path("out"), "kept").unwrap();
    for encoding in ["q4_0", "q4_k", "q6_k", "iq4_xs", "f16"] {
        let said = here.fails(&["quantize", "large", "out", "-e", encoding]);
        assert!(said.starts_with("large, tensor `w`: the value at row 0, column "), "{said}");
        assert!(said.contains(&format!("`{encoding}`")) && said.contains(" would decode to "), "{said}");
    }
    for encoding in ["q4_0", "q4_k", "f16"] {
        let said = here.fails(&["quantize", "outlier", "out", "-e", encoding]);
        assert!(said.starts_with("outlier, tensor `w`: the value at row 1, column 44 is "), "{said}");
    }
}

/// What the command says on standard error as it succeeds.
fn warns(here: &Workplace, arguments: &[&str]) -> String {
    let output = here.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn lost_rows_are_warned_of() {
    let here = Workplace::new();
    one_weight(&here, "small", |_| 1e-8);
    one_weight(&here, "half", |i| if i < 256 { 1.0 } else { 1e-8 });
    let said = warns(&here, &["quantize", "small", "out", "-e", "q4_0"]);
    assert!(
        said.contains("small, tensor `w`: `q4_0` loses rows 0 to 1 of 2: row 0 has a norm of "),
        "{said}"
    );
    let said = warns(&here, &["quantize", "half", "out", "-e", "q8_0"]);
    assert!(said.contains("half, tensor `w`: `q8_0` loses row 1 of 2: "), "{said}");
    assert_eq!(warns(&here, &["quantize", "half", "out", "-e", "bf16"]), "");
}

#[test]
fn silent_importance_is_warned_of() {
    let here = Workplace::new();
    for (weight, warned) in [(0.0f32, true), (1e-45, false), (1e37, false)] {
        let mut importance = TensorDict::new();
        importance.insert("layer.0.down", Tensor::full([256], weight));
        here.save("importance", &importance);
        let only = ["--only", "layer.0.down", "--importance", "importance"];
        let said = warns(&here, &[&["quantize", "model", "out", "-e", "q6_k"], &only[..]].concat());
        let sentence = "model, tensor `layer.0.down`: the importance is zero throughout block 0 of `q6_k`";
        assert_eq!(said.contains(sentence), warned, "{weight}: {said}");
        let decoded = here.registry().to_f32(here.load("out").require("layer.0.down").unwrap()).unwrap();
        let errors = decoded.values::<f32>().unwrap().iter().zip(values(512)).map(|(a, b)| (a - b).abs());
        assert!(errors.fold(0.0, f32::max) < 0.1, "{weight}");
    }
}

#[test]
fn blocks_that_decode_to_nan_are_warned_of() {
    let here = Workplace::new();
    let mut blocks = vec![0; 36];
    blocks[18..20].copy_from_slice(&half::f16::INFINITY.to_bits().to_le_bytes());
    let encoding = here.registry().require_encoding("q4_0").unwrap();
    let mut model = TensorDict::new();
    model.insert("w", Tensor::from_encoded(encoding.spec(), [1, 64], &blocks).unwrap());
    here.save("infinite", &model);
    let said = warns(&here, &["dequantize", "infinite", "out"]);
    let sentence =
        "infinite, tensor `w`: 32 of 64 values decode to NaN or infinity; the first is at row 0, column 32";
    assert!(said.contains(sentence), "{said}");
}

/// The encodings of a file's weights, by name.
fn elements(here: &Workplace, name: &str) -> Vec<String> {
    let file = Checkpoint::open(here.path(name)).unwrap();
    let weights =
        file.tensors().filter(|(name, stored)| matches!(stored.shape().len(), 2 | 3) && *name != "ids");
    weights.map(|(name, stored)| format!("{name}={}", stored.element())).collect()
}

#[test]
fn explicit_choices_go_before_everything() {
    let here = Workplace::new();
    fs::write(here.path("r.toml"), "[[rule]]\nweights = 'layer.0.*'\nencoding = 'q6_k'\n").unwrap();
    for (arguments, expected) in [
        (
            &["-e", "q4_0", "-e", "layer.0.*=q8_0", "-e", "layer.0.up=q5_1"][..],
            ["experts=q4_0", "layer.0.down=q8_0", "layer.0.up=q5_1", "layer.1.done=q8_0", "layer.1.up=q4_0"],
        ),
        (
            &["--recipe", "r.toml", "-e", "{layer.0.up,experts}=q4_1"],
            ["experts=q4_1", "layer.0.down=q6_k", "layer.0.up=q4_1", "layer.1.done=q8_0", "layer.1.up=bf16"],
        ),
        (
            &["--recipe", "r.toml", "-e", "q4_1", "--exclude", "ex*", "--exclude", "layer.1.up"],
            ["experts=f32", "layer.0.down=q6_k", "layer.0.up=q6_k", "layer.1.done=q8_0", "layer.1.up=bf16"],
        ),
        (
            &["-e", "q4_1", "--requantize", "-e", "layer.0.up=f16", "-e", "layer.0.down=keep"],
            ["experts=q4_1", "layer.0.down=f16", "layer.0.up=f16", "layer.1.done=q4_1", "layer.1.up=q4_1"],
        ),
        (
            &["-e", "*.up=q4_1", "-e", "layer.0.*=q4_1"],
            ["experts=f32", "layer.0.down=q4_1", "layer.0.up=q4_1", "layer.1.done=q8_0", "layer.1.up=q4_1"],
        ),
    ] {
        let command = [&["quantize", "model", "out"], arguments].concat();
        let before = here.files();
        let preview = here.succeeds(&[&command[..], &["--dry-run"]].concat());
        assert_eq!(here.files(), before, "{arguments:?}");
        here.succeeds(&command);
        assert_eq!(elements(&here, "out"), expected, "{arguments:?}");
        for weight in expected {
            let (name, encoding) = weight.split_once('=').unwrap();
            let line = preview.lines().find(|line| line.ends_with(&format!("bytes  {name}"))).unwrap();
            assert!(line.contains(&format!("{encoding} ")), "{line}");
        }
        fs::remove_file(here.path("out")).unwrap();
    }
}

/// What has its encoding already is carried over, in whatever format.
#[test]
fn a_weight_that_has_its_encoding_stays() {
    let here = Workplace::new();
    for output in ["out", "out.gguf"] {
        here.succeeds(&["quantize", "model", output, "-e", "q8_0"]);
        assert_eq!(elements(&here, output)[3], "layer.1.done=q8_0");
        assert_eq!(here.load(output).get("layer.1.done"), here.load("model").get("layer.1.done"));
        let again = format!("again.{output}");
        here.succeeds(&["quantize", output, &again, "-e", "q8_0"]);
        assert_eq!(fs::read(here.path(output)).unwrap(), fs::read(here.path(&again)).unwrap());
    }
}

/// Weights of another encoding that stay are no success of their own, be there one that has the wanted encoding already.
#[test]
fn a_file_in_which_nothing_would_change_is_refused() {
    let here = Workplace::new();
    here.succeeds(&["quantize", "model", "mixed", "-e", "q4_0"]);
    let said = here.fails(&["quantize", "mixed", "out", "-e", "q8_0"]);
    assert!(
        said.starts_with("mixed: there is nothing to do: 4 weights are encoded already and stay so, such as"),
        "{said}"
    );
    here.succeeds(&["quantize", "mixed", "out", "-e", "q8_0", "--requantize"]);
}

#[test]
fn choices_that_cannot_be_followed_are_refused() {
    let here = Workplace::new();
    for (arguments, sentence) in [
        (
            &["-e", "layer.*.up=q4_0", "-e", "layer.0.*=q8_0"][..],
            "model: weight `layer.0.up` matches `layer.*.up` = q4_0 and `layer.0.*` = q8_0: exclude it from one of the two, or give it \
             an encoding by its own name",
        ),
        (
            &["-e", "q4_0", "-e", "q8_0"],
            "--encoding q4_0 and --encoding q8_0 are both for all weights; say GLOB=q8_0 for some",
        ),
        (
            &["-e", "layer.0.upp=q4_0"],
            "model: the rule `layer.0.upp` = q4_0 of the recipe decides for no weight: its glob matches none; did you mean `layer.0.up`?",
        ),
        (
            &["-e", "q4_0", "--exclude", "layer.0.dwn"],
            "model: `layer.0.dwn` excludes no weight: its glob matches none; did you mean `layer.0.down`?",
        ),
        (&["-e", "norm=q4_0"], "it matches no matrix; norms and biases are not encoded"),
        (
            &["-e", "experts=q4_0", "--exclude", "experts"],
            "what goes before it has taken all that it matches, such as `experts`",
        ),
        (
            &["-e", "layer.1.*=q4_0"],
            "model: weight `layer.1.done` is `q8_0` already: to encode it as `q4_0` again costs more than its first encoding did; \
             start from the original, allow it (--requantize), or exclude it",
        ),
        (
            &["-e", "q4_0", "--only", "layer.1.done"],
            "model: there is nothing to do: `layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew",
        ),
        (
            &["-e", "q4_0", "--exclude", "{experts,layer.0.*,layer.1.up}"],
            "model: there is nothing to do: `layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew",
        ),
        (&["-e", "*=q4_7"], "no encoding `q4_7` is registered"),
        (&["-e", "q4_0", "--fallback", "q4_7"], "no encoding `q4_7` is registered"),
        (&["-e", "*=q4_0", "--only", "*"], "--only * needs an --encoding without a glob"),
    ] {
        let said = here.fails(&[&["quantize", "model", "out"], arguments].concat());
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
    for wrong in [
        &["-e", "[a=q4_0"][..],
        &["-e", "*="],
        &["-e", "q4_0", "--split", "2X"],
        &["-e", "q4_0", "--format", "bin"],
    ] {
        let output = here.run(&[&["quantize", "model", "out"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn gguf_is_written_where_it_is_asked_for() {
    let here = Workplace::new();
    let exclude = ["--exclude", "layer.1.*"];
    for arguments in [&["out.gguf"][..], &["out.bin", "--format", "gguf"], &["out.GGUF"]] {
        here.succeeds(&[&["quantize", "model"], arguments, &["-e", "q4_k"], &exclude[..]].concat());
        let file = Checkpoint::open(here.path(arguments[0])).unwrap();
        assert_eq!(file.format().to_string(), "GGUF version 3");
        assert_eq!(elements(&here, arguments[0])[1..3], ["layer.0.down=q4_k", "layer.0.up=q4_k"]);
        assert_eq!(file.metadata().text("author"), Some("nobody"));
        let expected = here.registry().require_encoding("q4_k").unwrap().quantize(&weight([3, 512])).unwrap();
        assert_eq!(here.load(arguments[0]).require("layer.0.up").unwrap(), &expected.tensor);
    }
    // What GGUF has no number for is said before anything is encoded.
    let mut model = here.model();
    model.insert("mask", Tensor::full([3], 1u8));
    here.save("masked", &model);
    for command in [&["quantize", "masked", "x.gguf", "-e", "q4_k"][..], &["convert", "masked", "x.gguf"]] {
        let said = here.fails(command);
        assert!(
            said.starts_with(
                "x.gguf was not written: GGUF has no number for the type `u8`, which is that of `mask`"
            ),
            "{said}"
        );
    }
}

#[test]
fn conversion_is_lossless_or_refused() {
    let here = Workplace::new();
    here.succeeds(&["convert", "model", "a.gguf"]);
    here.succeeds(&["convert", "a.gguf", "b.safetensors"]);
    here.succeeds(&["convert", "b.safetensors", "c.gguf"]);
    assert_eq!(here.load("a.gguf"), here.load("model"));
    assert_eq!(fs::read(here.path("b.safetensors")).unwrap(), fs::read(here.path("model")).unwrap());
    assert_eq!(fs::read(here.path("a.gguf")).unwrap(), fs::read(here.path("c.gguf")).unwrap());

    // Split, put together again, and split otherwise.
    for (input, output, opened) in [
        ("a.gguf", "s.gguf", "s-00001-of-00005.gguf"),
        ("s-00003-of-00005.gguf", "t.safetensors", "t.safetensors.index.json"),
        ("t.safetensors.index.json", "whole.gguf", "whole.gguf"),
    ] {
        let split: &[&str] = if output.starts_with("whole") { &[] } else { &["--split", "3k"] };
        here.succeeds(&[&["convert", input, output], split].concat());
        assert_eq!(here.load(opened), here.load("model"), "{opened}");
    }
    assert_eq!(fs::read(here.path("whole.gguf")).unwrap(), fs::read(here.path("a.gguf")).unwrap());
    let said = here.fails(&["convert", "s-00001-of-00005.gguf", "s.gguf", "--split", "3k"]);
    assert_eq!(
        said,
        "s-00001-of-00005.gguf was not written: it is one of the files that are read; name another"
    );
}

#[test]
fn conversion_decodes_and_casts() {
    let here = Workplace::new();
    let model = here.load("model");
    for dtype in ["f32", "f16", "bf16"] {
        here.succeeds(&["convert", "model", "out", "--to", dtype]);
        let out = here.load("out");
        for (name, tensor) in out.iter() {
            let before = model.require(name).unwrap();
            let expected = match (name, dtype) {
                ("ids", _) => "i64",
                ("norm" | "kernel", _) => "f32",
                _ => dtype,
            };
            assert_eq!(tensor.element().to_string(), expected, "{name} {dtype}");
            if name != "ids" {
                let (before, after) =
                    (here.registry().to_f32(before).unwrap(), here.registry().to_f32(tensor).unwrap());
                let (before, after) = (before.values::<f32>().unwrap(), after.values::<f32>().unwrap());
                let near =
                    |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 250.0 * f32::from(dtype != "f32");
                assert!(before.iter().zip(after).all(near), "{name} {dtype}");
            }
        }
    }
    one_weight(&here, "large", |_| 1e9);
    let said = here.fails(&["convert", "large", "out2", "--to", "f16"]);
    assert!(
        said.starts_with("large, tensor `w`: the value at row 0, column 0 is")
            && said.contains("as `f16` it would decode to"),
        "{said}"
    );
}

#[test]
fn names_that_match_nothing_are_refused() {
    let here = Workplace::new();
    let says = |arguments: &[&str]| here.fails(&[&["quantize", "model", "out"], arguments].concat());
    assert_eq!(
        says(&["-e", "q4_0", "--only", "block.*"]),
        "model: no tensor matches `block.*`; the first of 4 weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values) is `experts`"
    );
    assert_eq!(
        says(&["-e", "q4_0", "--only", "{norm,ids}"]),
        "model: of the 2 tensors that match `{norm,ids}` none is among the weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values)"
    );
    assert!(says(&["-e", "q4_7"]).starts_with(
        "no encoding `q4_7` is registered; did you mean `q4_0` or `q4_1` or `q4_k`? there are bf16, f16,"
    ));
    assert!(here.fails(&["quantize", "none", "out", "-e", "q4_0"]).starts_with("cannot read none"));
    assert!(says(&["-e", "acme.int3"]).starts_with("no encoding `acme.int3` is registered"));
    // A malformed glob is a wrong command line.
    assert_eq!(here.run(&["quantize", "model", "out", "-e", "q4_0", "--only", "[a"]).status.code(), Some(2));

    let mut plain = TensorDict::new();
    plain.insert("norm", Tensor::full([4], 1f32));
    here.save("plain", &plain);
    assert!(here.fails(&["quantize", "plain", "out", "-e", "q4_0"]).starts_with("plain has no weights"));
    assert_eq!(here.fails(&["dequantize", "plain", "out"]), "plain has no encoded tensors");
}

/// A GGUF file of one f32 weight, [2, 32].
fn gguf() -> Vec<u8> {
    GgufFile::default().tensor(GgufTensor::f32("w", [32, 2], values(64))).bytes()
}

#[test]
fn a_gguf_file_is_not_written_over() {
    let here = Workplace::new();
    fs::write(here.path("blob"), gguf()).unwrap();
    fs::hard_link(here.path("blob"), here.path("hard")).unwrap();
    #[cfg(unix)]
    for (target, link) in [("blob", "soft"), ("soft", "softer")] {
        std::os::unix::fs::symlink(target, here.path(link)).unwrap();
    }
    let sentence = "it is a GGUF file, of which a safetensors file would lose a part; name another file, or remove it first";
    for input in ["blob", "model"] {
        for output in ["blob", "hard", "soft", "softer"] {
            if !here.path(output).exists() {
                continue;
            }
            let expected = match input {
                "blob" => format!("{output} is the file that is read; name another for what is written"),
                _ => format!("{output} was not written: {sentence}"),
            };
            assert_eq!(
                here.fails(&["quantize", input, output, "-e", "q4_0", "--only", "{w,experts}"]),
                expected
            );
            assert_eq!(here.fails(&["dequantize", input, output]), expected);
        }
    }
    here.succeeds(&["quantize", "blob", "out", "-e", "q4_0"]);
    here.succeeds(&["dequantize", "out", "back"]);
}

#[test]
fn a_graph_is_not_taken_apart() {
    let here = Workplace::new();
    let mut graph = Graph::new(here.session.registry(), []).unwrap();
    let weight = graph.quantize("q4_0", &weight([2, 32])).unwrap();
    let rows = graph.dequantize(weight).unwrap();
    graph.output(rows).unwrap();
    graph.save(here.path("graph")).unwrap();
    for arguments in [&["convert", "graph", "out"][..], &["dequantize", "graph", "out"]] {
        assert!(here.fails(arguments).starts_with("graph holds a graph"), "{arguments:?}");
    }
    // What `dequantize` takes is not to become something else.
    assert!(here.fails(&["quantize", "graph", "out", "-e", "q8_0"]).starts_with("graph has no weights"));
}

#[test]
fn weights_of_a_graph_are_encoded() {
    let here = Workplace::new();
    let registry = here.session.registry();
    let encode =
        |name: &str, shape| registry.require_encoding(name).unwrap().quantize(&weight(shape)).unwrap().tensor;
    let (up, down) = (encode("f32", [64, 64]), encode("q8_0", [32, 64]));
    let build = |up: &Tensor, down: &Tensor| {
        let mut graph = Graph::new(here.session.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(64)])).unwrap();
        let scale = graph.constant_named("scale", &weight([1, 64])).unwrap();
        let x = graph.mul(x, scale).unwrap();
        let up = graph.constant_named("up", up).unwrap();
        let down = graph.constant(down).unwrap();
        let tied = graph.constant_named("up", &graph.constant_tensor(up).unwrap().clone()).unwrap();
        let x = graph.qmatmul(x, up).unwrap();
        let x = graph.qmatmul(x, tied).unwrap();
        let x = graph.qmatmul(x, down).unwrap();
        graph.output(x).unwrap();
        graph
    };
    build(&up, &down).save(here.path("graph")).unwrap();

    here.succeeds(&["quantize", "graph", "out", "-e", "up=q4_0"]);
    let expected = build(&encode("q4_0", [64, 64]), &down);
    let run = |graph: &Graph| {
        let x = Tensor::new([3, 64], values(3 * 64)).unwrap();
        here.session.load(graph).unwrap().execute([("x", &x)]).unwrap().tensor("output0").unwrap().clone()
    };
    let found = Graph::load(here.path("out"), here.session.registry()).unwrap();
    assert_eq!(run(&found), run(&expected));
    let names = |graph: &Graph| -> Vec<(String, String)> {
        graph.weights().into_iter().map(|(name, tensor)| (name, tensor.element().to_string())).collect()
    };
    let named = |up: &str, down: &str| {
        [("up", up), ("constant.2", down)].map(|(name, encoding)| (name.to_owned(), encoding.to_owned()))
    };
    assert_eq!(names(&found), named("q4_0", "q8_0"));

    // f32, f16 and bf16 are encodings in a graph; what is encoded stays unless it is asked for.
    let stays = here.fails(&["quantize", "out", "again", "-e", "up=q5_0"]);
    assert!(stays.contains("`up` is `q4_0` already"), "{stays}");
    here.succeeds(&["quantize", "out", "again", "-e", "*=f16", "-e", "up=f32"]);
    let again = Graph::load(here.path("again"), here.session.registry()).unwrap();
    assert_eq!(names(&again), named("f32", "f16"));
    run(&again);
    here.succeeds(&["quantize", "again", "last", "-e", "q8_0"]);
    assert_eq!(
        names(&Graph::load(here.path("last"), here.session.registry()).unwrap()),
        named("q8_0", "q8_0")
    );
    let none = here.fails(&["quantize", "graph", "none", "-e", "scale=q4_0"]);
    assert!(none.contains("its glob matches none"), "{none}");
}

#[test]
fn a_plugins_encoding_serves_as_well() {
    let here = Workplace::new();
    let library = format!("{}fixture_good{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let built = std::env::current_exe().unwrap().with_file_name(&library);
    fs::create_dir(here.path("plugins")).unwrap();
    fs::copy(&built, here.path("plugins").join(&library)).unwrap();
    let with_plugin = ["--plugin-dir", "plugins"];
    here.succeeds(
        &[&["quantize", "model", "out", "-e", "good.int8", "--only", "layer.0.*"], &with_plugin[..]].concat(),
    );
    let file = Checkpoint::open(here.path("out")).unwrap();
    let stored: Vec<_> =
        file.tensors().filter(|(_, stored)| stored.element().to_string() == "good.int8").collect();
    assert_eq!(stored.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["layer.0.down", "layer.0.up"]);
    // Other weights of the file are encoded without the plugin; what it encoded is carried over.
    here.succeeds(&["quantize", "out", "more", "-e", "q4_0", "--only", "layer.1.*"]);
    let more = Checkpoint::open(here.path("more")).unwrap();
    assert_eq!(more.as_stored("layer.0.up").unwrap().bytes(), file.as_stored("layer.0.up").unwrap().bytes());
    // Without the plugin they are not decoded.
    assert!(here.fails(&["dequantize", "out", "back"]).contains("no encoding `good.int8` is registered"));
    here.succeeds(&[&["dequantize", "out", "back"], &with_plugin[..]].concat());
    let back = here.load("back");
    let decoded = back.values::<f32>("layer.0.up").unwrap();
    let worst = decoded.iter().zip(values(3 * 512)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst > 0.0 && worst < 0.01, "{worst}");
}

#[test]
fn help_names_every_option() {
    let here = Workplace::new();
    let help = here.succeeds(&["quantize", "--help"]);
    for word in [
        "<IN>",
        "<OUT>",
        "--encoding <[GLOB=]NAME>",
        "--importance <FILE>",
        "--only <GLOB>",
        "--plugin-dir <DIR>",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(here.succeeds(&["dequantize", "--help"]).contains("Each becomes f32"));
}
