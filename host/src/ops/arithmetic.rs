//! `add`, `sub`, `mul` and `div`, with broadcasting.

use bitquilt_plugin_api::{
    DType, ElementView, Error, Executor, InferContext, Op, OpSignature, OutputType, Plugin, Result,
    RunContext, Scalar, TensorType,
};

use super::check::{Input, broadcast};
use super::parallel::for_each_piece;
use super::vectorized::{self, Vectorized};
use super::walk::Walk;
use bitquilt_simd::{AnySimd, Body, Simd};

/// Registers the ops.
pub(super) fn register(plugin: Plugin) -> Plugin {
    Arithmetic::ALL.into_iter().fold(plugin, vectorized::register)
}

/// An op of two tensors of one dtype (f32, i32 or i64) whose shapes broadcast.
///
/// Integers wrap around; their division truncates, and a division by zero is an error.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

impl Arithmetic {
    pub(super) const ALL: [Self; 4] = [Self::Add, Self::Sub, Self::Mul, Self::Div];

    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
        }
    }

    fn combine<T: Number>(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (a, b, output) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let walk = Walk::broadcast(output.shape(), [a.shape(), b.shape()]);
        let task = Task { simd, walk, a: a.values::<T>()?, b: b.values::<T>()? };
        let (executor, output) = (cx.executor(), output.into_values::<T>()?);
        match self {
            Self::Add => task.run(executor, output, T::add),
            Self::Sub => task.run(executor, output, T::sub),
            Self::Mul => task.run(executor, output, T::mul),
            Self::Div => {
                T::check_divisors(task.b)?;
                task.run(executor, output, T::div);
            }
        }
        Ok(())
    }
}

impl Op for Arithmetic {
    fn signature(&self) -> OpSignature {
        let summary = match self {
            Self::Add => "a + b, with broadcasting",
            Self::Sub => "a - b, with broadcasting",
            Self::Mul => "a * b, with broadcasting",
            Self::Div => "a / b, with broadcasting",
        };
        OpSignature::new(self.name()).dense("a").dense("b").summary(summary)
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (a, b) = (Input::of(cx, 0, "a")?, Input::of(cx, 1, "b")?);
        let dtype = a.dtype(&[DType::F32, DType::I32, DType::I64])?;
        if b.tensor.dtype() != Some(dtype) {
            return Err(b.refuse(format_args!("{dtype} values, as `a` has")));
        }
        Ok(vec![TensorType::dense(dtype, broadcast(&a, &b)?).into()])
    }
}

impl Vectorized for Arithmetic {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        match cx.input(0)?.element() {
            ElementView::Dense(DType::I32) => self.combine::<i32>(simd, cx),
            ElementView::Dense(DType::I64) => self.combine::<i64>(simd, cx),
            _ => self.combine::<f32>(simd, cx),
        }
    }
}

struct Task<'a, T> {
    simd: AnySimd,
    walk: Walk<2>,
    a: &'a [T],
    b: &'a [T],
}

impl<T: Number> Task<'_, T> {
    fn run(&self, executor: Executor<'_>, output: &mut [T], combine: impl Fn(T, T) -> T + Sync) {
        for_each_piece(executor, output, 1, 1, |first, output| {
            self.simd.run(Piece { task: self, first, output, combine: &combine });
        });
    }
}

/// Some values of the output, from the first on.
struct Piece<'a, T, C> {
    task: &'a Task<'a, T>,
    first: usize,
    output: &'a mut [T],
    combine: &'a C,
}

impl<T: Number, C: Fn(T, T) -> T> Body for Piece<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { task: Task { walk, a: lefts, b: rights, .. }, first, output: piece, combine } = self;
        walk.runs(first, piece.len(), |run, [a, b]| {
            let output = &mut piece[run];
            match walk.inner_strides() {
                [1, 1] => {
                    let (a, b) = (&lefts[a..][..output.len()], &rights[b..][..output.len()]);
                    output.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (a, b))| *o = combine(*a, *b));
                }
                [1, 0] => {
                    let (a, b) = (&lefts[a..][..output.len()], rights[b]);
                    output.iter_mut().zip(a).for_each(|(o, a)| *o = combine(*a, b));
                }
                [0, 1] => {
                    let (a, b) = (lefts[a], &rights[b..][..output.len()]);
                    output.iter_mut().zip(b).for_each(|(o, b)| *o = combine(a, *b));
                }
                // Contiguous operands leave one case: a single value.
                _ => output.fill(combine(lefts[a], rights[b])),
            }
        });
    }
}

/// A type with arithmetic.
trait Number: Scalar {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// An error if a divisor among `values` has no quotient.
    fn check_divisors(values: &[Self]) -> Result<()>;
}

impl Number for f32 {
    fn add(self, other: Self) -> Self {
        self + other
    }
    fn sub(self, other: Self) -> Self {
        self - other
    }
    fn mul(self, other: Self) -> Self {
        self * other
    }
    fn div(self, other: Self) -> Self {
        self / other
    }
    fn check_divisors(_: &[Self]) -> Result<()> {
        Ok(())
    }
}

macro_rules! wrapping_integer {
    ($type:ty) => {
        impl Number for $type {
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn div(self, other: Self) -> Self {
                self.wrapping_div(other)
            }
            fn check_divisors(values: &[Self]) -> Result<()> {
                match values.iter().position(|value| *value == 0) {
                    Some(index) => Err(Error::invalid(format_args!(
                        "value {index} of `b` is 0, and integers cannot be divided by it"
                    ))),
                    None => Ok(()),
                }
            }
        }
    };
}
wrapping_integer!(i32);
wrapping_integer!(i64);

