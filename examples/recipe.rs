//! Recipes: which weight gets which encoding.
//!
//! ```toml
//! # For weights whose rows are no multiple of an encoding's block; without it they are an error.
//! fallback = "q8_0"
//!
//! # The first rule whose glob matches a weight's name decides. Weights that no rule matches stay as the file has them.
//! [[rule]]
//! weights = "blk.*.ffn_down.weight"
//! encoding = "q6_k"
//!
//! [[rule]]
//! weights = "{token_embd,output}.weight"
//! encoding = "keep"
//!
//! [[rule]]
//! weights = "*"
//! encoding = "q4_0"
//! ```
//!
//! Rules are for matrices: norms, biases and the like are small and stay. `keep` leaves a weight as it is, `f32` decodes it; every other
//! name is that of a registered encoding, a plugin's too.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use bitquilt::file::{self, FileError};
use bitquilt::registry::{Registry, UnknownEncoding};
use bitquilt::text::{Brief, Passage};
use bitquilt::{DType, Element, NamePattern, QuantizeError, QuantizeWarning, Quantized, Tensor, TensorDict};
use serde::Deserialize;

/// An ordered list of rules.
#[derive(Clone, Debug)]
pub struct Recipe {
    rules: Vec<Rule>,
    fallback: Option<String>,
}

#[derive(Clone, Debug)]
struct Rule {
    weights: NamePattern,
    encoding: String,
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
    /// One encoding for every matrix, and another for those whose rows it does not fit.
    pub fn uniform(encoding: &str, fallback: Option<&str>) -> Result<Self, RecipeError> {
        let rule = RuleEntry { weights: "*".to_owned(), encoding: encoding.to_owned() };
        Self::new(RecipeFile { fallback: fallback.map(str::to_owned), rule: vec![rule] }, encoding)
    }

    /// A recipe in a TOML file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::parse(&file::read_text(path, LARGEST)?, &path.display().to_string())
    }

    /// A recipe in TOML of at most 1000 rules; `origin` is what messages call it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let file = toml::from_str(text).map_err(|error: toml::de::Error| {
            syntax(origin, Passage(error.to_string().trim_end()).to_string())
        })?;
        Self::new(file, origin)
    }

    fn new(file: RecipeFile, origin: &str) -> Result<Self, RecipeError> {
        if file.rule.len() > MAX_RULES {
            let found = file.rule.len();
            let problem = format!(
                "it has {found} rules, at most {MAX_RULES} are allowed; join some by `{{a,b}}` or `*`"
            );
            return Err(syntax(origin, problem));
        }
        let rules = file.rule.into_iter().map(|RuleEntry { weights, encoding }| {
            let weights = NamePattern::new(&weights).map_err(|error| syntax(origin, error.to_string()))?;
            Ok(Rule { weights, encoding })
        });
        Ok(Self { rules: rules.collect::<Result<_, RecipeError>>()?, fallback: file.fallback })
    }

    /// Encodes the weights as the rules say. A weight that has its encoding already is not touched.
    ///
    /// `progress` is called after each weight with the number that is done, and of how many.
    pub fn apply(
        &self,
        weights: &mut TensorDict,
        registry: &Registry,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Summary, RecipeError> {
        let plan = self.plan(weights, registry)?;
        let mut summary = Summary::default();
        for (index, Step { weight, encoding, instead_of }) in plan.iter().enumerate() {
            if let Some(tensor) = weights.get(weight) {
                let Quantized { tensor, warnings } = encode(tensor, encoding, registry)
                    .map_err(|source| RecipeError::Quantize { weight: weight.clone(), source })?;
                weights.insert(weight, tensor);
                summary.warnings.extend(warnings.into_iter().map(|warning| (weight.clone(), warning)));
            }
            if let Some(wanted) = instead_of {
                summary.fallbacks.push((weight.clone(), wanted.clone(), encoding.clone()));
            }
            progress(index + 1, plan.len());
        }
        summary.sizes = Sizes::of(weights);
        Ok(summary)
    }

    /// What is to be done, found before any of it is.
    fn plan(&self, weights: &TensorDict, registry: &Registry) -> Result<Vec<Step>, RecipeError> {
        let mut decided = vec![0; self.rules.len()];
        let mut plan = Vec::new();
        for (name, tensor) in weights.iter().filter(|(_, tensor)| tensor.shape().len() == 2) {
            let Some(index) = self.rules.iter().position(|rule| rule.weights.is_match(name)) else {
                continue;
            };
            decided[index] += 1;
            let wanted = &self.rules[index].encoding;
            let fits = |encoding: &str| fits(name, tensor, encoding, registry);
            let (encoding, instead_of) = match (fits(wanted), &self.fallback) {
                (Ok(()), _) => (wanted.clone(), None),
                (Err(RecipeError::RowLength { .. }), Some(fallback)) => {
                    fits(fallback)?;
                    (fallback.clone(), Some(wanted.clone()))
                }
                (Err(error), _) => return Err(error),
            };
            plan.push(Step { weight: name.to_owned(), encoding, instead_of });
        }
        match decided.iter().position(|count| *count == 0) {
            Some(index) => Err(self.unmatched(index, weights)),
            None => Ok(plan),
        }
    }

    fn unmatched(&self, index: usize, weights: &TensorDict) -> RecipeError {
        let rule = &self.rules[index];
        let matrices: Vec<&str> =
            weights.iter().filter(|(_, tensor)| tensor.shape().len() == 2).map(|(name, _)| name).collect();
        let reason = match matrices.iter().find(|name| rule.weights.is_match(name)) {
            Some(name) => {
                format!("the rules before it have taken all that it matches, such as `{}`", Brief(name))
            }
            None if weights.names().any(|name| rule.weights.is_match(name)) => {
                "it matches no matrix; norms and biases are not encoded".to_owned()
            }
            None => match matrices.first() {
                Some(name) => {
                    format!("its glob matches none; a weight is called `{}`, for example", Brief(name))
                }
                None => "there are no matrices".to_owned(),
            },
        };
        RecipeError::Unmatched {
            glob: rule.weights.as_str().to_owned(),
            encoding: rule.encoding.clone(),
            reason,
        }
    }
}

