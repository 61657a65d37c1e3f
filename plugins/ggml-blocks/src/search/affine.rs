//! The search for scale and minimum of `x = scale * level - offset` with `0 <= level <= top`.

use crate::lanes::Lanes;
use crate::lanes::elementwise;

/// How the error of a fit is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The weighted sum of |difference|.
    Absolute,
    /// The weighted sum of difference^2.
    Square,
}

/// The parameters of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// The highest level.
    pub top: u8,
    /// The scales tried are those at which the range of the values spans `top + first`, `top + first + step`, ..
    /// levels.
    pub first: f32,
    /// See `first`.
    pub step: f32,
    /// The number of scales tried, less one.
    pub steps: u8,
    /// The measure of a fit.
    pub measure: Measure,
}

/// What a search found for a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Affine<V = f32> {
    /// The scale.
    pub scale: V,
    /// What is subtracted; not negative.
    pub offset: V,
    /// The best levels are the nearest to `(x - base) * inverse`.
    inverse: V,
    base: V,
}

impl Search {
    /// The search of every format under an importance vector.
    pub(crate) const fn with_importance(top: u8) -> Self {
        Self { top, first: -0.9, step: 0.05, steps: 36, measure: Measure::Square }
    }

    /// Finds the fit, as ggml's `make_qkx2_quants` and `make_qkx3_quants` do. Each try fits scale and minimum to
    /// its levels by least squares; a better fit's minimum is the base of the tries after it.
    #[inline(always)]
    pub(crate) fn run<V: Lanes, const N: usize>(&self, x: &[V; N], weights: &[V; N]) -> Affine<V> {
        let zero = V::splat(0.0);
        let top = f32::from(self.top);
        let (mut min, mut max) = (x[0], x[0]);
        let mut sum_w = weights[0];
        let mut sum_x = sum_w * x[0];
        for (&x, &weight) in x.iter().zip(weights).skip(1) {
            min = V::select(x.lt(min), x, min);
            max = V::select(max.lt(x), x, max);
            sum_w = sum_w + weight;
            sum_x = sum_x + weight * x;
        }
        min = V::select(zero.lt(min), zero, min);

        // Where all values are the same, no try below can be better than this: its error is 0.
        let inverse = V::splat(top) / (max - min);
        let scale = V::splat(1.0) / inverse;
        let mut best_error = self.error(x, weights, &self.levels(x, inverse, min), scale, min);
        let mut best = Affine { scale, offset: -min, inverse, base: min };
        for step in 0..=self.steps {
            let inverse = V::splat(self.first + self.step * f32::from(step) + top) / (max - min);
            let levels = self.levels(x, inverse, min);
            let (mut sum_l, mut sum_ll, mut sum_xl) = (zero, zero, zero);
            for ((&x, &weight), &level) in x.iter().zip(weights).zip(&levels) {
                let weighted = weight * level;
                sum_l = sum_l + weighted;
                sum_ll = sum_ll + weighted * level;
                sum_xl = sum_xl + weighted * x;
            }
            let determinant = sum_w * sum_ll - sum_l * sum_l;
            let scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let offset = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
            let positive = zero.lt(offset);
            let scale = V::select(positive, sum_xl / sum_ll, scale);
            let fitted = V::select(positive, zero, offset);

            let error = self.error(x, weights, &levels, scale, fitted);
            let better = V::both(zero.lt(determinant), error.lt(best_error));
            best_error = V::select(better, error, best_error);
            best.scale = V::select(better, scale, best.scale);
            best.inverse = V::select(better, inverse, best.inverse);
            best.base = V::select(better, min, best.base);
            min = V::select(better, fitted, min);
        }
        best.offset = -min;
        best
    }

    /// The levels nearest to `(x - base) * inverse`.
    #[inline(always)]
    fn levels<V: Lanes, const N: usize>(&self, x: &[V; N], inverse: V, base: V) -> [V; N] {
        let mut levels = *x;
        for level in &mut levels {
            *level = (inverse * (*level - base)).nearest(0, i32::from(self.top));
        }
        levels
    }

    /// The error of a fit.
    #[inline(always)]
    fn error<V: Lanes, const N: usize>(
        &self,
        x: &[V; N],
        weights: &[V; N],
        levels: &[V; N],
        scale: V,
        min: V,
    ) -> V {
        let mut error = V::splat(0.0);
        for ((&x, &weight), &level) in x.iter().zip(weights).zip(levels) {
            let difference = scale * level + min - x;
            let size = match self.measure {
                Measure::Absolute => difference.abs(),
                Measure::Square => difference * difference,
            };
            error = error + weight * size;
        }
        error
    }
}

impl<V: Lanes> Affine<V> {
    /// Hands each lane's result to the block it was found for.
    #[inline(always)]
    pub(crate) fn store(self, dst: &mut [Affine]) {
        let mut lanes = [[0.0; 16]; 4];
        let fields = [self.scale, self.offset, self.inverse, self.base];
        for (field, lanes) in fields.into_iter().zip(&mut lanes) {
            field.store(&mut lanes[..dst.len()]);
        }
        for (lane, dst) in dst.iter_mut().enumerate() {
            let [scale, offset, inverse, base] = lanes.map(|lanes| lanes[lane]);
            *dst = Affine { scale, offset, inverse, base };
        }
    }
}

impl Affine {
    /// The levels of the best fit.
    #[inline(always)]
    pub(crate) fn levels<V: Lanes, const N: usize>(&self, x: &[f32; N], top: u8) -> [i8; N] {
        elementwise::multiplied::<V, N>(x, self.base, self.inverse, 0, i32::from(top))
    }
}
