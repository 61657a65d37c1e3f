//! `slice` and `concat`: parts of tensors along an axis.

use bitquilt_plugin_api::{
    Arity, AttributeKind, Attributes, Dim, Error, Executor, InferContext, InputKind, Kernel, KernelKey,
    KernelProvider, NodeView, Op, OpSignature, OutputType, Plugin, PrepareContext, Prepared, Result,
    RunContext, Selector, TensorType,
};

use super::check::{Input, axis};
use super::parallel::for_each_piece;

/// Registers the ops.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(Concat).kernel(Concat).op(Slice).kernel(Slice)
}

/// `slice(x)`: the places `start .. end` of `x` along `axis`. Both count from the end where they are negative, and `end` is the end if
/// it is not given; so a `start` of -1 alone is the last place. Places that `x` does not have are an error.
pub(super) struct Slice;

/// A range of places, as the attributes give it.
struct Range {
    start: i64,
    /// None is the end of the axis.
    end: Option<i64>,
}

impl Range {
    fn of(node: &NodeView<'_>) -> Result<Self> {
        let attributes = node.attributes();
        Ok(Self { start: attributes.int("start")?, end: attributes.given("end", Attributes::int)? })
    }

    /// Where it begins and how long it is, in an axis of this length.
    fn resolve(&self, length: usize) -> Option<(usize, usize)> {
        let place = |place: i64| match usize::try_from(place) {
            Ok(place) => Some(place),
            Err(_) => length.checked_sub(usize::try_from(place.unsigned_abs()).ok()?),
        };
        let start = place(self.start)?;
        let end = self.end.map_or(Some(length), place)?;
        (end <= length).then(|| end.checked_sub(start)).flatten().map(|count| (start, count))
    }

    /// How long it is, in an axis of this length.
    fn length(&self, dim: &Dim) -> Result<Option<Dim>> {
        if let Some(length) = dim.fixed() {
            return Ok(self.resolve(length).map(|(_, count)| Dim::Fixed(count)));
        }
        let from_end = |place: i64| usize::try_from(place.unsigned_abs()).ok();
        // What is cut off at the end, if `end` does not count from the beginning.
        let cut_off = match self.end {
            None => Some(Some(0)),
            Some(end) => (end < 0).then(|| from_end(end)),
        };
        let fixed = match (self.start >= 0, cut_off) {
            // Both from one end: their distance is a number.
            (true, None) => usize::try_from(self.end.unwrap_or_default() - self.start).ok(),
            (false, Some(cut_off)) => from_end(self.start).zip(cut_off).and_then(|(a, b)| a.checked_sub(b)),
            // What is left of the axis.
            (true, Some(cut_off)) => {
                let cut = cut_off.zip(from_end(self.start)).and_then(|(cut, start)| cut.checked_add(start));
                return match cut {
                    Some(0) => Ok(Some(dim.clone())),
                    Some(cut) => format!("{dim} - {cut}").parse().map(Some),
                    None => Ok(None),
                };
            }
            // It depends on the length whether there is anything between.
            (false, None) => None,
        };
        Ok(fixed.map(Dim::Fixed))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            None => write!(f, "{}..", self.start),
            Some(end) => write!(f, "{}..{end}", self.start),
        }
    }
}

impl Op for Slice {
    fn signature(&self) -> OpSignature {
        OpSignature::new("slice")
            .dense("x")
            .optional("axis", 0i64)
            .optional("start", 0i64)
            .without_default("end", AttributeKind::Int)
            .summary("some places along an axis")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (x, range) = (Input::of(cx, 0, "x")?, Range::of(cx)?);
        let Some(dtype) = x.tensor.dtype() else { return Err(x.refuse("values of a dtype")) };
        let axis = axis(cx, x.tensor)?;
        let length = range.length(&x.shape()[axis])?.ok_or_else(|| {
            Error::invalid(format_args!(
                "`x` is {}; expected places within axis {axis}, which {range} are not",
                x.tensor
            ))
        })?;
        let mut shape = x.shape().to_vec();
        shape[axis] = length;
        let tensor = TensorType::dense(dtype, shape);
        Ok(vec![if tensor == *x.tensor { OutputType::alias(tensor, 0) } else { tensor.into() }])
    }
}

impl KernelProvider for Slice {
    fn key(&self) -> KernelKey {
        KernelKey::new("slice", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(SliceKernel { axis: axis(cx, &cx.inputs()[0])?, range: Range::of(cx)? }))
    }
}

struct SliceKernel {
    axis: usize,
    range: Range,
}

