//! `qmatmul` for encodings that have kernels of their own.

use bitquilt_plugin_api::{
    Error, Executor, InputTransform, Kernel, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared,
    Result, RunContext, Selector, Support, TensorView,
};

use crate::kernels::{activations, block, encodings, row_step};
use crate::op::{Precision, QMATMUL, matrix_shape};
use crate::{ActivationFormat, Isa, KernelError, PackedWeight, Par};

/// A provider for each encoding and instruction set.
pub(crate) fn providers() -> impl Iterator<Item = Fast> {
    // f32 is no encoding: `dense.rs` uses its kernels.
    let encodings = encodings().filter(|encoding| *encoding != "f32");
    encodings.flat_map(|encoding| {
        let isas = Isa::ALL.into_iter().filter(move |isa| isa.serving(encoding) == *isa);
        isas.map(move |isa| Fast { encoding, isa })
    })
}

/// The session's option `isa`, if it has kernels for another instruction set than `isa` multiply with `encoding`.
pub(crate) fn another_isa(node: &NodeView<'_>, encoding: &str, isa: Isa) -> Option<String> {
    let serves = |wanted: &str| Isa::by_name(wanted).is_some_and(|wanted| wanted.serving(encoding) == isa);
    node.option("isa").filter(|wanted| !serves(wanted))
}

/// Serves one encoding on one instruction set: the weight is repacked once, and `x` quantized once for all weights that take it.
pub(crate) struct Fast {
    encoding: &'static str,
    isa: Isa,
}

impl KernelProvider for Fast {
    fn key(&self) -> KernelKey {
        let fastest_first = Isa::ALL.iter().position(|isa| *isa == self.isa).unwrap_or_default();
        KernelKey::new(QMATMUL, Selector::Encoding(self.encoding.to_owned()), self.isa.name())
            .priority(10 + fastest_first as i32)
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        if !self.isa.is_available() {
            return Support::no("this machine does not have the instructions");
        }
        if let Some(wanted) = another_isa(node, self.encoding, self.isa) {
            return Support::no(format!("the session's option `isa` is {wanted}"));
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
        let packed = PackedWeight::pack(self.encoding, self.isa, n, p, weight.bytes(), &Lent(cx.executor()))?;
        let (format, bytes) = (packed.activations(), packed.byte_len());
        let note = packed.paths();
        Ok(Prepared::new(Multiply(packed))
            .releases(1)
            .transform(0, Activations::key(format), Activations { format, n })
            .held_bytes(bytes)
            .note(note))
    }
}

/// Multiplies with a prepared weight.
pub(crate) struct Multiply(pub(crate) PackedWeight);

impl Kernel for Multiply {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let activations = cx.transformed(0)?;
        let out = cx.output(0)?.into_values::<f32>()?;
        let m = out.len() / self.0.p();
        Ok(self.0.multiply(activations, m, out, &Lent(cx.executor()))?)
    }
}

/// The rows of `x` as the kernels take them.
pub(crate) struct Activations {
    pub(crate) format: ActivationFormat,
    /// Values of a row.
    pub(crate) n: usize,
}

impl Activations {
    /// What kernels that take this format ask for; those of another version may have another layout.
    pub(crate) fn key(format: ActivationFormat) -> String {
        format!("qmatmul {} {format:?}", env!("CARGO_PKG_VERSION"))
    }
}

impl InputTransform for Activations {
    fn bytes(&self, shape: &[usize]) -> usize {
        let rows: usize = shape.iter().rev().skip(1).product();
        self.format.bytes(self.n, rows).unwrap_or(usize::MAX)
    }

    fn run(&self, input: TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()> {
        Ok(self.format.store(self.n, input.values()?, dst, &Lent(executor))?)
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

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Error::failed(error)
    }
}
