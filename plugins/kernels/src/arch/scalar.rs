//! Plain Rust, the oracle of the other instruction sets: four rows at a time, an element after the other.

use std::array::from_fn;

use bitquilt_simd::Scalar;
use half::{bf16, f16};

use super::{CodeSource, DotIsa, STEP, TO_INTEGER};
use crate::form::{Form, STRIP_LEN};

const LANES: usize = 4;
type Bytes = [u8; 4 * LANES];

/// The first `N` values of `SIZE` bytes.
fn read<const SIZE: usize, const N: usize>(from: &[u8]) -> [[u8; SIZE]; N] {
    from_fn(|i| from.as_chunks().0[i])
}

/// Methods of a token that are plain Rust.
macro_rules! plain {
    ($($name:ident $(<const $n:ident: $kind:ty>)? ($($arg:ident: $type:ty),* $(,)?) -> $result:ty { $body:expr })*) => {
        $(fn $name $(<const $n: $kind>)? (self $(, $arg: $type)*) -> $result {
            $body
        })*
    };
}

impl DotIsa for Scalar<false> {
    const LANES: usize = LANES;
    const GROUPS: usize = 1;
    const COLUMNS: usize = 4;
    const BYTE_OFFSET: i32 = 0;

    type Codes = Bytes;
    type I32 = [i32; LANES];
    type F32 = [f32; LANES];

    plain! {
        load(from: &[u8]) -> Bytes { from_fn(|i| from[i]) }
        store(to: &mut [u8], codes: Bytes) -> () { to[..4 * LANES].copy_from_slice(&codes) }
        splat(byte: u8) -> Bytes { [byte; 4 * LANES] }
        and(a: Bytes, b: Bytes) -> Bytes { from_fn(|i| a[i] & b[i]) }
        or(a: Bytes, b: Bytes) -> Bytes { from_fn(|i| a[i] | b[i]) }
        shl<const N: u32>(codes: Bytes) -> Bytes { codes.map(|code| code << N) }
        shr<const N: u32>(codes: Bytes) -> Bytes { codes.map(|code| code >> N) }
        lookup(table: &[u8; 16], codes: Bytes) -> Bytes { codes.map(|code| table[usize::from(code & 15)]) }
        load_factors<const SHIFT: u32>(from: &[u8]) -> Bytes { from_fn(|i| from[i / 4] >> SHIFT & 15) }
        scale(codes: Bytes, factors: Bytes) -> Bytes { from_fn(|i| codes[i] * factors[i]) }
        load_lane_bytes(from: &[u8]) -> [Bytes; 2] { [0, 1].map(|second| from_fn(|i| from[i / 4 * 2 + second])) }
        sub(a: Bytes, b: Bytes) -> Bytes { from_fn(|i| a[i].wrapping_sub(b[i])) }
        scale_add(codes: Bytes, factors: Bytes, terms: Bytes) -> Bytes {
            from_fn(|i| codes[i].wrapping_mul(factors[i]).wrapping_add(terms[i]))
        }
        quantize(strip: &[f32; STRIP_LEN], inverse: f32, codes: &mut [u8; STRIP_LEN]) -> [i32; 2] {{
            for (code, x) in codes.iter_mut().zip(strip) {
                *code = (x * inverse + TO_INTEGER).to_bits() as u8;
            }
            let (lower, upper) = codes.split_at(STRIP_LEN / 2);
            [lower, upper].map(|half| half.iter().map(|&code| i32::from(code as i8)).sum())
        }}
        load_nibble_pair(from: &[u8]) -> Bytes {
            from_fn(|i| match i % 4 {
                0 => from[i / 4] & 15,
                2 => from[i / 4] >> 4,
                _ => 0,
            })
        }
        load_byte_pair(from: &[u8]) -> Bytes { from_fn(|i| i16::from(from[i / 2] as i8).to_le_bytes()[i % 2]) }
        dot_pair(sums: [i32; LANES], pairs: Bytes, x: [u8; 4]) -> [i32; LANES] {{
            let x = read::<2, 2>(&x).map(|bytes| i32::from(i16::from_ne_bytes(bytes)));
            let pairs = read::<2, { 2 * LANES }>(&pairs).map(|bytes| i32::from(i16::from_le_bytes(bytes)));
            from_fn(|i| sums[i] + pairs[2 * i] * x[0] + pairs[2 * i + 1] * x[1])
        }}
        add_scaled(
            sums: [i32; LANES], lower: [i32; LANES], upper: [i32; LANES], upper_shift: u32, scales: Bytes
        ) -> [i32; LANES] {{
            let scales = read::<2, { 2 * LANES }>(&scales).map(|bytes| i32::from(i16::from_le_bytes(bytes)));
            from_fn(|i| sums[i] + lower[i] * scales[2 * i] + (upper[i] >> upper_shift) * scales[2 * i + 1])
        }}
        splat_i32(x: i32) -> [i32; LANES] { [x; LANES] }
        add_i32(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] { from_fn(|i| a[i] + b[i]) }
        nibble(codes: Bytes, i: usize) -> [f32; LANES] {
            read::<4, LANES>(&codes).map(|bytes| (u32::from_le_bytes(bytes) >> (4 * i) & 15) as f32)
        }
        to_f32(sums: [i32; LANES]) -> [f32; LANES] { sums.map(|sum| sum as f32) }
        splat_f32(x: f32) -> [f32; LANES] { [x; LANES] }
        load_f32(from: &[u8]) -> [f32; LANES] { read(from).map(f32::from_ne_bytes) }
        load_f16(from: &[u8]) -> [f32; LANES] { read(from).map(|bytes| f16::from_le_bytes(bytes).to_f32_const()) }
        load_bf16(from: &[u8]) -> [f32; LANES] { read(from).map(|bytes| bf16::from_le_bytes(bytes).to_f32_const()) }
        load_bf16_pairs(from: &[u8]) -> [[f32; LANES]; 2] {{
            let pairs = read(from);
            [0, 1].map(|i| pairs.map(|[a, b, c, d]| bf16::from_le_bytes([[a, b], [c, d]][i]).to_f32_const()))
        }}
        load_u8(from: &[u8]) -> [f32; LANES] { read(from).map(|[byte]| f32::from(byte)) }
        load_i8(from: &[u8]) -> [f32; LANES] { read(from).map(|[byte]| f32::from(byte as i8)) }
        store_f32(to: &mut [f32], x: [f32; LANES]) -> () { to[..LANES].copy_from_slice(&x) }
        mul(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] { from_fn(|i| a[i] * b[i]) }
        add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] { from_fn(|i| a[i] + b[i]) }
        fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
            from_fn(|i| a[i].mul_add(b[i], c[i]))
        }
    }

    fn dot<F: Form, S: CodeSource<Self>, const G: usize, const W: usize>(
        self,
        sums: &mut [[Self::I32; W]; G],
        codes: &[S; G],
        first: usize,
        x: &[[u8; STRIP_LEN]; W],
    ) {
        for (sums, source) in sums.iter_mut().zip(codes) {
            for k in first..first + STEP {
                let codes = source.codes(self, k);
                for (sums, x) in sums.iter_mut().zip(x) {
                    for (i, &code) in codes.iter().enumerate() {
                        sums[i / 4] += i32::from(code) * i32::from(x[4 * k + i % 4] as i8);
                    }
                }
            }
        }
    }

    fn prefetch(self, _at: *const u8) {}
}
