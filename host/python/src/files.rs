//! Whole files: quantized, converted, compared.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{Checkpoint, Format};
use bitquilt::quantize::compare::{Comparison, Difference, Reference};
use bitquilt::quantize::{Event, NamePattern, Plan, Recipe, Report, Rewrite, Target};
use bitquilt::registry::Registry;
use bitquilt::{Graph, QuantizeWarning, TensorDict, file};
use pyo3::prelude::*;

use crate::error::{Kind, OrRaise, exception};
use crate::importance::{files_of, matrix_of};
use crate::session::{Session, warn, warn_of};
use crate::work;

/// What became of a weight: name, shape, dtype or encoding before and after, what was wanted where that is the fallback, bytes before
/// and after, and the error as a part of the values.
type Weight = (String, Vec<usize>, String, String, Option<String>, u64, u64, f64);
/// Table, weights, number and bytes of the other tensors.
type Rewritten = (String, Vec<Weight>, usize, u64);

fn rewritten(report: &Report) -> Rewritten {
    let weight = |weight: &bitquilt::quantize::WeightReport| {
        (
            weight.name.clone(),
            weight.shape.clone(),
            weight.from.to_string(),
            weight.to.to_string(),
            weight.instead_of.clone(),
            weight.bytes_before,
            weight.bytes_after,
            weight.error.relative_rms(),
        )
    };
    (
        report.to_string(),
        report.weights.iter().map(weight).collect(),
        report.other_tensors,
        report.other_bytes,
    )
}

/// A rewrite of this format, in files of so many bytes.
fn set_output(mut rewrite: Rewrite, format: Option<&str>, split: Option<u64>) -> PyResult<Rewrite> {
    if let Some(name) = format {
        let format = Format::of_extension(name).ok_or_else(|| {
            let sentence = format!(
                "there is no format `{}`; there are safetensors, gguf and npz",
                bitquilt::text::Brief(name)
            );
            exception("RewriteError", sentence)
        })?;
        rewrite.set_format(format);
    }
    match split {
        Some(0) => return Err(exception("RewriteError", "a file cannot have 0 bytes of tensors")),
        Some(bytes) => rewrite.split(bytes),
        None => {}
    }
    Ok(rewrite)
}

/// Does what a plan says.
fn write(
    py: Python<'_>,
    mut rewrite: Rewrite,
    plan: &Plan,
    registry: &Registry,
    importance: &TensorDict,
    dry_run: bool,
) -> PyResult<Rewritten> {
    if dry_run {
        return Ok(rewritten(&rewrite.announce(plan, registry).or_raise()?));
    }
    let (report, warnings) = work::run(py, || {
        let mut warnings: Vec<(String, QuantizeWarning)> = Vec::new();
        let report = rewrite.quantize(plan, registry, importance, &mut |event| {
            if let Event::Warning { weight, warning } = event {
                warnings.push((weight.to_owned(), warning.clone()));
            }
        });
        (report, warnings)
    })?;
    let report = report.or_raise()?;
    warn(py, warnings.iter().map(|(weight, warning)| (Some(weight.as_str()), warning)))?;
    Ok(rewritten(&report))
}

fn patterns(globs: &[String]) -> PyResult<Vec<NamePattern>> {
    globs.iter().map(|glob| NamePattern::new(glob)).collect::<Result<_, _>>().or_raise()
}

/// What is wanted of the weights of a file.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Wanted {
    /// A recipe's file.
    recipe: Option<PathBuf>,
    /// A recipe that was planned.
    planned: Option<String>,
    /// The target of all weights.
    encoding: Option<String>,
    /// Targets of those that match a glob.
    choices: Vec<(String, String)>,
    /// The weights that `encoding` is for.
    only: Option<String>,
    exclude: Vec<String>,
    fallback: Option<String>,
    requantize: bool,
}

