//! Plain Rust, the oracle of the other instruction sets.

use half::{bf16, f16};

use super::{Body, CodeSource, DotIsa, MAX_LANES, STEP, TO_INTEGER};
use crate::form::{Form, STRIP_LEN};

/// Four rows at a time, an element after the other.
pub(crate) struct Scalar;

const LANES: usize = 4;
type Bytes = [u8; 4 * LANES];

/// `N` values of `SIZE` bytes at `from`.
///
/// # Safety
/// `from` may be read for `N * SIZE` bytes.
unsafe fn read<const SIZE: usize, const N: usize>(from: *const u8) -> [[u8; SIZE]; N] {
    // SAFETY: arrays of bytes have no alignment, and the caller vouches for the bytes.
    unsafe { from.cast::<[[u8; SIZE]; N]>().read() }
}

/// `c` and the products of the pairs of bfloat16 that `a` and `b` are, as `vdpbf16ps` rounds them: the upper halves' first, each fused
/// with its addition; subnormal operands and sums count as zeros.
pub(super) fn dot_bf16(a: f32, b: f32, c: f32) -> f32 {
    let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
    let halves =
        |x: f32| [x.to_bits() & 0xffff_0000, x.to_bits() << 16].map(|half| flush(f32::from_bits(half)));
    let products = halves(a).into_iter().zip(halves(b));
    products.fold(flush(c), |sum, (a, b)| flush(a.mul_add(b, sum)))
}

/// [`DotIsa::dot_bf16`] by its definition.
///
/// # Safety
/// As for the methods of [`DotIsa`].
pub(super) unsafe fn dot_bf16_lanes<I: DotIsa>(a: I::F32, b: I::F32, c: I::F32) -> I::F32 {
    let [mut pairs, mut factors, mut sums] = [[0.0; MAX_LANES]; 3];
    // SAFETY: the caller's contract is this one's; there is room for all lanes.
    unsafe {
        I::store_f32(pairs.as_mut_ptr(), a);
        I::store_f32(factors.as_mut_ptr(), b);
        I::store_f32(sums.as_mut_ptr(), c);
        for (sum, (a, b)) in sums.iter_mut().zip(pairs.into_iter().zip(factors)) {
            *sum = dot_bf16(a, b, *sum);
        }
        I::load_f32(sums.as_ptr().cast())
    }
}

impl DotIsa for Scalar {
    const LANES: usize = LANES;
    const GROUPS: usize = 1;
    const COLUMNS: usize = 4;
    const BYTE_OFFSET: i32 = 0;

