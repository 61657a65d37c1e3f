//! NumPy's files of one array, `.npy`.
//!
//! Versions 1 to 3 of the format are read: the bytes `\x93NUMPY`, the version, the length of the header (u16 in version 1,
//! u32 after), the header, which is a dictionary in Python's syntax, and the values. Big-endian values and structures are refused,
//! as are arrays in Fortran order.

use std::path::Path;

use bitquilt_plugin_api::DType;

use super::CheckpointError;
use super::error::{Fault, MAX_RANK, TensorProblem};
use super::mapped::MappedFile;
use crate::file::replace;
use crate::memory::ALIGNMENT;
use crate::tensor::{Tensor, TensorElement};
use crate::text::Brief;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// NumPy's names of the dtypes, without the byte order.
const DTYPES: [(&str, DType); 12] = [
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("f2", DType::F16),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("b1", DType::BOOL),
];

/// Reads an array; its values stay in the mapped file.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor, CheckpointError> {
    let file = MappedFile::open(path.as_ref())?;
    let at = |fault: Fault| fault.at(&file.path);
    let (ArrayHeader { dtype, shape }, data_at) = parse(&file.map).map_err(at)?;
    let range = data_at..file.map.len();
    Tensor::from_mapped(TensorElement::Dense(dtype), shape, &file.map, range)
        .map_err(|error| at(Fault::File(error.to_string())))
}

/// Writes a dense tensor, replacing the file if it is there. NumPy has no bf16; cast it first.
pub fn write(tensor: &Tensor, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let unsupported = |problem| CheckpointError::Unsupported { path: path.to_owned(), problem };
    let known = tensor.dtype().and_then(|dtype| DTYPES.iter().find(|(_, known)| *known == dtype));
    let (descr, dtype) = known.ok_or_else(|| {
        let hint = if tensor.dtype().is_some() { "cast" } else { "dequantize" };
        unsupported(format!("NumPy has no dtype for {}; {hint} it to f32", tensor.element()))
    })?;
    if tensor.shape().len() > MAX_RANK {
        let rank = tensor.shape().len();
        return Err(unsupported(format!("it has {rank} dimensions, at most {MAX_RANK} are allowed")));
    }
    let order = if dtype.size() == Some(1) { '|' } else { '<' };
    let dims: String = tensor.shape().iter().map(|dim| format!("{dim}, ")).collect();
    let dims = if tensor.shape().len() > 1 { dims.trim_end_matches(", ") } else { dims.trim_end() };
    let header = format!("{{'descr': '{order}{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let prefix = MAGIC.len() + 4;
    // Ends with a line feed where the values begin, at a multiple of 64; with 32 dimensions it fits the u16.
    let len = (prefix + header.len() + 1).next_multiple_of(ALIGNMENT) - prefix;
    Ok(replace(path, |out| {
        out.write_all(MAGIC)?;
        out.write_all(&[1, 0])?;
        out.write_all(&(len as u16).to_le_bytes())?;
        writeln!(out, "{header:<width$}", width = len - 1)?;
        out.write_all(tensor.bytes())
    })?)
}

#[derive(Debug, PartialEq)]
pub(super) struct ArrayHeader {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

/// The header, and where the values begin.
pub(super) fn parse(bytes: &[u8]) -> Result<(ArrayHeader, usize), Fault> {
    let Some([major, _minor]) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<2>()) else {
        return Err(Fault::File("this is no .npy file: it does not begin with \"\\x93NUMPY\"".to_owned()));
    };
    let rest = &bytes[MAGIC.len() + 2..];
    let cut = || Fault::File(format!("the header is longer than the file, which has {} bytes", bytes.len()));
    let (len, rest) = match major {
        1 => rest.split_first_chunk().map(|(len, rest)| (u32::from(u16::from_le_bytes(*len)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len), rest)),
        other => {
            return Err(Fault::File(format!("the file has .npy version {other}, versions 1 to 3 are read")));
        }
    }
    .ok_or_else(cut)?;
    let header = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(cut)?;
    let text = std::str::from_utf8(header).map_err(|_| Fault::File("the header is no UTF-8".to_owned()))?;
    let header = Literal { rest: text }.header().map_err(Fault::File)?;
    Ok((header, bytes.len() - rest.len() + text.len()))
}

/// The part of Python's syntax that headers are written in.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order.
    fn header(mut self) -> Result<ArrayHeader, String> {
        let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.accept("}") {
            let key = self.text()?;
            self.expect(":")?;
            let first = match key {
                "descr" => dtype.replace(self.dtype()?).is_none(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                other => return Err(format!("the header has an unknown key '{}'", Brief(other))),
            };
            if !first {
                return Err(format!("the header has the key '{key}' twice"));
            }
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(self.unexpected("the end of the header"));
        }
        let missing = |key| format!("the header has no '{key}'");
        let shape: Vec<usize> = shape.ok_or_else(|| missing("shape"))?;
        if fortran_order.ok_or_else(|| missing("fortran_order"))? && shape.len() > 1 {
            return Err("the array is in Fortran order; save it as numpy.ascontiguousarray(array)".to_owned());
        }
        Ok(ArrayHeader { dtype: dtype.ok_or_else(|| missing("descr"))?, shape })
    }

    fn dtype(&mut self) -> Result<DType, String> {
        if self.rest.trim_start().starts_with('[') {
            return Err("the array is one of structures; save each field by itself".to_owned());
        }
        let descr = self.text()?;
        let known = descr
            .strip_prefix(['<', '|', '='])
            .and_then(|name| DTYPES.iter().find(|(known, _)| *known == name));
        known.map(|(_, dtype)| *dtype).ok_or_else(|| {
            let found = format!("'{}'", Brief(descr));
            let hint = if descr.starts_with('>') { "; big-endian values are not supported" } else { "" };
            format!("{}{hint}", TensorProblem::DType { found })
        })
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match (self.accept("True"), self.accept("False")) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            _ => Err(self.unexpected("True or False")),
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut shape = Vec::new();
        self.expect("(")?;
        while !self.accept(")") {
            self.rest = self.rest.trim_start();
            let digits =
                self.rest.len() - self.rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
            let (number, rest) = self.rest.split_at(digits);
            shape.push(number.parse().map_err(|_| self.unexpected("a dimension"))?);
            self.rest = rest;
            if shape.len() > MAX_RANK {
                return Err(format!("the array has more than {MAX_RANK} dimensions"));
            }
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    /// A text without escapes, in either quotes.
    fn text(&mut self) -> Result<&'a str, String> {
        self.rest = self.rest.trim_start();
        let unexpected = self.unexpected("a text");
        let quote = self.rest.chars().next().filter(|char| matches!(char, '\'' | '"'));
        let text = quote.and_then(|quote| self.rest[1..].split_once(quote));
        let (text, rest) = text.ok_or(unexpected)?;
        self.rest = rest;
        Ok(text)
    }

    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    fn unexpected(&self, expected: &str) -> String {
        let found = Brief(self.rest.trim());
        format!("the header is malformed: {expected} was expected before \"{found}\"")
    }
}
