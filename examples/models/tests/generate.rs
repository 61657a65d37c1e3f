//! Continuing a text, and scoring one.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt_models::generate::continue_text;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::perplexity::{ScoredModel, score};
use bitquilt_models::runner::Runner;
use bitquilt_models::sampler::{Sampler, Sampling};
use bitquilt_models::scores::{Scores, log_softmax};
use bitquilt_models::stream::TextStream;
use bitquilt_models::tokenizer::Tokenizer;
use common::{all_logits, data, options, registry, runner, session};

const PROMPT: [i32; 4] = [1, 263, 264, 70];

fn model() -> DecoderModel {
    DecoderModel::open(&data("llama2c/model.bin"), None, &registry()).unwrap()
}

fn new_runner(model: &DecoderModel) -> Runner {
    runner(&session(1), model, &options(64, "exact"))
}

/// The tokens of the largest logits, one after the other.
fn likeliest(model: &DecoderModel, count: usize) -> Vec<u32> {
    let mut text = PROMPT.to_vec();
    for _ in 0..count {
        let logits = all_logits(&mut new_runner(model), &text);
        let last = &logits[logits.len() - model.config.vocabulary..];
        let largest = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        text.push(last.iter().position(|logit| *logit == largest).unwrap() as i32);
    }
    text[PROMPT.len()..].iter().map(|token| *token as u32).collect()
}

/// What is written, how many tokens were fed one by one, and whether the model ended the text.
fn continued(model: &DecoderModel, most: usize) -> (Vec<u8>, usize, bool) {
    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let sampling =
        Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 1, repetition_penalty: 1.0, recent: 0 };
    let mut sampler = Sampler::new(sampling, model.config.vocabulary);
    let mut stream = TextStream::new(Vec::new(), false);
    let mut fed_before = 0;
    let generation = continue_text(
        &mut new_runner(model),
        &PROMPT,
        &tokenizer,
        &mut sampler,
        &mut stream,
        most,
        |runner| fed_before = runner.position(),
    )
    .unwrap();
    assert_eq!(fed_before, PROMPT.len());
    (stream.finish().unwrap(), generation.decoded, generation.ended)
}

#[test]
fn a_text_is_continued_with_the_likeliest_tokens_until_it_ends() {
    let mut model = model();
    let tokens = likeliest(&model, 6);
    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let text = |tokens: &[u32]| {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| tokenizer.bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned().into_bytes()
    };
    assert!(!tokens.iter().any(|token| tokenizer.is_stop(*token)), "{tokens:?}");
    assert_eq!(continued(&model, 6), (text(&tokens), 5, false));
    assert_eq!(continued(&model, 0), (Vec::new(), 0, false));
    // The first token that was not chosen before ends the text.
    let end = (1..tokens.len()).find(|end| !tokens[..*end].contains(&tokens[*end])).unwrap();
    model.vocabulary.as_mut().unwrap().stops.push(tokens[end]);
    assert_eq!(continued(&model, 6), (text(&tokens[..end]), end, true));
}

#[test]
fn the_scores_of_windows_are_those_of_their_logits() {
    let model = model();
    let mut other = model.clone();
    other.config.rope_theta *= 2.0;
    let window: Vec<i32> = (0..60).map(|index| index * 37 % 300).collect();
    let mut models = [&model, &other, &model].map(|model| ScoredModel::new(new_runner(model)));
    for part in [&window[..40], &window[40..], &window[..1], &[]] {
        score(&mut models, part).unwrap();
    }

    let mut expected = [Scores::default(), Scores::default()];
    for part in [&window[..40], &window[40..]] {
        let [reference, predicted] =
            [&model, &other].map(|model| all_logits(&mut new_runner(model), &part[..part.len() - 1]));
        let rows = |logits: Vec<f32>| {
            let rows = logits.chunks_exact(model.config.vocabulary).map(|row| {
                let mut logarithms = Vec::new();
                log_softmax(row, &mut logarithms);
                logarithms
            });
            rows.collect::<Vec<Vec<f64>>>()
        };
        for ((reference, predicted), token) in rows(reference).iter().zip(&rows(predicted)).zip(&part[1..]) {
            expected[0].add(*token as usize, reference, reference);
            expected[1].add(*token as usize, predicted, reference);
        }
    }
    let parts = |scores: &Scores| (scores.tokens(), scores.perplexity(), scores.divergence());
    let [reference, other, same] = models.map(|model| parts(&model.scores));
    assert_eq!((reference, other), (parts(&expected[0]), parts(&expected[1])));
    assert_eq!(reference, same);
    assert_eq!((reference.0, reference.2), (58, 0.0));
    assert!(other.2 > 1e-3, "{other:?}");
}

#[test]
fn a_text_goes_on_where_it_differs_from_the_one_before() {
    let model = model();
    let mut runner = new_runner(&model);
    let [first, second] = [[1, 263, 264, 70, 80], [1, 263, 264, 71, 72]];
    runner.feed(&first).unwrap();
    for (tokens, known) in [(&second[..], 3), (&second[..4], 3), (&second[..], 4), (&first[..1], 0), (&[], 0)]
    {
        assert_eq!((runner.resume(tokens), runner.position()), (known, known), "{tokens:?}");
        if known > 0 {
            let found = runner.feed(&tokens[known..]).unwrap().to_vec();
            assert_eq!(found, new_runner(&model).feed(tokens).unwrap(), "{tokens:?}");
        }
    }
}
