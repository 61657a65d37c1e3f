//! `qmatmul` for encodings that have kernels of their own.

use bitquilt_plugin_api::{
    Error, Executor, InputTransform, Kernel, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared,
    Result, RowPart, RunContext, Selector, Support, TensorView,
};

use bitquilt_kernels::{
    ActivationFormat, Isa, PackedWeight, Par, activations, block, encodings, row_step, serving,
};

use crate::op::{Precision, QMATMUL, matrix_shape};

/// A provider for each encoding and instruction set that has kernels of its own for it.
pub(crate) fn providers() -> impl Iterator<Item = Fast> {
    // f32 is no encoding: `dense.rs` uses its kernels.
    let encodings = encodings().filter(|encoding| *encoding != "f32");
    encodings.flat_map(|encoding| {
        let isas = Isa::ALL.into_iter().filter(move |isa| serving(encoding, *isa) == *isa);
        isas.map(move |isa| Fast { encoding, isa })
    })
}

/// Whether a node may be served by the kernels for an instruction set: the session's includes it. Of those that may, the one nearest to
/// the session's goes first.
pub(crate) fn may_serve(node: &NodeView<'_>, isa: Isa) -> Support {
    let option = node.option("isa");
    match Isa::of_option(option.as_deref()) {
        Err(error) => Support::no(error.to_string()),
        _ if !isa.is_available() => Support::no("this machine does not have the instructions"),
        Ok(chosen) if chosen.includes(isa) => Support::Yes,
        Ok(chosen) if option.is_some() => Support::no(format!("the session's option `isa` is {chosen}")),
        Ok(chosen) => Support::no(format!("{chosen} is quicker on this machine")),
    }
}

/// The place of an instruction set's kernels among those of one encoding: its own in [`Isa::ALL`], where it stands behind all that it
/// includes.
pub(crate) fn priority(isa: Isa) -> i32 {
    10 + isa as i32
}

/// Serves one encoding on one instruction set: the weight is repacked once, and `x` quantized once for all weights that take it.
pub(crate) struct Fast {
    encoding: &'static str,
    isa: Isa,
}

impl KernelProvider for Fast {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::Encoding(self.encoding.to_owned()), self.isa.name())
            .priority(priority(self.isa))
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        if let Support::No(reason) = may_serve(node, self.isa) {
            return Support::No(reason);
        }
        let format = match activations(self.encoding, self.isa) {
            Ok(format) => format,
            Err(error) => return Support::no(error.to_string()),
        };
        if Precision::of(node) == Ok(Precision::Exact) && format.is_rounded() {
            return Support::no("it rounds `x`, and `precision` is \"exact\"");
        }
        if !node.is_constant(1) {
            return Support::no("the weight is not a constant");
        }
        if let Ok([p, n]) = matrix_shape("w", &node.inputs()[1]) {
            if p == 0 || n == 0 {
                return Support::no("the weight is empty");
            }
            if let Some(step) = row_step(self.encoding).filter(|step| !n.is_multiple_of(*step)) {
                return Support::no(format!("rows of {n} values are no multiple of {step}"));
            }
        }
        let layout = node.encoding(self.encoding).map(|spec| (spec.block_len, spec.block_bytes));
        match layout.ok() == block(self.encoding) {
            true => Support::Yes,
            false => Support::no("the registered encoding has another block layout"),
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let [p, n] = matrix_shape("w", &cx.inputs()[1])?;
        let weight = cx.constant(1).ok_or_else(|| Error::failed("the weight is not a constant"))?;
        let (bytes, par) = (weight.bytes(), Lent(cx.executor()));
        let memory = |bytes| cx.memory(bytes);
        let packed = PackedWeight::pack(self.encoding, self.isa, n, p, bytes, &par, memory);
        Ok(prepared(packed.map_err(Error::failed)?, self.isa))
    }
}

/// The kernel that multiplies with a prepared weight, which replaces the constant.
pub(crate) fn prepared(weight: PackedWeight, isa: Isa) -> Prepared {
    let activations = Activations { format: weight.activations(), isa };
    let note = weight.paths();
    let kernel = Prepared::new(Multiply(weight)).releases(1).note(note);
    kernel.transform(0, activations.key(), activations)
}

/// Multiplies with a prepared weight.
struct Multiply(PackedWeight);

impl Kernel for Multiply {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let activations = cx.transformed(0)?;
        let out = cx.output(0)?.into_values::<f32>()?;
        let m = out.len() / self.0.p();
        self.0.multiply(activations, m, out, &Lent(cx.executor())).map_err(Error::failed)
    }
}

/// The rows of `x` as the kernels take them.
struct Activations {
    format: ActivationFormat,
    /// Its code stores them.
    isa: Isa,
}

impl Activations {
    /// What kernels that take this format ask for; those of another version may have another layout.
    fn key(&self) -> String {
        format!("qmatmul {} {:?}", env!("CARGO_PKG_VERSION"), self.format)
    }
}

impl InputTransform for Activations {
    fn bytes(&self, shape: &[usize]) -> usize {
        let Some((n, outer)) = shape.split_last() else { return 0 };
        self.format.bytes(*n, outer.iter().product()).unwrap_or(usize::MAX)
    }

    fn run(&self, input: TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()> {
        let n = input.shape().last().copied().unwrap_or_default();
        let stored = self.format.store(self.isa, n, input.values()?, dst, &Lent(executor));
        stored.map_err(Error::failed)
    }

    fn unit(&self) -> Option<usize> {
        Some(self.format.block_len())
    }

    fn join(&self, shape: &[usize], parts: &[RowPart<'_>], dst: &mut [u8]) -> Result<()> {
        let rows = shape.iter().rev().skip(1).product();
        let parts: Vec<(usize, &[u8])> = parts.iter().map(|part| (part.values, part.bytes)).collect();
        self.format.join(rows, &parts, dst).map_err(Error::failed)
    }
}

/// The host's threads, as the kernels see them.
pub(crate) struct Lent<'a>(pub(crate) Executor<'a>);

impl Par for Lent<'_> {
    fn threads(&self) -> usize {
        self.0.workers()
    }

    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        self.0.par_for(tasks, body);
    }
}
