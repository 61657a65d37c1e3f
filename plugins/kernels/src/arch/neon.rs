//! NEON with the dot-product instructions of Armv8.2: four rows in a register.

use std::arch::{aarch64::*, asm};

use bitquilt_simd::{NeonDotprod, instructions};

use super::{CodeSource, DotIsa, STEP, first, first_mut, four};
use crate::form::{Form, STRIP_LEN};

impl DotIsa for NeonDotprod {
    const LANES: usize = 4;
    const GROUPS: usize = 2;
    const COLUMNS: usize = 6;
    // `sdot` takes signed codes.
    const BYTE_OFFSET: i32 = 128;

    type Codes = uint8x16_t;
    type I32 = int32x4_t;
    type F32 = float32x4_t;

    instructions! {
        // SAFETY: `first` and `first_mut` see to the bytes that are read and written; a table has 16 bytes, a strip 32 values.
        unsafe
        load(from: &[u8]) -> uint8x16_t { vld1q_u8(first::<16, _>(from)) }
        store(to: &mut [u8], codes: uint8x16_t) -> () { vst1q_u8(first_mut::<16, _, _>(to), codes) }
        splat(byte: u8) -> uint8x16_t { vdupq_n_u8(byte) }
        and(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t { vandq_u8(a, b) }
        or(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t { vorrq_u8(a, b) }
        shl<const N: u32>(codes: uint8x16_t) -> uint8x16_t { vshlq_u8(codes, vdupq_n_s8(N as i8)) }
        shr<const N: u32>(codes: uint8x16_t) -> uint8x16_t { vshlq_u8(codes, vdupq_n_s8(-(N as i8))) }
        lookup(table: &[u8; 16], codes: uint8x16_t) -> uint8x16_t { vqtbl1q_u8(vld1q_u8(table.as_ptr()), codes) }
        load_factors<const SHIFT: u32>(from: &[u8]) -> uint8x16_t {{
            let lanes = vcombine_u8(vcreate_u8(0x0101_0101_0000_0000), vcreate_u8(0x0303_0303_0202_0202));
            let bytes = vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(word(from))), lanes);
            vandq_u8(vshlq_u8(bytes, vdupq_n_s8(-(SHIFT as i8))), vdupq_n_u8(15))
        }}
        scale(codes: uint8x16_t, factors: uint8x16_t) -> uint8x16_t { vmulq_u8(codes, factors) }
        load_lane_bytes(from: &[u8]) -> [uint8x16_t; 2] {{
            let pairs = vcombine_u8(vld1_u8(first::<8, _>(from)), vdup_n_u8(0));
            let lanes = vcombine_u8(vcreate_u8(0x0202_0202_0000_0000), vcreate_u8(0x0606_0606_0404_0404));
            [vqtbl1q_u8(pairs, lanes), vqtbl1q_u8(pairs, vaddq_u8(lanes, vdupq_n_u8(1)))]
        }}
        sub(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t { vsubq_u8(a, b) }
        scale_add(codes: uint8x16_t, factors: uint8x16_t, terms: uint8x16_t) -> uint8x16_t {
            vmlaq_u8(terms, codes, factors)
        }
        quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {{
            let mut sums = [0; 2];
            let (halves, strip) = (codes.as_chunks_mut::<16>().0, strip.as_chunks::<4>().0);
            for (half, sum) in sums.iter_mut().enumerate() {
                let first = 4 * half;
                let lower = narrow(nearest(&strip[first], inverse), nearest(&strip[first + 1], inverse));
                let upper = narrow(nearest(&strip[first + 2], inverse), nearest(&strip[first + 3], inverse));
                let bytes = vcombine_s8(lower, upper);
                vst1q_s8(halves[half].as_mut_ptr().cast(), bytes);
                *sum = i32::from(vaddlvq_s8(bytes));
            }
            sums
        }}
        load_nibble_pair(from: &[u8]) -> uint8x16_t {{
            let bytes = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(u64::from(word(from))))));
            let pairs = vorrq_u32(bytes, vshlq_n_u32::<12>(bytes));
            vreinterpretq_u8_u32(vandq_u32(pairs, vdupq_n_u32(0x000f_000f)))
        }}
        load_byte_pair(from: &[u8]) -> uint8x16_t { vreinterpretq_u8_s16(vmovl_s8(vld1_s8(first::<8, _>(from)))) }
        dot_pair(sums: int32x4_t, pairs: uint8x16_t, x: [u8; 4]) -> int32x4_t {{
            let x = vreinterpretq_s16_s32(vdupq_n_s32(i32::from_ne_bytes(x)));
            let pairs = vreinterpretq_s16_u8(pairs);
            let low = vmull_s16(vget_low_s16(pairs), vget_low_s16(x));
            let high = vmull_s16(vget_high_s16(pairs), vget_high_s16(x));
            vaddq_s32(sums, vpaddq_s32(low, high))
        }}
        add_scaled(
            sums: int32x4_t, lower: int32x4_t, upper: int32x4_t, upper_shift: u32, scales: uint8x16_t
        ) -> int32x4_t {{
            let scales = vreinterpretq_s32_u8(scales);
            let upper = vshlq_s32(upper, vdupq_n_s32(-(upper_shift as i32)));
            let sums = vmlaq_s32(sums, lower, vshrq_n_s32::<16>(vshlq_n_s32::<16>(scales)));
            vmlaq_s32(sums, upper, vshrq_n_s32::<16>(scales))
        }}
        splat_i32(x: i32) -> int32x4_t { vdupq_n_s32(x) }
        add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vaddq_s32(a, b) }
        nibble(codes: uint8x16_t, i: usize) -> float32x4_t {{
            let shifted = vshlq_u32(vreinterpretq_u32_u8(codes), vdupq_n_s32(-(4 * i as i32)));
            vcvtq_f32_u32(vandq_u32(shifted, vdupq_n_u32(15)))
        }}
        to_f32(sums: int32x4_t) -> float32x4_t { vcvtq_f32_s32(sums) }
        splat_f32(x: f32) -> float32x4_t { vdupq_n_f32(x) }
        load_f32(from: &[u8]) -> float32x4_t { vreinterpretq_f32_u8(vld1q_u8(first::<16, _>(from))) }
        load_f16(from: &[u8]) -> float32x4_t { widen_halves(vreinterpret_u16_u8(vld1_u8(first::<8, _>(from)))) }
        load_bf16(from: &[u8]) -> float32x4_t {{
            let halves = vreinterpret_u16_u8(vld1_u8(first::<8, _>(from)));
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(halves)))
        }}
        load_bf16_pairs(from: &[u8]) -> [float32x4_t; 2] {{
            let pairs = vreinterpretq_u32_u8(vld1q_u8(first::<16, _>(from)));
            let seconds = vandq_u32(pairs, vdupq_n_u32(u32::MAX << 16));
            [vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs)), vreinterpretq_f32_u32(seconds)]
        }}
        load_u8(from: &[u8]) -> float32x4_t {
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(u64::from(word(from)))))))
        }
        load_i8(from: &[u8]) -> float32x4_t {
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(u64::from(word(from)))))))
        }
        store_f32(to: &mut [f32], x: float32x4_t) -> () { vst1q_f32(first_mut::<4, _, _>(to), x) }
        mul(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
        add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
        prefetch(at: *const u8) -> () {
            asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags))
        }
    }

    #[inline(always)]
    fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        self,
        sums: &mut [[int32x4_t; W]; G],
        sources: &[S; G],
        first: usize,
        x: &[[u8; STRIP_LEN]; W],
    ) {
        for k in first..first + STEP {
            let mut codes = [self.splat(0); G];
            for g in 0..G {
                codes[g] = sources[g].codes(self, k);
            }
            for c in 0..W {
                let x = four(&x[c], k);
                for g in 0..G {
                    // SAFETY: `self` exists where the machine has the instructions.
                    sums[g][c] = unsafe { dot_signed::<F>(sums[g][c], codes[g], x) };
                }
            }
        }
    }
}

