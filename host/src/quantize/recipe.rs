//! Recipes: which weight gets which encoding.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use bitquilt_plugin_api::{DType, Element};
use serde::Deserialize;

use super::pattern::{NamePattern, PatternError};
use super::summary::{Sizes, Summary};
use crate::checkpoint::TensorDict;
use crate::encoding::{QuantizeError, Quantized};
use crate::file::{self, FileError};
use crate::registry::{Registry, UnknownEncoding};
use crate::tensor::FLOATS;
use crate::text::{Brief, Passage};

/// An ordered list of rules.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What was chosen explicitly, which goes before all rules.
    pub(super) choices: Vec<Rule>,
    pub(super) rules: Vec<Rule>,
    pub(super) exclude: Vec<NamePattern>,
    pub(super) fallback: Option<Target>,
    pub(super) requantize: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) weights: NamePattern,
    pub(super) target: Target,
}

/// What becomes of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It stays as it is.
    Keep,
    /// It is decoded, or cast, to f32, f16 or bf16.
    Dense(DType),
    /// It gets the encoding of this name.
    Encoding(String),
}

impl Target {
    /// That of a name in a recipe: `keep`, a dtype's, or an encoding's.
    pub fn of(name: &str) -> Self {
        let dense = FLOATS.into_iter().find(|dtype| dtype.to_string() == name);
        match (name, dense) {
            (KEEP, _) => Self::Keep,
            (_, Some(dtype)) => Self::Dense(dtype),
            _ => Self::Encoding(name.to_owned()),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str(KEEP),
            Self::Dense(dtype) => dtype.fmt(f),
            Self::Encoding(name) => f.write_str(name),
        }
    }
}

/// A recipe as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    fallback: Option<String>,
    #[serde(default)]
    exclude: Vec<String>,
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
pub(super) const MAX_RULES: usize = 1000;

/// What leaves a weight as it is.
const KEEP: &str = "keep";

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
    /// A glob over weights that are to stay as they are matches none.
    #[error("`{}` excludes no weight: {reason}", Brief(.glob))]
    NothingExcluded {
        /// The glob.
        glob: String,
        /// What is in the way.
        reason: String,
    },
    /// Two explicit choices of different encodings match a weight, and neither is its name.
    #[error(
        "weight `{}` matches `{}` = {} and `{}` = {}: exclude it from one of the two, or give it an encoding by its own name",
        Brief(.weight), Brief(&.first.0), Brief(&.first.1), Brief(&.second.0), Brief(&.second.1)
    )]
    Contradiction {
        /// The weight.
        weight: String,
        /// A glob and its encoding.
        first: (String, String),
        /// Another glob and its encoding.
        second: (String, String),
    },
    /// A weight is encoded already.
    #[error(
        "weight `{}` is `{}` already: to encode it as `{}` again costs more than its first encoding did; start from the original, allow \
         it (--requantize), or exclude it",
        Brief(.weight), Brief(.encoding), Brief(.wanted)
    )]
    Encoded {
        /// The weight.
        weight: String,
        /// Its encoding.
        encoding: String,
        /// The encoding that the recipe has for it.
        wanted: String,
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
        let rules = as_rules(rules);
        Self { choices: Vec::new(), rules, exclude: Vec::new(), fallback, requantize: true }
    }

    /// With explicit choices, which go before all rules: a weight's own name before a glob. Two globs of different targets that match one
    /// weight are an error.
    pub fn with_choices(mut self, choices: impl IntoIterator<Item = (NamePattern, Target)>) -> Self {
        self.choices.extend(as_rules(choices));
        self
    }

    /// With a last rule, for every weight that no other decides for.
    pub fn with_default(mut self, target: Target) -> Result<Self, PatternError> {
        self.rules.push(Rule { weights: NamePattern::new("*")?, target });
        Ok(self)
    }

    /// Without the weights that globs match: they stay as they are.
    pub fn excluding(mut self, weights: impl IntoIterator<Item = NamePattern>) -> Self {
        self.exclude.extend(weights);
        self
    }

    /// With a fallback, in place of the one that it has.
    pub fn with_fallback(mut self, target: Target) -> Self {
        self.fallback = Some(target);
        self
    }

    /// Whether weights that are encoded already get another encoding, as they do if nothing is said. Where they may not, those that a rule
    /// would encode anew [keep theirs](super::Plan::encoded_already), and an explicit choice is an error. To decode them is allowed always.
    pub fn requantizing(mut self, allowed: bool) -> Self {
        self.requantize = allowed;
        self
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
        let found = file.rule.len() + file.exclude.len();
        if found > MAX_RULES {
            return Err(syntax(format!(
                "it has {found} rules, at most {MAX_RULES} are allowed; join some by `{{a,b}}` or `*`"
            )));
        }
        let rules = file.rule.into_iter().map(|RuleEntry { weights, encoding }| {
            let weights = NamePattern::new(&weights).map_err(|error| syntax(error.to_string()))?;
            Ok((weights, Target::of(&encoding)))
        });
        let rules = rules.collect::<Result<Vec<_>, RecipeError>>()?;
        let exclude = file.exclude.iter().map(|glob| NamePattern::new(glob));
        let exclude = exclude.collect::<Result<Vec<_>, _>>().map_err(|error| syntax(error.to_string()))?;
        Ok(Self::new(rules, file.fallback.as_deref().map(Target::of)).excluding(exclude))
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
}

fn as_rules(rules: impl IntoIterator<Item = (NamePattern, Target)>) -> Vec<Rule> {
    rules.into_iter().map(|(weights, target)| Rule { weights, target }).collect()
}
