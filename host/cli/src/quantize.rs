//! `bitquilt quantize`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::{
    Conversion, Event, NamePattern, Plan, Recipe, RecipeError, Rewrite, Target, WEIGHTS, is_dense_weight,
    is_weight,
};
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{DType, Element, EncodingSpec, Importance, TensorDict, file};
use clap::{ArgGroup, Args};
use miette::{IntoDiagnostic, miette};

use crate::rewrite;
use crate::session::SessionArguments;

/// Encodes weights of a checkpoint.
///
/// Weights are the tensors of rank 2 or 3 that hold f32, f16 or bf16 values. Those that --only names, or all, or those that a recipe decides for, are encoded row by row; every
/// other tensor is carried over bit for bit. OUT is a safetensors file, in which an encoded weight is U8 of shape [rows, bytes a row]; its
/// encoding and logical shape are in the metadata, where `bitquilt inspect` and other commands read them. Metadata is carried over, that
/// of GGUF files with its types, the tokenizer included. Of a model in several files any one, or their index, is IN.
///
/// Rows that are no whole number of blocks, values that are NaN or infinite, and values that would decode to such are refused, and OUT is
/// as it was: it is written beside its place and renamed. It may be IN. A file that is GGUF is never written over. Rows whose values are so small or so
/// large that little of them is left are written, with a warning.
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["encoding", "recipe"])))]
pub struct QuantizeArguments {
    /// A safetensors or GGUF file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The encoding, such as q4_k; `bitquilt plugin list` shows all.
    #[arg(short, long, value_name = "NAME")]
    encoding: Option<String>,
    /// A file of rules that say which weight gets which encoding, as docs of `bitquilt::quantize` and the README show.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["only", "fallback"])]
    recipe: Option<PathBuf>,
    /// The encoding for weights whose rows are no whole number of blocks of --encoding; without it they are an error.
    #[arg(long, value_name = "NAME")]
    fallback: Option<String>,
    /// A safetensors file with an f32 vector for each weight that is encoded, of the weight's name: how much an error costs in each
    /// column. Some encodings demand it.
    #[arg(long, value_name = "FILE")]
    importance: Option<PathBuf>,
    /// Encodes only the weights whose names match, such as 'blk.*.ffn_{up,down}.weight'.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    only: Option<NamePattern>,
}

