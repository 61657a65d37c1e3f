//! The session that a command runs in.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::plugin::{PluginProbe, SearchPath};
use bitquilt::text::Passage;
use bitquilt::{InferenceSession, Isa, SessionBuilder};
use clap::Args;
use miette::{IntoDiagnostic, miette};

/// Where help lists the options that every command has.
pub const GLOBAL: &str = "Global options";

/// What a session is made of.
#[derive(Args)]
pub struct SessionArguments {
    /// A directory of plugins to load; may be given several times.
    #[arg(long, value_name = "DIR", global = true, help_heading = GLOBAL)]
    plugin_dir: Vec<PathBuf>,
    /// Loads plugins without trying each in a child process first.
    #[arg(long, global = true, help_heading = GLOBAL)]
    no_probe: bool,
    /// Threads to compute with; all of the machine's if it is not given. `bench` takes several numbers, separated by commas.
    #[arg(
        long,
        value_name = "N",
        global = true,
        help_heading = GLOBAL,
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=1024),
    )]
    threads: Vec<u16>,
    // What is said of it lists all there are.
    #[arg(long, value_name = "NAME", global = true, help_heading = GLOBAL, value_parser = isa, help = isa_help())]
    isa: Option<Isa>,
    /// When weights are decoded whose encodings have no kernels of their own: `each run`, or once, into `f16` or `f32`.
    #[arg(long, value_name = "WHEN", global = true, help_heading = GLOBAL, value_parser = ["each run", "f16", "f32"])]
    decode: Option<String>,
    /// What weights are made that kernels would spread to more bytes: `fast`, or `compact`, the file's own bytes, unpacked at each run.
    #[arg(long, value_name = "HOW", global = true, help_heading = GLOBAL, value_parser = ["fast", "compact"])]
    prepare: Option<String>,
}

fn isa_help() -> String {
    let names = Isa::ALL.map(Isa::name).join(", ");
    format!(
        "The instruction set to compute with, one of {names}; the fastest that the machine has if it is not given"
    )
}

fn isa(name: &str) -> Result<Isa, String> {
    Isa::by_name(name).map_err(|error| error.to_string())
}

impl SessionArguments {
    /// Where plugins are looked for.
    pub fn search_path(&self) -> SearchPath {
        SearchPath::with_environment(&self.plugin_dir)
    }

    /// How plugins are tried before they are loaded, unless they are not.
    pub fn probe(&self) -> miette::Result<Option<PluginProbe>> {
        let probe = (!self.no_probe).then(PluginProbe::new).transpose().into_diagnostic()?;
        if let Some(problem) = probe.as_ref().and_then(PluginProbe::cache_problem) {
            tracing::warn!("each plugin is tried anew, since what came of it cannot be kept: {problem}");
        }
        Ok(probe)
    }

    /// The numbers of threads that were asked for; that of the machine if none was.
    pub fn thread_counts(&self) -> Vec<usize> {
        if self.threads.is_empty() {
            return vec![std::thread::available_parallelism().map_or(1, Into::into)];
        }
        self.threads.iter().map(|threads| (*threads).into()).collect()
    }

    /// The instruction set of the session.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::detect)
    }

    /// The session. Plugins that are refused are reported.
    pub fn build(&self) -> miette::Result<InferenceSession> {
        self.build_for(&[])
    }

    /// The session for checkpoints, whose declared encodings it has, too. Those that cannot be opened are left out here: who reads them
    /// says why.
    pub fn build_for(&self, files: &[&Path]) -> miette::Result<InferenceSession> {
        match self.threads[..] {
            [] => self.build_with(|builder| with_encodings(builder, files)),
            [threads] => {
                let threads = threads.into();
                // Those that quantize and decode, which are started here, by their first use.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
                pool.map_err(|error| {
                    miette!("--threads {threads}: they could not be started: {error}; give fewer")
                })?;
                self.build_for_threads(files, threads)
            }
            _ => Err(miette!("--threads: `bench` alone takes several numbers")),
        }
    }

    /// The session for checkpoints, as [`Self::build_for`] makes it, for one of several numbers of threads.
    pub fn build_for_threads(
        &self,
        files: &[impl AsRef<Path>],
        threads: usize,
    ) -> miette::Result<InferenceSession> {
        self.build_with(|builder| with_encodings(builder.threads(threads), files))
    }

    /// The session, with more that is set.
    pub fn build_with(
        &self,
        set: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> miette::Result<InferenceSession> {
        if let Some(missing) = self.plugin_dir.iter().find(|directory| !directory.is_dir()) {
            return Err(miette!("--plugin-dir {}: there is no such directory", missing.display()));
        }
        let path = self.search_path();
        for note in &path.notes {
            tracing::warn!("{}", Passage(note));
        }
        let mut builder = set(InferenceSession::builder().search_path(path));
        if let Some(decode) = &self.decode {
            builder = builder.option("decode", decode);
        }
        if let Some(prepare) = &self.prepare {
            builder = builder.option("prepare", prepare);
        }
        if let Some(isa) = self.isa {
            builder = builder.option("isa", isa.name());
        }
        if let Some(probe) = self.probe()? {
            builder = builder.probe(probe);
        }
        let session = builder.build().into_diagnostic()?;
        for refusal in session.refusals() {
            tracing::warn!("plugin refused: {}", Passage(&refusal.to_string()));
        }
        for plugin in session.registry().plugins() {
            tracing::info!("{}", Passage(&format!("plugin {plugin} ({})", plugin.origin)));
        }
        Ok(session)
    }
}

/// A session with the encodings that checkpoints declare, of those that can be opened.
fn with_encodings(builder: SessionBuilder, files: &[impl AsRef<Path>]) -> SessionBuilder {
    let files = files.iter().filter_map(|file| Checkpoint::open(file).ok());
    files.fold(builder, |builder, file| builder.encodings_of(&file))
}
