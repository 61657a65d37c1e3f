//! The fields of prepared records: written a row at a time, read for all rows of a group at once.
//!
//! A field of `b` bytes takes `b` times the lanes, each lane's bytes together, wider ones in pieces of four bytes:
//! piece `i` of every lane, then piece `i + 1`.

use bitquilt_ggml_blocks::Half;

use crate::arch::DotIsa;
use crate::form::STRIP_CODES;

/// Codes of one row's strip: byte `i` of word `k` is that of value `4 * k + i`.
pub(crate) type CodeWords = [u32; STRIP_CODES];

/// Splits bytes into words, byte `i` of word `k` being `bytes[4 * k + i]`.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// A table of signed values as unsigned codes: `offset` is added to each, and no sum is negative or above 255.
pub(crate) const fn offset_table(values: [i8; 16], offset: i32) -> [u8; 16] {
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

/// The codes of 16 bytes of nibbles: the low ones are values `0..16`, the high ones `16..32`.
pub(crate) fn split_nibbles(bytes: &[u8]) -> CodeWords {
    let packed: [u32; 4] = words(bytes);
    std::array::from_fn(|k| packed[k % 4] >> (k / 4 * 4) & 0x0f0f_0f0f)
}

/// Of each of 32 bytes the bits of `mask`, which is at most 8 bits wide, above the lowest `shift`.
pub(crate) fn bits_of(bytes: &[u8], shift: usize, mask: u32) -> CodeWords {
    let packed: CodeWords = words(bytes);
    packed.map(|word| word >> shift & (mask * 0x0101_0101))
}

/// 32 bits, one a code: bit `i` of the word is that of value `i`.
pub(crate) fn spread_bits(bytes: &[u8]) -> CodeWords {
    let [bits]: [u32; 1] = words(bytes);
    std::array::from_fn(|k| (0..4).fold(0, |word, i| word | (bits >> (4 * k + i) & 1) << (8 * i)))
}

/// Writes the fields of one row of a record.
pub(crate) struct FieldWriter<'a> {
    record: &'a mut [u8],
    at: usize,
    lanes: usize,
    lane: usize,
}

impl<'a> FieldWriter<'a> {
    /// Starts at the first field of `record`, for row `lane` of `lanes`.
    pub(crate) fn new(record: &'a mut [u8], lanes: usize, lane: usize) -> Self {
        Self { record, at: 0, lanes, lane }
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let at = self.at + N * self.lane;
        self.record[at..at + N].copy_from_slice(&bytes);
        self.at += N * self.lanes;
    }

    /// A byte.
    pub(crate) fn byte(&mut self, byte: u8) {
        self.put([byte]);
    }

    /// Two bytes.
    pub(crate) fn byte_pair(&mut self, pair: [u8; 2]) {
        self.put(pair);
    }

    /// A half-precision float.
    pub(crate) fn half(&mut self, value: Half) {
        self.put(value.to_bits().to_le_bytes());
    }

    /// The upper half of a float whose lower half is zero.
    pub(crate) fn bfloat(&mut self, value: half::bf16) {
        self.put(value.to_le_bytes());
    }

    /// Codes of 8 bits.
    pub(crate) fn bytes(&mut self, codes: CodeWords) {
        for word in codes {
            self.put(word.to_le_bytes());
        }
    }

    /// The lower 4 bits of the codes.
    pub(crate) fn nibbles(&mut self, codes: CodeWords) {
        for &[even, odd] in codes.as_chunks().0 {
            self.put((even & 0x0f0f_0f0f | (odd & 0x0f0f_0f0f) << 4).to_le_bytes());
        }
    }

    /// The lower 2 bits of the codes.
    pub(crate) fn crumbs(&mut self, codes: CodeWords) {
        for codes in codes.as_chunks::<4>().0 {
            let word = (0..4).fold(0, |word, i| word | (codes[i] & 0x0303_0303) << (2 * i));
            self.put(word.to_le_bytes());
        }
    }

