//! An op of two weights.

use bitquilt_plugin_api::{
    DType, Error, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext, TensorType,
};

/// `wide.pair(x, w, v)`: for each row of `x`, f32 `[m, k]`, its products with the rows of `w`, encoded `[n, k]`, plus those with the rows of
/// `v`, f32 `[n, k]`: f32 `[m, n]`.
pub struct Pair;

impl Op for Pair {
    fn signature(&self) -> OpSignature {
        OpSignature::new("wide.pair")
            .dense("x")
            .encoded("w")
            .dense("v")
            .contracts("x", "w")
            .contracts("x", "v")
            .summary("x [m, k] times the transpose of the sum of w and v, both [n, k]")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let [x, w, v] = cx.inputs() else { return Err(Error::invalid("wide.pair takes x, w and v")) };
        let are_f32 = [x, v].iter().all(|input| input.dtype() == Some(DType::F32));
        match (&x.shape[..], &w.shape[..]) {
            ([m, k], [n, columns]) if are_f32 && k == columns && w.shape == v.shape => {
                Ok(vec![TensorType::f32([m.clone(), n.clone()]).into()])
            }
            _ => Err(Error::invalid(format_args!(
                "x, w and v are {x}, {w} and {v}; f32 [m, k], encoded [n, k] and f32 [n, k] are expected"
            ))),
        }
    }
}

impl Kernel for Pair {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, w, v, decoder) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.decoder(1)?);
        let ([_, k], [n, _]) = (x.shape(), w.shape()) else { return Err(Error::failed("no matrices")) };
        let mut sum = vec![0f32; n * k];
        decoder.dequantize(w.bytes(), &mut sum)?;
        sum.iter_mut().zip(v.values::<f32>()?).for_each(|(sum, value)| *sum += value);
        let x = x.values::<f32>()?;
        let products = cx.output(0)?.into_values::<f32>()?;
        for (index, product) in products.iter_mut().enumerate() {
            let (x, weight) = (&x[index / n * k..][..*k], &sum[index % n * k..][..*k]);
            *product = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
        }
        Ok(())
    }
}
