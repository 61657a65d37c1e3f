//! SmolLM2's logits against an f64 forward pass.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt::{DType, TensorDict, checkpoint};
use bitquilt_models::model::DecoderModel;
use bitquilt_models::scores::{divergence, log_softmax};
use common::{all_logits, data, options, registry, runner, session, smollm2};

const VOCABULARY: usize = 49_152;

fn golden() -> TensorDict {
    checkpoint::load(data("smollm2_logits.safetensors"), &registry()).unwrap()
}

/// The model's logits after each of the golden tokens, as f32 caches and this precision give them.
fn logits(precision: &str, cache: DType) -> Option<(TensorDict, Vec<f32>)> {
    let (path, golden) = (smollm2()?, golden());
    let session = session(2);
    let model = DecoderModel::open(&path, None, session.registry()).unwrap();
    let mut options = options(128, precision);
    options.cache = cache;
    let logits = all_logits(&mut runner(&session, &model, &options), golden.values("tokens").unwrap());
    assert_eq!(logits.len(), 120 * VOCABULARY);
    Some((golden, logits))
}

#[test]
fn exact_logits_are_those_of_f64() {
    let Some((golden, logits)) = logits("exact", DType::F32) else { return };
    let near = |row: usize, id: usize, expected: f32| {
        let found = logits[row * VOCABULARY + id];
        assert!((found - expected).abs() < 1e-3, "after token {row}, logit {id} is {found}, not {expected}");
    };
    let (top_ids, top): (&[i32], &[f32]) =
        (golden.values("top_ids").unwrap(), golden.values("top_logits").unwrap());
    let (ids, subset): (&[i32], &[f32]) =
        (golden.values("subset_ids").unwrap(), golden.values("subset_logits").unwrap());
    for row in 0..120 {
        for column in 0..32 {
            near(row, top_ids[row * 32 + column] as usize, top[row * 32 + column]);
        }
        for (column, id) in ids.iter().enumerate() {
            near(row, *id as usize, subset[row * ids.len() + column]);
        }
    }
    for (id, expected) in golden.values::<f32>("last_logits").unwrap().iter().enumerate() {
        near(119, id, *expected);
    }
}

#[test]
fn fast_logits_are_as_near_as_those_of_llama_cpp() {
    // They are those of f64 to 1e-3, and they are all there: the golden file has a part of them.
    let Some((golden, exact)) = logits("exact", DType::F32) else { return };
    let (ids, top): (&[i32], &[f32]) =
        (golden.values("top_ids").unwrap(), golden.values("top_logits").unwrap());
    let llama_cpp: f64 = golden.values::<f64>("llamacpp_kl").unwrap().iter().sum();
    for cache in [DType::F16, DType::F32] {
        let Some((_, logits)) = logits("fast", cache) else { return };
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        let mut sum = 0.0;
        for (row, (exact, logits)) in
            exact.chunks_exact(VOCABULARY).zip(logits.chunks_exact(VOCABULARY)).enumerate()
        {
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if top[row * 32] - top[row * 32 + 1] > 0.5 {
                let likeliest = ids[row * 32] as usize;
                assert_eq!(logits[likeliest], best, "after token {row} another token is the likeliest");
            }
            log_softmax(exact, &mut expected);
            log_softmax(logits, &mut found);
            sum += divergence(&expected, &found);
        }
        println!("{cache}: {:.6} nats a token, llama.cpp {:.6}", sum / 120.0, llama_cpp / 120.0);
        assert!(sum <= 1.1 * llama_cpp, "{cache}: {sum} against {llama_cpp}");
    }
}

#[test]
fn a_prompt_is_the_same_as_its_tokens_one_by_one_on_any_number_of_threads() {
    let Some(path) = smollm2() else { return };
    let golden = golden();
    let tokens: &[i32] = &golden.values("tokens").unwrap()[..24];
    for (precision, cache) in [("fast", DType::F16), ("exact", DType::F32)] {
        let mut options = options(64, precision);
        options.cache = cache;
        let [mut one, mut three] = [1, 3].map(|threads| {
            let session = session(threads);
            runner(&session, &DecoderModel::open(&path, None, session.registry()).unwrap(), &options)
        });
        let expected = all_logits(&mut one, tokens);
        assert!(all_logits(&mut three, tokens) == expected, "{precision}: three threads differ");
        // Nothing of the text before is left.
        one.restart();
        for (row, token) in tokens.iter().enumerate() {
            let found = one.feed(&[*token]).unwrap();
            assert!(
                found == &expected[row * VOCABULARY..][..VOCABULARY],
                "{precision}: token {row} differs when it is fed alone"
            );
        }
    }
}
