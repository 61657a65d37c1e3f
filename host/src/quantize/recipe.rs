//! Recipes: which weight gets which encoding.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use bitquilt_plugin_api::Element;
use serde::Deserialize;

use super::pattern::{NamePattern, PatternError};
use super::summary::{Sizes, Summary};
use super::weight::is_weight;
use crate::checkpoint::TensorDict;
use crate::encoding::{QuantizeError, Quantized};
use crate::file::{self, FileError};
use crate::registry::{Registry, UnknownEncoding};
use crate::tensor::Tensor;
use crate::text::{Brief, Passage};

/// An ordered list of rules.
#[derive(Clone, Debug)]
pub struct Recipe {
    rules: Vec<Rule>,
    fallback: Option<Target>,
}

#[derive(Clone, Debug)]
struct Rule {
    weights: NamePattern,
    target: Target,
}

/// What becomes of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It stays as it is.
    Keep,
    /// It is decoded, or widened, to f32.
    F32,
    /// It gets the encoding of this name.
    Encoding(String),
}

impl Target {
    /// That of a name in a recipe: `keep`, `f32`, or an encoding's.
    pub fn of(name: &str) -> Self {
        match name {
            KEEP => Self::Keep,
            F32 => Self::F32,
            _ => Self::Encoding(name.to_owned()),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => KEEP,
            Self::F32 => F32,
            Self::Encoding(name) => name,
        })
    }
}

/// A recipe as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    fallback: Option<String>,
    #[serde(default)]
    rule: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    weights: String,
    encoding: String,
}

/// The most bytes of a recipe's file.
const LARGEST: u64 = 1 << 20;
/// The most rules of a recipe.
const MAX_RULES: usize = 1000;

/// What leaves a weight as it is.
const KEEP: &str = "keep";
/// What decodes a weight.
const F32: &str = "f32";

/// Why a recipe cannot be used, or not for these weights.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("the recipe: {0}")]
    File(#[from] FileError),
    /// The text is no recipe.
    #[error("{origin}: {problem}")]
    Syntax {
        /// The file, or what the recipe is called.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A rule decides for no weight.
    #[error("the rule `{}` = {} of the recipe decides for no weight: {reason}", Brief(.glob), Brief(.encoding))]
    Unmatched {
        /// The rule's glob.
        glob: String,
        /// The rule's encoding.
        encoding: String,
        /// What is in the way.
        reason: String,
    },
    /// An encoding is not registered.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// Rows are no whole number of blocks.
    #[error(
        "weight `{}`: its rows have {row_len} values, no multiple of the {block_len} in a block of `{encoding}`; \
         choose another encoding for it, or a `fallback` that fits",
        Brief(.weight)
    )]
    RowLength {
        /// The weight.
        weight: String,
        /// Values in its rows.
        row_len: usize,
        /// The encoding.
        encoding: String,
        /// Values in a block.
        block_len: usize,
    },
    /// A weight could not be encoded.
    #[error("weight `{}`: {source}", Brief(.weight))]
    Quantize {
        /// The weight.
        weight: String,
        /// Why.
        source: QuantizeError,
    },
}

impl Recipe {
    /// Rules in their order, each a glob and what becomes of the weights that it is the first to match; and what becomes of those whose
    /// rows are no whole number of the blocks of their rule's encoding.
    pub fn new(rules: impl IntoIterator<Item = (NamePattern, Target)>, fallback: Option<Target>) -> Self {
        Self {
            rules: rules.into_iter().map(|(weights, target)| Rule { weights, target }).collect(),
            fallback,
        }
    }

    /// One encoding for every weight, and another for those whose rows it does not fit.
    pub fn uniform(encoding: &str, fallback: Option<&str>) -> Result<Self, PatternError> {
        Ok(Self::new([(NamePattern::new("*")?, Target::of(encoding))], fallback.map(Target::of)))
    }

