//! `transpose`: the same values with their axes in another order.

use bitquilt_plugin_api::bytemuck::{self, Pod};
use bitquilt_plugin_api::{
    Dim, Error, Executor, InferContext, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType,
    Plugin, PrepareContext, Prepared, Result, RunContext, Selector, TensorType,
};

use super::check::{Input, permutation};
use super::parallel::for_each_piece;
use super::walk::Walk;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(Transpose).kernel(Transpose)
}

/// `transpose(x)`: dimension `i` of the output is dimension `axes[i]` of `x`; without `axes` the order is reversed.
///
/// Where only dimensions of 1 move, the output is the input's memory.
pub(super) struct Transpose;

impl Op for Transpose {
    fn signature(&self) -> OpSignature {
        OpSignature::new("transpose")
            .dense("x")
            .optional("axes", Vec::<i64>::new())
            .summary("the axes in another order; reversed, if none is given")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?;
        let Some(dtype) = x.tensor.dtype() else { return Err(x.refuse("values of a dtype")) };
        let axes = permutation(cx, x.shape())?;
        let tensor = TensorType::dense(dtype, axes.iter().map(|axis| &x.shape()[*axis]));
        let moved = axes.iter().filter(|axis| x.shape()[**axis] != Dim::Fixed(1));
        Ok(vec![if moved.is_sorted() { OutputType::alias(tensor, 0) } else { tensor.into() }])
    }
}

impl KernelProvider for Transpose {
    fn key(&self) -> KernelKey {
        KernelKey::new("transpose", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(TransposeKernel { axes: permutation(cx, &cx.inputs()[0].shape)? }))
    }
}

struct TransposeKernel {
    axes: Vec<usize>,
}

impl Kernel for TransposeKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output, executor) = (cx.input(0)?, cx.output(0)?, cx.executor());
        let walk = Walk::new(output.shape(), |axis| [x.shape()[self.axes[axis] + 1..].iter().product()]);
        let values: usize = x.shape().iter().product();
        let (x, output) = (x.bytes(), output.into_bytes());
        match x.len() / values.max(1) {
            1 => reorder(executor, &walk, x, output),
            2 => reorder::<u16>(executor, &walk, bytemuck::cast_slice(x), bytemuck::cast_slice_mut(output)),
            4 => reorder::<u32>(executor, &walk, bytemuck::cast_slice(x), bytemuck::cast_slice_mut(output)),
            8 => reorder::<u64>(executor, &walk, bytemuck::cast_slice(x), bytemuck::cast_slice_mut(output)),
            0 => {}
            size => {
                return Err(Error::unsupported(format_args!("values of {size} bytes cannot be transposed")));
            }
        }
        Ok(())
    }
}

fn reorder<T: Pod + Send + Sync>(executor: Executor<'_>, walk: &Walk<1>, x: &[T], output: &mut [T]) {
    for_each_piece(executor, output, 1, 2, |first, piece| {
        walk.runs(first, piece.len(), |run, [offset]| {
            let output = &mut piece[run];
            match walk.inner_strides() {
                [1] => output.copy_from_slice(&x[offset..][..output.len()]),
                [stride] => {
                    for (index, output) in output.iter_mut().enumerate() {
                        *output = x[offset + index * stride];
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, at, check_inference, indices, noise, none};
    use crate::{Attributes, DType, Tensor};

    fn axes(axes: &[i64]) -> Attributes {
        Attributes::new().with("axes", axes.to_vec())
    }

    #[test]
    fn each_value_moves_to_its_place() {
        let cases: [(&[usize], &[i64]); 13] = [
            (&[], &[]),
            (&[5], &[]),
            (&[3, 5], &[]),
            (&[3, 5], &[1, 0]),
            (&[3, 5], &[0, 1]),
            (&[1, 5], &[1, 0]),
            (&[2, 3, 4], &[1, 0, 2]),
            (&[2, 3, 4], &[2, 0, 1]),
            (&[2, 3, 4, 5], &[0, 2, 1, 3]),
            (&[2, 3, 4, 5], &[-1, 1, -2, 0]),
            (&[2, 0, 3], &[2, 0, 1]),
            (&[131, 257], &[1, 0]),
            (&[9, 67, 64], &[1, 0, 2]),
        ];
        for (shape, order) in cases {
            let x = noise(shape, 10);
            let output = Ops::standard().run("transpose", &axes(order), std::slice::from_ref(&x)).unwrap();
            let order: Vec<usize> = match order {
                [] => (0..shape.len()).rev().collect(),
                _ => order.iter().map(|axis| axis.rem_euclid(shape.len() as i64) as usize).collect(),
            };
            let expected: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
            assert_eq!(output.shape(), expected);
            for index in indices(&expected) {
                let mut source = vec![0; shape.len()];
                order.iter().zip(&index).for_each(|(axis, place)| source[*axis] = *place);
                assert_eq!(at::<f32>(&output, &index), at::<f32>(&x, &source), "{shape:?} {order:?}");
            }
        }
    }

    #[test]
    fn every_dtype_is_moved() {
        for dtype in DType::all() {
            let size = dtype.size().unwrap();
            let bytes: Vec<u8> =
                (0..6 * size).map(|byte| (byte % size == 0 && byte / size % 2 == 1).into()).collect();
            let x = Tensor::from_bytes(dtype, [2, 3], &bytes).unwrap();
            let output = Ops::standard().run("transpose", &none(), std::slice::from_ref(&x)).unwrap();
            let expected: Vec<u8> = [0, 3, 1, 4, 2, 5]
                .into_iter()
                .flat_map(|value| &bytes[value * size..][..size])
                .copied()
                .collect();
            assert_eq!((output.dtype(), output.bytes()), (Some(dtype), &expected[..]));
        }
    }

    #[test]
    fn inference_reorders_and_refuses() {
        check_inference(
            "transpose",
            &[
                (none(), &["f32 [seq, 64]"], "f32 [64, seq]"),
                (axes(&[1, 0, 2]), &["f16 [seq, 9, 64]"], "f16 [9, seq, 64]"),
                (axes(&[1, 0, 2]), &["f16 [1, 9, 64]"], "f16 [9, 1, 64] = input 0"),
                (axes(&[0, 1]), &["i8 [2, 3]"], "i8 [2, 3] = input 0"),
                (
                    axes(&[0, 0]),
                    &["f32 [2, 3]"],
                    "error: `axes` is [0, 0]; expected each axis of the shape [2, 3] once",
                ),
                (
                    axes(&[0]),
                    &["f32 [2, 3]"],
                    "error: `axes` is [0]; expected each axis of the shape [2, 3] once",
                ),
                (
                    axes(&[0, 1, 0]),
                    &["f32 [2, 3]"],
                    "error: `axes` is [0, 1, 0]; expected each axis of the shape [2, 3] once",
                ),
                (
                    axes(&[0, -3]),
                    &["f32 [2, 3]"],
                    "error: `axes` is [0, -3]; expected each axis of the shape [2, 3] once",
                ),
            ],
        );
    }
}
