//! The matrix of the kernels: encodings times instruction sets.

use std::{marker::PhantomData, ops::Range};

use bitquilt_simd::{Isa, IsaError};

use crate::{
    activation::{ActivationFormat, Sum},
    arch::{DotIsa, Scalar},
    drive::{Product, floats, strips},
    unpack::{self, Form, Unpack, block_len, fields::FieldWriter, record_bytes},
    widen::{self, Widen},
};

/// Why a weight cannot be prepared, or a product not be computed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The generic path is for such an encoding.
    #[error("there is no kernel for encoding {encoding:?}, only for {}", encodings().collect::<Vec<_>>().join(", "))]
    Encoding {
        /// Its name.
        encoding: String,
    },
    /// The machine does not have the instruction set that was asked for.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// Rows are not whole blocks.
    #[error("rows of a weight have {n} values, which is no positive multiple of {step}")]
    RowLength {
        /// Values of a row.
        n: usize,
        /// What they should be a multiple of.
        step: usize,
    },
    /// The weight's bytes are not what its shape says.
    #[error("a weight of {p} rows of {n} values has {expected} bytes, got {got}")]
    WeightBytes {
        /// Values of a row.
        n: usize,
        /// Rows.
        p: usize,
        /// Bytes of such a weight.
        expected: usize,
        /// Bytes that were passed.
        got: usize,
    },
    /// The activations are not rows of the weight's length.
    #[error("{values} activations are not rows of {n} values, a positive multiple of {step}")]
    Activations {
        /// Values of a row.
        n: usize,
        /// What they should be a multiple of.
        step: usize,
        /// Values that were passed.
        values: usize,
    },
    /// The stored activations are not those of the product.
    #[error("stored activations have {got} bytes, expected {expected}")]
    ActivationBytes {
        /// Bytes that the format says.
        expected: usize,
        /// Bytes that were passed.
        got: usize,
    },
    /// The output is not that of the product.
    #[error("the output has {got} values, expected {expected}")]
    Output {
        /// Values of the product.
        expected: usize,
        /// Values that were passed.
        got: usize,
    },
    /// The system has no memory for the prepared weight.
    #[error("no memory for a prepared weight")]
    Memory(#[from] std::io::Error),
}

/// What the drivers need of one encoding on one instruction set.
pub(crate) trait Kernels: Sync {
    /// Values and bytes of an encoded block.
    fn block(&self) -> (usize, usize);
    /// What the length of a row is a multiple of: whole blocks, and whole strips.
    fn row_step(&self) -> usize;
    /// Rows of a group.
    fn lanes(&self) -> usize;
    /// Row groups that a tile of the product has at most.
    fn tile_groups(&self) -> usize;
    /// Tiles of columns up to which [`stream`](Self::stream) is the way to multiply.
    fn streamed_tiles(&self) -> usize;
    /// Tiles of columns, of `tile_bytes` of activations each, that a call should take at most.
    fn band_tiles(&self, tile_bytes: usize) -> usize;
    /// Prepared bytes of a group of rows of `n` values.
    fn group_bytes(&self, n: usize) -> usize;
    /// How the activations are stored.
    fn activations(&self) -> ActivationFormat;
    /// Prepares a group of at most [`lanes`](Self::lanes) encoded rows of `n` values; `dst` is zeroed.
    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]);
    /// Multiplies the rows of `groups` with the columns of `tiles`, unpacking in registers.
    ///
    /// # Safety
    /// The machine has the instruction set, and the product is as [`Product`] says.
    unsafe fn stream(&self, product: Product, groups: Range<usize>, tiles: Range<usize>);
    /// Multiplies the rows of `groups` with the columns of `tiles`, no more than [`band_tiles`](Self::band_tiles) says, unpacking
    /// into memory.
    ///
    /// # Safety
    /// As for [`stream`](Self::stream).
    unsafe fn tiles(&self, product: Product, groups: Range<usize>, tiles: Range<usize>);
}

/// What the kernels of encoding `E` on instruction set `I` need of the sums of activations.
const fn sum<E: Unpack, I: DotIsa>() -> Sum {
    let (taken, taken_scaled) = (taken::<E::Form, I>(), taken::<<E::Form as Form>::Scaled, I>());
    match (E::Form::MINS, E::Form::PAIRS) {
        (0, _) if E::Form::INTEGER_SCALES => {
            let lower = E::OFFSET - taken;
            Sum::Offsets {
                halves: [lower, lower << E::Form::UPPER_SHIFT],
                block: E::SCALED_OFFSET - taken_scaled,
            }
        }
        (0, _) => Sum::Offset(E::OFFSET - taken),
        (_, false) => Sum::Float,
        (_, true) => Sum::Short,
    }
}

