//! NEON with the dot-product instructions of Armv8.2: four rows in a register.

use std::arch::{aarch64::*, asm};

use super::{Body, CodeSource, DotIsa, STEP};
use crate::form::{Form, STRIP_LEN};

/// `sdot` on 128-bit registers.
pub(crate) struct Neon;

/// Adds to each lane of `sums` the products of its four bytes of `a` and `b`, all signed.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction is in the features that this function is compiled with, and touches no memory.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Four half-precision floats, widened.
#[target_feature(enable = "neon")]
#[inline]
fn widen_halves(halves: uint16x4_t) -> float32x4_t {
    let wide;
    // SAFETY: the instruction is in the features that this function is compiled with, and touches no memory.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            wide = lateout(vreg) wide, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

impl DotIsa for Neon {
    const LANES: usize = 4;
    const GROUPS: usize = 2;
    const COLUMNS: usize = 6;
    // `sdot` takes signed codes.
    const BYTE_OFFSET: i32 = 128;

    type Codes = uint8x16_t;
    type I32 = int32x4_t;
    type F32 = float32x4_t;

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: this function is compiled with the features, and its caller vouches that the machine has them.
        unsafe { body.run::<Self>() }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller vouches for the bytes.
        unsafe { vld1q_u8(from) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: uint8x16_t) {
        // SAFETY: the caller vouches for the bytes.
        unsafe { vst1q_u8(to, codes) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn splat(byte: u8) -> uint8x16_t {
        vdupq_n_u8(byte)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn and(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        vandq_u8(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn or(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        vorrq_u8(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn shl<const N: u32>(codes: uint8x16_t) -> uint8x16_t {
        vshlq_u8(codes, vdupq_n_s8(N as i8))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn shr<const N: u32>(codes: uint8x16_t) -> uint8x16_t {
        vshlq_u8(codes, vdupq_n_s8(-(N as i8)))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn lookup(table: &[u8; 16], codes: uint8x16_t) -> uint8x16_t {
        // SAFETY: the table has 16 bytes.
        vqtbl1q_u8(unsafe { vld1q_u8(table.as_ptr()) }, codes)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_factors<const SHIFT: u32>(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller vouches for the bytes.
        let bytes = vdupq_n_u32(unsafe { from.cast::<u32>().read_unaligned() });
        let lanes = vcombine_u8(vcreate_u8(0x0101_0101_0000_0000), vcreate_u8(0x0303_0303_0202_0202));
        let bytes = vqtbl1q_u8(vreinterpretq_u8_u32(bytes), lanes);
        vandq_u8(vshlq_u8(bytes, vdupq_n_s8(-(SHIFT as i8))), vdupq_n_u8(15))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn scale(codes: uint8x16_t, factors: uint8x16_t) -> uint8x16_t {
        vmulq_u8(codes, factors)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_lane_bytes(from: *const u8) -> [uint8x16_t; 2] {
        // SAFETY: the caller vouches for the bytes.
        let pairs = vcombine_u8(unsafe { vld1_u8(from) }, vdup_n_u8(0));
        let first = vcombine_u8(vcreate_u8(0x0202_0202_0000_0000), vcreate_u8(0x0606_0606_0404_0404));
        [first, vaddq_u8(first, vdupq_n_u8(1))].map(|lanes| vqtbl1q_u8(pairs, lanes))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn sub(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        vsubq_u8(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn scale_add(codes: uint8x16_t, factors: uint8x16_t, terms: uint8x16_t) -> uint8x16_t {
        vmlaq_u8(terms, codes, factors)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {
        let mut sums = [0; 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            let nearest = |k: usize| {
                // SAFETY: a strip has as many values.
                let x = unsafe { vld1q_f32(strip.as_ptr().add(16 * half + 4 * k)) };
                vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x, inverse)))
            };
            let lower = vmovn_s16(vcombine_s16(nearest(0), nearest(1)));
            let upper = vmovn_s16(vcombine_s16(nearest(2), nearest(3)));
            let bytes = vcombine_s8(lower, upper);
            // SAFETY: there is room for as many bytes.
            unsafe { vst1q_s8(codes.as_mut_ptr().add(16 * half).cast(), bytes) };
            *sum = i32::from(vaddlvq_s8(bytes));
        }
        sums
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        sums: &mut [[int32x4_t; W]; G],
        sources: &[S; G],
        first: usize,
        x: *const i8,
    ) {
        for k in first..first + STEP {
            let mut codes = [vdupq_n_s8(0); G];
            for g in 0..G {
                // SAFETY: the caller's contract is this one's.
                let unsigned = unsafe { sources[g].codes(k) };
                let signed = if F::BITS == 8 { veorq_u8(unsigned, vdupq_n_u8(128)) } else { unsigned };
                codes[g] = vreinterpretq_s8_u8(signed);
            }
            for c in 0..W {
                // SAFETY: `x` has 32 activations for each of the `W` columns, and `k` is below 8.
                let x = unsafe { x.add(32 * c + 4 * k).cast::<i32>().read_unaligned() };
                for g in 0..G {
                    sums[g][c] = sdot(sums[g][c], codes[g], vreinterpretq_s8_s32(vdupq_n_s32(x)));
                }
            }
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_nibble_pair(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller vouches for the bytes.
        let bytes = vcreate_u8(u64::from(unsafe { from.cast::<u32>().read_unaligned() }));
        let bytes = vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
        let pairs = vorrq_u32(bytes, vshlq_n_u32::<12>(bytes));
        vreinterpretq_u8_u32(vandq_u32(pairs, vdupq_n_u32(0x000f_000f)))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_byte_pair(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller vouches for the bytes.
        vreinterpretq_u8_s16(vmovl_s8(unsafe { vld1_s8(from.cast()) }))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn dot_pair(sums: int32x4_t, pairs: uint8x16_t, x: *const u8) -> int32x4_t {
        // SAFETY: the caller vouches for the bytes.
        let x = vreinterpretq_s16_s32(vdupq_n_s32(unsafe { x.cast::<i32>().read_unaligned() }));
        let pairs = vreinterpretq_s16_u8(pairs);
        let low = vmull_s16(vget_low_s16(pairs), vget_low_s16(x));
        let high = vmull_s16(vget_high_s16(pairs), vget_high_s16(x));
        vaddq_s32(sums, vpaddq_s32(low, high))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn add_scaled<F: Form>(
        sums: int32x4_t,
        lower: int32x4_t,
        upper: int32x4_t,
        scales: uint8x16_t,
    ) -> int32x4_t {
        let scales = vreinterpretq_s32_u8(scales);
        let upper = vshlq_s32(upper, vdupq_n_s32(-(F::UPPER_SHIFT as i32)));
        let sums = vmlaq_s32(sums, lower, vshrq_n_s32::<16>(vshlq_n_s32::<16>(scales)));
        vmlaq_s32(sums, upper, vshrq_n_s32::<16>(scales))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn broadcast_i32(from: *const u8) -> int32x4_t {
        // SAFETY: the caller vouches for the bytes.
        vdupq_n_s32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn zero_i32() -> int32x4_t {
        vdupq_n_s32(0)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vaddq_s32(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn to_f32(sums: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(sums)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn broadcast(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        vdupq_n_f32(unsafe { from.cast::<f32>().read_unaligned() })
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_f32(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        vreinterpretq_f32_u8(unsafe { vld1q_u8(from) })
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_f16(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        widen_halves(vreinterpret_u16_u8(unsafe { vld1_u8(from) }))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_bf16(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        let halves = vreinterpret_u16_u8(unsafe { vld1_u8(from) });
        vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(halves)))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_u8(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        let bytes = vcreate_u8(u64::from(unsafe { from.cast::<u32>().read_unaligned() }));
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_i8(from: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        let bytes = vcreate_s8(u64::from(unsafe { from.cast::<u32>().read_unaligned() }));
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn store_f32(to: *mut f32, x: float32x4_t) {
        // SAFETY: the caller vouches for the floats.
        unsafe { vst1q_f32(to, x) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch of an invalid address does nothing.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags)) }
    }
}
