//! The difference of two weights, of which a part is decoded at a time.

use bitquilt_plugin_api::host::in_default_control;
use rayon::prelude::*;

use super::difference::Difference;
use super::histogram::Tally;
use crate::encoding::{Decoder, QuantizeError};

/// Values that a thread takes at a time, at least.
const CHUNK_VALUES: usize = 1 << 16;

/// Why two weights have no difference.
pub(super) enum Fault {
    /// A value is NaN or infinite: whether it is the reference's, its index, and it.
    NotFinite { of_reference: bool, index: usize, value: f32 },
    /// The reference's blocks were not decoded, or those of the other.
    Decode { of_reference: bool, source: QuantizeError },
}

/// The difference of two weights of so many values, which are also counted if there is a tally.
pub(super) fn difference(
    reference: &Decoder<'_>,
    other: &Decoder<'_>,
    values: usize,
    tally: Option<&Tally>,
) -> Result<Difference, Fault> {
    // Rows are whole blocks of both, so that this is no longer than a row.
    let together = lcm(reference.block_len(), other.block_len());
    let step = CHUNK_VALUES.next_multiple_of(together);
    let part = |(a, b): &mut (Vec<f32>, Vec<f32>), chunk: usize| {
        let range = chunk * step..values.min(chunk * step + step);
        let decode = |of_reference| move |source| Fault::Decode { of_reference, source };
        let a = reference.read(range.clone(), a).map_err(decode(true))?;
        let b = other.read(range.clone(), b).map_err(decode(false))?;
        let sums = Difference::of(a, b);
        if !sums.is_finite() {
            return Err(first_not_finite(a, b, range.start));
        }
        if let Some(tally) = tally {
            tally.add(a, b);
        }
        Ok(sums)
    };
    let parts: Vec<_> = (0..values.div_ceil(step))
        .into_par_iter()
        .map_init(Default::default, |buffers, chunk| in_default_control("comparing", || part(buffers, chunk)))
        .collect();
    // In the order of the values, so that the sums and the first fault are the same for any number of threads.
    parts.into_iter().try_fold(Difference::default(), |sum, part| Ok(sum.and(&part?)))
}

fn first_not_finite(reference: &[f32], other: &[f32], begin: usize) -> Fault {
    let pairs = reference.iter().zip(other).enumerate();
    let first = pairs.map(|(at, (a, b))| (at, *a, *b)).find(|(_, a, b)| !a.is_finite() || !b.is_finite());
    let (at, a, b) = first.unwrap_or_default();
    let of_reference = !a.is_finite();
    Fault::NotFinite { of_reference, index: begin + at, value: if of_reference { a } else { b } }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor.max(1) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_common_multiples() {
        for (a, b, expected) in [(1, 1, 1), (32, 256, 256), (256, 32, 256), (48, 32, 96), (7, 5, 35)] {
            assert_eq!(lcm(a, b), expected, "{a} {b}");
        }
    }
}
