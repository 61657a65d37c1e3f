#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitquilt_fuzz::Target::named("npz").read_once(data));
