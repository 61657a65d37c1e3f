//! AVX2 with FMA and F16C: eight rows in a register. AVX-VNNI: the same, with products of bytes that are one instruction.

use std::arch::x86_64::*;

use bitquilt_simd::{Avx2, AvxVnni, instructions};

use super::{CodeSource, DotIsa, OwnKernels, STEP, TO_INTEGER, first, first_mut, four};
use crate::form::{Form, STRIP_LEN};

/// All of [`DotIsa`] that both sets have in common.
macro_rules! registers_of_256_bits {
    () => {
        type Codes = __m256i;
        type I32 = __m256i;
        type F32 = __m256;

        instructions! {
            // SAFETY: `first` and `first_mut` see to the bytes that are read and written; a table has 16 bytes, a strip 32 values.
            unsafe
            load(from: &[u8]) -> __m256i { _mm256_loadu_si256(first::<32, _>(from)) }
            store(to: &mut [u8], codes: __m256i) -> () { _mm256_storeu_si256(first_mut::<32, _, _>(to), codes) }
            splat(byte: u8) -> __m256i { _mm256_set1_epi8(byte as i8) }
            and(a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
            or(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
            shl<const N: u32>(codes: __m256i) -> __m256i { _mm256_sll_epi16(codes, _mm_cvtsi32_si128(N as i32)) }
            shr<const N: u32>(codes: __m256i) -> __m256i { _mm256_srl_epi16(codes, _mm_cvtsi32_si128(N as i32)) }
            lookup(table: &[u8; 16], codes: __m256i) -> __m256i {
                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), codes)
            }
            // There is no product of bytes: a factor is in both halves of its lane, and multiplies two codes at once.
            load_factors<const SHIFT: u32>(from: &[u8]) -> __m256i {{
                let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(first::<8, _>(from)));
                let shifted = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(SHIFT as i32));
                let factors = _mm256_and_si256(shifted, _mm256_set1_epi32(15));
                _mm256_or_si256(factors, _mm256_slli_epi32::<16>(factors))
            }}
            scale(codes: __m256i, factors: __m256i) -> __m256i { _mm256_mullo_epi16(codes, factors) }
            load_lane_bytes(from: &[u8]) -> [__m256i; 2] {{
                let first_of_four = _mm256_broadcastsi128_si256(first_of_four());
                let pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128(first::<16, _>(from)));
                let seconds = _mm256_srli_epi32::<16>(pairs);
                [_mm256_shuffle_epi8(pairs, first_of_four), _mm256_shuffle_epi8(seconds, first_of_four)]
            }}
            sub(a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi8(a, b) }
            // The lower byte of a product of 16 bits is right, and the upper one where the lower code is zero.
            scale_add(codes: __m256i, factors: __m256i, terms: __m256i) -> __m256i {{
                let odd = _mm256_set1_epi16(-256);
                let odd_products = _mm256_mullo_epi16(_mm256_and_si256(codes, odd), factors);
                let even_products = _mm256_andnot_si256(odd, _mm256_mullo_epi16(codes, factors));
                _mm256_add_epi8(_mm256_or_si256(odd_products, even_products), terms)
            }}
            quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {{
                let strip = strip.as_chunks::<8>().0;
                let lower = _mm256_packus_epi32(nearest(&strip[0], inverse), nearest(&strip[1], inverse));
                let upper = _mm256_packus_epi32(nearest(&strip[2], inverse), nearest(&strip[3], inverse));
                // Four values each of 0, 1, 2, 3 above, from their lower halves, and then from their upper ones.
                let packed = _mm256_packus_epi16(lower, upper);
                let bytes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
                _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes);
                [sum_of_bytes(_mm256_castsi256_si128(bytes)), sum_of_bytes(_mm256_extracti128_si256::<1>(bytes))]
            }}
            load_nibble_pair(from: &[u8]) -> __m256i {{
                let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(first::<8, _>(from)));
                let pairs = _mm256_or_si256(bytes, _mm256_slli_epi32::<12>(bytes));
                _mm256_and_si256(pairs, _mm256_set1_epi32(0x000f_000f))
            }}
            load_byte_pair(from: &[u8]) -> __m256i { _mm256_cvtepi8_epi16(_mm_loadu_si128(first::<16, _>(from))) }
            dot_pair(sums: __m256i, pairs: __m256i, x: [u8; 4]) -> __m256i {
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi32(i32::from_ne_bytes(x))))
            }
            add_scaled(
                sums: __m256i, lower: __m256i, upper: __m256i, upper_shift: u32, scales: __m256i
            ) -> __m256i {{
                let upper = _mm256_sll_epi32(upper, _mm_cvtsi32_si128(16 - upper_shift as i32));
                _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_blend_epi16::<0xaa>(lower, upper), scales))
            }}
            splat_i32(x: i32) -> __m256i { _mm256_set1_epi32(x) }
            add_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
            nibble(codes: __m256i, i: usize) -> __m256 {{
                let shifted = _mm256_srl_epi32(codes, _mm_cvtsi32_si128(4 * i as i32));
                _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(15)))
            }}
            to_f32(sums: __m256i) -> __m256 { _mm256_cvtepi32_ps(sums) }
            splat_f32(x: f32) -> __m256 { _mm256_set1_ps(x) }
            load_f32(from: &[u8]) -> __m256 { _mm256_loadu_ps(first::<32, _>(from)) }
            load_f16(from: &[u8]) -> __m256 { _mm256_cvtph_ps(_mm_loadu_si128(first::<16, _>(from))) }
            load_bf16(from: &[u8]) -> __m256 {{
                let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(first::<16, _>(from)));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
            }}
            load_bf16_pairs(from: &[u8]) -> [__m256; 2] {{
                let pairs = _mm256_loadu_si256(first::<32, _>(from));
                let seconds = _mm256_and_si256(pairs, _mm256_set1_epi32(-1 << 16));
                [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(seconds)]
            }}
            load_u8(from: &[u8]) -> __m256 {
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(first::<8, _>(from))))
            }
            load_i8(from: &[u8]) -> __m256 {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(first::<8, _>(from))))
            }
            store_f32(to: &mut [f32], x: __m256) -> () { _mm256_storeu_ps(first_mut::<8, _, _>(to), x) }
            mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
            add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
            fma(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        }
    };
}

