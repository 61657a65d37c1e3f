//! Activations as the kernels take them.
//!
//! Columns of a product, which are rows of `x`, are gathered into *tiles* of a few columns, each as wide as the
//! next or wider by one. A tile is a sequence of records, one for each 32 values: the values of every column, then
//! (where they are quantized) a scale for every column, then its sums.
//!
//! Quantized values are `q = round(x / d)` with `d = max |x| / 127` over the 32 values, halves rounded to even.
//! A block whose scale would be subnormal counts as zeros; a scale is NaN where a value is infinite or NaN, and
//! so is every result that depends on it.

use std::ops::Range;

use crate::{
    arch::{Body, DotIsa, Isa, vectorize},
    kernels::KernelError,
    par::{Par, part},
    unpack::STRIP_LEN,
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
    /// Signed bytes with a scale, and the sum of each of `parts` parts of the block.
    Quantized {
        parts: usize,
        sum: Sum,
    },
}

/// What a product needs of the sum of its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sum {
    /// `-offset * sum(q)`, an integer: where the sum of products starts.
    Offset(i32),
    /// `d * sum(q)`, a float: the factor of a minimum.
    Scaled,
}

/// Bytes of the values of one column in a record of quantized activations.
const CODE_BYTES: usize = STRIP_LEN;

/// Bytes of a record of quantized activations before the sums, a column.
pub(crate) const CODE_AND_SCALE_BYTES: usize = CODE_BYTES + 4;

impl ActivationFormat {
    pub(crate) const fn floats(widest_tile: usize) -> Self {
        Self { values: Values::Floats, widest_tile }
    }

    pub(crate) const fn bf16(widest_tile: usize) -> Self {
        Self { values: Values::Bf16, widest_tile }
    }

    pub(crate) const fn quantized(parts: usize, sum: Sum, widest_tile: usize) -> Self {
        Self { values: Values::Quantized { parts, sum }, widest_tile }
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

    /// Bytes of one column's 32 values with what belongs to them.
    const fn record_bytes(self) -> usize {
        match self.values {
            Values::Floats => 4 * STRIP_LEN,
            Values::Bf16 => 2 * STRIP_LEN,
            Values::Quantized { parts, .. } => CODE_AND_SCALE_BYTES + 4 * parts,
        }
    }

    /// Bytes of one column of `n` values.
    pub(crate) const fn column_bytes(self, n: usize) -> usize {
        n / STRIP_LEN * self.record_bytes()
    }

    /// Bytes of the activations of `m` columns of `n` values, or `None` where that overflows.
    #[must_use]
    pub fn bytes(self, n: usize, m: usize) -> Option<usize> {
        (n / STRIP_LEN).checked_mul(self.record_bytes())?.checked_mul(m)
    }

    /// How many tiles `m` columns make.
    pub(crate) const fn tiles(self, m: usize) -> usize {
        m.div_ceil(self.widest_tile)
    }

    /// Stores `x`, `m` rows of `n` values, in `dst`, which has as many bytes as [`bytes`](Self::bytes) says.
    ///
    /// # Errors
    /// When a length is wrong.
    pub fn store(self, n: usize, x: &[f32], dst: &mut [u8], par: &dyn Par) -> Result<(), KernelError> {
        if n == 0 || !n.is_multiple_of(STRIP_LEN) || !x.len().is_multiple_of(n) {
            return Err(KernelError::Activations { n, values: x.len() });
        }
        let m = x.len() / n;
        let expected = self.bytes(n, m).unwrap_or(usize::MAX);
        if dst.len() != expected {
            return Err(KernelError::ActivationBytes { expected, got: dst.len() });
        }
        let tiles = self.tiles(m);
        let dst = SendPtr(dst.as_mut_ptr());
        let store = |tile: usize| {
            let columns = part(m, tiles, tile);
            // SAFETY: tiles are disjoint ranges of columns, and so are their bytes in `dst`.
            let dst = unsafe {
                std::slice::from_raw_parts_mut(
                    dst.get().add(columns.start * self.column_bytes(n)),
                    columns.len() * self.column_bytes(n),
                )
            };
            self.store_tile(&x[columns.start * n..columns.end * n], n, dst);
        };
        let tasks = if m * n < 1 << 15 { 1 } else { tiles.min(8 * par.threads()) };
        par.par_for(tasks, &|task, _| part(tiles, tasks, task).for_each(store));
        Ok(())
    }

    fn store_tile(self, x: &[f32], n: usize, dst: &mut [u8]) {
        // SAFETY: the machine has the instruction set that is detected.
        unsafe { vectorize(Isa::detect(), StoreTile { format: self, x, n, dst }) }
    }
}

/// Stores a tile in plain Rust, which the compiler vectorizes for the instruction set it is run on.
struct StoreTile<'a> {
    format: ActivationFormat,
    x: &'a [f32],
    n: usize,
    dst: &'a mut [u8],
}

