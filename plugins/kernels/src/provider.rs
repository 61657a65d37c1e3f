//! Providers of the op `qmatmul`, made of the kernels of an encoding.

use bitquilt_plugin_api::{
    Error, Executor, InputTransform, Kernel, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared,
    Result, RowPart, RunContext, Scratch, Selector, Shapes, Support, TensorType, TensorView,
};
use bitquilt_simd::Isa;

use crate::activation::ActivationFormat;
use crate::choice::Preparation;
use crate::compact::CompactWeight;
use crate::kernels::EncodingKernels;
use crate::pack::PackedWeight;
use crate::par::Par;
use crate::unpack::Unpack;

/// The op's name.
pub const QMATMUL: &str = "qmatmul";

/// How exact a product must be: what the attribute `precision` of a `qmatmul` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `fast`: `x` may be rounded.
    Fast,
    /// `exact`: `x` is multiplied with decoded weights as it is.
    Exact,
}

impl Precision {
    /// The attribute of a node.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of(node: &NodeView<'_>) -> Result<Self> {
        match node.attributes().text("precision")? {
            "fast" => Ok(Self::Fast),
            "exact" => Ok(Self::Exact),
            other => {
                Err(Error::invalid(format_args!("`precision` is \"{other}\"; write \"fast\" or \"exact\"")))
            }
        }
    }
}

/// Providers of `qmatmul` for an encoding that `E` unpacks, one for each instruction set: hand them to
/// [`Plugin::kernels`](bitquilt_plugin_api::Plugin::kernels).
pub fn qmatmul<E: Unpack + Clone + Default>(encoding: &'static str) -> impl Iterator<Item = Provider> {
    EncodingKernels::new(encoding, E::default()).providers()
}

impl EncodingKernels {
    /// Providers of `qmatmul` for the encoding, one for each instruction set that has kernels of its own.
    pub fn providers(self) -> impl Iterator<Item = Provider> {
        let isas = Isa::ALL.map(|isa| Some(isa).filter(|isa| self.serving(*isa) == *isa));
        isas.into_iter().flatten().map(move |isa| Provider { kernels: self.clone(), isa })
    }
}

impl Provider {
    /// The provider for an instruction set that has kernels of its own.
    #[must_use]
    pub fn new(kernels: EncodingKernels, isa: Isa) -> Self {
        Self { kernels, isa }
    }
}

/// The extents of a matrix `[p, n]`, if they are numbers.
fn matrix(tensor: &TensorType) -> Option<[usize; 2]> {
    let [p, n] = &tensor.shape[..] else { return None };
    Some([p.fixed()?, n.fixed()?])
}

/// Whether a node may be served by the kernels for an instruction set: the session's includes it. Of those that may, the one nearest to
/// the session's goes first.
pub fn may_serve(node: &NodeView<'_>, isa: Isa) -> Support {
    let option = node.option("isa");
    match Isa::of_option(option.as_deref()) {
        Err(error) => Support::no(error.to_string()),
        _ if !isa.is_available() => Support::no("this machine does not have the instructions"),
        Ok(chosen) if chosen.includes(isa) => Support::Yes,
        Ok(chosen) if option.is_some() => Support::no(format!("the session's option `isa` is {chosen}")),
        Ok(chosen) => Support::no(format!("{chosen} is quicker on this machine")),
    }
}

/// Whether kernels may serve a `qmatmul` on an instruction set, whatever the encoding of the weight: by the session's instruction set, the
/// attribute `precision`, and the shape of the weight.
pub fn supports(node: &NodeView<'_>, kernels: &EncodingKernels, isa: Isa) -> Support {
    if let Support::No(reason) = may_serve(node, isa) {
        return Support::No(reason);
    }
    let format = match kernels.activations(isa) {
        Ok(format) => format,
        Err(error) => return Support::no(error.to_string()),
    };
    if Precision::of(node) == Ok(Precision::Exact) && format.is_rounded() {
        return Support::no("it rounds `x`, and `precision` is \"exact\"");
    }
    if Precision::of(node) == Ok(Precision::Exact) && kernels.rounds_weights() {
        return Support::no("it rounds the weight, and `precision` is \"exact\"");
    }
    if !node.is_constant(1) {
        return Support::no("the weight is not a constant");
    }
    match matrix(&node.inputs()[1]) {
        Some([p, n]) if p == 0 || n == 0 => Support::no("the weight is empty"),
        Some([_, n]) if !n.is_multiple_of(kernels.row_step()) => {
            Support::no(format!("rows of {n} values are no multiple of {}", kernels.row_step()))
        }
        _ => Support::Yes,
    }
}

