//! Importance as encodings are given it: in a range in which their f32 arithmetic neither overflows nor underflows.

use std::borrow::Cow;
use std::ops::Range;

use bitquilt_plugin_api::host::in_default_control;
use bitquilt_plugin_api::{EncodingSpec, Importance};

use super::warning::Indices;

/// What the largest weight of a vector may be: `2^-10` to `2^10`. Encodings that search for scales compare products of several weights and
/// squares of values.
const SANE: Range<f32> = 0.000_976_562_5..1024.0;

/// The least that the largest weight of a block may be, as a part of the vector's: `2^-20`.
const FAINT_BLOCK: f32 = 9.536_743e-7;

/// Columns that may share a scale of their own: no format has fewer of them.
const GROUP: usize = 16;

/// The least that the largest weight of a group may be, as a part of the block's: `2^-30`.
const FAINT_GROUP: f32 = 9.313_226e-10;

/// The importance of a tensor's columns: of all its rows, or of those of each of its matrices.
pub(super) struct MatrixImportance<'a> {
    /// One for all, or one for each. None where there is no importance.
    vectors: Vec<Option<Tamed<'a>>>,
}

impl<'a> MatrixImportance<'a> {
    /// Weights that were checked: as many as columns, or as many for each matrix.
    pub(super) fn of(spec: &EncodingSpec, shape: &[usize], weights: Option<&'a [f32]>) -> Self {
        let weights = weights.filter(|weights| spec.importance != Importance::Ignored && !weights.is_empty());
        let Some(weights) = weights else { return Self { vectors: vec![None] } };
        let vectors = vectors_of(shape, weights.len());
        let vector = |vector| {
            vector_of(spec, Some(weights), vectors, vector).map(|weights| tame(weights, spec.block_len))
        };
        Self { vectors: in_default_control("the importance", || (0..vectors).map(vector).collect()) }
    }

    /// The number of vectors: 1, or that of the matrices.
    pub(super) fn len(&self) -> usize {
        self.vectors.len()
    }

    /// A weight for each column.
    pub(super) fn of_matrix(&self, matrix: usize) -> Option<&[f32]> {
        self.vectors.get(matrix)?.as_ref().map(|tamed| &*tamed.weights)
    }

    /// The first blocks that had no weight above zero.
    pub(super) fn zero_blocks(self) -> Option<Indices> {
        self.vectors.into_iter().flatten().find_map(|tamed| tamed.zero_blocks)
    }
}

/// One of several vectors for the columns of a tensor. None for a matrix that is encoded without importance, since it has no weight but
/// zeros and the encoding does not demand any.
pub(crate) fn vector_of<'a>(
    spec: &EncodingSpec,
    weights: Option<&'a [f32]>,
    vectors: usize,
    index: usize,
) -> Option<&'a [f32]> {
    let weights = weights?;
    let columns = weights.len() / vectors;
    let vector = &weights[index * columns..][..columns];
    let is_plain = vectors > 1 && spec.importance != Importance::Required && greatest(vector) == 0.0;
    (!is_plain).then_some(vector)
}

/// How many vectors for the columns of a tensor `weights` weights are: 1, or as many as it has matrices.
pub(crate) fn vectors_of(shape: &[usize], weights: usize) -> usize {
    match shape {
        [matrices, _, columns] if *matrices > 1 && columns.checked_mul(*matrices) == Some(weights) => {
            *matrices
        }
        _ => 1,
    }
}

/// Importance, and where it was silent.
pub(super) struct Tamed<'a> {
    /// A weight for each column.
    pub(super) weights: Cow<'a, [f32]>,
    /// The blocks of columns that had no weight above zero.
    pub(super) zero_blocks: Option<Indices>,
}

/// Brings finite weights that are not negative into a sane range; only ratios of them mean anything.
///
/// A vector whose largest weight is out of range is multiplied by a power of four: encodings take products, quotients and square roots
/// of weights, all of which keep their digits then. Blocks and groups of columns that would have no weight to speak of beside the others
/// are raised likewise to the least that still compares; where all their weights are zero, their columns count alike.
pub(super) fn tame(weights: &[f32], block_len: usize) -> Tamed<'_> {
    let silent = |(_, block): &(usize, &[f32])| greatest(block) == 0.0;
    let zero_blocks = weights
        .chunks(block_len)
        .enumerate()
        .filter(silent)
        .fold(None, |set, (index, _)| Some(Indices::join(set, Indices::one(index))));
    let largest = greatest(weights);
    let group_len = if block_len.is_multiple_of(GROUP) { GROUP } else { block_len };
    let sane = |block: &[f32]| {
        let of_block = greatest(block);
        of_block >= FAINT_BLOCK * largest
            && block.chunks(group_len).all(|group| greatest(group) >= FAINT_GROUP * of_block)
    };
    if SANE.contains(&largest) && weights.chunks(block_len).all(sane) {
        return Tamed { weights: weights.into(), zero_blocks };
    }
    let mut weights = weights.to_vec();
    scale_to(1.0, &mut weights);
    for block in weights.chunks_mut(block_len) {
        raise(block, FAINT_BLOCK);
        let least = FAINT_GROUP * greatest(block);
        block.chunks_mut(group_len).for_each(|group| raise(group, least));
    }
    Tamed { weights: weights.into(), zero_blocks }
}

