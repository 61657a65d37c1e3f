//! `append`: rows written into a state.

use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::half::slice::HalfFloatSliceExt;
use bitquilt_plugin_api::{
    DType, ElementView, Error, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext,
    ShapeDisplay, TensorType,
};

use super::check::Input;
use super::parallel::for_each_piece;

/// `append(cache, rows, position)`: the state `cache`, `[capacity, ..]`, with `rows`, `[count, ..]`, at the rows that begin at
/// `position`, an i64 scalar. The output is the state's next version.
///
/// The dtypes are the same, or f32 rows are rounded to an f16 cache. Rows beyond the capacity are an error of the run, which
/// then has written none.
pub(super) struct Append;

impl Op for Append {
    fn signature(&self) -> OpSignature {
        OpSignature::new("append")
            .state("cache")
            .dense("rows")
            .dense("position")
            .summary("the state with rows written at a position")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (cache, rows) = (Input::of(cx, 0, "cache")?, Input::of(cx, 1, "rows")?);
        let position = Input::of(cx, 2, "position")?;
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
        if *position.tensor != TensorType::dense(DType::I64, [0usize; 0]) {
            return Err(position.refuse("a scalar, i64 []"));
        }
        Ok(vec![OutputType::alias(cache.tensor.clone(), 0)])
    }
}

impl Kernel for Append {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (cache, rows, position) = (cx.state(0)?, cx.input(1)?, cx.input(2)?.values::<i64>()?[0]);
        let (capacity, count) = (cache.shape()[0], rows.shape()[0]);
        let begin = usize::try_from(position)
            .ok()
            .filter(|begin| begin.checked_add(count).is_some_and(|end| end <= capacity))
            .ok_or_else(|| {
                Error::invalid(format_args!(
                    "{count} rows at position {position} do not fit the cache, which has room for {capacity}"
                ))
            })?;
        let values = count * rows.shape()[1..].iter().product::<usize>();
        let executor = cx.executor();
        if cache.element() == rows.element() {
            let source = rows.bytes();
            let offset = begin * (source.len() / count.max(1));
            let written = &mut cache.into_bytes()[offset..][..source.len()];
            for_each_piece(executor, written, 16, 1, |first, piece| {
                piece.copy_from_slice(&source[first..][..piece.len()]);
            });
        } else {
            debug_assert_eq!(rows.element(), ElementView::Dense(DType::F32));
            let source = rows.values::<f32>()?;
            let offset = begin * (values / count.max(1));
            let written = &mut cache.into_values::<f16>()?[offset..][..values];
            for_each_piece(executor, written, 16, 2, |first, piece| {
                piece.convert_from_f32_slice(&source[first..][..piece.len()]);
            });
        }
        Ok(())
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
    fn rows_beyond_the_capacity_are_an_error() {
        let ops = Ops::standard();
        for position in [3, 5, -1, i64::MIN, i64::MAX] {
            let inputs = [noise(&[4, 3], 1), noise(&[2, 3], 2), Tensor::scalar(position)];
            assert_eq!(
                ops.run("append", &none(), &inputs).unwrap_err().message(),
                format!("2 rows at position {position} do not fit the cache, which has room for 4")
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "append",
            &[
                (none(), &["f16 [cap, 3, 64]", "f32 [seq, 3, 64]", "i64 []"], "f16 [cap, 3, 64] = input 0"),
                (none(), &["f32 [64, 8]", "f32 [seq, 8]", "i64 []"], "f32 [64, 8] = input 0"),
                (none(), &["i8 [64, 8]", "i8 [seq, 8]", "i64 []"], "i8 [64, 8] = input 0"),
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
                    "error: `position` is i64 [1]; expected a scalar, i64 []",
                ),
                (
                    none(),
                    &["f32 [64, 8]", "f32 [2, 8]", "i32 []"],
                    "error: `position` is i32 []; expected a scalar, i64 []",
                ),
            ],
        );
    }
}
