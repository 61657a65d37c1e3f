//! AVX-512: sixteen floats in a register.

use std::arch::x86_64::*;

use half::f16;

use crate::instructions;
use crate::lanes::{LANES, Simd};
use crate::token::Avx512;

/// Quarters 0 and 2, and 1 and 3, of two registers.
const EVEN: i32 = 0b10_00_10_00;
const ODD: i32 = 0b11_01_11_01;

impl Simd for Avx512 {
    type F = __m512;
    type M = __mmask16;
    const WIDE: bool = true;

    instructions! {
        // SAFETY: memory is read and written through references, at offsets within them.
        unsafe
        splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        load(from: &[f32; LANES]) -> __m512 { _mm512_loadu_ps(from.as_ptr()) }
        load_f16(from: &[f16; LANES]) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
        store_f16(to: &mut [f16; LANES], x: __m512) -> () {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x))
        }
        store(to: &mut [f32; LANES], x: __m512) -> () { _mm512_storeu_ps(to.as_mut_ptr(), x) }
        add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        sqrt(x: __m512) -> __m512 { _mm512_sqrt_ps(x) }
        split(x: __m512) -> (__m512, __m512) {
            (_mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_ZERO>(x), _mm512_getexp_ps(x))
        }
        round(x: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
        }
        exp2(n: __m512) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                _mm512_cvtps_epi32(n),
                _mm512_set1_epi32(127),
            )))
        }
        sum(x: __m512) -> f32 {{
            let halves = _mm256_add_ps(_mm512_castps512_ps256(x), upper_half(x));
            let quarters = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
        }}
        greatest(x: __m512) -> f32 {{
            let halves = _mm256_max_ps(_mm512_castps512_ps256(x), upper_half(x));
            let quarters = _mm_max_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let pairs = _mm_max_ps(quarters, _mm_movehl_ps(quarters, quarters));
            _mm_cvtss_f32(_mm_max_ss(pairs, _mm_movehdup_ps(pairs)))
        }}
        less(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
        select(choice: __mmask16, a: __m512, b: __m512) -> __m512 { _mm512_mask_blend_ps(choice, b, a) }
        transpose(rows: [__m512; LANES]) -> [__m512; LANES] {{
            // Within each quarter of a register: pairs, then fours.
            let mut pairs = rows;
            let mut fours = rows;
            let mut i = 0;
            while i < LANES {
                pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
                pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
                i += 2;
            }
            i = 0;
            while i < LANES {
                fours[i] = unpack_low(pairs[i], pairs[i + 2]);
                fours[i + 1] = unpack_high(pairs[i], pairs[i + 2]);
                fours[i + 2] = unpack_low(pairs[i + 1], pairs[i + 3]);
                fours[i + 3] = unpack_high(pairs[i + 1], pairs[i + 3]);
                i += 4;
            }
            // `fours[4 * g + i]` has column `4 * quarter + i` of rows `4 * g ..`: the quarters of each four registers change places.
            let mut columns = rows;
            i = 0;
            while i < 4 {
                let [a, b, c, d] = [fours[i], fours[4 + i], fours[8 + i], fours[12 + i]];
                let (even_ab, even_cd) = (_mm512_shuffle_f32x4::<EVEN>(a, b), _mm512_shuffle_f32x4::<EVEN>(c, d));
                let (odd_ab, odd_cd) = (_mm512_shuffle_f32x4::<ODD>(a, b), _mm512_shuffle_f32x4::<ODD>(c, d));
                columns[i] = _mm512_shuffle_f32x4::<EVEN>(even_ab, even_cd);
                columns[4 + i] = _mm512_shuffle_f32x4::<EVEN>(odd_ab, odd_cd);
                columns[8 + i] = _mm512_shuffle_f32x4::<ODD>(even_ab, even_cd);
                columns[12 + i] = _mm512_shuffle_f32x4::<ODD>(odd_ab, odd_cd);
                i += 1;
            }
            columns
        }}
    }

    #[inline(always)]
    fn first(self, count: usize) -> __mmask16 {
        if count >= LANES { !0 } else { (1 << count) - 1 }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn upper_half(x: __m512) -> __m256 {
    _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn unpack_low(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn unpack_high(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}
