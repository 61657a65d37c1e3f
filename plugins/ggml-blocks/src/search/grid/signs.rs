//! The signs of a group of 8 values, a bit each.

/// Which signs a format can store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signs {
    /// Any: 8 bits a group.
    Free,
    /// An even number of minus signs: 7 bits a group, the last sign follows.
    Even,
}

impl Signs {
    /// The bits of a group that are stored.
    pub(crate) const fn mask(self) -> u8 {
        match self {
            Self::Free => 0xff,
            Self::Even => 0x7f,
        }
    }

    /// Splits a group into magnitudes and the stored bits of its signs.
    ///
    /// Where an odd number of minus signs cannot be stored, the value that weighs least, `weight * x^2`, takes the
    /// other sign, and its magnitude is negative.
    #[inline(always)]
    pub(crate) fn split(self, x: &[f32; 8], weights: &[f32; 8]) -> ([f32; 8], u8) {
        let mut bits = x.iter().zip(0..).fold(0, |bits, (&x, i)| bits | (u8::from(x < 0.0) << i));
        let mut magnitudes = x.map(f32::abs);
        if self == Self::Even && bits.count_ones() % 2 == 1 {
            let weight = |i: usize| weights[i] * x[i] * x[i];
            let least = (1..8).fold(0, |least, i| if weight(i) < weight(least) { i } else { least });
            magnitudes[least] = -magnitudes[least];
            bits ^= 1 << least;
        }
        (magnitudes, bits & self.mask())
    }
}

/// All 8 bits of signs of which the low 7 are given and an even number is set.
#[inline(always)]
pub(crate) const fn even_signs(low: u8) -> u8 {
    let low = low & 0x7f;
    low | ((low.count_ones() as u8 & 1) << 7)
}

/// The values, which are positive, with the signs of these bits.
#[inline(always)]
pub(crate) fn signed(values: [i8; 8], signs: u8) -> [i8; 8] {
    let minus = u64::from_le_bytes(MINUS[usize::from(signs)]);
    // Two's complement, byte by byte: no byte carries into the next, as no value is 0.
    let flipped = u64::from_le_bytes(values.map(|value| value as u8)) ^ minus;
    (flipped + (minus & 0x0101_0101_0101_0101)).to_le_bytes().map(|byte| byte as i8)
}

/// For each byte of signs a byte for each value: all ones for a minus, else 0.
static MINUS: [[u8; 8]; 256] = {
    let mut bytes = [[0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        if (at / 8) >> (at % 8) & 1 == 1 {
            bytes[at / 8][at % 8] = 0xff;
        }
        at += 1;
    }
    bytes
};
