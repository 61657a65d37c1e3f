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

/// The Kullback-Leibler divergence of `q` from `p`, in nats: `sum(exp(p) * (p - q))`, of logarithms of probabilities.
pub fn divergence(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Sums over the tokens of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scores {
    tokens: usize,
    /// The negative logarithms of the probabilities of the tokens.
    surprise: f64,
    divergence: f64,
}

impl Scores {
    /// Adds a token: the logarithms of the probabilities that were predicted for it, and those of the model to compare with.
    pub fn add(&mut self, token: usize, predicted: &[f64], reference: &[f64]) {
        self.tokens += 1;
        self.surprise -= predicted[token];
        self.divergence += divergence(reference, predicted);
    }

    /// Tokens that were added.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// `exp` of the mean surprise.
    pub fn perplexity(&self) -> f64 {
        (self.surprise / self.tokens as f64).exp()
    }

    /// The mean divergence from the reference, in nats a token.
    pub fn divergence(&self) -> f64 {
        self.divergence / self.tokens as f64
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
}
