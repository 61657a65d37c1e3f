//! Files that were cut or changed: they are read or refused, and nothing else happens.

use proptest::prelude::*;

use super::*;

/// Reads a file, and looks at all bytes of what comes out.
type Read = fn(&Path) -> Result<(), CheckpointError>;

/// A file of each format, and how it is read.
fn samples() -> Vec<(&'static str, Sample, Read)> {
    let checkpoints = FORMATS.iter().map(|format| (format.name(), format.sample(), read_all as Read));
    checkpoints.chain([(".npy", npy_files::sample(), read_npy as Read)]).collect()
}

fn read_all(path: &Path) -> Result<(), CheckpointError> {
    let registry = registry([q4_0(), EncodingSpec::new("q4_1", 32, 20)]);
    let tensors = load(path, &registry)?;
    tensors.iter().for_each(|(_, tensor)| look_at(tensor));
    Ok(())
}

fn read_npy(path: &Path) -> Result<(), CheckpointError> {
    npy::read(path).map(|tensor| look_at(&tensor))
}

fn look_at(tensor: &Tensor) {
    let sum = tensor.bytes().iter().fold(0u64, |sum, byte| sum + u64::from(*byte));
    std::hint::black_box((sum, tensor.byte_shape(), tensor.len()));
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    for (format, Sample { bytes, may_go_on }, read) in samples() {
        let (_directory, path) = file(&bytes);
        read(&path).unwrap_or_else(|error| panic!("the whole {format} file: {error}"));
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = read(&path).expect_err(format);
            assert!(
                error.to_string().len() > path.display().to_string().len(),
                "{format} cut at {len}: {error}"
            );
        }
        std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert_eq!(read(&path).is_ok(), may_go_on, "{format} with a byte more");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_was_changed_is_read_or_refused(
        format in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        interesting in any::<Option<(prop::sample::Index, u64)>>(),
    ) {
        let mut samples = samples();
        let (_, Sample { mut bytes, .. }, read) = samples.swap_remove(format.index(samples.len()));
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some((index, number)) = interesting {
            // A whole number at once: lengths, counts and offsets that are near the limits.
            let index = index.index(bytes.len() - 8);
            let number = match number % 4 { 0 => u64::MAX, 1 => 1 << 63, 2 => u64::MAX - 31, _ => number };
            bytes[index..index + 8].copy_from_slice(&number.to_le_bytes());
        }
        let (_directory, path) = file(&bytes);
        let _ = read(&path);
    }

    #[test]
    fn a_header_in_which_text_was_moved_is_read_or_refused(
        from in any::<prop::sample::Index>(),
        len in 1usize..40,
        to in any::<prop::sample::Index>(),
    ) {
        let bytes = round_trips::sample().bytes;
        let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let (mut header, data) = (bytes[8..8 + length].to_vec(), &bytes[8 + length..]);
        let from = from.index(header.len() - len);
        let piece = header[from..from + len].to_vec();
        let to = to.index(header.len());
        header.splice(to..to, piece);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, data].concat();
        let (_directory, path) = file(&bytes);
        let _ = read_all(&path);
    }
}
