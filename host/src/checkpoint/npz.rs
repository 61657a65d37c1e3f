//! NumPy's files of several arrays, `.npz`: ZIP archives of [`.npy`](super::npy) files, stored or deflated, as `numpy.savez` and
//! `numpy.savez_compressed` write them.
//!
//! As a checkpoint an archive is mapped, and its arrays have to be stored plainly; [`read`] takes those that are compressed as well.

use std::io::Read;
use std::path::Path;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipSliceEntry};

use super::error::Fault;
use super::mapped::MappedFile;
use super::metadata::Escaped;
use super::{CheckpointError, TensorDict, npy};
use crate::memory::machine_memory;
use crate::tensor::Tensor;
use crate::text::Brief;

/// What the names of arrays end in.
pub(super) const ARRAY: &str = ".npy";

/// Deflate makes no more bytes of one.
const LARGEST_RATIO: u64 = 1032;

/// Reads all arrays, by name.
///
/// What is read is as large as the archive says, and no larger than its compressed bytes can make it and the machine's memory holds.
pub fn read(path: impl AsRef<Path>) -> Result<TensorDict, CheckpointError> {
    let file = MappedFile::open(path.as_ref())?;
    arrays(&file.map).map_err(|fault| fault.at(&file.path))
}

/// A file of an archive that is an array.
pub(super) struct Member<'a> {
    /// The array's name.
    pub(super) name: &'a str,
    /// How the file is packed.
    pub(super) method: CompressionMethod,
    /// The bytes of the file once it is unpacked, as the archive announces them.
    pub(super) size: u64,
    /// Where it is.
    pub(super) entry: ZipSliceEntry<'a>,
}

impl Member<'_> {
    /// What is wrong with the array.
    pub(super) fn wrong(&self, problem: impl std::fmt::Display) -> Fault {
        Fault::File(format!("the array `{}`: {problem}", Brief(self.name)))
    }
}

