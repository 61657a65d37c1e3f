//! `rope`: rotary position embedding.

use bitquilt_plugin_api::bytemuck;
use bitquilt_plugin_api::{
    Arity, AttributeKind, Attributes, Dim, Error, Executor, InferContext, InputKind, InputTransform, Kernel,
    KernelKey, KernelProvider, NodeView, Op, OpSignature, OutputType, Plugin, PrepareContext, Prepared,
    Result, RunContext, Scratch, Selector, Shapes, TensorType, TensorView,
};

use super::check::{Input, chosen_simd};
use super::parallel::for_each_piece;
use super::positions::Positions;
use crate::text::Brief;
use bitquilt_simd::{AnySimd, Body, Simd};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(RopeOp).kernel(RopeOp)
}

/// `rope(x, positions, factors)`: each head of `x`, f32 `[.., seq, heads, n]`, with the pairs of its first `dims` values turned by
/// angles that grow with the row's position: pair `i` by `scale * position / (theta^(2 * i / dims) * factors[i])` radians.
/// Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
///
/// With the pairing `interleaved` pair `i` is values `2 * i` and `2 * i + 1` (GPT-J; GGUF's `llama` files); with `half` it is values
/// `i` and `i + dims / 2` (GPT-NeoX; Hugging Face's Llama files). `positions`, i64 or i32, is a scalar, the position of the first row
/// of each sequence, or has that of each row. `factors`, f32 `[dims / 2]`, is optional. Without `dims` all values turn.
pub(super) struct RopeOp;

impl Op for RopeOp {
    fn signature(&self) -> OpSignature {
        OpSignature::new("rope")
            .dense("x")
            .dense("positions")
            .input("factors", InputKind::Dense, Arity::Optional)
            .required("pairing", AttributeKind::Text)
            .optional("theta", 10_000.0)
            .without_default("dims", AttributeKind::Int)
            .optional("scale", 1.0)
            .summary("heads turned by their positions: rotary embedding")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (x, positions) = (Input::of(cx, 0, "x")?.f32()?, Input::of(cx, 1, "positions")?);
        let [rows @ .., _, n] = x.shape() else { return Err(x.refuse("heads, f32 [.., seq, heads, n]")) };
        if rows.is_empty() {
            return Err(x.refuse("heads, f32 [.., seq, heads, n]"));
        }
        let Some(n) = n.fixed() else { return Err(x.refuse("heads whose length is a number")) };
        Positions::check(&positions, rows)?;
        let turn = Turn::of(cx, n)?;
        if cx.inputs().len() > 2 {
            let factors = Input::of(cx, 2, "factors")?.f32()?;
            if factors.shape() != [Dim::Fixed(turn.pairs)] {
                return Err(factors.refuse(format_args!("f32 [{}], a factor for each pair", turn.pairs)));
            }
        }
        Ok(vec![TensorType::f32(x.shape()).into()])
    }
}

/// Which values of a head make a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pairing {
    Interleaved,
    Half,
}

/// What the attributes of a node say.
struct Turn {
    pairing: Pairing,
    pairs: usize,
    theta: f64,
    scale: f64,
}

/// The most values a head may have.
const MAX_DIMS: usize = 1 << 16;

impl Turn {
    /// That of a node whose heads have `n` values.
    fn of(node: &NodeView<'_>, n: usize) -> Result<Self> {
        let attributes = node.attributes();
        let pairing = match attributes.text("pairing")? {
            "interleaved" => Pairing::Interleaved,
            "half" => Pairing::Half,
            other => {
                return Err(Error::invalid(format_args!(
                    "`pairing` is \"{}\"; expected \"interleaved\" or \"half\"",
                    Brief(other)
                )));
            }
        };
        let given = attributes.given("dims", Attributes::int)?;
        let dims = given.map_or(Some(n), |dims| usize::try_from(dims).ok());
        let fits = |dims: &usize| dims.is_multiple_of(2) && *dims <= n.min(MAX_DIMS);
        let dims = dims.filter(fits).ok_or_else(|| {
            Error::invalid(format_args!(
                "{}a head has {n} values; expected an even number of values to turn, at most {}",
                given.map_or_else(String::new, |dims| format!("`dims` is {dims} and ")),
                n.min(MAX_DIMS)
            ))
        })?;
        let (theta, scale) = (attributes.float("theta")?, attributes.float("scale")?);
        if !(theta > 0.0 && theta.is_finite() && scale.is_finite()) {
            return Err(Error::invalid(format_args!(
                "`theta` is {theta} and `scale` is {scale}; expected finite numbers, `theta` above 0"
            )));
        }
        Ok(Self { pairing, pairs: dims / 2, theta, scale })
    }

