//! NEON: 4 lanes.

use core::arch::aarch64::*;
use core::ops::{Add, Mul, Neg, Sub};

use bitquilt_simd::{Neon, instructions};

use super::{HasLanes, operators};
use crate::lanes::Lanes;
use crate::lanes::codes::CodeLanes;
use crate::lanes::ints::MAGIC;

/// 4 lanes. Code is instantiated with it by its token alone, so wherever it exists the features do.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

impl HasLanes for Neon {
    type Lanes = F32x4;
}

operators!(F32x4: Add add vaddq_f32, Sub sub vsubq_f32, Mul mul vmulq_f32, Div div vdivq_f32);

impl Neg for F32x4 {
    type Output = Self;

    instructions! {
        // SAFETY: the features are there, see the type.
        unsafe
        fn neg(self) -> Self { Self(vnegq_f32(self.0)) }
    }
}

impl F32x4 {
    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        /// [`crate::lanes::ints::nearest`], then clamped.
        fn nearest_int(self, low: i32, high: i32) -> int32x4_t {
            let bits = vreinterpretq_s32_f32(vaddq_f32(self.0, vdupq_n_f32(MAGIC)));
            let mantissa = vandq_s32(bits, vdupq_n_s32(0x007f_ffff));
            let nearest = vsubq_s32(mantissa, vdupq_n_s32(0x0040_0000));
            vminq_s32(vmaxq_s32(nearest, vdupq_n_s32(low)), vdupq_n_s32(high))
        }
    }
}

impl Lanes for F32x4 {
    const COUNT: usize = 4;
    type Mask = uint32x4_t;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat(value: f32) -> Self {
            Self(vdupq_n_f32(value))
        }

        fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N] {
            let zeros = [0.0; N];
            let mut four = [&zeros; 4];
            for (row, src) in four.iter_mut().zip(rows) {
                *row = src;
            }
            let mut vectors = [Self::splat(0.0); N];
            for (i, vector) in vectors.iter_mut().enumerate() {
                *vector = Self::load(&[four[0][i], four[1][i], four[2][i], four[3][i]]);
            }
            vectors
        }

        fn load(src: &[f32]) -> Self {
            let src = &src[..Self::COUNT];
            Self(vld1q_f32(src.as_ptr()))
        }

        fn from_bytes(src: &[i8]) -> Self {
            let bytes = u32::from_le_bytes([src[0] as u8, src[1] as u8, src[2] as u8, src[3] as u8]);
            let bytes = vreinterpret_s8_u32(vdup_n_u32(bytes));
            Self(vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes)))))
        }

        fn truncate(self, dst: &mut [i8]) {
            const LIMIT: f32 = 2_147_483_648.0;
            let mut integers = [0; 4];
            // The conversion saturates. Below the range the low byte is 0 as it should be, above it is made so.
            let inside = vcltq_f32(self.0, vdupq_n_f32(LIMIT));
            let truncated = vreinterpretq_u32_s32(vcvtq_s32_f32(self.0));
            vst1q_u32(integers.as_mut_ptr(), vandq_u32(truncated, inside));
            for (dst, integer) in dst[..Self::COUNT].iter_mut().zip(integers) {
                *dst = integer as i8;
            }
        }

        fn least(self) -> f32 {
            vminvq_f32(self.0)
        }

        fn store(self, dst: &mut [f32]) {
            let mut lanes = [0.0; 4];
            let whole = dst.len() == Self::COUNT;
            let to = if whole { dst.as_mut_ptr() } else { lanes.as_mut_ptr() };
            vst1q_f32(to, self.0);
            if !whole {
                dst.copy_from_slice(&lanes[..dst.len()]);
            }
        }

        fn abs(self) -> Self {
            Self(vabsq_f32(self.0))
        }

        fn sqrt(self) -> Self {
            Self(vsqrtq_f32(self.0))
        }

        fn nearest(self, low: i32, high: i32) -> Self {
            Self(vcvtq_f32_s32(self.nearest_int(low, high)))
        }

        fn lt(self, other: Self) -> Self::Mask {
            vcltq_f32(self.0, other.0)
        }

        fn ne(self, other: Self) -> Self::Mask {
            vmvnq_u32(vceqq_f32(self.0, other.0))
        }

        fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
            vandq_u32(a, b)
        }

        fn any(mask: Self::Mask) -> bool {
            vmaxvq_u32(mask) != 0
        }

        fn bits(mask: Self::Mask) -> u32 {
            const BITS: [u32; 4] = [1, 2, 4, 8];
            vaddvq_u32(vandq_u32(mask, vld1q_u32(BITS.as_ptr())))
        }

        fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
            Self(vbslq_f32(mask, yes.0, no.0))
        }

        fn select_codes(mask: Self::Mask, yes: uint32x4_t, no: uint32x4_t) -> uint32x4_t {
            vbslq_u32(mask, yes, no)
        }

        fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16] {
            let mut values = [0; 16];
            let indices = vandq_u8(vreinterpretq_u8_s8(vld1q_s8(indices.as_ptr())), vdupq_n_u8(15));
            vst1q_s8(values.as_mut_ptr(), vqtbl1q_s8(vld1q_s8(table.as_ptr()), indices));
            values
        }

        fn sign_bits(bytes: [i8; 32]) -> u32 {
            const BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
            let mut signs = [0; 4];
            for (signs, bytes) in signs.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *signs = vaddv_u8(vand_u8(vcltz_s8(vld1_s8(bytes.as_ptr())), vld1_u8(BITS.as_ptr())));
            }
            u32::from_le_bytes(signs)
        }
    }
}

