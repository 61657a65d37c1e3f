//! `bitquilt plan`

mod measure;
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitquilt::InferenceSession;
use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::Recipe;
use bitquilt::quantize::allocation::{Allocation, Allocator, FixedWeight, Stage, Subject, TargetSize};
use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::text::Brief;
use bitquilt::{TensorDict, file};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use miette::{IntoDiagnostic, miette};

use self::measure::MeasureArguments;
use self::report::Report;
use crate::importance::warn_of;
use crate::rewrite::bytes;
use crate::session::SessionArguments;

/// Searches the mix of encodings that loses least in a size.
///
/// Each weight (of rank 2 or 3) is encoded in every encoding whose blocks its rows fit, plugins' and declared ones too, and the model is run
/// with that weight alone changed: what its outputs lose, divided by the weight's error, is the weight's sensitivity. The mix of the least
/// predicted loss is run, beside simple mixes of no more bytes (uniform encodings, one as Q4_K_M), and the best of all is the plan.
///
/// The loss is the divergence of what a language model predicts on a text (--text), in nats a token, or the relative squared error of a
/// saved graph's outputs (--inputs). A language model without --text is measured on tokens drawn at random, which is less exact.
///
/// The target counts the bytes of these weights alone, not those of the file. `quantize IN OUT --recipe P.toml` makes what --save wrote
/// down; weights that IN has encoded already need --requantize there. What was measured is kept in a cache, from which a search that was
/// interrupted goes on.
#[derive(Args)]
#[command(group(ArgGroup::new("target").required(true).args(["target_size", "target_bpw"])))]
pub struct PlanArguments {
    /// A language model, or a saved graph.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The bytes that the weights may take, such as 84000000, 84MB or 80MiB (M is 10^6, Mi is 2^20).
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    target_size: Option<u64>,
    /// The bits that a value may take on average, such as 4.5.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    target_bpw: Option<f64>,
    #[command(flatten)]
    measure: MeasureArguments,
    /// Encodings to choose from, separated by commas; all that are registered and need no importance if it is not given.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    encodings: Vec<String>,
    /// A recipe whose rules fix the encodings of the weights that they match.
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<PathBuf>,
    /// Changes weights of a kind together, some layers at a time, and searches once: quicker, and the plan is less good.
    #[arg(long)]
    quick: bool,
    /// The directory of caches; `plans` in the user's cache directory for bitquilt if it is not given.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Writes a recipe that reproduces the plan.
    #[arg(long, value_name = "P.toml")]
    save: Option<PathBuf>,
    /// Says of a weight what each encoding would take and lose.
    #[arg(long, value_name = "WEIGHT")]
    explain: Option<String>,
    /// How much an error costs in each column of a weight, in a file as `quantize` takes it; several are merged. Weights are encoded with it,
    /// and `quantize` needs the same to make the plan.
    #[arg(long, value_name = "FILE")]
    importance: Vec<PathBuf>,
    /// Writes a page that shows the plan in a browser, without a network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn bits(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bits) if bits > 0.0 && bits <= 32.0 => Ok(bits),
        _ => Err("a number of bits above 0 and up to 32 was expected, such as 4.5".to_owned()),
    }
}

impl PlanArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let begin = Instant::now();
        let session = session.build_for(&[&self.input])?;
        self.check_outputs()?;
        let fixed = self.recipe.as_deref().map(Recipe::read).transpose().into_diagnostic()?;
        self.measure.with_subject(&self.input, &session, |subject, origin| {
            if let Some(weight) = self.explain.as_ref().filter(|name| subject.weights.get(name).is_none()) {
                return Err(unknown(subject, weight));
            }
            let fixed =
                fixed.as_ref().map_or(Ok(Vec::new()), |recipe| subject.fixed_by(recipe, session.registry()));
            let fixed = fixed.into_diagnostic()?;
            let allocation = self.search(subject, fixed, &session)?;
            if let Some(path) = &self.save {
                let text = allocation.recipe();
                file::replace(path, |out| out.write_all(text.as_bytes())).into_diagnostic()?;
            }
            let report = Report { allocation: &allocation, subject, origin };
            if let Some(path) = &self.html {
                let page = bitquilt_page::plan(&report.json());
                file::replace(path, |out| out.write_all(page.as_bytes())).into_diagnostic()?;
            }
            match (&self.explain, self.json) {
                (_, true) => report.print_json(),
                (Some(weight), false) => report.print_weight(weight),
                (None, false) => {
                    report.print(begin.elapsed(), self.save.as_deref(), &self.importance, self.quick)
                }
            }
        })
    }

    /// Whether what is to be written can be, and takes the place of nothing that is read.
    fn check_outputs(&self) -> miette::Result<()> {
        if self.save.is_none() && self.html.is_none() {
            return Ok(());
        }
        let mut read = self.measure.files()?;
        read.extend([Some(&self.input), self.recipe.as_ref()].into_iter().flatten().cloned());
        read.extend(self.importance.iter().cloned());
        // A model may be in several files.
        if let Ok(file) = Checkpoint::open(&self.input) {
            read.extend(file.files().map(Path::to_owned));
        }
        let written = [("--save", &self.save), ("--html", &self.html)];
        let written: Vec<(&str, &Path)> =
            written.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?))).collect();
        file::check_written(&written, &read).into_diagnostic()
    }

    /// The importance of the weights that the plan covers.
    fn importance(&self, subject: &Subject<'_>) -> miette::Result<TensorDict> {
        if self.importance.is_empty() {
            return Ok(TensorDict::new());
        }
        let matrix = ImportanceMatrix::read(&self.importance).into_diagnostic()?;
        let (vectors, coverage) = subject.importance(&matrix).into_diagnostic()?;
        warn_of(&coverage);
        Ok(vectors)
    }

    fn search(
        &self,
        subject: &Subject<'_>,
        fixed: Vec<FixedWeight>,
        session: &InferenceSession,
    ) -> miette::Result<Allocation> {
        let target = match (self.target_size, self.target_bpw) {
            (Some(bytes), _) => TargetSize::Bytes(bytes),
            (None, bits) => TargetSize::Bits(bits.unwrap_or_default()),
        };
        let cache = self.cache.clone().or_else(|| Some(file::cache_directory()?.join("plans")));
        let allocator = Allocator {
            session,
            subject,
            target,
            encodings: self.encodings.clone(),
            fixed,
            importance: self.importance(subject)?,
            cache,
            quick: self.quick,
        };
        let bar = Bar::new();
        let found = allocator.search(&mut |stage, done, of| bar.show(stage, done, of));
        bar.0.finish_and_clear();
        found.map_err(|error| miette!("{}: {error}", self.input.display()))
    }
}

/// A bar on standard error if that is a terminal, or nothing.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix:34} [{bar:30}] {pos}/{len} ({eta} left)");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(0).with_style(style.progress_chars("=> ")))
    }

    fn show(&self, stage: Stage, done: usize, of: usize) {
        let prefix = match stage {
            Stage::Errors => "1 of 4: what encodings do to weights",
            Stage::Sensitivities => "2 of 4: what weights do to outputs",
            Stage::Candidates => "3 of 4: running mixes",
            Stage::Refinement => "4 of 4: once more from the best",
        };
        if self.0.prefix() != prefix {
            self.0.set_prefix(prefix);
            self.0.reset();
        }
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }
}

fn unknown(subject: &Subject<'_>, weight: &str) -> miette::Report {
    let first = subject.weights.names().next().unwrap_or_default();
    miette!(
        "--explain: {} has no weight `{}`; one is called `{}`, for example",
        subject.name,
        Brief(weight),
        Brief(first)
    )
}