/// The place of an instruction set's kernels among those of one encoding: its own in [`Isa::ALL`], where it stands behind all that it
/// includes.
#[must_use]
pub fn priority(isa: Isa) -> i32 {
    10 + isa as i32
}

/// Serves one encoding on one instruction set: the weight is repacked once, and `x` quantized once for all weights that take it.
pub struct Provider {
    kernels: EncodingKernels,
    isa: Isa,
}

impl KernelProvider for Provider {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::Encoding(self.kernels.encoding().to_owned()), self.isa.name())
            .priority(priority(self.isa))
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        if let Support::No(reason) = supports(node, &self.kernels, self.isa) {
            return Support::No(reason);
        }
        let layout = node.encoding(self.kernels.encoding()).map(|spec| (spec.block_len, spec.block_bytes));
        match layout.ok() == Some(self.kernels.block()) {
            true => Support::Yes,
            false => Support::no("the registered encoding has another block layout"),
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let [p, n] =
            matrix(&cx.inputs()[1]).ok_or_else(|| Error::failed("the weight is no matrix of fixed size"))?;
        let weight = cx.constant(1).ok_or_else(|| Error::failed("the weight is not a constant"))?;
        let compact = CompactWeight::new(&self.kernels, self.isa, n, p).map_err(Error::failed)?;
        let mut said = String::new();
        if let Some(compact) = compact {
            if Preparation::of(cx)? == Preparation::Compact {
                return Ok(prepared_compact(compact, self.isa));
            }
            let (from, to) = (compact.byte_len(), compact.prepared_len());
            said = format!("; spread from {from} to {to} bytes, since `prepare` is not \"compact\"");
        }
        let (bytes, par) = (weight.bytes(), Lent(cx.executor()));
        let memory = |bytes| cx.memory(bytes);
        let packed = PackedWeight::pack(&self.kernels, self.isa, n, p, bytes, &par, memory);
        let packed = packed.map_err(Error::failed)?;
        let note = packed.paths() + &said;
        Ok(prepared(packed, self.isa).note(note))
    }
}

/// The kernel that multiplies with the encoded bytes of the constant, which stays.
fn prepared_compact(weight: CompactWeight, isa: Isa) -> Prepared {
    let activations = Activations { format: weight.activations(), isa };
    let (from, to, paths) = (weight.byte_len(), weight.prepared_len(), weight.paths());
    let note = format!(
        "{paths}; unpacked at each run from its {from} bytes, not spread to {to}, since `prepare` is \"compact\""
    );
    Prepared::new(MultiplyCompact(weight)).note(note).transform(0, activations.key(), activations)
}

/// Multiplies with a weight as it is encoded.
struct MultiplyCompact(CompactWeight);

impl Kernel for MultiplyCompact {
    fn scratch(&self, _: &Shapes<'_>) -> Scratch {
        Scratch { shared: 0, per_worker: self.0.scratch_bytes() }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (weight, activations, scratch) = (cx.input(1)?, cx.transformed(0)?, cx.worker_scratch());
        let out = cx.output(0)?.into_values::<f32>()?;
        let (m, par) = (out.len() / self.0.p(), Lent(cx.executor()));
        let multiplied = self.0.multiply(weight.bytes(), activations, m, out, &scratch, &par);
        multiplied.map_err(Error::failed)
    }
}

/// The kernel that multiplies with a prepared weight, which replaces the constant.
#[must_use]
pub fn prepared(weight: PackedWeight, isa: Isa) -> Prepared {
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
pub struct Lent<'a>(pub Executor<'a>);

impl Par for Lent<'_> {
    fn threads(&self) -> usize {
        self.0.workers()
    }

    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        self.0.par_for(tasks, body);
    }
}
