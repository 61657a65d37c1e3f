//! Products of pairs of bfloat16, by their definition.

use super::{DotIsa, MAX_LANES};

/// `c` and the products of the pairs of bfloat16 that `a` and `b` are, as `vdpbf16ps` rounds them: the upper halves' first, each fused
/// with its addition; subnormal operands and sums count as zeros.
fn dot(a: f32, b: f32, c: f32) -> f32 {
    let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
    let halves =
        |x: f32| [x.to_bits() & 0xffff_0000, x.to_bits() << 16].map(|half| flush(f32::from_bits(half)));
    let products = halves(a).into_iter().zip(halves(b));
    products.fold(flush(c), |sum, (a, b)| flush(a.mul_add(b, sum)))
}

/// [`DotIsa::dot_bf16`] by its definition.
#[inline(always)]
pub(super) fn dot_lanes<I: DotIsa>(isa: I, a: I::F32, b: I::F32, c: I::F32) -> I::F32 {
    let [mut pairs, mut factors, mut sums] = [[0.0; MAX_LANES]; 3];
    isa.store_f32(&mut pairs, a);
    isa.store_f32(&mut factors, b);
    isa.store_f32(&mut sums, c);
    for (sum, (a, b)) in sums.iter_mut().zip(pairs.into_iter().zip(factors)) {
        *sum = dot(a, b, *sum);
    }
    isa.load_f32(bytemuck::cast_slice(&sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{AnyDot, Body};

    /// Both ways, of all lanes of the operands.
    struct BothWays([[f32; MAX_LANES]; 3]);

    impl Body for BothWays {
        type Output = [[f32; MAX_LANES]; 2];

        #[inline(always)]
        fn run<I: DotIsa>(self, isa: I) -> Self::Output {
            let [a, b, c] = &self.0;
            let (a, b) = (isa.load_f32(bytemuck::cast_slice(a)), isa.load_f32(bytemuck::cast_slice(b)));
            let c = isa.load_f32(bytemuck::cast_slice(c));
            let mut sums = [[0.0; MAX_LANES]; 2];
            isa.store_f32(&mut sums[0], isa.dot_bf16(a, b, c));
            isa.store_f32(&mut sums[1], dot_lanes(isa, a, b, c));
            sums
        }
    }

    #[test]
    fn products_of_pairs_are_as_defined() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        };
        // What is fixed of a pair and of a sum: exponents near each other, so that sums cancel and round; those of the
        // smallest products and sums; subnormals; nothing.
        const EXPONENT: u32 = 0x7f80_7f80;
        let kinds = [
            [(EXPONENT, 0x3f80_3f80), (EXPONENT << 16, 0x3f80_0000)],
            [(0x7e00_7e00, 0x2000_2000), (EXPONENT << 16, 0x0080_0000)],
            [(EXPONENT, 0), (EXPONENT << 16, 0)],
            [(0, 0); 2],
        ];
        for isa in AnyDot::available() {
            for [pair, sum] in kinds.into_iter().cycle().take(4000) {
                let operands = [pair, pair, sum]
                    .map(|(mask, fixed)| std::array::from_fn(|_| f32::from_bits(random() & !mask | fixed)));
                let [sums, expected] = isa.run(BothWays(operands));
                for (i, (got, expected)) in sums.into_iter().zip(expected).enumerate() {
                    let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                    let operands = operands.map(|lanes| lanes[i]);
                    assert!(same, "{} {operands:?}: {got:e}, not {expected:e}", isa.isa());
                }
            }
        }
    }
}
