//! `cast`: values of another dtype.

use bitquilt_plugin_api::half::{bf16, f16};
use bitquilt_plugin_api::{
    AttributeKind, DType, ElementView, Error, Executor, F8E4M3, F8E5M2, InferContext, Op, OpSignature,
    OutputType, Plugin, Result, RunContext, Scalar, TensorType, TensorView, TensorViewMut, bytemuck,
};
use num_traits::AsPrimitive;

use super::check::Input;
use super::parallel::for_each_piece;
use super::vectorized::{self, Vectorized};
use crate::tensor::Tensor;
use crate::text::Brief;
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    vectorized::register(plugin, Cast)
}

/// `cast(x)` to the attribute `dtype`, by the rules of Rust's `as`: floats round to the nearest, ties to even; a float that
/// becomes an integer is cut off towards zero, clamped to the integer's range, and 0 if it is NaN; integers that are too wide
/// lose their upper bits. To `bool`, 0 is false and all else true. Integers reach f16 and bf16 by way of f32. What is too large for a float
/// becomes infinite, and NaN in f8_e4m3, which has no infinities, in a run; where it is a constant's, loading the graph is refused:
/// see [`first_overflow`].
///
/// A cast to the dtype that `x` has is `x`'s memory.
#[derive(Clone, Copy)]
pub(super) struct Cast;

impl Op for Cast {
    fn signature(&self) -> OpSignature {
        OpSignature::new("cast")
            .dense("x")
            .required("dtype", AttributeKind::Text)
            .summary("the values as another dtype")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?;
        let name = cx.attributes().text("dtype")?;
        let dtype = DType::from_name(name).ok_or_else(|| {
            let known: Vec<String> = DType::all().map(|dtype| dtype.to_string()).collect();
            Error::invalid(format_args!(
                "`dtype` is \"{}\"; expected one of {}",
                Brief(name),
                known.join(", ")
            ))
        })?;
        let tensor = TensorType::dense(dtype, x.shape());
        Ok(vec![if tensor == *x.tensor { OutputType::alias(tensor, 0) } else { tensor.into() }])
    }
}

impl Vectorized for Cast {
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, output) = (cx.input(0)?, cx.output(0)?);
        let threads = Threads { executor: cx.executor(), simd };
        match x.element() {
            ElementView::Dense(DType::F32) => cast_f32(threads, x, output),
            ElementView::Dense(DType::F64) => cast_from(threads, x, output, |x: f64| x),
            ElementView::Dense(DType::F16) => cast_f16(threads, x, output),
            ElementView::Dense(DType::BF16) => cast_from(threads, x, output, |x: bf16| x),
            ElementView::Dense(DType::I8) => cast_from(threads, x, output, |x: i8| x),
            ElementView::Dense(DType::I16) => cast_from(threads, x, output, |x: i16| x),
            ElementView::Dense(DType::I32) => cast_from(threads, x, output, |x: i32| x),
            ElementView::Dense(DType::I64) => cast_from(threads, x, output, |x: i64| x),
            ElementView::Dense(DType::U8 | DType::BOOL) => cast_from(threads, x, output, |x: u8| x),
            ElementView::Dense(DType::U16) => cast_from(threads, x, output, |x: u16| x),
            ElementView::Dense(DType::U32) => cast_from(threads, x, output, |x: u32| x),
            ElementView::Dense(DType::U64) => cast_from(threads, x, output, |x: u64| x),
            ElementView::Dense(DType::F8_E4M3) => cast_from(threads, x, output, F8E4M3::to_f32),
            ElementView::Dense(DType::F8_E5M2) => cast_from(threads, x, output, F8E5M2::to_f32),
            other => Err(unknown(other)),
        }
    }
}

/// The host's threads, and what they compute with.
#[derive(Clone, Copy)]
struct Threads<'a> {
    executor: Executor<'a>,
    simd: AnySimd,
}

/// From f32; to f16 by the instruction set's own conversion, where it has one.
fn cast_f32(threads: Threads<'_>, x: TensorView<'_>, output: TensorViewMut<'_>) -> Result<()> {
    if output.element() != ElementView::Dense(DType::F16) {
        return cast_from(threads, x, output, |x: f32| x);
    }
    let x = x.values::<f32>()?;
    for_each_piece(threads.executor, output.into_values::<f16>()?, LANES, 2, |first, piece| {
        narrow(threads.simd, &x[first..][..piece.len()], piece);
    });
    Ok(())
}

