//! Kernels for declared encodings: a declaration says which of a few prepared forms its weights take.
//!
//! A block's codes become integers of 8 bits at most, times a unit: those of a table that lies on a grid exactly, and those of up to 16
//! other floats on the grid that leaves the least error. They are prepared in as few bits as their range needs, or as indices into the
//! table. What has too many codes off a grid, or groups that no strip has a form for, is multiplied as bfloat16.

mod codes;
mod factors;
mod grid;

use std::sync::Arc;

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, words};
use bitquilt_kernels::{DotIsa, EncodingKernels, Header, MAX_STRIPS, STRIP_LEN, Strip, Unpack};
use bitquilt_plugin_api::QuantizationEncoding;

use codes::{CodeField, Eights, Fives, Fours, Indices, Sixes, Threes, Twos};
use factors::{Factor, FactorField, FloatScale, Halves, ScaleAndMin, ScaleAndZero, ScaleOnly};
use grid::Grid;

/// The kernels of a declared encoding.
#[must_use]
pub fn declared(declaration: &Declaration) -> EncodingKernels {
    let part = part_len(declaration);
    let grid = Grid::of(declaration.levels(), declaration.bits());
    let (Some(part), Some(grid)) = (part, grid) else { return rounded(declaration) };
    let weight = Weight { declaration: Arc::new(declaration.clone()), grid, part };
    match weight.grid.bits() {
        bits if bits > declaration.bits() && declaration.bits() <= 4 => with_codes::<Indices>(weight),
        0..=2 => with_codes::<Twos>(weight),
        3 => with_codes::<Threes>(weight),
        4 => with_codes::<Fours>(weight),
        5 => with_codes::<Fives>(weight),
        6 => with_codes::<Sixes>(weight),
        _ => with_codes::<Eights>(weight),
    }
}

/// Kernels that multiply decoded values, rounded to bfloat16.
fn rounded(declaration: &Declaration) -> EncodingKernels {
    let encoding = DeclaredEncoding::new(declaration.clone());
    let block = (declaration.block_len(), declaration.block_bytes());
    let decode = move |blocks: &[u8], values: &mut [f32]| {
        if encoding.dequantize(blocks, values).is_err() {
            values.fill(f32::NAN);
        }
    };
    let kernels = EncodingKernels::decoded(declaration.name().to_owned(), block, decode);
    kernels.noted("declared: values are rounded to bfloat16")
}

/// The number of values of a strip that have one scale, if strips have forms for the groups of a declaration: all, or half of them.
fn part_len(declaration: &Declaration) -> Option<usize> {
    let whole = declaration.block_len().is_multiple_of(STRIP_LEN);
    let fits = |part: &usize| whole && declaration.group_len().is_multiple_of(*part);
    [STRIP_LEN, STRIP_LEN / 2].into_iter().find(fits)
}

fn with_codes<C: CodeField>(weight: Weight) -> EncodingKernels {
    let declaration = &weight.declaration;
    let halves = declaration.scales_are_f16();
    if weight.part < STRIP_LEN {
        weight.kernels::<C::OfParts, Halves>()
    } else if !declaration.has_min() && !declaration.has_zero() {
        if halves { weight.kernels::<C, ScaleOnly>() } else { weight.kernels::<C, FloatScale>() }
    } else if halves && declaration.zeros_are_bytes() && !declaration.has_min() {
        weight.kernels::<C, ScaleAndZero>()
    } else {
        weight.kernels::<C, ScaleAndMin>()
    }
}

/// A declaration as weights are prepared.
#[derive(Clone)]
struct Weight {
    declaration: Arc<Declaration>,
    grid: Grid,
    /// The number of values of a strip that have one scale.
    part: usize,
}

impl Weight {
    fn kernels<C: CodeField, F: FactorField<C>>(self) -> EncodingKernels {
        let Grid { unit, offset, .. } = self.grid;
        let factor = Factor { unit, offset: offset as f32 * unit };
        let (name, note) = (self.declaration.name().to_owned(), self.note());
        let table = self.grid.table();
        let strips = self.declaration.group_len() / STRIP_LEN;
        let shared =
            [MAX_STRIPS, 4, 2].into_iter().find(|&shared| strips > 0 && strips.is_multiple_of(shared));
        let fields = std::marker::PhantomData::<fn() -> (C, F)>;
        let unpack = Declared { weight: self, shared: shared.unwrap_or(1), table, factor, fields };
        EncodingKernels::new(name, unpack).noted(note)
    }

    /// What is rounded, in words.
    fn note(&self) -> String {
        match self.grid.error {
            0.0 => "declared: integers of 8 bits".to_owned(),
            error => format!(
                "declared: the table is rounded to integers of 8 bits, {:.2}% of its largest value at most",
                100.0 * error
            ),
        }
    }
}

/// Unpacks codes `C` with factors `F`.
struct Declared<C, F> {
    weight: Weight,
    /// The number of strips that have the same factors, as far as they may share a header.
    shared: usize,
    /// The codes of indices.
    table: [u8; 16],
    factor: Factor,
    fields: std::marker::PhantomData<fn() -> (C, F)>,
}

impl<C, F> Clone for Declared<C, F> {
    fn clone(&self) -> Self {
        Self { weight: self.weight.clone(), ..*self }
    }
}

impl<C: CodeField, F: FactorField<C>> Unpack for Declared<C, F> {
    type Form = F::Form;
    const HEADER_BYTES: usize = if F::ARE_SHARED { F::BYTES } else { 0 };
    const STRIP_BYTES: usize = C::BYTES + if F::ARE_SHARED { 0 } else { F::BYTES };
    // Code of their own for each width of a tile is kept for the commonest: codes of 4 bits with a scale, or a zero point, too.
    const IS_STREAMED: bool = C::IS_COMMON && F::IS_COMMON;

    fn block(&self) -> (usize, usize) {
        (self.weight.declaration.block_len(), self.weight.declaration.block_bytes())
    }

    #[inline(always)]
    fn header_records(&self) -> usize {
        if F::ARE_SHARED { self.shared } else { 1 }
    }

    fn offset(&self) -> i32 {
        self.weight.grid.offset
    }

    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>) {
        let Weight { declaration, grid, part } = &self.weight;
        let mut codes = vec![0; declaration.block_len()];
        declaration.codes(block, &mut codes);
        if !C::INDICES {
            codes.iter_mut().for_each(|code| *code = grid.codes[usize::from(*code)]);
        }
        for (s, strip) in codes.chunks_exact(STRIP_LEN).enumerate() {
            let factors = [0, 1].map(|half| {
                // Where a strip has one scale, both are of the same group.
                let value = STRIP_LEN * s + part % STRIP_LEN * half;
                declaration.factors(block, value / declaration.group_len())
            });
            if s.is_multiple_of(self.header_records()) {
                F::write(records, &self.factor, factors);
            }
            C::write(records, words(strip));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        if !F::ARE_SHARED {
            return Header::empty(fields.isa);
        }
        let ([scale, _], [min_scale, _]) = F::read(fields, &self.factor);
        Header { min_scale, ..Header::scaled(fields.isa, scale) }
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let (scales, mins) = if F::ARE_SHARED {
            let zero = fields.isa.splat_f32(0.0);
            ([header.scale, zero], [header.min_scale, zero])
        } else {
            F::read(fields, &self.factor)
        };
        let codes = C::read(fields, &self.table);
        Strip { scales, mins, ..Strip::scaled(fields.isa, codes, scales[0]) }
    }
}
