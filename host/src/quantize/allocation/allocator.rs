//! What a search is asked for, and its first stage: weights, what each may become, and the size that is to be reached.

use std::path::PathBuf;

use super::allocation::Allocation;
use super::cache::{self, Cache};
use super::choices::{Measuring, all_targets};
use super::error::{AllocationError, go_on};
use super::options::Covered;
use super::progress::{Progress, Stage};
use super::search::Search;
use super::sensitivity::Prober;
use super::subject::{FixedWeight, Subject};
use crate::checkpoint::TensorDict;
use crate::interrupt::Interrupt;
use crate::quantize::recipe::Target;
use crate::session::InferenceSession;

/// The size that is to be reached, of all weights that encodings are chosen for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetSize {
    /// In bytes.
    Bytes(u64),
    /// In bits a value.
    Bits(f64),
}

/// Searches the mix of encodings of a [`Subject`]'s weights that loses least in a size.
pub struct Allocator<'a> {
    /// What runs the model.
    pub session: &'a InferenceSession,
    /// The model.
    pub subject: &'a Subject<'a>,
    /// The size.
    pub target: TargetSize,
    /// The encodings to choose from, beside keeping a weight as it is; all that need no importance if there are none.
    pub encodings: Vec<String>,
    /// The weights whose encodings are fixed.
    pub fixed: Vec<FixedWeight>,
    /// An f32 vector for each weight that has one, by the weight's name.
    pub importance: TensorDict,
    /// The directory of caches; none keeps figures in memory alone.
    pub cache: Option<PathBuf>,
    /// Whether weights of a kind are changed together, some layers at a time, and nothing is done again: quick, and less exact.
    pub quick: bool,
}

impl Allocator<'_> {
    /// Searches. `progress` is told the stage, what is done of it, and how much it is.
    ///
    /// # Errors
    /// If the target is below the least, or below what is fixed; if a weight or an output is not finite, or no output depends on a weight;
    /// if it is [interrupted](crate::interrupt::Interrupt), whatever it was that stopped.
    pub fn search(&self, progress: &mut Progress<'_>) -> Result<Allocation, AllocationError> {
        let found = self.search_until_interrupted(progress);
        found.map_err(
            |error| if Interrupt::is_current_requested() { AllocationError::Interrupted } else { error },
        )
    }

    fn search_until_interrupted(&self, progress: &mut Progress<'_>) -> Result<Allocation, AllocationError> {
        if self.subject.weights.is_empty() {
            return Err(AllocationError::NoWeights);
        }
        if self.subject.passages.iter().all(Vec::is_empty) {
            return Err(AllocationError::NoInputs);
        }
        let measuring = Measuring { registry: self.session.registry(), importance: &self.importance };
        let mut hashes: Vec<u128> = Vec::with_capacity(self.subject.weights.len());
        for (_, tensor) in self.subject.weights.iter() {
            go_on()?;
            hashes.push(cache::hash_of(tensor));
        }
        let mut cache = Cache::open(self.cache.as_deref(), cache::key(format_args!("{hashes:x?}")))?;
        let weights = self.weights(&measuring, &hashes, &mut cache, progress)?;
        let budget = self.budget(&weights)?;

        let mut own = Prober::new(self.session, self.subject, TensorDict::new())?;
        let reference = own.reference()?;
        let importance: Vec<(&str, u128)> =
            self.importance.iter().map(|(name, vector)| (name, cache::hash_of(vector))).collect();
        let identity = cache::key(format_args!("{hashes:x?} {:x} {importance:x?}", reference.hash()));
        let Self { session, subject, quick, .. } = *self;
        let search = Search { session, subject, quick, measuring, weights, budget, cache, identity };
        search.run(own, &reference, progress)
    }

    /// The weights and what each may become.
    fn weights(
        &self,
        measuring: &Measuring<'_>,
        hashes: &[u128],
        cache: &mut Cache,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Covered>, AllocationError> {
        let registry = self.session.registry();
        for name in &self.encodings {
            if let Target::Encoding(name) = Target::of(name) {
                registry.require_encoding(&name)?;
            }
        }
        let all = match self.encodings.is_empty() {
            true => all_targets(registry),
            false => self.encodings.iter().map(|name| Target::of(name)).collect(),
        };
        let mut weights = Vec::with_capacity(hashes.len());
        for ((name, tensor), hash) in self.subject.weights.iter().zip(hashes) {
            progress(Stage::Errors, weights.len(), hashes.len());
            go_on()?;
            let fixed = self.fixed.iter().find(|fixed| fixed.weight == name);
            let mut choices = match fixed {
                Some(fixed) => vec![measuring.choice(name, tensor, *hash, &fixed.target, cache)?],
                None => measuring.choices(name, tensor, *hash, &all, cache)?,
            };
            if fixed.is_none() && !self.encodings.is_empty() && choices.len() > 1 {
                // Where encodings are named, a weight that one of them fits becomes one of them.
                choices.retain(|choice| choice.target != Target::Keep || all.contains(&Target::Keep));
            }
            weights.push(Covered {
                name: name.to_owned(),
                shape: tensor.shape().to_vec(),
                values: tensor.len() as u64,
                choices,
                is_fixed: fixed.is_some(),
            });
        }
        progress(Stage::Errors, hashes.len(), hashes.len());
        Ok(weights)
    }

    /// The target in bytes, if it can be reached.
    fn budget(&self, weights: &[Covered]) -> Result<u64, AllocationError> {
        let values: u64 = weights.iter().map(|weight| weight.values).sum();
        let target = match self.target {
            TargetSize::Bytes(bytes) => bytes,
            TargetSize::Bits(bits) => (bits * values as f64 / 8.0) as u64,
        };
        let fixed = weights.iter().filter(|weight| weight.is_fixed);
        let (count, fixed) =
            fixed.fold((0, 0), |(count, bytes), weight| (count + 1, bytes + weight.choices[0].bytes));
        if fixed > target {
            return Err(AllocationError::FixedTooLarge { weights: count, fixed, target });
        }
        let least: u64 = weights.iter().map(|weight| weight.choices[0].bytes).sum();
        if least > target {
            let mut counts: Vec<(String, usize)> = Vec::new();
            for weight in weights {
                let name = weight.choices[0].target.to_string();
                match counts.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((name, 1)),
                }
            }
            let counts: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} for {count}")).collect();
            return Err(AllocationError::TooSmall {
                target,
                weights: weights.len(),
                least,
                bits: 8.0 * least as f64 / values.max(1) as f64,
                encodings: counts.join(", "),
            });
        }
        Ok(target)
    }
}