    /// The lower 2 bits of the codes, those of either half of the strip where [`FieldReader::crumb_halves`] reads them.
    pub(crate) fn crumb_halves(&mut self, codes: CodeWords) {
        let (lower, upper) = codes.split_at(STRIP_CODES / 2);
        for (lower, upper) in lower.as_chunks::<2>().0.iter().zip(upper.as_chunks::<2>().0) {
            let [even, odd] = [0, 1].map(|i| lower[i] & 0x0303_0303 | (upper[i] & 0x0303_0303) << 2);
            self.put((even | odd << 4).to_le_bytes());
        }
    }

    /// The lower 3 bits of the codes, those of either half of the strip where [`FieldReader::octal_halves`] reads them.
    pub(crate) fn octal_halves(&mut self, codes: CodeWords) {
        let [l0, l1, l2, l3, u0, u1, u2, u3] = codes.map(|codes| codes & 0x0707_0707);
        let last = [l3 & 0x0303_0303, u3 & 0x0303_0303, l3 >> 2 & 0x0101_0101 | u3 >> 1 & 0x0202_0202];
        for (last, [lower, upper]) in last.into_iter().zip([[l0, u0], [l1, u1], [l2, u2]]) {
            self.put((lower | upper << 3 | last << 6).to_le_bytes());
        }
    }

    /// The lowest bit of the codes.
    pub(crate) fn bits(&mut self, codes: CodeWords) {
        let word = (0..8).fold(0, |word, i| word | (codes[i] & 0x0101_0101) << i);
        self.put(word.to_le_bytes());
    }
}

/// Reads the fields of a record, all rows at once.
pub(crate) struct FieldReader<I: DotIsa> {
    at: *const u8,
    isa: std::marker::PhantomData<I>,
}

impl<I: DotIsa> Clone for FieldReader<I> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<I: DotIsa> Copy for FieldReader<I> {}

impl<I: DotIsa> FieldReader<I> {
    /// Starts at a record.
    #[inline(always)]
    pub(crate) fn new(at: *const u8) -> Self {
        Self { at, isa: std::marker::PhantomData }
    }

    /// Where the next field is.
    #[inline(always)]
    pub(crate) fn position(&self) -> *const u8 {
        self.at
    }

    /// The next field, of `bytes` bytes a row.
    ///
    /// # Safety
    /// The record has that field.
    #[inline(always)]
    unsafe fn take(&mut self, bytes: usize) -> *const u8 {
        let field = self.at;
        // SAFETY: the caller vouches for the field, so its end is in the record or just past it.
        self.at = unsafe { field.add(bytes * I::LANES) };
        field
    }

