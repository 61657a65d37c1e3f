//! `matmul`: dense f32 matrix products.

use bitquilt_plugin_api::{
    Dim, Error, InferContext, Op, OpSignature, OutputType, Plugin, Result, RunContext, TensorType, Tile,
    Tiles,
};

use super::check::{Input, broadcast_dims};
use super::gemm::Gemm;
use super::parallel::piece_len;
use super::vectorized::{self, Vectorized};
use super::walk::Walk;
use bitquilt_simd::AnySimd;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    vectorized::register(plugin, Matmul)
}

/// `matmul(x, y)`: the product of the matrices `x`, f32 `[.., m, k]`, and `y`, f32 `[.., k, n]`; leading dimensions broadcast.
///
/// The sums of a row may depend on how many rows there are, since that decides how they are blocked. The `gemm` crate allocates its
/// packing buffers in each call: this is the one op whose runs are not free of heap allocation.
#[derive(Clone, Copy)]
pub(super) struct Matmul;

impl Op for Matmul {
    fn signature(&self) -> OpSignature {
        OpSignature::new("matmul")
            .dense("x")
            .dense("y")
            .contracts_transposed("x", "y")
            .summary("the product of f32 matrices, x [.., m, k] and y [.., k, n]")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (x, y) = (Input::of(cx, 0, "x")?.f32()?, Input::of(cx, 1, "y")?.f32()?);
        let [x_batch @ .., m, k] = x.shape() else { return Err(x.refuse("matrices, f32 [.., m, k]")) };
        let [y_batch @ .., rows, n] = y.shape() else { return Err(y.refuse("matrices, f32 [.., k, n]")) };
        if k != rows {
            let hint = if k == n { "; transpose `y` first" } else { "" };
            return Err(y.refuse(format_args!("f32 [.., {k}, n], since `x` is {}{hint}", x.tensor)));
        }
        let mut shape = broadcast_dims(x_batch, y_batch).map_err(|(left, right)| {
            Error::invalid(format_args!(
                "`x` is {} and `y` is {}; expected leading dimensions that broadcast, got {left} against {right}, which are neither equal nor 1",
                x.tensor, y.tensor
            ))
        })?;
        shape.extend([m.clone(), n.clone()]);
        Ok(vec![TensorType::f32::<Dim>(shape).into()])
    }
}

/// The part of an output matrix that is computed at a time. It is fixed, so that sums are blocked alike for any number of threads.
const PANEL_ROWS: usize = 256;
const PANEL_COLUMNS: usize = 128;

/// Multiplications that cost as much as copying a value.
const MULTIPLICATIONS: usize = 8;

impl Vectorized for Matmul {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, y, output) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let ([x_batch @ .., m, k], [y_batch @ .., _, n], [batch @ .., _, _]) =
            (x.shape(), y.shape(), output.shape())
        else {
            return Err(Error::failed("the operands are no matrices"));
        };
        let mut product = Product { matrices: batch.iter().product(), m: *m, k: *k, n: *n };
        if y_batch.iter().all(|extent| *extent == 1) {
            // One `y` for all: the matrices of `x` are one with more rows.
            product.m *= std::mem::replace(&mut product.matrices, 1);
        }
        let walk = Walk::broadcast(batch, [x_batch, y_batch]);
        let (x, y, output) = (x.values::<f32>()?, y.values::<f32>()?, output.into_values::<f32>()?);
        if output.is_empty() {
            return Ok(());
        }
        let tiles = Tiles::new(output, product.n);
        let (panels, group) = (product.panels(), product.panels_a_task());
        cx.executor().par_for(panels.div_ceil(group), |task, _| {
            for index in task * group..panels.min((task + 1) * group) {
                let panel = product.panel(index);
                let [x_matrix, y_matrix] = walk.offsets(panel.matrix);
                let x = &x[x_matrix * product.m * product.k..][..product.m * product.k];
                let y = &y[y_matrix * product.k * product.n..][..product.k * product.n];
                let first = panel.matrix * product.m + panel.row;
                let (rows, columns) = (first..first + panel.rows, panel.column..panel.column + panel.columns);
                // SAFETY: the panels of two tasks do not overlap.
                product.multiply(simd, &panel, x, y, unsafe { tiles.tile(rows, columns) });
            }
        });
        Ok(())
    }
}

/// `matrices` products of `[m, k]` and `[k, n]`.
struct Product {
    matrices: usize,
    m: usize,
    k: usize,
    n: usize,
}

/// A part of one output matrix.
struct Panel {
    matrix: usize,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

impl Product {
    fn panels(&self) -> usize {
        self.matrices * self.m.div_ceil(PANEL_ROWS) * self.n.div_ceil(PANEL_COLUMNS)
    }

    fn panels_a_task(&self) -> usize {
        let work = self.m.min(PANEL_ROWS) * self.n.min(PANEL_COLUMNS);
        piece_len(1, work.saturating_mul(self.k) / MULTIPLICATIONS)
    }

    fn panel(&self, index: usize) -> Panel {
        let (across, down) = (self.n.div_ceil(PANEL_COLUMNS), self.m.div_ceil(PANEL_ROWS));
        let (row, column) = (index / across % down * PANEL_ROWS, index % across * PANEL_COLUMNS);
        let (rows, columns) = (PANEL_ROWS.min(self.m - row), PANEL_COLUMNS.min(self.n - column));
        Panel { matrix: index / across / down, row, rows, column, columns }
    }

