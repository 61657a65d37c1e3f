//! `sum`, `mean` and `max` along an axis.

use bitquilt_plugin_api::{
    Dim, InferContext, Kernel, KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin,
    PrepareContext, Prepared, Result, RunContext, Selector, TensorType,
};

use super::check::{Input, axis, chosen_simd};
use super::parallel::for_each_piece;
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the ops.
pub(super) fn register(plugin: Plugin) -> Plugin {
    Reduce::ALL.into_iter().fold(plugin, |plugin, op| plugin.op(op).kernel(op))
}

/// An f32 tensor with one axis, `axis`, reduced to a value: gone, or 1 with `keep_axis`. The axis is the last if it is not given.
///
/// Of no values the sum is 0, the mean NaN and the greatest minus infinity. NaN is greater than any other value.
#[derive(Clone, Copy)]
pub(super) enum Reduce {
    Sum,
    Mean,
    Max,
}

impl Reduce {
    pub(super) const ALL: [Self; 3] = [Self::Sum, Self::Mean, Self::Max];

    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Sum => ("sum", "the sum along an axis"),
            Self::Mean => ("mean", "the mean along an axis"),
            Self::Max => ("max", "the greatest value along an axis"),
        }
    }
}

/// A shape without its axis `axis`, or with 1 there.
pub(super) fn reduced(shape: &[Dim], axis: usize, keep: bool) -> Vec<Dim> {
    let (before, after) = (&shape[..axis], &shape[axis + 1..]);
    let own = keep.then_some(Dim::Fixed(1));
    before.iter().cloned().chain(own).chain(after.iter().cloned()).collect()
}

impl Op for Reduce {
    fn signature(&self) -> OpSignature {
        let (name, summary) = self.describe();
        OpSignature::new(name)
            .dense("x")
            .optional("axis", -1i64)
            .optional("keep_axis", false)
            .summary(summary)
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?.f32()?;
        let shape = reduced(x.shape(), axis(cx, x.tensor)?, cx.attributes().bool("keep_axis")?);
        Ok(vec![TensorType::f32(shape).into()])
    }
}

impl KernelProvider for Reduce {
    fn key(&self) -> KernelKey {
        KernelKey::new(self.describe().0, Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let simd = chosen_simd(cx)?;
        let kernel = ReduceKernel { function: *self, axis: axis(cx, &cx.inputs()[0])?, simd };
        Ok(Prepared::new(kernel).note(simd.isa().name()))
    }
}

struct ReduceKernel {
    function: Reduce,
    axis: usize,
    simd: AnySimd,
}

impl Kernel for ReduceKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?, cx.output(0)?.into_values::<f32>()?);
        let (count, inner) = (x.shape()[self.axis], x.shape()[self.axis + 1..].iter().product());
        let (x, function) = (x.values::<f32>()?, self.function);
        for_each_piece(cx.executor(), output, 1, count, |first, output| {
            self.simd.run(Piece { function, x, count, inner, first, output });
        });
        Ok(())
    }
}

/// Some values of the output, from `first` on.
struct Piece<'a> {
    function: Reduce,
    x: &'a [f32],
    count: usize,
    inner: usize,
    first: usize,
    output: &'a mut [f32],
}

impl Body for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.function {
            Reduce::Sum => self.each::<S, Sum>(simd),
            Reduce::Max => self.each::<S, Max>(simd),
            Reduce::Mean => {
                let Self { function, x, count, inner, first, output } = self;
                Piece { function, x, count, inner, first, output: &mut *output }.each::<S, Sum>(simd);
                output.iter_mut().for_each(|sum| *sum /= count as f32);
            }
        }
    }
}

/// How two values become one.
trait Combine {
    const NOTHING: f32;
    fn two<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F;
    fn all<S: Simd>(simd: S, x: S::F) -> f32;
}

struct Sum;

impl Combine for Sum {
    const NOTHING: f32 = 0.0;
    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
        simd.add(a, b)
    }
    #[inline(always)]
    fn all<S: Simd>(simd: S, x: S::F) -> f32 {
        simd.sum(x)
    }
}

struct Max;

impl Combine for Max {
    const NOTHING: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
        // `b` where one is NaN; so what is left is an `a` that is NaN, which is neither below infinity nor above minus infinity.
        let most = simd.max(a, b);
        let infinity = simd.splat(f32::INFINITY);
        let above = simd.less(simd.splat(f32::NEG_INFINITY), a);
        simd.select(simd.less(a, infinity), most, simd.select(above, most, a))
    }
    #[inline(always)]
    fn all<S: Simd>(simd: S, x: S::F) -> f32 {
        let mut lanes = [0.0; LANES];
        simd.store(&mut lanes, x);
        lanes.into_iter().fold(Self::NOTHING, |most, x| if x > most || x.is_nan() { x } else { most })
    }
}

