//! The standard ops as methods.

use bitquilt_plugin_api::{Attribute, DType, Dim};

use super::options::{Attention, Rope, RopePairing};
use super::{Graph, GraphError, Value};

impl Graph {
    /// `left @ right` in full precision: f32 `[.., m, k]` and `[.., k, n]` to `[.., m, n]`.
    pub fn matmul(&mut self, left: Value, right: Value) -> Result<Value, GraphError> {
        self.op("matmul", [left, right])
    }

    /// `x @ weight` transposed, with an encoded weight: f32 `[.., n]` and encoded `[p, n]` to f32 `[.., p]`.
    ///
    /// The weight is transposed against [`Self::matmul`]'s: its rows are as long as those of `x`.
    pub fn qmatmul(&mut self, x: Value, weight: Value) -> Result<Value, GraphError> {
        self.op("qmatmul", [x, weight])
    }

    /// The rows of an encoded table `[rows, n]` at the given positions, decoded: integers `[..]` to f32 `[.., n]`.
    pub fn qgather(&mut self, table: Value, positions: Value) -> Result<Value, GraphError> {
        self.op("qgather", [table, positions])
    }

    /// An encoded tensor's values, as f32 of its logical shape.
    pub fn dequantize(&mut self, encoded: Value) -> Result<Value, GraphError> {
        self.op("dequantize", [encoded])
    }

    /// The sum, element by element, with broadcasting.
    pub fn add(&mut self, left: Value, right: Value) -> Result<Value, GraphError> {
        self.op("add", [left, right])
    }

    /// The difference, element by element, with broadcasting.
    pub fn sub(&mut self, left: Value, right: Value) -> Result<Value, GraphError> {
        self.op("sub", [left, right])
    }

    /// The product, element by element, with broadcasting.
    pub fn mul(&mut self, left: Value, right: Value) -> Result<Value, GraphError> {
        self.op("mul", [left, right])
    }

    /// The quotient, element by element, with broadcasting.
    pub fn div(&mut self, left: Value, right: Value) -> Result<Value, GraphError> {
        self.op("div", [left, right])
    }

    /// `-x`.
    pub fn neg(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("neg", [x])
    }

    /// `e^x`.
    pub fn exp(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("exp", [x])
    }

    /// The square root.
    pub fn sqrt(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("sqrt", [x])
    }

    /// `1 / sqrt(x)`.
    pub fn rsqrt(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("rsqrt", [x])
    }

    /// The natural logarithm.
    pub fn log(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("log", [x])
    }

    /// The hyperbolic tangent.
    pub fn tanh(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("tanh", [x])
    }

    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    pub fn gelu(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("gelu", [x])
    }

    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, an approximation of [`Self::gelu`].
    pub fn gelu_tanh(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("gelu_tanh", [x])
    }

    /// `1 / (1 + e^-x)`.
    pub fn sigmoid(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("sigmoid", [x])
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("silu", [x])
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("relu", [x])
    }

    /// Each row divided by its root mean square and scaled by `weight` `[n]`: `x / sqrt(mean(x^2) + eps) * weight`.
    pub fn rms_norm(&mut self, x: Value, weight: Value, eps: f32) -> Result<Value, GraphError> {
        self.node("rms_norm", [x, weight]).attribute("eps", f64::from(eps)).value()
    }

    /// Each row less its mean, divided by its standard deviation, scaled by `weight` `[n]` and shifted by `bias` `[n]`.
    pub fn layer_norm(
        &mut self,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        eps: f32,
    ) -> Result<Value, GraphError> {
        self.node("layer_norm", [x, weight])
            .maybe_input("bias", bias)
            .attribute("eps", f64::from(eps))
            .value()
    }

    /// `e^x`, scaled to sum up to 1 along an axis, which counts from the end where it is negative.
    pub fn softmax(&mut self, x: Value, axis: i64) -> Result<Value, GraphError> {
        self.node("softmax", [x]).attribute("axis", axis).value()
    }

    /// The sum along an axis, which counts from the end where it is negative, and is gone from the result.
    pub fn sum(&mut self, x: Value, axis: i64) -> Result<Value, GraphError> {
        self.node("sum", [x]).attribute("axis", axis).value()
    }

    /// The mean along an axis, as [`Self::sum`] takes it.
    pub fn mean(&mut self, x: Value, axis: i64) -> Result<Value, GraphError> {
        self.node("mean", [x]).attribute("axis", axis).value()
    }

    /// The greatest value along an axis, as [`Self::sum`] takes it.
    pub fn max(&mut self, x: Value, axis: i64) -> Result<Value, GraphError> {
        self.node("max", [x]).attribute("axis", axis).value()
    }

    /// The index of the greatest value of each row, the first of equals: f32 `[.., n]` to i64 `[..]`.
    pub fn argmax(&mut self, x: Value) -> Result<Value, GraphError> {
        self.op("argmax", [x])
    }

