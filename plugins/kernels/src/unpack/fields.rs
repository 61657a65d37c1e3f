//! The fields of prepared records: written a row at a time, read for all rows of a group at once.
//!
//! A field of `b` bytes takes `b` times the lanes, each lane's bytes together, wider ones in pieces of four bytes:
//! piece `i` of every lane, then piece `i + 1`.

use crate::arch::DotIsa;
use crate::form::STRIP_CODES;

/// Codes of one row's strip: byte `i` of word `k` is that of value `4 * k + i`.
pub type CodeWords = [u32; STRIP_CODES];

/// Splits bytes into words, byte `i` of word `k` being `bytes[4 * k + i]`.
pub fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// A table of signed values as unsigned codes: `offset` is added to each, and no sum is negative or above 255.
pub const fn offset_table(values: [i8; 16], offset: i32) -> [u8; 16] {
    let mut codes = [0; 16];
    let mut i = 0;
    while i < codes.len() {
        let code = values[i] as i32 + offset;
        assert!(0 <= code && code <= 255, "a code is a byte");
        codes[i] = code as u8;
        i += 1;
    }
    codes
}

/// What `code` makes of the values of a strip.
pub fn code_words(values: &[i8], code: impl Fn(i8) -> u8) -> CodeWords {
    let mut words = [0; STRIP_CODES];
    for (word, values) in words.iter_mut().zip(values.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(values.map(&code));
    }
    words
}

/// The codes of 16 bytes of nibbles: the low ones are values `0..16`, the high ones `16..32`.
pub fn split_nibbles(bytes: &[u8]) -> CodeWords {
    let packed: [u32; 4] = words(bytes);
    std::array::from_fn(|k| packed[k % 4] >> (k / 4 * 4) & 0x0f0f_0f0f)
}

/// Of each of 32 bytes the bits of `mask`, which is at most 8 bits wide, above the lowest `shift`.
pub fn bits_of(bytes: &[u8], shift: usize, mask: u32) -> CodeWords {
    let packed: CodeWords = words(bytes);
    packed.map(|word| word >> shift & (mask * 0x0101_0101))
}

/// 32 bits, one a code: bit `i` of the word is that of value `i`.
pub fn spread_bits(bytes: &[u8]) -> CodeWords {
    let [bits]: [u32; 1] = words(bytes);
    std::array::from_fn(|k| (0..4).fold(0, |word, i| word | (bits >> (4 * k + i) & 1) << (8 * i)))
}

/// Writes the fields of one row of a record.
pub struct FieldWriter<'a> {
    record: &'a mut [u8],
    at: usize,
    lanes: usize,
    lane: usize,
}

