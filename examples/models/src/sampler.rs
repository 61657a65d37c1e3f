//! Choosing a token by its logits.

use std::collections::VecDeque;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The divisor of logits; 0 takes the most likely token always.
    pub temperature: f32,
    /// The number of most likely tokens that are considered; 0 means all.
    pub top_k: usize,
    /// The sum of the probabilities of the most likely tokens that are considered.
    pub top_p: f32,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The divisor of positive logits of recent tokens, and factor of negative ones; 1 does not mind repetition.
    ///
    /// That is the penalty of Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable Generation", 2019.
    pub repetition_penalty: f32,
    /// The number of the last tokens that were chosen that count as recent.
    pub recent: usize,
}

/// Why no token can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the model gives logits that are not a number: its weights are damaged, or too large for their dtype or encoding"
)]
pub struct NotNumbers;

/// Chooses tokens. It allocates when it is made, and not again.
pub struct Sampler {
    sampling: Sampling,
    random: u64,
    /// Probability, or logit, and token.
    candidates: Vec<(f32, u32)>,
    /// The last tokens, as many as the sampling looks back on.
    recent: VecDeque<u32>,
}

impl Sampler {
    /// A sampler for logits of so many tokens.
    pub fn new(sampling: Sampling, vocabulary: usize) -> Self {
        let recent = VecDeque::with_capacity(sampling.recent + 1);
        Self { sampling, random: sampling.seed, candidates: Vec::with_capacity(vocabulary), recent }
    }

    fn remember(&mut self, token: u32) {
        self.recent.push_back(token);
        if self.recent.len() > self.sampling.recent {
            self.recent.pop_front();
        }
    }

    /// The next token, which is recent from then on; an error if a logit is NaN. Equal inputs and an equal seed choose equally.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, NotNumbers> {
        // Without branches for the values of a piece.
        let has_nan = |piece: &[f32]| piece.iter().fold(false, |nan, logit| nan | logit.is_nan());
        if logits.chunks(256).any(has_nan) {
            return Err(NotNumbers);
        }
        let token = self.choose(logits);
        self.remember(token);
        Ok(token)
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        let Sampling { temperature, top_k, top_p, .. } = self.sampling;
        if temperature <= 0.0 {
            return argmax(logits);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(logits.iter().zip(0..).map(|(logit, token)| (*logit, token)));
        penalize(candidates, &self.recent, self.sampling.repetition_penalty);
        // Ties are broken by the token, so that the order is one.
        let descending = |left: &(f32, u32), right: &(f32, u32)| {
            right.0.total_cmp(&left.0).then_with(|| left.1.cmp(&right.1))
        };
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, descending);
            candidates.truncate(top_k);
        }
        candidates.sort_unstable_by(descending);
        let Some(&(largest, first)) = candidates.first() else { return 0 };
        let mut sum = 0.0;
        for (value, _) in candidates.iter_mut() {
            *value = ((*value - largest) / temperature).exp();
            sum += *value;
        }
        if top_p < 1.0 {
            let (mut kept, mut reached) = (0, 0.0);
            while kept < candidates.len() && (kept == 0 || reached < top_p * sum) {
                reached += candidates[kept].0;
                kept += 1;
            }
            candidates.truncate(kept);
            sum = reached;
        }
        let mut rest = self.random_unit() * sum;
        for (probability, token) in &self.candidates {
            rest -= probability;
            if rest < 0.0 {
                return *token;
            }
        }
        self.candidates.last().map_or(first, |(_, token)| *token)
    }

    /// A number of at least 0 and below 1: SplitMix64, of Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
    fn random_unit(&mut self) -> f32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Makes recent tokens less likely, each once. The candidates are all tokens, in order.