impl Kernel for SliceKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output, executor) = (cx.input(0)?, cx.output(0)?, cx.executor());
        let length = x.shape()[self.axis];
        let (start, count) = self.range.resolve(length).ok_or_else(|| {
            Error::invalid(format_args!(
                "axis {} of `x` is {length} long; {} is not within it",
                self.axis, self.range
            ))
        })?;
        let values: usize = x.shape().iter().product();
        let size = x.bytes().len().checked_div(values).unwrap_or_default();
        let place = x.shape()[self.axis + 1..].iter().product::<usize>() * size;
        let rows =
            Rows { bytes: x.bytes(), stride: length * place, first: start * place, len: count * place };
        rows.copy(executor, output.into_bytes());
        Ok(())
    }
}

/// Pieces of memory, `stride` bytes apart.
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    first: usize,
    len: usize,
}

impl Rows<'_> {
    /// Writes them one after the other.
    fn copy(&self, executor: Executor<'_>, output: &mut [u8]) {
        for_each_piece(executor, output, 64, 1, |first, output| {
            let mut done = 0;
            while done < output.len() {
                let (row, place) = ((first + done) / self.len, (first + done) % self.len);
                let run = (self.len - place).min(output.len() - done);
                let from = &self.bytes[row * self.stride + self.first + place..][..run];
                output[done..][..run].copy_from_slice(from);
                done += run;
            }
        });
    }
}

/// `concat(xs..)`: tensors of one dtype, one after the other along `axis`; all other axes are the same.
pub(super) struct Concat;

impl Op for Concat {
    fn signature(&self) -> OpSignature {
        OpSignature::new("concat")
            .input("xs", InputKind::Dense, Arity::Many)
            .optional("axis", 0i64)
            .summary("tensors one after the other along an axis")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let first = Input::of(cx, 0, "xs")?;
        let Some(dtype) = first.tensor.dtype() else { return Err(first.refuse("values of a dtype")) };
        let axis = axis(cx, first.tensor)?;
        let mut shape = first.shape().to_vec();
        for index in 1..cx.inputs().len() {
            let other = Input::of(cx, index, "xs")?;
            let fits = other.tensor.dtype() == Some(dtype)
                && other.tensor.rank() == shape.len()
                && other.shape().iter().zip(&shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
            if !fits {
                return Err(Error::invalid(format_args!(
                    "input {index} is {}; expected {}, but for the length of axis {axis}",
                    other.tensor, first.tensor
                )));
            }
            shape[axis] = shape[axis].add(&other.shape()[axis])?;
        }
        Ok(vec![TensorType::dense(dtype, shape).into()])
    }
}

impl KernelProvider for Concat {
    fn key(&self) -> KernelKey {
        KernelKey::new("concat", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(ConcatKernel { axis: axis(cx, &cx.inputs()[0])? }))
    }
}

struct ConcatKernel {
    axis: usize,
}

impl Kernel for ConcatKernel {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let output = cx.output(0)?;
        let outer: usize = output.shape()[..self.axis].iter().product();
        let output = output.into_bytes();
        if output.is_empty() {
            return Ok(());
        }
        let stride = output.len() / outer;
        let mut first = 0;
        for index in 0..cx.input_count() {
            let bytes = cx.input(index)?.bytes();
            let len = bytes.len() / outer;
            if outer == 1 {
                let rows = Rows { bytes, stride: len, first: 0, len };
                rows.copy(cx.executor(), &mut output[first..][..len]);
            } else {
                for (row, output) in output.chunks_exact_mut(stride).enumerate() {
                    output[first..][..len].copy_from_slice(&bytes[row * len..][..len]);
                }
            }
            first += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, at, check_inference, indices, noise, none};
    use crate::{Attributes, DType, Tensor};

    fn range(axis: i64, start: i64, end: Option<i64>) -> Attributes {
        let attributes = none().with("axis", axis).with("start", start);
        end.map_or(attributes.clone(), |end| attributes.with("end", end))
    }

    #[test]
    fn places_are_taken() {
        let ops = Ops::standard();
        // Shape, attributes, and which places these are: the first, and how many.
        type Case<'a> = (&'a [usize], i64, i64, Option<i64>, usize, usize);
        let cases: [Case<'_>; 10] = [
            (&[5], 0, 1, Some(3), 1, 2),
            (&[5], 0, -1, None, 4, 1),
            (&[3, 5, 7], 1, 2, Some(-1), 2, 2),
            (&[3, 5, 7], -1, -6, Some(-2), 1, 4),
            (&[3, 5, 7], 0, 1, None, 1, 2),
            (&[3, 5, 7], 0, 0, None, 0, 3),
            (&[3, 5, 7], 2, 7, Some(7), 7, 0),
            (&[3, 0, 7], 2, 1, Some(4), 1, 3),
            (&[2, 300, 257], 1, 17, Some(290), 17, 273),
            (&[700, 91], 1, 90, None, 90, 1),
        ];
        for (shape, axis, start, end, from, count) in cases {
            let x = noise(shape, 81);
            let output = ops.run("slice", &range(axis, start, end), std::slice::from_ref(&x)).unwrap();
            let axis = axis.rem_euclid(shape.len() as i64) as usize;
            let mut expected = shape.to_vec();
            expected[axis] = count;
            assert_eq!(output.shape(), expected);
            for index in indices(&expected) {
                let mut source = index.clone();
                source[axis] += from;
                assert_eq!(at::<f32>(&output, &index), at::<f32>(&x, &source), "{shape:?} {start}..{end:?}");
            }
        }
        let flags = Tensor::from_bytes(DType::BOOL, [2, 2], &[1, 0, 0, 1]).unwrap();
        let output = ops.run("slice", &range(1, -1, None), &[flags]).unwrap();
        assert_eq!((output.dtype(), output.bytes()), (Some(DType::BOOL), &[0, 1][..]));
    }