impl<'a> FieldWriter<'a> {
    /// Starts at the first field of `record`, for row `lane` of `lanes`.
    pub fn new(record: &'a mut [u8], lanes: usize, lane: usize) -> Self {
        Self { record, at: 0, lanes, lane }
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let at = self.at + N * self.lane;
        self.record[at..at + N].copy_from_slice(&bytes);
        self.at += N * self.lanes;
    }

    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.put([byte]);
    }

    /// Two bytes.
    pub fn byte_pair(&mut self, pair: [u8; 2]) {
        self.put(pair);
    }

    /// Eight numbers of 4 bits.
    pub fn eight_nibbles(&mut self, numbers: [u8; 8]) {
        let word = numbers.iter().rev().fold(0, |word, &number| word << 4 | u32::from(number & 15));
        self.put(word.to_le_bytes());
    }

    /// A half-precision float.
    pub fn half(&mut self, value: impl Into<half::f16>) {
        self.put(value.into().to_le_bytes());
    }

    /// A single-precision float.
    pub fn float(&mut self, value: f32) {
        self.put(value.to_ne_bytes());
    }

    /// The upper half of a float whose lower half is zero.
    pub fn bfloat(&mut self, value: half::bf16) {
        self.put(value.to_le_bytes());
    }

    /// Codes of 8 bits.
    pub fn bytes(&mut self, codes: CodeWords) {
        for word in codes {
            self.put(word.to_le_bytes());
        }
    }

    /// The lower 4 bits of the codes.
    pub fn nibbles(&mut self, codes: CodeWords) {
        for &[even, odd] in codes.as_chunks().0 {
            self.put((even & 0x0f0f_0f0f | (odd & 0x0f0f_0f0f) << 4).to_le_bytes());
        }
    }

    /// The lower 2 bits of the codes.
    pub fn crumbs(&mut self, codes: CodeWords) {
        for codes in codes.as_chunks::<4>().0 {
            let word = (0..4).fold(0, |word, i| word | (codes[i] & 0x0303_0303) << (2 * i));
            self.put(word.to_le_bytes());
        }
    }

    /// The lower 2 bits of the codes, those of either half of the strip where [`FieldReader::crumb_halves`] reads them.
    pub fn crumb_halves(&mut self, codes: CodeWords) {
        let (lower, upper) = codes.split_at(STRIP_CODES / 2);
        for (lower, upper) in lower.as_chunks::<2>().0.iter().zip(upper.as_chunks::<2>().0) {
            let [even, odd] = [0, 1].map(|i| lower[i] & 0x0303_0303 | (upper[i] & 0x0303_0303) << 2);
            self.put((even | odd << 4).to_le_bytes());
        }
    }

    /// The lower 3 bits of the codes, those of either half of the strip where [`FieldReader::octal_halves`] reads them.
    pub fn octal_halves(&mut self, codes: CodeWords) {
        let [l0, l1, l2, l3, u0, u1, u2, u3] = codes.map(|codes| codes & 0x0707_0707);
        let last = [l3 & 0x0303_0303, u3 & 0x0303_0303, l3 >> 2 & 0x0101_0101 | u3 >> 1 & 0x0202_0202];
        for (last, [lower, upper]) in last.into_iter().zip([[l0, u0], [l1, u1], [l2, u2]]) {
            self.put((lower | upper << 3 | last << 6).to_le_bytes());
        }
    }

    /// The lowest bit of the codes.
    pub fn bits(&mut self, codes: CodeWords) {
        let word = (0..8).fold(0, |word, i| word | (codes[i] & 0x0101_0101) << i);
        self.put(word.to_le_bytes());
    }
}

/// Reads the fields of a record, all rows at once.
///
/// That a field is there is known when the program is compiled, where the length of what is read is.
#[derive(Clone, Copy)]
pub struct FieldReader<'a, I> {
    /// The instruction set that reads them.
    pub isa: I,
    fields: &'a [u8],
    strip: usize,
}

impl<'a, I: DotIsa> FieldReader<'a, I> {
    /// Starts at the first of the fields.
    #[inline(always)]
    pub fn new(isa: I, fields: &'a [u8]) -> Self {
        Self { isa, fields, strip: 0 }
    }

    /// The same, being those of strip `strip` of its record.
    #[inline(always)]
    pub(crate) fn of_strip(self, strip: usize) -> Self {
        Self { strip, ..self }
    }

    /// Which strip of its record they are of.
    #[inline(always)]
    pub fn strip(&self) -> usize {
        self.strip
    }