impl Body for StoreTile<'_> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        let width = self.x.len() / self.n;
        let records = self.dst.chunks_exact_mut(width * self.format.record_bytes());
        for (strip, record) in records.enumerate() {
            let columns = self.x.chunks_exact(self.n).map(|column| {
                let (blocks, _) = column.as_chunks::<STRIP_LEN>();
                &blocks[strip]
            });
            for (c, block) in columns.enumerate() {
                match self.format.values {
                    Values::Floats => {
                        put(record, 4 * STRIP_LEN * c, block.map(f32::to_ne_bytes).as_flattened())
                    }
                    Values::Bf16 => put(
                        record,
                        2 * STRIP_LEN * c,
                        block.map(bf16_bits).map(u16::to_ne_bytes).as_flattened(),
                    ),
                    Values::Quantized { parts, sum } => store_quantized(block, parts, sum, record, c, width),
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

#[inline(always)]
fn store_quantized(
    block: &[f32; STRIP_LEN],
    parts: usize,
    sum: Sum,
    record: &mut [u8],
    c: usize,
    width: usize,
) {
    let (codes, scale) = quantize(block);
    put(record, CODE_BYTES * c, &codes.map(|code| code as u8));
    put(record, CODE_BYTES * width + 4 * c, &scale.to_ne_bytes());
    let halves = [&codes[..STRIP_LEN / 2], &codes[STRIP_LEN / 2..]].map(total);
    for i in 0..parts {
        let total = if parts == 1 { halves[0] + halves[1] } else { halves[i] };
        let bytes = match sum {
            Sum::Offset(offset) => (-offset * total).to_ne_bytes(),
            Sum::Scaled => (total as f32 * scale).to_ne_bytes(),
        };
        put(record, CODE_AND_SCALE_BYTES * width + 4 * (parts * c + i), &bytes);
    }
}

/// The codes and the scale of a block.
#[inline(always)]
fn quantize(block: &[f32; STRIP_LEN]) -> ([i32; STRIP_LEN], f32) {
    // The bits of floats without their sign order as the floats do, NaN last: an integer maximum vectorizes.
    let largest = block.iter().fold(0, |largest, x| u32::max(largest, x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return ([0; STRIP_LEN], f32::NAN);
    }
    let scale = largest / 127.0;
    if scale < f32::MIN_POSITIVE {
        return ([0; STRIP_LEN], 0.0);
    }
    let inverse = 127.0 / largest;
    // Added to a float of less magnitude than 2^22, it leaves the nearest integer in the lowest bits, halves rounded to even.
    const SHIFT: f32 = (3u32 << 22) as f32;
    let codes = block.map(|x| (x * inverse + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32);
    (codes, scale)
}

/// The sum of half a block, by pairs of lanes.
#[inline(always)]
fn total(half: &[i32]) -> i32 {
    let mut lanes = [0; STRIP_LEN / 4];
    for i in 0..lanes.len() {
        lanes[i] = half[i] + half[i + lanes.len()];
    }
    let mut count = lanes.len() / 2;
    while count > 0 {
        for i in 0..count {
            lanes[i] += lanes[i + count];
        }
        count /= 2;
    }
    lanes[0]
}

/// A pointer that tasks share; each writes to a part of its own.
#[derive(Clone, Copy)]
pub(crate) struct SendPtr<T>(pub(crate) *mut T);

// SAFETY: whoever writes through the pointer says why no two tasks write to one place.
unsafe impl<T> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// The columns of tile `tile` of `m` columns in `tiles` tiles.
pub(crate) fn tile_columns(m: usize, tiles: usize, tile: usize) -> Range<usize> {
    part(m, tiles, tile)
}
