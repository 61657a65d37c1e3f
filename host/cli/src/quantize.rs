//! `bitquilt quantize`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::quantize::{
    Conversion, NamePattern, Plan, Recipe, RecipeError, Report, Rewrite, Target, WEIGHTS, is_dense_weight,
    is_weight,
};
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{Element, TensorDict, file};
use clap::{ArgGroup, Args};
use miette::{IntoDiagnostic, miette};

use crate::model::warn;
use crate::output::print_with;
use crate::rewrite::{self, OutputArguments};
use crate::session::SessionArguments;

/// Encodes weights of a checkpoint or a saved graph.
///
/// Weights are the tensors of rank 2 or 3 that hold f32, f16 or bf16 values, or are encoded. They are encoded row by row; every other
/// tensor is carried over bit for bit, and so is all metadata, the tokenizer included, but `general.file_type`, which would be wrong. Of
/// a model in several files any one, or their index, is IN. In a safetensors file an encoded weight is U8 of shape [rows, bytes a row];
/// its encoding and logical shape are in the metadata. A GGUF file holds the encodings that have a number in ggml, as other programs
/// read them.
///
/// Of a saved graph the weights are the constants that only qmatmul and qgather take, by the names that `bitquilt inspect` shows; OUT is
/// that graph with its weights encoded anew.
///
/// Of several --encoding options that match a weight its own name goes before a glob, a glob before the rules of --recipe, and these
/// before the option without a glob. Two globs that match one weight have to agree. What matches nothing is an error.
///
/// Rows that are no whole number of blocks, values that are NaN or infinite, and values that would decode to such are refused, and OUT is
/// as it was: it is written beside its place and renamed. It may not be IN. Rows whose values are so small or so large that little of them
/// is left are written, with a warning.
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["encoding", "recipe"])))]
pub struct QuantizeArguments {
    /// A safetensors, GGUF or .npz file, or a saved graph.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write: GGUF or .npz if its name ends so, otherwise safetensors.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The encoding of all weights, such as q4_k, or of those whose names match a glob, such as 'blk.*.ffn_down.weight=q6_k'; may be
    /// given several times. `bitquilt plugin list` shows all; f32, f16 and bf16 decode and cast, `keep` leaves weights as they are.
    #[arg(short, long, value_name = "[GLOB=]NAME", value_parser = Choice::parse)]
    encoding: Vec<Choice>,
    /// A file of rules that say which weight gets which encoding, as docs of `bitquilt::quantize` and the README show.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "only")]
    recipe: Option<PathBuf>,
    /// The encoding for weights whose rows are no whole number of blocks of theirs; without it they are an error.
    #[arg(long, value_name = "NAME")]
    fallback: Option<String>,
    /// How much an error costs in each column of each weight: an importance matrix of llama.cpp or what `bitquilt importance` wrote, or a
    /// safetensors file with an f32 vector for each weight, of the weight's name; several are merged. Some encodings demand it. Weights that
    /// it lacks are encoded without, and named.
    #[arg(long, value_name = "FILE")]
    importance: Vec<PathBuf>,
    /// The weights that the --encoding without a glob is for, such as 'blk.*.ffn_{up,down}.weight'; all if it is not given.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    only: Option<NamePattern>,
    /// Weights that stay as they are; may be given several times.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    exclude: Vec<NamePattern>,
    /// Encodes weights anew that have another encoding already, which costs more than the first encoding did. Without it they stay, and an
    /// --encoding with a glob that matches one is an error.
    #[arg(long)]
    requantize: bool,
    /// Says what would become of each weight, and writes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    out: OutputArguments,
}

/// The option that encodes weights anew.
const ANEW: &str = "--requantize";

/// A value of `--encoding`.
#[derive(Clone, Debug)]
struct Choice {
    /// The weights; all that nothing else decides for if it is not given.
    weights: Option<NamePattern>,
    target: Target,
}

impl Choice {
    fn parse(text: &str) -> Result<Self, String> {
        let (weights, name) = match text.rsplit_once('=') {
            None => (None, text),
            Some((glob, name)) => (Some(NamePattern::new(glob).map_err(|error| error.to_string())?), name),
        };
        if name.is_empty() {
            return Err("the name of an encoding was expected".to_owned());
        }
        Ok(Self { weights, target: Target::of(name) })
    }
}

