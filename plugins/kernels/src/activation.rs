//! Activations as the kernels take them.
//!
//! Columns of a product, which are rows of `x`, are gathered into *tiles* of a few columns, each as wide as the
//! next or wider by one. A tile is a sequence of records, one for each block: strip by strip of 32 values those of every
//! column, then (where they are quantized) a scale for every column, then its sums.
//!
//! A block has as many values as a record of the weight: 32, or 256 for encodings with blocks of so many.
//! Quantized values are `q = round(x / d)` with `d = max |x| / 127` over the block, halves rounded to even.
//! A block whose scale would be subnormal counts as zeros; a scale is NaN where a value is infinite or NaN, and
//! so is every result that depends on it.

use std::ops::Range;

use bitquilt_simd::Isa;

use crate::{
    arch::{AnyDot, Body, DotIsa},
    error::KernelError,
    form::{Form, STRIP_LEN},
    par::{Par, par_parts_mut, part},
};

/// How the activations for an encoding on an instruction set are stored. Equal formats may share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActivationFormat {
    values: Values,
    widest_tile: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Values {
    Floats,
    /// Rounded to bfloat16, halves to even.
    Bf16,
    /// Signed bytes with a scale for each `strips` strips, and sums of as many equal parts of them as it says.
    Quantized {
        strips: usize,
        sums: usize,
        sum: Sum,
    },
}

/// What a product needs of the sum of its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sum {
    /// `-offset * sum(q)`, of 32 bits: where the sum of products starts.
    Offset(i32),
    /// The same for the halves of a strip, each with its offset, and once more, with another, for the block.
    Offsets { halves: [i32; 2], block: i32 },
    /// `sum(q)`, a float: the factor of a minimum.
    Float,
    /// `sum(q)`, of 16 bits: the factor of an integer minimum.
    Short,
}

impl Sum {
    /// Bytes of a sum.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Offset(_) | Self::Offsets { .. } | Self::Float => 4,
            Self::Short => 2,
        }
    }
}

/// Bytes of a scale.
pub(crate) const SCALE_BYTES: usize = 4;

impl ActivationFormat {
    pub(crate) const fn floats(widest_tile: usize) -> Self {
        Self { values: Values::Floats, widest_tile }
    }

    pub(crate) const fn bf16(widest_tile: usize) -> Self {
        Self { values: Values::Bf16, widest_tile }
    }

    pub(crate) const fn quantized<F: Form>(sum: Sum, widest_tile: usize) -> Self {
        Self { values: Values::Quantized { strips: F::STRIPS, sums: F::SUMS, sum }, widest_tile }
    }