    /// The `k` greatest values of each row from the greatest on, and their indices: f32 `[.., n]` to f32 and i64 `[.., k]`.
    pub fn top_k(&mut self, x: Value, k: usize) -> Result<(Value, Value), GraphError> {
        let outputs = self.node("top_k", [x]).attribute("k", int(k)).values()?;
        match outputs[..] {
            [values, indices] => Ok((values, indices)),
            _ => Err(GraphError::Node {
                node: "top_k".to_owned(),
                op: "top_k".to_owned(),
                problem: super::NodeProblem::SeveralOutputs { found: outputs.len() },
            }),
        }
    }

    /// The places `start .. end` along an axis. All three count from the end where they are negative, and without `end` it is the end:
    /// `slice(x, 0, -1, None)` is the last row.
    pub fn slice(&mut self, x: Value, axis: i64, start: i64, end: Option<i64>) -> Result<Value, GraphError> {
        self.node("slice", [x])
            .attribute("axis", axis)
            .attribute("start", start)
            .maybe_attribute("end", end)
            .value()
    }

    /// Tensors one after the other along an axis, which counts from the end where it is negative.
    pub fn concat(&mut self, xs: impl IntoIterator<Item = Value>, axis: i64) -> Result<Value, GraphError> {
        self.node("concat", xs).attribute("axis", axis).value()
    }

    /// The same values in another shape.
    pub fn reshape<D: Into<Dim>>(
        &mut self,
        x: Value,
        shape: impl IntoIterator<Item = D>,
    ) -> Result<Value, GraphError> {
        let shape = shape.into_iter().map(Into::into).collect();
        self.node("reshape", [x]).attribute("shape", Attribute::Shape(shape)).value()
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of `x`.
    pub fn transpose(&mut self, x: Value, axes: &[usize]) -> Result<Value, GraphError> {
        let axes = axes.iter().map(|axis| int(*axis)).collect();
        self.node("transpose", [x]).attribute("axes", Attribute::Ints(axes)).value()
    }

    /// The values converted to another dtype.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Result<Value, GraphError> {
        self.node("cast", [x]).attribute("dtype", dtype.to_string()).value()
    }

    /// The slices of `x` along an axis that `indices`, i64 or i32 `[i..]`, name: `[a.., n, b..]` to `[a.., i.., b..]`.
    pub fn gather(&mut self, x: Value, indices: Value, axis: usize) -> Result<Value, GraphError> {
        self.node("gather", [x, indices]).attribute("axis", int(axis)).value()
    }

    /// Writes `rows` `[seq, ..]` into a state `[capacity, ..]`, rounded where it is f16 and they are f32; the state's next version.
    ///
    /// `positions`, i64 or i32, is a scalar, the row of the state that the first goes to, or `[seq]` and ascending, that of each.
    pub fn append(&mut self, state: Value, rows: Value, positions: Value) -> Result<Value, GraphError> {
        self.op("append", [state, rows, positions])
    }

    /// Scaled dot-product attention with grouped heads: `softmax(scale * q . k + mask)` times `v`.
    ///
    /// `q` is f32 `[.., seq, heads, n]`, `k` `[.., keys, kv_heads, n]` and `v` `[.., keys, kv_heads, m]`, both f32 or both f16; the
    /// result is f32 `[.., seq, heads, m]`. `kv_heads` divides `heads`. `k` and `v` may be states that hold a whole context: with
    /// `positions` only what the queries see is read. A row has the same bits whatever other queries are computed with it.
    pub fn attention(
        &mut self,
        q: Value,
        k: Value,
        v: Value,
        options: Attention,
    ) -> Result<Value, GraphError> {
        let Attention { causal, positions, mask, scale } = options;
        self.node("attention", [q, k, v])
            .maybe_input("positions", positions)
            .maybe_input("mask", mask)
            .attribute("causal", causal)
            .maybe_attribute("scale", scale)
            .value()
    }

    /// Rotary position embedding: each head of `x`, f32 `[.., seq, heads, n]`, turned by the position of its row.
    ///
    /// `positions`, i64 or i32, is a scalar, the position of the first row, or `[seq]`, that of each. Nodes with the same `positions`
    /// and options share a table of cosines and sines, which `[seq]` positions have computed once a run.
    pub fn rope(&mut self, x: Value, positions: Value, options: Rope) -> Result<Value, GraphError> {
        let Rope { pairing, theta, dims, scale, factors } = options;
        let pairing = match pairing {
            RopePairing::Interleaved => "interleaved",
            RopePairing::Half => "half",
        };
        self.node("rope", [x, positions])
            .maybe_input("factors", factors)
            .attribute("pairing", pairing)
            .attribute("theta", theta)
            .attribute("scale", scale)
            .maybe_attribute("dims", dims.map(int))
            .value()
    }
}

/// A number as attributes have it; what is too large for one is too large for any shape.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
