//! AVX-512 with VNNI: sixteen rows in a register. With BF16, which multiplies pairs of bfloat16, too.

use std::arch::x86_64::*;

use bitquilt_simd::{Avx512Bf16, Avx512Vnni, instructions};

use super::avx2::{first_of_four, sum_of_bytes};
use super::{CodeSource, DotIsa, OwnKernels, STEP, TO_INTEGER, first, first_mut, four};
use crate::form::{Form, STRIP_LEN};

/// Whether the processor has units for shifts and masks of 512 bits beside those that multiply: AMD's do, Intel's do not.
fn unpacks_beside_products() -> bool {
    bitquilt_simd::is_amd()
}

/// All of [`DotIsa`] that both sets have in common.
macro_rules! registers_of_512_bits {
    () => {
        const LANES: usize = 16;
        // Three groups share each broadcast of activations: loads of 512 bits are scarcer than products.
        const GROUPS: usize = 3;
        const COLUMNS: usize = 4;
        const BYTE_OFFSET: i32 = 0;

        type Codes = __m512i;
        type I32 = __m512i;
        type F32 = __m512;

        fn streamed_tiles(cheap: bool) -> usize {
            if cheap && unpacks_beside_products() { usize::MAX } else { 2 }
        }

        instructions! {
            // SAFETY: `first` and `first_mut` see to the bytes that are read and written; a table has 16 bytes, a strip 32 values.
            unsafe
            load(from: &[u8]) -> __m512i { _mm512_loadu_si512(first::<64, _>(from)) }
            store(to: &mut [u8], codes: __m512i) -> () { _mm512_storeu_si512(first_mut::<64, _, _>(to), codes) }
            splat(byte: u8) -> __m512i { _mm512_set1_epi8(byte as i8) }
            and(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
            or(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
            shl<const N: u32>(codes: __m512i) -> __m512i { _mm512_slli_epi16::<N>(codes) }
            shr<const N: u32>(codes: __m512i) -> __m512i { _mm512_srli_epi16::<N>(codes) }
            lookup(table: &[u8; 16], codes: __m512i) -> __m512i {
                _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), codes)
            }
            // There is no product of bytes: a factor is in both halves of its lane, and multiplies two codes at once.
            load_factors<const SHIFT: u32>(from: &[u8]) -> __m512i {{
                let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(first::<16, _>(from)));
                let factors = _mm512_and_si512(_mm512_srli_epi32::<SHIFT>(bytes), _mm512_set1_epi32(15));
                _mm512_or_si512(factors, _mm512_slli_epi32::<16>(factors))
            }}
            scale(codes: __m512i, factors: __m512i) -> __m512i { _mm512_mullo_epi16(codes, factors) }
            load_lane_bytes(from: &[u8]) -> [__m512i; 2] {{
                let first_of_four = _mm512_broadcast_i32x4(first_of_four());
                let pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(first::<32, _>(from)));
                let seconds = _mm512_srli_epi32::<16>(pairs);
                [_mm512_shuffle_epi8(pairs, first_of_four), _mm512_shuffle_epi8(seconds, first_of_four)]
            }}
            sub(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi8(a, b) }
            // The lower byte of a product of 16 bits is right, and the upper one where the lower code is zero.
            scale_add(codes: __m512i, factors: __m512i, terms: __m512i) -> __m512i {{
                let odd = _mm512_set1_epi16(-256);
                let odd_products = _mm512_mullo_epi16(_mm512_and_si512(codes, odd), factors);
                let even_products = _mm512_andnot_si512(odd, _mm512_mullo_epi16(codes, factors));
                _mm512_add_epi8(_mm512_or_si512(odd_products, even_products), terms)
            }}
            quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {{
                let mut sums = [0; 2];
                let (halves, strip) = (codes.as_chunks_mut::<16>().0, strip.as_chunks::<16>().0);
                for (half, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_mul_ps(_mm512_loadu_ps(strip[half].as_ptr()), _mm512_set1_ps(inverse));
                    let bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_set1_ps(TO_INTEGER)));
                    let bytes = _mm512_cvtepi32_epi8(bits);
                    _mm_storeu_si128(halves[half].as_mut_ptr().cast(), bytes);
                    *sum = sum_of_bytes(bytes);
                }
                sums
            }}
            load_nibble_pair(from: &[u8]) -> __m512i {{
                let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(first::<16, _>(from)));
                let pairs = _mm512_or_si512(bytes, _mm512_slli_epi32::<12>(bytes));
                _mm512_and_si512(pairs, _mm512_set1_epi32(0x000f_000f))
            }}
            load_byte_pair(from: &[u8]) -> __m512i { _mm512_cvtepi8_epi16(_mm256_loadu_si256(first::<32, _>(from))) }
            dot_pair(sums: __m512i, pairs: __m512i, x: [u8; 4]) -> __m512i {
                _mm512_dpwssd_epi32(sums, pairs, _mm512_set1_epi32(i32::from_ne_bytes(x)))
            }
            add_scaled(
                sums: __m512i, lower: __m512i, upper: __m512i, upper_shift: u32, scales: __m512i
            ) -> __m512i {{
                let upper = _mm512_sll_epi32(upper, _mm_cvtsi32_si128(16 - upper_shift as i32));
                _mm512_dpwssd_epi32(sums, _mm512_mask_blend_epi16(0xaaaa_aaaa, lower, upper), scales)
            }}
            splat_i32(x: i32) -> __m512i { _mm512_set1_epi32(x) }
            add_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
            nibble(codes: __m512i, i: usize) -> __m512 {{
                let shifted = _mm512_srl_epi32(codes, _mm_cvtsi32_si128(4 * i as i32));
                _mm512_cvtepi32_ps(_mm512_and_si512(shifted, _mm512_set1_epi32(15)))
            }}
            to_f32(sums: __m512i) -> __m512 { _mm512_cvtepi32_ps(sums) }
            splat_f32(x: f32) -> __m512 { _mm512_set1_ps(x) }
            load_f32(from: &[u8]) -> __m512 { _mm512_loadu_ps(first::<64, _>(from)) }
            load_f16(from: &[u8]) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(first::<32, _>(from))) }
            load_bf16(from: &[u8]) -> __m512 {{
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(first::<32, _>(from)));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }}
            load_bf16_pairs(from: &[u8]) -> [__m512; 2] {{
                let pairs = _mm512_loadu_si512(first::<64, _>(from));
                let seconds = _mm512_and_si512(pairs, _mm512_set1_epi32(-1 << 16));
                [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(seconds)]
            }}
            load_u8(from: &[u8]) -> __m512 {
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(first::<16, _>(from))))
            }
            load_i8(from: &[u8]) -> __m512 {
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(first::<16, _>(from))))
            }
            store_f32(to: &mut [f32], x: __m512) -> () { _mm512_storeu_ps(first_mut::<16, _, _>(to), x) }
            mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
            add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
            fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
            self,
            sums: &mut [[__m512i; W]; G],
            codes: &[S; G],
            first: usize,
            x: &[[u8; STRIP_LEN]; W],
        ) {
            for k in first..first + STEP {
                for c in 0..W {
                    let x = self.splat_i32(four(&x[c], k));
                    for g in 0..G {
                        let codes = codes[g].codes(self, k);
                        // SAFETY: `self` exists where the machine has the instructions.
                        sums[g][c] = unsafe { _mm512_dpbusd_epi32(sums[g][c], codes, x) };
                    }
                }
            }
        }
    };
}

impl DotIsa for Avx512Vnni {
    registers_of_512_bits!();
}

impl DotIsa for Avx512Bf16 {
    const OWN: OwnKernels = OwnKernels { integers: false, floats: false, bf16: true };

    registers_of_512_bits!();

    instructions! {
        // SAFETY: both operands are 64 bytes of any value.
        unsafe
        dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_dpbf16_ps(c, std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b))
        }
    }
}
