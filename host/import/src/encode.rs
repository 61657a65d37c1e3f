//! From a weight's codes and stored numbers to blocks.

use bitquilt::declared::{Declaration, DeclaredEncoding};
use bitquilt::plugin_api::QuantizationEncoding;
use bitquilt::plugin_api::host::in_default_control;
use rayon::prelude::*;

use crate::problem::Problem;
use crate::weight::Weight;

/// Rows at a time. Of weights that lie column by column these are a line of the cache.
const ROWS: usize = 16;

/// What a thread works in.
#[derive(Default)]
struct Buffers {
    source: Vec<u8>,
    codes: Vec<u8>,
    values: Vec<f32>,
}

impl Weight {
    /// The blocks of all rows. Each is decoded again, so that none has values that are not finite.
    pub(crate) fn encode(&self, declaration: &Declaration) -> Result<Vec<u8>, Problem> {
        let row_bytes = self.columns() / declaration.block_len() * declaration.block_bytes();
        let count = row_bytes.checked_mul(self.rows()).ok_or(Problem::Memory { bytes: usize::MAX })?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(count).map_err(|_| Problem::Memory { bytes: count })?;
        bytes.resize(count, 0);
        let encoding = DeclaredEncoding::new(declaration.clone());
        let parts: Vec<Result<(), Problem>> = bytes
            .par_chunks_mut(ROWS * row_bytes)
            .enumerate()
            .map_init(Buffers::default, |buffers, (chunk, dst)| {
                in_default_control("importing", || self.encode_rows(&encoding, chunk * ROWS, dst, buffers))
            })
            .collect();
        parts.into_iter().collect::<Result<(), Problem>>()?;
        Ok(bytes)
    }

    /// Encodes rows from `first` on, as many as `dst` has room for.
    fn encode_rows(
        &self,
        encoding: &DeclaredEncoding,
        first: usize,
        dst: &mut [u8],
        buffers: &mut Buffers,
    ) -> Result<(), Problem> {
        let (declaration, columns) = (encoding.declaration(), self.columns());
        let (len, block_bytes) = (declaration.block_len(), declaration.block_bytes());
        let count = dst.len() / block_bytes * len;
        buffers.source.clear();
        buffers.source.resize(count, 0);
        (self.codes)(first..first + count / columns, &mut buffers.source);
        let codes = match &self.permutation {
            None => &buffers.source,
            Some(permutation) => {
                buffers.codes.clear();
                for row in buffers.source.chunks_exact(columns) {
                    buffers.codes.extend(permutation.iter().map(|column| row[*column]));
                }
                &buffers.codes
            }
        };
        for (index, (block, codes)) in
            dst.chunks_exact_mut(block_bytes).zip(codes.chunks_exact(len)).enumerate()
        {
            let (row, column) = (first + index * len / columns, index * len % columns);
            let factors = (self.factors)(row, self.source_column(column));
            declaration.assemble(0, &[factors], codes, block);
        }
        buffers.values.resize(count, 0.0);
        let decoded = encoding.dequantize(dst, &mut buffers.values);
        decoded.map_err(|error| Problem::Damaged { what: error.message().to_owned() })?;
        match buffers.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => {
                let (row, column) = (first + index / columns, self.source_column(index % columns));
                Err(Problem::NotFinite { row, column, value: buffers.values[index] })
            }
        }
    }
}
