//! What becomes of each weight, found before any of it is done.

use bitquilt_plugin_api::{DType, Element, EncodingSpec, Importance};

use super::pattern::NamePattern;
use super::recipe::{Recipe, RecipeError, Rule, Target};
use super::weight::is_weight;
use crate::encoding::{QuantizeError, Quantized, SquaredError};
use crate::registry::{RegisteredEncoding, Registry};
use crate::similar::similar;
use crate::tensor::Tensor;
use crate::text::Brief;

/// What is to be done with the weights that a recipe decides for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// A conversion for each weight.
    pub conversions: Vec<Conversion>,
    /// The weights that have another encoding than a rule has for them, and keep it, with its name: see [`Recipe::requantizing`].
    pub encoded_already: Vec<(String, String)>,
}

impl Plan {
    /// What is to be said of weights that keep the encoding that they have, if there are some; `remedy` is what would encode them anew.
    pub fn still_encoded(&self, remedy: &str) -> Option<String> {
        let (name, encoding) = self.encoded_already.first()?;
        let (name, encoding) = (Brief(name), Brief(encoding));
        Some(match self.encoded_already.len() {
            1 => format!("`{name}` is `{encoding}` already and stays so; {remedy} encodes it anew"),
            count => format!(
                "{count} weights are encoded already and stay so, such as `{name}`, which is `{encoding}`; {remedy} encodes them anew"
            ),
        })
    }

    /// The weights that get the fallback: name, encoding that was wanted, encoding that it gets.
    pub fn fallbacks(&self) -> Vec<(String, String, String)> {
        let fallback = |conversion: &Conversion| {
            let wanted = conversion.instead_of.as_ref()?;
            Some((conversion.weight.clone(), wanted.to_string(), conversion.target.to_string()))
        };
        self.conversions.iter().filter_map(fallback).collect()
    }

    /// The weights that get an encoding, and what that is.
    pub(super) fn encoded<'a>(
        &'a self,
        registry: &'a Registry,
    ) -> impl Iterator<Item = (&'a str, &'a EncodingSpec)> {
        self.conversions.iter().filter_map(|conversion| match &conversion.target {
            Target::Encoding(name) => Some((&conversion.weight[..], registry.encoding(name)?.spec())),
            Target::Keep | Target::Dense(_) => None,
        })
    }

    /// The first of its encodings that demands importance, if one does.
    pub fn needs_importance<'a>(&'a self, registry: &'a Registry) -> Option<&'a str> {
        let mut encoded = self.encoded(registry).map(|(_, spec)| spec);
        encoded.find(|spec| spec.importance == Importance::Required).map(|spec| &spec.name[..])
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
    /// The weight as it is to be. One that is so already is as it was. `importance` is as for
    /// [`quantize_with_importance`](crate::registry::RegisteredEncoding::quantize_with_importance).
    pub fn convert(
        &self,
        tensor: &Tensor,
        registry: &Registry,
        importance: Option<&[f32]>,
    ) -> Result<Quantized, QuantizeError> {
        self.convert_with(tensor, registry, |encoding, values, takes_importance| {
            match importance.filter(|_| takes_importance) {
                Some(importance) => encoding.quantize_with_importance(values, importance),
                None => encoding.quantize(values),
            }
        })
    }

    /// As [`Self::convert`], with the error of all values; none for a weight that was as it is to be, or was decoded to f32.
    pub fn convert_measured(
        &self,
        tensor: &Tensor,
        registry: &Registry,
        importance: Option<&[f32]>,
    ) -> Result<(Quantized, SquaredError), QuantizeError> {
        let mut error = SquaredError::default();
        let quantized = self.convert_with(tensor, registry, |encoding, values, takes_importance| {
            let importance = importance.filter(|_| takes_importance);
            let (quantized, of_all) = encoding.quantize_measured(values, importance)?;
            error = of_all;
            Ok(quantized)
        })?;
        Ok((quantized, error))
    }

    /// The weight as it is to be. `encode` is given the encoding, the values, and whether importance counts.
    fn convert_with(
        &self,
        tensor: &Tensor,
        registry: &Registry,
        encode: impl FnOnce(&RegisteredEncoding, &Tensor, bool) -> Result<Quantized, QuantizeError>,
    ) -> Result<Quantized, QuantizeError> {
        let exact = |tensor| Quantized { tensor, warnings: Vec::new() };
        if self.target.is(&tensor.element()) {
            return Ok(exact(tensor.clone()));
        }
        let encode = |name: &str, takes_importance| {
            let encoding = registry.require_encoding(name)?;
            match tensor.encoding() {
                Some(_) => encode(encoding, &registry.to_f32(tensor)?, takes_importance),
                None => encode(encoding, tensor, takes_importance),
            }
        };
        match &self.target {
            Target::Keep => Ok(exact(tensor.clone())),
            Target::Dense(DType::F32) => registry.to_f32(tensor).map(exact),
            Target::Dense(dtype) => {
                let mut quantized = encode(&dtype.to_string(), false)?;
                quantized.tensor = quantized.tensor.as_dense().unwrap_or(quantized.tensor);
                Ok(quantized)
            }
            Target::Encoding(name) => encode(name, true),
        }
    }
}