/// What [`DotIsa::dot`] has taken from each code of a form.
const fn taken<F: Form, I: DotIsa>() -> i32 {
    if F::BITS == 8 { I::BYTE_OFFSET } else { 0 }
}

/// The integer kernels of encoding `E` on instruction set `I`.
struct Strips<E, I>(PhantomData<fn() -> (E, I)>);

impl<E: Unpack, I: DotIsa> Kernels for Strips<E, I> {
    fn block(&self) -> (usize, usize) {
        (block_len::<E>(), size_of::<E::Block>())
    }

    fn row_step(&self) -> usize {
        block_len::<E>()
    }

    fn lanes(&self) -> usize {
        I::LANES
    }

    fn tile_groups(&self) -> usize {
        I::GROUPS
    }

    fn streamed_tiles(&self) -> usize {
        I::streamed_tiles(E::IS_CHEAP)
    }

    fn band_tiles(&self, tile_bytes: usize) -> usize {
        (strips::BAND_BYTES / tile_bytes).clamp(1, strips::MAX_TILES)
    }

    fn group_bytes(&self, n: usize) -> usize {
        n / block_len::<E>() * record_bytes::<E>() * I::LANES
    }

    fn activations(&self) -> ActivationFormat {
        ActivationFormat::quantized::<E::Form>(sum::<E, I>(), I::COLUMNS)
    }

    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]) {
        let blocks: &[E::Block] = bytemuck::cast_slice(rows);
        for (lane, row) in blocks.chunks_exact(n / block_len::<E>()).enumerate() {
            let records = dst.chunks_exact_mut(record_bytes::<E>() * I::LANES);
            for (block, record) in row.iter().zip(records) {
                E::pack(block, &mut FieldWriter::new(record, I::LANES, lane));
            }
        }
    }

    unsafe fn stream(&self, product: Product, groups: Range<usize>, tiles: Range<usize>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::vectorize(strips::Stream::<E>::new(product, groups, tiles)) }
    }

    unsafe fn tiles(&self, product: Product, groups: Range<usize>, tiles: Range<usize>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::vectorize(strips::Tiles::<E>::new(product, groups, tiles)) }
    }
}

/// The float kernels of encoding `E` on instruction set `I`.
struct Floats<E, I>(PhantomData<fn() -> (E, I)>);

impl<E: Widen, I: DotIsa> Kernels for Floats<E, I> {
    fn block(&self) -> (usize, usize) {
        (E::VALUES, E::BYTES)
    }

    fn row_step(&self) -> usize {
        unpack::STRIP_LEN
    }

    fn lanes(&self) -> usize {
        I::LANES
    }

    fn tile_groups(&self) -> usize {
        I::GROUPS
    }

    fn streamed_tiles(&self) -> usize {
        1
    }

    fn band_tiles(&self, tile_bytes: usize) -> usize {
        (floats::BAND_BYTES / tile_bytes).clamp(1, floats::MAX_TILES)
    }

    fn group_bytes(&self, n: usize) -> usize {
        n / E::VALUES * E::BYTES * I::LANES
    }

    fn activations(&self) -> ActivationFormat {
        E::activations(I::COLUMNS)
    }

    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]) {
        for (lane, row) in rows.chunks_exact(n / E::VALUES * E::BYTES).enumerate() {
            let places = dst.chunks_exact_mut(E::BYTES).skip(lane).step_by(I::LANES);
            row.chunks_exact(E::BYTES)
                .zip(places)
                .for_each(|(element, place)| place.copy_from_slice(element));
        }
    }

    unsafe fn stream(&self, product: Product, groups: Range<usize>, tiles: Range<usize>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::vectorize(floats::Stream::<E>::new(product, groups, tiles)) }
    }

    unsafe fn tiles(&self, product: Product, groups: Range<usize>, tiles: Range<usize>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::vectorize(floats::Tiles::<E>::new(product, groups, tiles)) }
    }
}

type Select = fn(Isa) -> &'static dyn Kernels;

