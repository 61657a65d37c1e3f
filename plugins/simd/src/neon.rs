//! NEON: sixteen floats in four registers.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use crate::instructions;
use crate::lanes::{LANES, Simd};
use crate::token::Neon;

type F = [float32x4_t; 4];
type M = [uint32x4_t; 4];

/// An array of an expression of each of the four registers' indices.
macro_rules! each {
    ($i:ident => $value:expr) => {
        [
            {
                let $i = 0;
                $value
            },
            {
                let $i = 1;
                $value
            },
            {
                let $i = 2;
                $value
            },
            {
                let $i = 3;
                $value
            },
        ]
    };
}

impl Simd for Neon {
    type F = F;
    type M = M;
    const WIDE: bool = false;

    instructions! {
        // SAFETY: memory is read and written through references, at offsets within them.
        unsafe
        splat(x: f32) -> F { [vdupq_n_f32(x); 4] }
        load(from: &[f32; LANES]) -> F { each!(i => vld1q_f32(from.as_ptr().add(4 * i))) }
        load_f16(from: &[f16; LANES]) -> F { each!(i => widen_halves(vld1_u16(from.as_ptr().cast::<u16>().add(4 * i)))) }
        store_f16(to: &mut [f16; LANES], x: F) -> () {
            { each!(i => vst1_u16(to.as_mut_ptr().cast::<u16>().add(4 * i), narrow_halves(x[i]))); }
        }
        store(to: &mut [f32; LANES], x: F) -> () {
            { each!(i => vst1q_f32(to.as_mut_ptr().add(4 * i), x[i])); }
        }
        add(a: F, b: F) -> F { each!(i => vaddq_f32(a[i], b[i])) }
        sub(a: F, b: F) -> F { each!(i => vsubq_f32(a[i], b[i])) }
        mul(a: F, b: F) -> F { each!(i => vmulq_f32(a[i], b[i])) }
        div(a: F, b: F) -> F { each!(i => vdivq_f32(a[i], b[i])) }
        fma(a: F, b: F, c: F) -> F { each!(i => vfmaq_f32(c[i], a[i], b[i])) }
        max(a: F, b: F) -> F { each!(i => vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i])) }
        min(a: F, b: F) -> F { each!(i => vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i])) }
        sqrt(x: F) -> F { each!(i => vsqrtq_f32(x[i])) }
        split(x: F) -> (F, F) {{
            let bits = each!(i => vreinterpretq_u32_f32(x[i]));
            let mantissa = each!(i => {
                let bits = vandq_u32(bits[i], vdupq_n_u32(0x7f_ffff));
                vreinterpretq_f32_u32(vorrq_u32(bits, vdupq_n_u32(0x3f80_0000)))
            });
            let exponent = each!(i => {
                let biased = vreinterpretq_s32_u32(vshrq_n_u32::<23>(bits[i]));
                vcvtq_f32_s32(vsubq_s32(biased, vdupq_n_s32(127)))
            });
            (mantissa, exponent)
        }}
        round(x: F) -> F { each!(i => vrndnq_f32(x[i])) }
        exp2(n: F) -> F {
            each!(i => {
                let exponent = vaddq_s32(vcvtq_s32_f32(n[i]), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
            })
        }
        less(a: F, b: F) -> M { each!(i => vcltq_f32(a[i], b[i])) }
        first(count: usize) -> M {{
            const LANE: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
            let count = vdupq_n_u32(count.min(LANES) as u32);
            each!(i => vcltq_u32(vld1q_u32(LANE.as_ptr().add(4 * i)), count))
        }}
        select(choice: M, a: F, b: F) -> F { each!(i => vbslq_f32(choice[i], a[i], b[i])) }
        transpose(rows: [F; LANES]) -> [F; LANES] {{
            let blocks = each!(quarter => each!(row => transpose4(each!(i => rows[4 * row + i][quarter]))));
            let mut columns = rows;
            let mut row = 0;
            while row < LANES {
                columns[row] = each!(part => blocks[row / 4][part][row % 4]);
                row += 1;
            }
            columns
        }}
    }
}

/// Four half-precision floats as f32. The compiler names no intrinsic for the instruction on its stable channel.
#[inline]
#[target_feature(enable = "neon")]
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

/// Four floats in half precision, rounded to the nearest.
#[inline]
#[target_feature(enable = "neon")]
fn narrow_halves(wide: float32x4_t) -> uint16x4_t {
    let halves;
    // SAFETY: as above.
    unsafe {
        asm!(
            "fcvtn {halves:v}.4h, {wide:v}.4s",
            halves = lateout(vreg) halves, wide = in(vreg) wide,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    halves
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose4(rows: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let [a, b, c, d] = rows;
    let (ab, cd) = ([vtrn1q_f32(a, b), vtrn2q_f32(a, b)], [vtrn1q_f32(c, d), vtrn2q_f32(c, d)]);
    let low = |x, y| vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    let high = |x, y| vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    [low(ab[0], cd[0]), low(ab[1], cd[1]), high(ab[0], cd[0]), high(ab[1], cd[1])]
}
