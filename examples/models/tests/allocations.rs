//! Telling a story allocates nothing once it runs.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt::quantize::Recipe;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::sampler::{Sampler, Sampling};
use bitquilt_models::stream::TextStream;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_tests::allocations::Counting;
use common::{data, options, runner, session};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_token_costs_no_allocation() {
    let session = session(2);
    let mut model = DecoderModel::open(&data("llama2c/model.bin"), None, session.registry()).unwrap();
    let recipe = Recipe::uniform("q4_0", None).unwrap();
    recipe.apply(&mut model.weights, session.registry(), |_, _| {}).unwrap();
    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let mut runner = runner(&session, &model, &options(32, "fast"));
    let sampling =
        Sampling { temperature: 1.0, top_k: 40, top_p: 0.95, seed: 1, repetition_penalty: 1.1, recent: 64 };
    let mut sampler = Sampler::new(sampling, model.config.vocabulary);
    let mut stream = TextStream::new(std::io::sink(), true);
    let mut token = sampler.sample(runner.feed(&[1, 263, 264]).unwrap()).unwrap();
    let mut tell = |count: usize| {
        for _ in 0..count {
            stream.push(tokenizer.bytes(token)).unwrap();
            token = sampler.sample(runner.feed(&[token as i32]).unwrap()).unwrap();
        }
    };
    tell(2);
    let before = Counting::allocations();
    tell(27);
    assert_eq!(Counting::allocations() - before, 0);
}
