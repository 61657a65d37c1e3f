//! What an encoding, or anything else that was done to a model, has changed: in its weights, and in its outputs.
//!
//! A [`Reference`] is compared [with another checkpoint](Reference::compare) or with [its own weights in an encoding](Reference::encode),
//! a weight at a time, of which a part is decoded at a time. [`OutputComparison`] compares the outputs of two loaded graphs on
//! [sets of inputs](inputs). Where [histograms](Histogram) are asked for, each weight's values and errors are counted, too.
//!
//! # The figures of a [`Difference`]
//!
//! With `a` the values of the reference and `b` the others, all sums in f64 and in one order, whatever the number of threads:
//!
//! | figure | formula |
//! |---|---|
//! | `rel_rms` | `sqrt(sum((a - b)^2) / sum(a^2))`; infinite where `a` is all zeros and `b` is not |
//! | `max_abs` | the largest `abs(a - b)` |
//! | `snr_db` | `10 log10(sum(a^2) / sum((a - b)^2))`; none where the two are equal |
//! | `cosine` | `sum(a b) / sqrt(sum(a^2) sum(b^2))`; 1 where both are zeros, 0 where one is |

mod difference;
mod error;
mod histogram;
pub mod inputs;
mod outputs;
mod streamed;
mod unlike;
mod weights;

pub use difference::Difference;
pub use error::CompareError;
pub use histogram::{Histogram, Histograms};
pub use outputs::{NamedModel, OutputComparison};
pub use unlike::{Mismatch, Unlike};
pub use weights::{Comparison, Reference, WeightDifference};
