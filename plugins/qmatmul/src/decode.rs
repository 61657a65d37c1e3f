//! `qmatmul` with a weight that is decoded once, when the graph is loaded.

use std::fmt::{self, Display, Formatter};

use crate::formats::{named, row_step};
use bitquilt_kernels::{Isa, Lent, PackedWeight, Precision, QMATMUL, chosen, prepared};
use bitquilt_plugin_api::{
    Error, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared, PreparedMemory, Result, Selector,
    Support, WorkerScratch, bytemuck,
};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::matrix::matrix_shape;

/// When a weight is decoded whose encoding has no kernels of its own, and what as: the attribute `decode` of a node, or else the
/// session's option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decode {
    /// Tile by tile at each run.
    EachRun,
    /// Once, into half precision.
    F16,
    /// Once, into single precision.
    F32,
}

impl Decode {
    /// What a node is to do.
    pub(crate) fn of(node: &NodeView<'_>) -> Result<Self> {
        chosen(node, "decode", &[Self::EachRun, Self::F16, Self::F32])
    }
}

impl Display for Decode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EachRun => "each run",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// Serves every encoding where weights are to be decoded once.
pub(crate) struct DecodeOnce;

impl KernelProvider for DecodeOnce {
    fn key(&self) -> KernelKey {
        // Before the one that decodes at each run, and after kernels that need not decode.
        KernelKey::new(QMATMUL, Selector::AnyEncoding, "decoded").priority(5)
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        match Decode::of(node) {
            Err(error) => return Support::no(error.to_string()),
            Ok(Decode::EachRun) => return Support::no("`decode` is \"each run\""),
            Ok(Decode::F16 | Decode::F32) => {}
        }
        if !node.is_constant(1) {
            return Support::no("the weight is not a constant");
        }
        let step = row_step("f32").unwrap_or(1);
        match matrix_shape("w", &node.inputs()[1]) {
            Ok([p, n]) if p == 0 || n == 0 => Support::no("the weight is empty"),
            Ok([_, n]) if !n.is_multiple_of(step) => {
                Support::no(format!("rows of {n} values are no multiple of {step}"))
            }
            _ => Support::Yes,
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let isa = Isa::of_option(cx.option("isa").as_deref()).map_err(Error::invalid)?;
        let [p, n] = matrix_shape("w", &cx.inputs()[1])?;
        let values = decoded(cx, p, n)?;
        let values: &[f32] = bytemuck::cast_slice(&values);
        let asked = Decode::of(cx)?;
        let exact = Precision::of(cx)? == Precision::Exact;
        let misfit = (asked == Decode::F16).then(|| misfit(values, exact)).flatten();
        let halves = (asked == Decode::F16 && misfit.is_none()).then(|| rounded(cx, values)).transpose()?;
        let (dtype, bytes) = match &halves {
            Some(halves) => ("f16", &halves[..]),
            None => ("f32", bytemuck::cast_slice(values)),
        };
        let kernels = named(dtype).map_err(Error::failed)?;
        let (isa, par) = (kernels.serving(isa), Lent(cx.executor()));
        let packed = PackedWeight::pack(kernels, isa, n, p, bytes, &par, |bytes| cx.memory(bytes));
        let packed = packed.map_err(Error::failed)?;
        let encoding = cx.inputs()[1].encoding().unwrap_or_default();
        let why = misfit.map_or(String::new(), |index| {
            format!(" (f16 does not hold {:e} at row {}, column {})", values[index], index / n, index % n)
        });
        let note =
            format!("decoded once by {encoding} into {dtype}{why}, {} bytes ({isa})", packed.byte_len());
        Ok(prepared(packed, isa).note(note))
    }
}

/// The values of the weight.
fn decoded(cx: &PrepareContext<'_>, p: usize, n: usize) -> Result<PreparedMemory> {
    let weight = cx.constant(1).ok_or_else(|| Error::failed("the weight is not a constant"))?;
    let decoder = cx.decoder(cx.inputs()[1].encoding().unwrap_or_default())?;
    let row_bytes = weight.bytes().len() / p;
    let mut memory = cx.memory(p.saturating_mul(n).saturating_mul(size_of::<f32>()))?;
    let values = bytemuck::cast_slice_mut(&mut memory);
    cx.executor().try_par_chunks_mut(values, n, WorkerScratch::none(), |row, values, _| {
        decoder.dequantize(&weight.bytes()[row * row_bytes..][..row_bytes], values)
    })?;
    Ok(memory)
}

/// The first value that half precision does not hold: at all where the product is to be exact, and else as a finite number.
fn misfit(values: &[f32], exact: bool) -> Option<usize> {
    values.iter().position(|value| {
        let half = f16::from_f32(*value);
        if exact { half.to_f32() != *value } else { value.is_finite() && half.is_infinite() }
    })
}

/// The values in half precision, as bytes.
fn rounded(cx: &PrepareContext<'_>, values: &[f32]) -> Result<PreparedMemory> {
    let mut memory = cx.memory(size_of_val(values) / 2)?;
    let halves: &mut [f16] = bytemuck::cast_slice_mut(&mut memory);
    halves.convert_from_f32_slice(values);
    // The kernels read them in this order of bytes.
    halves.iter_mut().for_each(|half| *half = f16::from_bits(half.to_bits().to_le()));
    Ok(memory)
}
