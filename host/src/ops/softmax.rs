//! `softmax`: weights that sum up to 1.

use bitquilt_plugin_api::{
    InferContext, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin, PrepareContext,
    Prepared, Result, RunContext, Selector, TensorType,
};

use super::check::{Input, axis, chosen_simd};
use super::math::exp;
use super::parallel::for_each_piece;
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(Softmax).kernel(Softmax)
}

/// `softmax(x)`: `exp(x - greatest) / sum`, the greatest and the sum along `axis`, the last one if it is not given. Where all values
/// are minus infinity the result is NaN.
pub(super) struct Softmax;

impl Op for Softmax {
    fn signature(&self) -> OpSignature {
        OpSignature::new("softmax")
            .dense("x")
            .optional("axis", -1i64)
            .summary("exp(x), scaled to sum up to 1 along an axis")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?.f32()?;
        axis(cx, x.tensor)?;
        Ok(vec![TensorType::f32(x.shape()).into()])
    }
}

impl KernelProvider for Softmax {
    fn key(&self) -> KernelKey {
        KernelKey::new("softmax", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let simd = chosen_simd(cx)?;
        Ok(Prepared::new(SoftmaxKernel { axis: axis(cx, &cx.inputs()[0])?, simd }).note(simd.isa().name()))
    }
}

struct SoftmaxKernel {
    axis: usize,
    simd: AnySimd,
}

impl Kernel for SoftmaxKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?, cx.output(0)?.into_values::<f32>()?);
        let (count, inner) = (x.shape()[self.axis], x.shape()[self.axis + 1..].iter().product());
        let x = x.values::<f32>()?;
        for_each_piece(cx.executor(), output, count * inner, 4, |first, output| {
            let x = &x[first..][..output.len()];
            self.simd.run(Blocks { x, count, inner, output });
        });
        Ok(())
    }
}

/// Some blocks of `count` rows of `inner` values, each column of which is scaled.
struct Blocks<'a> {
    x: &'a [f32],
    count: usize,
    inner: usize,
    output: &'a mut [f32],
}

impl Body for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let block = self.count * self.inner;
        if block == 0 {
            return;
        }
        for (output, x) in self.output.chunks_exact_mut(block).zip(self.x.chunks_exact(block)) {
            if self.inner == 1 {
                row(simd, x, output);
                continue;
            }
            for first in (0..self.inner).step_by(LANES) {
                columns(simd, x, output, self.inner, first);
            }
        }
    }
}

#[inline(always)]
fn row<S: Simd>(simd: S, x: &[f32], output: &mut [f32]) {
    let nothing = simd.splat(f32::NEG_INFINITY);
    let mut most = nothing;
    for x in x.chunks(LANES) {
        most = simd.max(simd.select(simd.first(x.len()), simd.load_some(x), nothing), most);
    }
    let greatest = simd.splat(simd.greatest(most));
    let mut sum = simd.splat(0.0);
    for (output, x) in output.chunks_mut(LANES).zip(x.chunks(LANES)) {
        let weight = exp(simd, simd.sub(simd.load_some(x), greatest));
        sum = simd.add(sum, simd.select(simd.first(x.len()), weight, simd.splat(0.0)));
        simd.store_some(output, weight);
    }
    let scale = simd.splat(1.0 / simd.sum(sum));
    for output in output.chunks_mut(LANES) {
        let scaled = simd.mul(simd.load_some(output), scale);
        simd.store_some(output, scaled);
    }
}

/// Sixteen columns from `first` on, or as many as there are.
#[inline(always)]
fn columns<S: Simd>(simd: S, x: &[f32], output: &mut [f32], inner: usize, first: usize) {
    let end = inner.min(first + LANES);
    let mut most = simd.splat(f32::NEG_INFINITY);
    for x in x.chunks_exact(inner) {
        most = simd.max(simd.load_some(&x[first..end]), most);
    }
    let mut sum = simd.splat(0.0);
    for (output, x) in output.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
        let weight = exp(simd, simd.sub(simd.load_some(&x[first..end]), most));
        sum = simd.add(sum, weight);
        simd.store_some(&mut output[first..end], weight);
    }
    let scale = simd.div(simd.splat(1.0), sum);
    for output in output.chunks_exact_mut(inner) {
        let scaled = simd.mul(simd.load_some(&output[first..end]), scale);
        simd.store_some(&mut output[first..end], scaled);
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, assert_close, at, check_inference, indices, noise, none};
    use crate::{Attributes, Tensor};

    #[test]
    fn weights_are_those_of_the_formula() {
        let ops = Ops::standard();
        let shapes: [&[usize]; 10] =
            [&[1], &[5], &[16], &[33], &[0], &[2, 0, 3], &[3, 5, 7], &[2, 17, 1], &[4, 3, 35], &[37, 41, 20]];
        for shape in shapes {
            let x: Vec<f32> = noise(shape, 51).values::<f32>().unwrap().iter().map(|x| x * 9.0).collect();
            let x = Tensor::new(shape, x).unwrap();
            for axis in 0..shape.len() {
                let attributes = Attributes::new().with("axis", axis as i64);
                let output = ops.run("softmax", &attributes, std::slice::from_ref(&x)).unwrap();
                let expected: Vec<f64> = indices(shape)
                    .map(|index| {
                        let along = |place: usize| {
                            let mut index = index.clone();
                            index[axis] = place;
                            f64::from(at::<f32>(&x, &index)).exp()
                        };
                        along(index[axis]) / (0..shape[axis]).map(along).sum::<f64>()
                    })
                    .collect();
                assert_close(&output, &expected, 1e-6, &format!("{shape:?} along {axis}"));
            }
        }
    }

    #[test]
    fn great_and_infinite_values_do_not_overflow() {
        let x = [1e30, f32::NEG_INFINITY, 1e30, -1e30];
        let output = Ops::standard().run("softmax", &none(), &[Tensor::new([4], x).unwrap()]).unwrap();
        assert_eq!(output.values::<f32>().unwrap(), [0.5, 0.0, 0.5, 0.0]);
        for x in [[f32::NEG_INFINITY; 2], [f32::NAN, 1.0]] {
            let output = Ops::standard().run("softmax", &none(), &[Tensor::new([2], x).unwrap()]).unwrap();
            assert!(output.values::<f32>().unwrap().iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn what_has_no_such_axis_is_refused() {
        check_inference(
            "softmax",
            &[
                (none(), &["f32 [seq, 64]"], "f32 [seq, 64]"),
                (none().with("axis", -2i64), &["f32 [seq, 64]"], "f32 [seq, 64]"),
                (
                    none().with("axis", 2i64),
                    &["f32 [seq, 64]"],
                    "error: `axis` is 2 and `x` is f32 [seq, 64]; expected an axis from -2 to 1",
                ),
                (
                    none(),
                    &["f32 []"],
                    "error: `axis` is -1 and `x` is f32 []; expected a tensor that has axes",
                ),
                (none(), &["i8 [4]"], "error: `x` is i8 [4]; expected f32 values"),
            ],
        );
    }
}
