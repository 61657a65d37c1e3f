//! What encodings are chosen for.

use crate::checkpoint::TensorDict;
use crate::error::Error;
use crate::graph::Graph;
use crate::quantize::importance::{Coverage, ImportanceError, ImportanceMatrix};
use crate::quantize::recipe::{Recipe, RecipeError, Target};
use crate::registry::Registry;

/// A model whose weights are to be encoded, and the runs on which its loss is measured.
pub struct Subject<'a> {
    /// What messages call it.
    pub name: String,
    /// The weights that are to be encoded, as they are: of rank 2 or more, dense or encoded.
    pub weights: TensorDict,
    /// Builds the graph with these tensors in the place of the weights of their names. Its nodes have the same names and order whatever the
    /// tensors are, and products are exact: what a product loses beside its weight would be counted as the weight's loss.
    #[allow(clippy::type_complexity)]
    pub build: Box<dyn Fn(&TensorDict) -> Result<Graph, Error> + 'a>,
    /// The inputs of runs: of several states one after the other, each from its beginning.
    pub passages: Vec<Vec<TensorDict>>,
    /// What the loss is.
    pub measure: Measure,
}

/// How a weight's encoding was fixed before the search.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedWeight {
    /// The weight.
    pub weight: String,
    /// What becomes of it.
    pub target: Target,
}

impl Subject<'_> {
    /// The weights that the rules of a recipe match, and what becomes of each.
    ///
    /// # Errors
    /// As [`Recipe::plan`]'s.
    pub fn fixed_by(&self, recipe: &Recipe, registry: &Registry) -> Result<Vec<FixedWeight>, RecipeError> {
        let types: Vec<_> =
            self.weights.iter().map(|(name, tensor)| (name, tensor.element(), tensor.shape())).collect();
        let plan = recipe.clone().requantizing(true).plan(&types, registry)?;
        let fixed = plan.conversions.into_iter();
        Ok(fixed
            .map(|conversion| FixedWeight { weight: conversion.weight, target: conversion.target })
            .collect())
    }

    /// The [vectors](ImportanceMatrix::vectors) for the weights.
    pub fn importance(&self, matrix: &ImportanceMatrix) -> Result<(TensorDict, Coverage), ImportanceError> {
        let shapes = self.weights.iter().map(|(name, tensor)| (name, tensor.shape()));
        matrix.vectors(shapes, |name| self.weights.contains(name))
    }
}

/// What is lost where the outputs are not those of the model as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The mean, over all rows of an output of logits, of the Kullback-Leibler divergence of what a row predicts, in nats.
    Divergence {
        /// The output.
        output: String,
    },
    /// The mean, over all outputs of floating-point values and all runs, of the squared error as a part of the squares.
    RelativeError,
}
