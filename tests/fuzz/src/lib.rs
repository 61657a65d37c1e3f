//! Mutated files for every reader, and what must hold whatever the bytes are.
//!
//! A [`Target`] gives bytes to a reader and panics where a promise is broken: what a reader takes can be read through, saved, and read
//! again to the same. [`mutate`] changes well-formed bytes so that a reader comes far with them. The test `mutations` looks for
//! panics, aborts, hangs and unbounded memory for `BITQUILT_FUZZ_SECONDS`; the targets of `libfuzzer/` give the same functions to
//! libFuzzer.

pub mod memory;
pub mod mutate;
mod readers;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bitquilt::InferenceSession;

pub use readers::TARGETS;

/// A reader under test.
pub struct Target {
    /// Its name, and that of its folder in `regressions/`.
    pub name: &'static str,
    /// Makes well-formed inputs.
    pub corpus: fn(&Scratch) -> Vec<Vec<u8>>,
    /// Reads bytes.
    pub read: fn(&Scratch, &[u8]),
    /// The most bytes of memory that reading takes, and how many more for each byte of the input.
    pub memory: (usize, usize),
}

impl Target {
    /// The target of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(name: &str) -> &'static Self {
        TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target `{name}`"))
    }

    /// Reads bytes in a folder that is made once.
    ///
    /// # Panics
    /// If a promise is broken.
    pub fn read_once(&self, bytes: &[u8]) {
        static SCRATCH: OnceLock<Scratch> = OnceLock::new();
        (self.read)(SCRATCH.get_or_init(Scratch::new), bytes);
    }
}

/// A folder for files, which is gone at the end.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// An empty one.
    ///
    /// # Panics
    /// If the system has none to give.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The path of a file in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with these bytes.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        // A reader may have the old one mapped.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        path
    }
}

/// The session that all targets share, with one thread.
fn session() -> &'static InferenceSession {
    static SESSION: OnceLock<InferenceSession> = OnceLock::new();
    SESSION.get_or_init(|| InferenceSession::builder().threads(1).build().expect("the built-in plugins"))
}