/// From f16; to f32 by the instruction set's own conversion, where it has one.
fn cast_f16(threads: Threads<'_>, x: TensorView<'_>, output: TensorViewMut<'_>) -> Result<()> {
    if output.element() != ElementView::Dense(DType::F32) {
        return cast_from(threads, x, output, |x: f16| x);
    }
    let x = x.values::<f16>()?;
    for_each_piece(threads.executor, output.into_values::<f32>()?, LANES, 2, |first, piece| {
        threads.simd.run(Widen { from: &x[first..][..piece.len()], to: piece });
    });
    Ok(())
}

/// Rounds f32 to f16. `to` is as long as `from`.
pub(super) fn narrow(simd: AnySimd, from: &[f32], to: &mut [f16]) {
    simd.run(Narrow { from, to });
}

struct Narrow<'a> {
    from: &'a [f32],
    to: &'a mut [f16],
}

impl Body for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (from, rest) = self.from.as_chunks();
        let (to, rest_to) = self.to.as_chunks_mut();
        from.iter().zip(to).for_each(|(from, to)| simd.store_f16(to, simd.load(from)));
        let mut lanes = [f16::ZERO; LANES];
        simd.store_f16(&mut lanes, simd.load_some(rest));
        rest_to.copy_from_slice(&lanes[..rest_to.len()]);
    }
}

/// f16 as f32. `to` is as long as `from`.
struct Widen<'a> {
    from: &'a [f16],
    to: &'a mut [f32],
}

impl Body for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (from, rest) = self.from.as_chunks();
        let (to, rest_to) = self.to.as_chunks_mut();
        from.iter().zip(to).for_each(|(from, to)| simd.store(to, simd.load_f16(from)));
        let mut lanes = [f16::ZERO; LANES];
        lanes[..rest.len()].copy_from_slice(rest);
        simd.store_some(rest_to, simd.load_f16(&lanes));
    }
}

/// A type that can be cast to each dtype.
trait Source:
    Scalar
    + PartialEq
    + AsPrimitive<f32>
    + AsPrimitive<f64>
    + AsPrimitive<f16>
    + AsPrimitive<bf16>
    + AsPrimitive<i8>
    + AsPrimitive<i16>
    + AsPrimitive<i32>
    + AsPrimitive<i64>
    + AsPrimitive<u8>
    + AsPrimitive<u16>
    + AsPrimitive<u32>
    + AsPrimitive<u64>
{
}

impl<T> Source for T where
    T: Scalar
        + PartialEq
        + AsPrimitive<f32>
        + AsPrimitive<f64>
        + AsPrimitive<f16>
        + AsPrimitive<bf16>
        + AsPrimitive<i8>
        + AsPrimitive<i16>
        + AsPrimitive<i32>
        + AsPrimitive<i64>
        + AsPrimitive<u8>
        + AsPrimitive<u16>
        + AsPrimitive<u32>
        + AsPrimitive<u64>
{
}

/// The first finite number of a tensor that is too large for a float of another dtype, and its index.
pub(crate) fn first_overflow(x: &Tensor, to: DType) -> Option<(usize, f64)> {
    let least = least_overflow(to)?;
    match x.dtype()? {
        DType::F64 => first_beyond(x, least, |x: f64| x),
        DType::F32 => first_beyond(x, least, |x: f32| x.into()),
        DType::F16 => first_beyond(x, least, |x: f16| x.into()),
        DType::BF16 => first_beyond(x, least, |x: bf16| x.into()),
        DType::I16 => first_beyond(x, least, |x: i16| x.into()),
        DType::I32 => first_beyond(x, least, |x: i32| x.into()),
        DType::I64 => first_beyond(x, least, |x: i64| x as f64),
        DType::U16 => first_beyond(x, least, |x: u16| x.into()),
        DType::U32 => first_beyond(x, least, |x: u32| x.into()),
        DType::U64 => first_beyond(x, least, |x: u64| x as f64),
        _ => None,
    }
}

/// The least number that does not round to a finite one of a float dtype.
fn least_overflow(dtype: DType) -> Option<f64> {
    let half_a_step_above = |digits: i32| (2.0 - 2f64.powi(-digits)) * 2f64.powi(127);
    match dtype {
        DType::F32 => Some(half_a_step_above(24)),
        DType::BF16 => Some(half_a_step_above(8)),
        DType::F16 => Some(65_520.0),
        DType::F8_E5M2 => Some(61_440.0),
        // 464 is a tie, and goes to 448, which is even.
        DType::F8_E4M3 => Some(464f64.next_up()),
        _ => None,
    }
}

