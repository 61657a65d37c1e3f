//! AVX2: 8 lanes.

use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::code_lanes::CodeLanes;
use crate::format::BlockFormat;
use crate::ints::MAGIC;
use crate::lanes::Lanes;

/// Runs [`BlockFormat::quantize_row_in`] with these lanes.
///
/// # Safety
/// The machine has the features.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn quantize_row<F: BlockFormat>(
    row: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [F::Block],
) {
    F::quantize_row_in::<F32x8>(row, importance, blocks);
}

/// Runs [`BlockFormat::dequantize_in`] with these lanes.
///
/// # Safety
/// The machine has the features.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dequantize<F: BlockFormat>(blocks: &[F::Block], dst: &mut [f32]) {
    F::dequantize_in::<F32x8>(blocks, dst);
}

/// 8 lanes. Only the functions above instantiate code with it, so wherever it exists the features do.
#[derive(Clone, Copy)]
struct F32x8(__m256);

impl Add for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
}

impl Sub for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
}

impl Mul for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
}

impl Div for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
}

impl Neg for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_xor_ps(self.0, _mm256_set1_ps(-0.0)) })
    }
}

impl F32x8 {
    /// [`crate::ints::nearest`], then clamped.
    #[inline(always)]
    fn nearest_int(self, low: i32, high: i32) -> __m256i {
        // SAFETY: the features are there, see the type.
        unsafe {
            let bits = _mm256_castps_si256(_mm256_add_ps(self.0, _mm256_set1_ps(MAGIC)));
            let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
            let nearest = _mm256_sub_epi32(mantissa, _mm256_set1_epi32(0x0040_0000));
            _mm256_min_epi32(_mm256_max_epi32(nearest, _mm256_set1_epi32(low)), _mm256_set1_epi32(high))
        }
    }
}

impl Lanes for F32x8 {
    const COUNT: usize = 8;
    type Mask = __m256;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
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
        let rows = rows.as_flattened();
        // SAFETY: the features are there, see the type; lane k of vector i reads rows[k * N + i], with k < 8
        // and i < N, and rows has 8 * N values.
        unsafe {
            let stride = _mm256_set1_epi32(N as i32);
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let offsets = _mm256_mullo_epi32(lanes, stride);
            let mut vectors = [Self::splat(0.0); N];
            for (i, vector) in vectors.iter_mut().enumerate() {
                *vector = Self(_mm256_i32gather_ps::<4>(rows.as_ptr().add(i), offsets));
            }
            vectors
        }
    }

    #[inline(always)]
    fn load(src: &[f32]) -> Self {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 8 values.
        Self(unsafe { _mm256_loadu_ps(src.as_ptr()) })
    }

    #[inline(always)]
    fn from_bytes(src: &[i8]) -> Self {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 8 values.
        unsafe {
            let bytes = _mm_loadl_epi64(src.as_ptr().cast());
            Self(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
        }
    }

    #[inline(always)]
    fn truncate(self, dst: &mut [i8]) {
        let dst = &mut dst[..Self::COUNT];
        // SAFETY: the features are there, see the type; dst has 8 values.
        unsafe {
            let low = _mm256_and_si256(_mm256_cvttps_epi32(self.0), _mm256_set1_epi32(0xff));
            let low = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            _mm_storel_epi64(dst.as_mut_ptr().cast(), _mm_packus_epi16(low, low));
        }
    }

    #[inline(always)]
    fn least(self) -> f32 {
        // SAFETY: the features are there, see the type.
        unsafe {
            let four = _mm_min_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn store(self, dst: &mut [f32]) {
        let mut lanes = [0.0; 8];
        let whole = dst.len() == Self::COUNT;
        let to = if whole { dst.as_mut_ptr() } else { lanes.as_mut_ptr() };
        // SAFETY: the features are there, see the type; `to` has 8 values either way.
        unsafe { _mm256_storeu_ps(to, self.0) };
        if !whole {
            dst.copy_from_slice(&lanes[..dst.len()]);
        }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }

    #[inline(always)]
    fn nearest(self, low: i32, high: i32) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_cvtepi32_ps(self.nearest_int(low, high)) })
    }

    #[inline(always)]
    fn lt(self, other: Self) -> Self::Mask {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn ne(self, other: Self) -> Self::Mask {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_and_ps(a, b) }
    }

    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_movemask_ps(mask) != 0 }
    }

    #[inline(always)]
    fn bits(mask: Self::Mask) -> u32 {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_movemask_ps(mask) as u32 }
    }

    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask) })
    }

    #[inline(always)]
    fn select_codes(mask: Self::Mask, yes: __m256i, no: __m256i) -> __m256i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask)) }
    }

    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16] {
        // SAFETY: the features are there, see the type; both arrays have the 16 bytes that are read.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            let indices = _mm_loadu_si128(indices.as_ptr().cast());
            let indices = _mm_and_si128(indices, _mm_set1_epi8(15));
            let mut values = [0; 16];
            _mm_storeu_si128(values.as_mut_ptr().cast(), _mm_shuffle_epi8(table, indices));
            values
        }
    }

    #[inline(always)]
    fn sign_bits(bytes: [i8; 32]) -> u32 {
        // SAFETY: the features are there, see the type; the array has the 32 bytes that are read.
        unsafe { _mm256_movemask_epi8(_mm256_loadu_si256(bytes.as_ptr().cast())) as u32 }
    }
}

impl CodeLanes for F32x8 {
    type Codes = __m256i;
    type Table = Self;

    #[inline(always)]
    fn splat_code(value: u32) -> __m256i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_set1_epi32(value as i32) }
    }

    #[inline(always)]
    fn load_codes(src: &[u32]) -> __m256i {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 8 values.
        unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_short_codes(src: &[u16]) -> __m256i {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 8 values.
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_codes(codes: __m256i, dst: &mut [u32]) {
        let dst = &mut dst[..Self::COUNT];
        // SAFETY: the features are there, see the type; dst has 8 values.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), codes) }
    }

    #[inline(always)]
    fn nearest_level(self, top: u32) -> __m256i {
        self.nearest_int(0, top as i32)
    }

    #[inline(always)]
    fn put_level(codes: __m256i, levels: __m256i, at: u32) -> __m256i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_or_si256(codes, _mm256_sll_epi32(levels, _mm_cvtsi32_si128(at as i32))) }
    }

    #[inline(always)]
    fn from_level(codes: __m256i, at: u32) -> __m256i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm256_srl_epi32(codes, _mm_cvtsi32_si128(at as i32)) }
    }

    #[inline(always)]
    fn table(entries: &[f32; 8]) -> Self {
        Self::load(entries)
    }

    #[inline(always)]
    fn entries(table: Self, codes: __m256i) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm256_permutevar8x32_ps(table.0, codes) })
    }
}