impl Target {
    /// Whether tensors of an element are what they are to be.
    pub fn is(&self, element: &Element) -> bool {
        match (self, element) {
            (Self::Keep, _) => true,
            (Self::Dense(dtype), Element::Dense(is)) => dtype == is,
            (Self::Encoding(name), Element::Encoded(is)) => name == is,
            (Self::Dense(_), Element::Encoded(_)) | (Self::Encoding(_), Element::Dense(_)) => false,
        }
    }
}

impl Recipe {
    /// What is to be done with tensors of these names, elements and logical shapes, found before any of it is.
    pub fn plan(
        &self,
        tensors: &[(&str, Element, &[usize])],
        registry: &Registry,
    ) -> Result<Plan, RecipeError> {
        let mut planning = Planning {
            recipe: self,
            tensors,
            excluded: vec![0; self.exclude.len()],
            chosen: vec![0; self.choices.len()],
            decided: vec![0; self.rules.len()],
        };
        let mut plan = Plan::default();
        for (name, element, shape) in tensors.iter().filter(|(_, element, shape)| is_weight(element, shape)) {
            let weight = (*name).to_owned();
            let Some(Decision { target: wanted, is_explicit }) = planning.decide(name)? else { continue };
            if let (Element::Encoded(encoding), Target::Encoding(wanted_name), false) =
                (element, wanted, self.requantize || wanted.is(element))
            {
                let (encoding, wanted) = (encoding.clone(), wanted_name.clone());
                if is_explicit {
                    return Err(RecipeError::Encoded { weight, encoding, wanted });
                }
                plan.encoded_already.push((weight, encoding));
                continue;
            }
            let fits = |target: &Target| fits(name, shape, target, registry);
            let (target, instead_of) = match (fits(wanted), &self.fallback) {
                (Ok(()), _) => (wanted, None),
                (Err(RecipeError::RowLength { .. }), Some(fallback)) => {
                    fits(fallback)?;
                    (fallback, Some(wanted.clone()))
                }
                (Err(error), _) => return Err(error),
            };
            plan.conversions.push(Conversion { weight, target: target.clone(), instead_of });
        }
        planning.check_all_used()?;
        Ok(plan)
    }
}

/// What was decided for a weight.
struct Decision<'a> {
    target: &'a Target,
    /// Whether an explicit choice did.
    is_explicit: bool,
}

/// A recipe whose globs are compared with the names of a model, and how many weights each of them decided for.
struct Planning<'a> {
    recipe: &'a Recipe,
    tensors: &'a [(&'a str, Element, &'a [usize])],
    excluded: Vec<usize>,
    chosen: Vec<usize>,
    decided: Vec<usize>,
}

