//! AVX-512: 16 lanes.

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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn quantize_row<F: BlockFormat>(
    row: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [F::Block],
) {
    F::quantize_row_in::<F32x16>(row, importance, blocks);
}

/// Runs [`BlockFormat::dequantize_in`] with these lanes.
///
/// # Safety
/// The machine has the features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn dequantize<F: BlockFormat>(blocks: &[F::Block], dst: &mut [f32]) {
    F::dequantize_in::<F32x16>(blocks, dst);
}

/// 16 lanes. Only the functions above instantiate code with it, so wherever it exists the features do.
#[derive(Clone, Copy)]
struct F32x16(__m512);

impl Add for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
}

impl Sub for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
}

impl Mul for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
}

impl Div for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
}

impl Neg for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_xor_ps(self.0, _mm512_set1_ps(-0.0)) })
    }
}

impl F32x16 {
    /// [`crate::ints::nearest`], then clamped.
    #[inline(always)]
    fn nearest_int(self, low: i32, high: i32) -> __m512i {
        // SAFETY: the features are there, see the type.
        unsafe {
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

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
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
        // SAFETY: the features are there, see the type; lane k of vector i reads rows[k * N + i], with k < 16
        // and i < N, and rows has 16 * N values.
        unsafe {
            let stride = _mm512_set1_epi32(N as i32);
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let offsets = _mm512_mullo_epi32(lanes, stride);
            let mut vectors = [Self::splat(0.0); N];
            for (i, vector) in vectors.iter_mut().enumerate() {
                *vector = Self(_mm512_i32gather_ps::<4>(offsets, rows.as_ptr().add(i)));
            }
            vectors
        }
    }

    #[inline(always)]
    fn load(src: &[f32]) -> Self {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 16 values.
        Self(unsafe { _mm512_loadu_ps(src.as_ptr()) })
    }

    #[inline(always)]
    fn from_bytes(src: &[i8]) -> Self {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 16 values.
        unsafe {
            let bytes = _mm_loadu_si128(src.as_ptr().cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
        }
    }

    #[inline(always)]
    fn truncate(self, dst: &mut [i8]) {
        let dst = &mut dst[..Self::COUNT];
        // SAFETY: the features are there, see the type; dst has 16 values.
        unsafe {
            _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0)));
        }
    }

    #[inline(always)]
    fn least(self) -> f32 {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_reduce_min_ps(self.0) }
    }

    #[inline(always)]
    fn store(self, dst: &mut [f32]) {
        let mut lanes = [0.0; 16];
        let whole = dst.len() == Self::COUNT;
        let to = if whole { dst.as_mut_ptr() } else { lanes.as_mut_ptr() };
        // SAFETY: the features are there, see the type; `to` has 16 values either way.
        unsafe { _mm512_storeu_ps(to, self.0) };
        if !whole {
            dst.copy_from_slice(&lanes[..dst.len()]);
        }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }

    #[inline(always)]
    fn nearest(self, low: i32, high: i32) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_cvtepi32_ps(self.nearest_int(low, high)) })
    }

    #[inline(always)]
    fn lt(self, other: Self) -> Self::Mask {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn ne(self, other: Self) -> Self::Mask {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & b
    }

    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        mask != 0
    }

    #[inline(always)]
    fn bits(mask: Self::Mask) -> u32 {
        u32::from(mask)
    }

    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }

    #[inline(always)]
    fn select_codes(mask: Self::Mask, yes: __m512i, no: __m512i) -> __m512i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_mask_blend_epi32(mask, no, yes) }
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

impl CodeLanes for F32x16 {
    type Codes = __m512i;
    type Table = Self;

    #[inline(always)]
    fn splat_code(value: u32) -> __m512i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_set1_epi32(value as i32) }
    }

    #[inline(always)]
    fn load_codes(src: &[u32]) -> __m512i {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 16 values.
        unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_short_codes(src: &[u16]) -> __m512i {
        let src = &src[..Self::COUNT];
        // SAFETY: the features are there, see the type; src has 16 values.
        unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_codes(codes: __m512i, dst: &mut [u32]) {
        let dst = &mut dst[..Self::COUNT];
        // SAFETY: the features are there, see the type; dst has 16 values.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), codes) }
    }

    #[inline(always)]
    fn nearest_level(self, top: u32) -> __m512i {
        self.nearest_int(0, top as i32)
    }

    #[inline(always)]
    fn put_level(codes: __m512i, levels: __m512i, at: u32) -> __m512i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_or_si512(codes, _mm512_sll_epi32(levels, _mm_cvtsi32_si128(at as i32))) }
    }

    #[inline(always)]
    fn from_level(codes: __m512i, at: u32) -> __m512i {
        // SAFETY: the features are there, see the type.
        unsafe { _mm512_srl_epi32(codes, _mm_cvtsi32_si128(at as i32)) }
    }

    #[inline(always)]
    fn table(entries: &[f32; 8]) -> Self {
        // SAFETY: the features are there, see the type; entries has 8 values. They are there twice: 4 bits of a code are used.
        Self(unsafe { _mm512_broadcast_f32x8(_mm256_loadu_ps(entries.as_ptr())) })
    }

    #[inline(always)]
    fn entries(table: Self, codes: __m512i) -> Self {
        // SAFETY: the features are there, see the type.
        Self(unsafe { _mm512_permutexvar_ps(codes, table.0) })
    }
}
