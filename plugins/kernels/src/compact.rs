//! Weights that stay as they are encoded.

use std::sync::Arc;

use bitquilt_plugin_api::WorkerScratch;
use bitquilt_simd::Isa;

use crate::{
    activation::ActivationFormat,
    drive::{Kernels, Product, compact},
    error::KernelError,
    kernels::EncodingKernels,
    pack::{check_product, check_weight, paths, row_bytes},
    par::Par,
};

/// Multiplies with weights that are not prepared: their encoded rows are unpacked at each product, some at a time, into a worker's memory.
///
/// An element of the result is the same bits as with a [`PackedWeight`](crate::PackedWeight). There is no more memory than that of the
/// encoded rows, and each product takes the time to unpack all of them: for many columns little beside the products, for one column many
/// times as much.
pub struct CompactWeight {
    kernels: Arc<dyn Kernels>,
    n: usize,
    p: usize,
    row_bytes: usize,
}

impl CompactWeight {
    /// For weights of `p` rows of `n` values in the encoding of the kernels; none if the encoding has but one form: if its prepared
    /// weights are about as large as its encoded ones.
    ///
    /// # Errors
    /// When the instruction set is not this machine's, or rows are no multiple of the encoding's
    /// [`row_step`](EncodingKernels::row_step).
    pub fn new(kernels: &EncodingKernels, isa: Isa, n: usize, p: usize) -> Result<Option<Self>, KernelError> {
        isa.check()?;
        let kernels = kernels.on(isa);
        let row_bytes = row_bytes(&*kernels, n)?;
        Ok(kernels.is_spread().then_some(Self { kernels, n, p, row_bytes }))
    }

    /// Rows.
    #[must_use]
    pub fn p(&self) -> usize {
        self.p
    }

    /// Bytes of an encoded weight.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.row_bytes.saturating_mul(self.p)
    }

    /// Bytes of a prepared weight.
    #[must_use]
    pub fn prepared_len(&self) -> usize {
        self.p.div_ceil(self.kernels.lanes()).saturating_mul(self.kernels.group_bytes(self.n))
    }

    /// How [`multiply`](Self::multiply) wants its activations.
    #[must_use]
    pub fn activations(&self) -> ActivationFormat {
        self.kernels.activations()
    }

    /// Bytes of memory that each worker needs, aligned to 64.
    #[must_use]
    pub fn scratch_bytes(&self) -> usize {
        compact::scratch_bytes(&*self.kernels, self.n)
    }

    /// Which kernels serve which numbers of columns, in words.
    #[must_use]
    pub fn paths(&self) -> String {
        paths(&*self.kernels)
    }

    /// As [`PackedWeight::multiply`](crate::PackedWeight::multiply), with the encoded rows and the memory of the workers of `par`.
    ///
    /// # Errors
    /// When a length is wrong.
    pub fn multiply(
        &self,
        weight: &[u8],
        activations: &[u8],
        m: usize,
        out: &mut [f32],
        scratch: &WorkerScratch<'_>,
        par: &dyn Par,
    ) -> Result<(), KernelError> {
        let format = self.activations();
        check_weight(weight, self.row_bytes, self.n, self.p)?;
        check_product(format, [m, self.n, self.p], activations, out)?;
        let (expected, got) = (self.scratch_bytes(), scratch.bytes());
        if got < expected {
            return Err(KernelError::Scratch { expected, got });
        }
        let product = Product::new(&*self.kernels, &[], activations, [m, self.n, self.p]);
        compact::multiply(&*self.kernels, product, weight, scratch, out, par);
        Ok(())
    }
}
