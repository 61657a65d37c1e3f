//! AVX2: 8 lanes.

use core::arch::x86_64::*;
use core::ops::Neg;

use bitquilt_simd::{Avx2, instructions};

use super::{HasLanes, operators};
use crate::lanes::Lanes;
use crate::lanes::codes::CodeLanes;
use crate::lanes::ints::MAGIC;

/// 8 lanes. Code is instantiated with it by its token alone, so wherever it exists the features do.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

impl HasLanes for Avx2 {
    type Lanes = F32x8;
}

operators!(F32x8: Add add _mm256_add_ps, Sub sub _mm256_sub_ps, Mul mul _mm256_mul_ps, Div div _mm256_div_ps);

impl Neg for F32x8 {
    type Output = Self;

    instructions! {
        // SAFETY: the features are there, see the type.
        unsafe
        fn neg(self) -> Self { Self(_mm256_xor_ps(self.0, _mm256_set1_ps(-0.0))) }
    }
}

impl F32x8 {
    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        /// [`crate::lanes::ints::nearest`], then clamped.
        fn nearest_int(self, low: i32, high: i32) -> __m256i {
            let bits = _mm256_castps_si256(_mm256_add_ps(self.0, _mm256_set1_ps(MAGIC)));
            let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
            let nearest = _mm256_sub_epi32(mantissa, _mm256_set1_epi32(0x0040_0000));
            _mm256_min_epi32(_mm256_max_epi32(nearest, _mm256_set1_epi32(low)), _mm256_set1_epi32(high))
        }

        /// Lane `k` of vector `i` is lane `i` of row `k`.
        fn transpose(rows: [Self; 8]) -> [Self; 8] {
            let mut vectors = rows;
            for i in 0..4 {
                vectors[i] = Self(_mm256_permute2f128_ps::<0x20>(rows[i].0, rows[i + 4].0));
                vectors[i + 4] = Self(_mm256_permute2f128_ps::<0x31>(rows[i].0, rows[i + 4].0));
            }
            // Four vectors have four columns, in halves that are squares; to interleave the first with the third and the second with
            // the fourth, twice, transposes those.
            for _ in 0..2 {
                let from = vectors;
                for i in [0, 1, 4, 5] {
                    let to = i / 4 * 4 + i % 4 * 2;
                    vectors[to] = Self(_mm256_unpacklo_ps(from[i].0, from[i + 2].0));
                    vectors[to + 1] = Self(_mm256_unpackhi_ps(from[i].0, from[i + 2].0));
                }
            }
            vectors
        }
    }
}

impl Lanes for F32x8 {
    const COUNT: usize = 8;
    type Mask = __m256;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat(value: f32) -> Self {
            Self(_mm256_set1_ps(value))
        }

        fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N] {
            let mut padded;
            let rows: &[[f32; N]; 8] = match rows.try_into() {
                Ok(rows) => rows,
                Err(_) => {
                    padded = [[0.0; N]; 8];
                    padded[..rows.len()].copy_from_slice(rows);
                    &padded
                }
            };
            // Not by the instruction that gathers: QEMU 7 takes its indices in register 4 for none.
            const { assert!(N.is_multiple_of(Self::COUNT)) };
            let mut vectors = [Self::splat(0.0); N];
            for (i, vectors) in vectors.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                for (vector, row) in vectors.iter_mut().zip(rows) {
                    *vector = Self::load(&row[8 * i..]);
                }
                *vectors = Self::transpose(*vectors);
            }
            vectors
        }

        fn load(src: &[f32]) -> Self {
            let src = &src[..Self::COUNT];
            Self(_mm256_loadu_ps(src.as_ptr()))
        }

        fn from_bytes(src: &[i8]) -> Self {
            let src = &src[..Self::COUNT];
            let bytes = _mm_loadl_epi64(src.as_ptr().cast());
            Self(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
        }

        fn truncate(self, dst: &mut [i8]) {
            let dst = &mut dst[..Self::COUNT];
            let low = _mm256_and_si256(_mm256_cvttps_epi32(self.0), _mm256_set1_epi32(0xff));
            let low = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            _mm_storel_epi64(dst.as_mut_ptr().cast(), _mm_packus_epi16(low, low));
        }

        fn least(self) -> f32 {
            let four = _mm_min_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)))
        }

        fn store(self, dst: &mut [f32]) {
            let mut lanes = [0.0; 8];
            let whole = dst.len() == Self::COUNT;
            let to = if whole { dst.as_mut_ptr() } else { lanes.as_mut_ptr() };
            _mm256_storeu_ps(to, self.0);
            if !whole {
                dst.copy_from_slice(&lanes[..dst.len()]);
            }
        }

        fn abs(self) -> Self {
            Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0))
        }

        fn sqrt(self) -> Self {
            Self(_mm256_sqrt_ps(self.0))
        }

        fn nearest(self, low: i32, high: i32) -> Self {
            Self(_mm256_cvtepi32_ps(self.nearest_int(low, high)))
        }

        fn lt(self, other: Self) -> Self::Mask {
            _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)
        }

        fn ne(self, other: Self) -> Self::Mask {
            _mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, other.0)
        }

        fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
            _mm256_and_ps(a, b)
        }

        fn any(mask: Self::Mask) -> bool {
            _mm256_movemask_ps(mask) != 0
        }

        fn bits(mask: Self::Mask) -> u32 {
            _mm256_movemask_ps(mask) as u32
        }

        fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
            Self(_mm256_blendv_ps(no.0, yes.0, mask))
        }

        fn select_codes(mask: Self::Mask, yes: __m256i, no: __m256i) -> __m256i {
            _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask))
        }

        fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16] {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            let indices = _mm_loadu_si128(indices.as_ptr().cast());
            let indices = _mm_and_si128(indices, _mm_set1_epi8(15));
            let mut values = [0; 16];
            _mm_storeu_si128(values.as_mut_ptr().cast(), _mm_shuffle_epi8(table, indices));
            values
        }

        fn sign_bits(bytes: [i8; 32]) -> u32 {
            _mm256_movemask_epi8(_mm256_loadu_si256(bytes.as_ptr().cast())) as u32
        }
    }
}

impl CodeLanes for F32x8 {
    type Codes = __m256i;
    type Table = Self;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat_code(value: u32) -> __m256i {
            _mm256_set1_epi32(value as i32)
        }

        fn load_codes(src: &[u32]) -> __m256i {
            let src = &src[..Self::COUNT];
            _mm256_loadu_si256(src.as_ptr().cast())
        }

        fn load_short_codes(src: &[u16]) -> __m256i {
            let src = &src[..Self::COUNT];
            _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast()))
        }

        fn store_codes(codes: __m256i, dst: &mut [u32]) {
            let dst = &mut dst[..Self::COUNT];
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), codes)
        }

        fn nearest_level(self, top: u32) -> __m256i {
            self.nearest_int(0, top as i32)
        }

        fn put_level(codes: __m256i, levels: __m256i, at: u32) -> __m256i {
            _mm256_or_si256(codes, _mm256_sll_epi32(levels, _mm_cvtsi32_si128(at as i32)))
        }

        fn from_level(codes: __m256i, at: u32) -> __m256i {
            _mm256_srl_epi32(codes, _mm_cvtsi32_si128(at as i32))
        }

        fn table(entries: &[f32; 8]) -> Self {
            Self::load(entries)
        }

        fn entries(table: Self, codes: __m256i) -> Self {
            Self(_mm256_permutevar8x32_ps(table.0, codes))
        }
    }
}
