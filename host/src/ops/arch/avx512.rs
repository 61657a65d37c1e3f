//! AVX-512: sixteen floats in a register.

use std::arch::x86_64::*;
use std::array;

use bitquilt_plugin_api::half::f16;

use super::{Body, LANES, Simd};

/// The machine has AVX-512 F and AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

/// Methods whose bodies are instructions that the machine has, since there is a value of [`Avx512`].
macro_rules! instructions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty { $body:expr })*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $result {
            // SAFETY: `self` exists where the machine has the instructions; memory is read and written through references.
            unsafe { $body }
        })*
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type M = __mmask16;
    const WIDE: bool = true;

    fn vectorize<B: Body>(self, body: B) -> B::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn vectorized<B: Body>(simd: Avx512, body: B) -> B::Output {
            body.run(simd)
        }
        // SAFETY: `self` exists where the machine has the instructions.
        unsafe { vectorized(self, body) }
    }

    instructions! {
        splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        load(from: &[f32; LANES]) -> __m512 { _mm512_loadu_ps(from.as_ptr()) }
        load_f16(from: &[f16; LANES]) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
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
            let pairs: [__m512; LANES] = array::from_fn(|i| {
                let (a, b) = (rows[i & !1], rows[i | 1]);
                if i & 1 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) }
            });
            let fours: [__m512; LANES] = array::from_fn(|i| {
                let base = i & !3;
                let (a, b) = (pairs[base + (i & 2) / 2], pairs[base + 2 + (i & 2) / 2]);
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                _mm512_castpd_ps(if i & 1 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
            });
            // `fours[4 * g + i]` has column `4 * quarter + i` of rows `4 * g ..`; then quarters of four registers.
            let halves: [__m512; LANES] = array::from_fn(|i| {
                let (column, part) = (i & 3, i >> 2);
                let (a, b) = (fours[(part & 2) * 4 + column], fours[(part & 2) * 4 + 4 + column]);
                if part & 1 == 0 {
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b)
                } else {
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
                }
            });
            // `halves[4 * part + column]`: parts 0 and 2 have quarters 0 and 2, parts 1 and 3 have 1 and 3.
            array::from_fn(|i| {
                let (column, quarter) = (i & 3, i >> 2);
                let (a, b) = (halves[(quarter & 1) * 4 + column], halves[(quarter & 1) * 4 + 8 + column]);
                if quarter & 2 == 0 {
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b)
                } else {
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
                }
            })
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
