//! The matrix of the kernels: encodings times instruction sets.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use bitquilt_simd::{Isa, IsaError};

use crate::activation::{ActivationFormat, Sum};
use crate::arch::{AnyDot, Body, DotIsa, own_kernels};
use crate::drive::{Kernels, Part, floats, strips};
use crate::form::{Form, MAX_STRIPS, STRIP_LEN};
use crate::unpack::{Unpack, fields::FieldWriter, prepared_bytes};
use crate::widen::{Bf16, Bf16Pairs, F16, F32, Widen};

/// What the kernels of encoding `E` on instruction set `I` need of the sums of activations.
fn sum<E: Unpack, I: DotIsa>(unpack: &E) -> Sum {
    let (taken, taken_scaled) = (taken::<E::Form, I>(), taken::<<E::Form as Form>::Scaled, I>());
    match (E::Form::MINS, E::Form::PAIRS) {
        (0, _) if E::Form::INTEGER_SCALES => {
            let lower = unpack.offset() - taken;
            Sum::Offsets {
                halves: [lower, lower << E::Form::UPPER_SHIFT],
                block: unpack.scaled_offset() - taken_scaled,
            }
        }
        (0, _) => Sum::Offset(unpack.offset() - taken),
        (_, false) => Sum::Float,
        (_, true) => Sum::Short,
    }
}

/// What [`DotIsa::dot`] has taken from each code of a form.
const fn taken<F: Form, I: DotIsa>() -> i32 {
    if F::BITS == 8 { I::BYTE_OFFSET } else { 0 }
}

/// The integer kernels of encoding `E` on instruction set `I`.
struct Strips<E, I> {
    isa: I,
    unpack: E,
}

impl<E: Unpack, I: DotIsa> Kernels for Strips<E, I> {
    fn block(&self) -> (usize, usize) {
        self.unpack.block()
    }

    fn row_step(&self) -> usize {
        self.unpack.block().0
    }

    fn lanes(&self) -> usize {
        I::LANES
    }

    fn tile_groups(&self) -> usize {
        I::GROUPS
    }

    fn streamed_tiles(&self) -> usize {
        if E::IS_STREAMED { I::streamed_tiles(E::IS_CHEAP) } else { 0 }
    }

    fn band_tiles(&self, tile_bytes: usize) -> usize {
        (strips::BAND_BYTES / tile_bytes).clamp(1, strips::MAX_TILES)
    }

    fn group_bytes(&self, n: usize) -> usize {
        prepared_bytes(&self.unpack, n) * I::LANES
    }

    fn is_spread(&self) -> bool {
        E::IS_SPREAD
    }

    fn activations(&self) -> ActivationFormat {
        ActivationFormat::quantized::<E::Form>(sum::<E, I>(&self.unpack), I::COLUMNS)
    }

    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]) {
        let (block_len, block_bytes) = self.unpack.block();
        let prepared_block = self.group_bytes(block_len);
        for (lane, row) in rows.chunks_exact(n / block_len * block_bytes).enumerate() {
            let records = dst.chunks_exact_mut(prepared_block);
            for (block, records) in row.chunks_exact(block_bytes).zip(records) {
                self.unpack.pack(block, &mut FieldWriter::new(records, I::LANES, lane));
            }
        }
    }

    fn stream(&self, part: Part<'_>) {
        self.isa.call(strips::Stream { part, unpack: &self.unpack });
    }

    fn tiles(&self, part: Part<'_>) {
        self.isa.call(strips::Tiles { part, unpack: &self.unpack });
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
        floats::streamed_tiles::<I>()
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
            let together = E::TOGETHER * E::BYTES;
            let places = dst.chunks_exact_mut(together).skip(lane).step_by(I::LANES);
            row.chunks_exact(together)
                .zip(places)
                .for_each(|(elements, place)| place.copy_from_slice(elements));
        }
    }

    fn stream(&self, part: Part<'_>) {
        self.0.call(floats::Stream::<E>(part, PhantomData));
    }

    fn tiles(&self, part: Part<'_>) {
        self.0.call(floats::Tiles::<E>(part, PhantomData));
    }
}

