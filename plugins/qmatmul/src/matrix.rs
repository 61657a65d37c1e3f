//! The shapes of encoded matrices.

use bitquilt_plugin_api::{Error, InferContext, Result, TensorType};

/// The numbers of rows and columns of an encoded matrix; an error if it is none or they are not numbers.
pub(crate) fn matrix_shape(name: &str, matrix: &TensorType) -> Result<[usize; 2]> {
    let [rows, columns] = &matrix.shape[..] else {
        return Err(Error::invalid(format_args!(
            "`{name}` is {matrix}, of rank {}; an encoded matrix is expected",
            matrix.rank()
        )));
    };
    match (rows.fixed(), columns.fixed()) {
        (Some(rows), Some(columns)) => Ok([rows, columns]),
        _ => Err(Error::invalid(format_args!(
            "`{name}` is {matrix}; the dimensions of an encoded matrix must be numbers"
        ))),
    }
}

/// An error if rows of `columns` values of an encoded matrix are no whole number of blocks.
pub(crate) fn check_whole_blocks(
    cx: &InferContext<'_>,
    name: &str,
    matrix: &TensorType,
    columns: usize,
) -> Result<()> {
    let encoding = cx.encoding(matrix.encoding().unwrap_or_default())?;
    let whole = encoding.row_bytes(columns);
    whole.map(drop).map_err(|error| Error::invalid(format_args!("`{name}` is {matrix}: {error}")))
}
