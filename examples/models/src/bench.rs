//! How fast a model is, and how much memory the process has had.

use std::time::{Duration, Instant};

use crate::runner::{FeedError, Runner};

/// The times of some repetitions of the same work, in order of length.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    tokens: usize,
    times: Vec<Duration>,
}

/// The time in which a prompt of so many tokens is fed, `repetitions` times after one that is not counted.
pub fn prefill(
    runner: &mut Runner,
    vocabulary: usize,
    tokens: usize,
    repetitions: usize,
) -> Result<Times, FeedError> {
    let prompt = spread(tokens, vocabulary);
    Times::of(runner, tokens, repetitions, |runner| match prompt.is_empty() {
        true => Ok(()),
        false => runner.feed(&prompt).map(drop),
    })
}

/// The time in which so many tokens are fed one by one, from an empty context; `repetitions` times after one that is not counted.
pub fn decode(
    runner: &mut Runner,
    vocabulary: usize,
    tokens: usize,
    repetitions: usize,
) -> Result<Times, FeedError> {
    let told = spread(tokens, vocabulary);
    Times::of(runner, tokens, repetitions, |runner| {
        told.iter().try_for_each(|token| runner.feed(&[*token]).map(drop))
    })
}

/// Any tokens will do; these are spread over the vocabulary.
fn spread(count: usize, vocabulary: usize) -> Vec<i32> {
    (0..count).map(|index| (index * 7919 % vocabulary) as i32).collect()
}

impl Times {
    fn of(
        runner: &mut Runner,
        tokens: usize,
        repetitions: usize,
        run: impl Fn(&mut Runner) -> Result<(), FeedError>,
    ) -> Result<Self, FeedError> {
        let mut times = Vec::new();
        for repetition in 0..=repetitions {
            runner.restart();
            let begin = Instant::now();
            run(runner)?;
            if repetition > 0 {
                times.push(begin.elapsed());
            }
        }
        times.sort();
        Ok(Self { tokens, times })
    }

    /// The number of tokens of each repetition.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The median rate in tokens a second, the lowest and the highest; none without repetitions.
    pub fn rates(&self) -> Option<[f64; 3]> {
        let rate = |time: &Duration| self.tokens as f64 / time.as_secs_f64().max(1e-9);
        let (first, last) = (self.times.first()?, self.times.last()?);
        Some([rate(&self.times[self.times.len() / 2]), rate(last), rate(first)])
    }
}

/// The most bytes of the process that were resident, those of mapped files included; none where the system does not say.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_times() {
        let times = [1, 2, 4].map(Duration::from_secs).to_vec();
        assert_eq!(Times { tokens: 8, times }.rates(), Some([4.0, 2.0, 8.0]));
        assert_eq!(Times { tokens: 8, times: Vec::new() }.rates(), None);
    }
}
