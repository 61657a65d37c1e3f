//! Functions of one value.

use bitquilt_plugin_api::{
    InferContext, Op, OpSignature, OutputType, Plugin, Result, RunContext, TensorType,
};

use super::check::Input;
use super::math;
use super::parallel::for_each_piece;
use super::vectorized::{self, Vectorized};
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the ops.
pub(super) fn register(plugin: Plugin) -> Plugin {
    Unary::ALL.into_iter().fold(plugin, vectorized::register)
}

/// A function of each value of an f32 tensor.
#[derive(Clone, Copy)]
pub(super) enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Sigmoid,
    Silu,
    Relu,
    Tanh,
    Gelu,
    GeluTanh,
}

impl Unary {
    pub(super) const ALL: [Self; 11] = [
        Self::Neg,
        Self::Exp,
        Self::Log,
        Self::Sqrt,
        Self::Rsqrt,
        Self::Sigmoid,
        Self::Silu,
        Self::Relu,
        Self::Tanh,
        Self::Gelu,
        Self::GeluTanh,
    ];

    /// Its name and the formula of a value.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Neg => ("neg", "-x"),
            Self::Exp => ("exp", "e to the power of x"),
            Self::Log => ("log", "the natural logarithm of x"),
            Self::Sqrt => ("sqrt", "the square root of x"),
            Self::Rsqrt => ("rsqrt", "1 / sqrt(x)"),
            Self::Sigmoid => ("sigmoid", "1 / (1 + exp(-x))"),
            Self::Silu => ("silu", "x * sigmoid(x)"),
            Self::Relu => ("relu", "x where it is positive, else 0"),
            Self::Tanh => ("tanh", "the hyperbolic tangent of x"),
            Self::Gelu => ("gelu", "x * (1 + erf(x / sqrt(2))) / 2"),
            Self::GeluTanh => ("gelu_tanh", "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2"),
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

impl Vectorized for Unary {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?.values::<f32>()?, cx.output(0)?.into_values::<f32>()?);
        for_each_piece(cx.executor(), output, LANES, 2, |first, output| {
            let x = &x[first..][..output.len()];
            simd.run(Map { function: self, x, output });
        });
        Ok(())
    }
}

/// Some values, and where their results go.
struct Map<'a> {
    function: Unary,
    x: &'a [f32],
    output: &'a mut [f32],
}

impl Body for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.function {
            Unary::Neg => self.each::<S, Neg>(simd),
            Unary::Exp => self.each::<S, Exp>(simd),
            Unary::Log => self.each::<S, Log>(simd),
            Unary::Sqrt => self.each::<S, Sqrt>(simd),
            Unary::Rsqrt => self.each::<S, Rsqrt>(simd),
            Unary::Sigmoid => self.each::<S, Sigmoid>(simd),
            Unary::Silu => self.each::<S, Silu>(simd),
            Unary::Relu => self.each::<S, Relu>(simd),
            Unary::Tanh => self.each::<S, Tanh>(simd),
            Unary::Gelu => self.each::<S, Gelu>(simd),
            Unary::GeluTanh => self.each::<S, GeluTanh>(simd),
        }
    }
}

impl Map<'_> {
    #[inline(always)]
    fn each<S: Simd, F: Function>(self, simd: S) {
        let (output, last) = self.output.as_chunks_mut::<LANES>();
        let (x, last_x) = self.x.as_chunks::<LANES>();
        for (output, x) in output.iter_mut().zip(x) {
            simd.store(output, F::of(simd, simd.load(x)));
        }
        if !last.is_empty() {
            simd.store_some(last, F::of(simd, simd.load_some(last_x)));
        }
    }
}

/// A function of sixteen values.
trait Function {
    fn of<S: Simd>(simd: S, x: S::F) -> S::F;
}

macro_rules! functions {
    ($($name:ident |$simd:ident, $x:ident| $value:expr;)*) => {
        $(struct $name;
        impl Function for $name {
            #[inline(always)]
            fn of<S: Simd>($simd: S, $x: S::F) -> S::F {
                $value
            }
        })*
    };
}