    /// Turns one head by a row of the [`Table`].
    #[inline(always)]
    fn apply(&self, x: &[f32], table: &[f32], output: &mut [f32]) {
        let turned = 2 * self.pairs;
        let (cosines, sines) = table.split_at(self.pairs);
        let angles = cosines.iter().zip(sines);
        match self.pairing {
            Pairing::Interleaved => {
                let pairs = x.as_chunks::<2>().0.iter().zip(output.as_chunks_mut::<2>().0);
                for (([a, b], output), (cos, sin)) in pairs.zip(angles) {
                    *output = [a * cos - b * sin, a * sin + b * cos];
                }
            }
            Pairing::Half => {
                let (a, b) = x[..turned].split_at(self.pairs);
                let (first, second) = output[..turned].split_at_mut(self.pairs);
                let pairs = a.iter().zip(b).zip(first.iter_mut().zip(second));
                for (((a, b), (first, second)), (cos, sin)) in pairs.zip(angles) {
                    *first = a * cos - b * sin;
                    *second = a * sin + b * cos;
                }
            }
        }
        output[turned..].copy_from_slice(&x[turned..]);
    }
}

/// A head, and where it goes when it is turned.
struct Head<'a> {
    turn: &'a Turn,
    x: &'a [f32],
    table: &'a [f32],
    output: &'a mut [f32],
}

impl Body for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.turn.apply(self.x, self.table, self.output);
    }
}

/// The cosines and the sines of each row's angles: a row for each position.
#[derive(Clone)]
struct Table {
    /// Radians that each pair turns from one position to the next.
    frequencies: Vec<f64>,
}

impl Table {
    fn new(turn: &Turn, factors: Option<&[f32]>) -> Self {
        let frequency = |pair: usize| {
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            turn.scale / (turn.theta.powf(pair as f64 / turn.pairs as f64) * factor)
        };
        Self { frequencies: (0..turn.pairs).map(frequency).collect() }
    }

    /// The values of a row.
    fn row_len(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Writes the rows for positions in sequences of `count`; `factors` divide the frequencies.
    fn fill(
        &self,
        executor: Executor<'_>,
        positions: Positions<'_>,
        count: usize,
        factors: Option<&[f32]>,
        table: &mut [f32],
    ) {
        let unit = self.row_len();
        for_each_piece(executor, table, unit, 32, |first, piece| {
            for (row, table) in piece.chunks_exact_mut(unit).enumerate() {
                let position = positions.at(first / unit + row, count) as f64;
                let (cosines, sines) = table.split_at_mut(unit / 2);
                for (pair, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
                    let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
                    let (sin, cos) = (position * self.frequencies[pair] / factor).sin_cos();
                    (*cosine, *sine) = (cos as f32, sin as f32);
                }
            }
        });
    }
}

impl InputTransform for Table {
    fn bytes(&self, shape: &[usize]) -> usize {
        shape.iter().product::<usize>() * self.row_len() * size_of::<f32>()
    }

