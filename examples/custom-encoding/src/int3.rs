//! The encoding `acme.int3`.

use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::{EncodingSpec, Importance, QuantizationEncoding, Result, Rows};

/// Values in a block.
pub(crate) const BLOCK_LEN: usize = 32;
/// Bytes of a block: the scale as f16, then three planes of 32 bits, all little-endian.
pub(crate) const BLOCK_BYTES: usize = 2 + 3 * 4;
/// The code of zero.
pub(crate) const ZERO: f32 = 4.0;
/// The highest code.
const MAX_CODE: f32 = 7.0;

/// 3-bit integers with a scale for each 32 values.
///
/// A value is stored as a code of 0 to 7 and stands for `(code - 4) * scale`. Bit `b` of the code of value `i` is bit `i` of the
/// block's plane `b`. The scale may be negative, so that the longer side of the range, -4, can serve either sign.
#[derive(Clone, Copy, Default)]
pub struct Int3;

impl QuantizationEncoding for Int3 {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("acme.int3", BLOCK_LEN, BLOCK_BYTES)
            .importance(Importance::Optional)
            .summary("3-bit integers with an f16 scale for each 32")
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let mut blocks = dst.as_chunks_mut::<BLOCK_BYTES>().0.iter_mut();
        for row in rows {
            for (index, values) in row.as_chunks::<BLOCK_LEN>().0.iter().enumerate() {
                let weights = importance.map_or(&[1.0; BLOCK_LEN], |all| &all.as_chunks().0[index]);
                let scale = best_scale(values, weights);
                if let Some(block) = blocks.next() {
                    pack(scale, codes(values, scale), block);
                }
            }
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let (blocks, dst) = (blocks.as_chunks::<BLOCK_BYTES>().0, dst.as_chunks_mut::<BLOCK_LEN>().0);
        for (block, values) in blocks.iter().zip(dst) {
            let (scale, codes) = unpack(block);
            *values = codes.map(|code| (f32::from(code) - ZERO) * scale.to_f32());
        }
        Ok(())
    }
}

/// The scale with the least weighted squared error of those that were tried: the value of largest magnitude is put at many
/// places inside and outside the codes' range, and for the codes that this gives the best scale is the least-squares one.
fn best_scale(values: &[f32; BLOCK_LEN], weights: &[f32; BLOCK_LEN]) -> f16 {
    let peak = values.iter().fold(0f32, |peak, value| if value.abs() > peak.abs() { *value } else { peak });
    let (mut best, mut least) = (f16::ZERO, squared_error(values, weights, f16::ZERO));
    for tenths in 20..=45u8 {
        let level = f32::from(tenths) / 10.0;
        for first in [-peak / level, peak / level] {
            let scale = least_squares(values, weights, storable(first));
            let error = squared_error(values, weights, scale);
            if error < least {
                (best, least) = (scale, error);
            }
        }
    }
    best
}

/// The scale that fits the values best with the codes that `scale` gives them.
fn least_squares(values: &[f32; BLOCK_LEN], weights: &[f32; BLOCK_LEN], scale: f16) -> f16 {
    let (mut products, mut squares) = (0f64, 0f64);
    for ((value, weight), code) in values.iter().zip(weights).zip(codes(values, scale)) {
        let level = f64::from(code) - f64::from(ZERO);
        products += f64::from(*weight) * f64::from(*value) * level;
        squares += f64::from(*weight) * level * level;
    }
    if squares > 0.0 { storable((products / squares) as f32) } else { scale }
}

fn squared_error(values: &[f32; BLOCK_LEN], weights: &[f32; BLOCK_LEN], scale: f16) -> f64 {
    let mut sum = 0f64;
    for ((value, weight), code) in values.iter().zip(weights).zip(codes(values, scale)) {
        let error = f64::from(*value) - f64::from((f32::from(code) - ZERO) * scale.to_f32());
        sum += f64::from(*weight) * error * error;
    }
    sum
}

