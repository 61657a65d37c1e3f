//! A directory in which a command runs, and what it says there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{Graph, InferenceSession, Tensor, TensorDict, TensorType, checkpoint, dim};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with a command that runs in it. What the command keeps elsewhere goes to a home of its own; both are gone when the test
/// ends. Whatever fails here, or is not as a method says, is a panic.
pub struct Workplace {
    directory: TempDir,
    home: TempDir,
    program: PathBuf,
    session: InferenceSession,
}

impl Workplace {
    /// An empty directory, for the command that is the file `program`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let directory = || tempfile::tempdir().expect("a temporary directory");
        let session = InferenceSession::builder().threads(1).build().expect("a session without plugins");
        Self { directory: directory(), home: directory(), program: program.into(), session }
    }

    /// The path of the file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the command keeps its data and caches.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A session without plugins, on one thread.
    pub fn session(&self) -> &InferenceSession {
        &self.session
    }

    /// The encodings and ops without plugins.
    pub fn registry(&self) -> &Arc<Registry> {
        self.session.registry()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("the directory is writable");
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a checkpoint of tensors by name.
    pub fn save(&self, name: &str, tensors: impl IntoIterator<Item = (impl Into<String>, Tensor)>) {
        checkpoint::save(&tensors.into_iter().collect(), self.path(name)).expect("the tensors can be saved");
    }

    /// What a checkpoint holds.
    pub fn load(&self, name: &str) -> TensorDict {
        checkpoint::load(self.path(name), self.registry()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes the graph `y = qmatmul(x, weight)`, for an `x` of f32 `[rows, columns of the weight]` and the weight in this encoding.
    pub fn save_product(&self, name: &str, [x, y]: [&str; 2], encoding: &str, weight: &Tensor) {
        let save = || {
            let mut graph = Graph::new(self.registry(), [])?;
            let input = graph.add_input(x, TensorType::f32([dim("rows"), dim(weight.shape()[1])]))?;
            let weight = graph.quantize(encoding, weight)?;
            let product = graph.node("qmatmul", [input, weight]).named(format!("{y}.node")).value()?;
            graph.output_named(y, product)?;
            graph.save(self.path(name))
        };
        save().unwrap_or_else(|error: bitquilt::Error| panic!("{name}: {error}"));
    }

    /// What there is by name: a file's bytes, a link's target, or nothing.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents = |entry: &fs::DirEntry| match entry.file_type()? {
            kind if kind.is_file() => fs::read(entry.path()),
            kind if kind.is_symlink() => {
                Ok(fs::read_link(entry.path())?.into_os_string().into_encoded_bytes())
            }
            _ => Ok(Vec::new()),
        };
        let entries = fs::read_dir(self.directory.path()).expect("the directory is there");
        let files = entries.map(|entry| entry.and_then(|entry| Ok((entry.path(), contents(&entry)?))));
        files.collect::<Result<_, _>>().expect("the files are readable")
    }

    /// The command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.directory.path()).args(arguments).env_remove("BITQUILT_PLUGIN_PATH");
        command.env("XDG_DATA_HOME", self.home()).env("XDG_CACHE_HOME", self.home());
        command
    }

    /// Runs the command.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_on("", arguments)
    }

    /// Runs the command with a text on its standard input.
    pub fn run_on(&self, input: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        // A command that fails need not read it.
        let _ = child.stdin.take().expect("its standard input is a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("the command ends")
    }

    /// What the command prints as it succeeds.
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        self.succeeds_on("", arguments)
    }

    /// What the command prints as it succeeds, with a text on its standard input.
    pub fn succeeds_on(&self, input: &str, arguments: &[&str]) -> String {
        text(succeeded(arguments, self.run_on(input, arguments)).stdout)
    }

    /// What the command prints with `--json` as it succeeds.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.succeeds(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}"))
    }

    /// What the command says on one line as it succeeds.
    pub fn warns(&self, arguments: &[&str]) -> String {
        said(&succeeded(arguments, self.run(arguments)))
    }

    /// What the command says on one line as it fails; it prints nothing, and leaves all files as they were.
    pub fn fails(&self, arguments: &[&str]) -> String {
        self.refuses(1, arguments)
    }

    /// As [`Self::fails`], with an exit code.
    pub fn refuses(&self, code: i32, arguments: &[&str]) -> String {
        let before = self.files();
        let output = self.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(text(output.stdout), "", "{arguments:?}: {said}");
        assert!(self.files() == before, "{arguments:?} changed files: {said}");
        assert!(said.len() < 10_000 && !said.contains("panicked"), "{arguments:?}: {said}");
        said
    }
}

fn succeeded(arguments: &[&str], output: Output) -> Output {
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("what is printed is a text")
}

/// Standard error on one line, without the frame around messages.
pub fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().filter(|word| !["×", "│"].contains(word)).collect::<Vec<_>>().join(" ")
}
