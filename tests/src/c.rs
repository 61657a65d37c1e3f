//! Plugins in C and C++, built by the system's compilers.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a library from the C file `source`, a path from this repository's root, into `directory`.
///
/// # Panics
/// With what the compiler says, if there is none or it does not take the file without a warning.
pub fn build(directory: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    compile("cc", &[&["-std=c11"][..], options].concat(), directory, name, source)
}

/// Builds a library from a C++ file, or from a C file that is one, too, as C++20; none where there is no `c++`, which is printed.
///
/// # Panics
/// With what the compiler says, if it does not take the file without a warning.
pub fn build_cpp(directory: &Path, name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    if let Err(error) = Command::new("c++").arg("--version").output() {
        println!("skipped: {source} as C++, since there is no `c++` here ({error})");
        return None;
    }
    let options = [&["-std=c++20", "-x", "c++"][..], options].concat();
    Some(compile("c++", &options, directory, name, source))
}

fn compile(compiler: &str, options: &[&str], directory: &Path, name: &str, source: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = directory.join(name).with_extension(std::env::consts::DLL_EXTENSION);
    let output = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"])
        .args(options)
        .arg("-I")
        .arg(root.join("plugins/c-bridge/include"))
        .arg(root.join(source))
        .arg("-o")
        .arg(&library)
        .arg("-lm")
        .output()
        .unwrap_or_else(|error| panic!("the system has no compiler `{compiler}`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}