    /// What [`FieldWriter::byte`] wrote.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn byte(&mut self) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_u8(self.take(1)) }
    }

    /// What [`FieldWriter::byte`] wrote, as a signed number.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn signed_byte(&mut self) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_i8(self.take(1)) }
    }

    /// The lower and the upper 4 bits of what [`FieldWriter::byte`] wrote, each as [`DotIsa::scale`] takes them.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn factors(&mut self) -> [I::Codes; 2] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let field = self.take(1);
            [I::load_factors::<0>(field), I::load_factors::<4>(field)]
        }
    }

    /// The lower and the upper 4 bits of what [`FieldWriter::byte`] wrote, as [`DotIsa::dot_pair`] takes them.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn nibble_pair(&mut self) -> I::Codes {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_nibble_pair(self.take(1)) }
    }

    /// What [`FieldWriter::byte_pair`] wrote, as [`DotIsa::dot_pair`] takes them.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn byte_pair(&mut self) -> I::Codes {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_byte_pair(self.take(2)) }
    }

    /// What [`FieldWriter::byte_pair`] wrote, each byte in every code of its row.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn lane_bytes(&mut self) -> [I::Codes; 2] {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_lane_bytes(self.take(2)) }
    }

    /// What [`FieldWriter::half`] wrote.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn half(&mut self) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_f16(self.take(2)) }
    }

    /// What [`FieldWriter::bfloat`] wrote.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn bfloat(&mut self) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_bf16(self.take(2)) }
    }

    /// What [`FieldWriter::bytes`] wrote.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn bytes(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mut codes = [I::splat(0); STRIP_CODES];
            for codes in &mut codes {
                *codes = I::load(self.take(4));
            }
            codes
        }
    }

    /// What [`FieldWriter::nibbles`] wrote.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn nibbles(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mask = I::splat(0x0f);
            let mut codes = [mask; STRIP_CODES];
            for [even, odd] in codes.as_chunks_mut().0 {
                let packed = I::load(self.take(4));
                *even = I::and(packed, mask);
                *odd = I::and(I::shr::<4>(packed), mask);
            }
            codes
        }
    }

    /// What [`FieldWriter::crumbs`] wrote, shifted left by 4.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn crumbs(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mask = I::splat(3 << 4);
            let mut codes = [mask; STRIP_CODES];
            for codes in codes.as_chunks_mut::<4>().0 {
                let packed = I::load(self.take(4));
                let shifted = [I::shl::<4>(packed), I::shl::<2>(packed), packed, I::shr::<2>(packed)];
                for i in 0..4 {
                    codes[i] = I::and(shifted[i], mask);
                }
            }
            codes
        }
    }

    /// What [`FieldWriter::crumb_halves`] wrote, those of the upper half shifted left by 2.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn crumb_halves(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let (lower, upper) = (I::splat(3), I::splat(3 << 2));
            let mut codes = [lower; STRIP_CODES];
            for k in [0, 2] {
                let even = I::load(self.take(4));
                let odd = I::shr::<4>(even);
                for (k, packed) in [(k, even), (k + 1, odd)] {
                    codes[k] = I::and(packed, lower);
                    codes[STRIP_CODES / 2 + k] = I::and(packed, upper);
                }
            }
            codes
        }
    }

    /// What [`FieldWriter::octal_halves`] wrote, those of the upper half shifted left by 3.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn octal_halves(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let (lower, upper) = (I::splat(7), I::splat(7 << 3));
            let packed = [I::load(self.take(4)), I::load(self.take(4)), I::load(self.take(4))];
            let mut codes = [lower; STRIP_CODES];
            for k in 0..3 {
                codes[k] = I::and(packed[k], lower);
                codes[STRIP_CODES / 2 + k] = I::and(packed[k], upper);
            }
            // Two bits of the last codes of each half lie above the others of a field, the third one above those of the third.
            let [low, high] = [I::splat(3), I::splat(4)];
            codes[3] = I::or(I::and(I::shr::<6>(packed[0]), low), I::and(I::shr::<4>(packed[2]), high));
            let [low, high] = [I::splat(3 << 3), I::splat(4 << 3)];
            codes[7] = I::or(I::and(I::shr::<3>(packed[1]), low), I::and(I::shr::<2>(packed[2]), high));
            codes
        }
    }

    /// What [`FieldWriter::bits`] wrote, shifted left by 4.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the record has that field.
    #[inline(always)]
    pub(crate) unsafe fn bits(&mut self) -> [I::Codes; STRIP_CODES] {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mask = I::splat(1 << 4);
            let packed = I::load(self.take(4));
            let mut shifted = [
                I::shl::<4>(packed),
                I::shl::<3>(packed),
                I::shl::<2>(packed),
                I::shl::<1>(packed),
                packed,
                I::shr::<1>(packed),
                I::shr::<2>(packed),
                I::shr::<3>(packed),
            ];
            for codes in &mut shifted {
                *codes = I::and(*codes, mask);
            }
            shifted
        }
    }
}

/// The bits that are in either, code by code.
///
/// # Safety
/// As for the methods of [`DotIsa`].
#[inline(always)]
pub(crate) unsafe fn merge<I: DotIsa>(
    mut a: [I::Codes; STRIP_CODES],
    b: [I::Codes; STRIP_CODES],
) -> [I::Codes; STRIP_CODES] {
    for k in 0..STRIP_CODES {
        // SAFETY: the caller's contract is this one's.
        a[k] = unsafe { I::or(a[k], b[k]) };
    }
    a
}

/// `table[code]` for each code.
///
/// # Safety
/// As for the methods of [`DotIsa`]; codes are below 16.
#[inline(always)]
pub(crate) unsafe fn translate<I: DotIsa>(
    table: &[u8; 16],
    mut codes: [I::Codes; STRIP_CODES],
) -> [I::Codes; STRIP_CODES] {
    for codes in &mut codes {
        // SAFETY: the caller's contract is this one's.
        *codes = unsafe { I::lookup(table, *codes) };
    }
    codes
}