/// The kernels of an encoding: those of each instruction set that has some.
#[derive(Clone)]
pub struct EncodingKernels {
    name: Cow<'static, str>,
    sets: Arc<dyn Sets>,
    note: Cow<'static, str>,
}

/// The kernels of an encoding by instruction set.
pub(crate) trait Sets: Send + Sync {
    /// Whether an instruction set has kernels that its base does not have.
    fn has_own(&self, isa: Isa) -> bool;
    /// Whether weights lose some of their values when they are prepared, whatever the activations.
    fn rounds_weights(&self) -> bool {
        false
    }
    /// The kernels for an instruction set that has some.
    fn on(&self, isa: AnyDot) -> Arc<dyn Kernels>;
}

impl EncodingKernels {
    /// Kernels that multiply the codes of an encoding as integers.
    ///
    /// # Panics
    /// Where records share a header and may not ([`Unpack::header_records`]).
    pub fn new<E: Unpack + Clone>(encoding: impl Into<Cow<'static, str>>, unpack: E) -> Self {
        let (records, shared) = (unpack.block().0 / (E::Form::STRIPS * STRIP_LEN), unpack.header_records());
        let may_share =
            E::Form::STRIPS == 1 && MAX_STRIPS.is_multiple_of(shared) && records.is_multiple_of(shared);
        assert!(
            shared == 1 || may_share,
            "{shared} records share a header: not where a record has several strips, and else as many as divide {MAX_STRIPS} and the \
             {records} records of a block"
        );
        Self::of(encoding, Integers(unpack))
    }

    /// Kernels for an encoding whose blocks are single-precision floats.
    pub fn f32(encoding: impl Into<Cow<'static, str>>) -> Self {
        Self::of(encoding, FloatSets::<F32>(PhantomData))
    }

    /// Kernels for an encoding whose blocks are half-precision floats.
    pub fn f16(encoding: impl Into<Cow<'static, str>>) -> Self {
        Self::of(encoding, FloatSets::<F16>(PhantomData))
    }

    /// Kernels for an encoding whose blocks are bfloat16: by pairs where the instruction set has them.
    pub fn bf16(encoding: impl Into<Cow<'static, str>>) -> Self {
        Self::of(encoding, Bf16Sets)
    }

    pub(crate) fn of(encoding: impl Into<Cow<'static, str>>, sets: impl Sets + 'static) -> Self {
        Self { name: encoding.into(), sets: Arc::new(sets), note: Cow::Borrowed("") }
    }

    /// The same, with a note on how weights are prepared.
    #[must_use]
    pub fn noted(self, note: impl Into<Cow<'static, str>>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// How weights are prepared, in words, where there is something to say.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The encoding's name.
    #[must_use]
    pub fn encoding(&self) -> &str {
        &self.name
    }

    /// The number of values and of bytes in an encoded block.
    #[must_use]
    pub fn block(&self) -> (usize, usize) {
        self.on(Isa::Scalar).block()
    }

    /// What the length of a row must be a multiple of.
    #[must_use]
    pub fn row_step(&self) -> usize {
        self.on(Isa::Scalar).row_step()
    }

    /// The instruction set whose kernels serve where `isa` is chosen: the nearest that it includes of those with kernels of their own for
    /// the encoding. AVX-VNNI adds none for encodings of floats, BF16 for bfloat16 alone.
    #[must_use]
    pub fn serving(&self, isa: Isa) -> Isa {
        isa.descend().find(|isa| self.sets.has_own(*isa)).unwrap_or(Isa::Scalar)
    }

    /// How the kernels on `isa` want their activations.
    ///
    /// # Errors
    /// When the machine does not have the instruction set.
    pub fn activations(&self, isa: Isa) -> Result<ActivationFormat, IsaError> {
        isa.check()?;
        Ok(self.on(isa).activations())
    }

    /// Whether prepared weights are other values than decoded ones, so that no product is exact.
    #[must_use]
    pub fn rounds_weights(&self) -> bool {
        self.sets.rounds_weights()
    }

    /// Whether an instruction set has kernels that its base does not have.
    pub(crate) fn has_own(&self, isa: Isa) -> bool {
        self.sets.has_own(isa)
    }

    /// The kernels for an instruction set that has some.
    pub(crate) fn on_set(&self, isa: AnyDot) -> Arc<dyn Kernels> {
        self.sets.on(isa)
    }

    /// The kernels that serve where `isa` is chosen, which the machine has.
    pub(crate) fn on(&self, isa: Isa) -> Arc<dyn Kernels> {
        self.sets.on(AnyDot::of(self.serving(isa)))
    }
}

/// The kernels of codes that are multiplied as integers.
#[derive(Clone)]
struct Integers<E>(E);

impl<E: Unpack + Clone> Sets for Integers<E> {
    fn has_own(&self, isa: Isa) -> bool {
        own_kernels(isa).integers
    }

