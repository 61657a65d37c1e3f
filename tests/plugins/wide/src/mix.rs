//! An op with attributes of every kind and inputs that may be left out.

use bitquilt_plugin_api::{
    Arity, AttributeKind, Attributes, DType, Error, InferContext, InputKind, Kernel, KernelKey,
    KernelProvider, Op, OpSignature, OutputType, PrepareContext, Prepared, Result, RunContext, Selector,
    Split,
};

/// `wide.mix(x, [gain], [bias])`: `min(gain * (w[0] x + w[1] x^2 + ..) + bias, limit)`, element by element, with `weights` w, f32 of one
/// shape. `powers` names the weights, as texts; `limit` may be absent.
pub struct Mix;

impl Op for Mix {
    fn signature(&self) -> OpSignature {
        OpSignature::new("wide.mix")
            .dense("x")
            .input("gain", InputKind::Dense, Arity::Optional)
            .input("bias", InputKind::Dense, Arity::Optional)
            .required("weights", AttributeKind::Floats)
            .optional("powers", Vec::<String>::new())
            .without_default("limit", AttributeKind::Float)
            .split(Split::Elementwise)
            .summary("a polynomial of each value")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (weights, powers) = (cx.attributes().floats("weights")?, cx.attributes().texts("powers")?);
        if !powers.is_empty() && powers.len() != weights.len() {
            let (powers, weights) = (powers.len(), weights.len());
            return Err(Error::invalid(format_args!("{powers} `powers` do not name {weights} `weights`")));
        }
        let x = &cx.inputs()[0];
        if x.dtype() != Some(DType::F32) || cx.inputs().iter().any(|input| input != x) {
            return Err(Error::invalid("the inputs are f32 of one shape"));
        }
        Ok(vec![x.clone().into()])
    }
}

impl KernelProvider for Mix {
    fn key(&self) -> KernelKey {
        KernelKey::new("wide.mix", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let attributes = cx.attributes();
        Ok(Prepared::new(Mixed {
            weights: attributes.floats("weights")?.iter().map(|weight| *weight as f32).collect(),
            limit: attributes.given("limit", Attributes::float)?.map(|limit| limit as f32),
            gain: cx.position("gain"),
            bias: cx.position("bias"),
        }))
    }
}

struct Mixed {
    weights: Vec<f32>,
    limit: Option<f32>,
    gain: Option<usize>,
    bias: Option<usize>,
}

impl Kernel for Mixed {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let optional = |index: Option<usize>| index.map(|index| cx.input(index)?.values::<f32>()).transpose();
        let (gain, bias) = (optional(self.gain)?, optional(self.bias)?);
        let x = cx.input(0)?.values::<f32>()?;
        let output = cx.output(0)?.into_values::<f32>()?;
        for (index, (output, x)) in output.iter_mut().zip(x).enumerate() {
            let sum = self.weights.iter().rev().fold(0.0, |sum, weight| (sum + weight) * x);
            let value = gain.map_or(sum, |gain| gain[index] * sum) + bias.map_or(0.0, |bias| bias[index]);
            *output = self.limit.map_or(value, |limit| value.min(limit));
        }
        Ok(())
    }
}
