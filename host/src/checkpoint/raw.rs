//! Files of formats that this library does not know.

use std::path::Path;

use bitquilt_plugin_api::{Scalar, ShapeDisplay};

use super::CheckpointError;
use super::error::Fault;
use super::mapped::MappedFile;
use crate::tensor::{Tensor, TensorElement, dense_bytes};

/// A file of any format, mapped: a program that knows the format takes tensors out of it without a copy.
pub struct RawFile {
    file: MappedFile,
}

impl RawFile {
    /// Maps a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Ok(Self { file: MappedFile::open(path.as_ref())? })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.file.map
    }

    /// The dense, little-endian tensor that begins at byte `offset`; an error if the file ends before it does.
    ///
    /// It shares the mapped file, unless its values are not aligned there.
    pub fn tensor<T: Scalar>(
        &self,
        shape: impl Into<Vec<usize>>,
        offset: usize,
    ) -> Result<Tensor, CheckpointError> {
        let shape = shape.into();
        let wrong = |problem: String| Fault::File(problem).at(&self.file.path);
        let bytes = dense_bytes(T::DTYPE, &shape).map_err(|error| wrong(error.to_string()))?;
        let end = offset.checked_add(bytes).filter(|end| *end <= self.file.map.len());
        let end = end.ok_or_else(|| {
            let (shape, len) = (ShapeDisplay(&shape), self.file.map.len());
            wrong(format!(
                "{} {shape} at byte {offset} takes {bytes} bytes, and the file has {len}; it was cut, or is damaged",
                T::DTYPE
            ))
        })?;
        Tensor::from_mapped(TensorElement::Dense(T::DTYPE), shape, &self.file.map, offset..end)
            .map_err(|error| wrong(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_taken_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raw");
        let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
        std::fs::write(&path, [b"head", bytemuck::cast_slice::<f32, u8>(&values)].concat()).unwrap();
        let file = RawFile::open(&path).unwrap();
        assert_eq!(&file.bytes()[..4], b"head");
        assert_eq!(file.tensor::<f32>([2, 3], 4).unwrap(), Tensor::new([2, 3], &values[..]).unwrap());
        assert_eq!(file.tensor::<f32>([1], 24).unwrap().values::<f32>().unwrap(), [5.0]);
        let unaligned = file.tensor::<u16>([1], 1).unwrap();
        assert_eq!(unaligned.bytes(), b"ea");

        let name = path.display();
        for (shape, offset, problem) in [
            (
                vec![2, 3],
                8,
                "f32 [2, 3] at byte 8 takes 24 bytes, and the file has 28; it was cut, or is damaged",
            ),
            (
                vec![1],
                usize::MAX,
                "f32 [1] at byte 18446744073709551615 takes 4 bytes, and the file has 28; it was cut, or is damaged",
            ),
            (
                vec![1 << 40, 1 << 40],
                0,
                "a tensor of shape [1099511627776, 1099511627776] has more bytes than this machine can address",
            ),
        ] {
            let error = file.tensor::<f32>(shape, offset).unwrap_err();
            assert_eq!(error.to_string(), format!("{name}: {problem}"));
        }
    }
}
