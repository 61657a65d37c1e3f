//! NumPy's files of several arrays, `.npz`: zip archives of [`.npy`](super::npy) files, stored or deflated, as `numpy.savez` and
//! `numpy.savez_compressed` write them.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::Fault;
use super::mapped::MappedFile;
use super::{CheckpointError, TensorDict, npy};
use crate::memory::machine_memory;
use crate::tensor::Tensor;
use crate::text::Brief;

/// Deflate makes no more bytes of one.
const LARGEST_RATIO: u64 = 1032;

/// Reads all arrays, by name.
///
/// What is read is as large as the archive says, and no larger than its compressed bytes can make it and the machine's memory holds.
pub fn read(path: impl AsRef<Path>) -> Result<TensorDict, CheckpointError> {
    let file = MappedFile::open(path.as_ref())?;
    arrays(&file.map).map_err(|fault| fault.at(&file.path))
}

fn arrays(bytes: &[u8]) -> Result<TensorDict, Fault> {
    let damaged =
        |error: ZipError| Fault::File(format!("this is no .npz file: {}", Brief(&error.to_string())));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut dict = TensorDict::new();
    let mut left = machine_memory() as u64;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some(name) = name.strip_suffix(".npy").filter(|name| !name.is_empty()) else {
            return Err(Fault::File(format!("`{}` in it is no .npy file", Brief(&name))));
        };
        let wrong = |problem: String| Fault::File(format!("the array `{}`: {problem}", Brief(name)));
        let (size, compressed) = (entry.size(), entry.compressed_size());
        if compressed > bytes.len() as u64 || size > compressed.saturating_mul(LARGEST_RATIO) {
            return Err(wrong(format!(
                "it has {size} bytes in {compressed} compressed ones, which cannot be; the file is damaged"
            )));
        }
        left = left.checked_sub(size).ok_or_else(|| {
            wrong(format!("with its {size} bytes the arrays are more than this machine's memory holds"))
        })?;
        let mut contents = Vec::new();
        // As many as were announced: memory grows with what is there.
        let read = (&mut entry).take(size.saturating_add(1)).read_to_end(&mut contents);
        read.map_err(|error| wrong(format!("it cannot be unpacked: {}", Brief(&error.to_string()))))?;
        if contents.len() as u64 != size {
            return Err(wrong(format!(
                "it was announced to have {size} bytes, and has others; the file is damaged"
            )));
        }
        let (header, data_at) = npy::parse(&contents).map_err(|fault| match fault {
            Fault::File(problem) => wrong(problem),
            other => other,
        })?;
        let tensor = Tensor::from_bytes(header.dtype, header.shape, &contents[data_at..]);
        if dict.insert(name, tensor.map_err(|error| wrong(error.to_string()))?).is_some() {
            return Err(wrong("it is there twice".to_owned()));
        }
    }
    Ok(dict)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// The bytes of a .npy file.
    fn npy(tensor: &Tensor) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        npy::write(tensor, &path).unwrap();
        std::fs::read(path).unwrap()
    }

    fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
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
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let dict = arrays(&archive(&entries, method)).unwrap();
            assert_eq!((dict.require("x").unwrap(), dict.require("ids").unwrap()), (&x, &ids), "{method}");
            assert_eq!(dict.len(), 2);
        }
    }

    #[test]
    fn what_is_wrong_is_a_sentence() {
        let x = npy(&Tensor::full([4], 1.0f32));
        let stored = |entries: &[(&str, &[u8])]| archive(entries, CompressionMethod::Stored);
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
        let whole = archive(&[("x.npy", &x)], CompressionMethod::Deflated);
        for len in 0..whole.len() {
            refusal(&whole[..len]);
        }
    }
}
