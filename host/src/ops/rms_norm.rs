//! `rms_norm`: rows scaled to a root mean square of 1.

use bitquilt_plugin_api::{
    InferContext, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin, PrepareContext,
    Prepared, Result, RunContext, Selector,
};

use super::check::chosen_simd;
use super::norm;
use super::parallel::for_each_piece;
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(RmsNorm).kernel(RmsNorm)
}

/// `rms_norm(x, weight)`: `x / sqrt(mean(x^2) + eps) * weight`, the mean over each row of `x`, f32 `[.., n]`, with `weight` f32
/// `[n]`. Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
pub(super) struct RmsNorm;

impl Op for RmsNorm {
    fn signature(&self) -> OpSignature {
        OpSignature::new("rms_norm")
            .dense("x")
            .dense("weight")
            .optional("eps", 1e-5f64)
            .summary("x / sqrt(mean(x^2) + eps) * weight, over the last dimension")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        norm::infer(cx, &["weight"])
    }
}

impl KernelProvider for RmsNorm {
    fn key(&self) -> KernelKey {
        KernelKey::new("rms_norm", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let simd = chosen_simd(cx)?;
        let kernel = RmsNormKernel { eps: cx.attributes().float("eps")? as f32, simd };
        Ok(Prepared::new(kernel).note(simd.isa().name()))
    }
}

struct RmsNormKernel {
    eps: f32,
    simd: AnySimd,
}

impl Kernel for RmsNormKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, weight) = (cx.input(0)?.values::<f32>()?, cx.input(1)?.values::<f32>()?);
        let output = cx.output(0)?.into_values::<f32>()?;
        for_each_piece(cx.executor(), output, weight.len(), 2, |first, output| {
            let x = &x[first..][..output.len()];
            self.simd.run(Rows { x, weight, eps: self.eps, output });
        });
        Ok(())
    }
}

/// Some rows.
struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    output: &'a mut [f32],
}

impl Body for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let n = self.weight.len();
        if n == 0 {
            return;
        }
        let (weight, last_weight) = self.weight.as_chunks::<LANES>();
        for (output, x) in self.output.chunks_exact_mut(n).zip(self.x.chunks_exact(n)) {
            let (x, last_x) = x.as_chunks::<LANES>();
            let mut squares = simd.splat(0.0);
            for x in x {
                let x = simd.load(x);
                squares = simd.fma(x, x, squares);
            }
            if !last_x.is_empty() {
                let x = simd.load_some(last_x);
                squares = simd.fma(x, x, squares);
            }
            let scale = simd.splat(1.0 / (simd.sum(squares) / n as f32 + self.eps).sqrt());
            let scaled = |x, weight| simd.mul(simd.mul(x, scale), weight);
            let (output, last) = output.as_chunks_mut::<LANES>();
            for ((output, x), weight) in output.iter_mut().zip(x).zip(weight) {
                simd.store(output, scaled(simd.load(x), simd.load(weight)));
            }
            if !last.is_empty() {
                simd.store_some(last, scaled(simd.load_some(last_x), simd.load_some(last_weight)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Attributes;
    use crate::ops::testing::{Ops, assert_close, check_inference, noise, none};

    #[test]
    fn rows_are_scaled_as_the_formula_says() {
        let ops = Ops::standard();
        let shapes: [&[usize]; 9] =
            [&[1], &[5], &[16], &[33], &[0], &[0, 4], &[3, 0], &[2, 3, 17], &[53, 577]];
        for (shape, eps) in shapes.into_iter().flat_map(|shape| [(shape, 1e-5), (shape, 0.25)]) {
            let n = shape[shape.len() - 1];
            let (x, weight) = (noise(shape, 5), noise(&[n], 6));
            let attributes = Attributes::new().with("eps", eps);
            let output = ops.run("rms_norm", &attributes, &[x.clone(), weight.clone()]).unwrap();
            let weight = weight.values::<f32>().unwrap();
            let expected: Vec<f64> = x
                .values::<f32>()
                .unwrap()
                .chunks(n.max(1))
                .flat_map(|row| {
                    let squares: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                    let scale = (squares / n as f64 + eps).sqrt().recip();
                    row.iter().zip(weight).map(move |(x, w)| f64::from(*x) * scale * f64::from(*w))
                })
                .collect();
            assert_close(&output, &expected, 2e-6, &format!("{shape:?}"));
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let ops = Ops::standard();
        let (x, weight) = (noise(&[7, 577], 7), noise(&[577], 8));
        let all = ops.run("rms_norm", &none(), &[x.clone(), weight.clone()]).unwrap();
        for (row, expected) in all.values::<f32>().unwrap().chunks(577).enumerate() {
            let x = crate::Tensor::new([577], &x.values::<f32>().unwrap()[row * 577..][..577]).unwrap();
            let alone = ops.run("rms_norm", &none(), &[x, weight.clone()]).unwrap();
            assert_eq!(alone.values::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "rms_norm",
            &[
                (none(), &["f32 [seq, 64]", "f32 [64]"], "f32 [seq, 64]"),
                (none(), &["f32 []", "f32 [1]"], "error: `x` is f32 []; expected a tensor with rows"),
                (
                    none(),
                    &["f32 [seq, 64]", "f32 [32]"],
                    "error: `weight` is f32 [32]; expected f32 [64], one for each column of `x` f32 [seq, 64]",
                ),
                (none(), &["f16 [2, 64]", "f32 [64]"], "error: `x` is f16 [2, 64]; expected f32 values"),
                (none(), &["f32 [2, 64]", "f16 [64]"], "error: `weight` is f16 [64]; expected f32 values"),
                (
                    none().with("eps", -1.0),
                    &["f32 [2, 64]", "f32 [64]"],
                    "error: `eps` is -1; expected a finite number that is not negative",
                ),
            ],
        );
    }
}