impl QuantizeArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let begin = Instant::now();
        let session = session.build_for(&[&self.input])?;
        let registry = session.registry();
        let mut rewrite = Rewrite::open_weights(&self.input, &self.output).into_diagnostic()?;
        self.out.set(&mut rewrite);
        if let Some(importance) = self.importance.iter().find(|path| file::is_same(path, &self.output)) {
            return Err(miette!(
                "{} is the importance, which would be lost; name another OUT",
                importance.display()
            ));
        }
        let plan = self.plan(&rewrite, registry)?;
        let importance = self.importance(&plan, &mut rewrite, registry)?;
        if self.dry_run {
            return preview(&rewrite.announce(&plan, registry).into_diagnostic()?, &plan);
        }
        let notes = plan.still_encoded(ANEW).map_or_else(String::new, |stay| format!("\n{stay}"));
        let tensors = rewrite.file().tensors().len();
        let report = rewrite::run(rewrite, &plan, registry, &importance)?;
        rewrite::report(
            &self.output,
            format_args!(
                "{}: of {tensors} tensors {}\n\n{report}{notes}\n\nIt took {:.1} s.",
                self.output.display(),
                done(&plan),
                begin.elapsed().as_secs_f64()
            ),
        )
    }

    /// What becomes of each weight.
    fn plan(&self, rewrite: &Rewrite, registry: &Registry) -> miette::Result<Plan> {
        let tensors = rewrite.types();
        let path = self.input.display();
        let recipe = self.recipe(&tensors, registry)?;
        let plan = recipe.plan(&tensors, registry).map_err(|error| {
            let is_row_length = matches!((&error, &self.recipe), (RecipeError::RowLength { .. }, None));
            let remedy = if is_row_length { ", or leave it out with --exclude" } else { "" };
            miette!("{path}: {error}{remedy}")
        })?;
        match plan.still_encoded(ANEW) {
            Some(stay) if !rewrite.is_changed_by(&plan) => {
                Err(miette!("{path}: there is nothing to do: {stay}"))
            }
            _ => Ok(plan),
        }
    }

    /// What is wanted, of the options.
    fn recipe(&self, tensors: &[(&str, Element, &[usize])], registry: &Registry) -> miette::Result<Recipe> {
        let targets = self.encoding.iter().map(|choice| &choice.target);
        for target in targets.cloned().chain(self.fallback.as_deref().map(Target::of)) {
            if let Target::Encoding(name) = target {
                registry.require_encoding(&name).into_diagnostic()?;
            }
        }
        let mut others = self.encoding.iter().filter(|choice| choice.weights.is_none());
        let (uniform, second) = (others.next(), others.next());
        if let (Some(first), Some(second)) = (uniform, second) {
            let (first, second) = (&first.target, &second.target);
            return Err(miette!(
                "--encoding {first} and --encoding {second} are both for all weights; say GLOB={second} for some"
            ));
        }
        let mut recipe = match (&self.recipe, uniform, &self.only) {
            (_, None, Some(only)) => {
                return Err(miette!("--only {} needs an --encoding without a glob", Brief(only.as_str())));
            }
            (Some(path), ..) => Recipe::read(path).into_diagnostic()?,
            (None, Some(choice), Some(only)) => Recipe::new([(only.clone(), choice.target.clone())], None),
            (None, ..) => Recipe::new([], None),
        };
        let choices = self
            .encoding
            .iter()
            .filter_map(|Choice { weights, target }| Some((weights.clone()?, target.clone())));
        recipe = recipe.with_choices(choices).excluding(self.exclude.clone()).requantizing(self.requantize);
        if let Some(fallback) = &self.fallback {
            recipe = recipe.with_fallback(Target::of(fallback));
        }
        if let Some(choice) = uniform {
            self.check_only(tensors)?;
            if self.only.is_none() {
                recipe = recipe.with_default(choice.target.clone()).into_diagnostic()?;
            }
        }
        Ok(recipe)
    }

    /// An error if there is nothing to encode.
    fn check_only(&self, tensors: &[(&str, Element, &[usize])]) -> miette::Result<()> {
        let matches = |name: &str| self.only.as_ref().is_none_or(|pattern| pattern.is_match(name));
        if tensors.iter().any(|(name, element, shape)| is_weight(element, shape) && matches(name)) {
            return Ok(());
        }
        let weights: Vec<&str> = tensors
            .iter()
            .filter(|(_, element, shape)| is_dense_weight(element, shape))
            .map(|(name, ..)| *name)
            .collect();
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

    /// The importance of the weights that get an encoding, by name, which is said in the file that is written.
    fn importance(
        &self,
        plan: &Plan,
        rewrite: &mut Rewrite,
        registry: &Registry,
    ) -> miette::Result<TensorDict> {
        if self.importance.is_empty() {
            return match plan.needs_importance(registry) {
                Some(name) => Err(miette!(
                    "`{name}` needs importance: give --importance FILE, which `bitquilt importance` records"
                )),
                None => Ok(TensorDict::new()),
            };
        }
        let matrix = ImportanceMatrix::read(&self.importance).into_diagnostic()?;
        let importance = rewrite.use_importance(&matrix, plan, registry).into_diagnostic()?;
        importance.sentences().into_iter().for_each(warn);
        Ok(importance.vectors)
    }
}

/// Prints what would become of each weight, and of all.
fn preview(report: &Report, plan: &Plan) -> miette::Result<()> {
    print_with(|out| {
        for weight in &report.weights {
            let (name, shape) = (Brief(&weight.name), format!("{:?}", weight.shape));
            let change = match (weight.from == weight.to, &weight.instead_of) {
                (true, _) => format!("{}", weight.to),
                (false, None) => format!("{} -> {}", weight.from, weight.to),
                (false, Some(wanted)) => format!("{} -> {} instead of {wanted}", weight.from, weight.to),
            };
            let bytes = weight.bytes_after;
            writeln!(out, "  {shape:>20}  {:24} {bytes:>12} bytes  {name}", Brief(&change).to_string())?;
        }
        writeln!(out, "\n{report}")?;
        plan.still_encoded(ANEW).map_or(Ok(()), |stay| writeln!(out, "{stay}"))?;
        writeln!(out, "\nNothing was written.")
    })
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
