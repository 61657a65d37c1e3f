//! The matrix of the kernels: encodings times instruction sets.

use std::marker::PhantomData;

use bitquilt_simd::Isa;

use crate::activation::{ActivationFormat, Sum};
use crate::arch::{AnyDot, Body, DotIsa, own_kernels};
use crate::drive::{Kernels, Part, floats, strips};
use crate::form::{Form, STRIP_LEN};
use crate::unpack::{Unpack, block_len, fields::FieldWriter, record_bytes};
use crate::widen::{Bf16, Bf16Pairs, Widen};

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
struct Strips<E, I>(I, PhantomData<fn() -> E>);

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

    fn stream(&self, part: Part<'_>) {
        self.0.call(strips::Stream::<E>(part, PhantomData));
    }

    fn tiles(&self, part: Part<'_>) {
        self.0.call(strips::Tiles::<E>(part, PhantomData));
    }
}

/// The float kernels of encoding `E` on instruction set `I`.
struct Floats<E, I>(I, PhantomData<fn() -> E>);

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

    fn stream(&self, part: Part<'_>) {
        self.0.call(floats::Stream::<E>(part, PhantomData));
    }

    fn tiles(&self, part: Part<'_>) {
        self.0.call(floats::Tiles::<E>(part, PhantomData));
    }
}

/// The kernels of an encoding.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    /// The encoding's name.
    pub(crate) name: &'static str,
    /// Whether an instruction set has kernels that its base does not have.
    has_own: fn(Isa) -> bool,
    /// The kernels for an instruction set that has some.
    on: fn(AnyDot) -> &'static dyn Kernels,
}

impl Encoding {
    /// Kernels that multiply integers.
    pub(crate) const fn integers<E: Unpack>(name: &'static str) -> Self {
        Self {
            name,
            has_own: |isa| own_kernels(isa).integers,
            on: |isa| isa.run(OfIntegers::<E>(PhantomData)),
        }
    }

    /// Kernels that multiply floats.
    pub(crate) const fn floats<E: Widen>(name: &'static str) -> Self {
        Self { name, has_own: |isa| own_kernels(isa).floats, on: |isa| isa.run(OfFloats::<E>(PhantomData)) }
    }

    /// Kernels that multiply bfloat16: by pairs where the instruction set has them.
    pub(crate) const fn bf16(name: &'static str) -> Self {
        let has_own = |isa| own_kernels(isa).floats || own_kernels(isa).bf16;
        Self { name, has_own, on: |isa| isa.run(OfBf16) }
    }

    /// The instruction set whose kernels serve where `isa` is chosen: the nearest that it includes of those with kernels of their own.
    pub(crate) fn serving(&self, isa: Isa) -> Isa {
        isa.descend().find(|isa| (self.has_own)(*isa)).unwrap_or(Isa::Scalar)
    }

    /// The kernels that serve where `isa` is chosen, which the machine has.
    pub(crate) fn kernels(&self, isa: Isa) -> &'static dyn Kernels {
        (self.on)(AnyDot::of(self.serving(isa)))
    }
}

/// Kernels without a byte of their own, which take no memory.
fn leak(kernels: impl Kernels + 'static) -> &'static dyn Kernels {
    Box::leak(Box::new(kernels))
}

/// Chooses the integer kernels of an encoding.
struct OfIntegers<E>(PhantomData<E>);

impl<E: Unpack> Body for OfIntegers<E> {
    type Output = &'static dyn Kernels;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        // A constant: what no machine is to run is not compiled.
        if I::OWN.integers {
            leak(Strips::<E, I>(isa, PhantomData))
        } else {
            unreachable!("{} has none", I::ISA)
        }
    }
}

/// Chooses the float kernels of an encoding.
struct OfFloats<E>(PhantomData<E>);

impl<E: Widen> Body for OfFloats<E> {
    type Output = &'static dyn Kernels;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        if I::OWN.floats {
            leak(Floats::<E, I>(isa, PhantomData))
        } else {
            unreachable!("{} has none", I::ISA)
        }
    }
}

/// Chooses the kernels of bfloat16.
struct OfBf16;

impl Body for OfBf16 {
    type Output = &'static dyn Kernels;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        if I::OWN.bf16 {
            leak(Floats::<Bf16Pairs, I>(isa, PhantomData))
        } else {
            OfFloats::<Bf16>(PhantomData).run(isa)
        }
    }
}
