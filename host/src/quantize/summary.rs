//! What was done, for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::Element;

use super::weight::is_float;
use crate::checkpoint::TensorDict;
use crate::encoding::QuantizeWarning;
use crate::text::Brief;

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
            let element = tensor.element();
            if !is_float(&element) && !matches!(element, Element::Encoded(_)) {
                continue;
            }
            let size = sizes.entry(element.to_string()).or_default();
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