/// Scales weights whose greatest is below `least` to that.
fn raise(weights: &mut [f32], least: f32) {
    if greatest(weights) < least {
        scale_to(least, weights);
    }
}

fn greatest(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |greatest, weight| weight.max(greatest))
}

/// Multiplies weights by a power of four, exactly, so that the greatest is within a factor of two of `target`. Zeros become `target`.
fn scale_to(target: f32, weights: &mut [f32]) {
    let greatest = greatest(weights);
    if greatest == 0.0 {
        return weights.fill(target);
    }
    let ratio = f64::from(target) / f64::from(greatest);
    let factor = 4f64.powi((ratio.log2() / 2.0).round() as i32);
    for weight in weights {
        *weight = (f64::from(*weight) * factor) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(count: usize) -> Vec<f32> {
        (0..count).map(|i| 0.25 + (i * 37 % 101) as f32 / 50.0).collect()
    }

    #[test]
    fn ordinary_vectors_are_not_touched() {
        let mut weights = ramp(512);
        // Single zeros are ordinary.
        weights[3..9].fill(0.0);
        for scale in [0.01, 1.0, 300.0] {
            let weights: Vec<f32> = weights.iter().map(|weight| weight * scale).collect();
            let tamed = tame(&weights, 256);
            assert!(matches!(tamed.weights, Cow::Borrowed(_)), "{scale}");
            assert_eq!(tamed.zero_blocks, None);
        }
    }

    #[test]
    fn a_power_of_four_is_all_that_changes() {
        let weights = ramp(64);
        for exponent in (-120..=120).step_by(2) {
            let scaled: Vec<f32> = weights.iter().map(|weight| weight * 2f32.powi(exponent)).collect();
            let tamed = tame(&scaled, 32).weights;
            assert!(SANE.contains(&greatest(&tamed)), "{exponent}");
            let factor = tamed[0] / weights[0];
            assert_eq!(factor.log2() % 2.0, 0.0, "{exponent}");
            assert!(
                tamed.iter().zip(&weights).all(|(tamed, weight)| *tamed == weight * factor),
                "{exponent}"
            );
        }
        for (extreme, count) in [(1e-45f32, 32), (f32::MAX, 32), (f32::MIN_POSITIVE, 5)] {
            let tamed = tame(&vec![extreme; count], count).weights.into_owned();
            assert!(tamed.iter().all(|weight| (0.25..=4.0).contains(weight)), "{extreme}: {tamed:?}");
        }
    }

    #[test]
    fn silent_groups_count_alike_and_blocks_are_named() {
        let mut weights = ramp(1024);
        weights[16..32].fill(0.0);
        weights[256..768].fill(0.0);
        weights[1008..1024].fill(1e-30);
        let Tamed { weights: tamed, zero_blocks } = tame(&weights, 256);
        assert_eq!(zero_blocks, Some(Indices { first: 1, last: 2, count: 2 }));
        for (group, least) in [(16..32, 1e-9), (256..512, 1e-6), (512..768, 1e-6), (1008..1024, 1e-9)] {
            let first = tamed[group.start];
            assert!((least / 5.0..least * 5.0).contains(&first), "{group:?}: {first}");
            assert!(tamed[group].iter().all(|weight| *weight == first));
        }
        for same in [0..16, 32..256, 768..1008] {
            let factor = tamed[same.start] / weights[same.start];
            assert!(same.clone().all(|i| tamed[i] == weights[i] * factor), "{same:?}");
        }

        // Blocks of any length.
        let tamed = tame(&[0.0, 0.0, 0.0, 2.0, 1.0, 0.0], 3);
        assert_eq!(tamed.zero_blocks, Some(Indices::one(0)));
        assert_eq!(tamed.weights[3] / tamed.weights[4], 2.0);
        assert!(tamed.weights[..3].iter().all(|weight| *weight == FAINT_BLOCK) && tamed.weights[5] == 0.0);

        let Tamed { weights, zero_blocks } = tame(&[0.0; 64], 32);
        assert!(weights.iter().all(|weight| *weight == weights[0] && *weight > 0.0));
        assert_eq!(zero_blocks, Some(Indices { first: 0, last: 1, count: 2 }));
    }
}
