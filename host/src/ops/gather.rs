//! `gather`: slices of a tensor, by number.

use bitquilt_plugin_api::{
    DType, Error, InferContext, Kernel, KernelKey, KernelProvider, NodeView, Op, OpSignature, OutputType,
    Plugin, PrepareContext, Prepared, Result, RunContext, Selector, TensorType,
};

use super::check::{Input, axis_index};
use super::parallel::for_each_piece;
use super::positions::Positions;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(Gather).kernel(Gather)
}

/// `gather(x, indices)`: the slices of `x` along the attribute `axis` that `indices`, i64 or i32, name: `x` `[a.., n, b..]` and `indices`
/// `[i..]` give `[a.., i.., b..]`, of any dtype. An index below 0 or not below `n` is an error of the run.
///
/// The counterpart for an encoded table is `qgather`.
pub(super) struct Gather;

impl Op for Gather {
    fn signature(&self) -> OpSignature {
        OpSignature::new("gather")
            .dense("x")
            .dense("indices")
            .optional("axis", 0i64)
            .summary("the slices of a tensor along an axis that indices name")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (x, indices) = (Input::of(cx, 0, "x")?, Input::of(cx, 1, "indices")?);
        let Some(dtype) = x.tensor.dtype() else { return Err(x.refuse("values of a dtype")) };
        indices.dtype(&[DType::I64, DType::I32])?;
        let axis = axis(cx, &x)?;
        let (outer, inner) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
        let shape = outer.iter().chain(indices.shape()).chain(inner);
        Ok(vec![TensorType::dense(dtype, shape).into()])
    }
}

/// The axis of a node.
fn axis(node: &NodeView<'_>, x: &Input<'_>) -> Result<usize> {
    let axis = node.attributes().int("axis")?;
    axis_index(axis, x.shape().len())
        .ok_or_else(|| x.refuse(format_args!("a tensor that has the axis {axis}")))
}

impl KernelProvider for Gather {
    fn key(&self) -> KernelKey {
        KernelKey::new("gather", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let x = Input { name: "x", tensor: &cx.inputs()[0] };
        Ok(Prepared::new(GatherKernel { axis: axis(cx, &x)? }))
    }
}

struct GatherKernel {
    axis: usize,
}

impl Kernel for GatherKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, indices) = (cx.input(0)?, cx.input(1)?);
        let count: usize = indices.shape().iter().product();
        let indices = Positions::of(indices)?;
        let (shape, axis) = (x.shape(), self.axis);
        let n = shape[axis];
        for index in 0..count {
            let found = index_at(&indices, index);
            if !usize::try_from(found).is_ok_and(|found| found < n) {
                return Err(Error::invalid(format_args!(
                    "index {index} is {found}, and axis {axis} of `x` has {n}; expected 0 or more, and less than that"
                )));
            }
        }
        let output = cx.output(0)?.into_bytes();
        if output.is_empty() {
            return Ok(());
        }
        // Bytes of a slice; there are slices, or the output would be empty.
        let slice = x.bytes().len() / (shape[..axis].iter().product::<usize>() * n);
        let bytes = x.bytes();
        for_each_piece(cx.executor(), output, slice, 1, |first, piece| {
            for (offset, output) in piece.chunks_exact_mut(slice).enumerate() {
                let number = first / slice + offset;
                // Checked above: it is not negative.
                let from = number / count * n + index_at(&indices, number % count) as usize;
                output.copy_from_slice(&bytes[from * slice..][..slice]);
            }
        });
        Ok(())
    }
}

/// One of the indices, which are no positions that count on from a first.
fn index_at(indices: &Positions<'_>, index: usize) -> i64 {
    indices.at(index, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::testing::{Ops, check_inference, noise, none};

    #[test]
    fn slices_come_in_the_order_of_the_indices() {
        let ops = Ops::standard();
        for (shape, axis, count) in [
            (&[5][..], 0, 3),
            (&[5, 7], 0, 4),
            (&[5, 7], 1, 9),
            (&[3, 4, 5], -2, 6),
            (&[300, 129], 0, 400),
            (&[2, 0], 0, 3),
            (&[4, 3], 0, 0),
        ] {
            let x = noise(shape, 3);
            let at = axis_index(axis, shape.len()).unwrap();
            let (outer, n): (usize, usize) = (shape[..at].iter().product(), shape[at]);
            let inner: usize = shape[at + 1..].iter().product();
            let indices: Vec<i64> = (0..count).map(|index| index * 7 % n as i64).collect();
            let values: &[f32] = x.values().unwrap();
            let mut expected = Vec::new();
            for outer in 0..outer {
                for index in &indices {
                    expected.extend_from_slice(&values[(outer * n + *index as usize) * inner..][..inner]);
                }
            }
            let result = [&shape[..at], &[indices.len()], &shape[at + 1..]].concat();
            let expected = Tensor::new(result, expected).unwrap();
            let attributes = none().with("axis", axis);
            let narrow: Vec<i32> = indices.iter().map(|index| *index as i32).collect();
            for indices in [
                Tensor::new([indices.len()], &indices[..]).unwrap(),
                Tensor::new([indices.len()], narrow).unwrap(),
            ] {
                assert_eq!(
                    ops.run("gather", &attributes, &[x.clone(), indices]).unwrap(),
                    expected,
                    "{shape:?}"
                );
            }
        }
        let found = ops.run("gather", &none(), &[noise(&[3, 2], 3), Tensor::scalar(1i64)]).unwrap();
        assert_eq!(found.shape(), [2]);
    }

    #[test]
    fn an_index_that_is_none_is_an_error() {
        let ops = Ops::standard();
        for (index, sentence) in [
            (-1, "index 1 is -1, and axis 0 of `x` has 3; expected 0 or more, and less than that"),
            (3, "index 1 is 3, and axis 0 of `x` has 3; expected 0 or more, and less than that"),
        ] {
            let inputs = [noise(&[3, 2], 1), Tensor::new([2], [0i64, index]).unwrap()];
            assert_eq!(ops.run("gather", &none(), &inputs).unwrap_err().message(), sentence);
        }
    }

    #[test]
    fn types_follow_the_axis() {
        check_inference(
            "gather",
            &[
                (none(), &["f32 [seq, 576]", "i32 [rows]"], "f32 [rows, 576]"),
                (none().with("axis", 1i64), &["i8 [2, seq, 3]", "i64 [4, rows]"], "i8 [2, 4, rows, 3]"),
                (none().with("axis", -1i64), &["f16 [2, seq]", "i64 []"], "f16 [2]"),
                (
                    none().with("axis", 2i64),
                    &["f32 [2, seq]", "i64 []"],
                    "error: `x` is f32 [2, seq]; expected a tensor that has the axis 2",
                ),
                (
                    none(),
                    &["f32 [2, seq]", "f32 [3]"],
                    "error: `indices` is f32 [3]; expected i64 or i32 values",
                ),
            ],
        );
    }
}