    type Codes = Bytes;
    type I32 = [i32; LANES];
    type F32 = [f32; LANES];

    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: every machine has this instruction set.
        unsafe { body.run::<Self>() }
    }

    unsafe fn load(from: *const u8) -> Bytes {
        // SAFETY: the caller vouches for the bytes.
        unsafe { from.cast::<Bytes>().read() }
    }

    unsafe fn store(to: *mut u8, codes: Bytes) {
        // SAFETY: the caller vouches for the bytes.
        unsafe { to.cast::<Bytes>().write(codes) }
    }

    unsafe fn splat(byte: u8) -> Bytes {
        [byte; 4 * LANES]
    }

    unsafe fn and(a: Bytes, b: Bytes) -> Bytes {
        std::array::from_fn(|i| a[i] & b[i])
    }

    unsafe fn or(a: Bytes, b: Bytes) -> Bytes {
        std::array::from_fn(|i| a[i] | b[i])
    }

    unsafe fn shl<const N: u32>(codes: Bytes) -> Bytes {
        codes.map(|code| code << N)
    }

    unsafe fn shr<const N: u32>(codes: Bytes) -> Bytes {
        codes.map(|code| code >> N)
    }

    unsafe fn lookup(table: &[u8; 16], codes: Bytes) -> Bytes {
        codes.map(|code| table[usize::from(code & 15)])
    }

    unsafe fn load_factors<const SHIFT: u32>(from: *const u8) -> Bytes {
        // SAFETY: the caller vouches for the bytes.
        let bytes = unsafe { read::<1, LANES>(from) };
        std::array::from_fn(|i| bytes[i / 4][0] >> SHIFT & 15)
    }

    unsafe fn scale(codes: Bytes, factors: Bytes) -> Bytes {
        std::array::from_fn(|i| codes[i] * factors[i])
    }

    unsafe fn load_lane_bytes(from: *const u8) -> [Bytes; 2] {
        // SAFETY: the caller vouches for the bytes.
        let pairs = unsafe { read::<2, LANES>(from) };
        [0, 1].map(|second: usize| std::array::from_fn(|i| pairs[i / 4][second]))
    }

    unsafe fn sub(a: Bytes, b: Bytes) -> Bytes {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }

    unsafe fn scale_add(codes: Bytes, factors: Bytes, terms: Bytes) -> Bytes {
        std::array::from_fn(|i| codes[i].wrapping_mul(factors[i]).wrapping_add(terms[i]))
    }

    unsafe fn quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {
        for (code, x) in codes.iter_mut().zip(strip) {
            *code = (x * inverse + TO_INTEGER).to_bits() as u8;
        }
        let (lower, upper) = codes.split_at(STRIP_LEN / 2);
        [lower, upper].map(|half| half.iter().map(|&code| i32::from(code as i8)).sum())
    }

    unsafe fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        sums: &mut [[Self::I32; W]; G],
        codes: &[S; G],
        first: usize,
        x: *const i8,
    ) {
        for (sums, source) in sums.iter_mut().zip(codes) {
            for k in first..first + STEP {
                // SAFETY: the caller's contract is this one's.
                let codes = unsafe { source.codes(k) };
                for (c, sums) in sums.iter_mut().enumerate() {
                    for (i, &code) in codes.iter().enumerate() {
                        // SAFETY: `x` has 32 activations for each of the `W` columns, and `k` is below 8.
                        let x = unsafe { *x.add(32 * c + 4 * k + i % 4) };
                        sums[i / 4] += i32::from(code) * i32::from(x);
                    }
                }
            }
        }
    }

    unsafe fn load_nibble_pair(from: *const u8) -> Bytes {
        // SAFETY: the caller vouches for the bytes.
        let bytes = unsafe { read::<1, LANES>(from) };
        std::array::from_fn(|i| match i % 4 {
            0 => bytes[i / 4][0] & 15,
            2 => bytes[i / 4][0] >> 4,
            _ => 0,
        })
    }

    unsafe fn load_byte_pair(from: *const u8) -> Bytes {
        // SAFETY: the caller vouches for the bytes.
        let bytes = unsafe { read::<2, LANES>(from) };
        std::array::from_fn(|i| i16::from(bytes[i / 4][i % 4 / 2] as i8).to_le_bytes()[i % 2])
    }

    unsafe fn dot_pair(mut sums: [i32; LANES], pairs: Bytes, x: *const u8) -> [i32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        let x = unsafe { read::<2, 2>(x) }.map(|bytes| i32::from(i16::from_ne_bytes(bytes)));
        for (i, &number) in pairs.as_chunks::<2>().0.iter().enumerate() {
            sums[i / 2] += i32::from(i16::from_le_bytes(number)) * x[i % 2];
        }
        sums
    }

    unsafe fn add_scaled<F: Form>(
        mut sums: [i32; LANES],
        lower: [i32; LANES],
        upper: [i32; LANES],
        scales: Bytes,
    ) -> [i32; LANES] {
        for (i, bytes) in scales.as_chunks::<4>().0.iter().enumerate() {
            let [first, second] = [[bytes[0], bytes[1]], [bytes[2], bytes[3]]].map(i16::from_le_bytes);
            sums[i] += lower[i] * i32::from(first) + (upper[i] >> F::UPPER_SHIFT) * i32::from(second);
        }
        sums
    }

    unsafe fn broadcast_i32(from: *const u8) -> [i32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        [i32::from_ne_bytes(unsafe { read::<4, 1>(from) }[0]); LANES]
    }

    unsafe fn zero_i32() -> [i32; LANES] {
        [0; LANES]
    }

    unsafe fn add_i32(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    unsafe fn to_f32(sums: [i32; LANES]) -> [f32; LANES] {
        sums.map(|sum| sum as f32)
    }

    unsafe fn zero() -> [f32; LANES] {
        [0.0; LANES]
    }

    unsafe fn broadcast(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        [f32::from_ne_bytes(unsafe { read::<4, 1>(from) }[0]); LANES]
    }

    unsafe fn load_f32(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { read::<4, LANES>(from) }.map(f32::from_ne_bytes)
    }

    unsafe fn load_f16(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { read::<2, LANES>(from) }.map(|bytes| f16::from_le_bytes(bytes).to_f32_const())
    }

    unsafe fn load_bf16(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { read::<2, LANES>(from) }.map(|bytes| bf16::from_le_bytes(bytes).to_f32_const())
    }

    unsafe fn load_u8(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { read::<1, LANES>(from) }.map(|[byte]| f32::from(byte))
    }

    unsafe fn load_i8(from: *const u8) -> [f32; LANES] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { read::<1, LANES>(from) }.map(|[byte]| f32::from(byte as i8))
    }

    unsafe fn store_f32(to: *mut f32, x: [f32; LANES]) {
        // SAFETY: the caller vouches for the floats.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(x) }
    }

    unsafe fn mul(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    unsafe fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    unsafe fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    unsafe fn prefetch(_at: *const u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::vectorize;
    use bitquilt_simd::Isa;

    /// Both ways, of all lanes of `operands`.
    struct DotBf16<'a> {
        operands: [[f32; MAX_LANES]; 3],
        sums: &'a mut [[f32; MAX_LANES]; 2],
    }

    impl Body for DotBf16<'_> {
        #[inline(always)]
        unsafe fn run<I: DotIsa>(self) {
            // SAFETY: the caller vouches for the instruction set; there is room for all lanes.
            unsafe {
                let [a, b, c] = self.operands.map(|lanes| I::load_f32(lanes.as_ptr().cast()));
                I::store_f32(self.sums[0].as_mut_ptr(), I::dot_bf16(a, b, c));
                I::store_f32(self.sums[1].as_mut_ptr(), dot_bf16_lanes::<I>(a, b, c));
            }
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
        for isa in Isa::available() {
            for [pair, sum] in kinds.into_iter().cycle().take(4000) {
                let operands = [pair, pair, sum]
                    .map(|(mask, fixed)| std::array::from_fn(|_| f32::from_bits(random() & !mask | fixed)));
                let mut sums = [[0.0; MAX_LANES]; 2];
                // SAFETY: the machine has the instruction set.
                unsafe { vectorize(isa, DotBf16 { operands, sums: &mut sums }) };
                for (i, (got, expected)) in sums[0].into_iter().zip(sums[1]).enumerate() {
                    let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                    let operands = operands.map(|lanes| lanes[i]);
                    assert!(same, "{isa:?} {operands:?}: {got:e}, not {expected:e}");
                }
            }
        }
    }
}
