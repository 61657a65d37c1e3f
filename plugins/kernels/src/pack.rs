//! Weights as the kernels stream them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bitquilt_plugin_api::{Error, PreparedMemory};
use bitquilt_simd::Isa;

use crate::{
    activation::ActivationFormat,
    drive::{self, Kernels, Product},
    error::KernelError,
    kernels::EncodingKernels,
    par::{Par, par_parts_mut},
};

/// The rows of a weight that is to be prepared, encoded as its kernels take them: those that it has, or what is made of them.
pub trait RowSource: Sync {
    /// Some rows, one after the other.
    ///
    /// # Errors
    /// When they cannot be made.
    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [u8]>, Error>;
}

/// Rows that are there as they are.
struct Encoded<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
}

impl RowSource for Encoded<'_> {
    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [u8]>, Error> {
        Ok(Cow::Borrowed(&self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes]))
    }
}

/// The bytes of a row of `n` values of what the kernels take.
pub(crate) fn row_bytes(kernels: &dyn Kernels, n: usize) -> Result<usize, KernelError> {
    let ((block_len, block_bytes), step) = (kernels.block(), kernels.row_step());
    if n == 0 || !n.is_multiple_of(step) {
        return Err(KernelError::RowLength { n, step });
    }
    Ok((n / block_len).saturating_mul(block_bytes))
}

/// Checks that `bytes` are those of `p` rows of `n` values, `row_bytes` each.
pub(crate) fn check_weight(bytes: &[u8], row_bytes: usize, n: usize, p: usize) -> Result<(), KernelError> {
    match row_bytes.saturating_mul(p) {
        expected if bytes.len() == expected => Ok(()),
        expected => Err(KernelError::WeightBytes { n, p, expected, got: bytes.len() }),
    }
}

/// Checks the lengths of `m` columns of activations and of the output that they give.
pub(crate) fn check_product(
    format: ActivationFormat,
    [m, n, p]: [usize; 3],
    activations: &[u8],
    out: &[f32],
) -> Result<(), KernelError> {
    let expected = format.bytes(n, m).unwrap_or(usize::MAX);
    if activations.len() != expected {
        return Err(KernelError::ActivationBytes { expected, got: activations.len() });
    }
    match m.saturating_mul(p) {
        expected if out.len() == expected => Ok(()),
        expected => Err(KernelError::Output { expected, got: out.len() }),
    }
}

/// Which kernels serve which numbers of columns, in words.
pub(crate) fn paths(kernels: &dyn Kernels) -> String {
    let gemv = format!("1 row of x: gemv, {} rows of the weight streamed at a time", kernels.lanes());
    let registers = "unpacked in registers for each tile of x";
    let slabs = "gemm, unpacked into slabs that tiles of x share";
    match drive::most_in_registers(kernels) {
        ..2 => format!("{gemv}; 2 or more: {slabs}"),
        usize::MAX => format!("{gemv}; 2 or more: few and gemm, {registers}"),
        last => format!("{gemv}; 2 to {last}: few, {registers}; {} or more: {slabs}", last + 1),
    }
}

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
        let row_bytes = row_bytes(&*kernels.on(isa), n)?;
        check_weight(bytes, row_bytes, n, p)?;
        Self::pack_rows(kernels, isa, n, p, &Encoded { bytes, row_bytes }, par, memory)
    }

    /// The same of rows that are made when they are needed, some at a time.
    ///
    /// # Errors
    /// As [`pack`](Self::pack), and that of the first rows that cannot be made.
    pub fn pack_rows(
        kernels: &EncodingKernels,
        isa: Isa,
        n: usize,
        p: usize,
        source: &dyn RowSource,
        par: &dyn Par,
        memory: impl FnOnce(usize) -> Result<PreparedMemory, Error>,
    ) -> Result<Self, KernelError> {
        isa.check()?;
        let (note, kernels) = (kernels.note().to_owned(), kernels.on(isa));
        let row_bytes = row_bytes(&*kernels, n)?;
        let group_bytes = kernels.group_bytes(n);
        let groups = p.div_ceil(kernels.lanes());
        let mut packed = memory(groups.saturating_mul(group_bytes)).map_err(KernelError::Memory)?;
        let tasks = groups.min(8 * par.threads());
        let failure: Mutex<Option<(usize, KernelError)>> = Mutex::new(None);
        par_parts_mut(par, tasks, &mut packed, group_bytes, groups, |group, _, dst| {
            let first = group * kernels.lanes();
            let rows = first..p.min(first + kernels.lanes());
            let made = source.rows(rows.clone()).map_err(KernelError::Rows).and_then(|bytes| {
                check_weight(&bytes, row_bytes, n, rows.len()).map(|()| kernels.pack_group(n, &bytes, dst))
            });
            if let Err(error) = made {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(before, _)| group < *before) {
                    *failure = Some((group, error));
                }
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(Self { kernels, note, n, p, bytes: packed }),
        }
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
        let paths = paths(&*self.kernels);
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
        check_product(format, [m, self.n, self.p], activations, out)?;
        let product = Product::new(&*self.kernels, &self.bytes, activations, [m, self.n, self.p]);
        drive::multiply(&*self.kernels, product, out, par);
        Ok(())
    }
}
