//! AVX-512: 16 lanes.

use core::arch::x86_64::*;
use core::ops::Neg;

use bitquilt_simd::{Avx512, instructions};

use super::{HasLanes, operators};
use crate::lanes::Lanes;
use crate::lanes::codes::CodeLanes;
use crate::lanes::ints::MAGIC;

/// 16 lanes. Code is instantiated with it by its token alone, so wherever it exists the features do.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl HasLanes for Avx512 {
    type Lanes = F32x16;
}

operators!(F32x16: Add add _mm512_add_ps, Sub sub _mm512_sub_ps, Mul mul _mm512_mul_ps, Div div _mm512_div_ps);

impl Neg for F32x16 {
    type Output = Self;

    instructions! {
        // SAFETY: the features are there, see the type.
        unsafe
        fn neg(self) -> Self { Self(_mm512_xor_ps(self.0, _mm512_set1_ps(-0.0))) }
    }
}

impl F32x16 {
    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        /// [`crate::lanes::ints::nearest`], then clamped.
        fn nearest_int(self, low: i32, high: i32) -> __m512i {
            let bits = _mm512_castps_si512(_mm512_add_ps(self.0, _mm512_set1_ps(MAGIC)));
            let mantissa = _mm512_and_si512(bits, _mm512_set1_epi32(0x007f_ffff));
            let nearest = _mm512_sub_epi32(mantissa, _mm512_set1_epi32(0x0040_0000));
            _mm512_min_epi32(_mm512_max_epi32(nearest, _mm512_set1_epi32(low)), _mm512_set1_epi32(high))
        }
    }
}

impl Lanes for F32x16 {
    const COUNT: usize = 16;
    type Mask = __mmask16;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat(value: f32) -> Self {
            Self(_mm512_set1_ps(value))
        }

        fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N] {
            let mut padded;
            let rows: &[[f32; N]; 16] = match rows.try_into() {
                Ok(rows) => rows,
                Err(_) => {
                    padded = [[0.0; N]; 16];
                    padded[..rows.len()].copy_from_slice(rows);
                    &padded
                }
            };
            let rows = rows.as_flattened();
            let stride = _mm512_set1_epi32(N as i32);
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let offsets = _mm512_mullo_epi32(lanes, stride);
            let mut vectors = [Self::splat(0.0); N];
            for (i, vector) in vectors.iter_mut().enumerate() {
                *vector = Self(_mm512_i32gather_ps::<4>(offsets, rows.as_ptr().add(i)));
            }
            vectors
        }

        fn load(src: &[f32]) -> Self {
            let src = &src[..Self::COUNT];
            Self(_mm512_loadu_ps(src.as_ptr()))
        }

        fn from_bytes(src: &[i8]) -> Self {
            let src = &src[..Self::COUNT];
            let bytes = _mm_loadu_si128(src.as_ptr().cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
        }

        fn truncate(self, dst: &mut [i8]) {
            let dst = &mut dst[..Self::COUNT];
            _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0)));
        }

        fn least(self) -> f32 {
            _mm512_reduce_min_ps(self.0)
        }

        fn store(self, dst: &mut [f32]) {
            let mut lanes = [0.0; 16];
            let whole = dst.len() == Self::COUNT;
            let to = if whole { dst.as_mut_ptr() } else { lanes.as_mut_ptr() };
            _mm512_storeu_ps(to, self.0);
            if !whole {
                dst.copy_from_slice(&lanes[..dst.len()]);
            }
        }

        fn abs(self) -> Self {
            Self(_mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0))
        }

        fn sqrt(self) -> Self {
            Self(_mm512_sqrt_ps(self.0))
        }

        fn nearest(self, low: i32, high: i32) -> Self {
            Self(_mm512_cvtepi32_ps(self.nearest_int(low, high)))
        }

        fn lt(self, other: Self) -> Self::Mask {
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)
        }

        fn ne(self, other: Self) -> Self::Mask {
            _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, other.0)
        }

        fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
            a & b
        }

        fn any(mask: Self::Mask) -> bool {
            mask != 0
        }

        fn bits(mask: Self::Mask) -> u32 {
            u32::from(mask)
        }

        fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
            Self(_mm512_mask_blend_ps(mask, no.0, yes.0))
        }

        fn select_codes(mask: Self::Mask, yes: __m512i, no: __m512i) -> __m512i {
            _mm512_mask_blend_epi32(mask, no, yes)
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

impl CodeLanes for F32x16 {
    type Codes = __m512i;
    type Table = Self;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat_code(value: u32) -> __m512i {
            _mm512_set1_epi32(value as i32)
        }

        fn load_codes(src: &[u32]) -> __m512i {
            let src = &src[..Self::COUNT];
            _mm512_loadu_si512(src.as_ptr().cast())
        }

        fn load_short_codes(src: &[u16]) -> __m512i {
            let src = &src[..Self::COUNT];
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast()))
        }

        fn store_codes(codes: __m512i, dst: &mut [u32]) {
            let dst = &mut dst[..Self::COUNT];
            _mm512_storeu_si512(dst.as_mut_ptr().cast(), codes)
        }

        fn nearest_level(self, top: u32) -> __m512i {
            self.nearest_int(0, top as i32)
        }

        fn put_level(codes: __m512i, levels: __m512i, at: u32) -> __m512i {
            _mm512_or_si512(codes, _mm512_sll_epi32(levels, _mm_cvtsi32_si128(at as i32)))
        }

        fn from_level(codes: __m512i, at: u32) -> __m512i {
            _mm512_srl_epi32(codes, _mm_cvtsi32_si128(at as i32))
        }

        fn table(entries: &[f32; 8]) -> Self {
            Self(_mm512_broadcast_f32x8(_mm256_loadu_ps(entries.as_ptr())))
        }

        fn entries(table: Self, codes: __m512i) -> Self {
            Self(_mm512_permutexvar_ps(codes, table.0))
        }
    }
}
