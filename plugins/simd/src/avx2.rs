//! AVX2 with FMA and F16C: sixteen floats in two registers.

use std::arch::x86_64::*;

use half::f16;

use crate::instructions;
use crate::lanes::{LANES, Simd};
use crate::token::Avx2;

type F = [__m256; 2];

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

impl Simd for Avx2 {
    type F = F;
    type M = F;
    const WIDE: bool = false;

    instructions! {
        // SAFETY: memory is read and written through references, at offsets within them.
        unsafe
        splat(x: f32) -> F { [_mm256_set1_ps(x); 2] }
        load(from: &[f32; LANES]) -> F { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
        load_f16(from: &[f16; LANES]) -> F {{
            let from = from.as_ptr().cast::<__m128i>();
            [_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))]
        }}
        store_f16(to: &mut [f16; LANES], x: F) -> () {{
            let to = to.as_mut_ptr().cast::<__m128i>();
            _mm_storeu_si128(to, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(to.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]));
        }}
        store(to: &mut [f32; LANES], x: F) -> () {{
            _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), x[1]);
        }}
        add(a: F, b: F) -> F { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        sub(a: F, b: F) -> F { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        mul(a: F, b: F) -> F { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        div(a: F, b: F) -> F { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        fma(a: F, b: F, c: F) -> F {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        max(a: F, b: F) -> F { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        min(a: F, b: F) -> F { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        sqrt(x: F) -> F { [_mm256_sqrt_ps(x[0]), _mm256_sqrt_ps(x[1])] }
        split(x: F) -> (F, F) {
            ([mantissa(x[0]), mantissa(x[1])], [exponent(x[0]), exponent(x[1])])
        }
        round(x: F) -> F {
            [_mm256_round_ps::<NEAREST>(x[0]), _mm256_round_ps::<NEAREST>(x[1])]
        }
        exp2(n: F) -> F {
            [exp2(n[0]), exp2(n[1])]
        }
        sum(x: F) -> f32 {{
            let halves = _mm256_add_ps(x[0], x[1]);
            let quarters = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
        }}
        greatest(x: F) -> f32 {{
            let halves = _mm256_max_ps(x[0], x[1]);
            let quarters = _mm_max_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let pairs = _mm_max_ps(quarters, _mm_movehl_ps(quarters, quarters));
            _mm_cvtss_f32(_mm_max_ss(pairs, _mm_movehdup_ps(pairs)))
        }}
        less(a: F, b: F) -> F {
            [_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])]
        }
        first(count: usize) -> F {{
            let count = _mm256_set1_epi32(count.min(LANES) as i32);
            let low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
            [
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, low)),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, high)),
            ]
        }}
        select(choice: F, a: F, b: F) -> F {
            [_mm256_blendv_ps(b[0], a[0], choice[0]), _mm256_blendv_ps(b[1], a[1], choice[1])]
        }
        transpose(rows: [F; LANES]) -> [F; LANES] {{
            let mut columns = rows;
            let mut quarter = 0;
            while quarter < 4 {
                let (row, half) = (quarter & 2, quarter & 1);
                let mut block = [rows[0][0]; 8];
                let mut i = 0;
                while i < 8 {
                    block[i] = rows[4 * row + i][half];
                    i += 1;
                }
                let block = transpose8(block);
                i = 0;
                while i < 8 {
                    columns[8 * half + i][row / 2] = block[i];
                    i += 1;
                }
                quarter += 1;
            }
            columns
        }}
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn exp2(n: __m256) -> __m256 {
    let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
}

#[inline]
#[target_feature(enable = "avx2")]
fn mantissa(x: __m256) -> __m256 {
    let bits = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7f_ffff));
    _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x3f80_0000)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn exponent(x: __m256) -> __m256 {
    let biased = _mm256_srli_epi32::<23>(_mm256_castps_si256(x));
    _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
    // Within each half of a register: pairs, then fours; then halves of two registers change places.
    let mut pairs = rows;
    let mut fours = rows;
    let mut columns = rows;
    let mut i = 0;
    while i < 8 {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        i += 2;
    }
    i = 0;
    while i < 8 {
        fours[i] = unpack_low(pairs[i], pairs[i + 2]);
        fours[i + 1] = unpack_high(pairs[i], pairs[i + 2]);
        fours[i + 2] = unpack_low(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = unpack_high(pairs[i + 1], pairs[i + 3]);
        i += 4;
    }
    i = 0;
    while i < 4 {
        columns[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]);
        columns[4 + i] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[4 + i]);
        i += 1;
    }
    columns
}

#[inline]
#[target_feature(enable = "avx2")]
fn unpack_low(a: __m256, b: __m256) -> __m256 {
    _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn unpack_high(a: __m256, b: __m256) -> __m256 {
    _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
}
