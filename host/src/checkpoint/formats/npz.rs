//! Archives of NumPy's arrays, `.npz`: a ZIP file with an `.npy` file for each array.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter, ZipSliceEntry};

use crate::checkpoint::container::{Container, Contents, FileLayout, Format, NextTensor, Types};
use crate::checkpoint::error::Fault;
use crate::checkpoint::metadata::Metadata;
use crate::checkpoint::npy::{self, ArrayHeader};
use crate::checkpoint::npz::{self, ARRAY};
use crate::checkpoint::stored::StoredTensor;
use crate::tensor::TensorElement;
use crate::text::Brief;

/// The format.
pub(super) struct Npz;

impl Container for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }
    fn extension(&self) -> &'static str {
        "npz"
    }
    fn matches(&self, first: &[u8]) -> bool {
        // A ZIP file begins with its first file, or, if it has none, with its end.
        first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06")
    }
    fn parse(&self, bytes: &[u8]) -> Result<Contents, Fault> {
        parse(bytes)
    }
    fn lay_out<'a>(&self, types: Types<'a>, metadata: &Metadata) -> Result<Box<dyn FileLayout + 'a>, String> {
        Ok(Box::new(Archive::new(types, metadata)?))
    }
    #[cfg(test)]
    fn sample(&self) -> crate::checkpoint::container::Sample {
        crate::checkpoint::tests::npz_files::sample()
    }
}

fn parse(bytes: &[u8]) -> Result<Contents, Fault> {
    let mut tensors = BTreeMap::new();
    npz::for_each(bytes, |member| {
        if member.method != CompressionMethod::STORE {
            return Err(
                member.wrong("it is compressed, and cannot be used where it lies; save it by numpy.savez")
            );
        }
        let tensor = array(&member.entry).map_err(|fault| match fault {
            Fault::File(problem) => member.wrong(problem),
            fault => fault,
        })?;
        match tensors.insert(member.name.to_owned(), tensor) {
            None => Ok(()),
            Some(_) => Err(member.wrong("it is there twice")),
        }
    })?;
    Ok(Contents { format: Format::new("npz", None), metadata: Metadata::new(), tensors })
}

/// The array in a file of the archive.
fn array(entry: &ZipSliceEntry<'_>) -> Result<StoredTensor, Fault> {
    let data = entry.data();
    let (ArrayHeader { dtype, shape }, values_at) = npy::parse(data)?;
    let begin = entry.compressed_data_range().0 as usize;
    let tensor = StoredTensor::new(TensorElement::Dense(dtype), shape, begin + values_at..begin + data.len());
    tensor.map_err(|problem| problem.to_string().into())
}

/// An archive to be written: names, elements and shapes of the arrays, and what comes before the values of each.
struct Archive<'a> {
    arrays: Types<'a>,
    heads: Vec<Vec<u8>>,
}

impl<'a> Archive<'a> {
    fn new(arrays: Types<'a>, metadata: &Metadata) -> Result<Self, String> {
        if let Some((key, _)) = metadata.iter().next() {
            let (key, count) = (Brief(key), metadata.len());
            return Err(format!(
                "an .npz file has no place for metadata, of which there are {count} entries, such as `{key}`; write a \
                 .safetensors file, or leave it out (`bitquilt convert --without-metadata`)"
            ));
        }
        let head = |(name, element, shape): &(&str, &TensorElement, &[usize])| {
            npy::head(element, shape).map_err(|problem| format!("tensor `{}`: {problem}", Brief(name)))
        };
        let heads = arrays.iter().map(head).collect::<Result<_, _>>()?;
        Ok(Self { arrays, heads })
    }
}

impl FileLayout for Archive<'_> {
    fn write(&self, out: &mut (dyn Write + Send), tensor: &mut NextTensor<'_>) -> io::Result<()> {
        let mut archive = ZipArchiveWriter::new(out);
        for ((name, element, shape), head) in self.arrays.iter().zip(&self.heads) {
            let tensor = tensor(name, element, shape)?;
            let file = EntryPath::verbatim(format!("{name}{ARRAY}").into_bytes());
            let entry = archive.new_file(file).compression_method(CompressionMethod::STORE);
            let (mut entry, config) = entry.start().map_err(io::Error::other)?;
            let mut data = config.wrap(&mut entry);
            data.write_all(head)?;
            data.write_all(tensor.bytes())?;
            let (_, descriptor) = data.finish().map_err(io::Error::other)?;
            entry.finish(descriptor).map_err(io::Error::other)?;
        }
        archive.finish().map(drop).map_err(io::Error::other)
    }
}