    fn run(&self, input: TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()> {
        let count = input.shape().iter().product();
        self.fill(executor, Positions::of(input)?, count, None, bytemuck::cast_slice_mut(dst));
        Ok(())
    }
}

impl KernelProvider for RopeOp {
    fn key(&self) -> KernelKey {
        KernelKey::new("rope", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let n = cx.inputs()[0].shape.last().and_then(Dim::fixed).unwrap_or_default();
        let turn = Turn::of(cx, n)?;
        let has_factors = cx.inputs().len() > 2;
        let constant = if has_factors { cx.constant(2) } else { None };
        let factors = constant.map(|factors| factors.values::<f32>()).transpose()?;
        let table = Table::new(&turn, factors);
        let factors = has_factors && factors.is_none();
        let simd = chosen_simd(cx)?;
        if factors || cx.inputs()[1].rank() == 0 {
            let kernel = RopeKernel { turn, own: Some((table, factors)), simd };
            return Ok(Prepared::new(kernel).note(simd.isa().name()));
        }
        // Nodes that turn by the same angles, as those of all layers do, share the table.
        let bits: Vec<u64> = table.frequencies.iter().map(|frequency| frequency.to_bits()).collect();
        let kernel = RopeKernel { turn, own: None, simd };
        Ok(Prepared::new(kernel).note(simd.isa().name()).transform(1, format!("rope {bits:x?}"), table))
    }
}

struct RopeKernel {
    turn: Turn,
    /// The table, where it is not a transform of the positions alone, and whether there are factors to it.
    own: Option<(Table, bool)>,
    simd: AnySimd,
}

impl Kernel for RopeKernel {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let rows = match shapes.inputs[1] {
            [] => shapes.inputs[0].iter().rev().nth(2).copied().unwrap_or_default(),
            positions => positions.iter().product(),
        };
        let row_len = self.own.as_ref().map_or(0, |(table, _)| table.row_len());
        Scratch { shared: rows * row_len * size_of::<f32>(), per_worker: 0 }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, executor) = (cx.input(0)?, cx.executor());
        let [.., seq, heads, n] = *x.shape() else { return Err(Error::failed("`x` is not of heads")) };
        let table: &[f32] = match &self.own {
            None => bytemuck::cast_slice(cx.transformed(0)?),
            Some((own, has_factors)) => {
                let factors = if *has_factors { Some(cx.input(2)?.values::<f32>()?) } else { None };
                let table = bytemuck::cast_slice_mut(cx.shared_scratch());
                own.fill(executor, Positions::of(cx.input(1)?)?, seq, factors, table);
                table
            }
        };
        let (x, output) = (x.values::<f32>()?, cx.output(0)?.into_values::<f32>()?);
        let (row, table_row) = (heads * n, 2 * self.turn.pairs);
        let rows = table.len().checked_div(table_row).unwrap_or(1).max(1);
        for_each_piece(executor, output, row, 2, |first, piece| {
            for (head, output) in piece.chunks_exact_mut(n).enumerate() {
                let begin = first + head * n;
                let table = &table[begin / row % rows * table_row..][..table_row];
                self.simd.run(Head { turn: &self.turn, x: &x[begin..][..n], table, output });
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Ops, assert_close, at, check_inference, indices, noise};
    use crate::{Attributes, Tensor};

    fn pairing(name: &str) -> Attributes {
        Attributes::new().with("pairing", name)
    }

    /// The formula, in f64, for the position of each row.
    fn formula(x: &Tensor, attributes: &Attributes, positions: &[i64], factors: Option<&Tensor>) -> Vec<f64> {
        let shape = x.shape();
        let (rank, n) = (shape.len(), shape[shape.len() - 1]);
        let number = |name: &str, default: f64| attributes.float(name).unwrap_or(default);
        let dims = number("dims", n as f64) as usize;
        indices(shape)
            .map(|index| {
                let row =
                    index[..rank - 2].iter().zip(shape).fold(0, |row, (place, extent)| row * extent + place);
                let value = index[rank - 1];
                if value >= dims {
                    return f64::from(at::<f32>(x, &index));
                }
                let (pair, other, second) = match attributes.text("pairing").unwrap() {
                    "half" => (value % (dims / 2), (value + dims / 2) % dims, value >= dims / 2),
                    _ => (value / 2, value ^ 1, value % 2 == 1),
                };
                let factor = factors.map_or(1.0, |factors| f64::from(factors.values::<f32>().unwrap()[pair]));
                let theta = number("theta", 10_000.0).powf(2.0 * pair as f64 / dims as f64) * factor;
                let angle = positions[row % positions.len()] as f64 * number("scale", 1.0) / theta;
                let own = f64::from(at::<f32>(x, &index));
                let other = f64::from(at::<f32>(x, &[&index[..rank - 1], &[other]].concat()));
                own * angle.cos() + if second { other } else { -other } * angle.sin()
            })
            .collect()
    }

    #[test]
    fn pairs_are_turned_as_the_formula_says() {
        let ops = Ops::standard();
        let cases: [(&[usize], Option<i64>); 10] = [
            (&[1, 1, 2], None),
            (&[5, 3, 8], None),
            (&[5, 3, 8], Some(4)),
            (&[5, 3, 8], Some(0)),
            (&[3, 7, 2, 6], Some(2)),
            (&[67, 3, 64], None),
            (&[2, 19, 9, 64], Some(32)),
            (&[0, 2, 4], None),
            (&[4, 0, 4], None),
            (&[4, 2, 0], None),
        ];
        for (shape, dims) in cases {
            let (x, n) = (noise(shape, 21), shape[shape.len() - 1]);
            let seq = shape[shape.len() - 3];
            let pairs = dims.map_or(n, |dims| dims as usize) / 2;
            let factors =
                Tensor::new([pairs], (0..pairs).map(|pair| 1.0 + pair as f32).collect::<Vec<_>>()).unwrap();
            let scattered: Vec<i64> = (0..seq as i64).map(|row| row * row * 31 % 517).collect();
            let consecutive: Vec<i64> = (0..seq as i64).map(|row| 29 + row).collect();
            for name in ["interleaved", "half"] {
                let attributes = pairing(name).with("theta", 5e5).with("scale", 0.5);
                let attributes = match dims {
                    Some(dims) => attributes.with("dims", dims),
                    None => attributes,
                };
                for (positions, input) in [
                    (&scattered, Tensor::new([seq], &scattered).unwrap()),
                    (&consecutive, Tensor::scalar(29i32)),
                    (&consecutive, Tensor::scalar(29i64)),
                ] {
                    for factors in [None, Some(&factors)] {
                        let mut inputs = vec![x.clone(), input.clone()];
                        inputs.extend(factors.cloned());
                        let output = ops.run("rope", &attributes, &inputs).unwrap();
                        assert_eq!(output.shape(), shape);
                        let expected = formula(&x, &attributes, positions, factors);
                        assert_close(&output, &expected, 1e-6, &format!("{shape:?} {name}"));
                    }
                }
            }
        }
    }

    #[test]
    fn each_sequence_of_a_batch_may_have_its_own_positions() {
        let positions = [0i32, 1, 2, 7, 8, 9];
        let x = noise(&[2, 3, 2, 8], 22);
        let inputs = [x.clone(), Tensor::new([2, 3], positions).unwrap()];
        let output = Ops::standard().run("rope", &pairing("half"), &inputs).unwrap();
        let expected = formula(&x, &pairing("half"), &positions.map(i64::from), None);
        assert_close(&output, &expected, 1e-6, "batch");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let half = || pairing("half");
        check_inference(
            "rope",
            &[
                (half(), &["f32 [seq, 9, 64]", "i64 [seq]"], "f32 [seq, 9, 64]"),
                (half(), &["f32 [batch, seq, 9, 64]", "i32 []"], "f32 [batch, seq, 9, 64]"),
                (half(), &["f32 [seq, 9, 64]", "i64 [seq]", "f32 [32]"], "f32 [seq, 9, 64]"),
                (
                    half(),
                    &["f32 [9, 64]", "i64 []"],
                    "error: `x` is f32 [9, 64]; expected heads, f32 [.., seq, heads, n]",
                ),
                (
                    half(),
                    &["f32 [9, 2, n]", "i64 []"],
                    "error: `x` is f32 [9, 2, n]; expected heads whose length is a number",
                ),
                (
                    half(),
                    &["f32 [seq, 9, 64]", "i64 [past]"],
                    "error: `positions` is i64 [past]; expected a scalar, the first row's position, or [seq], that of each",
                ),
                (
                    half(),
                    &["f32 [seq, 9, 64]", "f32 [seq]"],
                    "error: `positions` is f32 [seq]; expected i64 or i32 values",
                ),
                (
                    half(),
                    &["f32 [seq, 9, 64]", "i64 [seq]", "f32 [64]"],
                    "error: `factors` is f32 [64]; expected f32 [32], a factor for each pair",
                ),
                (
                    half().with("dims", 66i64),
                    &["f32 [seq, 9, 64]", "i64 [seq]"],
                    "error: `dims` is 66 and a head has 64 values; expected an even number of values to turn, at most 64",
                ),
                (
                    half(),
                    &["f32 [seq, 9, 63]", "i64 [seq]"],
                    "error: a head has 63 values; expected an even number of values to turn, at most 63",
                ),
                (
                    pairing("neox"),
                    &["f32 [seq, 9, 64]", "i64 [seq]"],
                    "error: `pairing` is \"neox\"; expected \"interleaved\" or \"half\"",
                ),
                (
                    half().with("theta", 0.0),
                    &["f32 [seq, 9, 64]", "i64 [seq]"],
                    "error: `theta` is 0 and `scale` is 1; expected finite numbers, `theta` above 0",
                ),
            ],
        );
    }
}