fn strips_of<E: Unpack>(isa: Isa) -> &'static dyn Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => &Strips::<E, crate::arch::Avx2>(PhantomData),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => &Strips::<E, crate::arch::AvxVnni>(PhantomData),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni | Isa::Avx512Bf16 => &Strips::<E, crate::arch::Avx512Vnni>(PhantomData),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => &Strips::<E, crate::arch::Neon>(PhantomData),
        _ => &Strips::<E, Scalar>(PhantomData),
    }
}

fn floats_of<E: Widen>(isa: Isa) -> &'static dyn Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => &Floats::<E, crate::arch::Avx2>(PhantomData),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni | Isa::Avx512Bf16 => &Floats::<E, crate::arch::Avx512Vnni>(PhantomData),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => &Floats::<E, crate::arch::Neon>(PhantomData),
        _ => &Floats::<E, Scalar>(PhantomData),
    }
}

/// The products of bfloat16 are by pairs where the instruction set has them.
fn bf16_of(isa: Isa) -> &'static dyn Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => &Floats::<widen::Bf16Pairs, crate::arch::Avx512Bf16>(PhantomData),
        _ => floats_of::<widen::Bf16>(isa),
    }
}

/// Every encoding that has kernels of its own.
static ENCODINGS: [(&str, Select); 16] = [
    ("q4_0", strips_of::<unpack::Q4_0>),
    ("q4_1", strips_of::<unpack::Q4_1>),
    ("q5_0", strips_of::<unpack::Q5_0>),
    ("q5_1", strips_of::<unpack::Q5_1>),
    ("q8_0", strips_of::<unpack::Q8_0>),
    ("q2_k", strips_of::<unpack::Q2K>),
    ("q3_k", strips_of::<unpack::Q3K>),
    ("q4_k", strips_of::<unpack::Q4K>),
    ("q5_k", strips_of::<unpack::Q5K>),
    ("q6_k", strips_of::<unpack::Q6K>),
    ("iq4_nl", strips_of::<unpack::Iq4Nl>),
    ("iq4_xs", strips_of::<unpack::Iq4Xs>),
    ("mxfp4", strips_of::<unpack::Mxfp4>),
    ("bf16", bf16_of),
    ("f16", floats_of::<widen::F16>),
    ("f32", floats_of::<widen::F32>),
];

/// The names of the encodings that have kernels of their own.
pub fn encodings() -> impl Iterator<Item = &'static str> {
    ENCODINGS.iter().map(|&(name, _)| name)
}

/// Values and bytes of a block of an encoding that has kernels of its own.
#[must_use]
pub fn block(encoding: &str) -> Option<(usize, usize)> {
    Some(find(encoding, Isa::Scalar).ok()?.block())
}

/// What the length of a row must be a multiple of for the kernels of an encoding.
#[must_use]
pub fn row_step(encoding: &str) -> Option<usize> {
    Some(find(encoding, Isa::Scalar).ok()?.row_step())
}

/// The instruction set whose kernels multiply with weights of `encoding` where `isa` is chosen: the nearest that it includes of those
/// with kernels of their own for it. AVX-VNNI adds none for encodings of floats, BF16 for bfloat16 alone.
#[must_use]
pub fn serving(encoding: &str, isa: Isa) -> Isa {
    isa.descend().find(|isa| has_own(encoding, *isa)).unwrap_or(Isa::Scalar)
}

/// Whether there are kernels for an instruction set that the one it adds to does not have.
fn has_own(encoding: &str, isa: Isa) -> bool {
    match isa {
        Isa::Scalar | Isa::Avx2 | Isa::Avx512Vnni | Isa::NeonDotprod => true,
        Isa::AvxVnni => !["bf16", "f16", "f32"].contains(&encoding),
        Isa::Avx512Bf16 => encoding == "bf16",
        Isa::Avx512 | Isa::Neon => false,
    }
}

/// How the kernels of `encoding` on `isa` want their activations.
///
/// # Errors
/// When there are none.
pub fn activations(encoding: &str, isa: Isa) -> Result<ActivationFormat, KernelError> {
    Ok(find(encoding, isa)?.activations())
}

pub(crate) fn find(encoding: &str, isa: Isa) -> Result<&'static dyn Kernels, KernelError> {
    isa.check()?;
    match ENCODINGS.iter().find(|(name, _)| *name == encoding) {
        Some((_, select)) => Ok(select(isa)),
        None => Err(KernelError::Encoding { encoding: encoding.to_owned() }),
    }
}