impl CodeLanes for F32x4 {
    type Codes = uint32x4_t;
    type Table = Entries;

    instructions! {
        // SAFETY: the features are there, see the type; slices are cut to what is read and written.
        unsafe
        fn splat_code(value: u32) -> uint32x4_t {
            vdupq_n_u32(value)
        }

        fn load_codes(src: &[u32]) -> uint32x4_t {
            let src = &src[..Self::COUNT];
            vld1q_u32(src.as_ptr())
        }

        fn load_short_codes(src: &[u16]) -> uint32x4_t {
            let src = &src[..Self::COUNT];
            vmovl_u16(vld1_u16(src.as_ptr()))
        }

        fn store_codes(codes: uint32x4_t, dst: &mut [u32]) {
            let dst = &mut dst[..Self::COUNT];
            vst1q_u32(dst.as_mut_ptr(), codes)
        }

        fn nearest_level(self, top: u32) -> uint32x4_t {
            vreinterpretq_u32_s32(self.nearest_int(0, top as i32))
        }

        fn put_level(codes: uint32x4_t, levels: uint32x4_t, at: u32) -> uint32x4_t {
            vorrq_u32(codes, vshlq_u32(levels, vdupq_n_s32(at as i32)))
        }

        fn from_level(codes: uint32x4_t, at: u32) -> uint32x4_t {
            vshlq_u32(codes, vdupq_n_s32(-(at as i32)))
        }

        fn table(entries: &[f32; 8]) -> Entries {
            Entries(Self::load(&entries[..4]), Self::load(&entries[4..]))
        }

        fn entries(table: Entries, codes: uint32x4_t) -> Self {
            let first = vmulq_u32(vandq_u32(codes, vdupq_n_u32(7)), vdupq_n_u32(0x0404_0404));
            let bytes = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x0302_0100)));
            let table = uint8x16x2_t(vreinterpretq_u8_f32(table.0.0), vreinterpretq_u8_f32(table.1.0));
            Self(vreinterpretq_f32_u8(vqtbl2q_u8(table, bytes)))
        }
    }
}

/// A table of 8 floats: two registers.
#[derive(Clone, Copy)]
pub(crate) struct Entries(F32x4, F32x4);

impl Add for Entries {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }
}

impl Sub for Entries {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0, self.1 - other.1)
    }
}

impl Mul for Entries {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0, self.1 * other.1)
    }
}
