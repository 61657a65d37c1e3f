//! What a graph's outputs have lost to a reference's, on the same inputs.

use bitquilt_plugin_api::TensorView;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::cache;
use super::error::AllocationError;
use super::subject::Measure;
use crate::checkpoint::TensorDict;
use crate::model::Model;
use crate::registry::Registry;
use crate::state::Results;

/// Inputs of the runs of several states, one state after the other.
pub(super) type Passages = Vec<Vec<TensorDict>>;

/// The outputs of a reference, in every run.
pub(super) struct Reference<'a> {
    measure: &'a Measure,
    registry: &'a Registry,
    runs: Vec<Kept>,
}

/// What is kept of a run.
enum Kept {
    Distributions(Distributions),
    Values(Vec<Vec<f32>>),
}

/// The distributions that rows of logits are of.
struct Distributions {
    row_len: usize,
    /// Their probabilities, rounded.
    probabilities: Vec<f32>,
    /// Of each row, the sum of its rounded probabilities, and of their products with the logarithms of the probabilities.
    sums: Vec<(f64, f64)>,
}

impl<'a> Reference<'a> {
    /// That of a model, run on all inputs.
    pub(super) fn new(
        model: &Model,
        passages: &Passages,
        measure: &'a Measure,
        registry: &'a Registry,
    ) -> Result<Self, AllocationError> {
        let mut reference = Self { measure, registry, runs: Vec::new() };
        let mut runs = Vec::new();
        run_all(model, passages, |results| {
            runs.push(reference.keep(results)?);
            Ok(())
        })?;
        reference.runs = runs;
        Ok(reference)
    }

    fn keep(&self, results: &Results<'_>) -> Result<Kept, AllocationError> {
        let not_finite = |output: &str| AllocationError::ReferenceNotFinite { output: output.to_owned() };
        match self.measure {
            Measure::Divergence { output } => {
                let view = results.view(output)?;
                let kept = Distributions::new(&view).ok_or_else(|| not_finite(output))?;
                Ok(Kept::Distributions(kept))
            }
            Measure::RelativeError => {
                let outputs = self.values(results)?;
                match outputs.iter().find(|(_, values)| !values.iter().all(|value| value.is_finite())) {
                    Some((output, _)) => Err(not_finite(output)),
                    None if outputs.is_empty() => Err(AllocationError::NoFloatOutputs),
                    None => Ok(Kept::Values(outputs.into_iter().map(|(_, values)| values).collect())),
                }
            }
        }
    }

    /// The hash of the outputs.
    pub(super) fn hash(&self) -> u128 {
        let parts = self.runs.iter().flat_map(|run| match run {
            Kept::Distributions(kept) => vec![xxh3_128(bytemuck::cast_slice(&kept.probabilities))],
            Kept::Values(outputs) => {
                outputs.iter().map(|values| xxh3_128(bytemuck::cast_slice(values))).collect()
            }
        });
        cache::key(format_args!("{:?} {:x?}", self.measure, parts.collect::<Vec<u128>>()))
    }

    /// The outputs that hold floating-point values.
    fn values(&self, results: &Results<'_>) -> Result<Vec<(String, Vec<f32>)>, AllocationError> {
        let mut outputs = Vec::new();
        for output in results.iter() {
            let (name, view) = output?;
            let tensor = self.registry.tensor(&view).map_err(crate::plan::RunError::Tensor)?;
            // An output of integers has no error that could be small.
            let Ok(values) = self.registry.to_f32(&tensor) else { continue };
            if let Ok(values) = values.values::<f32>() {
                outputs.push((name.to_owned(), values.to_vec()));
            }
        }
        Ok(outputs)
    }

    /// The mean loss of a model over all rows, or outputs, of all runs; infinite if an output of it is not finite.
    pub(super) fn loss(&self, model: &Model, passages: &Passages) -> Result<f64, AllocationError> {
        let (mut sum, mut count, mut run) = (0.0, 0usize, 0);
        run_all(model, passages, |results| {
            let losses = match (&self.runs[run], self.measure) {
                (Kept::Distributions(kept), Measure::Divergence { output }) => {
                    kept.divergences(results.view(output)?.values::<f32>().unwrap_or_default())
                }
                (Kept::Values(kept), _) => {
                    let outputs = self.values(results)?;
                    kept.iter().zip(&outputs).map(|(kept, (_, found))| relative_error(kept, found)).collect()
                }
                (Kept::Distributions(_), Measure::RelativeError) => Vec::new(),
            };
            sum += losses.iter().sum::<f64>();
            count += losses.len();
            run += 1;
            Ok(())
        })?;
        let mean = sum / count.max(1) as f64;
        Ok(if mean.is_nan() { f64::INFINITY } else { mean })
    }
}