    /// Whether the activations are rounded to integers.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        matches!(self.values, Values::Quantized { .. })
    }

    /// Whether the activations are rounded, to integers or to shorter floats.
    #[must_use]
    pub fn is_rounded(self) -> bool {
        self.values != Values::Floats
    }

    /// The number of values in a block: of each row so many are stored by themselves.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self.values {
            Values::Floats | Values::Bf16 => STRIP_LEN,
            Values::Quantized { strips, .. } => strips * STRIP_LEN,
        }
    }

    /// Bytes of one column's block with what belongs to it.
    const fn record_bytes(self) -> usize {
        match self.values {
            Values::Floats => 4 * STRIP_LEN,
            Values::Bf16 => 2 * STRIP_LEN,
            Values::Quantized { strips, sums, sum } => strips * STRIP_LEN + SCALE_BYTES + sums * sum.bytes(),
        }
    }

    /// Bytes of one column of `n` values.
    pub(crate) const fn column_bytes(self, n: usize) -> usize {
        n / self.block_len() * self.record_bytes()
    }

    /// Bytes of the activations of `m` columns of `n` values, or `None` where that overflows.
    #[must_use]
    pub fn bytes(self, n: usize, m: usize) -> Option<usize> {
        (n / self.block_len()).checked_mul(self.record_bytes())?.checked_mul(m)
    }

    /// How many tiles `m` columns make.
    pub(crate) const fn tiles(self, m: usize) -> usize {
        m.div_ceil(self.widest_tile)
    }

    /// How many columns `tiles` tiles hold at most.
    pub(crate) const fn columns(self, tiles: usize) -> usize {
        self.widest_tile.saturating_mul(tiles)
    }

    /// Stores `x`, `m` rows of `n` values, in `dst`, which has as many bytes as [`bytes`](Self::bytes) says, by the code for `isa`. The
    /// bytes are the same for all instruction sets.
    ///
    /// # Errors
    /// When a length is wrong, or the machine does not have the instruction set.
    pub fn store(
        self,
        isa: Isa,
        n: usize,
        x: &[f32],
        dst: &mut [u8],
        par: &dyn Par,
    ) -> Result<(), KernelError> {
        isa.check()?;
        let step = self.block_len();
        if n == 0 || !n.is_multiple_of(step) || !x.len().is_multiple_of(n) {
            return Err(KernelError::Activations { n, step, values: x.len() });
        }
        let m = x.len() / n;
        let expected = self.bytes(n, m).unwrap_or(usize::MAX);
        if dst.len() != expected {
            return Err(KernelError::ActivationBytes { expected, got: dst.len() });
        }
        let tiles = self.tiles(m);
        let isa = AnyDot::of(isa);
        let tasks = if m * n < 1 << 15 { 1 } else { tiles.min(8 * par.threads()) };
        par_parts_mut(par, tasks, dst, self.column_bytes(n), tiles, |_, columns, dst| {
            let x = &x[columns.start * n..columns.end * n];
            isa.run(StoreTile { format: self, x, n, dst });
        });
        Ok(())
    }
}

impl ActivationFormat {
    /// Joins the activations of parts of `m` rows, each part with the number of its values in a row, into those of whole rows: tile by
    /// tile, the blocks of the first part come before those of the next.
    ///
    /// # Errors
    /// When a length is wrong.
    pub fn join(self, m: usize, parts: &[(usize, &[u8])], dst: &mut [u8]) -> Result<(), KernelError> {
        let n = parts.iter().map(|(values, _)| values).sum();
        let check = |n: usize, bytes: &[u8]| {
            let expected = self.bytes(n, m).filter(|_| n.is_multiple_of(self.block_len()));
            match expected.unwrap_or(usize::MAX) {
                expected if bytes.len() == expected => Ok(()),
                expected => Err(KernelError::ActivationBytes { expected, got: bytes.len() }),
            }
        };
        check(n, dst)?;
        parts.iter().try_for_each(|(values, bytes)| check(*values, bytes))?;
        let tiles = self.tiles(m);
        let mut rest = dst;
        for tile in 0..tiles {
            let columns = part(m, tiles, tile);
            for (values, bytes) in parts {
                let of_column = self.column_bytes(*values);
                let (to, after) = rest.split_at_mut(columns.len() * of_column);
                to.copy_from_slice(&bytes[columns.start * of_column..columns.end * of_column]);
                rest = after;
            }
        }
        Ok(())
    }
}

/// Stores a tile.
struct StoreTile<'a> {
    format: ActivationFormat,
    x: &'a [f32],
    n: usize,
    dst: &'a mut [u8],
}

impl Body for StoreTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let width = self.x.len() / self.n;
        let records = self.dst.chunks_exact_mut(width * self.format.record_bytes());
        for (block, record) in records.enumerate() {
            let len = self.format.block_len();
            for (c, column) in self.x.chunks_exact(self.n).enumerate() {
                let (strips, _) = column[block * len..(block + 1) * len].as_chunks::<STRIP_LEN>();
                match (self.format.values, strips) {
                    (Values::Floats, _) => put_each(record, c, &strips[0], f32::to_ne_bytes),
                    (Values::Bf16, _) => put_each(record, c, &strips[0], |x| bf16_bits(x).to_ne_bytes()),
                    // The compiler unrolls a block of one strip.
                    (Values::Quantized { sums, sum, .. }, [strip]) => {
                        let strips = std::slice::from_ref(strip);
                        store_quantized(isa, strips, sums, sum, record, c, width);
                    }
                    (Values::Quantized { sums, sum, .. }, _) => {
                        store_quantized(isa, strips, sums, sum, record, c, width);
                    }
                }
            }
        }
    }
}