    #[test]
    fn a_slice_of_an_axis_with_a_symbol_is_inferred() {
        let refusal = |range: &str| {
            format!("error: `x` is f32 [seq, 4]; expected places within axis 0, which {range} are not")
        };
        check_inference(
            "slice",
            &[
                (range(0, -1, None), &["f32 [seq, 4]"], "f32 [1, 4]"),
                (range(0, -3, Some(-1)), &["f32 [seq, 4]"], "f32 [2, 4]"),
                (range(0, 2, Some(5)), &["f32 [seq, 4]"], "f32 [3, 4]"),
                (range(0, 2, None), &["f32 [seq, 4]"], "f32 [seq - 2, 4]"),
                (range(0, 2, Some(-1)), &["f32 [seq, 4]"], "f32 [seq - 3, 4]"),
                (range(0, 0, None), &["f32 [seq, 4]"], "f32 [seq, 4] = input 0"),
                (range(1, 1, Some(3)), &["f16 [seq, 4]"], "f16 [seq, 2]"),
                (range(0, -1, Some(3)), &["f32 [seq, 4]"], &refusal("-1..3")),
                (range(0, 3, Some(2)), &["f32 [seq, 4]"], &refusal("3..2")),
                (
                    range(1, 3, Some(5)),
                    &["f32 [seq, 4]"],
                    "error: `x` is f32 [seq, 4]; expected places within axis 1, which 3..5 are not",
                ),
                (
                    range(1, i64::MIN, Some(i64::MIN)),
                    &["f32 [seq, 4]"],
                    "error: `x` is f32 [seq, 4]; expected places within axis 1, which -9223372036854775808..-9223372036854775808 are not",
                ),
            ],
        );
    }

    #[test]
    fn tensors_stand_one_after_the_other() {
        let ops = Ops::standard();
        let cases: [(&[usize], usize, &[usize]); 7] = [
            (&[1], 0, &[3]),
            (&[2], 0, &[3, 0, 4]),
            (&[2, 3, 4], 0, &[1, 5]),
            (&[2, 3, 4], 1, &[3, 2, 1]),
            (&[2, 3, 4], 2, &[4, 1]),
            (&[2, 0, 4], 0, &[2, 2]),
            (&[300, 70], 0, &[300, 511]),
        ];
        for (shape, axis, lengths) in cases {
            let parts: Vec<Tensor> = lengths
                .iter()
                .enumerate()
                .map(|(seed, length)| {
                    let mut shape = shape.to_vec();
                    shape[axis] = *length;
                    noise(&shape, 91 + seed as u64)
                })
                .collect();
            let output = ops.run("concat", &none().with("axis", axis as i64), &parts).unwrap();
            let mut expected = shape.to_vec();
            expected[axis] = lengths.iter().sum();
            assert_eq!(output.shape(), expected);
            for index in indices(&expected) {
                let (mut part, mut place) = (0, index[axis]);
                while place >= lengths[part] {
                    place -= lengths[part];
                    part += 1;
                }
                let mut source = index.clone();
                source[axis] = place;
                assert_eq!(at::<f32>(&output, &index), at::<f32>(&parts[part], &source));
            }
        }
        check_inference(
            "concat",
            &[
                (none(), &["f32 [past, 4]", "f32 [seq, 4]"], "f32 [past + seq, 4]"),
                (
                    none().with("axis", 1i64),
                    &["f32 [past, 4]", "f32 [seq, 4]"],
                    "error: input 1 is f32 [seq, 4]; expected f32 [past, 4], but for the length of axis 1",
                ),
                (
                    none(),
                    &["f32 [2, 4]", "f16 [2, 4]"],
                    "error: input 1 is f16 [2, 4]; expected f32 [2, 4], but for the length of axis 0",
                ),
            ],
        );
    }
}
