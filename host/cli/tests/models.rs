//! `bitquilt perplexity`, `bitquilt chat` and `bitquilt bench model` with a small language model, and with SmolLM2 where it is there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::declared::{Declaration, DeclaredEncoding};
use bitquilt::quantize::Recipe;
use bitquilt::{DType, InferenceSession};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::perplexity::{Ranking, windows};
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_tests::llama2c;
use bitquilt_tests::workplace::{Workplace, said};
use common::workplace;
use serde_json::Value;

const TEXT: &str = "Once upon a time there was a little cat. ";

/// A directory with a model, and a text.
fn workplace_with_model() -> Workplace {
    let here = workplace();
    model().save(&here.path("model")).unwrap();
    here.write("text", TEXT.repeat(4));
    here
}

/// The rows that the command prints as it succeeds.
fn rows(here: &Workplace, arguments: &[&str]) -> Vec<Value> {
    here.json(arguments).as_array().unwrap().clone()
}

fn session() -> InferenceSession {
    InferenceSession::builder().threads(1).build().unwrap()
}

/// A small language model with a tokenizer, without a chat template.
fn model() -> DecoderModel {
    DecoderModel::open(&llama2c("model.bin"), None, session().registry()).unwrap()
}

#[test]
fn perplexities_are_those_of_the_library() {
    let here = workplace_with_model();
    let arguments = [
        "perplexity",
        "model",
        "--text",
        "text",
        "--window",
        "16",
        "--encoding",
        "q8_0",
        "--encoding",
        "q4_0",
    ];
    let rows = rows(&here, &arguments);
    let names: Vec<&Value> = rows.iter().map(|row| &row["recipe"]).collect();
    assert_eq!(names, ["f32", "as the file has it", "q8_0", "q4_0"]);

    let (session, mut model) = (session(), model());
    let tokenizer = Tokenizer::new(&model.take_vocabulary().unwrap()).unwrap();
    let tokens = tokenizer.encode_for_model(&TEXT.repeat(4), true, |warning| panic!("{warning}")).unwrap();
    let options = Options { context: 16, cache: DType::F16, precision: "fast".to_owned() };
    let recipe = ("q4_0".to_owned(), Recipe::uniform("q4_0", None).unwrap());
    let mut ranking = Ranking::of(&model, vec![recipe], &session, &options, &mut |_, _, _| {}).unwrap();
    ranking.score(windows(&tokens, 16, usize::MAX)).unwrap();
    for ((name, bits, scores), row) in ranking.models().zip([&rows[0], &rows[1], &rows[3]]) {
        let found = ["bits", "perplexity", "kl"].map(|figure| row[figure].as_f64().unwrap());
        assert_eq!(found, [bits, scores.perplexity(), scores.divergence()], "{name}");
    }
    assert_eq!((&rows[0]["kl"], &rows[0]["top1"]), (&0.0.into(), &1.0.into()));
    assert!(rows[3]["kl"].as_f64() > rows[2]["kl"].as_f64(), "{rows:?}");

    let table = here.succeeds(&arguments);
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.lines().last().unwrap().ends_with(" tokens in windows of 16"), "{table}");
}

#[test]
fn a_line_is_continued_and_the_same_seed_says_the_same() {
    let here = workplace_with_model();
    let chat = ["chat", "model", "-n", "8", "--context", "48"];
    let alone = here.succeeds(&[&chat[..], &["--prompt", "Once upon"]].concat());
    assert!(alone.starts_with("Once upon") && alone.ends_with('\n'), "{alone:?}");
    let lines = here.succeeds_on("Once upon\n\n  \nOnce upon\r\na time", &chat);
    let first: String = lines.chars().take(alone.chars().count()).collect();
    assert_eq!(first, alone, "{lines:?}");
    assert!(lines.contains("a time"), "{lines:?}");
    // The most likely tokens, whatever was said before.
    let greedy = [&chat[..], &["--greedy"]].concat();
    let twice = here.succeeds_on("Once upon\nOnce upon\n", &greedy);
    let (left, right) = twice.split_at(twice.len() / 2);
    assert_eq!(left, right);
    assert_eq!(here.succeeds(&chat), "");
}

#[test]
fn a_model_with_a_template_is_told_what_was_said_before() {
    let here = workplace_with_model();
    let mut model = model();
    let template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}";
    model.vocabulary.as_mut().unwrap().chat_template = Some(template.to_owned());
    model.save(&here.path("chat")).unwrap();
    let arguments = ["chat", "chat", "-n", "3", "--greedy", "--system", "s", "--context", "64"];
    let first = here.succeeds_on("a\n", &arguments);
    let both = here.succeeds_on("a\nb\n", &arguments);
    let second = both.strip_prefix(&first).unwrap();
    // The second turn is the answer to the text of the whole conversation.
    let answer = first.strip_suffix('\n').unwrap();
    let whole = format!("[system: s][user: a][assistant: {answer}][user: b]");
    let raw = here.succeeds(&[
        "chat",
        "chat",
        "--raw",
        "-n",
        "3",
        "--greedy",
        "--prompt",
        &whole,
        "--context",
        "64",
    ]);
    let continued = raw.strip_prefix(&whole).unwrap();
    assert_eq!(continued.strip_prefix(' ').unwrap_or(continued), second);
}

