//! AVX2 with FMA and F16C: eight rows in a register.

use std::{arch::x86_64::*, marker::PhantomData};

use super::{Body, CodeSource, DotIsa, STEP, TO_INTEGER};
use crate::form::{Form, STRIP_LEN};

/// `vpmaddubsw` and `vpmaddwd` on 256-bit registers.
pub(crate) type Avx2 = Avx256<Plain>;

/// AVX2 with what `E` has.
pub(crate) struct Avx256<E>(PhantomData<E>);

/// A way to multiply bytes.
///
/// # Safety
/// For every method: as for those of [`DotIsa`].
pub(crate) trait Products: Sized + 'static {
    /// As [`DotIsa::GROUPS`].
    const GROUPS: usize;
    /// As [`DotIsa::COLUMNS`].
    const COLUMNS: usize;
    /// As [`DotIsa::BYTE_OFFSET`].
    const BYTE_OFFSET: i32;
    /// As [`DotIsa::BYTES_ARE_QUICK`].
    const BYTES_ARE_QUICK: bool;

    /// Runs `body` compiled with its features.
    unsafe fn vectorize<B: Body>(body: B);

    /// As [`DotIsa::dot`].
    unsafe fn dot<F: Form, S: CodeSource<Avx256<Self>>, const G: usize, const W: usize>(
        sums: &mut [[__m256i; W]; G],
        codes: &[S; G],
        first: usize,
        x: *const i8,
    );
}

/// What AVX2 has: products of pairs, in 16 bits.
pub(crate) struct Plain;

/// The sum of `products`, four of them in 16 bits where that cannot overflow, added to `sums`.
#[target_feature(enable = "avx2")]
#[inline]
fn add_products<F: Form>(sums: __m256i, products: [__m256i; STEP]) -> __m256i {
    let widen = |pairs| _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let [a, b, c, d] = products;
    // A product of two pairs is at most 2 * 127 * code.
    if F::BITS <= 5 {
        let ab = _mm256_add_epi16(a, b);
        let cd = _mm256_add_epi16(c, d);
        _mm256_add_epi32(sums, widen(_mm256_add_epi16(ab, cd)))
    } else if F::BITS == 6 {
        let ab = widen(_mm256_add_epi16(a, b));
        let cd = widen(_mm256_add_epi16(c, d));
        _mm256_add_epi32(sums, _mm256_add_epi32(ab, cd))
    } else {
        let ab = _mm256_add_epi32(widen(a), widen(b));
        let cd = _mm256_add_epi32(widen(c), widen(d));
        _mm256_add_epi32(sums, _mm256_add_epi32(ab, cd))
    }
}

/// Where a shuffle takes the lowest byte of each lane from, four times.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn first_of_four() -> __m128i {
    _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)
}

/// The sum of signed bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_of_bytes(codes: __m128i) -> i32 {
    let unsigned = _mm_xor_si128(codes, _mm_set1_epi8(i8::MIN));
    let sums = _mm_sad_epu8(unsigned, _mm_setzero_si128());
    _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums))) - 16 * 128
}

impl Products for Plain {
    const GROUPS: usize = 1;
    const COLUMNS: usize = 4;
    // `vpmaddubsw` saturates: codes of 8 bits are taken as signed, and their signs moved to the activations.
    const BYTE_OFFSET: i32 = 128;
    const BYTES_ARE_QUICK: bool = false;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: this function is compiled with the features, and its caller vouches that the machine has them.
        unsafe { body.run::<Avx2>() }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn dot<F: Form, S: CodeSource<Avx2>, const G: usize, const W: usize>(
        sums: &mut [[__m256i; W]; G],
        sources: &[S; G],
        first: usize,
        x: *const i8,
    ) {
        for g in 0..G {
            let mut codes = [_mm256_setzero_si256(); STEP];
            for (i, codes) in codes.iter_mut().enumerate() {
                // SAFETY: the caller's contract is this one's.
                *codes = unsafe { sources[g].codes(first + i) };
            }
            for c in 0..W {
                let mut products = [_mm256_setzero_si256(); STEP];
                for i in 0..STEP {
                    // SAFETY: `x` has 32 activations for each of the `W` columns, and `first + i` is below 8.
                    let x = unsafe { x.add(32 * c + 4 * (first + i)).cast::<i32>().read_unaligned() };
                    let x = _mm256_set1_epi32(x);
                    products[i] = if F::BITS == 8 {
                        let signed = _mm256_xor_si256(codes[i], _mm256_set1_epi8(-128));
                        _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed))
                    } else {
                        _mm256_maddubs_epi16(codes[i], x)
                    };
                }
                sums[g][c] = add_products::<F>(sums[g][c], products);
            }
        }
    }
}

