//! `argmax` and `top_k`: where the greatest values are.

use std::cmp::Ordering;

use bitquilt_plugin_api::{
    AttributeKind, DType, Dim, Error, InferContext, Kernel, KernelKey, KernelProvider, NodeView, Op,
    OpSignature, OutputType, Plugin, PrepareContext, Prepared, Result, RunContext, Selector, TensorType,
};

use super::check::Input;
use super::parallel::for_each_piece;
use super::vectorized::{self, Vectorized};
use bitquilt_simd::{AnySimd, Body, Simd};

/// Registers the ops.
pub(super) fn register(plugin: Plugin) -> Plugin {
    vectorized::register(plugin.op(TopK).kernel(TopK), Argmax)
}

/// `argmax(x)`: for each row of `x`, f32 `[.., n]`, the index of its greatest value as i64 `[..]`; the first one of equals. NaN is
/// greater than any other value. A row of no values is an error.
#[derive(Clone, Copy)]
pub(super) struct Argmax;

impl Op for Argmax {
    fn signature(&self) -> OpSignature {
        OpSignature::new("argmax").dense("x").summary("the index of the greatest value of each row")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?.f32()?;
        match x.shape() {
            [] | [.., Dim::Fixed(0)] => Err(x.refuse("a tensor with rows of at least one value")),
            [rows @ .., _] => Ok(vec![TensorType::dense(DType::I64, rows).into()]),
        }
    }
}

impl Vectorized for Argmax {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?, cx.output(0)?.into_values::<i64>()?);
        let n = x.shape().last().copied().unwrap_or_default();
        if n == 0 && !output.is_empty() {
            return Err(Error::invalid("the rows of `x` have no values, of which none is the greatest"));
        }
        let x = x.values::<f32>()?;
        for_each_piece(cx.executor(), output, 1, n, |first, output| {
            for (row, output) in (first..).zip(output) {
                // A row has less than 2^63 values.
                *output = simd.run(Greatest(&x[row * n..][..n])) as i64;
            }
        });
        Ok(())
    }
}

/// Finds the index of the greatest value.
struct Greatest<'a>(&'a [f32]);

impl Body for Greatest<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        argmax(self.0)
    }
}

/// The index of the greatest value; 0 if there is none.
#[inline(always)]
fn argmax(x: &[f32]) -> usize {
    const BLOCK: usize = 64;
    let (mut index, mut most) = (0, f32::NEG_INFINITY);
    for (block, values) in x.chunks(BLOCK).enumerate() {
        // Most blocks have nothing greater, which is found out without a branch a value.
        let any = values.iter().fold(false, |any, x| any | (*x > most) | x.is_nan());
        if !any {
            continue;
        }
        for (place, x) in values.iter().enumerate() {
            if x.is_nan() {
                return block * BLOCK + place;
            }
            if *x > most {
                (index, most) = (block * BLOCK + place, *x);
            }
        }
    }
    index
}

/// `top_k(x)`: for each row of `x`, f32 `[.., n]`, its `k` greatest values, f32 `[.., k]`, from the greatest on, and their indices,
/// i64 `[.., k]`; of equals the first come first. NaN is greater than any other value.
pub(super) struct TopK;

fn k(node: &NodeView<'_>) -> Result<usize> {
    let k = node.attributes().int("k")?;
    usize::try_from(k).map_err(|_| Error::invalid(format_args!("`k` is {k}; expected a number of values")))
}

impl Op for TopK {
    fn signature(&self) -> OpSignature {
        OpSignature::new("top_k")
            .dense("x")
            .required("k", AttributeKind::Int)
            .summary("the k greatest values of each row, and their indices")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (x, k) = (Input::of(cx, 0, "x")?.f32()?, k(cx)?);
        let Some((n, rows)) = x.shape().split_last() else { return Err(x.refuse("a tensor with rows")) };
        if n.fixed().is_some_and(|n| k > n) {
            return Err(x.refuse(format_args!("rows of at least {k} values, which `k` asks for")));
        }
        let shape: Vec<Dim> = rows.iter().cloned().chain([Dim::Fixed(k)]).collect();
        Ok(vec![TensorType::f32(&shape).into(), TensorType::dense(DType::I64, &shape).into()])
    }
}

impl KernelProvider for TopK {
    fn key(&self) -> KernelKey {
        KernelKey::new("top_k", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(TopKKernel { k: k(cx)? }))
    }
}

struct TopKKernel {
    k: usize,
}

impl Kernel for TopKKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, values, indices) = (cx.input(0)?, cx.output(0)?, cx.output(1)?);
        let (n, k) = (x.shape().last().copied().unwrap_or_default(), self.k);
        let x = x.values::<f32>()?;
        let (values, indices) = (values.into_values::<f32>()?, indices.into_values::<i64>()?);
        if values.is_empty() {
            return Ok(());
        }
        if k > n {
            return Err(Error::invalid(format_args!("the rows of `x` have {n} values, `k` asks for {k}")));
        }
        for (row, (values, indices)) in
            x.chunks_exact(n).zip(values.chunks_exact_mut(k).zip(indices.chunks_exact_mut(k)))
        {
            Heap { values, indices }.take(row);
        }
        Ok(())
    }
}

/// The greatest values so far, the least of them at the root.
struct Heap<'a> {
    values: &'a mut [f32],
    indices: &'a mut [i64],
}

/// How `a` stands to `b` where both are a value and its index: the greater one comes first, of equals that of the lower index.
fn order(a: (f32, i64), b: (f32, i64)) -> Ordering {
    let by_value = match (a.0.is_nan(), b.0.is_nan()) {
        (false, false) => a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    };
    by_value.then(b.1.cmp(&a.1))
}