    /// Computes a panel from the matrices `x`, `[m, k]`, and `y`, `[k, n]`. `output` is the panel's tile of all matrices `[m, n]`, one
    /// below the other.
    fn multiply(&self, simd: AnySimd, panel: &Panel, x: &[f32], y: &[f32], mut output: Tile<'_, f32>) {
        // No slice of a process is longer than `isize::MAX` bytes, so neither is a row of one.
        let (k, n) = (self.k as isize, self.n as isize);
        let (x, y) = (
            x[panel.row * self.k..][..panel.rows * self.k].as_ptr(),
            y[panel.column.min(y.len())..].as_ptr(),
        );
        // SAFETY: `rows` rows of `k` values of `x` lie `k` apart; `k` rows of `columns` values of `y` and `rows` rows of as many
        // of the output lie `n` apart, from the panel's column on. The output's values are written and not read.
        unsafe {
            let out = (output.as_mut_ptr(), n);
            Gemm { m: panel.rows, k: self.k, n: panel.columns, x: (x, k), y: (y, n), out }.compute(simd);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, assert_close, at, check_inference, indices, noise, none};

    #[test]
    fn products_are_those_of_the_naive_loop() {
        let cases: [(&[usize], &[usize], &[usize]); 20] = [
            (&[1, 1], &[1, 1], &[1, 1]),
            (&[1, 7], &[7, 5], &[1, 5]),
            (&[3, 7], &[7, 1], &[3, 1]),
            (&[3, 1], &[1, 5], &[3, 5]),
            (&[3, 2], &[2, 5], &[3, 5]),
            (&[5, 17], &[17, 33], &[5, 33]),
            (&[0, 4], &[4, 3], &[0, 3]),
            (&[2, 0], &[0, 3], &[2, 3]),
            (&[2, 4], &[4, 0], &[2, 0]),
            (&[2, 3, 4], &[4, 5], &[2, 3, 5]),
            (&[2, 3, 4], &[1, 4, 5], &[2, 3, 5]),
            (&[2, 3, 4], &[2, 4, 5], &[2, 3, 5]),
            (&[3, 4], &[2, 4, 5], &[2, 3, 5]),
            (&[2, 1, 3, 4], &[5, 4, 6], &[2, 5, 3, 6]),
            (&[1, 2, 3, 4], &[5, 1, 4, 6], &[5, 2, 3, 6]),
            (&[0, 3, 4], &[4, 5], &[0, 3, 5]),
            (&[1, 301], &[301, 1030], &[1, 1030]),
            (&[259, 65], &[65, 131], &[259, 131]),
            (&[3, 130, 70], &[3, 70, 129], &[3, 130, 129]),
            (&[40, 700], &[700, 40], &[40, 40]),
        ];
        for (x, y, shape) in cases {
            let k = x[x.len() - 1];
            let (x, y) = (noise(x, 14), noise(y, 15));
            let expected: Vec<f64> = indices(shape)
                .map(|index| {
                    let [batch @ .., row, column] = &index[..] else { unreachable!() };
                    let place = |row, column| [batch, &[row, column]].concat();
                    (0..k)
                        .map(|i| {
                            f64::from(at::<f32>(&x, &place(*row, i)))
                                * f64::from(at::<f32>(&y, &place(i, *column)))
                        })
                        .sum()
                })
                .collect();
            let output = Ops::standard().run("matmul", &none(), &[x.clone(), y.clone()]).unwrap();
            assert_eq!(output.shape(), shape);
            assert_close(&output, &expected, 1e-5, &format!("{x:?} @ {y:?}"));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "matmul",
            &[
                (none(), &["f32 [seq, 64]", "f32 [64, 32]"], "f32 [seq, 32]"),
                (none(), &["f32 [batch, seq, 64]", "f32 [64, n]"], "f32 [batch, seq, n]"),
                (none(), &["f32 [9, seq, 64]", "f32 [9, 64, past + seq]"], "f32 [9, seq, past + seq]"),
                (
                    none(),
                    &["f32 [64]", "f32 [64, 32]"],
                    "error: `x` is f32 [64]; expected matrices, f32 [.., m, k]",
                ),
                (
                    none(),
                    &["f32 [2, 64]", "f32 [64]"],
                    "error: `y` is f32 [64]; expected matrices, f32 [.., k, n]",
                ),
                (
                    none(),
                    &["f32 [2, 64]", "f32 [32, 48]"],
                    "error: `y` is f32 [32, 48]; expected f32 [.., 64, n], since `x` is f32 [2, 64]",
                ),
                (
                    none(),
                    &["f32 [seq, 64]", "f32 [32, 64]"],
                    "error: `y` is f32 [32, 64]; expected f32 [.., 64, n], since `x` is f32 [seq, 64]; transpose `y` first",
                ),
                (
                    none(),
                    &["f32 [2, 3, 4]", "f32 [5, 4, 6]"],
                    "error: `x` is f32 [2, 3, 4] and `y` is f32 [5, 4, 6]; expected leading dimensions that broadcast, got 2 against 5, which are neither equal nor 1",
                ),
                (none(), &["i32 [2, 2]", "f32 [2, 2]"], "error: `x` is i32 [2, 2]; expected f32 values"),
            ],
        );
    }
}