    /// A recipe in a TOML file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::parse(&file::read_text(path, LARGEST)?, &path.display().to_string())
    }

    /// A recipe in TOML of at most 1000 rules; `origin` is what messages call it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let syntax = |problem: String| RecipeError::Syntax { origin: origin.to_owned(), problem };
        let file: RecipeFile = toml::from_str(text)
            .map_err(|error: toml::de::Error| syntax(Passage(error.to_string().trim_end()).to_string()))?;
        if file.rule.len() > MAX_RULES {
            let found = file.rule.len();
            return Err(syntax(format!(
                "it has {found} rules, at most {MAX_RULES} are allowed; join some by `{{a,b}}` or `*`"
            )));
        }
        let rules = file.rule.into_iter().map(|RuleEntry { weights, encoding }| {
            let weights = NamePattern::new(&weights).map_err(|error| syntax(error.to_string()))?;
            Ok((weights, Target::of(&encoding)))
        });
        let rules = rules.collect::<Result<Vec<_>, RecipeError>>()?;
        Ok(Self::new(rules, file.fallback.as_deref().map(Target::of)))
    }

    /// Encodes the weights as the rules say, those that are encoded already anew. A weight that has its encoding is not touched.
    ///
    /// `progress` is called after each weight with the number that is done, and of how many.
    pub fn apply(
        &self,
        weights: &mut TensorDict,
        registry: &Registry,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Summary, RecipeError> {
        let types: Vec<(&str, Element, &[usize])> =
            weights.iter().map(|(name, tensor)| (name, tensor.element(), tensor.shape())).collect();
        let plan = self.plan(&types, registry)?;
        let mut summary = Summary::default();
        for (index, conversion) in plan.conversions.iter().enumerate() {
            let weight = &conversion.weight;
            if let Some(tensor) = weights.get(weight) {
                let Quantized { tensor, warnings } = conversion
                    .convert(tensor, registry, None)
                    .map_err(|source| RecipeError::Quantize { weight: weight.clone(), source })?;
                weights.insert(weight, tensor);
                summary.warnings.extend(warnings.into_iter().map(|warning| (weight.clone(), warning)));
            }
            progress(index + 1, plan.conversions.len());
        }
        summary.fallbacks = plan.fallbacks();
        summary.sizes = Sizes::of(weights);
        Ok(summary)
    }

    /// What is to be done with tensors of these names, elements and logical shapes, found before any of it is.
    pub fn plan(
        &self,
        tensors: &[(&str, Element, &[usize])],
        registry: &Registry,
    ) -> Result<Plan, RecipeError> {
        let mut decided = vec![0; self.rules.len()];
        let mut conversions = Vec::new();
        for (name, _, shape) in tensors.iter().filter(|(_, element, shape)| is_weight(element, shape)) {
            let Some(index) = self.rules.iter().position(|rule| rule.weights.is_match(name)) else {
                continue;
            };
            decided[index] += 1;
            let wanted = &self.rules[index].target;
            let fits = |target: &Target| fits(name, shape, target, registry);
            let (target, instead_of) = match (fits(wanted), &self.fallback) {
                (Ok(()), _) => (wanted, None),
                (Err(RecipeError::RowLength { .. }), Some(fallback)) => {
                    fits(fallback)?;
                    (fallback, Some(wanted.clone()))
                }
                (Err(error), _) => return Err(error),
            };
            conversions.push(Conversion { weight: (*name).to_owned(), target: target.clone(), instead_of });
        }
        match decided.iter().position(|count| *count == 0) {
            Some(index) => Err(self.unmatched(index, tensors)),
            None => Ok(Plan { conversions }),
        }
    }

    fn unmatched(&self, index: usize, tensors: &[(&str, Element, &[usize])]) -> RecipeError {
        let rule = &self.rules[index];
        let weights = || tensors.iter().filter(|(_, element, shape)| is_weight(element, shape));
        let is_match = |(name, ..): &&(&str, Element, &[usize])| rule.weights.is_match(name);
        let reason = match weights().find(is_match) {
            Some((name, ..)) => {
                format!("the rules before it have taken all that it matches, such as `{}`", Brief(name))
            }
            None if tensors.iter().any(|tensor| is_match(&tensor)) => {
                "it matches no matrix; norms and biases are not encoded".to_owned()
            }
            None => match weights().next() {
                Some((name, ..)) => {
                    format!("its glob matches none; a weight is called `{}`, for example", Brief(name))
                }
                None => "there are no matrices".to_owned(),
            },
        };
        let (glob, encoding) = (rule.weights.as_str().to_owned(), rule.target.to_string());
        RecipeError::Unmatched { glob, encoding, reason }
    }
}

/// What is to be done with the weights that a recipe decides for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// A conversion for each weight.
    pub conversions: Vec<Conversion>,
}

impl Plan {
    /// The weights that get the fallback: name, encoding that was wanted, encoding that it gets.
    pub fn fallbacks(&self) -> Vec<(String, String, String)> {
        let fallback = |conversion: &Conversion| {
            let wanted = conversion.instead_of.as_ref()?;
            Some((conversion.weight.clone(), wanted.to_string(), conversion.target.to_string()))
        };
        self.conversions.iter().filter_map(fallback).collect()
    }
}

/// What is to be done with a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The weight's name.
    pub weight: String,
    /// What becomes of it.
    pub target: Target,
    /// What was wanted where that is the fallback.
    pub instead_of: Option<Target>,
}

impl Conversion {
    /// The weight as it is to be. One that has its encoding already is as it was. `importance` is as for
    /// [`quantize_with_importance`](crate::registry::RegisteredEncoding::quantize_with_importance).
    pub fn convert(
        &self,
        tensor: &Tensor,
        registry: &Registry,
        importance: Option<&[f32]>,
    ) -> Result<Quantized, QuantizeError> {
        let as_it_is = |tensor| Quantized { tensor, warnings: Vec::new() };
        match (&self.target, tensor.encoding()) {
            (Target::Keep, _) => Ok(as_it_is(tensor.clone())),
            (Target::F32, _) => registry.to_f32(tensor).map(as_it_is),
            (Target::Encoding(name), Some(spec)) if spec.name == *name => Ok(as_it_is(tensor.clone())),
            (Target::Encoding(name), encoded) => {
                let encoding = registry.require_encoding(name)?;
                let decoded = if encoded.is_some() { registry.to_f32(tensor)? } else { tensor.clone() };
                match importance {
                    Some(importance) => encoding.quantize_with_importance(&decoded, importance),
                    None => encoding.quantize(&decoded),
                }
            }
        }
    }
}

/// Whether the rows of a weight can become what they are to.
fn fits(weight: &str, shape: &[usize], target: &Target, registry: &Registry) -> Result<(), RecipeError> {
    let Target::Encoding(encoding) = target else { return Ok(()) };
    let block_len = registry.require_encoding(encoding)?.spec().block_len;
    let row_len = shape.last().copied().unwrap_or_default();
    if row_len.is_multiple_of(block_len) {
        return Ok(());
    }
    let (weight, encoding) = (weight.to_owned(), encoding.clone());
    Err(RecipeError::RowLength { weight, row_len, encoding, block_len })
}