fn first_beyond<S: Scalar>(x: &Tensor, least: f64, number: impl Fn(S) -> f64) -> Option<(usize, f64)> {
    let numbers = x.values::<S>().ok()?.iter().map(|value| number(*value));
    numbers.enumerate().find(|(_, number)| number.is_finite() && number.abs() >= least)
}

/// Each value by way of `widen`, which has all values of an `S` and can be cast to each dtype.
fn cast_from<S: Scalar, W: Source>(
    threads: Threads<'_>,
    x: TensorView<'_>,
    output: TensorViewMut<'_>,
    widen: impl Fn(S) -> W + Copy + Sync,
) -> Result<()> {
    // The bytes of a bool are those of a u8.
    let x: &[S] = bytemuck::cast_slice(x.bytes());
    let cast = Values { threads, x, widen };
    match output.element() {
        ElementView::Dense(DType::F32) => cast.to::<f32>(output),
        ElementView::Dense(DType::F64) => cast.to::<f64>(output),
        ElementView::Dense(DType::F16) => cast.to::<f16>(output),
        ElementView::Dense(DType::BF16) => cast.to::<bf16>(output),
        ElementView::Dense(DType::I8) => cast.to::<i8>(output),
        ElementView::Dense(DType::I16) => cast.to::<i16>(output),
        ElementView::Dense(DType::I32) => cast.to::<i32>(output),
        ElementView::Dense(DType::I64) => cast.to::<i64>(output),
        ElementView::Dense(DType::U8) => cast.to::<u8>(output),
        ElementView::Dense(DType::U16) => cast.to::<u16>(output),
        ElementView::Dense(DType::U32) => cast.to::<u32>(output),
        ElementView::Dense(DType::U64) => cast.to::<u64>(output),
        // f64 has all values of the other dtypes that do not overflow, so that each is rounded once.
        ElementView::Dense(DType::F8_E4M3) => cast.round_to(output, F8E4M3::from_f64),
        ElementView::Dense(DType::F8_E5M2) => cast.round_to(output, F8E5M2::from_f64),
        ElementView::Dense(DType::BOOL) => {
            map(threads, x, output.into_bytes(), |value| u8::from(widen(*value) != W::zeroed()));
            Ok(())
        }
        other => Err(unknown(other)),
    }
}

/// Values that are cast.
struct Values<'a, S, F> {
    threads: Threads<'a>,
    x: &'a [S],
    widen: F,
}

impl<S: Scalar, W: Copy + 'static, F: Fn(S) -> W + Sync> Values<'_, S, F> {
    fn to<D: Scalar>(self, output: TensorViewMut<'_>) -> Result<()>
    where
        W: AsPrimitive<D>,
    {
        map(self.threads, self.x, output.into_values::<D>()?, |value| (self.widen)(*value).as_());
        Ok(())
    }

    /// By way of f64.
    fn round_to<D: Scalar>(self, output: TensorViewMut<'_>, narrow: impl Fn(f64) -> D + Sync) -> Result<()>
    where
        W: AsPrimitive<f64>,
    {
        map(self.threads, self.x, output.into_values::<D>()?, |value| narrow((self.widen)(*value).as_()));
        Ok(())
    }
}

fn map<S: Sync, D: Send>(threads: Threads<'_>, x: &[S], output: &mut [D], convert: impl Fn(&S) -> D + Sync) {
    for_each_piece(threads.executor, output, 1, 2, |first, output| {
        threads.simd.run(Each { x: &x[first..], output, convert: &convert });
    });
}

/// Converts value by value.
struct Each<'a, S, D, C> {
    x: &'a [S],
    output: &'a mut [D],
    convert: &'a C,
}

impl<S, D, C: Fn(&S) -> D> Body for Each<'_, S, D, C> {
    type Output = ();

    #[inline(always)]
    fn run<T: Simd>(self, _: T) {
        for (output, x) in self.output.iter_mut().zip(self.x) {
            *output = (self.convert)(x);
        }
    }
}