impl Wanted {
    fn recipe(&self) -> PyResult<Recipe> {
        let written = match (&self.recipe, &self.planned) {
            (Some(path), _) => Some(Recipe::read(path).or_raise()?),
            (None, planned) => {
                planned.as_ref().map(|text| Recipe::parse(text, "the plan")).transpose().or_raise()?
            }
        };
        let mut recipe = match (written, &self.encoding, &self.only) {
            (_, None, Some(_)) => {
                return Err(exception(
                    "RecipeError",
                    "`only` needs one encoding, for the weights that it matches",
                ));
            }
            (Some(_), _, Some(_)) => {
                return Err(exception(
                    "RecipeError",
                    "`only` and `recipe` cannot both be given: write a rule",
                ));
            }
            (Some(recipe), ..) => recipe,
            (None, Some(encoding), Some(only)) => {
                Recipe::new([(NamePattern::new(only).or_raise()?, Target::of(encoding))], None)
            }
            (None, ..) => Recipe::new([], None),
        };
        let choice = |(glob, target): &(String, String)| Ok((NamePattern::new(glob)?, Target::of(target)));
        let choices =
            self.choices.iter().map(choice).collect::<Result<Vec<_>, bitquilt::PatternError>>().or_raise()?;
        recipe =
            recipe.with_choices(choices).excluding(patterns(&self.exclude)?).requantizing(self.requantize);
        if let Some(fallback) = &self.fallback {
            recipe = recipe.with_fallback(Target::of(fallback));
        }
        match (&self.encoding, &self.only) {
            (Some(encoding), None) => recipe.with_default(Target::of(encoding)).or_raise(),
            _ => Ok(recipe),
        }
    }

    /// An error for a name that is no encoding's.
    fn check(&self, registry: &Registry) -> PyResult<()> {
        let names = self.choices.iter().map(|(_, name)| name).chain(&self.encoding).chain(&self.fallback);
        names.map(|name| Target::of(name)).try_for_each(|target| match target {
            Target::Encoding(name) => registry.require_encoding(&name).map(drop).or_raise(),
            Target::Keep | Target::Dense(_) => Ok(()),
        })
    }
}

/// The importance of the weights that a plan encodes. What it lacks is a warning.
fn importance(
    py: Python<'_>,
    given: Option<&Bound<'_, PyAny>>,
    rewrite: &mut Rewrite,
    plan: &Plan,
    registry: &Registry,
) -> PyResult<TensorDict> {
    let Some(given) = given else { return Ok(TensorDict::new()) };
    for path in files_of(given)? {
        if file::is_same(&path, rewrite.output()) {
            let path = path.display();
            let sentence = format!("{path} is the importance, which would be lost; name another output");
            return Err(exception("RewriteError", sentence));
        }
    }
    let importance = rewrite.use_importance(&matrix_of(given)?, plan, registry).or_raise()?;
    warn_of(py, importance.sentences())?;
    Ok(importance.vectors)
}

/// Encodes weights of a checkpoint.
#[pyfunction]
#[pyo3(signature = (input, output, wanted, session, *, importance, format, split, dry_run))]
#[expect(clippy::too_many_arguments, reason = "the arguments of Python, each by its name")]
pub fn quantize_file(
    py: Python<'_>,
    input: PathBuf,
    output: PathBuf,
    wanted: Wanted,
    session: &Bound<'_, Session>,
    importance: Option<&Bound<'_, PyAny>>,
    format: Option<String>,
    split: Option<u64>,
    dry_run: bool,
) -> PyResult<Rewritten> {
    let registry = session.get().registry();
    let rewrite = Rewrite::open_weights(&input, &output).or_raise()?;
    let mut rewrite = set_output(rewrite, format.as_deref(), split)?;
    wanted.check(registry)?;
    let plan = wanted.recipe()?.plan(&rewrite.types(), registry).map_err(|error| in_file(&input, &error))?;
    if let Some(stay) = plan.still_encoded("requantize=True") {
        if !rewrite.is_changed_by(&plan) {
            let sentence = format!("{}: there is nothing to do: {stay}", input.display());
            return Err(exception("RecipeError", sentence));
        }
        warn_of(py, vec![format!("{}: {stay}", input.display())])?;
    }
    let importance = self::importance(py, importance, &mut rewrite, &plan, registry)?;
    write(py, rewrite, &plan, registry, &importance, dry_run)
}

/// An error about a file.
fn in_file(path: &Path, error: &(impl Kind + ?Sized)) -> PyErr {
    exception(error.class(), format!("{}: {error}", path.display()))
}