/// The nearest bfloat16, of two the even one. A NaN stays one.
#[inline(always)]
fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // The bit makes a NaN of one whose payload was in the lower half alone.
    let cut = bits >> 16 | 0x40;
    (if x.is_nan() { cut } else { rounded }) as u16
}

#[inline(always)]
fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    record[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Stores what `bytes` makes of each value of the strip of column `c`.
#[inline(always)]
fn put_each<const N: usize>(
    record: &mut [u8],
    c: usize,
    strip: &[f32; STRIP_LEN],
    bytes: impl Fn(f32) -> [u8; N],
) {
    let (places, _) = record[N * STRIP_LEN * c..N * STRIP_LEN * (c + 1)].as_chunks_mut();
    for (place, x) in places.iter_mut().zip(strip) {
        *place = bytes(*x);
    }
}

/// Stores the block of column `c` of `width`.
#[inline(always)]
fn store_quantized<I: DotIsa>(
    isa: I,
    block: &[[f32; STRIP_LEN]],
    sums: usize,
    sum: Sum,
    record: &mut [u8],
    c: usize,
    width: usize,
) {
    let (scale, inverse) = scale(block.as_flattened());
    let scales = block.len() * STRIP_LEN * width;
    put(record, scales + SCALE_BYTES * c, &scale.to_ne_bytes());
    let first = scales + SCALE_BYTES * width + sum.bytes() * sums * c;
    let mut of_block = 0;
    for (s, strip) in block.iter().enumerate() {
        let mut codes = [0; STRIP_LEN];
        let mut halves = [0; 2];
        if inverse != 0.0 {
            halves = isa.quantize(strip, inverse, &mut codes);
        }
        put(record, STRIP_LEN * (width * s + c), &codes);
        let mut put_sum = |i: usize, total: i32| match sum {
            Sum::Offset(offset) => put(record, first + 4 * i, &(-offset * total).to_ne_bytes()),
            Sum::Offsets { halves, .. } => {
                put(record, first + 4 * i, &(-halves[i % 2] * total).to_ne_bytes())
            }
            Sum::Float => put(record, first + 4 * i, &(total as f32).to_ne_bytes()),
            // At most 32 codes of at most 127.
            Sum::Short => put(record, first + 2 * i, &(total as i16).to_ne_bytes()),
        };
        of_block += halves[0] + halves[1];
        if sums >= 2 * block.len() {
            put_sum(2 * s, halves[0]);
            put_sum(2 * s + 1, halves[1]);
        } else if sums == block.len() {
            put_sum(s, halves[0] + halves[1]);
        } else if s + 1 == block.len() {
            put_sum(0, of_block);
        }
    }
    if let Sum::Offsets { block, .. } = sum {
        put(record, first + 4 * (sums - 1), &(-block * of_block).to_ne_bytes());
    }
}

/// The scale of a block, and what its values are multiplied with: zeros where it has none.
#[inline(always)]
fn scale(block: &[f32]) -> (f32, f32) {
    // The bits of floats without their sign order as the floats do, NaN last: an integer maximum vectorizes.
    let largest = block.iter().fold(0, |largest, x| u32::max(largest, x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let scale = largest / 127.0;
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if scale < f32::MIN_POSITIVE {
        (0.0, 0.0)
    } else {
        (scale, 127.0 / largest)
    }
}

/// The columns of tile `tile` of `m` columns in `tiles` tiles.
pub(crate) fn tile_columns(m: usize, tiles: usize, tile: usize) -> Range<usize> {
    part(m, tiles, tile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::MAX_STRIPS;
    use crate::par::Serial;

    /// Rows that are cut between blocks are stored in parts that join to what whole rows are stored as.
    #[test]
    fn parts_of_rows_join() {
        let offsets = Sum::Offsets { halves: [4, 32], block: 127 };
        for values in [
            Values::Floats,
            Values::Bf16,
            Values::Quantized { strips: 1, sums: 1, sum: Sum::Offset(8) },
            Values::Quantized { strips: 1, sums: 2, sum: Sum::Float },
            Values::Quantized { strips: MAX_STRIPS, sums: 2 * MAX_STRIPS, sum: Sum::Short },
            Values::Quantized { strips: MAX_STRIPS, sums: 2 * MAX_STRIPS + 1, sum: offsets },
        ] {
            let format = ActivationFormat { values, widest_tile: 4 };
            let block = format.block_len();
            for (m, blocks) in [(0, [1, 2]), (1, [1, 1]), (3, [2, 1]), (8, [1, 3]), (41, [2, 2])] {
                let [left, right] = blocks.map(|blocks| blocks * block);
                let n = left + right;
                let x: Vec<f32> =
                    (0..m * n).map(|index| (index * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
                let columns = |range: Range<usize>| {
                    x.chunks(n).flat_map(|row| row[range.clone()].to_vec()).collect::<Vec<f32>>()
                };
                let stored = |n: usize, x: &[f32]| {
                    let mut bytes = vec![0; format.bytes(n, m).unwrap()];
                    format.store(Isa::Scalar, n, x, &mut bytes, &Serial).unwrap();
                    bytes
                };
                let parts = [stored(left, &columns(0..left)), stored(right, &columns(left..n))];
                let mut joined = vec![0; format.bytes(n, m).unwrap()];
                format.join(m, &[(left, &parts[0]), (right, &parts[1])], &mut joined).unwrap();
                assert_eq!(joined, stored(n, &x), "{values:?}, {m} rows");
                assert!(m == 0 || format.join(m, &[(left, &parts[0])], &mut joined).is_err());
            }
        }
    }

    /// What every instruction set stores is what the scalar one does.
    #[test]
    fn activations_are_the_same_bytes_on_every_instruction_set() {
        const BLOCK: usize = MAX_STRIPS * STRIP_LEN;
        let quantized = |strips, sums, sum| Values::Quantized { strips, sums, sum };
        let layouts = [
            Values::Floats,
            Values::Bf16,
            quantized(1, 1, Sum::Offset(8)),
            quantized(1, 2, Sum::Float),
            quantized(MAX_STRIPS, MAX_STRIPS, Sum::Short),
            quantized(MAX_STRIPS, 2 * MAX_STRIPS, Sum::Short),
            quantized(MAX_STRIPS, 2 * MAX_STRIPS + 1, Sum::Offsets { halves: [4, 32], block: 127 }),
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        // Blocks of many values, of halves between integers, of the largest and the smallest scales, and of what has none.
        let largest: [fn(f32) -> f32; 7] = [
            |x| x,
            |x| (x * 254.0).round() / 2.0,
            |x| if x > 0.9 { f32::MAX } else { x * f32::MAX },
            |x| x * f32::MIN_POSITIVE * 128.0,
            |x| x * f32::MIN_POSITIVE,
            |x| if x > 0.98 { f32::INFINITY } else { x },
            |x| if x > 0.98 { f32::NAN } else { x },
        ];
        for m in 1..=4 {
            let mut x: Vec<f32> = Vec::new();
            for _ in 0..m {
                for make in largest {
                    x.extend((0..BLOCK).map(|_| make(random())));
                    x.extend((0..BLOCK).map(|i| if i == 5 { 127.0 } else { make(random()) }));
                }
            }
            let n = x.len() / m;
            for values in layouts {
                let format = ActivationFormat { values, widest_tile: m };
                let stored = |isa| {
                    let mut dst = vec![0; format.bytes(n, m).expect("a small product")];
                    AnyDot::of(isa).run(StoreTile { format, x: &x, n, dst: &mut dst });
                    dst
                };
                let expected = stored(Isa::Scalar);
                for isa in Isa::available() {
                    assert!(stored(isa) == expected, "{isa:?}, {values:?}, {m} columns");
                }
            }
        }
    }
}
