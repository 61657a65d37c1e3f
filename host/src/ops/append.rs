//! `append`: rows written into a state.

use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::{
    DType, ElementView, Error, Executor, InferContext, Op, OpSignature, OutputType, Plugin, Result,
    RunContext, ShapeDisplay,
};

use super::cast::narrow;
use super::check::Input;
use super::parallel::for_each_piece;
use super::positions::Positions;
use super::vectorized::{self, Vectorized};
use bitquilt_simd::AnySimd;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    vectorized::register(plugin, Append)
}

/// `append(cache, rows, positions)`: the state `cache`, `[capacity, ..]`, with `rows`, `[count, ..]`, written at `positions`, i64 or
/// i32: a scalar, from which on they stand one after the other, or an ascending number for each. The output is the state's next
/// version.
///
/// The dtypes are the same, or f32 rows are rounded to an f16 cache. A position that the cache does not have is an error of the
/// run, which then has written no row.
#[derive(Clone, Copy)]
pub(super) struct Append;

impl Op for Append {
    fn signature(&self) -> OpSignature {
        OpSignature::new("append")
            .state("cache")
            .dense("rows")
            .dense("positions")
            .summary("the state with rows written at positions")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (cache, rows) = (Input::of(cx, 0, "cache")?, Input::of(cx, 1, "rows")?);
        let positions = Input::of(cx, 2, "positions")?;
        let [_, row @ ..] = cache.shape() else {
            return Err(cache.refuse("a state of rows, [capacity, ..]"));
        };
        let Some(dtype) = cache.tensor.dtype() else { return Err(cache.refuse("a state of dense values")) };
        if dtype == DType::F16 {
            rows.dtype(&[DType::F16, DType::F32])?;
        } else {
            rows.dtype(&[dtype])?;
        }
        if !matches!(rows.shape(), [_, shape @ ..] if shape == row) {
            return Err(rows.refuse(format_args!(
                "rows of shape {}, as those of `cache` {}",
                ShapeDisplay(row),
                cache.tensor
            )));
        }
        Positions::check(&positions, &rows.shape()[..1])?;
        Ok(vec![OutputType::alias(cache.tensor.clone(), 0)])
    }
}

impl Vectorized for Append {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (cache, rows, positions) = (cx.state(0)?, cx.input(1)?, Positions::of(cx.input(2)?)?);
        let (capacity, count) = (cache.shape()[0], rows.shape()[0]);
        let row = rows.shape()[1..].iter().product::<usize>();
        let runs = Runs::check(positions, count, capacity)?;
        let executor = cx.executor();
        if cache.element() == rows.element() {
            let (source, cache) = (rows.bytes(), cache.into_bytes());
            let row = source.len() / count.max(1);
            runs.write(executor, row, cache, source, <[u8]>::copy_from_slice);
        } else {
            debug_assert_eq!(rows.element(), ElementView::Dense(DType::F32));
            let (source, cache) = (rows.values::<f32>()?, cache.into_values::<f16>()?);
            runs.write(executor, row, cache, source, |to, from| narrow(simd, from, to));
        }
        Ok(())
    }
}

/// Where rows go, all of them checked.
struct Runs<'a> {
    positions: Positions<'a>,
    count: usize,
}

impl<'a> Runs<'a> {
    /// Ascending positions below `capacity`, for `count` rows.
    fn check(positions: Positions<'a>, count: usize, capacity: usize) -> Result<Self> {
        let mut least = 0;
        for row in 0..count {
            let position = positions.at(row, count);
            match usize::try_from(position).ok() {
                Some(place) if place >= capacity => {
                    return Err(Error::invalid(format_args!(
                        "row {row} of {count} goes to position {position}, the cache has room for {capacity} rows; \
                         make a longer one, or begin anew"
                    )));
                }
                Some(place) if place >= least => least = place + 1,
                _ => {
                    return Err(Error::invalid(format_args!(
                        "row {row} of {count} goes to position {position}; expected positions that ascend from 0 or more"
                    )));
                }
            }
        }
        Ok(Self { positions, count })
    }

