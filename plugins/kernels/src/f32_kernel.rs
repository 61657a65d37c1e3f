//! Products of f32 rows, each element with one order of sums.
//!
//! An element is the sum of [`LANES`] partial sums: lane `l` adds the products at `l`, `l + LANES`, `l + 2 * LANES`, .. in order,
//! and then the upper half of the lanes is added to the lower until one is left. So an element has the same bits whatever
//! elements are computed beside it. Where the machine fuses multiplication and addition each product is rounded with its sum;
//! kernels that fuse agree to the bit, and those that do not differ from them within [`tolerance`].

use std::array;

use bitquilt_simd::Isa;

/// Partial sums of an element.
const LANES: usize = 16;

/// A product of f32 rows for an instruction set.
///
/// An element is the sum of 16 partial sums: lane `l` adds the products at `l`, `l + 16`, `l + 32`, .. in order, and then the upper
/// half of the lanes is added to the lower until one is left.
#[derive(Clone, Copy)]
pub struct F32Kernel {
    isa: Isa,
    multiply: unsafe fn(Product<'_>),
}

/// Some rows of a weight times all rows of `x`. Row `r` of the weight times row `c` of `x` goes to `out + c * stride + r`.
#[derive(Clone, Copy)]
struct Product<'a> {
    weights: &'a [f32],
    x: &'a [f32],
    n: usize,
    out: *mut f32,
    stride: usize,
}

impl F32Kernel {
    /// The kernel for an instruction set that the machine has: its own, or that of the nearest one that it includes.
    #[must_use]
    pub fn of(isa: Isa) -> Self {
        let kernel = |isa: Isa| isa.is_available().then(|| arch::kernel(isa)).flatten();
        let kernel = isa.descend().find_map(|isa| Some(Self { isa, multiply: kernel(isa)? }));
        kernel.unwrap_or(Self { isa: Isa::Scalar, multiply: plain })
    }

    /// The instruction set that it is for.
    #[must_use]
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Multiplies rows of `n` weights with rows of `n` values of `x`: weight row `r` times row `c` of `x` goes to
    /// `out + c * stride + r`.
    ///
    /// # Safety
    /// These places are writable, and nothing else reads or writes them during the call.
    ///
    /// # Panics
    /// If `n` is 0, or `weights` or `x` are no rows of it.
    pub unsafe fn multiply(self, weights: &[f32], x: &[f32], n: usize, out: *mut f32, stride: usize) {
        assert!(weights.len().is_multiple_of(n) && x.len().is_multiple_of(n), "whole rows");
        // SAFETY: a kernel is only made where the machine has its instruction set; the caller vouches for the places.
        unsafe { (self.multiply)(Product { weights, x, n, out, stride }) }
    }
}

/// How far an element of `n` products may be from the exact sum, as a part of the sum of the products' magnitudes.
#[cfg(test)]
pub(crate) fn tolerance(n: usize) -> f64 {
    // One rounding of each product, one of each sum of a lane, and those of the tree.
    (n.div_ceil(LANES) + 1 + LANES.ilog2() as usize) as f64 * f64::from(f32::EPSILON) / 2.0
}

/// Multiplies in plain Rust, without fusing.
///
/// # Safety
/// As for [`F32Kernel::multiply`].
unsafe fn plain(product: Product<'_>) {
    // SAFETY: the caller's contract is this one's.
    unsafe { product.run::<2, 2, false>() }
}

/// Kernels for the instruction sets of an architecture.
mod arch {
    use super::{Isa, Product};