#[test]
fn a_model_is_timed_for_each_number_of_threads() {
    let here = workplace_with_model();
    let arguments = ["bench", "model", "model", "-p", "8", "-n", "4", "-r", "3", "--threads", "1,2"];
    let rows = rows(&here, &arguments);
    let threads: Vec<&Value> = rows.iter().map(|row| &row["threads"]).collect();
    assert_eq!(threads, [1, 2]);
    for row in &rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert_eq!((number("prefill_tokens"), number("decode_tokens")), (8.0, 4.0));
        for what in ["prefill", "decode"] {
            let [low, median, high] =
                ["min", "tokens_s", "max"].map(|name| number(&format!("{what}_{name}")));
            assert!(0.0 < low && low <= median && median <= high, "{row}");
        }
        assert!(number("load_s") > 0.0 && number("weight_bytes") > 1000.0, "{row}");
    }
    let csv = here.succeeds(&[&arguments[..], &["--csv"]].concat());
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [13, 13, 13], "{csv}");
}

/// A model whose weights have an encoding that it carries the declaration of runs where nobody else has that.
#[test]
fn a_model_runs_with_the_encodings_that_it_declares() {
    let here = workplace_with_model();
    let declaration = "name = \"my.int4\"\nblock_len = 32\nblock_bytes = 18\ncodes = { at = 2, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }\n";
    let declaration = Declaration::parse(declaration).unwrap();
    let session =
        InferenceSession::builder().threads(1).encoding(DeclaredEncoding::new(declaration)).build().unwrap();
    let mut model = model();
    Recipe::uniform("my.int4", None)
        .unwrap()
        .apply(&mut model.weights, session.registry(), |_, _| {})
        .unwrap();
    model.save(&here.path("declared")).unwrap();
    assert!(
        Checkpoint::open(here.path("declared")).unwrap().tensors().any(|(_, it)| it.encoding().is_some())
    );
    let rows = rows(&here, &["perplexity", "declared", "--text", "text", "--window", "16"]);
    assert!(rows[1]["perplexity"].as_f64().unwrap().is_finite());
    let losses = here.json(&["compare", "model", "declared"]);
    assert!(losses["weights"].as_array().unwrap().iter().any(|row| row["encoding"] == "my.int4"));
}

#[test]
fn wrong_input_is_a_sentence() {
    let here = workplace_with_model();
    let mut untold = model();
    untold.vocabulary = None;
    untold.save(&here.path("untold")).unwrap();
    here.write("empty", "");
    here.write("none", "nothing");
    for (arguments, sentence) in [
        (&["perplexity", "nowhere", "--text", "text"][..], "cannot read nowhere: "),
        (&["perplexity", "none", "--text", "text"], "none is neither a "),
        (&["perplexity", "model", "--text", "nowhere"], "cannot read nowhere: "),
        (&["perplexity", "model", "--text", "empty"], "empty: the text has "),
        (&["perplexity", "model", "--text", "text", "--encoding", "q4_9"], "q4_9: "),
        (
            &["perplexity", "untold", "--text", "text"],
            "untold: the model has no tokenizer; name the file of one by the option `tokenizer`",
        ),
        (
            &["chat", "untold"],
            "untold: the model has no tokenizer; name the file of one by the option `tokenizer`",
        ),
        (&["chat", "model", "--system", "x"], "model: the model has no chat template; --system needs one"),
        (&["bench", "model", "none"], "none is neither a "),
    ] {
        let found = here.fails(arguments);
        assert!(found.contains(sentence), "{arguments:?}: {found}");
    }
    // What is printed by then is the prompt.
    let output = here.run(&["chat", "model", "--context", "3", "--prompt", TEXT]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("more than the context of 3"), "{}", said(&output));
    let long = here.run_on(&"a".repeat((1 << 20) + 1), &["chat", "model"]);
    assert!(said(&long).contains("standard input: a line has more than 1048576 bytes"), "{}", said(&long));
    for arguments in [
        &["chat", "model", "--greedy", "--seed", "1"][..],
        &["chat", "model", "--raw", "--system", "x"],
        &["chat", "model", "--top-p", "2"],
        &["perplexity", "model"],
        &["bench", "model"],
    ] {
        here.refuses(2, arguments);
    }
}

#[test]
fn smollm2_answers_and_is_compared() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let path = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        eprintln!(
            "skipped: models/SmolLM2-135M-Instruct.Q4_1.gguf is not there; tests/fetch_models.sh fetches it"
        );
        return;
    }
    let (here, path) = (workplace_with_model(), path.to_str().unwrap());
    let prompt = ["--prompt", "The capital of France is"];
    let answer = here.succeeds(&[&["chat", path, "--raw", "--greedy", "-n", "6"], &prompt[..]].concat());
    assert!(answer.starts_with("The capital of France is Paris."), "{answer}");
    let text =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/tests/data/smollm2_text.txt");
    let text = text.to_str().unwrap();
    let arguments =
        ["compare", path, "--encodings", "q4_0", "--only", "blk.0.*", "--text", text, "--window", "32"];
    let losses = here.json(&[&arguments[..], &["--tokens", "32"]].concat());
    let mean = losses["kl"]["mean"].as_f64().unwrap();
    assert!(mean > 0.0 && mean < 1.0, "{losses}");
}
