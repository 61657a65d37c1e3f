//! AVX-VNNI: AVX2 whose products of bytes are one instruction.

use std::arch::x86_64::*;

use super::{
    Body, CodeSource, STEP,
    avx2::{Avx256, Products},
};
use crate::form::Form;

/// `vpdpbusd` on 256-bit registers.
pub(crate) type AvxVnni = Avx256<Vnni>;

/// VNNI.
pub(crate) struct Vnni;

impl Products for Vnni {
    // Three groups share each broadcast of activations, and there are 16 registers.
    const GROUPS: usize = 3;
    const COLUMNS: usize = 2;
    const BYTE_OFFSET: i32 = 0;
    const BYTES_ARE_QUICK: bool = true;

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn vectorize<B: Body>(body: B) {
        // SAFETY: this function is compiled with the features, and its caller vouches that the machine has them.
        unsafe { body.run::<AvxVnni>() }
    }

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    unsafe fn dot<F: Form, S: CodeSource<AvxVnni>, const G: usize, const W: usize>(
        sums: &mut [[__m256i; W]; G],
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
                    sums[g][c] = _mm256_dpbusd_avx_epi32(sums[g][c], codes, _mm256_set1_epi32(x));
                }
            }
        }
    }
}
