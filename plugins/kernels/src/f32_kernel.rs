//! Products of f32 rows, each element with one order of sums.
//!
//! An element is the sum of 16 partial sums: lane `l` adds the products at `l`, `l + 16`, `l + 32`, .. in order,
//! and then the upper half of the lanes is added to the lower until one is left. So an element has the same bits whatever
//! elements are computed beside it. Where the machine fuses multiplication and addition each product is rounded with its sum;
//! kernels that fuse agree to the bit, and those that do not differ from them within [`tolerance`].

use std::array::from_fn;

use bitquilt_plugin_api::Tile;
use bitquilt_simd::{AnySimd, Body, Isa, LANES, Simd};

/// A product of f32 rows for an instruction set.
///
/// An element is the sum of 16 partial sums: lane `l` adds the products at `l`, `l + 16`, `l + 32`, .. in order, and then the upper
/// half of the lanes is added to the lower until one is left.
#[derive(Clone, Copy, Debug)]
pub struct F32Kernel(AnySimd);

impl F32Kernel {
    /// The kernel for an instruction set that the machine has: its own, or that of the nearest one that it includes.
    #[must_use]
    pub fn of(isa: Isa) -> Self {
        Self(AnySimd::of(isa))
    }

    /// The instruction set that it is for.
    #[must_use]
    pub fn isa(self) -> Isa {
        self.0.isa()
    }

    /// Multiplies rows of `n` weights, the decoded ones of those that `out` has products with, with all rows of `n` values of `x`.
    ///
    /// # Panics
    /// If `n` is 0, or `weights` or `x` are not as many rows as those of `out`.
    pub fn multiply(self, weights: &[f32], x: &[f32], n: usize, out: &mut Tile<'_, f32>) {
        let rows = |values: &[f32], count: usize| Some(values.len()) == count.checked_mul(n);
        assert!(n > 0 && rows(weights, out.columns().len()) && rows(x, out.rows().len()), "whole rows");
        self.0.run(Product { weights, x, n, out });
    }
}

/// How far an element of `n` products may be from the exact sum, as a part of the sum of the products' magnitudes.
#[cfg(test)]
pub(crate) fn tolerance(n: usize) -> f64 {
    // One rounding of each product, one of each sum of a lane, and those of the tree.
    (n.div_ceil(LANES) + 1 + LANES.ilog2() as usize) as f64 * f64::from(f32::EPSILON) / 2.0
}

/// Some rows of a weight times some rows of `x`.
struct Product<'a, 'o> {
    weights: &'a [f32],
    x: &'a [f32],
    n: usize,
    out: &'a mut Tile<'o, f32>,
}

impl Body for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if S::WIDE { self.tiles::<S, 4, 4>(simd) } else { self.tiles::<S, 2, 3>(simd) }
    }
}

impl Product<'_, '_> {
    /// Computes it in tiles of `R` rows of weights and `C` rows of `x`, and what is left over one by one.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const C: usize>(mut self, simd: S) {
        let columns = self.x.len() / self.n;
        let whole = columns - columns % C;
        for column in (0..whole).step_by(C) {
            self.columns::<S, R, C>(simd, column);
        }
        for column in whole..columns {
            self.columns::<S, R, 1>(simd, column);
        }
    }

    /// All rows of weights times `C` rows of `x`.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, column: usize) {
        let rows = self.weights.len() / self.n;
        let whole = rows - rows % R;
        for row in (0..whole).step_by(R) {
            self.tile::<S, R, C>(simd, row, column);
        }
        for row in whole..rows {
            self.tile::<S, 1, C>(simd, row, column);
        }
    }

    /// `R` rows of weights times `C` rows of `x`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, row: usize, column: usize) {
        let weights = from_fn(|r| &self.weights[(row + r) * self.n..][..self.n]);
        let x = from_fn(|c| &self.x[(column + c) * self.n..][..self.n]);
        let sums = dots::<S, R, C>(simd, weights, x);
        let (first_column, first_row) = (self.out.rows().start, self.out.columns().start + row);
        for c in 0..C {
            let out = self.out.part(first_column + column + c, first_row..first_row + R);
            for (out, sums) in out.iter_mut().zip(&sums) {
                *out = simd.sum(sums[c]);
            }
        }
    }
}

/// The partial sums of the products of `R` and `C` slices of one length.
#[inline(always)]
fn dots<S: Simd, const R: usize, const C: usize>(
    simd: S,
    weights: [&[f32]; R],
    x: [&[f32]; C],
) -> [[S::F; C]; R] {
    let weights = weights.map(<[f32]>::as_chunks::<LANES>);
    let x = x.map(<[f32]>::as_chunks::<LANES>);
    let count = weights[0].0.len();
    let (whole_weights, whole_x) = (weights.map(|row| &row.0[..count]), x.map(|row| &row.0[..count]));
    let mut sums = [[simd.splat(0.0); C]; R];
    for chunk in 0..count {
        let (mut w, mut v) = ([simd.splat(0.0); R], [simd.splat(0.0); C]);
        for r in 0..R {
            w[r] = simd.load(&whole_weights[r][chunk]);
        }
        for c in 0..C {
            v[c] = simd.load(&whole_x[c][chunk]);
        }
        accumulate(simd, &mut sums, w, v);
    }
    if !weights[0].1.is_empty() {
        let (mut w, mut v) = ([simd.splat(0.0); R], [simd.splat(0.0); C]);
        for r in 0..R {
            w[r] = simd.load_some(weights[r].1);
        }
        for c in 0..C {
            v[c] = simd.load_some(x[c].1);
        }
        accumulate(simd, &mut sums, w, v);
    }
    sums
}

/// Adds the products of some lanes of each row.
#[inline(always)]
fn accumulate<S: Simd, const R: usize, const C: usize>(
    simd: S,
    sums: &mut [[S::F; C]; R],
    weights: [S::F; R],
    x: [S::F; C],
) {
    for r in 0..R {
        for c in 0..C {
            sums[r][c] = simd.fma(weights[r], x[c], sums[r][c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitquilt_plugin_api::Tiles;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn multiply(kernel: F32Kernel, weights: &[f32], x: &[f32], n: usize) -> Vec<f32> {
        let stride = weights.len() / n;
        let mut out = vec![f32::NAN; x.len() / n * stride];
        let output = Tiles::new(&mut out, stride);
        // SAFETY: there is no other tile.
        kernel.multiply(weights, x, n, &mut unsafe { output.tile(0..x.len() / n, 0..stride) });
        out
    }

    /// Those that this machine can run.
    fn kernels() -> impl Iterator<Item = F32Kernel> {
        Isa::available().map(F32Kernel::of)
    }

    #[test]
    fn a_set_without_a_kernel_has_that_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let found = F32Kernel::of(isa).isa();
            assert!(isa.includes(found) && found.is_available(), "{isa} has that of {found}");
            let mut nearer = isa.descend().take_while(|nearer| *nearer != found);
            assert!(nearer.all(|nearer| F32Kernel::of(nearer).isa() != nearer), "{isa} has that of {found}");
            assert_eq!(found == Isa::Scalar, isa == Isa::Scalar, "{isa} has that of {found}");
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