    /// The kernel that is compiled for an instruction set.
    pub(super) fn kernel(isa: Isa) -> Option<unsafe fn(Product<'_>)> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(avx512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(avx2),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(neon),
            _ => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,fma")]
    unsafe fn avx512(product: Product<'_>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { product.run::<4, 4, true>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(product: Product<'_>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { product.run::<2, 3, true>() }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn neon(product: Product<'_>) {
        // SAFETY: the caller's contract is this one's.
        unsafe { product.run::<2, 2, true>() }
    }
}

impl Product<'_> {
    /// Computes it in tiles of `R` rows of weights and `C` rows of `x`, and what is left over one by one.
    ///
    /// # Safety
    /// As for [`F32Kernel::multiply`].
    #[inline(always)]
    unsafe fn run<const R: usize, const C: usize, const FUSED: bool>(self) {
        let columns = self.x.len() / self.n;
        let whole = columns - columns % C;
        // SAFETY: the columns are those of `x`; the caller vouches for their places.
        unsafe {
            for column in (0..whole).step_by(C) {
                self.columns::<R, C, FUSED>(column);
            }
            for column in whole..columns {
                self.columns::<R, 1, FUSED>(column);
            }
        }
    }

    /// All rows of weights times `C` rows of `x`.
    ///
    /// # Safety
    /// As for [`F32Kernel::multiply`]; there are so many rows.
    #[inline(always)]
    unsafe fn columns<const R: usize, const C: usize, const FUSED: bool>(self, column: usize) {
        let rows = self.weights.len() / self.n;
        let whole = rows - rows % R;
        // SAFETY: the rows are those of the weights; the caller vouches for their places.
        unsafe {
            for row in (0..whole).step_by(R) {
                self.tile::<R, C, FUSED>(row, column);
            }
            for row in whole..rows {
                self.tile::<1, C, FUSED>(row, column);
            }
        }
    }

    /// `R` rows of weights times `C` rows of `x`.
    ///
    /// # Safety
    /// As for [`F32Kernel::multiply`]; there are so many rows.
    #[inline(always)]
    unsafe fn tile<const R: usize, const C: usize, const FUSED: bool>(self, row: usize, column: usize) {
        let weights = array::from_fn(|r| &self.weights[(row + r) * self.n..][..self.n]);
        let x = array::from_fn(|c| &self.x[(column + c) * self.n..][..self.n]);
        let sums = dots::<R, C, FUSED>(weights, x);
        for (c, column) in (column..column + C).enumerate() {
            for (r, row) in (row..row + R).enumerate() {
                // SAFETY: the caller vouches for the place of this row and column.
                unsafe { *self.out.add(column * self.stride + row) = sums[r][c] };
            }
        }
    }
}

/// The products of `R` and `C` slices of one length.
#[inline(always)]
fn dots<const R: usize, const C: usize, const FUSED: bool>(
    weights: [&[f32]; R],
    x: [&[f32]; C],
) -> [[f32; C]; R] {
    let weights = weights.map(<[f32]>::as_chunks::<LANES>);
    let x = x.map(<[f32]>::as_chunks::<LANES>);
    let count = weights[0].0.len();
    let (whole_weights, whole_x) = (weights.map(|row| &row.0[..count]), x.map(|row| &row.0[..count]));
    let mut sums = [[[0.0; LANES]; C]; R];
    for chunk in 0..count {
        accumulate::<R, C, FUSED>(
            &mut sums,
            whole_weights.map(|row| row[chunk]),
            whole_x.map(|row| row[chunk]),
        );
    }
    if !weights[0].1.is_empty() {
        accumulate::<R, C, FUSED>(&mut sums, weights.map(|row| padded(row.1)), x.map(|row| padded(row.1)));
    }
    sums.map(|row| row.map(total))
}

/// Adds the products of some lanes of each row.
#[inline(always)]
fn accumulate<const R: usize, const C: usize, const FUSED: bool>(
    sums: &mut [[[f32; LANES]; C]; R],
    weights: [[f32; LANES]; R],
    x: [[f32; LANES]; C],
) {
    for (sums, weights) in sums.iter_mut().zip(&weights) {
        for (sums, x) in sums.iter_mut().zip(&x) {
            for ((sum, weight), x) in sums.iter_mut().zip(weights).zip(x) {
                *sum = if FUSED { weight.mul_add(*x, *sum) } else { *sum + weight * x };
            }
        }
    }
}

/// The end of a row, filled up with zeros.
#[inline(always)]
fn padded(tail: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    lanes
}

/// The sum of the lanes: the upper half added to the lower until one is left.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn multiply(kernel: F32Kernel, weights: &[f32], x: &[f32], n: usize) -> Vec<f32> {
        let stride = weights.len() / n;
        let mut out = vec![f32::NAN; x.len() / n * stride];
        // SAFETY: `out` has a place for each pair of rows.
        unsafe { kernel.multiply(weights, x, n, out.as_mut_ptr(), stride) };
        out
    }

    /// Those that this machine can run.
    fn kernels() -> impl Iterator<Item = F32Kernel> {
        Isa::available().map(F32Kernel::of)
    }

    #[test]
    fn a_set_without_a_kernel_has_that_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let expected = match isa {
                Isa::Scalar | Isa::Avx2 | Isa::Avx512 | Isa::Neon => isa,
                Isa::AvxVnni => Isa::Avx2,
                Isa::Avx512Vnni | Isa::Avx512Bf16 => Isa::Avx512,
                Isa::NeonDotprod => Isa::Neon,
            };
            assert_eq!(F32Kernel::of(isa).isa(), expected);
        }
    }

    const SHAPES: [(usize, usize, usize); 10] = [
        (1, 1, 1),
        (1, 3, 2),
        (2, 16, 4),
        (3, 15, 5),
        (4, 17, 9),
        (5, 33, 1),
        (7, 64, 7),
        (8, 31, 3),
        (13, 160, 6),
        (4, 1000, 4),
    ];

    #[test]
    fn every_kernel_is_near_the_exact_product() {
        for (m, n, p) in SHAPES {
            let (weights, x) = (values(1, p * n), values(2, m * n));
            for kernel in kernels() {
                let out = multiply(kernel, &weights, &x, n);
                for (index, got) in out.iter().enumerate() {
                    let (x, weights) = (&x[index / p * n..][..n], &weights[index % p * n..][..n]);
                    let products = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let (exact, size) = products
                        .fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
                    let error = (f64::from(*got) - exact).abs();
                    assert!(
                        error <= tolerance(n) * size,
                        "{} {m}x{n}x{p} at {index}: {error:e}",
                        kernel.isa()
                    );
                }
            }
        }
    }

    #[test]
    fn an_element_does_not_depend_on_its_neighbours() {
        for (m, n, p) in SHAPES {
            let (weights, x) = (values(3, p * n), values(4, m * n));
            for kernel in kernels() {
                let together = multiply(kernel, &weights, &x, n);
                for (index, value) in together.iter().enumerate() {
                    let alone = multiply(kernel, &weights[index % p * n..][..n], &x[index / p * n..][..n], n);
                    assert_eq!(alone[0].to_bits(), value.to_bits(), "{} {m}x{n}x{p}", kernel.isa());
                }
            }
        }
    }

    #[test]
    fn kernels_that_fuse_agree_to_the_bit() {
        let (n, p) = (333, 9);
        let (weights, x) = (values(5, p * n), values(6, 5 * n));
        let mut fused = kernels().filter(|kernel| kernel.isa() != Isa::Scalar);
        let Some(first) = fused.next() else { return };
        let expected = multiply(first, &weights, &x, n);
        for kernel in fused {
            assert_eq!(multiply(kernel, &weights, &x, n), expected, "{}", kernel.isa());
        }
    }
}