/// Writes a checkpoint in another format, or with its tensors cast.
#[pyfunction]
#[pyo3(signature = (input, output, session, *, to, format, split, without_metadata, dry_run))]
#[expect(clippy::too_many_arguments, reason = "the arguments of Python, each by its name")]
pub fn convert(
    py: Python<'_>,
    input: PathBuf,
    output: PathBuf,
    session: &Bound<'_, Session>,
    to: Option<String>,
    format: Option<String>,
    split: Option<u64>,
    without_metadata: bool,
    dry_run: bool,
) -> PyResult<Rewritten> {
    let rewrite = Rewrite::open(&input, &output).or_raise()?;
    let mut rewrite = set_output(rewrite, format.as_deref(), split)?;
    if without_metadata {
        rewrite.without_metadata();
    }
    let plan = match to.as_deref().map(Target::of) {
        None => Plan::default(),
        Some(target @ Target::Dense(_)) => rewrite.casts(&target),
        Some(other) => {
            let sentence = format!(
                "tensors are cast to f32, f16 or bf16, not to `{}`; `quantize_file` encodes them",
                bitquilt::text::Brief(&other.to_string())
            );
            return Err(exception("RewriteError", sentence));
        }
    };
    write(py, rewrite, &plan, session.get().registry(), &TensorDict::new(), dry_run)
}

/// Relative root mean square, largest error, signal-to-noise ratio in decibels, cosine.
type Figures = (f64, f64, Option<f64>, f64);
/// Name, shape, what it is compared as, bits a value, bytes, figures.
type WeightFigures = (String, Vec<usize>, String, f64, u64, Figures);
/// Weights, bits a value, bytes and figures of all, the weights that are left out, and what the two files do not share.
type Compared = (Vec<WeightFigures>, f64, u64, Figures, Vec<String>, Option<String>);

fn figures(difference: &Difference) -> Figures {
    (difference.rel_rms(), difference.max_abs(), difference.snr_db(), difference.cosine())
}

fn compared(comparison: &Comparison) -> Compared {
    let weights = comparison.weights.iter().map(|weight| {
        let (name, shape, encoding) = (weight.name.clone(), weight.shape.clone(), weight.encoding.clone());
        (name, shape, encoding, weight.bits(), weight.bytes, figures(&weight.difference))
    });
    let unfit = comparison.unfit.iter().map(|(name, _)| name.clone());
    let unlike = comparison.unlike.as_ref().map(ToString::to_string);
    (
        weights.collect(),
        comparison.bits(),
        comparison.bytes(),
        figures(&comparison.total()),
        unfit.collect(),
        unlike,
    )
}

/// Compares the weights of a checkpoint with those of another, or with what encodings make of them.
#[pyfunction]
#[pyo3(signature = (reference, other, encodings, session, *, only, importance))]
pub fn compare(
    py: Python<'_>,
    reference: PathBuf,
    other: Option<PathBuf>,
    encodings: Vec<String>,
    session: &Bound<'_, Session>,
    only: Option<String>,
    importance: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<Compared>> {
    let registry = session.get().registry();
    let file = Checkpoint::open(&reference).or_raise()?;
    let other = other.map(Checkpoint::open).transpose().or_raise()?;
    let only = only.map(|glob| NamePattern::new(&glob)).transpose().or_raise()?;
    encodings.iter().try_for_each(|name| registry.require_encoding(name).map(drop)).or_raise()?;
    let mut weights = Reference::new(&file, registry).only(only.as_ref());
    if other.is_none() && Graph::is_in(&file) {
        let graph = Graph::load(&reference, registry).or_raise()?;
        weights = weights.named(graph.weights().into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    let importance = importance.map(|given| weights.importance(&matrix_of(given)?).or_raise()).transpose()?;
    let importance = match importance {
        None => None,
        Some((vectors, coverage)) => {
            warn_of(py, coverage.sentences())?;
            Some(vectors)
        }
    };
    let comparisons = work::run(py, || match &other {
        Some(other) => Ok(vec![weights.compare(other, |_| {})?]),
        None => {
            encodings.iter().map(|encoding| weights.encode(encoding, importance.as_ref(), |_| {})).collect()
        }
    })?;
    Ok(comparisons.or_raise()?.iter().map(compared).collect())
}

/// Writes a text into a file, which takes the place of what is there when all of it is on the disk.
#[pyfunction]
pub fn write_text(py: Python<'_>, path: PathBuf, text: &str) -> PyResult<()> {
    work::run(py, || file::replace(path, |out| out.write_all(text.as_bytes())))?.or_raise()
}
