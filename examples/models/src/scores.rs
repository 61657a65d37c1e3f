//! How well logits predict a text, and how far they are from others.

/// The natural logarithms of the probabilities, as f64: `logits - log(sum(exp(logits)))`, written into `log_probabilities`.
pub fn log_softmax(logits: &[f32], log_probabilities: &mut Vec<f64>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    let shift = largest + sum.ln();
    log_probabilities.clear();
    log_probabilities.extend(logits.iter().map(|logit| f64::from(*logit) - shift));
}

/// The Kullback-Leibler divergence of `q` from `p`, in nats: `sum(exp(p) * (p - q))`, of logarithms of probabilities. It is never below
/// zero; where rounding would have it so, it is zero.
pub fn divergence(p: &[f64], q: &[f64]) -> f64 {
    // Where `p` has nothing there is nothing to lose, whatever `q` has.
    let term = |(p, q): (&f64, &f64)| if *p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

/// The token of the largest value; the first of equals.
fn best(log_probabilities: &[f64]) -> usize {
    let largest = log_probabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    log_probabilities.iter().position(|value| *value == largest).unwrap_or_default()
}

/// Sums over the tokens of a text, and the divergence at each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// The negative logarithms of the probabilities of the tokens.
    surprise: f64,
    /// The divergence from the reference at each token, in nats.
    divergences: Vec<f64>,
    /// The number of tokens for which the reference's best token was the best.
    agreed: usize,
}

/// Divergences from a reference over the tokens of a text, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergences {
    /// Their mean.
    pub mean: f64,
    /// The one in the middle of their order; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest that 99 % are not above.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Scores {
    /// Adds a token: the logarithms of the probabilities that were predicted for it, and those of the model to compare with.
    pub fn add(&mut self, token: usize, predicted: &[f64], reference: &[f64]) {
        self.surprise -= predicted[token];
        self.divergences.push(divergence(reference, predicted));
        self.agreed += usize::from(best(predicted) == best(reference));
    }

    /// Tokens that were added.
    pub fn tokens(&self) -> usize {
        self.divergences.len()
    }

    /// `exp` of the mean surprise.
    pub fn perplexity(&self) -> f64 {
        (self.surprise / self.tokens() as f64).exp()
    }

    /// The mean divergence from the reference, in nats a token.
    pub fn divergence(&self) -> f64 {
        self.divergences.iter().sum::<f64>() / self.tokens() as f64
    }

    /// The part of the tokens for which the best prediction is the reference's.
    pub fn top1(&self) -> f64 {
        self.agreed as f64 / self.tokens() as f64
    }

    /// The divergences; none without tokens.
    pub fn divergences(&self) -> Option<Divergences> {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        let (count, max) = (sorted.len(), *sorted.last()?);
        let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
        let p99 = sorted[(99 * count).div_ceil(100) - 1];
        Some(Divergences { mean: self.divergence(), median, p99, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let (mut even, mut skewed) = (Vec::new(), Vec::new());
        log_softmax(&[7.0, 7.0], &mut even);
        log_softmax(&[1000.0 + 3f32.ln(), 1000.0], &mut skewed);
        assert!((even[0] - 0.5f64.ln()).abs() < 1e-12);
        assert!((skewed[0] - 0.75f64.ln()).abs() < 1e-4);
        assert_eq!(divergence(&even, &even), 0.0);
        // 0.5 * ln(0.5 / 0.75) + 0.5 * ln(0.5 / 0.25)
        assert!((divergence(&even, &skewed) - 0.143_841).abs() < 1e-4);
        let mut scores = Scores::default();
        scores.add(0, &even, &even);
        scores.add(1, &skewed, &even);
        assert_eq!(scores.tokens(), 2);
        assert!((scores.perplexity() - 8f64.sqrt()).abs() < 1e-3);
        assert!((scores.divergence() - 0.071_92).abs() < 1e-4);
    }

    #[test]
    fn a_token_that_cannot_come_is_no_divergence() {
        let (mut p, mut q) = (Vec::new(), Vec::new());
        log_softmax(&[0.0, f32::NEG_INFINITY], &mut p);
        log_softmax(&[0.0, 0.0], &mut q);
        assert!((divergence(&p, &q) - 2f64.ln()).abs() < 1e-12);
        assert_eq!(divergence(&p, &p), 0.0);
        assert_eq!(divergence(&q, &p), f64::INFINITY);
    }

    #[test]
    fn divergences_are_summed_up() {
        assert_eq!(Scores::default().divergences(), None);
        let scored = |divergences: &[f64]| {
            Scores { divergences: divergences.to_vec(), ..Scores::default() }.divergences().unwrap()
        };
        assert_eq!(scored(&[3.0]), Divergences { mean: 3.0, median: 3.0, p99: 3.0, max: 3.0 });
        assert_eq!(
            scored(&[4.0, 1.0, 2.0]),
            Divergences { mean: 7.0 / 3.0, median: 2.0, p99: 4.0, max: 4.0 }
        );
        let hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(scored(&hundred), Divergences { mean: 49.5, median: 49.5, p99: 98.0, max: 99.0 });
    }

    #[test]
    fn the_best_token_is_the_first_of_equals() {
        let mut scores = Scores::default();
        for (predicted, reference) in [([-1.0, -1.0], [-0.5, -2.0]), ([-2.0, -1.0], [-1.0, -1.0])] {
            scores.add(0, &predicted, &reference);
        }
        assert_eq!(scores.top1(), 0.5);
    }
}
