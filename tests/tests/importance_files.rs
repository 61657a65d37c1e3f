//! Importance in files, those of llama.cpp among them, and what is said of damaged ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::quantize::importance::{Chunks, ImportanceMatrix};
use bitquilt::registry::Registry;
use bitquilt::{Tensor, TensorDict};
use bitquilt_tests::gguf::{GgufFile, GgufTensor};

/// What a file holds, or what is wrong with it.
fn load(path: &Path) -> Result<ImportanceMatrix, String> {
    let directory = format!("{}/", path.parent().unwrap().display());
    ImportanceMatrix::read([path]).map_err(|error| error.to_string().replace(&directory, ""))
}

/// A weight `a` of 4 columns, and `b`, three experts of 2 columns, of which the second was never reached.
fn imatrix() -> GgufFile {
    GgufFile::imatrix(["calibration.txt", "more.txt"])
        .importance("a", [4], [8.0, 0.0, 2.0, 1.0], &[4.0])
        .importance("b", [2, 3], [1.0, 2.0, 0.0, 0.0, 9.0, 6.0], &[2.0, 0.0, 3.0])
}

/// A file of the older format: names, chunks and sums; chunks of all, and a dataset.
fn dat(entries: &[(&str, i32, &[f32])], end: Option<(i32, &str)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as i32).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, chunks, sums) in entries {
        file.extend(text(name));
        file.extend(chunks.to_le_bytes());
        file.extend((sums.len() as i32).to_le_bytes());
        file.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    }
    if let Some((chunks, dataset)) = end {
        file.extend(chunks.to_le_bytes());
        file.extend(text(dataset));
    }
    file
}

#[test]
fn files_of_llama_cpp_are_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("imatrix.gguf"), imatrix().bytes()).unwrap();
    let read = load(&path("imatrix.gguf")).unwrap();
    let a = read.get("a").unwrap();
    assert_eq!(
        (a.means(), a.counts(), a.sums()),
        (vec![2.0, 0.0, 0.5, 0.25], &[4.0][..], &[8.0, 0.0, 2.0, 1.0][..])
    );
    let b = read.get("b").unwrap();
    assert_eq!((b.means(), b.counts()), (vec![0.5, 1.0, 0.0, 0.0, 3.0, 2.0], &[2.0, 0.0, 3.0][..]));
    assert_eq!(read.datasets(), ["calibration.txt", "more.txt"]);
    assert_eq!((read.chunks(), read.is_counted()), (Chunks { count: 7, size: 512 }, true));

    read.write(path("copy.gguf")).unwrap();
    let file = Checkpoint::open(path("copy.gguf")).unwrap();
    let shapes: Vec<(&str, &[usize])> = file.tensors().map(|(name, stored)| (name, stored.shape())).collect();
    let expected: [(&str, &[usize]); 4] =
        [("a.counts", &[1]), ("a.in_sum2", &[4]), ("b.counts", &[3, 1]), ("b.in_sum2", &[3, 2])];
    assert_eq!(shapes, expected);
    let same = |name: &str| {
        let found = load(&path(name)).unwrap();
        assert!(found.iter().eq(read.iter()), "{name}: {found:?}");
        assert_eq!((found.datasets(), found.chunks()), (read.datasets(), read.chunks()), "{name}");
    };
    same("copy.gguf");
    read.write(path("copy.safetensors")).unwrap();
    let means = checkpoint::load(path("copy.safetensors"), &Registry::default()).unwrap();
    assert_eq!(means.values::<f32>("b").unwrap(), b.means());
    same("copy.safetensors");

    // The older format counts chunks; its means are the sums by those.
    fs::write(path("imatrix.dat"), dat(&[("a", 4, &[8.0, 0.0, 2.0, 1.0])], Some((7, "calibration.txt"))))
        .unwrap();
    let old = load(&path("imatrix.dat")).unwrap();
    assert_eq!(old.get("a").unwrap().means(), a.means());
    assert_eq!((old.get("a").unwrap().rows(), old.chunks()), (2048.0, Chunks { count: 7, size: 512 }));
    assert_eq!(old.datasets(), ["calibration.txt"]);
    fs::write(path("bare.dat"), dat(&[("a", 4, &[8.0, 0.0, 2.0, 1.0])], None)).unwrap();
    assert_eq!(load(&path("bare.dat")).unwrap().chunks(), Chunks::default());
}