/// The nearest scale that a block can store.
fn storable(scale: f32) -> f16 {
    f16::from_f32(scale.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// The code nearest to each value.
fn codes(values: &[f32; BLOCK_LEN], scale: f16) -> [u8; BLOCK_LEN] {
    let inverse = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    // The conversion cuts off the fraction, and takes what is below 0 as 0.
    values.map(|value| (value * inverse + ZERO + 0.5).min(MAX_CODE) as u8)
}

fn pack(scale: f16, codes: [u8; BLOCK_LEN], block: &mut [u8; BLOCK_BYTES]) {
    let mut planes = [0u32; 3];
    for (index, code) in codes.into_iter().enumerate() {
        for (bit, plane) in planes.iter_mut().enumerate() {
            *plane |= (u32::from(code) >> bit & 1) << index;
        }
    }
    block[..2].copy_from_slice(&scale.to_le_bytes());
    for (bytes, plane) in block[2..].as_chunks_mut::<4>().0.iter_mut().zip(planes) {
        *bytes = plane.to_le_bytes();
    }
}

/// Byte `i` of entry `bits` is bit `i` of `bits`: eight codes are put together at once.
const SPREAD: [u64; 256] = {
    let mut spread = [0; 256];
    let mut bits = 0;
    while bits < 256 {
        let mut i = 0;
        while i < 8 {
            spread[bits] |= (bits as u64 >> i & 1) << (8 * i);
            i += 1;
        }
        bits += 1;
    }
    spread
};

/// The scale and the codes of a block.
pub(crate) fn unpack(block: &[u8; BLOCK_BYTES]) -> (f16, [u8; BLOCK_LEN]) {
    let mut codes = [0; BLOCK_LEN];
    for (index, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let [low, middle, high] = [2, 6, 10].map(|plane| SPREAD[usize::from(block[plane + index])]);
        *codes = (low | middle << 1 | high << 2).to_le_bytes();
    }
    (f16::from_le_bytes([block[0], block[1]]), codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitquilt_plugin_kit::TestHost;

    fn host() -> TestHost {
        TestHost::new([crate::plugin()]).unwrap()
    }

    /// Sums of uniform values, which are nearly normal, with a standard deviation of 1.
    fn normal(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum()).collect()
    }

    fn round_trip(values: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
        let host = host();
        let encoding = host.encoding("acme.int3").unwrap().encoding();
        let mut blocks = vec![0xFF; values.len() / BLOCK_LEN * BLOCK_BYTES];
        encoding.quantize(Rows::new(values, values.len()).unwrap(), importance, &mut blocks).unwrap();
        let mut decoded = vec![f32::NAN; values.len()];
        encoding.dequantize(&blocks, &mut decoded).unwrap();
        decoded
    }

    fn error(values: &[f32], decoded: &[f32], weights: &[f32]) -> f64 {
        let squares = |value: f32, weight: f32| f64::from(weight) * f64::from(value) * f64::from(value);
        let differences = values.iter().zip(decoded).map(|(a, b)| a - b);
        let error: f64 = differences.zip(weights).map(|(value, weight)| squares(value, *weight)).sum();
        let size: f64 = values.iter().zip(weights).map(|(value, weight)| squares(*value, *weight)).sum();
        (error / size).sqrt()
    }

    #[test]
    fn a_block_is_three_and_a_half_bits_a_value() {
        assert_eq!(host().encoding("acme.int3").unwrap().spec().bits_per_value(), 3.5);
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut codes = [4; BLOCK_LEN];
        (codes[0], codes[1], codes[31]) = (7, 1, 2);
        let mut block = [0xFF; BLOCK_BYTES];
        pack(f16::from_f32(-0.5), codes, &mut block);
        let expected = [0x00, 0xB8, 0x03, 0, 0, 0x00, 0x01, 0, 0, 0x80, 0xFD, 0xFF, 0xFF, 0x7F];
        assert_eq!(block, expected);
        assert_eq!(unpack(&block), (f16::from_f32(-0.5), codes));
    }

    #[test]
    fn values_on_the_levels_come_back() {
        for scale in [0.25f32, -0.25, 1024.0, 0.0] {
            let values: Vec<f32> = (0..96).map(|index| ((index * 5 % 8) as f32 - 4.0) * scale).collect();
            assert_eq!(round_trip(&values, None), values);
        }
    }

    #[test]
    fn what_was_decoded_is_encoded_without_loss() {
        let decoded = round_trip(&normal(BLOCK_LEN * 64), None);
        assert_eq!(round_trip(&decoded, None), decoded);
    }

    #[test]
    fn the_error_is_that_of_a_good_three_bit_rounding() {
        let values = normal(BLOCK_LEN * 256);
        let ones = vec![1.0; values.len()];
        let relative = error(&values, &round_trip(&values, None), &ones);
        // The best uniform quantizer of eight levels has 0.1935 for one scale over all; a scale for each 32 does better.
        assert!(relative < 0.17, "{relative}");
    }

    #[test]
    fn importance_lowers_the_error_where_it_is_large() {
        let values = normal(BLOCK_LEN * 64);
        let weights: Vec<f32> = (0..values.len()).map(|i| if i % 5 == 0 { 20.0 } else { 1.0 }).collect();
        let (with, without) = (round_trip(&values, Some(&weights)), round_trip(&values, None));
        assert!(error(&values, &with, &weights) < 0.95 * error(&values, &without, &weights));
    }

    #[test]
    fn extreme_values_stay_finite() {
        for value in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-30, 70_000.0, 3e5] {
            let decoded = round_trip(&[value; BLOCK_LEN], None);
            assert!(
                decoded.iter().all(|got| got.is_finite() && got.abs() <= 4.0 * f16::MAX.to_f32()),
                "{value}"
            );
        }
    }

    #[test]
    fn any_bytes_decode() {
        for fill in 0..=255 {
            let mut decoded = [0f32; 2 * BLOCK_LEN];
            Int3.dequantize(&[fill; 2 * BLOCK_BYTES], &mut decoded).unwrap();
        }
    }
}
