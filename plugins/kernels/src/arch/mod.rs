//! What the kernels need of an instruction set, and a file for each that has it.
//!
//! Rows of the weight lie in the lanes of a register: a register of *codes* holds four codes of each of
//! [`DotIsa::LANES`] rows, and is multiplied with four activations that are broadcast to all lanes. Nothing is
//! ever summed across lanes, so an element of the result has one order of operations on every instruction set,
//! and the results are the same bits on all of them, but for those of [`Isa::Avx512Bf16`] with `bf16`.

use bitquilt_simd::Isa;

use crate::form::{Form, STRIP_LEN};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::{
    avx_vnni::AvxVnni,
    avx2::Avx2,
    avx512::{Avx512Bf16, Avx512Vnni},
};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use scalar::Scalar;

/// The most rows that any instruction set has in the lanes of a register.
pub const MAX_LANES: usize = 16;

/// Added to a float of less magnitude than 2^22, it leaves the nearest integer in the lowest bits, halves rounded to even.
const TO_INTEGER: f32 = (3u32 << 22) as f32;

/// Code that is compiled once for each instruction set.
pub trait Body {
    /// Runs it.
    ///
    /// # Safety
    /// Only [`DotIsa::vectorize`] of `I` may call this. Implementations are `#[inline(always)]`, so that
    /// their code is compiled with the features of `I`.
    unsafe fn run<I: DotIsa>(self);
}

/// Runs `body` compiled for `isa`, or for the nearest that it includes of those that there is code for.
///
/// # Safety
/// The machine has the instruction set.
pub unsafe fn vectorize(isa: Isa, body: impl Body) {
    // SAFETY: the caller's contract is this one's; a machine has what its instruction sets include.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => Avx2::vectorize(body),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => AvxVnni::vectorize(body),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Avx512Vnni::vectorize(body),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Avx512Bf16::vectorize(body),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => Neon::vectorize(body),
            _ => Scalar::vectorize(body),
        }
    }
}