impl Heap<'_> {
    /// Puts the greatest values of a row in, from the greatest on.
    fn take(&mut self, row: &[f32]) {
        let k = self.values.len();
        for index in 0..k {
            // A row has less than 2^63 values.
            (self.values[index], self.indices[index]) = (row[index], index as i64);
        }
        for root in (0..k / 2).rev() {
            self.sift(root, k);
        }
        for (index, value) in row.iter().enumerate().skip(k) {
            if (*value > self.values[0] || value.is_nan())
                && order((*value, index as i64), self.at(0)).is_gt()
            {
                (self.values[0], self.indices[0]) = (*value, index as i64);
                self.sift(0, k);
            }
        }
        for end in (1..k).rev() {
            self.values.swap(0, end);
            self.indices.swap(0, end);
            self.sift(0, end);
        }
    }

    fn at(&self, index: usize) -> (f32, i64) {
        (self.values[index], self.indices[index])
    }

    /// Moves the value at `root` down among the first `end`, until none below it is less.
    fn sift(&mut self, mut root: usize, end: usize) {
        loop {
            let mut least = root;
            for child in [2 * root + 1, 2 * root + 2] {
                if child < end && order(self.at(child), self.at(least)).is_lt() {
                    least = child;
                }
            }
            if least == root {
                return;
            }
            self.values.swap(root, least);
            self.indices.swap(root, least);
            root = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::testing::{Ops, check_inference, noise, none};

    /// The indices of a row from its greatest value on.
    fn sorted(row: &[f32]) -> Vec<i64> {
        let mut indices: Vec<i64> = (0..row.len() as i64).collect();
        indices.sort_by(|a, b| order((row[*b as usize], *b), (row[*a as usize], *a)));
        indices
    }

    /// Numbers of few values, so that many are equal.
    fn steps(shape: &[usize]) -> Tensor {
        let values: Vec<f32> =
            noise(shape, 71).values::<f32>().unwrap().iter().map(|x| (x * 20.0).round()).collect();
        Tensor::new(shape, values).unwrap()
    }

    #[test]
    fn the_greatest_values_are_found() {
        let host = Ops::standard();
        for (shape, ks) in [
            (&[7][..], &[0usize, 1, 3, 7][..]),
            (&[1], &[1]),
            (&[3, 100], &[1, 5, 64, 100]),
            (&[2, 0, 5], &[2]),
            (&[0, 3], &[1]),
            (&[2, 3, 1029], &[40]),
            (&[600, 65], &[2]),
        ] {
            let (x, n) = (steps(shape), shape[shape.len() - 1]);
            let order: Vec<Vec<i64>> = x.values::<f32>().unwrap().chunks(n).map(sorted).collect();
            let output = host.run("argmax", &none(), std::slice::from_ref(&x)).unwrap();
            let expected: Vec<i64> = order.iter().map(|row| row[0]).collect();
            assert_eq!(output, Tensor::new(&shape[..shape.len() - 1], expected).unwrap(), "{shape:?}");
            for k in ks {
                let attributes = none().with("k", *k as i64);
                let [values, indices] = host
                    .run_all("top_k", &attributes, std::slice::from_ref(&x), &[])
                    .unwrap()
                    .try_into()
                    .unwrap();
                let expected: Vec<i64> = order.iter().flat_map(|row| &row[..*k]).copied().collect();
                assert_eq!(indices.values::<i64>().unwrap(), expected, "{k} of {shape:?}");
                let rows = x.values::<f32>().unwrap().chunks(n).zip(&order);
                let expected: Vec<f32> = rows
                    .flat_map(|(row, order)| order[..*k].iter().map(|index| row[*index as usize]))
                    .collect();
                assert_eq!(values.values::<f32>().unwrap(), expected);
            }
        }
    }

    #[test]
    fn nan_is_the_greatest() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let x =
            Tensor::new([3, 4], [1.0, inf, nan, nan, -inf, -inf, -inf, -inf, -inf, 0.0, -0.0, -1.0]).unwrap();
        let output = Ops::standard().run("argmax", &none(), std::slice::from_ref(&x)).unwrap();
        assert_eq!(output.values::<i64>().unwrap(), [2, 0, 1]);
        let outputs = Ops::standard().run_all("top_k", &none().with("k", 3i64), &[x], &[]).unwrap();
        assert_eq!(outputs[1].values::<i64>().unwrap(), [2, 3, 1, 0, 1, 2, 1, 2, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_inference(
            "argmax",
            &[
                (none(), &["f32 [seq, 64]"], "i64 [seq]"),
                (none(), &["f32 [seq, n]"], "i64 [seq]"),
                (
                    none(),
                    &["f32 []"],
                    "error: `x` is f32 []; expected a tensor with rows of at least one value",
                ),
                (
                    none(),
                    &["f32 [2, 0]"],
                    "error: `x` is f32 [2, 0]; expected a tensor with rows of at least one value",
                ),
                (none(), &["i64 [4]"], "error: `x` is i64 [4]; expected f32 values"),
            ],
        );
        check_inference(
            "top_k",
            &[
                (
                    none().with("k", 5i64),
                    &["f32 [2, 4]"],
                    "error: `x` is f32 [2, 4]; expected rows of at least 5 values, which `k` asks for",
                ),
                (none().with("k", -1i64), &["f32 [2, 4]"], "error: `k` is -1; expected a number of values"),
                (none().with("k", 1i64), &["f32 []"], "error: `x` is f32 []; expected a tensor with rows"),
            ],
        );
    }
}
