//! llama.cpp's older files of importance, `imatrix.dat`.
//!
//! All numbers are little-endian i32: the number of entries; of each the length of its name, the name, the number of chunks, the number of
//! columns, and for each column an f32, the mean square times the number of chunks; then, which may be absent, the number of chunks of the
//! whole, and the length and the bytes of the name of the text.

use std::collections::BTreeMap;

use super::{Chunks, ColumnImportance, ImportanceMatrix};
use crate::text::Brief;

/// The rows of a chunk, which a file does not say: what llama.cpp has where nothing else is asked for.
const CHUNK_SIZE: u64 = 512;

/// What is wrong: with the file, or with the entry of a weight.
pub(super) type Fault = (Option<String>, String);

/// Reads a file of this format.
pub(super) fn parse(bytes: &[u8]) -> Result<ImportanceMatrix, Fault> {
    let mut rest = Rest { bytes, len: bytes.len() };
    let entries = rest.count("the number of weights").map_err(of_file)?;
    let mut weights = BTreeMap::new();
    for index in 0..entries {
        let (name, columns) = entry(&mut rest, index, entries)?;
        if weights.contains_key(&name) {
            return Err(of_file(format!("it has `{}` twice", Brief(&name))));
        }
        weights.insert(name, columns);
    }
    let mut matrix = ImportanceMatrix::recorded(weights.into_iter());
    if !rest.bytes.is_empty() {
        let count = rest.count("the number of chunks").map_err(of_file)?;
        matrix.chunks = Chunks { count, size: CHUNK_SIZE };
    }
    if !rest.bytes.is_empty() {
        let len = rest.count("the length of the text's name").map_err(of_file)?;
        let name = shown(rest.take(len, "the text's name").map_err(of_file)?);
        matrix.datasets.extend((!name.is_empty()).then_some(name));
    }
    match rest.bytes.len() {
        0 => Ok(matrix),
        more => Err(of_file(format!("{more} bytes follow where it should end"))),
    }
}

fn entry(rest: &mut Rest<'_>, index: u64, of: u64) -> Result<(String, ColumnImportance), Fault> {
    let what = format!("the name of weight {index} of {of}");
    let len = rest.count(&format!("the length of {what}")).map_err(of_file)?;
    let name = shown(rest.take(len, &what).map_err(of_file)?);
    let wrong = |problem| (Some(name.clone()), problem);
    let chunks = rest.count("its number of chunks").map_err(wrong)?;
    let columns = rest.count("its number of columns").map_err(wrong)?;
    let values = rest.take(columns.saturating_mul(4), "the list of its sums").map_err(wrong)?;
    let rows = CHUNK_SIZE as f64;
    let (values, _) = values.as_chunks();
    let sums = values.iter().map(|value| f64::from(f32::from_le_bytes(*value)) * rows).collect();
    let columns = ColumnImportance::new(sums, vec![chunks as f64 * rows]).map_err(wrong)?;
    Ok((name, columns))
}

fn of_file(problem: String) -> Fault {
    (None, problem)
}

/// A name; what is no UTF-8 of it is replaced.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was not read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], String> {
        let at = self.len - self.bytes.len();
        let split = usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len));
        let (taken, rest) = split.ok_or_else(|| {
            let left = self.bytes.len();
            format!(
                "{what} at byte {at} takes {len} bytes, and {left} are left; the file was cut, or is damaged"
            )
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A number that is not negative.
    fn count(&mut self, what: &str) -> Result<u64, String> {
        let at = self.len - self.bytes.len();
        let bytes = self.take(4, what)?;
        let number =
            bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte)).cast_signed();
        u64::try_from(number).map_err(|_| format!("{what} at byte {at} is {number}"))
    }
}