impl<E: Products> DotIsa for Avx256<E> {
    const LANES: usize = 8;
    const GROUPS: usize = E::GROUPS;
    const COLUMNS: usize = E::COLUMNS;
    const BYTE_OFFSET: i32 = E::BYTE_OFFSET;
    const BYTES_ARE_QUICK: bool = E::BYTES_ARE_QUICK;

    type Codes = __m256i;
    type I32 = __m256i;
    type F32 = __m256;

    #[inline(always)]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: the caller's contract is this one's.
        unsafe { E::vectorize(body) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: __m256i) {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_storeu_si256(to.cast(), codes) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn splat(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte as i8)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn shl<const N: u32>(codes: __m256i) -> __m256i {
        _mm256_sll_epi16(codes, _mm_cvtsi32_si128(N as i32))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn shr<const N: u32>(codes: __m256i) -> __m256i {
        _mm256_srl_epi16(codes, _mm_cvtsi32_si128(N as i32))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn lookup(table: &[u8; 16], codes: __m256i) -> __m256i {
        // SAFETY: the table has 16 bytes.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes)
    }

    // There is no product of bytes: a factor is in both halves of its lane, and multiplies two codes at once.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_factors<const SHIFT: u32>(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        let bytes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
        let shifted = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(SHIFT as i32));
        let factors = _mm256_and_si256(shifted, _mm256_set1_epi32(15));
        _mm256_or_si256(factors, _mm256_slli_epi32::<16>(factors))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn scale(codes: __m256i, factors: __m256i) -> __m256i {
        _mm256_mullo_epi16(codes, factors)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_lane_bytes(from: *const u8) -> [__m256i; 2] {
        let first_of_four = _mm256_broadcastsi128_si256(first_of_four());
        // SAFETY: the caller vouches for the bytes.
        let pairs = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(from.cast()) });
        [pairs, _mm256_srli_epi32::<16>(pairs)].map(|bytes| _mm256_shuffle_epi8(bytes, first_of_four))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn sub(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi8(a, b)
    }

    // The lower byte of a product of 16 bits is right, and the upper one where the lower code is zero.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn scale_add(codes: __m256i, factors: __m256i, terms: __m256i) -> __m256i {
        let odd = _mm256_set1_epi16(-256);
        let odd_products = _mm256_mullo_epi16(_mm256_and_si256(codes, odd), factors);
        let even_products = _mm256_andnot_si256(odd, _mm256_mullo_epi16(codes, factors));
        _mm256_add_epi8(_mm256_or_si256(odd_products, even_products), terms)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {
        let nearest = |k: usize| {
            // SAFETY: a strip has as many values.
            let x = unsafe { _mm256_loadu_ps(strip.as_ptr().add(8 * k)) };
            let x = _mm256_mul_ps(x, _mm256_set1_ps(inverse));
            let bits = _mm256_castps_si256(_mm256_add_ps(x, _mm256_set1_ps(TO_INTEGER)));
            _mm256_and_si256(bits, _mm256_set1_epi32(0xff))
        };
        let lower = _mm256_packus_epi32(nearest(0), nearest(1));
        let upper = _mm256_packus_epi32(nearest(2), nearest(3));
        // Four values each of 0, 1, 2, 3 above, from their lower halves, and then from their upper ones.
        let packed = _mm256_packus_epi16(lower, upper);
        let bytes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        // SAFETY: there is room for as many bytes.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes) };
        [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)].map(|half| sum_of_bytes(half))
    }

    #[inline(always)]
    unsafe fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        sums: &mut [[__m256i; W]; G],
        codes: &[S; G],
        first: usize,
        x: *const i8,
    ) {
        // SAFETY: the caller's contract is this one's.
        unsafe { E::dot::<F, S, G, W>(sums, codes, first, x) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_nibble_pair(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        let bytes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
        _mm256_and_si256(
            _mm256_or_si256(bytes, _mm256_slli_epi32::<12>(bytes)),
            _mm256_set1_epi32(0x000f_000f),
        )
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_byte_pair(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn dot_pair(sums: __m256i, pairs: __m256i, x: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        let x = _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() });
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, x))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn add_scaled<F: Form>(sums: __m256i, lower: __m256i, upper: __m256i, scales: __m256i) -> __m256i {
        let upper = _mm256_sll_epi32(upper, _mm_cvtsi32_si128(16 - F::UPPER_SHIFT as i32));
        _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_blend_epi16::<0xaa>(lower, upper), scales))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn broadcast_i32(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        _mm256_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn zero_i32() -> __m256i {
        _mm256_setzero_si256()
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn add_i32(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn to_f32(sums: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(sums)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn broadcast(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        _mm256_set1_ps(unsafe { from.cast::<f32>().read_unaligned() })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_f32(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    unsafe fn load_f16(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_bf16(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_u8(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) }))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_i8(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(from.cast()) }))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn store_f32(to: *mut f32, x: __m256) {
        // SAFETY: the caller vouches for the floats.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch of an invalid address does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