impl Piece<'_> {
    #[inline(always)]
    fn each<S: Simd, C: Combine>(self, simd: S) {
        let Self { x, count, inner, first, output, .. } = self;
        if inner == 1 {
            for (row, output) in (first..).zip(output) {
                let mut all = simd.splat(C::NOTHING);
                for x in x[row * count..][..count].chunks(LANES) {
                    let x = simd.select(simd.first(x.len()), simd.load_some(x), simd.splat(C::NOTHING));
                    all = C::two(simd, all, x);
                }
                *output = C::all(simd, all);
            }
            return;
        }
        let mut done = 0;
        while done < output.len() {
            let (block, column) = ((first + done) / inner, (first + done) % inner);
            let run = LANES.min(inner - column).min(output.len() - done);
            let mut all = simd.splat(C::NOTHING);
            for place in 0..count {
                let x = &x[(block * count + place) * inner + column..][..run];
                all = C::two(simd, all, simd.load_some(x));
            }
            simd.store_some(&mut output[done..][..run], all);
            done += run;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, assert_close, at, check_inference, indices, noise, none};
    use crate::{Attributes, Tensor};

    const SHAPES: [&[usize]; 10] =
        [&[1], &[0], &[33], &[3, 0], &[0, 3], &[3, 5, 7], &[2, 17, 1], &[4, 3, 35], &[67, 1021], &[1021, 67]];

    #[test]
    fn axes_are_reduced_as_the_naive_loop_does() {
        let ops = Ops::standard();
        for shape in SHAPES {
            let x = noise(shape, 61);
            for (axis, keep) in (0..shape.len()).flat_map(|axis| [(axis, false), (axis, true)]) {
                let mut kept = shape.to_vec();
                kept[axis] = 1;
                let mut expected_shape = kept.clone();
                if !keep {
                    expected_shape.remove(axis);
                }
                let attributes =
                    Attributes::new().with("axis", axis as i64 - shape.len() as i64).with("keep_axis", keep);
                for op in ["sum", "mean", "max"] {
                    let output = ops.run(op, &attributes, std::slice::from_ref(&x)).unwrap();
                    assert_eq!(output.shape(), expected_shape);
                    let expected: Vec<f64> = indices(&kept)
                        .map(|index| {
                            let along = (0..shape[axis]).map(|place| {
                                let mut index = index.clone();
                                index[axis] = place;
                                f64::from(at::<f32>(&x, &index))
                            });
                            match op {
                                "sum" => along.sum(),
                                "mean" => along.sum::<f64>() / shape[axis] as f64,
                                _ => along.fold(f64::NEG_INFINITY, f64::max),
                            }
                        })
                        .collect();
                    assert_close(&output, &expected, 2e-5, &format!("{op} of {shape:?} along {axis}"));
                }
            }
        }
    }

    #[test]
    fn nan_is_the_greatest() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (x, expected) in [
            ([1.0, nan, inf, 2.0], nan),
            ([nan, -inf, 1.0, inf], nan),
            ([inf, -inf, 1.0, 0.0], inf),
            ([-inf, -inf, -inf, -inf], -inf),
        ] {
            for shape in [[1, 4, 1], [1, 4, 3], [1, 1, 4]] {
                let inner = if shape == [1, 4, 3] { 3 } else { 1 };
                let x: Vec<f32> = x.iter().flat_map(|x| [*x].repeat(inner)).collect();
                let axis = if shape == [1, 1, 4] { 2i64 } else { 1 };
                let x = Tensor::new(shape, x).unwrap();
                let output = Ops::standard().run("max", &none().with("axis", axis), &[x]).unwrap();
                let same = |y: &f32| *y == expected || y.is_nan() && expected.is_nan();
                assert!(output.values::<f32>().unwrap().iter().all(same), "{output:?}");
            }
        }
    }

    #[test]
    fn what_has_no_such_axis_is_refused() {
        check_inference(
            "mean",
            &[
                (none(), &["f32 [batch, seq, 64]"], "f32 [batch, seq]"),
                (none().with("axis", 1i64), &["f32 [batch, seq, 64]"], "f32 [batch, 64]"),
                (
                    none().with("axis", 1i64).with("keep_axis", true),
                    &["f32 [batch, seq, 64]"],
                    "f32 [batch, 1, 64]",
                ),
                (
                    none().with("axis", -3i64),
                    &["f32 [seq, 64]"],
                    "error: `axis` is -3 and `x` is f32 [seq, 64]; expected an axis from -2 to 1",
                ),
                (none(), &["f16 [4]"], "error: `x` is f16 [4]; expected f32 values"),
            ],
        );
    }
}
