//! The weights of a search, and what each may become.

use super::choices::Choice;
use super::knapsack::Cost;
use crate::quantize::recipe::Target;

/// A weight, and what it may become.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Covered {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: u64,
    /// What it may become, in the order of the bytes: one at least.
    pub(super) choices: Vec<Choice>,
    /// Whether a rule has fixed what it becomes, which is then the only choice.
    pub(super) is_fixed: bool,
}

impl Covered {
    /// Values of a row.
    pub(super) fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The index of a choice.
    pub(super) fn position(&self, target: &Target) -> Option<usize> {
        self.choices.iter().position(|choice| choice.target == *target)
    }

    /// The index of the choice whose bits a value are nearest to `bits`; of several, the one of the fewest.
    pub(super) fn nearest_to(&self, bits: f64) -> usize {
        let distance = |choice: &Choice| (self.bits(choice) - bits).abs();
        let indices = 0..self.choices.len();
        let nearer =
            |a: &usize, b: &usize| distance(&self.choices[*a]).total_cmp(&distance(&self.choices[*b]));
        indices.min_by(nearer).unwrap_or_default()
    }

    /// The bits of a value.
    pub(super) fn bits(&self, choice: &Choice) -> f64 {
        8.0 * choice.bytes as f64 / self.values.max(1) as f64
    }

    /// What the choices take and lose where a relative squared error of 1 loses `sensitivity`.
    pub(super) fn costs(&self, sensitivity: f64) -> Vec<Cost> {
        let cost = |choice: &Choice| Cost { bytes: choice.bytes, loss: sensitivity * choice.error };
        self.choices.iter().map(cost).collect()
    }
}
