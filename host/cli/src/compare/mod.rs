//! `bitquilt compare`

mod outputs;
mod report;
mod text;

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::NamePattern;
use bitquilt::quantize::compare::{Comparison, Reference, inputs};
use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::registry::Registry;
use bitquilt::text::Quoted;
use bitquilt::{Graph, InferenceSession, TensorDict, file};
use clap::{ArgGroup, Args};
use miette::{IntoDiagnostic, miette};

use self::report::{Candidate, Report};
use crate::importance::warn_of;
use crate::rewrite;
use crate::session::SessionArguments;

/// Says what was lost: of a checkpoint in another, or in encodings.
///
/// With B, each tensor of A that holds floats or is encoded is compared with that of the same name in B. With --encodings, each weight of A
/// (a tensor of rank 2 or 3) is compared with what an encoding makes of it; weights whose rows are no whole blocks are said, and left out.
/// Of a saved graph those are the weights of `qmatmul` and `qgather`. The largest error comes first:
///
/// rel_rms, the root of the mean squared error, as a part of the root mean square in A; max_abs, the largest magnitude of an error; snr_db,
/// the ratio of A to the error in decibels (null or `exact` where there is no error); cosine, that of the angle between the two; bits, those
/// of a value in B. A figure that is infinite is null in JSON.
///
/// --json prints {"weights": [{"name", "shape", "encoding", "bits", "rel_rms", "max_abs", "snr_db", "cosine"}], "total": {"bits", "bytes",
/// "rel_rms", "max_abs", "snr_db", "cosine"}}. With --text there are "kl": {"mean", "median", "p99", "max"} in nats, "top1" and
/// "perplexity": {"a", "b"}, too; with --inputs "outputs": {"rel_rms", "cosine", "by_name": {NAME: {"rel_rms", "cosine"}}}. Where
/// --encodings names several, each of these but "weights" is an object by encoding.
///
/// --html writes a page of all this for a browser, with heat maps of error by layer and kind, and a histogram of each weight and of its
/// error. These are then in the JSON, too: each weight has "histograms": {"values", "error"}, each {"width", "counts"}: bins of one width,
/// the middle one around 0, the first and the last with all that is beyond.
///
/// If one of the two lacks a weight of the other, or has it in another shape, what they share is compared, and the exit code is 1.
#[derive(Args)]
#[command(group(ArgGroup::new("with").required(true).args(["other", "encodings"])))]
pub struct CompareArguments {
    /// The reference: a GGUF or safetensors file, any one of several that make a model, or a saved graph.
    #[arg(value_name = "A")]
    reference: PathBuf,
    /// What is compared with it, of the same kind.
    #[arg(value_name = "B")]
    other: Option<PathBuf>,
    /// Encodings that A's weights are compared in, separated by commas.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    encodings: Vec<String>,
    /// Compares only the weights whose names match, such as 'blk.*.ffn_{up,down}.weight'.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    only: Option<NamePattern>,
    /// With --encodings: how much an error costs in each column, in a file as `quantize` takes it; several are merged.
    #[arg(long, value_name = "FILE", conflicts_with = "other")]
    importance: Vec<PathBuf>,
    #[command(flatten)]
    text: text::TextArguments,
    /// Sets of inputs for a saved graph, on which outputs are compared: each file .npz in this directory, and each directory in it of files
    /// NAME.npy, is one, with an array for each input.
    #[arg(long, value_name = "DIR", conflicts_with = "text")]
    inputs: Option<PathBuf>,
    /// Writes a page that shows it in a browser, without a network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl CompareArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let reference = Checkpoint::open(&self.reference).into_diagnostic()?;
        let other = self.other.as_ref().map(Checkpoint::open).transpose().into_diagnostic()?;
        self.check_page([Some(&reference), other.as_ref()].into_iter().flatten())?;
        let paths: Vec<_> = [Some(&self.reference), self.other.as_ref()].into_iter().flatten().collect();
        let session = session.build_for(&paths.iter().map(|path| path.as_path()).collect::<Vec<_>>())?;
        let registry = session.registry();
        for encoding in &self.encodings {
            registry.require_encoding(encoding).into_diagnostic()?;
        }
        let weights = self.reference_of(&reference, &session)?;
        let importance = self.importance(&weights)?;
        let compared = match &other {
            Some(other) => vec![self.with_other(&weights, other)?],
            None => self.in_encodings(&weights, importance.as_ref(), registry)?,
        };
        let mut report = Report::new(compared);
        self.add_outputs(&mut report, &weights, importance.as_ref(), &session)?;
        if let Some(page) = &self.html {
            report.write_page(page, &self.reference, self.other.as_deref())?;
        }
        report.print(self.json)?;
        self.check_like(&report)
    }

    /// Whether the page can be written, and takes the place of nothing that is read.
    fn check_page<'a>(&self, checkpoints: impl Iterator<Item = &'a Checkpoint>) -> miette::Result<()> {
        let Some(page) = &self.html else { return Ok(()) };
        let mut read: Vec<PathBuf> = checkpoints.flat_map(Checkpoint::files).map(Path::to_owned).collect();
        read.extend(self.importance.iter().cloned());
        read.extend(self.text.files().map(Path::to_owned));
        if let Some(sets) = &self.inputs {
            read.extend(inputs::files(sets).into_diagnostic()?);
        }
        file::check_written(&[("--html", page)], &read).into_diagnostic()
    }

    /// The importance of the weights that are compared.
    fn importance(&self, weights: &Reference<'_>) -> miette::Result<Option<TensorDict>> {
        if self.importance.is_empty() {
            return Ok(None);
        }
        let matrix = ImportanceMatrix::read(&self.importance).into_diagnostic()?;
        let (vectors, coverage) = weights.importance(&matrix).into_diagnostic()?;
        warn_of(&coverage);
        Ok(Some(vectors))
    }

    /// The weights that are compared.
    fn reference_of<'a>(
        &'a self,
        file: &'a Checkpoint,
        session: &'a InferenceSession,
    ) -> miette::Result<Reference<'a>> {
        let reference = Reference::new(file, session.registry()).only(self.only.as_ref());
        let reference = reference.with_histograms(self.html.is_some());
        if self.encodings.is_empty() || !Graph::is_in(file) {
            return Ok(reference);
        }
        let graph = Graph::load(&self.reference, session.registry()).into_diagnostic()?;
        let names: Vec<String> = graph.weights().into_iter().map(|(name, _)| name).collect();
        if names.is_empty() {
            return Err(miette!(
                "the graph in {} has no encoded weights that `qmatmul` or `qgather` takes",
                self.reference.display()
            ));
        }
        Ok(reference.named(names))
    }

    fn with_other(&self, weights: &Reference<'_>, other: &Checkpoint) -> miette::Result<Candidate> {
        let progress = rewrite::progress();
        rewrite::begin(&progress, "comparing", weights.bytes());
        let comparison = weights.compare(other, |bytes| progress.inc(bytes)).into_diagnostic();
        progress.finish_and_clear();
        Ok(Candidate::new(other.path().display().to_string(), comparison?))
    }

    fn in_encodings(
        &self,
        weights: &Reference<'_>,
        importance: Option<&TensorDict>,
        registry: &Registry,
    ) -> miette::Result<Vec<Candidate>> {
        let progress = rewrite::progress();
        let compare = |encoding: &String| {
            rewrite::begin(&progress, "comparing", weights.bytes());
            let comparison =
                weights.encode(encoding, importance, |bytes| progress.inc(bytes)).into_diagnostic()?;
            progress.suspend(|| warn_unfit(encoding, &comparison, registry));
            Ok(Candidate::new(encoding.clone(), comparison))
        };
        let compared = self.encodings.iter().map(compare).collect();
        progress.finish_and_clear();
        compared
    }

    fn add_outputs(
        &self,
        report: &mut Report,
        weights: &Reference<'_>,
        importance: Option<&TensorDict>,
        session: &InferenceSession,
    ) -> miette::Result<()> {
        if let Some(text) = self.text.file() {
            if let Some(unlike) = report.unlike() {
                return Err(miette!("{unlike}"));
            }
            let losses = match &self.other {
                Some(other) => self.text.with_other(text, &self.reference, other, session)?,
                None => {
                    let encode = |encoding: &String| weights.encoded(encoding, importance).into_diagnostic();
                    self.text.in_encodings(text, &self.reference, &self.encodings, encode, session)?
                }
            };
            report.set_texts(losses);
        }
        if let Some(inputs) = &self.inputs {
            let losses = match &self.other {
                Some(other) => vec![outputs::with_other(inputs, &self.reference, other, session)?],
                None => {
                    let encode = |encoding: &String| weights.encoded(encoding, importance).into_diagnostic();
                    outputs::in_encodings(inputs, &self.reference, &self.encodings, encode, session)?
                }
            };
            report.set_outputs(losses);
        }
        Ok(())
    }

    /// An error if the two have not the same weights. The names of a graph's constants say nothing of what they are: where outputs were
    /// compared, that is a warning.
    fn check_like(&self, report: &Report) -> miette::Result<()> {
        match report.unlike() {
            Some(unlike) if self.inputs.is_some() => {
                tracing::warn!("{unlike}");
                Ok(())
            }
            Some(unlike) => Err(miette!("{unlike}")),
            None => Ok(()),
        }
    }
}

/// Says which weights an encoding does not take.
fn warn_unfit(encoding: &str, comparison: &Comparison, registry: &Registry) {
    let names: Vec<String> = comparison.unfit.iter().map(|(name, _)| name.clone()).collect();
    if let (false, Some(encoding)) = (names.is_empty(), registry.encoding(encoding)) {
        let spec = encoding.spec();
        tracing::warn!(
            "left out of `{}`, of whose blocks of {} values their rows are no whole number: {}",
            spec.name,
            spec.block_len,
            Quoted(&names)
        );
    }
}
