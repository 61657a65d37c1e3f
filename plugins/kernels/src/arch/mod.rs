//! What the kernels need of an instruction set, and a file for each that has it.
//!
//! Rows of the weight lie in the lanes of a register: a register of *codes* holds four codes of each of
//! [`DotIsa::LANES`] rows, and is multiplied with four activations that are broadcast to all lanes. Nothing is
//! ever summed across lanes, so an element of the result has one order of operations on every instruction set,
//! and the results are the same bits on all of them, but for those of [`Isa::Avx512Bf16`] with `bf16`.

use bitquilt_simd::{Isa, Run, Scalar, Token, dispatch};

use crate::form::{Form, STRIP_LEN};

mod bf16;
mod scalar;

/// Takes in the files of instruction sets that there are kernels for, makes the choice between them, and lists what each has kernels of
/// its own for.
macro_rules! instruction_sets {
    ($($file:ident on $arch:literal: $($set:ident),+;)*) => {
        dispatch! {
            /// An instruction set that there are kernels for, and the machine has.
            pub enum AnyDot runs Body by InDot {
                $($file on $arch: $($set),+;)*
            }
        }

        /// What an instruction set has kernels of its own for: nothing, where those of its base serve it.
        pub(crate) const fn own_kernels(isa: Isa) -> OwnKernels {
            match isa {
                Isa::Scalar => <Scalar<false> as DotIsa>::OWN,
                $($(
                    #[cfg(target_arch = $arch)]
                    Isa::$set => <bitquilt_simd::$set as DotIsa>::OWN,
                )+)*
                _ => OwnKernels { integers: false, floats: false, bf16: false },
            }
        }
    };
}

instruction_sets! {
    avx2 on "x86_64": Avx2, AvxVnni;
    avx512 on "x86_64": Avx512Vnni, Avx512Bf16;
    neon on "aarch64": NeonDotprod;
}

/// The kinds of weights that an instruction set has kernels of its own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnKernels {
    /// Codes that are multiplied as integers.
    pub(crate) integers: bool,
    /// Floats, `bf16` included unless there are pairs.
    pub(crate) floats: bool,
    /// Pairs of bfloat16.
    pub(crate) bf16: bool,
}

/// The most rows that any instruction set has in the lanes of a register.
pub const MAX_LANES: usize = 16;

/// Registers of codes that one [`DotIsa::dot`] consumes: 16 codes of each row.
pub const STEP: usize = 4;

/// Added to a float of less magnitude than 2^22, it leaves the nearest integer in the lowest bits, halves rounded to even.
const TO_INTEGER: f32 = (3u32 << 22) as f32;

/// Code that is compiled once for each instruction set.
pub trait Body {
    /// What it answers.
    type Output;
    /// Runs it. Implementations are `#[inline(always)]`, so that their code is compiled with the features of `I`.
    fn run<I: DotIsa>(self, isa: I) -> Self::Output;
}

/// A [`Body`] as a token runs it.
struct InDot<B>(B);

impl<I: DotIsa, B: Body> Run<I> for InDot<B> {
    type Output = B::Output;

    #[inline(always)]
    fn run(self, isa: I) -> B::Output {
        self.0.run(isa)
    }
}

/// Where a kernel has the codes of 32 values of a row group: in registers, or in memory.
pub trait CodeSource<I: DotIsa> {
    /// Codes `4 * k .. 4 * k + 4` of each row; `k` is below 8.
    fn codes(&self, isa: I, k: usize) -> I::Codes;
}

/// The registers and instructions of one instruction set: an extension of its token.
///
/// Methods are inlined into [`Token::vectorize`], which is compiled with the instructions. Those that read or write memory take as
/// many bytes as they say of the beginning of a slice, at any address, and panic where there are fewer; where the length of the slice
/// is a constant, nothing is checked when the program runs.
pub trait DotIsa: Token {
    /// What it has kernels of its own for.
    const OWN: OwnKernels = OwnKernels { integers: true, floats: true, bf16: false };
    /// The number of rows in the lanes of a register.
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

    /// Runs `body` in a function of its own.
    #[inline(always)]
    fn call<B: Body>(self, body: B) -> B::Output {
        self.vectorize(InDot(body))
    }