/// The first four bytes.
#[inline(always)]
fn word(from: &[u8]) -> u32 {
    u32::from_ne_bytes(from.as_chunks::<4>().0[0])
}

/// Adds to each lane of `sums` the products of its four codes, from which 128 is taken where they have 8 bits, with those in `x`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_signed<F: Form>(mut sums: int32x4_t, codes: uint8x16_t, x: i32) -> int32x4_t {
    let codes = if F::BITS == 8 { veorq_u8(codes, vdupq_n_u8(128)) } else { codes };
    let x = vdupq_n_s32(x);
    // SAFETY: the instruction is in the features that this function is compiled with, and touches no memory.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {codes:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums, codes = in(vreg) codes, x = in(vreg) x,
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

/// The integers nearest to `x * inverse`, of 16 bits.
#[target_feature(enable = "neon")]
#[inline]
fn nearest(x: &[f32; 4], inverse: f32) -> int16x4_t {
    // SAFETY: there are four values.
    let x = unsafe { vld1q_f32(x.as_ptr()) };
    vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x, inverse)))
}

/// The lower bytes of both.
#[target_feature(enable = "neon")]
#[inline]
fn narrow(low: int16x4_t, high: int16x4_t) -> int8x8_t {
    vmovn_s16(vcombine_s16(low, high))
}