    /// Writes rows of `row` elements; those that stay together are written together.
    fn write<S: Sync, D: Send>(
        &self,
        executor: Executor<'_>,
        row: usize,
        cache: &mut [D],
        source: &[S],
        convert: impl Fn(&mut [D], &[S]) + Sync,
    ) {
        let place = |index| self.positions.at(index, self.count);
        let mut begin = 0;
        while begin < self.count {
            let first = place(begin);
            let mut end = begin + 1;
            while end < self.count && place(end) - first == (end - begin) as i64 {
                end += 1;
            }
            let source = &source[begin * row..end * row];
            // The position was found to be below the capacity.
            let written = &mut cache[first as usize * row..][..source.len()];
            for_each_piece(executor, written, 16, size_of::<D>(), |first, piece| {
                convert(piece, &source[first..][..piece.len()]);
            });
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::testing::{Ops, check_inference, noise, none};

    #[test]
    fn rows_are_written_at_the_position() {
        let ops = Ops::standard();
        let cases: [(&[usize], usize, i64); 7] = [
            (&[4], 1, 3),
            (&[4], 4, 0),
            (&[6, 5], 2, 3),
            (&[6, 2, 3], 0, 6),
            (&[6, 0], 2, 1),
            (&[5, 3], 3, 1),
            (&[300, 4, 33], 257, 41),
        ];
        for (shape, count, position) in cases {
            let row: usize = shape[1..].iter().product();
            let rows_shape = [&[count], &shape[1..]].concat();
            let (cache, rows) = (noise(shape, 11), noise(&rows_shape, 12));
            let mut expected = cache.values::<f32>().unwrap().to_vec();
            expected[position as usize * row..][..count * row].copy_from_slice(rows.values().unwrap());
            let inputs = [cache, rows.clone(), Tensor::scalar(position)];
            let output = ops.run("append", &none(), &inputs).unwrap();
            assert_eq!(output, Tensor::new(shape, expected).unwrap(), "{shape:?}");

            let cache = Tensor::full(shape, f16::ONE);
            let mut expected = vec![f16::ONE; cache.len()];
            for (slot, value) in
                expected[position as usize * row..].iter_mut().zip(rows.values::<f32>().unwrap())
            {
                *slot = f16::from_f32(*value);
            }
            let output = ops.run("append", &none(), &[cache, rows, Tensor::scalar(position)]).unwrap();
            assert_eq!(output, Tensor::new(shape, expected).unwrap(), "{shape:?} f16");
        }
    }

    #[test]
    fn rows_go_to_positions_of_their_own() {
        let positions = [1i32, 2, 3, 5, 8, 9];
        let (cache, rows) = (noise(&[10, 7], 13), noise(&[6, 7], 14));
        let mut expected = cache.values::<f32>().unwrap().to_vec();
        for (row, position) in rows.values::<f32>().unwrap().chunks(7).zip(positions) {
            expected[position as usize * 7..][..7].copy_from_slice(row);
        }
        let inputs = [cache, rows, Tensor::new([6], positions).unwrap()];
        let output = Ops::standard().run("append", &none(), &inputs).unwrap();
        assert_eq!(output, Tensor::new([10, 7], expected).unwrap());
    }

    #[test]
    fn positions_that_the_cache_does_not_have_are_an_error() {
        let ops = Ops::standard();
        let check = |positions: Tensor, expected: &str| {
            let inputs = [noise(&[4, 3], 1), noise(&[2, 3], 2), positions];
            assert_eq!(ops.run("append", &none(), &inputs).unwrap_err().message(), expected);
        };
        for (position, row) in [(3, 1), (4, 0), (i64::MAX, 0)] {
            let beyond = position.saturating_add(row);
            check(
                Tensor::scalar(position),
                &format!(
                    "row {row} of 2 goes to position {beyond}, the cache has room for 4 rows; make a longer one, or begin anew"
                ),
            );
        }
        let ascend = "expected positions that ascend from 0 or more";
        for position in [-1, i64::MIN] {
            check(Tensor::scalar(position), &format!("row 0 of 2 goes to position {position}; {ascend}"));
        }
        check(Tensor::new([2], [1i64, 1]).unwrap(), &format!("row 1 of 2 goes to position 1; {ascend}"));
        check(Tensor::new([2], [3i64, 0]).unwrap(), &format!("row 1 of 2 goes to position 0; {ascend}"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "append",
            &[
                (none(), &["f16 [cap, 3, 64]", "f32 [seq, 3, 64]", "i64 []"], "f16 [cap, 3, 64] = input 0"),
                (none(), &["f32 [64, 8]", "f32 [seq, 8]", "i64 []"], "f32 [64, 8] = input 0"),
                (none(), &["i8 [64, 8]", "i8 [seq, 8]", "i64 []"], "i8 [64, 8] = input 0"),
                (none(), &["f32 [64, 8]", "f32 [seq, 8]", "i32 [seq]"], "f32 [64, 8] = input 0"),
                (
                    none(),
                    &["f32 []", "f32 []", "i64 []"],
                    "error: `cache` is f32 []; expected a state of rows, [capacity, ..]",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f16 [seq, 8]", "i64 []"],
                    "error: `rows` is f16 [seq, 8]; expected f32 values",
                ),
                (
                    none(),
                    &["f16 [64, 8]", "i8 [seq, 8]", "i64 []"],
                    "error: `rows` is i8 [seq, 8]; expected f16 or f32 values",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f32 [seq, 4]", "i64 []"],
                    "error: `rows` is f32 [seq, 4]; expected rows of shape [8], as those of `cache` f32 [64, 8]",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f32 []", "i64 []"],
                    "error: `rows` is f32 []; expected rows of shape [8], as those of `cache` f32 [64, 8]",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f32 [2, 8]", "i64 [1]"],
                    "error: `positions` is i64 [1]; expected a scalar, the first row's position, or [2], that of each",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f32 [2, 8]", "f32 []"],
                    "error: `positions` is f32 []; expected i64 or i32 values",
                ),
            ],
        );
    }
}
