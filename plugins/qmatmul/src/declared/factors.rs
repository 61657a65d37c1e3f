//! Scales and minima of a strip as they are prepared.

use bitquilt_declared::Factors;
use bitquilt_kernels::fields::{FieldReader, FieldWriter};
use bitquilt_kernels::{DotIsa, Form, StripForm};
use half::f16;

use super::codes::CodeField;

/// What a code stands for, before its scale: `unit * code - offset`.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    /// What codes are multiples of.
    pub(super) unit: f32,
    /// What is to be taken from them then.
    pub(super) offset: f32,
}

/// How the factors of a strip are stored, or those of several that have the same. The unit is folded into what is read.
pub(super) trait FactorField<C: CodeField>: Send + Sync + 'static {
    /// The form of the strips.
    type Form: Form;
    /// Prepared bytes.
    const BYTES: usize;
    /// Whether both halves of a strip have the same, so that they may be those of strips that follow, too.
    const ARE_SHARED: bool = true;
    /// Whether many weights have such.
    const IS_COMMON: bool = false;

    /// Writes the factors of the halves of a row's strip.
    fn write(record: &mut FieldWriter<'_>, factor: &Factor, factors: [Factors; 2]);

    /// Reads scales and minima.
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, factor: &Factor) -> ([I::F32; 2], [I::F32; 2]);
}

/// What the codes of a form have lost before they are multiplied, as a float.
#[inline(always)]
fn taken<F: Form, I: DotIsa>() -> f32 {
    if F::BITS == 8 { I::BYTE_OFFSET as f32 } else { 0.0 }
}

/// A half-precision scale. The offset is in the sums of activations.
pub(super) struct ScaleOnly;

impl<C: CodeField> FactorField<C> for ScaleOnly {
    type Form = C::Scaled;
    const BYTES: usize = 2;
    const IS_COMMON: bool = true;

    fn write(record: &mut FieldWriter<'_>, _: &Factor, [factors, _]: [Factors; 2]) {
        record.half(f16::from_f32(factors.scale));
    }

    #[inline(always)]
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, factor: &Factor) -> ([I::F32; 2], [I::F32; 2]) {
        let isa = fields.isa;
        let zero = isa.splat_f32(0.0);
        let scale = isa.mul(fields.half(), isa.splat_f32(factor.unit));
        ([scale, zero], [zero; 2])
    }
}

/// A single-precision scale. The offset is in the sums of activations.
pub(super) struct FloatScale;

impl<C: CodeField> FactorField<C> for FloatScale {
    type Form = C::Scaled;
    const BYTES: usize = 4;

    fn write(record: &mut FieldWriter<'_>, factor: &Factor, [factors, _]: [Factors; 2]) {
        record.float(factors.scale * factor.unit);
    }

    #[inline(always)]
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, _: &Factor) -> ([I::F32; 2], [I::F32; 2]) {
        let zero = fields.isa.splat_f32(0.0);
        ([fields.float(), zero], [zero; 2])
    }
}

/// A half-precision scale, and a zero point of a byte.
pub(super) struct ScaleAndZero;

impl<C: CodeField> FactorField<C> for ScaleAndZero {
    type Form = C::Affine;
    const BYTES: usize = 3;
    const IS_COMMON: bool = true;

    fn write(record: &mut FieldWriter<'_>, _: &Factor, [factors, _]: [Factors; 2]) {
        record.half(f16::from_f32(factors.scale));
        record.byte(factors.zero as u8);
    }

    #[inline(always)]
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, factor: &Factor) -> ([I::F32; 2], [I::F32; 2]) {
        let isa = fields.isa;
        let none = isa.splat_f32(0.0);
        let scale = fields.half();
        let offset = isa.splat_f32(factor.unit * taken::<C::Affine, I>() - factor.offset);
        let min = isa.mul(isa.fma(fields.byte(), isa.splat_f32(-1.0), offset), scale);
        ([isa.mul(scale, isa.splat_f32(factor.unit)), none], [min, none])
    }
}

/// The minimum that is to be added, of codes that have an offset or a zero point.
fn min(factor: &Factor, factors: &Factors) -> f32 {
    factors.min - (factor.offset + factors.zero) * factors.scale
}

/// A single-precision scale and minimum.
pub(super) struct ScaleAndMin;

impl<C: CodeField> FactorField<C> for ScaleAndMin {
    type Form = C::Affine;
    const BYTES: usize = 8;

    fn write(record: &mut FieldWriter<'_>, factor: &Factor, [factors, _]: [Factors; 2]) {
        record.float(factors.scale * factor.unit);
        record.float(min(factor, &factors));
    }

    #[inline(always)]
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, _: &Factor) -> ([I::F32; 2], [I::F32; 2]) {
        let isa = fields.isa;
        let zero = isa.splat_f32(0.0);
        let scale = fields.float();
        let min = isa.fma(scale, isa.splat_f32(taken::<C::Affine, I>()), fields.float());
        ([scale, zero], [min, zero])
    }
}

/// A single-precision scale and minimum for each half.
pub(super) struct Halves;

impl<C: CodeField> FactorField<C> for Halves {
    type Form = StripForm<2, 2, 8>;
    const BYTES: usize = 16;
    const ARE_SHARED: bool = false;

    fn write(record: &mut FieldWriter<'_>, factor: &Factor, factors: [Factors; 2]) {
        for factors in factors {
            record.float(factors.scale * factor.unit);
            record.float(min(factor, &factors));
        }
    }

    #[inline(always)]
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, _: &Factor) -> ([I::F32; 2], [I::F32; 2]) {
        let isa = fields.isa;
        let (mut scales, mut mins) = ([isa.splat_f32(0.0); 2], [isa.splat_f32(0.0); 2]);
        for (scale, min) in scales.iter_mut().zip(&mut mins) {
            *scale = fields.float();
            *min = isa.fma(*scale, isa.splat_f32(taken::<StripForm<2, 2, 8>, I>()), fields.float());
        }
        (scales, mins)
    }
}