fn syntax(origin: &str, problem: String) -> RecipeError {
    RecipeError::Syntax { origin: origin.to_owned(), problem }
}

/// A weight and the encoding it gets; another was wanted, if that is there.
struct Step {
    weight: String,
    encoding: String,
    instead_of: Option<String>,
}

/// Whether the rows of a weight can have an encoding.
fn fits(weight: &str, tensor: &Tensor, encoding: &str, registry: &Registry) -> Result<(), RecipeError> {
    if [KEEP, F32].contains(&encoding) {
        return Ok(());
    }
    let block_len = registry.require_encoding(encoding)?.spec().block_len;
    let row_len = tensor.shape()[1];
    if row_len.is_multiple_of(block_len) {
        return Ok(());
    }
    let (weight, encoding) = (weight.to_owned(), encoding.to_owned());
    Err(RecipeError::RowLength { weight, row_len, encoding, block_len })
}

fn encode(tensor: &Tensor, encoding: &str, registry: &Registry) -> Result<Quantized, QuantizeError> {
    let as_it_is = |tensor| Quantized { tensor, warnings: Vec::new() };
    let has_it = tensor.encoding().is_some_and(|spec| spec.name == encoding);
    match encoding {
        KEEP => Ok(as_it_is(tensor.clone())),
        F32 => registry.to_f32(tensor).map(as_it_is),
        _ if has_it => Ok(as_it_is(tensor.clone())),
        _ => registry.require_encoding(encoding)?.quantize(&registry.to_f32(tensor)?),
    }
}

/// What a recipe did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Weights that got the fallback: name, encoding that was wanted, encoding that it has.
    pub fallbacks: Vec<(String, String, String)>,
    /// What was lost: name, how.
    pub warnings: Vec<(String, QuantizeWarning)>,
    /// What all weights take now.
    pub sizes: Sizes,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const MOST: usize = 4;
        for (weight, wanted, encoding) in self.fallbacks.iter().take(MOST) {
            let weight = Brief(weight);
            writeln!(f, "{weight}: {encoding} instead of {wanted}, whose blocks its rows do not fit")?;
        }
        if let Some(more @ 1..) = self.fallbacks.len().checked_sub(MOST) {
            writeln!(f, ".. and {more} more weights")?;
        }
        for (weight, warning) in self.warnings.iter().take(MOST) {
            writeln!(f, "warning: {weight}: {warning}")?;
        }
        if let Some(more @ 1..) = self.warnings.len().checked_sub(MOST) {
            writeln!(f, ".. and {more} more warnings")?;
        }
        self.sizes.fmt(f)
    }
}

/// What weights take, by dtype or encoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes(BTreeMap<String, Size>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Size {
    weights: usize,
    values: usize,
    bytes: usize,
}

impl Sizes {
    /// Those of all tensors that hold floating-point values or are encoded.
    pub fn of(weights: &TensorDict) -> Self {
        let mut sizes: BTreeMap<String, Size> = BTreeMap::new();
        for (_, tensor) in weights.iter() {
            let name = match tensor.element() {
                Element::Encoded(name) => name,
                Element::Dense(dtype @ (DType::F32 | DType::F16 | DType::BF16)) => dtype.to_string(),
                Element::Dense(_) => continue,
            };
            let size = sizes.entry(name).or_default();
            size.weights += 1;
            size.values += tensor.len();
            size.bytes += tensor.bytes().len();
        }
        Self(sizes)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|size| size.bytes).sum()
    }

    /// Bits a value, over all.
    pub fn bits_per_weight(&self) -> f64 {
        let values: usize = self.0.values().map(|size| size.values).sum();
        8.0 * self.bytes() as f64 / values.max(1) as f64
    }
}

impl Display for Sizes {
    /// A line for each dtype or encoding.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, size) in &self.0 {
            let megabytes = size.bytes as f64 / 1e6;
            writeln!(f, "{name:>10}  {:>4} weights  {megabytes:>9.2} MB", size.weights)?;
        }
        let (megabytes, bits) = (self.bytes() as f64 / 1e6, self.bits_per_weight());
        write!(f, "{:>10}  {:>12}  {megabytes:>9.2} MB  {bits:.2} bits a value", "all", "")
    }
}
