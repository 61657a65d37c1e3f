#![no_main]

use bitquilt_fuzz::memory::Bounded;

// Bounds the memory of a template.
#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitquilt_fuzz::Target::named("template").read_once(data));
