//! Functions of one value.

use bitquilt_plugin_api::{
    Executor, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext, TensorType,
};

use super::check::Input;
use super::parallel::for_each_piece;

/// A function of each value of an f32 tensor.
#[derive(Clone, Copy)]
pub(super) enum Unary {
    Neg,
    Exp,
    Sqrt,
    Rsqrt,
    Sigmoid,
    Silu,
    Relu,
}

impl Unary {
    pub(super) const ALL: [Self; 7] =
        [Self::Neg, Self::Exp, Self::Sqrt, Self::Rsqrt, Self::Sigmoid, Self::Silu, Self::Relu];

    /// Its name and the formula of a value.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Neg => ("neg", "-x"),
            Self::Exp => ("exp", "e to the power of x"),
            Self::Sqrt => ("sqrt", "the square root of x"),
            Self::Rsqrt => ("rsqrt", "1 / sqrt(x)"),
            Self::Sigmoid => ("sigmoid", "1 / (1 + exp(-x))"),
            Self::Silu => ("silu", "x * sigmoid(x)"),
            Self::Relu => ("relu", "x where it is positive, else 0"),
        }
    }
}

impl Op for Unary {
    fn signature(&self) -> OpSignature {
        let (name, summary) = self.describe();
        OpSignature::new(name).dense("x").summary(summary)
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?.f32()?;
        Ok(vec![TensorType::f32(x.shape()).into()])
    }
}

impl Kernel for Unary {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?.values::<f32>()?, cx.output(0)?.into_values::<f32>()?);
        let executor = cx.executor();
        match self {
            Self::Neg => map(executor, x, output, 1, |x| -x),
            Self::Exp => map(executor, x, output, 8, f32::exp),
            Self::Sqrt => map(executor, x, output, 2, f32::sqrt),
            Self::Rsqrt => map(executor, x, output, 4, |x| 1.0 / x.sqrt()),
            Self::Sigmoid => map(executor, x, output, 8, sigmoid),
            Self::Silu => map(executor, x, output, 8, |x| x * sigmoid(x)),
            // NaN stays NaN, as in every other op.
            Self::Relu => map(executor, x, output, 1, |x| if x < 0.0 { 0.0 } else { x }),
        }
        Ok(())
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn map(
    executor: Executor<'_>,
    x: &[f32],
    output: &mut [f32],
    cost: usize,
    function: impl Fn(f32) -> f32 + Sync,
) {
    for_each_piece(executor, output, 1, cost, |first, piece| {
        for (output, x) in piece.iter_mut().zip(&x[first..]) {
            *output = function(*x);
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::Tensor;
    use crate::ops::testing::{Ops, assert_close, check_inference, noise, none};

    type Formula = fn(f64) -> f64;

    /// Each op with its formula in f64.
    const FORMULAS: [(&str, Formula); 7] = [
        ("neg", |x| -x),
        ("exp", f64::exp),
        ("sqrt", f64::sqrt),
        ("rsqrt", |x| x.sqrt().recip()),
        ("sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
        ("silu", |x| x / (1.0 + (-x).exp())),
        ("relu", |x| if x < 0.0 { 0.0 } else { x }),
    ];

    #[test]
    fn every_function_is_its_formula() {
        let ops = Ops::standard();
        let shapes: [&[usize]; 8] = [&[], &[1], &[0], &[17], &[3, 5], &[2, 0, 4], &[2, 3, 5, 7], &[37, 1031]];
        for (op, formula) in FORMULAS {
            for shape in shapes {
                let values: Vec<f32> =
                    noise(shape, 3).values::<f32>().unwrap().iter().map(|value| value * 30.0).collect();
                let expected: Vec<f64> = values.iter().map(|x| formula(f64::from(*x))).collect();
                let output = ops.run(op, &none(), &[Tensor::new(shape, values).unwrap()]).unwrap();
                assert_eq!(output.shape(), shape);
                assert_close(&output, &expected, 1e-6, op);
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_kept() {
        let x = [f32::NEG_INFINITY, -1e30, -0.0, 0.0, 1e30, f32::INFINITY, f32::NAN];
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (op, expected) in [
            ("neg", [inf, 1e30, 0.0, 0.0, -1e30, -inf, nan]),
            ("exp", [0.0, 0.0, 1.0, 1.0, inf, inf, nan]),
            ("sqrt", [nan, nan, 0.0, 0.0, 1e15, inf, nan]),
            ("rsqrt", [nan, nan, -inf, inf, 1e-15, 0.0, nan]),
            ("sigmoid", [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, nan]),
            ("silu", [nan, 0.0, 0.0, 0.0, 1e30, inf, nan]),
            ("relu", [0.0, 0.0, 0.0, 0.0, 1e30, inf, nan]),
        ] {
            let output = Ops::standard().run(op, &none(), &[Tensor::new([7], x).unwrap()]).unwrap();
            assert_close(&output, &expected.map(f64::from), 1e-6, op);
        }
    }

    #[test]
    fn what_is_not_f32_is_refused() {
        for (op, _) in FORMULAS {
            check_inference(
                op,
                &[
                    (none(), &["f32 [batch, 2*seq]"], "f32 [batch, 2*seq]"),
                    (none(), &["i32 [2]"], "error: `x` is i32 [2]; expected f32 values"),
                ],
            );
        }
    }
}