/// Visits the arrays of an archive.
pub(super) fn for_each(
    bytes: &[u8],
    mut visit: impl FnMut(Member<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let malformed = |error: rawzip::Error| {
        Fault::File(format!(
            "this is no .npz file: its ZIP archive is malformed: {}",
            Brief(&error.to_string())
        ))
    };
    let archive = ZipArchive::from_slice(bytes).map_err(malformed)?;
    let mut entries = archive.entries();
    let mut count = 0;
    while let Some(record) = entries.next_entry().map_err(malformed)? {
        count += 1;
        let path = record.file_path();
        let file = Escaped(path.as_bytes()).to_string();
        let Some(name) = file.strip_suffix(ARRAY).filter(|name| !name.is_empty()) else {
            let file = Brief(&file);
            return Err(Fault::File(format!(
                "`{file}` in it is no {ARRAY} file; of PyTorch's files save the tensors as safetensors"
            )));
        };
        let entry = archive.get_entry(record.wayfinder()).map_err(malformed)?;
        let (method, size) = (record.compression_method(), record.uncompressed_size_hint());
        let member = Member { name, method, size, entry };
        if record.flags().is_encrypted() {
            return Err(member.wrong("it is encrypted; save it without a password"));
        }
        visit(member)?;
    }
    match archive.entries_hint() {
        expected if expected == count => Ok(()),
        expected => {
            Err(Fault::File(format!("the ZIP archive has {count} files, and says that it has {expected}")))
        }
    }
}

fn arrays(bytes: &[u8]) -> Result<TensorDict, Fault> {
    let mut dict = TensorDict::new();
    let mut left = machine_memory() as u64;
    for_each(bytes, |member| {
        let (size, compressed) = (member.size, member.entry.data().len() as u64);
        if size > compressed.saturating_mul(LARGEST_RATIO) {
            return Err(member.wrong(format_args!(
                "it has {size} bytes in {compressed} compressed ones, which cannot be; the file is damaged"
            )));
        }
        left = left.checked_sub(size).ok_or_else(|| {
            member.wrong(format_args!(
                "with its {size} bytes the arrays are more than this machine's memory holds"
            ))
        })?;
        let contents = unpack(&member)?;
        let (header, data_at) = npy::parse(&contents).map_err(|fault| match fault {
            Fault::File(problem) => member.wrong(problem),
            other => other,
        })?;
        let tensor = Tensor::from_bytes(header.dtype, header.shape, &contents[data_at..]);
        let tensor = tensor.map_err(|error| member.wrong(error))?;
        match dict.insert(member.name, tensor) {
            None => Ok(()),
            Some(_) => Err(member.wrong("it is there twice")),
        }
    })?;
    Ok(dict)
}

/// The bytes of a file of the archive, which have the sum that they should.
fn unpack(member: &Member<'_>) -> Result<Vec<u8>, Fault> {
    let data = member.entry.data();
    let mut contents = Vec::new();
    // One more than was announced is too many, and memory grows with what is there.
    let limit = member.size.saturating_add(1);
    let read = match member.method {
        CompressionMethod::STORE => {
            member.entry.verifying_reader(data).take(limit).read_to_end(&mut contents)
        }
        CompressionMethod::DEFLATE => {
            let unpacked = DeflateDecoder::new(data);
            member.entry.verifying_reader(unpacked).take(limit).read_to_end(&mut contents)
        }
        _ => return Err(member.wrong("it is packed by another method than Deflate; save it by numpy.savez")),
    };
    read.map_err(|error| member.wrong(format_args!("it cannot be unpacked: {}", Brief(&error.to_string()))))?;
    match contents.len() as u64 == member.size {
        true => Ok(contents),
        false => Err(member.wrong(format_args!(
            "it was announced to have {} bytes, and has others; the file is damaged",
            member.size
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::DeflateEncoder;
    use rawzip::ZipArchiveWriter;

    use super::*;

    /// The bytes of a .npy file.
    fn npy(tensor: &Tensor) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        npy::write(tensor, &path).unwrap();
        std::fs::read(path).unwrap()
    }

    fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (name, bytes) in entries {
            let entry = archive.new_file(*name).compression_method(method).start().unwrap();
            let (mut entry, config) = entry;
            let descriptor = if method == CompressionMethod::STORE {
                let mut data = config.wrap(&mut entry);
                data.write_all(bytes).unwrap();
                data.finish().unwrap().1
            } else {
                let mut data = config.wrap(DeflateEncoder::new(&mut entry, flate2::Compression::default()));
                data.write_all(bytes).unwrap();
                let (encoder, descriptor) = data.finish().unwrap();
                encoder.finish().unwrap();
                descriptor
            };
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        match arrays(bytes) {
            Err(Fault::File(problem)) => problem,
            Err(Fault::Tensor(name, problem)) => format!("{name}: {problem}"),
            Ok(dict) => panic!("{dict:?}"),
        }
    }

    #[test]
    fn stored_and_deflated_arrays_are_read() {
        let x = Tensor::new([2, 3], [1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let ids = Tensor::new([5000], vec![7i64; 5000]).unwrap();
        let entries = [("x.npy", npy(&x)), ("ids.npy", npy(&ids))];
        let entries = [(entries[0].0, &entries[0].1[..]), (entries[1].0, &entries[1].1[..])];
        for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
            let dict = arrays(&archive(&entries, method)).unwrap();
            assert_eq!((dict.require("x").unwrap(), dict.require("ids").unwrap()), (&x, &ids), "{method:?}");
            assert_eq!(dict.len(), 2);
        }
    }

    #[test]
    fn what_is_wrong_is_a_sentence() {
        let x = npy(&Tensor::full([4], 1.0f32));
        let stored = |entries: &[(&str, &[u8])]| archive(entries, CompressionMethod::STORE);
        let mut other_sum = stored(&[("x.npy", &x)]);
        let at = other_sum.windows(4).position(|bytes| bytes == 1f32.to_le_bytes()).unwrap();
        other_sum[at] ^= 1;
        for (bytes, sentence) in [
            (vec![], "this is no .npz file: "),
            (b"\x93NUMPY".to_vec(), "this is no .npz file: "),
            (stored(&[("readme.txt", b"hello")]), "`readme.txt` in it is no .npy file"),
            (stored(&[("x.npy", b"hello")]), "the array `x`: this is no .npy file"),
            (stored(&[("x.npy", &x[..x.len() - 1])]), "the array `x`: f32 [4] needs 16 bytes, 15 were given"),
            (other_sum, "the array `x`: it cannot be unpacked: "),
        ] {
            let found = refusal(&bytes);
            assert!(found.starts_with(sentence), "{found:?} is not {sentence:?}");
        }
        // No cut is read as something else.
        let whole = archive(&[("x.npy", &x)], CompressionMethod::DEFLATE);
        for len in 0..whole.len() {
            refusal(&whole[..len]);
        }
    }
}
