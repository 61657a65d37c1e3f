//! Weights as the kernels stream them.

use std::sync::Arc;

use bitquilt_plugin_api::{Error, PreparedMemory};
use bitquilt_simd::Isa;

use crate::{
    activation::ActivationFormat,
    drive::{self, Kernels, Product},
    error::KernelError,
    kernels::EncodingKernels,
    par::{Par, par_parts_mut},
};

/// A weight prepared for one instruction set.
pub struct PackedWeight {
    kernels: Arc<dyn Kernels>,
    note: String,
    n: usize,
    p: usize,
    bytes: PreparedMemory,
}

impl PackedWeight {
    /// Prepares `bytes`, `p` rows of `n` values in the encoding that the kernels are for, in `memory` of as many bytes as it is asked for.
    ///
    /// # Errors
    /// When the instruction set is not this machine's, rows are no multiple
    /// of the encoding's [`row_step`](EncodingKernels::row_step), the number of bytes is another, or the system has no memory.
    pub fn pack(
        kernels: &EncodingKernels,
        isa: Isa,
        n: usize,
        p: usize,
        bytes: &[u8],
        par: &dyn Par,
        memory: impl FnOnce(usize) -> Result<PreparedMemory, Error>,
    ) -> Result<Self, KernelError> {
        isa.check()?;
        let (note, kernels) = (kernels.note().to_owned(), kernels.on(isa));
        let (block_len, block_bytes) = kernels.block();
        let step = kernels.row_step();
        if n == 0 || !n.is_multiple_of(step) {
            return Err(KernelError::RowLength { n, step });
        }
        let row_bytes = (n / block_len).saturating_mul(block_bytes);
        let expected = row_bytes.saturating_mul(p);
        if bytes.len() != expected {
            return Err(KernelError::WeightBytes { n, p, expected, got: bytes.len() });
        }
        let group_bytes = kernels.group_bytes(n);
        let groups = p.div_ceil(kernels.lanes());
        let mut packed = memory(groups.saturating_mul(group_bytes)).map_err(KernelError::Memory)?;
        let tasks = groups.min(8 * par.threads());
        par_parts_mut(par, tasks, &mut packed, group_bytes, groups, |group, _, dst| {
            let first = group * kernels.lanes();
            let rows = first..p.min(first + kernels.lanes());
            kernels.pack_group(n, &bytes[rows.start * row_bytes..rows.end * row_bytes], dst);
        });
        Ok(Self { kernels, note, n, p, bytes: packed })
    }

    /// Values of a row.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Rows.
    #[must_use]
    pub fn p(&self) -> usize {
        self.p
    }

    /// Prepared bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// How [`multiply`](Self::multiply) wants its activations.
    #[must_use]
    pub fn activations(&self) -> ActivationFormat {
        self.kernels.activations()
    }

    /// Which kernels serve which numbers of columns, and why, in words.
    #[must_use]
    pub fn paths(&self) -> String {
        let gemv =
            format!("1 row of x: gemv, {} rows of the weight streamed at a time", self.kernels.lanes());
        let registers = "unpacked in registers for each tile of x";
        let slabs = "gemm, unpacked into slabs that tiles of x share";
        let paths = match drive::most_in_registers(&*self.kernels) {
            ..2 => format!("{gemv}; 2 or more: {slabs}"),
            usize::MAX => format!("{gemv}; 2 or more: few and gemm, {registers}"),
            last => format!("{gemv}; 2 to {last}: few, {registers}; {} or more: {slabs}", last + 1),
        };
        if self.note.is_empty() { paths } else { format!("{paths}; {}", self.note) }
    }

    /// `out[c, r] = sum over k of weight[r, k] * x[c, k]`: `out` is `m` rows of `p` values, and `activations` hold `x`,
    /// `m` rows of `n` values, as [`activations`](Self::activations) stored them.
    ///
    /// An element of the result is the same bits for every number of threads and `m`, and for every instruction set but for
    /// [`Isa::Avx512Bf16`] with `bf16`, which rounds `x`.
    ///
    /// # Errors
    /// When a length is wrong.
    pub fn multiply(
        &self,
        activations: &[u8],
        m: usize,
        out: &mut [f32],
        par: &dyn Par,
    ) -> Result<(), KernelError> {
        let format = self.activations();
        let expected = format.bytes(self.n, m).unwrap_or(usize::MAX);
        if activations.len() != expected {
            return Err(KernelError::ActivationBytes { expected, got: activations.len() });
        }
        let expected = m.saturating_mul(self.p);
        if out.len() != expected {
            return Err(KernelError::Output { expected, got: out.len() });
        }
        let product = Product {
            weight: &self.bytes,
            group_bytes: self.kernels.group_bytes(self.n),
            activations,
            format,
            n: self.n,
            m,
            p: self.p,
        };
        drive::multiply(&*self.kernels, product, out, par);
        Ok(())
    }
}
