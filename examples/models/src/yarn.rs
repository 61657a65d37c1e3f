//! YaRN, a longer context for a trained model: Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// How YaRN stretches a context. Pairs that turn often within the trained context turn as before, those that hardly turn do so
/// `factor` times slower, and those between are blended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// The length of the context, divided by that of the trained one.
    pub factor: f64,
    /// The number of tokens of the trained context.
    pub trained: usize,
    /// The number of turns within the trained context from which on pairs keep their pace.
    pub beta_fast: f64,
    /// The number of turns up to which pairs are slowed wholly.
    pub beta_slow: f64,
}

impl Yarn {
    /// Checks that the numbers make sense; the error is a sentence.
    pub fn check(&self) -> Result<(), String> {
        let &Self { factor, trained, beta_fast, beta_slow } = self;
        let ordered = 0.0 < beta_slow && beta_slow <= beta_fast && beta_fast.is_finite();
        if !(factor >= 1.0 && factor.is_finite() && trained > 0 && ordered) {
            return Err(format!(
                "its rope scaling `yarn` has the factor {factor}, {trained} trained tokens, and the bounds {beta_slow} and {beta_fast}; \
                 a factor of at least 1, a token or more, and positive bounds in this order were expected"
            ));
        }
        Ok(())
    }

    /// The divisor of the frequency `theta^(-2 * pair / dims)` of each pair, `[dims / 2]`.
    pub fn divisors(&self, dims: usize, theta: f64) -> Vec<f32> {
        // Which pair, of real numbers, turns so often within the trained context.
        let pair = |turns: f64| dims as f64 * (self.trained as f64 / (turns * TAU)).ln() / (2.0 * theta.ln());
        // The ends are whole, as in the paper's code and llama.cpp.
        let first = pair(self.beta_fast).floor().max(0.0);
        let last = pair(self.beta_slow).ceil().min(dims as f64 - 1.0);
        let slowed = |pair: usize| ((pair as f64 - first) / (last - first).max(0.001)).clamp(0.0, 1.0);
        (0..dims / 2)
            .map(|pair| {
                let slowed = slowed(pair);
                (1.0 / (slowed / self.factor + 1.0 - slowed)) as f32
            })
            .collect()
    }

    /// The factor of queries and keys: the paper's `sqrt(1 / t)`.
    pub fn magnitude(&self) -> f64 {
        0.1 * self.factor.ln() + 1.0
    }
}