    /// The next field, of `bytes` bytes a row.
    #[inline(always)]
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (field, rest) = self.fields.split_at(bytes * I::LANES);
        self.fields = rest;
        field
    }

    /// What [`FieldWriter::byte`] wrote.
    #[inline(always)]
    pub fn byte(&mut self) -> I::F32 {
        self.isa.load_u8(self.take(1))
    }

    /// What [`FieldWriter::byte`] wrote, as a signed number.
    #[inline(always)]
    pub fn signed_byte(&mut self) -> I::F32 {
        self.isa.load_i8(self.take(1))
    }

    /// The lower and the upper 4 bits of what [`FieldWriter::byte`] wrote, each as [`DotIsa::scale`] takes them.
    #[inline(always)]
    pub fn factors(&mut self) -> [I::Codes; 2] {
        let field = self.take(1);
        [self.isa.load_factors::<0>(field), self.isa.load_factors::<4>(field)]
    }

    /// The lower and the upper 4 bits of what [`FieldWriter::byte`] wrote, as [`DotIsa::dot_pair`] takes them.
    #[inline(always)]
    pub fn nibble_pair(&mut self) -> I::Codes {
        self.isa.load_nibble_pair(self.take(1))
    }

    /// What [`FieldWriter::byte_pair`] wrote, as [`DotIsa::dot_pair`] takes them.
    #[inline(always)]
    pub fn byte_pair(&mut self) -> I::Codes {
        self.isa.load_byte_pair(self.take(2))
    }

    /// What [`FieldWriter::byte_pair`] wrote, each byte in every code of its row.
    #[inline(always)]
    pub fn lane_bytes(&mut self) -> [I::Codes; 2] {
        self.isa.load_lane_bytes(self.take(2))
    }

    /// What [`FieldWriter::eight_nibbles`] wrote, as [`DotIsa::nibble`] takes them.
    #[inline(always)]
    pub fn eight_nibbles(&mut self) -> I::Codes {
        self.isa.load(self.take(4))
    }

    /// What [`FieldWriter::half`] wrote.
    #[inline(always)]
    pub fn half(&mut self) -> I::F32 {
        self.isa.load_f16(self.take(2))
    }

    /// What [`FieldWriter::float`] wrote.
    #[inline(always)]
    pub fn float(&mut self) -> I::F32 {
        self.isa.load_f32(self.take(4))
    }

    /// What [`FieldWriter::bfloat`] wrote.
    #[inline(always)]
    pub fn bfloat(&mut self) -> I::F32 {
        self.isa.load_bf16(self.take(2))
    }

    /// What [`FieldWriter::bytes`] wrote.
    #[inline(always)]
    pub fn bytes(&mut self) -> [I::Codes; STRIP_CODES] {
        let mut codes = [self.isa.splat(0); STRIP_CODES];
        for codes in &mut codes {
            *codes = self.isa.load(self.take(4));
        }
        codes
    }

    /// What [`FieldWriter::nibbles`] wrote.
    #[inline(always)]
    pub fn nibbles(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let mask = isa.splat(0x0f);
        let mut codes = [mask; STRIP_CODES];
        for [even, odd] in codes.as_chunks_mut().0 {
            let packed = isa.load(self.take(4));
            *even = isa.and(packed, mask);
            *odd = isa.and(isa.shr::<4>(packed), mask);
        }
        codes
    }

    /// What [`FieldWriter::nibbles`] wrote, doubled.
    #[inline(always)]
    pub fn doubled_nibbles(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let mask = isa.splat(0x0f << 1);
        let mut codes = [mask; STRIP_CODES];
        for [even, odd] in codes.as_chunks_mut().0 {
            let packed = isa.load(self.take(4));
            *even = isa.and(isa.shl::<1>(packed), mask);
            *odd = isa.and(isa.shr::<3>(packed), mask);
        }
        codes
    }

    /// What [`FieldWriter::crumbs`] wrote.
    #[inline(always)]
    pub fn low_crumbs(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let mask = isa.splat(3);
        let mut codes = [mask; STRIP_CODES];
        for codes in codes.as_chunks_mut::<4>().0 {
            let packed = isa.load(self.take(4));
            let shifted = [packed, isa.shr::<2>(packed), isa.shr::<4>(packed), isa.shr::<6>(packed)];
            for i in 0..4 {
                codes[i] = isa.and(shifted[i], mask);
            }
        }
        codes
    }

    /// What [`FieldWriter::crumbs`] wrote, shifted left by 4.
    #[inline(always)]
    pub fn crumbs(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let mask = isa.splat(3 << 4);
        let mut codes = [mask; STRIP_CODES];
        for codes in codes.as_chunks_mut::<4>().0 {
            let packed = isa.load(self.take(4));
            let shifted = [isa.shl::<4>(packed), isa.shl::<2>(packed), packed, isa.shr::<2>(packed)];
            for i in 0..4 {
                codes[i] = isa.and(shifted[i], mask);
            }
        }
        codes
    }

    /// What [`FieldWriter::crumb_halves`] wrote, those of the upper half shifted left by 2.
    #[inline(always)]
    pub fn crumb_halves(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let (lower, upper) = (isa.splat(3), isa.splat(3 << 2));
        let mut codes = [lower; STRIP_CODES];
        for k in [0, 2] {
            let even = isa.load(self.take(4));
            let odd = isa.shr::<4>(even);
            for (k, packed) in [(k, even), (k + 1, odd)] {
                codes[k] = isa.and(packed, lower);
                codes[STRIP_CODES / 2 + k] = isa.and(packed, upper);
            }
        }
        codes
    }

    /// What [`FieldWriter::octal_halves`] wrote, those of the upper half shifted left by 3.
    #[inline(always)]
    pub fn octal_halves(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let (lower, upper) = (isa.splat(7), isa.splat(7 << 3));
        let packed = [isa.load(self.take(4)), isa.load(self.take(4)), isa.load(self.take(4))];
        let mut codes = [lower; STRIP_CODES];
        for k in 0..3 {
            codes[k] = isa.and(packed[k], lower);
            codes[STRIP_CODES / 2 + k] = isa.and(packed[k], upper);
        }
        // Two bits of the last codes of each half lie above the others of a field, the third one above those of the third.
        let [low, high] = [isa.splat(3), isa.splat(4)];
        codes[3] = isa.or(isa.and(isa.shr::<6>(packed[0]), low), isa.and(isa.shr::<4>(packed[2]), high));
        let [low, high] = [isa.splat(3 << 3), isa.splat(4 << 3)];
        codes[7] = isa.or(isa.and(isa.shr::<3>(packed[1]), low), isa.and(isa.shr::<2>(packed[2]), high));
        codes
    }

    /// What [`FieldWriter::octal_halves`] wrote.
    #[inline(always)]
    pub fn octals(&mut self) -> [I::Codes; STRIP_CODES] {
        let mut codes = self.octal_halves();
        for codes in &mut codes[STRIP_CODES / 2..] {
            *codes = self.isa.shr::<3>(*codes);
        }
        codes
    }

    /// What [`FieldWriter::bits`] wrote, shifted left by 4.
    #[inline(always)]
    pub fn bits(&mut self) -> [I::Codes; STRIP_CODES] {
        let isa = self.isa;
        let mask = isa.splat(1 << 4);
        let packed = isa.load(self.take(4));
        let mut shifted = [
            isa.shl::<4>(packed),
            isa.shl::<3>(packed),
            isa.shl::<2>(packed),
            isa.shl::<1>(packed),
            packed,
            isa.shr::<1>(packed),
            isa.shr::<2>(packed),
            isa.shr::<3>(packed),
        ];
        for codes in &mut shifted {
            *codes = isa.and(*codes, mask);
        }
        shifted
    }
}

/// The bits that are in either, code by code.
#[inline(always)]
pub fn merge<I: DotIsa>(
    isa: I,
    mut a: [I::Codes; STRIP_CODES],
    b: [I::Codes; STRIP_CODES],
) -> [I::Codes; STRIP_CODES] {
    for k in 0..STRIP_CODES {
        a[k] = isa.or(a[k], b[k]);
    }
    a
}

/// `table[code]` for each code, all below 16.
#[inline(always)]
pub fn translate<I: DotIsa>(
    isa: I,
    table: &[u8; 16],
    mut codes: [I::Codes; STRIP_CODES],
) -> [I::Codes; STRIP_CODES] {
    for codes in &mut codes {
        *codes = isa.lookup(table, *codes);
    }
    codes
}
