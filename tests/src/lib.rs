//! What integration tests share: their plugins, directories to put them into, hosts to load them, and places to run the command in.

pub mod allocations;
pub mod c;
#[cfg(target_os = "linux")]
pub mod elf;
pub mod gguf;
pub mod host;
pub mod patched;
pub mod random;
pub mod workplace;

use std::fs;
use std::path::{Path, PathBuf};

use bitquilt::Tensor;
use bitquilt::registry::Registry;

/// The library of the fixture `name`, which cargo has built beside the running test.
///
/// # Panics
/// If it is not there.
pub fn fixture(name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let executable = std::env::current_exe().expect("a test has a path");
    let library = executable.with_file_name(format!("{DLL_PREFIX}fixture_{name}{DLL_SUFFIX}"));
    assert!(library.is_file(), "{} is not built; is it in [dev-dependencies]?", library.display());
    library
}

/// The fixture `contract`, which breaks the contract as `mode` says.
///
/// # Panics
/// If `mode` is too long.
pub fn contract(mode: &str) -> Vec<u8> {
    const MARK: &[u8; 32] = b"bitquilt-fixture-mode==========>";
    const ROOM: usize = 32;
    assert!(mode.len() < ROOM, "{mode}");
    let mut bytes = fs::read(fixture("contract")).expect("the fixture is readable");
    let mark = bytes.windows(MARK.len()).position(|window| window == MARK).expect("the fixture has a mark");
    let room = &mut bytes[mark + MARK.len()..][..ROOM];
    room.fill(0);
    room[..mode.len()].copy_from_slice(mode.as_bytes());
    bytes
}

/// A directory of plugins that is gone when the test ends.
pub struct PluginDir(tempfile::TempDir);

impl PluginDir {
    /// An empty one.
    ///
    /// # Panics
    /// If the system has none to give.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds a file of these bytes, as a library of this name.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, bytes).expect("the directory is writable");
        path
    }

    /// Adds a copy of a fixture.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add_fixture(&self, name: &str) -> PathBuf {
        self.add(name, fs::read(fixture(name)).expect("the fixture is readable"))
    }

    /// The path of a library of this name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.{}", std::env::consts::DLL_EXTENSION))
    }

    /// A text with the paths of this directory taken out of it.
    pub fn scrub(&self, text: &str) -> String {
        let resolved = fs::canonicalize(self.path()).unwrap_or_default();
        text.replace(&resolved.display().to_string(), "DIR")
            .replace(&self.path().display().to_string(), "DIR")
    }
}

/// All that a registry holds, a line each.
pub fn contents(registry: &Registry) -> Vec<String> {
    let plugins = registry.plugins().map(|it| format!("plugin {it} from {}", it.origin));
    let encodings =
        registry.encodings().map(|it| format!("encoding {:?} of {}", it.spec(), it.plugin().name));
    let ops = registry.ops().map(|it| format!("op {:?} of {}", it.signature(), it.plugin().name));
    let kernels = registry.all_kernels().map(|it| format!("kernel {:?} of {}", it.key(), it.plugin().name));
    plugins.chain(encodings).chain(ops).chain(kernels).collect()
}

/// Values of both signs and many magnitudes, all of which bf16 and f16 hold.
pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 255) as f32 - 127.0) / 64.0).collect()
}

/// A tensor of [`values`].
///
/// # Panics
/// If no tensor has this shape.
pub fn weight<const R: usize>(shape: [usize; R]) -> Tensor {
    Tensor::new(shape, values(shape.iter().product())).expect("there are as many values")
}

/// A file of the small language model `examples/models/tests/data/llama2c`: `model.bin`, `tokenizer.bin`.
pub fn llama2c(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models/tests/data/llama2c").join(name)
}

/// A number of repetitions: `few`, and `times` as many in the long run, which sets `BITQUILT_LONG_RUN`.
pub fn scaled(few: usize, times: usize) -> usize {
    if is_long_run() { few * times } else { few }
}

/// Whether this is the long run.
pub fn is_long_run() -> bool {
    std::env::var_os("BITQUILT_LONG_RUN").is_some()
}
