//! Plugins are loaded from files, whole or not at all, and a bad file stops nobody.

use std::fs;

use bitquilt::Tensor;
use bitquilt::plugin::{Entry, Loader, PluginError, PreflightError, inspect};
use bitquilt::registry::{Origin, Registry, RegistryError};
use bitquilt_tests::{PluginDir, contents, contract, fixture};

#[test]
fn a_directory_is_loaded_in_order_whatever_is_in_it() {
    let dir = PluginDir::new();
    dir.add_fixture("good");
    dir.add_fixture("second");
    dir.add("a_text", "not a library at all");
    fs::write(dir.path().join("README.md"), "no library either").unwrap();
    let mut registry = Registry::default();
    let mut loader = Loader::new(&mut registry);
    loader.directory(dir.path());
    let names: Vec<_> = loader.loaded().map(|(_, plugin)| plugin.name.clone()).collect();
    assert_eq!(names, ["fixture-good", "fixture-second"]);
    let refusals = loader.into_refusals();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].path, dir.file("a_text"));
    assert_eq!(refusals[0].reason.to_string(), "it is text, not an ELF shared library");

    let encodings: Vec<_> = registry.encodings().map(|it| it.spec().name.clone()).collect();
    assert_eq!(encodings, ["good.int8", "second.half"]);
    let good = registry.encoding("good.int8").unwrap();
    assert_eq!(good.plugin().origin, Origin::File(dir.file("good")));
    let values: Vec<f32> = (0..64).map(|i| (i as f32 - 31.5) / 8.0).collect();
    let encoded = good.quantize(&Tensor::new([2, 32], &values).unwrap()).unwrap().tensor;
    let decoded = good.dequantize(&encoded).unwrap();
    for (value, decoded) in values.iter().zip(decoded.values::<f32>().unwrap()) {
        assert!((value - decoded).abs() <= 4.0 / 127.0 / 2.0 + 1e-6, "{value} {decoded}");
    }
}

#[test]
fn an_inspected_file_says_what_it_is() {
    let report = inspect(&fixture("good")).unwrap();
    assert_eq!(report.architecture, std::env::consts::ARCH);
    assert_eq!(report.entry, Some(Entry::Rust));
    assert_eq!(report.api_version.as_deref(), Some("1.0.0"));
    assert_eq!(report.refusal, None);
    assert!(report.needed.iter().any(|library| library.starts_with("libc.so")), "{:?}", report.needed);
    assert_eq!(report.identity.size, fs::metadata(fixture("good")).unwrap().len());
}

#[test]
fn a_library_that_is_no_plugin_is_not_opened() {
    let libm = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/usr/lib/libm.so.6"];
    let Some(libm) = libm.iter().find(|path| fs::exists(path).unwrap()) else { return };
    let dir = PluginDir::new();
    let path = dir.add("m", fs::read(libm).unwrap());
    let report = inspect(&path).unwrap();
    assert_eq!(report.refusal, Some(PreflightError::NoEntry));
    assert_eq!(report.entry, None);
}

#[test]
fn two_names_of_one_file_are_refused_and_both_are_named() {
    for link in [|from, to| fs::hard_link(from, to), |from, to| std::os::unix::fs::symlink(from, to)]
        as [fn(std::path::PathBuf, std::path::PathBuf) -> std::io::Result<()>; 2]
    {
        let dir = PluginDir::new();
        let first = dir.add_fixture("good");
        link(first.clone(), dir.file("other")).unwrap();
        let mut registry = Registry::default();
        let mut loader = Loader::new(&mut registry);
        loader.directory(dir.path());
        let refusals = loader.into_refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].path, dir.file("other"));
        assert_eq!(refusals[0].reason, PluginError::SameFile { first });
    }
}

#[test]
fn two_plugins_of_one_name_are_refused_and_both_files_are_named() {
    let dir = PluginDir::new();
    dir.add_fixture("good");
    let copy = dir.add("good_copy", fs::read(fixture("good")).unwrap());
    let mut registry = Registry::default();
    let mut loader = Loader::new(&mut registry);
    loader.directory(dir.path());
    let refusals = loader.into_refusals();
    assert_eq!(refusals.len(), 1);
    assert!(matches!(&refusals[0].reason, PluginError::Registry(RegistryError::DuplicatePlugin { .. })));
    assert_eq!(
        dir.scrub(&refusals[0].to_string()),
        "DIR/good_copy.so: a plugin named `fixture-good` is already registered, from DIR/good.so; remove one of the two"
    );
    assert_eq!(refusals[0].path, copy);
    assert_eq!(registry.plugins().count(), 1);
}

#[test]
fn each_session_of_a_process_loads_the_same_file() {
    let dir = PluginDir::new();
    let path = dir.add_fixture("good");
    let mut registries = [Registry::default(), Registry::default()];
    for registry in &mut registries {
        Loader::new(registry).file(&path).unwrap();
    }
    assert_eq!(contents(&registries[0]), contents(&registries[1]));
}

#[test]
fn a_file_that_was_replaced_after_it_was_loaded_is_refused() {
    let dir = PluginDir::new();
    let path = dir.add_fixture("good");
    Loader::new(&mut Registry::default()).file(&path).unwrap();
    fs::rename(dir.add_fixture("second"), &path).unwrap();
    let mut registry = Registry::default();
    let refusal = Loader::new(&mut registry).file(&path).unwrap_err();
    assert_eq!(refusal.reason, PluginError::ChangedSince);
    assert_eq!(contents(&registry), [""; 0]);
}

#[test]
fn a_plugin_replaces_an_encoding_on_purpose_alone() {
    let dir = PluginDir::new();
    let mut registry = Registry::default();
    let mut loader = Loader::new(&mut registry);
    loader.file(&dir.add_fixture("good")).unwrap();
    let refused = loader.file(&dir.add("taken", contract("taken encoding"))).unwrap_err().to_string();
    assert!(refused.contains("register it with a `replacing_` method"), "{refused}");
    loader.file(&dir.add("replacing", contract("replaced encoding"))).unwrap();
    assert_eq!(registry.encoding("good.int8").unwrap().plugin().name, "fixture-contract");
}

#[test]
fn a_directory_that_is_not_there_is_a_refusal() {
    let dir = PluginDir::new();
    let mut registry = Registry::default();
    let mut loader = Loader::new(&mut registry);
    loader.directory(&dir.path().join("none"));
    assert!(matches!(&loader.refusals()[0].reason, PluginError::Directory { .. }));
}
