//! The stages of a search, once the errors of all weights are known: sensitivities, mixes, and the best mix refined.

use super::allocation::{Allocation, CandidateLoss, FrontierPoint, WeightAllocation};
use super::cache::{self, Cache};
use super::candidates::{self, Mix};
use super::choices::Measuring;
use super::error::{AllocationError, go_on};
use super::groups::{groups, singly};
use super::knapsack::{self, Cost};
use super::loss::Reference;
use super::options::Covered;
use super::progress::{Progress, Stage};
use super::sensitivity::{Probe, Prober};
use super::subject::Subject;
use crate::checkpoint::TensorDict;
use crate::quantize::recipe::Target;
use crate::session::InferenceSession;

/// Uniform encodings that are run beside the mix.
const UNIFORM: usize = 3;
/// Points of the frontier, at most.
const FRONTIER: usize = 96;

/// What the stages of a search have found.
pub(super) struct Search<'a> {
    pub(super) session: &'a InferenceSession,
    pub(super) subject: &'a Subject<'a>,
    pub(super) quick: bool,
    pub(super) measuring: Measuring<'a>,
    pub(super) weights: Vec<Covered>,
    pub(super) budget: u64,
    pub(super) cache: Cache,
    /// The hash of all that losses follow from, beside the weights' encodings.
    pub(super) identity: u128,
}

/// A linear model of the loss.
struct Model {
    costs: Vec<Vec<Cost>>,
    sensitivities: Vec<Option<f64>>,
}

/// A mix and its loss.
struct Measured {
    mix: Mix,
    bytes: u64,
    predicted: f64,
    loss: f64,
}

/// Groups of weights that are changed, each in a run of its own.
#[derive(Clone, Copy)]
struct Changes<'c> {
    /// The mix that the other weights have, as [`Search::described`] says it; nothing where they are as they were.
    base: &'c str,
    /// The indices of each group.
    together: &'c [Vec<usize>],
    /// What a weight becomes, by its index.
    change: &'c dyn Fn(&[Covered], usize) -> Target,
    stage: Stage,
}

/// The choice that is nearest to another one at the price of a byte.
fn next_to(costs: &[Cost], chosen: usize, price: f64) -> Option<usize> {
    let at_price = |index: &usize| costs[*index].loss + price * costs[*index].bytes as f64;
    (0..costs.len()).filter(|index| *index != chosen).min_by(|a, b| at_price(a).total_cmp(&at_price(b)))
}

/// The bits of the encodings that sensitivities are measured with. There are few, so that what was measured serves other targets, too.
fn probed_bits(target: f64) -> f64 {
    match target {
        ..4.0 => 3.0,
        4.0..6.5 => 4.5,
        _ => 6.0,
    }
}

/// The index of the one of the least loss, the first of equals.
fn least(measured: &[Measured]) -> usize {
    let less = |a: &usize, b: &usize| measured[*a].loss.total_cmp(&measured[*b].loss);
    (0..measured.len()).min_by(less).unwrap_or_default()
}