/// Runs a model on all inputs, each passage with a new state; what it does not take is left out.
pub(super) fn run_all(
    model: &Model,
    passages: &Passages,
    mut each: impl FnMut(&Results<'_>) -> Result<(), AllocationError>,
) -> Result<(), AllocationError> {
    let names: Vec<String> = model.inputs().map(|(name, _)| name.to_owned()).collect();
    for passage in passages {
        let mut state = model.new_state()?;
        for inputs in passage {
            let given = names.iter().filter_map(|name| Some((name.as_str(), inputs.get(name)?)));
            each(&state.run(given)?)?;
        }
    }
    Ok(())
}

impl Distributions {
    /// Those of rows of logits; none if a logit is not finite, or there are none.
    fn new(logits: &TensorView<'_>) -> Option<Self> {
        let row_len = *logits.shape().last()?;
        let logits = logits.values::<f32>().ok()?;
        if row_len == 0 || !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let mut probabilities = vec![0f32; logits.len()];
        let rows = probabilities.par_chunks_mut(row_len).zip(logits.par_chunks(row_len));
        let row = |(probabilities, logits): (&mut [f32], &[f32])| {
            let largest = largest(logits);
            let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
            let shift = largest + sum.ln();
            let mut sums = (0.0, 0.0);
            for (probability, logit) in probabilities.iter_mut().zip(logits) {
                let logarithm = f64::from(*logit) - shift;
                *probability = logarithm.exp() as f32;
                sums.0 += f64::from(*probability);
                sums.1 += f64::from(*probability) * logarithm;
            }
            sums
        };
        let sums = rows.map(row).collect();
        Some(Self { row_len, probabilities, sums })
    }

    /// The Kullback-Leibler divergence of the distribution of each row of logits from the one that is kept, in nats:
    /// `sum(p (log p - log q))`, with `log q = z - log(sum(exp(z)))`.
    fn divergences(&self, logits: &[f32]) -> Vec<f64> {
        let rows = self.probabilities.par_chunks(self.row_len).zip(logits.par_chunks(self.row_len));
        let rows = rows.zip(&self.sums);
        rows.map(|((kept, logits), (sum, entropy))| divergence(kept, *sum, *entropy, logits)).collect()
    }
}

/// That of a row: probabilities, their sum, that of their products with their logarithms, and the logits of the other distribution.
fn divergence(probabilities: &[f32], sum: f64, entropy: f64, logits: &[f32]) -> f64 {
    let largest = largest(logits);
    let (mut exponentials, mut cross) = (0.0, 0.0);
    for (probability, logit) in probabilities.iter().zip(logits) {
        let logit = f64::from(*logit) - largest;
        exponentials += logit.exp();
        cross += f64::from(*probability) * logit;
    }
    let divergence: f64 = entropy - cross + sum * exponentials.ln();
    if divergence.is_nan() { f64::INFINITY } else { divergence.max(0.0) }
}

fn largest(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// The squared error as a part of the squares of the reference.
fn relative_error(reference: &[f32], found: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let error = squares(&mut reference.iter().zip(found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    match error {
        0.0 => 0.0,
        error => error / squares(&mut reference.iter().map(|value| f64::from(*value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_are_those_of_the_formula() {
        let reference = [1.0f32, 2.0, -3.0, 0.5, 0.25, 0.0];
        let other = [1.5f32, 1.0, -2.0, 0.5, 0.25, 0.0];
        let log_softmax = |row: &[f32]| {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            row.iter().map(|logit| f64::from(*logit) - sum.ln()).collect::<Vec<f64>>()
        };
        let expected = |row: std::ops::Range<usize>| {
            let (p, q) = (log_softmax(&reference[row.clone()]), log_softmax(&other[row]));
            p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
        };
        let kept = Distributions::new(&TensorView::dense(&[2, 3], &reference)).unwrap();
        let found = kept.divergences(&other);
        assert!((found[0] - expected(0..3)).abs() < 1e-7 && found[1] < 1e-12, "{found:?}");
        assert!(kept.divergences(&reference).iter().all(|divergence| *divergence < 1e-12));
        assert!(Distributions::new(&TensorView::dense(&[1, 2], &[0f32, f32::NAN])).is_none());
        assert_eq!(kept.divergences(&[f32::NAN; 6]), [f64::INFINITY; 2]);
        // Logits whose exponentials would overflow.
        let large = Distributions::new(&TensorView::dense(&[1, 2], &[3000f32, 3000.0])).unwrap();
        let found = large.divergences(&[-2000.0, -2000.0 + 3f32.ln()])[0];
        assert!((found - 0.143_841).abs() < 1e-4, "{found}");
    }

    #[test]
    fn relative_errors() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.5]), 0.01);
        assert_eq!((relative_error(&[0.0], &[0.0]), relative_error(&[0.0], &[1.0])), (0.0, f64::INFINITY));
    }
}