impl DotIsa for Avx2 {
    const LANES: usize = 8;
    const GROUPS: usize = 1;
    const COLUMNS: usize = 4;
    // `vpmaddubsw` saturates: codes of 8 bits are taken as signed, and their signs moved to the activations.
    const BYTE_OFFSET: i32 = 128;
    const BYTES_ARE_QUICK: bool = false;

    registers_of_256_bits!();

    #[inline(always)]
    fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        self,
        sums: &mut [[__m256i; W]; G],
        sources: &[S; G],
        first: usize,
        x: &[[u8; STRIP_LEN]; W],
    ) {
        for g in 0..G {
            let mut codes = [self.splat(0); STEP];
            for (i, codes) in codes.iter_mut().enumerate() {
                *codes = sources[g].codes(self, first + i);
            }
            for c in 0..W {
                let mut products = [self.splat(0); STEP];
                for i in 0..STEP {
                    // SAFETY: `self` exists where the machine has the instructions.
                    products[i] = unsafe { pair_products::<F>(codes[i], four(&x[c], first + i)) };
                }
                // SAFETY: as above.
                sums[g][c] = unsafe { add_products::<F>(sums[g][c], products) };
            }
        }
    }
}

impl DotIsa for AvxVnni {
    const OWN: OwnKernels = OwnKernels { integers: true, floats: false, bf16: false };
    const LANES: usize = 8;
    // Three groups share each broadcast of activations, and there are 16 registers.
    const GROUPS: usize = 3;
    const COLUMNS: usize = 2;
    const BYTE_OFFSET: i32 = 0;

    registers_of_256_bits!();

    #[inline(always)]
    fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        self,
        sums: &mut [[__m256i; W]; G],
        codes: &[S; G],
        first: usize,
        x: &[[u8; STRIP_LEN]; W],
    ) {
        for k in first..first + STEP {
            for c in 0..W {
                let x = self.splat_i32(four(&x[c], k));
                for g in 0..G {
                    let codes = codes[g].codes(self, k);
                    // SAFETY: `self` exists where the machine has the instructions.
                    sums[g][c] = unsafe { _mm256_dpbusd_avx_epi32(sums[g][c], codes, x) };
                }
            }
        }
    }
}

/// The products of four codes with four activations, two in a sum of 16 bits.
#[target_feature(enable = "avx2")]
#[inline]
fn pair_products<F: Form>(codes: __m256i, x: i32) -> __m256i {
    let x = _mm256_set1_epi32(x);
    if F::BITS == 8 {
        let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed))
    } else {
        _mm256_maddubs_epi16(codes, x)
    }
}

/// The sum of `products`, four of them in 16 bits where that cannot overflow, added to `sums`.
#[target_feature(enable = "avx2")]
#[inline]
fn add_products<F: Form>(sums: __m256i, products: [__m256i; STEP]) -> __m256i {
    let widen = |pairs| _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let [a, b, c, d] = products;
    // A product of two pairs is at most 2 * 127 * code.
    if F::BITS <= 5 {
        let ab = _mm256_add_epi16(a, b);
        let cd = _mm256_add_epi16(c, d);
        _mm256_add_epi32(sums, widen(_mm256_add_epi16(ab, cd)))
    } else if F::BITS == 6 {
        let ab = widen(_mm256_add_epi16(a, b));
        let cd = widen(_mm256_add_epi16(c, d));
        _mm256_add_epi32(sums, _mm256_add_epi32(ab, cd))
    } else {
        let ab = _mm256_add_epi32(widen(a), widen(b));
        let cd = _mm256_add_epi32(widen(c), widen(d));
        _mm256_add_epi32(sums, _mm256_add_epi32(ab, cd))
    }
}

/// The integers nearest to `x * inverse`, of which the lowest bytes are left.
#[target_feature(enable = "avx2")]
#[inline]
fn nearest(x: &[f32; 8], inverse: f32) -> __m256i {
    // SAFETY: there are eight values.
    let x = _mm256_mul_ps(unsafe { _mm256_loadu_ps(x.as_ptr()) }, _mm256_set1_ps(inverse));
    let bits = _mm256_castps_si256(_mm256_add_ps(x, _mm256_set1_ps(TO_INTEGER)));
    _mm256_and_si256(bits, _mm256_set1_epi32(0xff))
}

/// Where a shuffle takes the lowest byte of each lane from, four times.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn first_of_four() -> __m128i {
    _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)
}

/// The sum of signed bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_of_bytes(codes: __m128i) -> i32 {
    let unsigned = _mm_xor_si128(codes, _mm_set1_epi8(i8::MIN));
    let sums = _mm_sad_epu8(unsigned, _mm_setzero_si128());
    _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums))) - 16 * 128
}
