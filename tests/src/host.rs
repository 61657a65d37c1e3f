//! A host whose health can be told: what is registered, and what it computes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitquilt::plugin::PluginProbe;

use bitquilt::registry::Origin;
use bitquilt::{Error, Graph, InferenceSession, Tensor, TensorType};

use crate::{PluginDir, contents};

const ROWS: usize = 3;
const INNER: usize = 256;
const OUTER: usize = 5;

/// What `qmatmul` gives for a weight of this encoding, from fixed values.
pub fn qmatmul(session: &InferenceSession, encoding: &str) -> Result<Vec<f32>, Error> {
    let wave =
        |len: usize, step: f32| (0..len).map(move |index| (index as f32 * step).sin()).collect::<Vec<_>>();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([ROWS, INNER])])?;
    let weight = graph.quantize(encoding, &Tensor::new([OUTER, INNER], wave(OUTER * INNER, 0.37))?)?;
    let product = graph.qmatmul(graph.input(0), weight)?;
    graph.output(product)?;
    let x = Tensor::new([ROWS, INNER], wave(ROWS * INNER, 0.61))?;
    let results = session.load(&graph)?.execute([("input0", &x)])?;
    Ok(results.get::<f32>("output0")?.to_vec())
}

/// What an op of one encoded input gives for a matrix of fixed values.
pub fn row_sums(session: &InferenceSession, op: &str) -> Result<Vec<f32>, Error> {
    let mut graph = Graph::new(session.registry(), [])?;
    let values: Vec<f32> = (0..2 * INNER).map(|index| index as f32 / 256.0).collect();
    let weight = graph.quantize("q8_0", &Tensor::new([2, INNER], &values)?)?;
    let sums = graph.op(op, [weight])?;
    graph.output(sums)?;
    let results = session.load(&graph)?.execute::<&Tensor>([])?;
    Ok(results.get::<f32>("output0")?.to_vec())
}

/// What a session refused, what it has from files (whose ops are taken for [`row_sums`]), and a digest of what `qmatmul` gives for
/// each of their encodings.
///
/// # Panics
/// If it cannot compute.
pub fn report(session: &InferenceSession) -> String {
    let mut text = String::new();
    let mut line = |what: std::fmt::Arguments<'_>| writeln!(text, "{what}").expect("a string takes all");
    for refusal in session.refusals() {
        line(format_args!("refused {refusal}"));
    }
    let registry = session.registry();
    let is_file = |origin: &Origin| matches!(origin, Origin::File(_));
    for plugin in registry.plugins().filter(|plugin| is_file(&plugin.origin)) {
        line(format_args!("plugin {plugin} in {}", plugin.origin));
    }
    for op in registry.ops().filter(|op| is_file(&op.plugin().origin)) {
        let name = &op.signature().name;
        let sums = row_sums(session, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        line(format_args!("op {name}: {sums:.3?}"));
    }
    for encoding in registry.encodings() {
        let (name, summary) = (&encoding.spec().name, &encoding.spec().summary);
        if is_file(&encoding.plugin().origin) {
            line(format_args!("encoding {name}: {summary}"));
        } else if name != "q4_0" {
            continue;
        }
        let answer = qmatmul(session, name).unwrap_or_else(|error| panic!("qmatmul of {name}: {error}"));
        line(format_args!("qmatmul of {name}: {:016x}", digest(&answer)));
    }
    text
}

/// A number that is another for other values.
pub fn digest(values: &[f32]) -> u64 {
    values.iter().fold(0, |sum: u64, value| (sum ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3))
}

/// A host with one good plugin, which no fault may harm.
pub struct Host {
    good: PluginDir,
    cache: PluginDir,
    program: PathBuf,
    contents: Vec<String>,
    answers: Vec<Vec<f32>>,
}

/// The encodings whose `qmatmul` has to stay as it is: a built-in one, and one from a file.
const ENCODINGS: [&str; 2] = ["q4_0", "good.int8"];

impl Host {
    /// A host that probes with `program`, the package's `test-host`.
    ///
    /// # Panics
    /// If it is not healthy from the start.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let (good, cache) = (PluginDir::new(), PluginDir::new());
        good.add_fixture("good");
        let mut host = Self { good, cache, program: program.into(), contents: vec![], answers: vec![] };
        let session = host.session(&[]);
        assert_eq!(session.refusals(), []);
        host.contents = contents(session.registry());
        host.answers = answers(&session);
        host
    }

    /// The file of its good plugin.
    pub fn good(&self) -> PathBuf {
        self.good.file("good")
    }

    /// The program that probes.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A probe with children of its own.
    pub fn probe(&self) -> PluginProbe {
        PluginProbe::program(&self.program)
            .cache(Some(self.cache.path().to_owned()))
            .time_limit(Duration::from_secs(20))
    }

    /// A session with the good plugin and those in `directories`, each probed.
    pub fn session(&self, directories: &[&Path]) -> InferenceSession {
        self.session_with(self.probe(), directories)
    }

    /// A session that probes with `probe`.
    ///
    /// # Panics
    /// If there is none, whatever is in the directories.
    pub fn session_with(&self, probe: PluginProbe, directories: &[&Path]) -> InferenceSession {
        let mut builder = InferenceSession::builder().threads(2).plugin_dir(self.good.path()).probe(probe);
        for directory in directories {
            builder = builder.plugin_dir(*directory);
        }
        builder.build().expect("no file keeps a session from being made")
    }

    /// Checks that a session has what the host had at the start, and computes what it computed; what it has besides.
    ///
    /// # Panics
    /// If it does not.
    pub fn gained(&self, case: &str, session: &InferenceSession) -> Vec<String> {
        let (kept, gained): (Vec<_>, Vec<_>) =
            contents(session.registry()).into_iter().partition(|line| self.contents.contains(line));
        assert_eq!(kept, self.contents, "{case}: the registry lost something");
        assert_eq!(answers(session), self.answers, "{case}: qmatmul");
        gained
    }

    /// Checks that a session has exactly what the host had at the start, and computes what it computed.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_unharmed(&self, case: &str, session: &InferenceSession) {
        assert_eq!(self.gained(case, session), [""; 0], "{case}: the registry gained something");
    }

    /// Loads what is in a directory; what was refused, a line each. The registry must hold what it held before.
    ///
    /// # Panics
    /// If the host is harmed, or nothing was refused.
    pub fn refusals(&self, case: &str, directory: &Path) -> String {
        self.refusals_with(self.probe(), case, directory)
    }

    /// As [`Self::refusals`], with a probe of the caller's.
    ///
    /// # Panics
    /// If the host is harmed, or nothing was refused.
    pub fn refusals_with(&self, probe: PluginProbe, case: &str, directory: &Path) -> String {
        let session = self.session_with(probe, &[directory]);
        self.assert_unharmed(case, &session);
        assert!(!session.refusals().is_empty(), "{case}: nothing was refused");
        let lines: Vec<String> = session.refusals().iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&self.good.path().display().to_string(), "GOOD")
    }
}

fn answers(session: &InferenceSession) -> Vec<Vec<f32>> {
    let answer = |encoding| {
        qmatmul(session, encoding).unwrap_or_else(|error| panic!("qmatmul of {encoding}: {error}"))
    };
    ENCODINGS.map(answer).to_vec()
}
