//! What the blocks of an encoding unpack to, for kernels that know nothing else of them: codes, scales and minima.

use crate::{Error, Result};

/// What [`QuantizationEncoding::unpack`](crate::QuantizationEncoding::unpack) gives: a block is cut into groups of
/// [`group_len`](Self::group_len) values, and a value is `(code - code_offset) * scale + min` with the scale and the minimum of its group.
///
/// ```
/// use bitquilt_plugin_api::{EncodingSpec, Unpacking};
///
/// let spec = EncodingSpec::new("my.log4", 64, 34).unpacking(Unpacking::new(32, 4).offset(8));
/// assert_eq!(spec.unpacking.and_then(|unpacking| unpacking.problem(spec.block_len)), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacking {
    /// Values that share a scale and a minimum: a multiple of 16 that divides a block, which has a multiple of 32.
    pub group_len: usize,
    /// Bits of a code, 1 to 8: codes are from 0 to `2^code_bits - 1`.
    pub code_bits: u32,
    /// What is taken from each code: a code itself.
    pub code_offset: u32,
    /// Whether groups have minima; where they have none, nothing is added.
    pub has_min: bool,
}

impl Unpacking {
    /// Codes of so many bits, from which nothing is taken, and a scale for each group of `group_len` values.
    pub const fn new(group_len: usize, code_bits: u32) -> Self {
        Self { group_len, code_bits, code_offset: 0, has_min: false }
    }

    /// Sets what is taken from each code.
    #[must_use]
    pub const fn offset(self, code_offset: u32) -> Self {
        Self { code_offset, ..self }
    }

    /// Gives each group a minimum.
    #[must_use]
    pub const fn with_min(self) -> Self {
        Self { has_min: true, ..self }
    }

    /// The largest code; of bits that no code has, 0 or 255.
    pub fn largest_code(self) -> u8 {
        match self.code_bits {
            0 => 0,
            bits @ 1..=8 => u8::MAX >> (8 - bits),
            _ => u8::MAX,
        }
    }

    /// What is wrong with it, for blocks of `block_len` values; none if it makes sense.
    pub fn problem(self, block_len: usize) -> Option<String> {
        let Self { group_len, code_bits, code_offset, .. } = self;
        if !(1..=8).contains(&code_bits) {
            return Some(format!("its codes have {code_bits} bits; 1 to 8 are expected"));
        }
        if code_offset > self.largest_code().into() {
            return Some(format!(
                "{code_offset} is taken from its codes, which are from 0 to {}; one of them is expected",
                self.largest_code()
            ));
        }
        if !block_len.is_multiple_of(32) {
            return Some(format!("its blocks have {block_len} values; a multiple of 32 is expected"));
        }
        let divides = block_len.checked_rem(group_len) == Some(0);
        (!divides || !group_len.is_multiple_of(16)).then(|| {
            format!(
                "its groups have {group_len} values; a multiple of 16 that divides {block_len}, the values of a block, is expected"
            )
        })
    }

    /// The value of a code.
    pub fn value(self, code: u8, scale: f32, min: f32) -> f32 {
        (f32::from(code) - self.code_offset as f32) * scale + min
    }

    /// Whether `decoded`, which `dequantize` says, is the value of a code, to within a few roundings of the terms that it is the sum of;
    /// or neither is a finite number.
    pub fn agrees(self, code: u8, scale: f32, min: f32, decoded: f32) -> bool {
        let (scale, min) = (f64::from(scale), f64::from(min));
        let product = (f64::from(code) - f64::from(self.code_offset)) * scale;
        // 2^-20 of the terms; below the least normal number there are fewer digits.
        let allowed = (product.abs() + min.abs()) / f64::from(1 << 20) + f64::from(f32::MIN_POSITIVE);
        let value = product + min;
        (value - f64::from(decoded)).abs() <= allowed
            || value.abs() > f64::from(f32::MAX) && !decoded.is_finite()
    }
}

/// Where blocks are unpacked to, block after block, in order.
#[derive(Debug)]
pub struct Unpacked<'a> {
    /// A code for each value.
    pub codes: &'a mut [u8],
    /// A scale for each group.
    pub scales: &'a mut [f32],
    /// A minimum for each group; empty where the encoding has none.
    pub mins: &'a mut [f32],
}