fn penalize(candidates: &mut [(f32, u32)], recent: &VecDeque<u32>, penalty: f32) {
    for (index, token) in recent.iter().enumerate() {
        let again = recent.iter().take(index).any(|before| before == token);
        if let Some((logit, _)) = candidates.get_mut(*token as usize).filter(|_| !again) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// The token of the largest logit; the first of equals.
fn argmax(logits: &[f32]) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == largest).unwrap_or_default() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_k: usize, top_p: f32) -> Sampler {
        penalized(temperature, top_k, top_p, 1.0)
    }

    fn penalized(temperature: f32, top_k: usize, top_p: f32, repetition_penalty: f32) -> Sampler {
        let sampling = Sampling { temperature, top_k, top_p, seed: 1, repetition_penalty, recent: 2 };
        Sampler::new(sampling, 4)
    }

    /// How often each of four tokens of these probabilities was taken, of 10,000 times.
    fn counts(mut sampler: Sampler) -> [usize; 4] {
        let logits = [0.1f32, 0.4, 0.3, 0.2].map(f32::ln);
        let mut counts = [0; 4];
        (0..10_000).for_each(|_| counts[sampler.sample(&logits).unwrap() as usize] += 1);
        counts
    }

    fn near(counts: [usize; 4], expected: [f64; 4]) {
        for (count, expected) in counts.iter().zip(expected) {
            assert!((*count as f64 / 10_000.0 - expected).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_probabilities_say() {
        near(counts(sampler(1.0, 0, 1.0)), [0.1, 0.4, 0.3, 0.2]);
        near(counts(sampler(1.0, 2, 1.0)), [0.0, 4.0 / 7.0, 3.0 / 7.0, 0.0]);
        near(counts(sampler(1.0, 0, 0.75)), [0.0, 4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0]);
        near(counts(sampler(1.0, 0, 0.0)), [0.0, 1.0, 0.0, 0.0]);
        // Half the temperature squares the probabilities.
        near(counts(sampler(0.5, 0, 1.0)), [1.0 / 30.0, 16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0]);
        assert_eq!(counts(sampler(0.0, 0, 1.0)), [0, 10_000, 0, 0]);
    }

    #[test]
    fn recent_tokens_are_less_likely_and_each_once() {
        let choose = |sampler: &mut Sampler, logits: [f32; 4]| sampler.sample(&logits).unwrap();
        let mut sampler = penalized(1.0, 1, 1.0, 2.0);
        // The largest is halved for as long as it is one of the last two.
        let found: Vec<u32> = (0..7).map(|_| choose(&mut sampler, [4.0, 3.0, 1.9, -1.0])).collect();
        assert_eq!(found, [0, 1, 0, 0, 1, 0, 0]);
        // Twice recent is no less likely than once.
        let mut sampler = penalized(1.0, 1, 1.0, 2.0);
        [0, 0].into_iter().for_each(|token| sampler.remember(token));
        assert_eq!(choose(&mut sampler, [4.0, 1.9, 0.0, 0.0]), 0);
        // What is below zero gets lower, too.
        let mut sampler = penalized(1.0, 1, 1.0, 2.0);
        sampler.remember(0);
        assert_eq!(choose(&mut sampler, [-1.0, -1.5, -9.0, -9.0]), 1);
        // A token that the logits do not know is none.
        sampler.remember(9);
        assert_eq!(choose(&mut sampler, [2.0, -1.5, -9.0, -9.0]), 0);
        // The most likely always is the most likely, recent or not.
        let mut sampler = penalized(0.0, 0, 1.0, 2.0);
        assert!((0..3).all(|_| choose(&mut sampler, [4.0, 3.0, 0.0, 0.0]) == 0));
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        for temperature in [0.0, 1.0] {
            let mut sampler = sampler(temperature, 0, 1.0);
            assert_eq!(sampler.sample(&[0.5, f32::NAN, 0.0, 0.0]), Err(NotNumbers));
            assert!(sampler.sample(&[0.5, f32::NEG_INFINITY, 0.0, 0.0]).is_ok());
        }
    }

    #[test]
    fn the_most_likely_token_is_the_first_of_equals() {
        assert_eq!(argmax(&[-1.0, 2.0, f32::NAN, 2.0]), 1);
        assert_eq!(argmax(&[]), 0);
    }
}