impl Search<'_> {
    /// Goes through all stages; `own` runs the model as it is.
    pub(super) fn run(
        mut self,
        mut own: Prober<'_>,
        reference: &Reference<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Allocation, AllocationError> {
        let model = self.first_model(&mut own, reference, progress)?;
        drop(own);
        let (mut measured, best) = self.first_mixes(&model, reference, progress)?;
        if !self.quick {
            let again = self.refine(&model, &measured[best], reference, progress)?;
            // Where no move was worth its bytes, it is the mix that it began with.
            if again.mix.chosen != measured[best].mix.chosen {
                measured.push(again);
            }
        }
        let index = least(&measured);
        Ok(self.allocation(measured, index, &model))
    }

    /// The sensitivity of each weight in the model as it is.
    fn first_model(
        &mut self,
        own: &mut Prober<'_>,
        reference: &Reference<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Model, AllocationError> {
        let values: u64 = self.weights.iter().map(|weight| weight.values).sum();
        let bits = probed_bits(8.0 * self.budget as f64 / values.max(1) as f64);
        // The choice that each weight is probed in: one with an error.
        let probed = |weight: &Covered| {
            let lossy = (0..weight.choices.len()).filter(|index| weight.choices[*index].error > 0.0);
            let distance = |index: &usize| (weight.bits(&weight.choices[*index]) - bits).abs();
            lossy.min_by(|a, b| distance(a).total_cmp(&distance(b)))
        };
        let probed: Vec<Option<usize>> = self.weights.iter().map(probed).collect();
        let open: Vec<usize> = (0..self.weights.len())
            .filter(|index| probed[*index].is_some() && self.weights[*index].choices.len() > 1)
            .collect();
        let names: Vec<&str> = self.weights.iter().map(|weight| &weight.name[..]).collect();
        let together = if self.quick { groups(&names, &open) } else { singly(&open) };
        let change = |weights: &[Covered], index: usize| {
            weights[index].choices[probed[index].unwrap_or_default()].target.clone()
        };
        let changes = Changes { base: "", together: &together, change: &change, stage: Stage::Sensitivities };
        let losses = self.losses(own, &changes, reference, progress)?;
        let mut sensitivities = vec![None; self.weights.len()];
        for (group, loss) in together.iter().zip(losses) {
            let error =
                |index: &usize| self.weights[*index].choices[probed[*index].unwrap_or_default()].error;
            let errors: f64 = group.iter().map(error).sum();
            group.iter().for_each(|index| sensitivities[*index] = Some(loss / errors));
        }
        Ok(self.model(sensitivities))
    }

    /// The linear model of these sensitivities.
    fn model(&self, sensitivities: Vec<Option<f64>>) -> Model {
        let costs =
            |(weight, sensitivity): (&Covered, &Option<f64>)| weight.costs(sensitivity.unwrap_or(0.0));
        Model { costs: self.weights.iter().zip(&sensitivities).map(costs).collect(), sensitivities }
    }

    /// The loss of each group of weights that is changed.
    fn losses(
        &mut self,
        prober: &mut Prober<'_>,
        changes: &Changes<'_>,
        reference: &Reference<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<f64>, AllocationError> {
        let Changes { base, together, change, stage } = *changes;
        let Self { subject, measuring, weights, cache, identity, .. } = self;
        let key = |group: &Vec<usize>| {
            let changes: Vec<String> = group
                .iter()
                .map(|index| {
                    format!("{:?} = {}", weights[*index].name, described(&change(weights, *index), measuring))
                })
                .collect();
            cache::key(format_args!("loss {identity:x} of [{base}] but {}", changes.join(", ")))
        };
        let keys: Vec<u128> = together.iter().map(key).collect();
        let mut losses: Vec<Option<f64>> = keys.iter().map(|key| cache.known(*key)).collect();
        let probe = |index: usize| Probe {
            index,
            weights: together[index].iter().map(|weight| weights[*weight].name.clone()).collect(),
        };
        let probes: Vec<Probe> =
            (0..losses.len()).filter(|index| losses[*index].is_none()).map(probe).collect();
        let mut done = losses.len() - probes.len();
        progress(stage, done, losses.len());
        let all = losses.len();
        let make = |probe: &Probe| {
            let encode = |index: &usize| {
                let name = &weights[*index].name;
                let Some(tensor) = subject.weights.get(name) else { return Ok(None) };
                let converted = measuring.convert(name, tensor, &change(weights, *index));
                let failed = |source| AllocationError::Weight { weight: name.clone(), source };
                Ok(Some((name.clone(), converted.map_err(failed)?.0)))
            };
            together[probe.index].iter().filter_map(|index| encode(index).transpose()).collect()
        };
        prober.probe(&probes, reference, make, |index, loss| {
            if !loss.is_finite() {
                let weight = &weights[together[index][0]];
                let encoding = change(weights, together[index][0]).to_string();
                return Err(AllocationError::ProbeNotFinite { weight: weight.name.clone(), encoding });
            }
            losses[index] = Some(loss);
            done += 1;
            progress(stage, done, all);
            cache.insert(keys[index], loss)
        })?;
        Ok(losses.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The losses of the best mix by the model and of simple ones, and the index of the best.
    fn first_mixes(
        &mut self,
        model: &Model,
        reference: &Reference<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(Vec<Measured>, usize), AllocationError> {
        // The budget is above the least.
        let chosen = knapsack::solve(&model.costs, self.budget).unwrap_or_default();
        let mut mixes = vec![Mix { name: "searched".to_owned(), chosen }];
        mixes.extend(candidates::q4_k_m(&self.weights));
        mixes.extend(candidates::uniform(&self.weights, &model.costs, self.budget, UNIFORM));
        mixes.retain(|mix| knapsack::sum(&model.costs, &mix.chosen).bytes <= self.budget);
        let count = mixes.len();
        let mut measured: Vec<Measured> = Vec::with_capacity(count);
        for mix in mixes {
            progress(Stage::Candidates, measured.len(), count);
            go_on()?;
            if !measured.iter().any(|other| other.mix.chosen == mix.chosen) {
                measured.push(self.measure(mix, model, reference)?);
            }
        }
        progress(Stage::Candidates, count, count);
        let best = least(&measured);
        Ok((measured, best))
    }

    /// Runs a mix.
    fn measure(
        &mut self,
        mix: Mix,
        model: &Model,
        reference: &Reference<'_>,
    ) -> Result<Measured, AllocationError> {
        let sum = knapsack::sum(&model.costs, &mix.chosen);
        let key = cache::key(format_args!("loss {:x} of [{}]", self.identity, self.described(&mix)));
        let loss = match self.cache.known(key) {
            Some(loss) => loss,
            None => {
                let encoded = self.encoded(&mix)?;
                let loss = Prober::new(self.session, self.subject, encoded)?.loss(reference)?;
                self.cache.insert(key, loss)?;
                loss
            }
        };
        Ok(Measured { mix, bytes: sum.bytes, predicted: sum.loss, loss })
    }

    /// The weights of a mix that do not stay as they are.
    fn encoded(&self, mix: &Mix) -> Result<TensorDict, AllocationError> {
        let mut encoded = TensorDict::new();
        for ((weight, chosen), (_, tensor)) in
            self.weights.iter().zip(&mix.chosen).zip(self.subject.weights.iter())
        {
            let target = &weight.choices[*chosen].target;
            if *target != Target::Keep {
                let failed = |source| AllocationError::Weight { weight: weight.name.clone(), source };
                let (tensor, _) = self.measuring.convert(&weight.name, tensor, target).map_err(failed)?;
                encoded.insert(&weight.name, tensor);
            }
        }
        Ok(encoded)
    }

    /// All that a mix's loss follows from, beside the model.
    fn described(&self, mix: &Mix) -> String {
        let one = |(weight, chosen): (&Covered, &usize)| {
            format!("{:?} = {}", weight.name, described(&weight.choices[*chosen].target, &self.measuring))
        };
        self.weights.iter().zip(&mix.chosen).map(one).collect::<Vec<String>>().join(", ")
    }

    /// Runs a mix with each weight in the choice that is next to its own at the price of a byte, and answers the mix of the best of these
    /// moves, as far as they fit.
    ///
    /// What a move does beside all other weights is measured, and predicted by the weight's sensitivity. Half of each is what it is taken
    /// for: the measured effect has in it how the move's errors and those of the other weights happen to meet, of which many moves together
    /// leave little.
    fn refine(
        &mut self,
        first: &Model,
        base: &Measured,
        reference: &Reference<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Measured, AllocationError> {
        let chosen = &base.mix.chosen;
        let price = knapsack::price(&first.costs, self.budget);
        let next: Vec<Option<usize>> =
            first.costs.iter().zip(chosen).map(|(costs, chosen)| next_to(costs, *chosen, price)).collect();
        let open: Vec<usize> = (0..next.len()).filter(|index| next[*index].is_some()).collect();
        let mut prober = Prober::new(self.session, self.subject, self.encoded(&base.mix)?)?;
        prober.prepare()?;
        let change = |weights: &[Covered], index: usize| {
            weights[index].choices[next[index].unwrap_or(chosen[index])].target.clone()
        };
        let description = self.described(&base.mix);
        let changes = Changes {
            base: &description,
            together: &singly(&open),
            change: &change,
            stage: Stage::Refinement,
        };
        let losses = self.losses(&mut prober, &changes, reference, progress)?;
        drop(prober);
        // Each weight stays, or moves.
        let stay = |index: usize| Cost { bytes: first.costs[index][chosen[index]].bytes, loss: 0.0 };
        let mut moves: Vec<Vec<Cost>> = (0..next.len()).map(|index| vec![stay(index)]).collect();
        for (index, loss) in open.iter().zip(losses) {
            let costs = &first.costs[*index];
            let to = costs[next[*index].unwrap_or(chosen[*index])];
            let predicted = to.loss - costs[chosen[*index]].loss;
            moves[*index].push(Cost { bytes: to.bytes, loss: (loss - base.loss + predicted) / 2.0 });
        }
        // The mix that all stay in fits.
        let taken = knapsack::solve(&moves, self.budget).unwrap_or_else(|| vec![0; moves.len()]);
        let moved = next.iter().zip(chosen).zip(&taken);
        let moved =
            moved.map(|((next, chosen), taken)| if *taken == 0 { *chosen } else { next.unwrap_or(*chosen) });
        let mix = Mix { name: "searched again".to_owned(), chosen: moved.collect() };
        let predicted = base.loss + knapsack::sum(&moves, &taken).loss;
        Ok(Measured { predicted, ..self.measure(mix, first, reference)? })
    }

    /// What was found.
    fn allocation(self, measured: Vec<Measured>, index: usize, model: &Model) -> Allocation {
        let best = &measured[index];
        let points = knapsack::frontier(&model.costs);
        let step = points.len().div_ceil(FRONTIER).max(1);
        let last = points.len() - 1;
        let kept = points.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last);
        let frontier = kept.map(|(_, point)| FrontierPoint { bytes: point.bytes, predicted: point.loss });
        let candidate = |measured: &Measured| CandidateLoss {
            name: measured.mix.name.clone(),
            bytes: measured.bytes,
            predicted: measured.predicted,
            loss: measured.loss,
        };
        let (frontier, candidates) = (frontier.collect(), measured.iter().map(candidate).collect());
        let (predicted, loss, chosen) = (best.predicted, best.loss, best.mix.chosen.clone());
        let weights = self.weights.into_iter().zip(chosen).zip(&model.sensitivities);
        let weights = weights.map(|((weight, chosen), sensitivity)| WeightAllocation {
            name: weight.name,
            shape: weight.shape,
            values: weight.values,
            chosen,
            choices: weight.choices,
            sensitivity: *sensitivity,
            is_fixed: weight.is_fixed,
        });
        Allocation {
            weights: weights.collect(),
            budget: self.budget,
            predicted,
            loss,
            best: index,
            candidates,
            frontier,
            measure: self.subject.measure.clone(),
        }
    }
}

/// A target, and the version of its encoding.
fn described(target: &Target, measuring: &Measuring<'_>) -> String {
    match target {
        Target::Encoding(name) => {
            let spec = measuring.registry.encoding(name).map(|encoding| encoding.spec());
            format!("{:x}", cache::key(format_args!("{spec:?}")))
        }
        Target::Keep | Target::Dense(_) => target.to_string(),
    }
}
