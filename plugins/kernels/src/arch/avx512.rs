//! AVX-512 with VNNI: sixteen rows in a register.

use std::{arch::x86_64::*, marker::PhantomData};

use super::{
    Body, CodeSource, DotIsa, STEP, TO_INTEGER,
    avx2::{first_of_four, sum_of_bytes},
    scalar,
};
use crate::form::{Form, STRIP_LEN};

/// `vpdpbusd` on 512-bit registers.
pub(crate) type Avx512Vnni = Avx512<Vnni>;

/// The same, and `vdpbf16ps`.
pub(crate) type Avx512Bf16 = Avx512<Bf16>;

/// AVX-512 with what `E` has.
pub(crate) struct Avx512<E>(PhantomData<E>);

/// An extension of AVX-512.
///
/// # Safety
/// For every method: as for those of [`DotIsa`].
pub(crate) trait Extension: Sized + 'static {
    /// Runs `body` compiled with its features.
    unsafe fn vectorize<B: Body>(body: B);

    /// As [`DotIsa::dot_bf16`].
    #[inline(always)]
    unsafe fn dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller's contract is this one's.
        unsafe { scalar::dot_bf16_lanes::<Avx512<Self>>(a, b, c) }
    }
}

/// VNNI.
pub(crate) struct Vnni;

impl Extension for Vnni {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: this function is compiled with the features, and its caller vouches that the machine has them.
        unsafe { body.run::<Avx512Vnni>() }
    }
}

/// VNNI and BF16.
pub(crate) struct Bf16;

impl Extension for Bf16 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: this function is compiled with the features, and its caller vouches that the machine has them.
        unsafe { body.run::<Avx512Bf16>() }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    unsafe fn dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: both are 64 bytes of any value.
        let [a, b] = unsafe { [a, b].map(|pairs| std::mem::transmute::<__m512, __m512bh>(pairs)) };
        _mm512_dpbf16_ps(c, a, b)
    }
}

/// Whether the processor has units for shifts and masks of 512 bits beside those that multiply: AMD's do, Intel's do not.
fn unpacks_beside_products() -> bool {
    bitquilt_simd::is_amd()
}

impl<E: Extension> DotIsa for Avx512<E> {
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

    #[inline(always)]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: the caller's contract is this one's.
        unsafe { E::vectorize(body) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: __m512i) {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm512_storeu_si512(to.cast(), codes) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn splat(byte: u8) -> __m512i {
        _mm512_set1_epi8(byte as i8)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn shl<const N: u32>(codes: __m512i) -> __m512i {
        _mm512_slli_epi16::<N>(codes)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn shr<const N: u32>(codes: __m512i) -> __m512i {
        _mm512_srli_epi16::<N>(codes)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn lookup(table: &[u8; 16], codes: __m512i) -> __m512i {
        // SAFETY: the table has 16 bytes.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes)
    }

    // There is no product of bytes: a factor is in both halves of its lane, and multiplies two codes at once.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn load_factors<const SHIFT: u32>(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        let factors = _mm512_and_si512(_mm512_srli_epi32::<SHIFT>(bytes), _mm512_set1_epi32(15));
        _mm512_or_si512(factors, _mm512_slli_epi32::<16>(factors))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn scale(codes: __m512i, factors: __m512i) -> __m512i {
        _mm512_mullo_epi16(codes, factors)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn load_lane_bytes(from: *const u8) -> [__m512i; 2] {
        let first_of_four = _mm512_broadcast_i32x4(first_of_four());
        // SAFETY: the caller vouches for the bytes.
        let pairs = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(from.cast()) });
        [pairs, _mm512_srli_epi32::<16>(pairs)].map(|bytes| _mm512_shuffle_epi8(bytes, first_of_four))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn sub(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi8(a, b)
    }

    // The lower byte of a product of 16 bits is right, and the upper one where the lower code is zero.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn scale_add(codes: __m512i, factors: __m512i, terms: __m512i) -> __m512i {
        let odd = _mm512_set1_epi16(-256);
        let odd_products = _mm512_mullo_epi16(_mm512_and_si512(codes, odd), factors);
        let even_products = _mm512_andnot_si512(odd, _mm512_mullo_epi16(codes, factors));
        _mm512_add_epi8(_mm512_or_si512(odd_products, even_products), terms)
    }

    #[target_feature(enable = "avx512f,avx2")]
    #[inline]
    unsafe fn quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {
        let mut sums = [0; 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a strip has as many values.
            let x = unsafe { _mm512_loadu_ps(strip.as_ptr().add(16 * half)) };
            let x = _mm512_mul_ps(x, _mm512_set1_ps(inverse));
            let bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_set1_ps(TO_INTEGER)));
            let bytes = _mm512_cvtepi32_epi8(bits);
            // SAFETY: there is room for as many bytes.
            unsafe { _mm_storeu_si128(codes.as_mut_ptr().add(16 * half).cast(), bytes) };
            *sum = sum_of_bytes(bytes);
        }
        sums
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    unsafe fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        sums: &mut [[__m512i; W]; G],
        codes: &[S; G],
        first: usize,
        x: *const i8,
    ) {
        for k in first..first + STEP {
            for c in 0..W {
                // SAFETY: `x` has 32 activations for each of the `W` columns, and `k` is below 8.
                let x = unsafe { x.add(32 * c + 4 * k).cast::<i32>().read_unaligned() };
                for g in 0..G {
                    // SAFETY: the caller's contract is this one's.
                    let codes = unsafe { codes[g].codes(k) };
                    sums[g][c] = _mm512_dpbusd_epi32(sums[g][c], codes, _mm512_set1_epi32(x));
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_nibble_pair(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        _mm512_and_si512(
            _mm512_or_si512(bytes, _mm512_slli_epi32::<12>(bytes)),
            _mm512_set1_epi32(0x000f_000f),
        )
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn load_byte_pair(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    unsafe fn dot_pair(sums: __m512i, pairs: __m512i, x: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        let x = unsafe { x.cast::<i32>().read_unaligned() };
        _mm512_dpwssd_epi32(sums, pairs, _mm512_set1_epi32(x))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn add_scaled<F: Form>(sums: __m512i, lower: __m512i, upper: __m512i, scales: __m512i) -> __m512i {
        let upper = _mm512_sll_epi32(upper, _mm_cvtsi32_si128(16 - F::UPPER_SHIFT as i32));
        _mm512_dpwssd_epi32(sums, _mm512_mask_blend_epi16(0xaaaa_aaaa, lower, upper), scales)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn broadcast_i32(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes.
        _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn zero_i32() -> __m512i {
        _mm512_setzero_si512()
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn to_f32(sums: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(sums)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn broadcast(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        _mm512_set1_ps(unsafe { from.cast::<f32>().read_unaligned() })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_f32(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        let halves = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) }))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for the bytes.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(from.cast()) }))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn store_f32(to: *mut f32, x: __m512) {
        // SAFETY: the caller vouches for the floats.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch of an invalid address does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn dot_bf16(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller's contract is this one's.
        unsafe { E::dot_bf16(a, b, c) }
    }
}
