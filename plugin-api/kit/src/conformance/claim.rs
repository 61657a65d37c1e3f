//! Whether an encoding's error bound holds.

use bitquilt_plugin_api::{ErrorBound, Importance};

use super::encoding::Probe;
use crate::memory::Memory;

/// What values are made of: each is `(u * scale + shift) * top`, for `u` from -1 to 1.
const SHAPES: [(f32, f32); 4] = [(1.0, 0.0), (0.5, 0.5), (0.5, -0.5), (0.1, 0.9)];

impl Probe<'_> {
    /// Tries blocks whose largest magnitudes are around the ends of the bound's range, and all between.
    pub(super) fn error_bound(&self) -> Result<(), String> {
        let Some(bound) = self.spec.error_bound else { return Ok(()) };
        let ErrorBound { fraction, least, greatest, .. } = bound;
        let is_number = [fraction, least, greatest].iter().all(|x| x.is_finite() && *x >= 0.0);
        if !is_number || least > greatest {
            return Err(format!(
                "the error bound of the spec has the fraction {fraction:?}, least magnitude {least:?} and greatest {greatest:?}: \
                 finite numbers that are not negative were expected, the least not above the greatest"
            ));
        }
        if self.spec.importance == Importance::Required {
            return Err("the spec has an error bound, which is for values that are quantized without importance, and the encoding \
                        demands importance"
                .to_owned());
        }
        let around = [0.01, 0.5, 0.9, 1.0, 1.1, 2.0, 50.0].map(|times| times * least);
        let tops = [1e-30, 1e-4, 1.0, 100.0, 0.5 * greatest, greatest];
        for top in around.into_iter().chain(tops).filter(|top| *top <= greatest) {
            SHAPES.iter().try_for_each(|shape| self.bound_holds(&bound, top, *shape))?;
        }
        Ok(())
    }

    fn bound_holds(&self, bound: &ErrorBound, top: f32, (scale, shift): (f32, f32)) -> Result<(), String> {
        (self.at)(&format!("quantize and dequantize, magnitudes up to {top:e}"));
        let unit = |index: usize| match index % self.spec.block_len {
            0 => 1.0,
            1 => -1.0,
            _ => ((index * 7919 % 2003) as f32 - 1001.0) / 1001.0,
        };
        let values: Vec<f32> =
            (0..8 * self.row_len).map(|index| (unit(index) * scale + shift) * top).collect();
        let called = self.quantize(&values, self.row_len, None, Memory::default());
        let blocks =
            called.and_then(|called| called.result).map_err(|error| format!("`quantize`: {error}"))?;
        let decoded = self.decode(blocks.as_ref())?;
        let pairs = values.chunks(self.spec.block_len).zip(decoded.chunks(self.spec.block_len));
        for (values, decoded) in pairs {
            let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let allowed = f64::from(bound.fraction) * f64::from(most.max(bound.least));
            let is_within = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).abs() <= allowed;
            if let Some((x, y)) = values.iter().zip(decoded).find(|pair| !is_within(*pair)) {
                return Err(format!(
                    "{x:e} is decoded as {y:e} in a block whose largest magnitude is {most:e}; the error bound of the spec allows \
                     {allowed:e} there"
                ));
            }
        }
        Ok(())
    }
}