    fn on(&self, isa: AnyDot) -> Arc<dyn Kernels> {
        isa.run(self.clone())
    }
}

impl<E: Unpack> Body for Integers<E> {
    type Output = Arc<dyn Kernels>;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        // A constant: what no machine is to run is not compiled.
        if I::OWN.integers {
            Arc::new(Strips { isa, unpack: self.0 })
        } else {
            unreachable!("{} has none", I::ISA)
        }
    }
}

/// The kernels of floats.
struct FloatSets<E>(PhantomData<fn() -> E>);

impl<E: Widen> Sets for FloatSets<E> {
    fn has_own(&self, isa: Isa) -> bool {
        own_kernels(isa).floats
    }

    fn on(&self, isa: AnyDot) -> Arc<dyn Kernels> {
        isa.run(Self(PhantomData))
    }
}

impl<E: Widen> Body for FloatSets<E> {
    type Output = Arc<dyn Kernels>;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        if I::OWN.floats {
            Arc::new(Floats::<E, I>(isa, PhantomData))
        } else {
            unreachable!("{} has none", I::ISA)
        }
    }
}

/// The kernels of bfloat16.
struct Bf16Sets;

impl Sets for Bf16Sets {
    fn has_own(&self, isa: Isa) -> bool {
        own_kernels(isa).floats || own_kernels(isa).bf16
    }

    fn on(&self, isa: AnyDot) -> Arc<dyn Kernels> {
        isa.run(Self)
    }
}

impl Body for Bf16Sets {
    type Output = Arc<dyn Kernels>;

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) -> Self::Output {
        if I::OWN.bf16 {
            Arc::new(Floats::<Bf16Pairs, I>(isa, PhantomData))
        } else {
            FloatSets::<Bf16>(PhantomData).run(isa)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::StripForm;
    use crate::unpack::{Header, Strip, fields::FieldReader};

    /// Blocks of four records, of which so many share a header.
    #[derive(Clone)]
    struct Sharing(usize);

    impl Unpack for Sharing {
        type Form = StripForm<1, 0, 4>;
        const HEADER_BYTES: usize = 2;
        const STRIP_BYTES: usize = 16;

        fn block(&self) -> (usize, usize) {
            (4 * STRIP_LEN, 66)
        }

        fn header_records(&self) -> usize {
            self.0
        }

        fn pack(&self, _block: &[u8], _records: &mut FieldWriter<'_>) {}

        fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
            Strip::scaled(fields.isa, fields.nibbles(), header.scale)
        }
    }

    #[test]
    fn a_header_is_shared_by_records_of_one_block_and_one_slab() {
        for (shared, bytes) in [(1, 4 * 18), (2, 2 * 34), (4, 66)] {
            let kernels = EncodingKernels::new("my.sharing", Sharing(shared)).on(Isa::Scalar);
            assert_eq!(kernels.group_bytes(4 * STRIP_LEN), bytes * kernels.lanes());
        }
        for shared in [0, 3, 8] {
            let made = std::panic::catch_unwind(|| EncodingKernels::new("my.sharing", Sharing(shared)));
            assert!(made.is_err(), "{shared} records of four may not share a header");
        }
    }
}