impl QuantizeArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = session.build_for(&[&self.input])?;
        let registry = session.registry();
        let rewrite = Rewrite::open(&self.input, &self.output).into_diagnostic()?;
        if let Some(importance) = self.importance.as_ref().filter(|path| file::is_same(path, &self.output)) {
            return Err(miette!(
                "{} is the importance, which would be lost; name another OUT",
                importance.display()
            ));
        }
        let plan = self.plan(rewrite.file(), registry)?;
        let importance = self.importance(&plan, registry)?;
        let progress = rewrite::progress();
        let about = format!("{}, tensor", self.input.display());
        let mut observe = |event: Event<'_>| match event {
            Event::Checking(bytes) => rewrite::begin(&progress, "checking", bytes),
            Event::Writing(bytes) => rewrite::begin(&progress, "encoding", bytes),
            Event::Checked(bytes) | Event::Written(bytes) => progress.inc(bytes),
            Event::Warning { weight, warning } => {
                progress.suspend(|| tracing::warn!("{about} `{}`: {warning}", Brief(weight)));
            }
        };
        let tensors = rewrite.file().tensors().len();
        rewrite.quantize(&plan, registry, &importance, &mut observe).into_diagnostic()?;
        progress.finish_and_clear();
        let done = done(&plan);
        rewrite::report(&self.output, format_args!("{}: of {tensors} tensors {done}", self.output.display()))
    }

    /// What becomes of each weight.
    fn plan(&self, file: &Checkpoint, registry: &Registry) -> miette::Result<Plan> {
        let tensors: Vec<(&str, Element, &[usize])> =
            file.tensors().map(|(name, stored)| (name, stored.element(), stored.shape())).collect();
        let tensors: Vec<_> = tensors
            .into_iter()
            .filter(|(_, element, shape)| !is_weight(element, shape) || is_dense_weight(element, shape))
            .collect();
        let recipe = match (&self.recipe, &self.encoding) {
            (Some(path), _) => Recipe::read(path).into_diagnostic()?,
            (None, Some(encoding)) => {
                registry.require_encoding(encoding).into_diagnostic()?;
                self.check_only(&tensors)?;
                let only = self.only.clone().map_or_else(|| NamePattern::new("*"), Ok).into_diagnostic()?;
                Recipe::new([(only, Target::of(encoding))], self.fallback.as_deref().map(Target::of))
            }
            (None, None) => return Err(miette!("give --encoding or --recipe")),
        };
        recipe.plan(&tensors, registry).map_err(|error| {
            let only = matches!((&error, &self.recipe), (RecipeError::RowLength { .. }, None));
            let remedy = if only { ", or leave it out with --only" } else { "" };
            miette!("{}: {error}{remedy}", self.input.display())
        })
    }

    /// An error if there is nothing to encode.
    fn check_only(&self, tensors: &[(&str, Element, &[usize])]) -> miette::Result<()> {
        let matches = |name: &str| self.only.as_ref().is_none_or(|pattern| pattern.is_match(name));
        let weights: Vec<&str> = tensors
            .iter()
            .filter(|(_, element, shape)| is_dense_weight(element, shape))
            .map(|(name, ..)| *name)
            .collect();
        if weights.iter().any(|name| matches(name)) {
            return Ok(());
        }
        let path = self.input.display();
        let Some(glob) = &self.only else { return Err(miette!("{path} has no {WEIGHTS}")) };
        let glob = Brief(glob.as_str());
        let others = tensors.iter().filter(|(name, ..)| matches(name)).count();
        Err(match weights.first() {
            _ if others > 0 => {
                miette!("{path}: of the {others} tensors that match `{glob}` none is among the {WEIGHTS}")
            }
            Some(first) => miette!(
                "{path}: no tensor matches `{glob}`; the first of {} {WEIGHTS} is `{}`",
                weights.len(),
                Brief(first)
            ),
            None => miette!("{path}: no tensor matches `{glob}`; there are no {WEIGHTS} at all"),
        })
    }

    /// The importance of each weight that gets an encoding, by name: of all of them, or of none.
    fn importance(&self, plan: &Plan, registry: &Registry) -> miette::Result<TensorDict> {
        let encoded = |conversion: &Conversion| match &conversion.target {
            Target::Encoding(name) => {
                Some((conversion.weight.clone(), registry.encoding(name)?.spec().clone()))
            }
            Target::Keep | Target::F32 => None,
        };
        let encoded: Vec<(String, EncodingSpec)> = plan.conversions.iter().filter_map(encoded).collect();
        let Some(path) = &self.importance else {
            let needs = encoded.iter().find(|(_, spec)| spec.importance == Importance::Required);
            return match needs {
                Some((_, EncodingSpec { name, .. })) => Err(miette!(
                    "`{name}` needs importance: give --importance FILE, a safetensors file with an f32 vector for each weight"
                )),
                None => Ok(TensorDict::new()),
            };
        };
        let ignored = encoded.iter().filter(|(_, spec)| spec.importance == Importance::Ignored);
        for name in ignored.map(|(_, spec)| &spec.name).collect::<BTreeSet<_>>() {
            tracing::warn!("`{name}` takes no account of importance: its bytes are the same without");
        }
        let file = Checkpoint::open(path).into_diagnostic()?;
        let vector = |(weight, _): &(String, EncodingSpec)| {
            let vector = file.as_stored(weight).map_err(|error| miette!("{}: {error}", path.display()))?;
            match (vector.dtype(), vector.shape()) {
                (Some(DType::F32), [_]) => Ok((weight.clone(), vector)),
                _ => Err(miette!(
                    "{}, tensor `{}`: it is {}, an f32 vector was expected",
                    path.display(),
                    Brief(weight),
                    vector.tensor_type()
                )),
            }
        };
        encoded.iter().map(vector).collect()
    }
}

/// What was done, for people: how many weights have which encoding, and which was the fallback.
fn done(plan: &Plan) -> String {
    let mut counts: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
    for Conversion { target, instead_of, .. } in
        plan.conversions.iter().filter(|it| it.target != Target::Keep)
    {
        *counts.entry((target.to_string(), instead_of.as_ref().map(ToString::to_string))).or_default() += 1;
    }
    let count = |((target, instead_of), count): (&(String, Option<String>), &usize)| {
        let (verb, whose) = if *count == 1 { ("is", "its") } else { ("are", "their") };
        match instead_of {
            None => format!("{count} {verb} {target}"),
            Some(wanted) => {
                format!("{count} {verb} {target}, since {whose} rows are no whole blocks of {wanted}")
            }
        }
    };
    match counts.is_empty() {
        true => "all are as they were".to_owned(),
        false => counts.iter().map(count).collect::<Vec<_>>().join("; "),
    }
}