impl<'a> Planning<'a> {
    /// What is to become of a weight, if anything decides for it.
    fn decide(&mut self, name: &str) -> Result<Option<Decision<'a>>, RecipeError> {
        let mut is_excluded = false;
        for (pattern, count) in self.recipe.exclude.iter().zip(&mut self.excluded) {
            if pattern.is_match(name) {
                *count += 1;
                is_excluded = true;
            }
        }
        if is_excluded {
            return Ok(None);
        }
        let choice = match self.choose(name, |pattern| pattern.as_str() == name)? {
            None => self.choose(name, |pattern| pattern.is_match(name))?,
            exact => exact,
        };
        if let Some(target) = choice {
            return Ok(Some(Decision { target, is_explicit: true }));
        }
        let rule = self.recipe.rules.iter().position(|rule| rule.weights.is_match(name));
        Ok(rule.map(|index| {
            self.decided[index] += 1;
            Decision { target: &self.recipe.rules[index].target, is_explicit: false }
        }))
    }

    /// The explicit choice for a weight, of those that match it in some way.
    fn choose(
        &mut self,
        name: &str,
        is_match: impl Fn(&NamePattern) -> bool,
    ) -> Result<Option<&'a Target>, RecipeError> {
        let mut found: Option<&Rule> = None;
        for (rule, count) in self.recipe.choices.iter().zip(&mut self.chosen) {
            if !is_match(&rule.weights) {
                continue;
            }
            *count += 1;
            let named = |rule: &Rule| (rule.weights.as_str().to_owned(), rule.target.to_string());
            match found {
                Some(first) if first.target != rule.target => {
                    let (first, second) = (named(first), named(rule));
                    return Err(RecipeError::Contradiction { weight: name.to_owned(), first, second });
                }
                _ => found = Some(rule),
            }
        }
        Ok(found.map(|rule| &rule.target))
    }

    /// An error if a glob of the recipe is good for nothing.
    fn check_all_used(&self) -> Result<(), RecipeError> {
        let recipe = self.recipe;
        let unused = |counts: &[usize]| counts.iter().position(|count| *count == 0);
        if let Some(index) = unused(&self.excluded) {
            let glob = &recipe.exclude[index];
            let (glob, reason) = (glob.as_str().to_owned(), self.reason(glob));
            return Err(RecipeError::NothingExcluded { glob, reason });
        }
        let choice = unused(&self.chosen).map(|index| &recipe.choices[index]);
        let Some(rule) = choice.or(unused(&self.decided).map(|index| &recipe.rules[index])) else {
            return Ok(());
        };
        let (glob, encoding) = (rule.weights.as_str().to_owned(), rule.target.to_string());
        Err(RecipeError::Unmatched { glob, encoding, reason: self.reason(&rule.weights) })
    }

    /// Why a glob decides for nothing.
    fn reason(&self, glob: &NamePattern) -> String {
        let weights = || self.tensors.iter().filter(|(_, element, shape)| is_weight(element, shape));
        let is_match = |(name, ..): &&(&str, Element, &[usize])| glob.is_match(name);
        if let Some((name, ..)) = weights().find(is_match) {
            let (name, recipe) = (Brief(name), self.recipe);
            let rules_alone = recipe.exclude.is_empty() && recipe.choices.is_empty();
            let before = if rules_alone { "the rules before it have" } else { "what goes before it has" };
            return format!("{before} taken all that it matches, such as `{name}`");
        }
        if self.tensors.iter().any(|tensor| is_match(&tensor)) {
            return "it matches no matrix; norms and biases are not encoded".to_owned();
        }
        let names: Vec<String> = weights().map(|(name, ..)| (*name).to_owned()).collect();
        let similar = similar(glob.as_str(), &names);
        match (similar.first(), names.first()) {
            (Some(name), _) => format!("its glob matches none; did you mean `{}`?", Brief(name)),
            (None, Some(name)) => {
                format!("its glob matches none; a weight is called `{}`, for example", Brief(name))
            }
            (None, None) => "there are no matrices".to_owned(),
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
