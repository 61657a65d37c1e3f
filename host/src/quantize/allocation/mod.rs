//! The encodings of a model's weights that lose least in a given size.
//!
//! An [`Allocator`] measures what each encoding does to each weight, and how much the outputs of the model lose by it. The loss of a mix is
//! then predicted by a linear model, `sum(sensitivity * error)` over the weights, where `error` is the squared error of a weight's values as
//! a part of their squares (Malinovskii et al., "HIGGS: Pushing the Limits of Large Language Model Quantization via the Linearity Theorem",
//! arXiv 2411.17525). A search by errors alone would be worse than simple mixes: sensitivities differ by a factor of hundreds.
//!
//! 1. **Errors**: each weight in each encoding whose blocks its rows fit; those that others surpass in a sample are not measured whole.
//! 2. **Sensitivities**: the model with one weight encoded, the loss of its outputs divided by the weight's error. A run begins at the
//!    first node that takes the weight, with the values that the nodes before it have left ([`Graph::cut_before`](crate::Graph::cut_before)).
//! 3. **The mix**: of one choice for each weight, the one of the least predicted loss whose bytes fit (a multiple-choice knapsack).
//! 4. **The proof**: the mix is run, and so are simple ones of no more bytes. The best is the answer.
//! 5. **Once more**: sensitivities around the best mix, another mix, which is run, too.
//!
//! All figures are the same for every number of threads. A directory of caches keeps each as it is found.

#[allow(clippy::module_inception)]
mod allocation;
mod allocator;
mod cache;
mod candidates;
mod choices;
mod error;
mod graphs;
mod groups;
mod json;
mod knapsack;
mod loss;
mod options;
mod progress;
mod search;
mod sensitivity;
mod subject;

pub use allocation::{Allocation, CandidateLoss, FrontierPoint, WeightAllocation};
pub use allocator::{Allocator, TargetSize};
pub use choices::Choice;
pub use error::AllocationError;
pub use json::Origin;
pub use progress::{Progress, Stage};
pub use subject::{FixedWeight, Measure, Subject};