fn unknown(element: ElementView<'_>) -> Error {
    Error::unsupported(format_args!("{element:?} cannot be cast"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Ops, check_inference, noise, none};
    use crate::{Attributes, Graph, InferenceSession};

    fn to(dtype: DType) -> Attributes {
        Attributes::new().with("dtype", dtype.to_string())
    }

    /// Asserts that `values` become `expected`, alone and among enough values for several tasks.
    #[track_caller]
    fn check<S: Scalar, D: Scalar>(values: &[S], expected: &[D]) {
        for times in [1, 1 + 50_000 / values.len()] {
            let (values, expected) = (values.repeat(times), expected.repeat(times));
            let x = Tensor::new([values.len()], values).unwrap();
            let output = Ops::standard().run("cast", &to(D::DTYPE), &[x]).unwrap();
            let expected = Tensor::new([expected.len()], expected).unwrap();
            // Compared by bytes, so that NaN equals itself.
            assert!(output == expected, "{} to {}", S::DTYPE, D::DTYPE);
        }
    }

    #[test]
    fn floats_become_integers_clamped_and_cut_off() {
        let x = [-1e30f32, -129.5, -1.9, -0.5, 0.5, 1.9, 127.5, 300.0, 1e30, f32::INFINITY, f32::NAN];
        check(&x, &x.map(|x| x as i8));
        check(&x, &x.map(|x| x as u8));
        check(&x, &x.map(|x| x as i64));
        check(&x, &[i8::MIN, -128, -1, 0, 0, 1, 127, 127, 127, 127, 0]);
        check(&x.map(f64::from), &x.map(|x| x as u64));
        check(&x.map(f16::from_f32), &[i32::MIN, -129, -1, 0, 0, 1, 127, 300, i32::MAX, i32::MAX, 0]);
    }

    #[test]
    fn integers_lose_their_upper_bits() {
        let x = [i64::MIN, -1, 0, 255, 256, 65_537, i64::MAX];
        check(&x, &x.map(|x| x as i8));
        check(&x, &x.map(|x| x as u8));
        check(&x, &x.map(|x| x as i16));
        check(&x, &x.map(|x| x as u16));
        check(&x, &x.map(|x| x as i32));
        check(&x, &x.map(|x| x as u32));
        check(&x, &x.map(|x| x as u64));
        check(&x, &x.map(|x| x as f32));
        check(&x, &x.map(|x| x as f64));
        check(&[1u64 << 63, 3], &[9.223_372e18f32, 3.0]);
        check(&[0u8, 200], &[0i8, -56]);
        check(&[-5i16, 5], &[f16::from_f32(-5.0), f16::from_f32(5.0)]);
        check(&[70_000u32], &[f16::INFINITY]);
    }

    #[test]
    fn floats_round_to_the_nearest() {
        let x: Vec<f32> = noise(&[8191], 13).values::<f32>().unwrap().iter().map(|x| x * 1e5).collect();
        check(&x, &x.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>());
        check(&x, &x.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>());
        check(&x, &x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| !half.is_nan()).collect();
        check(&halves, &halves.iter().map(|half| half.to_f32()).collect::<Vec<_>>());
        check(&[2049.0f32, 2051.0, 1e-8], &[2048.0, 2052.0, 0.0].map(f16::from_f32));
        check(&[1.0f64 + 1e-12], &[1.0f32]);
    }

    #[test]
    fn floats_of_8_bits_are_rounded_once() {
        // Just above the middle of 1 and 1.125, or of 1 and 1.25: by way of f32 these would be ties.
        let (low, high) = (1.0625 + 1e-12, 1.125 + 1e-12);
        check(&[low, high, -500.0, 449.0], &[0x39, 0x39, 0xff, 0x7e].map(F8E4M3::from_bits));
        check(&[low, high, -70_000.0], &[0x3c, 0x3d, 0xfc].map(F8E5M2::from_bits));
        check(&[u64::MAX, 448, 17], &[0x7f, 0x7e, 0x58].map(F8E4M3::from_bits));
        let codes: Vec<u8> = (0..=u8::MAX).filter(|bits| bits & 0x7f <= 0x7b).collect();
        let values: Vec<F8E5M2> = codes.iter().map(|bits| F8E5M2::from_bits(*bits)).collect();
        check(&values, &values.iter().map(|value| value.to_f32()).collect::<Vec<_>>());
        check(&values, &values.iter().map(|value| value.to_f32() as i16).collect::<Vec<_>>());
        check(&values, &values.iter().map(|value| F8E4M3::from_f32(value.to_f32())).collect::<Vec<_>>());
    }

    /// What loading a graph says that casts a constant, as it is and as the result of another op.
    #[test]
    fn a_constant_that_would_become_infinite_is_refused() {
        let session = InferenceSession::builder().build().unwrap();
        let load = |x: Tensor, dtype: DType, doubled: bool| {
            let mut graph = Graph::new(session.registry(), []).unwrap();
            let mut value = graph.constant(&x).unwrap();
            if doubled {
                value = graph.add(value, value).unwrap();
            }
            let cast = graph.cast(value, dtype).unwrap();
            graph.output(cast).unwrap();
            session.load(&graph).map(drop).map_err(|error| error.to_string())
        };
        let tail = "cast it to a wider dtype, scale the constant, or write an infinity where one is meant";
        let x = |values: [f32; 3]| Tensor::new([3], values).unwrap();
        for (x, dtype, doubled, problem) in [
            (
                x([1.0, -70_000.0, 1e9]),
                DType::F16,
                false,
                "has -70000.0 at index 1, which would be infinite as f16",
            ),
            (
                x([1.0, 2.0, 40_000.0]),
                DType::F16,
                true,
                "has 80000.0 at index 2, which would be infinite as f16",
            ),
            (
                x([f32::MAX, 0.0, 0.0]),
                DType::BF16,
                false,
                "has 3.4028234663852886e38 at index 0, which would be infinite as bf16",
            ),
        ] {
            let node = usize::from(doubled);
            let expected = format!("node `cast.{node}` (cast): its constant input {problem}; {tail}");
            assert_eq!(load(x, dtype, doubled), Err(expected));
        }
        let wide = Tensor::new([1], [1e300f64]).unwrap();
        assert!(load(wide, DType::F32, false).unwrap_err().contains("infinite as f32"));
        assert!(load(Tensor::new([1], [70_000u32]).unwrap(), DType::F16, false).is_err());
        for fine in [[65_519.0, -65_504.0, 1e-9], [f32::INFINITY, f32::NEG_INFINITY, f32::NAN]] {
            assert_eq!(load(x(fine), DType::F16, false), Ok(()));
        }
        // The edge is where the conversion itself has it.
        for dtype in [DType::F32, DType::BF16, DType::F16, DType::F8_E4M3, DType::F8_E5M2] {
            let edge = least_overflow(dtype).unwrap();
            let finite = |x: f64| {
                let x = Tensor::new([1], [x]).unwrap();
                let narrow = Ops::standard().run("cast", &to(dtype), &[x]).unwrap();
                let wide = Ops::standard().run("cast", &to(DType::F64), &[narrow]).unwrap();
                wide.values::<f64>().unwrap()[0].is_finite()
            };
            assert!(!finite(edge * (1.0 + 1e-6)) && finite(edge * (1.0 - 1e-6)), "{dtype}");
        }
    }

    #[test]
    fn booleans_are_zero_and_one() {
        let ops = Ops::standard();
        let x = Tensor::new([5], [0.0f32, -0.0, 0.1, -3.0, f32::NAN]).unwrap();
        let flags = ops.run("cast", &to(DType::BOOL), &[x]).unwrap();
        assert_eq!((flags.dtype(), flags.bytes()), (Some(DType::BOOL), &[0, 0, 1, 1, 1][..]));
        let numbers = ops.run("cast", &to(DType::F32), &[flags]).unwrap();
        assert_eq!(numbers.values::<f32>().unwrap(), [0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn every_pair_of_dtypes_keeps_small_numbers() {
        let ops = Ops::standard();
        let ones = |dtype| {
            let x = Tensor::new([3, 1], [1u8, 0, 1]).unwrap();
            ops.run("cast", &to(dtype), &[x]).unwrap()
        };
        for (from, into) in DType::all().flat_map(|from| DType::all().map(move |into| (from, into))) {
            assert_eq!(ops.run("cast", &to(into), &[ones(from)]).unwrap(), ones(into), "{from} to {into}");
        }
    }

    #[test]
    fn inference_names_the_dtype_or_refuses() {
        check_inference(
            "cast",
            &[
                (to(DType::F16), &["f32 [seq, 4]"], "f16 [seq, 4]"),
                (to(DType::F32), &["f32 []"], "f32 [] = input 0"),
                (
                    none().with("dtype", "float"),
                    &["f32 [2]"],
                    "error: `dtype` is \"float\"; expected one of f32, f64, f16, bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool, f8_e4m3, f8_e5m2",
                ),
            ],
        );
    }
}
