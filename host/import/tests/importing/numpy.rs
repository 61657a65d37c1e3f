//! Checkpoints that numpy makes from the formats' definitions, and the values that it computes, bit for bit.

use std::fs;
use std::path::Path;
use std::process::Command;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::registry::Registry;
use bitquilt::{DType, Tensor};
use bitquilt_import::Import;

use crate::common;

/// A Python that has numpy, if there is one: `BITQUILT_PYTHON`, or `python3`.
fn numpy() -> Option<String> {
    let python = std::env::var("BITQUILT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import numpy"]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no numpy; name one that has in BITQUILT_PYTHON");
    None
}

#[test]
fn weights_are_what_numpy_computes() {
    let Some(python) = numpy() else { return };
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/importing/make_checkpoints.py");
    let made = Command::new(python).arg(script).arg(directory.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut cases = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let case = entry.unwrap().path();
        check(&case);
        cases += 1;
    }
    assert!(cases > 70, "{cases}");
}

/// Compares all that was made of a case with what is expected, and the other tensors with what they were.
fn check(case: &Path) {
    let name = case.file_name().unwrap().to_string_lossy();
    let out = case.join("out");
    // The expected values are beside the model, so that the file is named.
    let import =
        Import::open(case.join("model.safetensors")).unwrap_or_else(|error| panic!("{name}: {error}"));
    import.write(&out, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (imported, source) =
        (common::Imported::open(&out), Checkpoint::open(case.join("model.safetensors")).unwrap());
    let expected = Checkpoint::open(case.join("expected.safetensors")).unwrap();
    let load =
        |file: &Checkpoint, tensor: &str| -> Tensor { file.tensor(tensor, &Registry::default()).unwrap() };
    for (tensor, _) in expected.tensors() {
        let (found, expected) = (imported.tensor(tensor), load(&expected, tensor));
        assert_eq!(found.shape(), expected.shape(), "{name}, {tensor}");
        if expected.dtype() == Some(DType::F32) {
            let bits = common::bits(expected.values::<f32>().unwrap().iter().copied());
            assert!(imported.bits(tensor) == bits, "{name}, {tensor}");
        } else {
            assert_eq!(found, expected, "{name}, {tensor}");
        }
    }
    for tensor in imported.names() {
        let is_new = expected.tensors().any(|(name, _)| name == tensor);
        assert!(is_new || imported.tensor(tensor) == load(&source, tensor), "{name}, {tensor}");
    }
}
