//! Plugins in C, built by the system's compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a library from the C file `source`, a path from this repository's root, into `directory`.
///
/// # Panics
/// With what the compiler says, if there is none or it does not take the file without a warning.
pub fn build(directory: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = directory.join(name).with_extension(std::env::consts::DLL_EXTENSION);
    let output = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"])
        .args(options)
        .arg("-I")
        .arg(root.join("plugins/c-bridge/include"))
        .arg(root.join(source))
        .arg("-o")
        .arg(&library)
        .arg("-lm")
        .output()
        .expect("the system has a C compiler, `cc`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}
