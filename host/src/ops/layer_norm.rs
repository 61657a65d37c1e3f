//! `layer_norm`: rows scaled to a mean of 0 and a variance of 1.

use bitquilt_plugin_api::{
    Arity, InferContext, InputKind, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin,
    PrepareContext, Prepared, Result, RunContext, Selector,
};

use super::check::chosen_simd;
use super::norm;
use super::parallel::for_each_piece;
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(LayerNorm).kernel(LayerNorm)
}

/// `layer_norm(x, weight, bias)`: `(x - mean) / sqrt(variance + eps) * weight + bias`, with mean and variance of each row of `x`,
/// f32 `[.., n]`, and `weight` and `bias`, which is optional, f32 `[n]`. Ba, Kiros and Hinton, "Layer Normalization", 2016.
pub(super) struct LayerNorm;

impl Op for LayerNorm {
    fn signature(&self) -> OpSignature {
        OpSignature::new("layer_norm")
            .dense("x")
            .dense("weight")
            .input("bias", InputKind::Dense, Arity::Optional)
            .optional("eps", 1e-5f64)
            .summary("(x - mean) / sqrt(variance + eps) * weight + bias, over the last dimension")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        norm::infer(cx, &["weight", "bias"])
    }
}

impl KernelProvider for LayerNorm {
    fn key(&self) -> KernelKey {
        KernelKey::new("layer_norm", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let simd = chosen_simd(cx)?;
        let kernel = LayerNormKernel {
            eps: cx.attributes().float("eps")? as f32,
            has_bias: cx.inputs().len() > 2,
            simd,
        };
        Ok(Prepared::new(kernel).note(simd.isa().name()))
    }
}

struct LayerNormKernel {
    eps: f32,
    has_bias: bool,
    simd: AnySimd,
}

impl Kernel for LayerNormKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, weight) = (cx.input(0)?.values::<f32>()?, cx.input(1)?.values::<f32>()?);
        let bias = if self.has_bias { Some(cx.input(2)?.values::<f32>()?) } else { None };
        let output = cx.output(0)?.into_values::<f32>()?;
        for_each_piece(cx.executor(), output, weight.len(), 2, |first, output| {
            let x = &x[first..][..output.len()];
            self.simd.run(Rows { x, weight, bias, eps: self.eps, output });
        });
        Ok(())
    }
}

/// Some rows.
struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
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
        for (output, x) in self.output.chunks_exact_mut(n).zip(self.x.chunks_exact(n)) {
            let mut sum = simd.splat(0.0);
            for x in x.chunks(LANES) {
                sum = simd.add(sum, simd.load_some(x));
            }
            let mean = simd.splat(simd.sum(sum) / n as f32);
            let mut squares = simd.splat(0.0);
            for x in x.chunks(LANES) {
                let centered = simd.sub(simd.load_some(x), mean);
                let centered = simd.select(simd.first(x.len()), centered, simd.splat(0.0));
                squares = simd.fma(centered, centered, squares);
            }
            let scale = simd.splat(1.0 / (simd.sum(squares) / n as f32 + self.eps).sqrt());
            for (group, (output, x)) in output.chunks_mut(LANES).zip(x.chunks(LANES)).enumerate() {
                let weight = simd.load_some(&self.weight[group * LANES..]);
                let bias = match self.bias {
                    Some(bias) => simd.load_some(&bias[group * LANES..]),
                    None => simd.splat(0.0),
                };
                let normal = simd.mul(simd.sub(simd.load_some(x), mean), scale);
                simd.store_some(output, simd.fma(normal, weight, bias));
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
            let (x, weight, bias) = (noise(shape, 5), noise(&[n], 6), noise(&[n], 7));
            let attributes = Attributes::new().with("eps", eps);
            for has_bias in [false, true] {
                let mut inputs = vec![x.clone(), weight.clone()];
                inputs.extend(has_bias.then(|| bias.clone()));
                let output = ops.run("layer_norm", &attributes, &inputs).unwrap();
                let (weight, bias) = (weight.values::<f32>().unwrap(), bias.values::<f32>().unwrap());
                let expected: Vec<f64> = x
                    .values::<f32>()
                    .unwrap()
                    .chunks(n.max(1))
                    .flat_map(|row| {
                        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
                        let squares: f64 = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
                        let scale = (squares / n as f64 + eps).sqrt().recip();
                        row.iter().zip(weight).zip(bias).map(move |((x, weight), bias)| {
                            let bias = if has_bias { f64::from(*bias) } else { 0.0 };
                            (f64::from(*x) - mean) * scale * f64::from(*weight) + bias
                        })
                    })
                    .collect();
                assert_close(&output, &expected, 4e-6, &format!("{shape:?}"));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "layer_norm",
            &[
                (none(), &["f32 [seq, 64]", "f32 [64]"], "f32 [seq, 64]"),
                (none(), &["f32 [seq, 64]", "f32 [64]", "f32 [64]"], "f32 [seq, 64]"),
                (none(), &["f32 []", "f32 [1]"], "error: `x` is f32 []; expected a tensor with rows"),
                (
                    none(),
                    &["f32 [seq, 64]", "f32 [64]", "f32 [32]"],
                    "error: `bias` is f32 [32]; expected f32 [64], one for each column of `x` f32 [seq, 64]",
                ),
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
