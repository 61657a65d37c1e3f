//! The encodings through the plugin interface, built in and from a file, against the formats themselves.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt_ggml_blocks::{FORMATS, Importance as FormatImportance};
use bitquilt_plugin_api::host::{ENTRY_SYMBOL, PluginLibrary};
use bitquilt_plugin_api::{Importance, Rows};
use bitquilt_plugin_kit::TestHost;

/// Values of both signs and many magnitudes, the same on each run.
fn values(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| uniform() * (uniform() * 8.0).exp2()).collect()
}

/// Every format is there under its name, and gives the format's own bytes and values.
fn check(host: &TestHost) {
    let names: Vec<&str> = host.encodings().iter().map(|handle| handle.spec().name.as_str()).collect();
    let formats = FORMATS.iter().map(|format| format.name);
    assert_eq!(names, std::iter::once("f32").chain(formats).collect::<Vec<_>>());
    for (handle, format) in host.encodings()[1..].iter().zip(FORMATS) {
        let (spec, name) = (handle.spec(), format.name);
        assert_eq!((spec.block_len, spec.block_bytes), (format.block_len, format.block_bytes), "{name}");
        let (row_len, rows) = (3 * format.block_len, 2);
        let values = values(row_len * rows);
        let weights: Vec<f32> = (0..row_len).map(|column| 1.0 + (column % 7) as f32).collect();
        let bytes = spec.row_bytes(row_len).unwrap() * rows;
        for importance in [None, Some(&weights[..])] {
            let (mut ours, mut theirs) = (vec![0; bytes], vec![0xFF; bytes]);
            let result =
                handle.encoding().quantize(Rows::new(&values, row_len).unwrap(), importance, &mut ours);
            if importance.is_none() && format.importance == FormatImportance::Required {
                assert_eq!(spec.importance, Importance::Required, "{name}");
                assert!(result.unwrap_err().message().contains("importance"), "{name}");
                continue;
            }
            result.unwrap();
            let taken = importance.filter(|_| format.importance != FormatImportance::Ignored);
            format.quantize(&values, row_len, taken, &mut theirs);
            assert_eq!(ours, theirs, "{name}");
            let blocks = ours;
            let (mut ours, mut theirs) = (vec![0f32; values.len()], vec![1f32; values.len()]);
            handle.encoding().dequantize(&blocks, &mut ours).unwrap();
            format.dequantize(&blocks, &mut theirs);
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

#[test]
fn every_format_is_an_encoding() {
    check(&TestHost::new([bitquilt_ggml::plugin()]).unwrap());
}

#[test]
fn the_same_plugin_loads_from_a_file() {
    let name = format!("{}ggml_plugin{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is missing: `cargo build --examples` makes it", path.display());
    // SAFETY: the library is the example of this package, which has no constructors.
    let library = unsafe { libloading::Library::new(&path) }.unwrap();
    // Its code and vtables are used until the process ends.
    let library = Box::leak(Box::new(library));
    // SAFETY: the symbol is a static, whose address is never dereferenced here.
    let symbol = unsafe { library.get::<*const std::ffi::c_void>(ENTRY_SYMBOL.as_bytes()) }.unwrap();
    // SAFETY: it is the entry symbol's address, in a library that was leaked.
    let plugin = unsafe { PluginLibrary::from_symbol(*symbol) }.unwrap();
    let mut host = TestHost::default();
    host.add(|registrar| plugin.register(registrar)).unwrap();
    check(&host);
}

#[test]
fn any_bytes_decode() {
    let host = TestHost::new([bitquilt_ggml::plugin()]).unwrap();
    for handle in host.encodings() {
        for fill in [0x00, 0x55, 0xFF] {
            let blocks = vec![fill; 2 * handle.spec().block_bytes];
            let mut decoded = vec![0f32; 2 * handle.spec().block_len];
            handle.encoding().dequantize(&blocks, &mut decoded).unwrap();
        }
    }
}

#[test]
fn every_promise_to_a_host_is_kept() {
    bitquilt_plugin_kit::assert_conforms(bitquilt_ggml::plugin());
}
