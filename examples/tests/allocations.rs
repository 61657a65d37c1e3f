//! Telling a story allocates nothing once it runs.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bitquilt_examples::recipe::Recipe;
use bitquilt_examples::tinystories::model::Llama;
use bitquilt_examples::tinystories::sampler::{Sampler, Sampling};
use bitquilt_examples::tinystories::stream::TextStream;
use bitquilt_examples::tinystories::tokenizer::Tokenizer;
use common::{data, options, runner, session};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_token_costs_no_allocation() {
    let session = session(2);
    let mut model = Llama::open(&data("llama2c/model.bin"), None, session.registry()).unwrap();
    let recipe = Recipe::uniform("q4_0", None).unwrap();
    recipe.apply(&mut model.weights, session.registry(), |_, _| {}).unwrap();
    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let mut runner = runner(&session, &model, &options(32, "fast"));
    let sampling = Sampling { temperature: 1.0, top_k: 40, top_p: 0.95, seed: 1 };
    let mut sampler = Sampler::new(sampling, model.config.vocabulary);
    let mut stream = TextStream::new(std::io::sink(), true);
    let mut token = sampler.sample(runner.feed(&[1, 263, 264]).unwrap());
    let mut tell = |count: usize| {
        for _ in 0..count {
            stream.push(tokenizer.bytes(token)).unwrap();
            token = sampler.sample(runner.feed(&[token as i32]).unwrap());
        }
    };
    tell(2);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    tell(27);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
