//! The matrix of the kernels: encodings times instruction sets.

use std::{marker::PhantomData, ops::Range};

use bitquilt_simd::Isa;

use crate::{
    activation::{ActivationFormat, Sum},
    arch::{DotIsa, Scalar},
    drive::{Kernels, Product, floats, strips},
    form::{Form, STRIP_LEN},
    unpack::{Unpack, block_len, fields::FieldWriter, record_bytes},
    widen::{self, Widen},
};

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
        STRIP_LEN
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

/// The kernels for an instruction set, or for the nearest that it includes of those that there are kernels for.
pub(crate) type Select = fn(Isa) -> &'static dyn Kernels;

/// The integer kernels of an encoding.
pub(crate) fn strips_of<E: Unpack>(isa: Isa) -> &'static dyn Kernels {
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

/// The float kernels of an encoding.
pub(crate) fn floats_of<E: Widen>(isa: Isa) -> &'static dyn Kernels {
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
pub(crate) fn bf16_of(isa: Isa) -> &'static dyn Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => &Floats::<widen::Bf16Pairs, crate::arch::Avx512Bf16>(PhantomData),
        _ => floats_of::<widen::Bf16>(isa),
    }
}