impl Unpacked<'_> {
    /// Checks that there is room for `blocks` blocks of `block_len` values of the encoding `name`.
    pub(crate) fn check_room(
        &self,
        name: &str,
        of: Unpacking,
        block_len: usize,
        blocks: usize,
    ) -> Result<()> {
        if let Some(problem) = of.problem(block_len) {
            return Err(Error::invalid(format_args!("`{name}` cannot unpack its blocks: {problem}")));
        }
        let groups = block_len / of.group_len * blocks;
        let expected = [block_len * blocks, groups, if of.has_min { groups } else { 0 }];
        let found = [self.codes.len(), self.scales.len(), self.mins.len()];
        if found == expected {
            return Ok(());
        }
        let room =
            |[codes, scales, mins]: [usize; 3]| format!("{codes} codes, {scales} scales and {mins} minima");
        Err(Error::invalid(format_args!(
            "{blocks} blocks of `{name}` unpack to {}; there is room for {}",
            room(expected),
            room(found)
        )))
    }

    /// Checks what was unpacked: codes have their bits, scales and minima are finite.
    pub(crate) fn check(&self, name: &str, of: Unpacking, block_len: usize) -> Result<()> {
        let largest = of.largest_code();
        if let Some(index) = self.codes.iter().position(|code| *code > largest) {
            return Err(Error::failed(format_args!(
                "`unpack` of `{name}` gave value {} of block {} the code {}; codes of {} bits are from 0 to {largest}",
                index % block_len,
                index / block_len,
                self.codes[index],
                of.code_bits
            )));
        }
        let groups = block_len / of.group_len;
        for (what, factors) in [("scale", &*self.scales), ("minimum", &*self.mins)] {
            if let Some(index) = factors.iter().position(|factor| !factor.is_finite()) {
                return Err(Error::failed(format_args!(
                    "`unpack` of `{name}` gave group {} of block {} the {what} {}; a finite number is expected",
                    index % groups,
                    index / groups,
                    factors[index]
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said() {
        let sane = Unpacking::new(32, 4);
        for (unpacking, block_len, problem) in [
            (sane, 64, ""),
            (Unpacking::new(16, 8).offset(255).with_min(), 32, ""),
            (Unpacking::new(48, 1), 96, ""),
            (Unpacking::new(32, 0), 64, "its codes have 0 bits"),
            (Unpacking::new(32, 9), 64, "its codes have 9 bits"),
            (sane.offset(16), 64, "16 is taken from its codes, which are from 0 to 15"),
            (sane, 48, "its blocks have 48 values"),
            (Unpacking::new(0, 4), 64, "its groups have 0 values"),
            (Unpacking::new(24, 4), 96, "its groups have 24 values"),
            (Unpacking::new(64, 4), 96, "its groups have 64 values"),
        ] {
            let found = unpacking.problem(block_len);
            assert!(found.as_deref().unwrap_or_default().starts_with(problem), "{found:?}, not {problem}");
            assert_eq!(found.is_none(), problem.is_empty(), "{unpacking:?}");
        }
    }

    /// The sentence for blocks of 64 values of which two are unpacked into so much room, with a code and factors that are anything.
    fn said(of: Unpacking, room: [usize; 3], code: u8, scale: f32, min: f32) -> String {
        let (mut codes, mut scales, mut mins) = (vec![0; room[0]], vec![1.0; room[1]], vec![0.0; room[2]]);
        let last =
            |values: &mut Vec<f32>, value: f32| values.last_mut().into_iter().for_each(|last| *last = value);
        codes.last_mut().into_iter().for_each(|last| *last = code);
        last(&mut scales, scale);
        last(&mut mins, min);
        let unpacked = Unpacked { codes: &mut codes, scales: &mut scales, mins: &mut mins };
        let checked = unpacked.check_room("my.a", of, 64, 2).and_then(|()| unpacked.check("my.a", of, 64));
        checked.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_is_unpacked_is_checked() {
        let (plain, affine) = (Unpacking::new(32, 4), Unpacking::new(16, 8).with_min());
        for (of, room, (code, scale, min), sentence) in [
            (plain, [128, 4, 0], (15, 1.0, 0.0), ""),
            (affine, [128, 8, 8], (255, -1.0, -1.0), ""),
            (
                plain,
                [128, 4, 0],
                (16, 1.0, 0.0),
                "value 63 of block 1 the code 16; codes of 4 bits are from 0 to 15",
            ),
            (
                plain,
                [128, 4, 0],
                (0, f32::NAN, 0.0),
                "group 1 of block 1 the scale NaN; a finite number is expected",
            ),
            (affine, [128, 8, 8], (0, 1.0, f32::INFINITY), "group 3 of block 1 the minimum inf"),
            (
                plain,
                [127, 4, 0],
                (0, 1.0, 0.0),
                "128 codes, 4 scales and 0 minima; there is room for 127 codes, 4",
            ),
            (plain, [128, 5, 0], (0, 1.0, 0.0), "there is room for 128 codes, 5 scales and 0 minima"),
            (affine, [128, 8, 0], (0, 1.0, 0.0), "there is room for 128 codes, 8 scales and 0 minima"),
            (
                Unpacking::new(24, 4),
                [128, 8, 0],
                (0, 1.0, 0.0),
                "`my.a` cannot unpack its blocks: its groups have 24",
            ),
        ] {
            let said = said(of, room, code, scale, min);
            assert!(
                said.contains(sentence) && said.is_empty() == sentence.is_empty(),
                "{said}, not {sentence}"
            );
        }
    }

    #[test]
    fn values_agree_to_within_roundings() {
        let of = Unpacking::new(32, 4).offset(8).with_min();
        for (code, scale, min, decoded, agrees) in [
            (15, 0.1, 0.5, 7.0 * 0.1 + 0.5, true),
            (15, 0.1, 0.5, 1.2 * (1.0 + 1e-5), false),
            // The difference of large terms is rounded as they are.
            (0, 1.0, 8.000_001, 0.0, true),
            (8, 1.0, 0.0, 0.0, true),
            (8, 1.0, 0.0, f32::NAN, false),
            (15, f32::MAX, 0.0, f32::INFINITY, true),
            (15, f32::MAX, 0.0, 1.0, false),
        ] {
            assert_eq!(of.agrees(code, scale, min, decoded), agrees, "{code} {scale} {min} {decoded}");
        }
    }

    #[test]
    fn codes_of_each_width_have_a_largest() {
        let largest = [0, 1, 2, 3, 7, 8, 9].map(|bits| Unpacking::new(32, bits).largest_code());
        assert_eq!(largest, [0, 1, 3, 7, 127, 255, 255]);
    }
}