    /// The first `4 * LANES` bytes.
    fn load(self, from: &[u8]) -> Self::Codes;
    /// Writes the first `4 * LANES` bytes.
    fn store(self, to: &mut [u8], codes: Self::Codes) -> ();
    /// `byte` everywhere.
    fn splat(self, byte: u8) -> Self::Codes;
    /// The bits that are in both.
    fn and(self, a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// The bits that are in either.
    fn or(self, a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// Shifted left within bytes; bits that come in from the neighbouring byte are unspecified.
    fn shl<const N: u32>(self, codes: Self::Codes) -> Self::Codes;
    /// Shifted right within bytes; bits that come in from the neighbouring byte are unspecified.
    fn shr<const N: u32>(self, codes: Self::Codes) -> Self::Codes;
    /// `table[code]` for each code, all below 16.
    fn lookup(self, table: &[u8; 16], codes: Self::Codes) -> Self::Codes;

    /// The 4 bits from bit `SHIFT` on of the first `LANES` bytes, as [`scale`](Self::scale) takes them.
    fn load_factors<const SHIFT: u32>(self, from: &[u8]) -> Self::Codes;
    /// Each code times the factor of its lane; the products are below 256.
    fn scale(self, codes: Self::Codes, factors: Self::Codes) -> Self::Codes;
    /// The first `2 * LANES` bytes, two a lane: the first in the four codes of its lane, and the second.
    fn load_lane_bytes(self, from: &[u8]) -> [Self::Codes; 2];
    /// `a - b` modulo 256, code by code.
    fn sub(self, a: Self::Codes, b: Self::Codes) -> Self::Codes;
    /// `codes * factors + terms` modulo 256; a factor is that of all four codes in a lane.
    fn scale_add(self, codes: Self::Codes, factors: Self::Codes, terms: Self::Codes) -> Self::Codes;

    /// The integers nearest to `strip * inverse`, halves to even, as signed bytes, and the sums of either half of them. The magnitude
    /// of none is above 127.
    fn quantize(self, strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2];
    /// Adds to `sums[g][c]` the products of `STEP * 4` codes of group `g`, steps `first..` of `codes`, and as many activations, signed
    /// bytes, of column `c`.
    fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        self,
        sums: &mut [[Self::I32; W]; G],
        codes: &[S; G],
        first: usize,
        x: &[[u8; STRIP_LEN]; W],
    );
    /// The lower and the upper 4 bits of the first `LANES` bytes, two numbers of 16 bits a lane.
    fn load_nibble_pair(self, from: &[u8]) -> Self::Codes;
    /// The first `2 * LANES` signed bytes, two numbers of 16 bits a lane.
    fn load_byte_pair(self, from: &[u8]) -> Self::Codes;
    /// `sums` and the products of the two numbers of each lane, signed ones of 16 bits, with the two of `x`.
    fn dot_pair(self, sums: Self::I32, pairs: Self::Codes, x: [u8; 4]) -> Self::I32;
    /// `sums` and `lower` times the first number of each lane of `scales`, signed ones of 16 bits, and `upper`, shifted right by
    /// `upper_shift` of zeros, times the second. `lower` and the shifted `upper` have 16 bits.
    fn add_scaled(
        self,
        sums: Self::I32,
        lower: Self::I32,
        upper: Self::I32,
        upper_shift: u32,
        scales: Self::Codes,
    ) -> Self::I32;
    /// `x` in every lane.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// `a + b`, which does not overflow.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The 4 bits from bit `4 * i` on of each lane; `i` is below 8.
    fn nibble(self, codes: Self::Codes, i: usize) -> Self::F32;
    /// Rounded to the nearest float.
    fn to_f32(self, sums: Self::I32) -> Self::F32;

    /// `x` in every lane.
    fn splat_f32(self, x: f32) -> Self::F32;
    /// The first `LANES` floats, in this machine's order of bytes.
    fn load_f32(self, from: &[u8]) -> Self::F32;
    /// The first `LANES` half-precision floats.
    fn load_f16(self, from: &[u8]) -> Self::F32;
    /// The first `LANES` bfloat16.
    fn load_bf16(self, from: &[u8]) -> Self::F32;
    /// The first `LANES` pairs of bfloat16: the first of each, and the second.
    fn load_bf16_pairs(self, from: &[u8]) -> [Self::F32; 2];
    /// The first `LANES` bytes.
    fn load_u8(self, from: &[u8]) -> Self::F32;
    /// The first `LANES` signed bytes.
    fn load_i8(self, from: &[u8]) -> Self::F32;
    /// Writes the first `LANES` floats.
    fn store_f32(self, to: &mut [f32], x: Self::F32) -> ();
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// `c` and the products of pairs of bfloat16, which are the halves of each lane of `a` and `b`: the upper halves' first, each fused
    /// with its addition, and subnormal operands and sums as zeros.
    #[inline(always)]
    fn dot_bf16(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        bf16::dot_lanes(self, a, b, c)
    }

    /// Asks for the cache line of `at`, which need not be a valid address.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        bitquilt_simd::prefetch_line(at);
    }
}

/// The address of the first `N` bytes, for an instruction that reads as many.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
fn first<const N: usize, T>(from: &[u8]) -> *const T {
    from[..N].as_ptr().cast()
}

/// The address of room for the first `N` values, for an instruction that writes as many.
///
/// # Panics
/// If there is less.
#[inline(always)]
fn first_mut<const N: usize, V, T>(to: &mut [V]) -> *mut T {
    to[..N].as_mut_ptr().cast()
}

/// Activations `4 * k .. 4 * k + 4` of a column's strip, as one number.
#[inline(always)]
fn four(x: &[u8; STRIP_LEN], k: usize) -> i32 {
    i32::from_ne_bytes(x.as_chunks::<4>().0[k])
}