#[test]
fn damaged_files_are_sentences() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let negative = "finite numbers that are not negative were expected";
    let sums = |values: [f32; 4]| imatrix().tensor(GgufTensor::f32("a.in_sum2", [4], values)).bytes();
    let counts = |values: &[f32]| {
        let tensor = GgufTensor::f32("a.counts", [values.len() as u64], values.iter().copied());
        imatrix().tensor(tensor).bytes()
    };
    let huge = |name: &str| imatrix().tensor(GgufTensor::new(name, [1 << 60], 0, [0; 4])).bytes();
    let mut twice = imatrix();
    twice.tensors.push(GgufTensor::f32("a.counts", [1], [4.0]));
    let cut = |bytes: Vec<u8>, less: usize| bytes[..bytes.len() - less].to_vec();
    let old = || dat(&[("a", 4, &[8.0, 1.0])], Some((7, "text")));
    let with = |at: usize, number: i32| {
        let mut bytes = old();
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let plain = |tensors: &[(&str, Tensor)], counts: Option<&str>| {
        let mut dict: TensorDict = tensors.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
        if let Some(counts) = counts {
            dict.metadata_mut().insert("imatrix.counts", counts);
        }
        checkpoint::save(&dict, path("plain.safetensors")).unwrap();
        fs::read(path("plain.safetensors")).unwrap()
    };
    let vector = || Tensor::full([4], 1f32);
    let damaged =
        "file: it is no GGUF, safetensors or .npz file, and as an imatrix.dat of llama.cpp is damaged: ";
    let cases: Vec<(Vec<u8>, String)> = vec![
        (sums([1.0, f32::NAN, 1.0, 1.0]), format!("file, tensor `a.in_sum2`: it has NaN at column 1; {negative}")),
        (sums([1.0, 1.0, f32::INFINITY, 1.0]), format!("file, tensor `a.in_sum2`: it has inf at column 2; {negative}")),
        (sums([1.0, 1.0, 1.0, -0.5]), format!("file, tensor `a.in_sum2`: it has -0.5 at column 3; {negative}")),
        (counts(&[-1.0]), format!("file, tensor `a.in_sum2`: it has -1 for count 0; {negative}")),
        (counts(&[f32::NAN]), format!("file, tensor `a.in_sum2`: it has NaN for count 0; {negative}")),
        (
            counts(&[1.0; 3]),
            "file, tensor `a.in_sum2`: it has 3 counts for 4 sums; each count is that of as many sums, one at least".to_owned(),
        ),
        (counts(&[]), "file, tensor `a.in_sum2`: it has 0 counts for 4 sums; each".to_owned()),
        (imatrix().without("a.counts").bytes(), "file: there is `a.in_sum2`, and no `a.counts`".to_owned()),
        (imatrix().without("a.in_sum2").bytes(), "file: there is `a.counts`, and no `a.in_sum2`".to_owned()),
        (
            imatrix().tensor(GgufTensor::new("a.in_sum2", [4], 1, [0; 8])).bytes(),
            "file, tensor `a.in_sum2`: it is f16 [4], an f32 vector was expected".to_owned(),
        ),
        (
            imatrix().set("general.type", "model").bytes(),
            "file: its metadata `general.type` is `model`; `imatrix` was expected".to_owned(),
        ),
        (
            imatrix().without("general.type").bytes(),
            "file: its metadata `general.type` is not there; `imatrix` was expected".to_owned(),
        ),
        (
            imatrix().set("imatrix.datasets", 3).bytes(),
            "file: its metadata `imatrix.datasets` is 3; a list of texts was expected".to_owned(),
        ),
        (
            imatrix().set("imatrix.chunk_count", "many").bytes(),
            "file: its metadata `imatrix.chunk_count` is many; a number was expected".to_owned(),
        ),
        (
            GgufFile::default().set("general.type", "imatrix").bytes(),
            "file: it has importance for no weight".to_owned(),
        ),
        (twice.bytes(), "file: there are two tensors `a.counts`".to_owned()),
        (huge("a.in_sum2"), "file, tensor `a.in_sum2`: ".to_owned()),
        (cut(imatrix().bytes(), 6), "file, tensor `b.counts`: ".to_owned()),
        (Vec::new(), format!("{damaged}the number of weights at byte 0 takes 4 bytes, and 0 are left")),
        (with(0, -1), format!("{damaged}the number of weights at byte 0 is -1")),
        (with(0, 2), "file, tensor `".to_owned()),
        (with(4, i32::MAX), format!("{damaged}the name of weight 0 of 1 at byte 8 takes 2147483647 bytes, and 29 are left")),
        (with(4, i32::MIN), format!("{damaged}the length of the name of weight 0 of 1 at byte 4 is -2147483648")),
        (with(9, -4), "file, tensor `a`: its number of chunks at byte 9 is -4".to_owned()),
        (with(13, i32::MAX), "file, tensor `a`: the list of its sums at byte 17 takes 8589934588 bytes, and 20 are left".to_owned()),
        (with(13, 0), "file, tensor `a`: it has 1 counts for 0 sums".to_owned()),
        (cut(old(), 2), format!("{damaged}the text's name at byte 33 takes 4 bytes, and 2 are left")),
        ([old(), vec![0; 3]].concat(), format!("{damaged}3 bytes follow where it should end")),
        (
            dat(&[("a", 1, &[1.0]), ("a", 1, &[1.0])], None),
            format!("{damaged}it has `a` twice"),
        ),
        (
            dat(&[("a", 1, &[1.0, f32::NAN])], None),
            format!("file, tensor `a`: it has NaN at column 1; {negative}"),
        ),
        (
            plain(&[("a", vector()), ("ids", Tensor::full([4], 1i64))], None),
            "file, tensor `ids`: it is i64 [4], an f32 vector was expected".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"a\": \"x\"}")),
            "file: its metadata `imatrix.counts` is no list of numbers for each weight: ".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"b\": [1]}")),
            "file, tensor `a`: the metadata `imatrix.counts` does not say how many rows its means are of".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"a\": [1, 2, 3]}")),
            "file, tensor `a`: it has 3 counts for 4 sums".to_owned(),
        ),
    ];
    for (index, (bytes, sentence)) in cases.into_iter().enumerate() {
        fs::write(path("file"), bytes).unwrap();
        let found = load(&path("file")).unwrap_err();
        assert!(found.starts_with(&sentence), "case {index}: {found}\nexpected {sentence}");
        assert!(!found.contains('\n'), "{found}");
    }
    // Whatever is cut or changed is read, or a sentence.
    for bytes in [imatrix().bytes(), old()] {
        for at in 0..bytes.len() {
            fs::write(path("file"), &bytes[..at]).unwrap();
            let _ = load(&path("file"));
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            fs::write(path("file"), &changed).unwrap();
            let _ = load(&path("file"));
        }
    }
}