#[cfg(test)]
mod tests {
    use crate::Tensor;
    use crate::ops::testing::{Ops, at, check_inference, indices, noise, none};

    type Formula = fn(f32, f32) -> f32;

    /// Shapes of `a` and `b`, and what they broadcast to.
    const SHAPES: [(&[usize], &[usize], &[usize]); 17] = [
        (&[], &[], &[]),
        (&[1], &[], &[1]),
        (&[5], &[5], &[5]),
        (&[5], &[], &[5]),
        (&[1], &[7], &[7]),
        (&[3, 5], &[5], &[3, 5]),
        (&[5], &[3, 5], &[3, 5]),
        (&[3, 5], &[3, 1], &[3, 5]),
        (&[3, 1], &[1, 5], &[3, 5]),
        (&[2, 3, 1, 5], &[3, 4, 1], &[2, 3, 4, 5]),
        (&[2, 1, 4, 1], &[1, 3, 1, 5], &[2, 3, 4, 5]),
        (&[0], &[1], &[0]),
        (&[2, 0, 3], &[3], &[2, 0, 3]),
        (&[1, 3], &[0, 1], &[0, 3]),
        (&[3, 7, 1031], &[7, 1031], &[3, 7, 1031]),
        (&[211, 1], &[1, 307], &[211, 307]),
        (&[2, 1, 2, 1, 2, 1, 2, 3], &[1, 2, 1, 2, 1, 2, 2, 1], &[2, 2, 2, 2, 2, 2, 2, 3]),
    ];

    #[test]
    fn every_op_is_the_naive_loop_over_every_shape() {
        let ops = Ops::standard();
        let formulas: [(&str, Formula); 4] =
            [("add", |a, b| a + b), ("sub", |a, b| a - b), ("mul", |a, b| a * b), ("div", |a, b| a / b)];
        for (op, formula) in formulas {
            for (a, b, shape) in SHAPES {
                let (a, b) = (noise(a, 1), noise(b, 2));
                let output = ops.run(op, &none(), &[a.clone(), b.clone()]).unwrap();
                let expected: Vec<f32> =
                    indices(shape).map(|index| formula(at(&a, &index), at(&b, &index))).collect();
                assert_eq!(output, Tensor::new(shape, expected).unwrap(), "{op} of {a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn integers_wrap_around_and_truncate() {
        let ops = Ops::standard();
        let a = Tensor::new([4], [i32::MAX, i32::MIN, -7, 7]).unwrap();
        let b = Tensor::new([4], [1, -1, 2, -2]).unwrap();
        for (op, expected) in [
            ("add", [i32::MIN, i32::MAX, -5, 5]),
            ("sub", [i32::MAX - 1, i32::MIN + 1, -9, 9]),
            ("mul", [i32::MAX, i32::MIN, -14, -14]),
            ("div", [i32::MAX, i32::MIN, -3, -3]),
        ] {
            let output = ops.run(op, &none(), &[a.clone(), b.clone()]).unwrap();
            assert_eq!(output.values::<i32>().unwrap(), expected, "{op}");
        }
        let (a, b) = (Tensor::new([2], [1i64 << 62, 3]).unwrap(), Tensor::scalar(2i64));
        let output = ops.run("mul", &none(), &[a.clone(), b]).unwrap();
        assert_eq!(output.values::<i64>().unwrap(), [i64::MIN, 6]);
        let error = ops.run("div", &none(), &[a, Tensor::new([2], [1i64, 0]).unwrap()]).unwrap_err();
        assert_eq!(error.message(), "value 1 of `b` is 0, and integers cannot be divided by it");
    }

    #[test]
    fn inference_broadcasts_and_refuses() {
        check_inference(
            "add",
            &[
                (none(), &["f32 [seq, 4]", "f32 [4]"], "f32 [seq, 4]"),
                (none(), &["f32 [1, 4]", "f32 [seq, 1]"], "f32 [seq, 4]"),
                (none(), &["i64 []", "i64 [past + seq]"], "i64 [past + seq]"),
                (
                    none(),
                    &["f32 [2, 3]", "f32 [4, 3]"],
                    "error: `a` is f32 [2, 3] and `b` is f32 [4, 3]; expected shapes that broadcast, got 2 against 4, which are neither equal nor 1",
                ),
                (
                    none(),
                    &["f32 [3]", "f32 [2, seq]"],
                    "error: `a` is f32 [3] and `b` is f32 [2, seq]; expected shapes that broadcast, got 3 against seq, which are neither equal nor 1",
                ),
                (none(), &["f16 [2]", "f16 [2]"], "error: `a` is f16 [2]; expected f32 or i32 or i64 values"),
                (none(), &["f32 [2]", "i32 [2]"], "error: `b` is i32 [2]; expected f32 values, as `a` has"),
                (
                    none(),
                    &["f32 [1, 1, 1, 1, 1, 1, 1, 1, 1]", "f32 []"],
                    "error: `a` is f32 [1, 1, 1, 1, 1, 1, 1, 1, 1], of rank 9; at most 8 dimensions are supported",
                ),
            ],
        );
    }
}
