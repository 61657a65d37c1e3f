//! The search for the scale of `x = scale * level` with `-half <= level < half`.

use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;

/// Below this, a block's largest magnitude counts as zero.
pub(crate) const EPSILON: f32 = 1e-15;

/// Tried beside the plain scale: those at which the largest value falls on level `half` +- a tenth of these.
const TENTHS: [i8; 18] = [-9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// What a search found for a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Symmetric<V = f32> {
    /// The scale; it may be negative.
    pub scale: V,
    /// What the values were multiplied by when the best levels were found; NaN for a block of zeros.
    pub inverse: V,
}

/// The value of largest magnitude, the first of them where several are that large.
#[inline(always)]
pub(crate) fn largest<V: Lanes, const N: usize>(x: &[V; N]) -> V {
    let mut largest = V::splat(0.0);
    for &x in x {
        largest = V::select(largest.abs().lt(x.abs()), x, largest);
    }
    largest
}

/// The weighted sums of `x * level` and of `level^2`, with the levels nearest to `x * inverse`.
#[inline(always)]
fn project<V: Lanes, const N: usize>(x: &[V; N], weights: &[V; N], inverse: V, half: i8) -> (V, V) {
    let (low, high) = (i32::from(-half), i32::from(half) - 1);
    let (mut xl, mut ll) = (V::splat(0.0), V::splat(0.0));
    for (&x, &weight) in x.iter().zip(weights) {
        let level = (inverse * x).nearest(low, high);
        xl = xl + weight * x * level;
        ll = ll + weight * level * level;
    }
    (xl, ll)
}

/// Finds the scale that makes the sum of `weight * (x - scale * level)^2` small: ggml's `make_qx_quants`.
#[inline(always)]
pub(crate) fn search<V: Lanes, const N: usize>(x: &[V; N], weights: &[V; N], half: i8) -> Symmetric<V> {
    let zero = V::splat(0.0);
    let largest = largest(x);
    let mut inverse = V::splat(f32::from(-half)) / largest;
    let (xl, ll) = project(x, weights, inverse, half);
    let mut scale = V::select(ll.ne(zero), xl / ll, zero);
    let mut best = scale * xl;
    for tenths in TENTHS {
        let candidate = V::splat(-(f32::from(half) + 0.1 * f32::from(tenths))) / largest;
        let (xl, ll) = project(x, weights, candidate, half);
        let better = V::both(zero.lt(ll), (best * ll).lt(xl * xl));
        scale = V::select(better, xl / ll, scale);
        best = V::select(better, scale * xl, best);
        inverse = V::select(better, candidate, inverse);
    }

    let empty = largest.abs().lt(V::splat(EPSILON));
    Symmetric { scale: V::select(empty, zero, scale), inverse: V::select(empty, V::splat(f32::NAN), inverse) }
}

impl<V: Lanes> Symmetric<V> {
    /// Hands each lane's result to the block it was found for.
    #[inline(always)]
    pub(crate) fn store(self, dst: &mut [Symmetric]) {
        let (mut scale, mut inverse) = ([0.0; 16], [0.0; 16]);
        self.scale.store(&mut scale[..dst.len()]);
        self.inverse.store(&mut inverse[..dst.len()]);
        for (dst, (scale, inverse)) in dst.iter_mut().zip(scale.into_iter().zip(inverse)) {
            *dst = Symmetric { scale, inverse };
        }
    }
}

impl Symmetric {
    /// The levels of the best fit plus `half`; all 0 for a block of zeros.
    #[inline(always)]
    pub(crate) fn levels<V: Lanes, const N: usize>(&self, x: &[f32; N], half: i8) -> [i8; N] {
        if self.inverse.is_nan() {
            return [0; N];
        }
        let (low, high) = (i32::from(-half), i32::from(half) - 1);
        packing::shifted(elementwise::multiplied::<V, N>(x, 0.0, self.inverse, low, high), half)
    }
}