/// The registers and instructions of one instruction set.
///
/// # Safety
/// For every method: the machine has the instruction set, and the call is compiled into a
/// [`vectorize`](Self::vectorize) of it. A method that takes a pointer reads or writes, unaligned, as many
/// bytes as it says.
#[allow(clippy::missing_safety_doc, reason = "what is said above holds for every method")]
pub trait DotIsa: Sized + 'static {
    /// Rows in the lanes of a register.
    const LANES: usize;
    /// Groups of `LANES` rows that a tile of the product has at most.
    const GROUPS: usize;
    /// Columns that a tile of the product has at most.
    const COLUMNS: usize;
    /// What [`dot`](Self::dot) takes from each code of a form with 8-bit codes.
    const BYTE_OFFSET: i32;
    /// Whether products of 8-bit codes cost no more than those of narrower ones.
    const BYTES_ARE_QUICK: bool = true;

    /// `4 * LANES` bytes.
    type Codes: Copy;
    /// `LANES` sums of products.
    type I32: Copy;
    /// `LANES` floats.
    type F32: Copy;

    /// Tiles of columns up to which unpacking a weight again for each tile costs less than keeping it unpacked in memory; `cheap` says
    /// that unpacking is few instructions.
    fn streamed_tiles(cheap: bool) -> usize {
        let _ = cheap;
        1
    }

    /// Runs `body` compiled with the features of this instruction set.
    unsafe fn vectorize<B: Body>(body: B);

    /// `4 * LANES` bytes at `from`.
    unsafe fn load(from: *const u8) -> Self::Codes;
    /// `4 * LANES` bytes to `to`.
    unsafe fn store(to: *mut u8, codes: Self::Codes);
    /// `byte` everywhere.
    unsafe fn splat(byte: u8) -> Self::Codes;
    /// The bits that are in both.
    unsafe fn and(a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// The bits that are in either.
    unsafe fn or(a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// Shifted left within bytes; bits that come in from the neighbouring byte are unspecified.
    unsafe fn shl<const N: u32>(codes: Self::Codes) -> Self::Codes;
    /// Shifted right within bytes; bits that come in from the neighbouring byte are unspecified.
    unsafe fn shr<const N: u32>(codes: Self::Codes) -> Self::Codes;
    /// `table[code]` for each code, all below 16.
    unsafe fn lookup(table: &[u8; 16], codes: Self::Codes) -> Self::Codes;

    /// The 4 bits from bit `SHIFT` on of `LANES` bytes at `from`, as [`scale`](Self::scale) takes them.
    unsafe fn load_factors<const SHIFT: u32>(from: *const u8) -> Self::Codes;
    /// Each code times the factor of its lane; the products are below 256.
    unsafe fn scale(codes: Self::Codes, factors: Self::Codes) -> Self::Codes;
    /// `2 * LANES` bytes at `from`, two a lane: the first in the four codes of its lane, and the second.
    unsafe fn load_lane_bytes(from: *const u8) -> [Self::Codes; 2];
    /// `a - b` modulo 256, code by code.
    unsafe fn sub(a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// `codes * factors + terms` modulo 256; a factor is that of all four codes in a lane.
    unsafe fn scale_add(codes: Self::Codes, factors: Self::Codes, terms: Self::Codes) -> Self::Codes;

    /// The integers nearest to `strip * inverse`, halves to even, as signed bytes, and the sums of either half of them. The magnitude
    /// of none is above 127.
    unsafe fn quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2];
    /// Adds to `sums[g][c]` the products of `STEP * 4` codes of group `g`, steps `first..` of `codes`, and as many
    /// activations of column `c`. A column's activations are 32 bytes from the next's; `x` is the first's, at
    /// code 0 of step 0.
    unsafe fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        sums: &mut [[Self::I32; W]; G],
        codes: &[S; G],
        first: usize,
        x: *const i8,
    );
    /// The lower and the upper 4 bits of `LANES` bytes at `from`, two numbers of 16 bits a lane.
    unsafe fn load_nibble_pair(from: *const u8) -> Self::Codes;
    /// `2 * LANES` signed bytes at `from`, two numbers of 16 bits a lane.
    unsafe fn load_byte_pair(from: *const u8) -> Self::Codes;
    /// `sums` and the products of the two numbers of each lane, signed ones of 16 bits, with the two at `x`.
    unsafe fn dot_pair(sums: Self::I32, pairs: Self::Codes, x: *const u8) -> Self::I32;
    /// `sums` and `lower` times the first number of each lane of `scales`, signed ones of 16 bits, and `upper`, shifted right by the
    /// form's [`UPPER_SHIFT`](Form::UPPER_SHIFT) of zeros, times the second. `lower` and the shifted `upper` have 16 bits.
    unsafe fn add_scaled<F: Form>(
        sums: Self::I32,
        lower: Self::I32,
        upper: Self::I32,
        scales: Self::Codes,
    ) -> Self::I32;
    /// The `i32` at `from` in every lane.
    unsafe fn broadcast_i32(from: *const u8) -> Self::I32;
    /// Zero in every lane.
    unsafe fn zero_i32() -> Self::I32;
    /// `a + b`, which does not overflow.
    unsafe fn add_i32(a: Self::I32, b: Self::I32) -> Self::I32;
    /// Rounded to the nearest float.
    unsafe fn to_f32(sums: Self::I32) -> Self::F32;

    /// Zero in every lane.
    unsafe fn zero() -> Self::F32;
    /// The `f32` at `from` in every lane.
    unsafe fn broadcast(from: *const u8) -> Self::F32;
    /// `LANES` floats at `from`.
    unsafe fn load_f32(from: *const u8) -> Self::F32;
    /// `LANES` half-precision floats at `from`.
    unsafe fn load_f16(from: *const u8) -> Self::F32;
    /// `LANES` bfloat16 at `from`.
    unsafe fn load_bf16(from: *const u8) -> Self::F32;
    /// `LANES` bytes at `from`.
    unsafe fn load_u8(from: *const u8) -> Self::F32;
    /// `LANES` signed bytes at `from`.
    unsafe fn load_i8(from: *const u8) -> Self::F32;
    /// `LANES` floats to `to`.
    unsafe fn store_f32(to: *mut f32, x: Self::F32);
    /// `a * b`.
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a + b`.
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// `c` and the products of pairs of bfloat16, which are the halves of each lane of `a` and `b`, as [`scalar::dot_bf16`] defines it.
    #[inline(always)]
    unsafe fn dot_bf16(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { scalar::dot_bf16_lanes::<Self>(a, b, c) }
    }

    /// Asks for the cache line of `at`, which need not be a valid address.
    unsafe fn prefetch(at: *const u8);
}

/// Where a kernel has the codes of 32 values of a row group: in registers, or in memory.
pub trait CodeSource<I: DotIsa> {
    /// Codes `4 * k .. 4 * k + 4` of each row.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `k` is below 8.
    unsafe fn codes(&self, k: usize) -> I::Codes;
}

/// Registers of codes that one [`DotIsa::dot`] consumes: 16 codes of each row.
pub const STEP: usize = 4;