functions! {
    Neg |simd, x| math::negated(simd, x);
    Exp |simd, x| math::exp(simd, x);
    Log |simd, x| math::log(simd, x);
    Sqrt |simd, x| simd.sqrt(x);
    Rsqrt |simd, x| simd.div(simd.splat(1.0), simd.sqrt(x));
    Sigmoid |simd, x| math::sigmoid(simd, x);
    Silu |simd, x| math::silu(simd, x);
    // NaN stays NaN, as in every other op.
    Relu |simd, x| simd.max(simd.splat(0.0), x);
    Tanh |simd, x| math::tanh(simd, x);
    Gelu |simd, x| math::gelu(simd, x);
    GeluTanh |simd, x| math::gelu_tanh(simd, x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::testing::{Ops, assert_close, check_inference, noise, none};

    type Formula = fn(f64) -> f64;

    /// Each op with its formula in f64.
    const FORMULAS: [(&str, Formula); 10] = [
        ("neg", |x| -x),
        ("exp", f64::exp),
        ("sqrt", f64::sqrt),
        ("rsqrt", |x| x.sqrt().recip()),
        ("sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
        ("silu", |x| x / (1.0 + (-x).exp())),
        ("relu", |x| if x < 0.0 { 0.0 } else { x }),
        ("log", f64::ln),
        ("tanh", f64::tanh),
        ("gelu_tanh", |x| {
            x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).exp())
        }),
    ];

    /// `erf` by its Maclaurin series, to about 1e-13 where |x| is at most 4; 1 beyond.
    fn erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

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
    fn gelu_is_its_formula() {
        let x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 800.0).collect();
        let expected: Vec<f64> =
            x.iter().map(|x| f64::from(*x)).map(|x| x * (1.0 + erf(x / 2f64.sqrt())) / 2.0).collect();
        let output = Ops::standard().run("gelu", &none(), &[Tensor::new([8001], x).unwrap()]).unwrap();
        assert_close(&output, &expected, 3e-7, "gelu");
    }

    /// Asserts that an op's results are within some parts of 2^-24 of their size, which small ones are too.
    #[track_caller]
    fn check_digits(op: &str, formula: Formula, x: impl Iterator<Item = f32>, units: f64) {
        let x: Vec<f32> = x.collect();
        let output = Ops::standard().run(op, &none(), &[Tensor::new([x.len()], &x[..]).unwrap()]).unwrap();
        for (x, found) in x.iter().zip(output.values::<f32>().unwrap()) {
            let exact = formula(f64::from(*x));
            let error = (f64::from(*found) - exact).abs() / exact.abs().max(f64::from(f32::MIN_POSITIVE));
            assert!(error <= units * 2f64.powi(-24), "{op}({x:e}) is {found:e}, not {exact:e}");
        }
    }

    #[test]
    fn small_results_have_their_digits() {
        let powers = || (-100..30).map(|n| 1.37f32 * 2f32.powi(n));
        check_digits("exp", f64::exp, (-8700..8800).map(|i| i as f32 / 100.0), 4.0);
        check_digits("log", f64::ln, powers().chain((1..4000).map(|i| i as f32 / 1000.0)), 6.0);
        check_digits("log", f64::ln, (1..100).map(|i| f32::from_bits(i * i)), 4.0);
        check_digits("tanh", f64::tanh, powers().flat_map(|x| [x, -x]), 8.0);
        check_digits("tanh", f64::tanh, (-900..900).map(|i| i as f32 / 100.0), 8.0);
    }

    #[test]
    fn every_instruction_set_has_the_same_bits() {
        let x: Vec<f32> = (0..4099).map(|i| f32::from_bits((i as u32).wrapping_mul(1_048_583))).collect();
        for function in Unary::ALL {
            let run = |simd: AnySimd| {
                let mut output = vec![0.0; x.len()];
                simd.run(Map { function, x: &x, output: &mut output });
                output
                    .into_iter()
                    .map(|y| if y.is_nan() { None } else { Some(y.to_bits()) })
                    .collect::<Vec<_>>()
            };
            let expected = run(AnySimd::Fused(bitquilt_simd::Scalar));
            for simd in AnySimd::available().filter(|simd| simd.isa() != bitquilt_simd::Isa::Scalar) {
                let found = run(simd);
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(
                        found,
                        expected,
                        "{} of {:?}, {}",
                        function.describe().0,
                        x[index],
                        simd.isa().name()
                    );
                }
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
            ("log", [nan, nan, -inf, -inf, 1e30f32.ln(), inf, nan]),
            ("tanh", [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0, nan]),
            ("gelu", [0.0, 0.0, 0.0, 0.0, 1e30, inf, nan]),
            ("gelu_tanh", [nan, 0.0, 0.0, 0.0, 1e30, inf, nan]),
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
