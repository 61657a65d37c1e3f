//! Models in several files.

use super::gguf_writer::{GgufTensor, GgufWriter, text};
use super::*;
use crate::checkpoint::metadata::Value;

/// Names and bytes.
type Files = Vec<(&'static str, Vec<u8>)>;

/// A directory with files in it.
struct Folder(TempDir);

impl Folder {
    fn new(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        files.into_iter().for_each(|(name, bytes)| std::fs::write(this.path(name), bytes).unwrap());
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(self.path(name))
    }

    /// What is said of a file, without the directory.
    fn says(&self, name: &str) -> String {
        match self.open(name) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string().replace(&format!("{}/", self.0.path().display()), ""),
        }
    }
}

/// A GGUF shard of one tensor: its number, how many there are, and how many tensors.
fn shard(number: u16, count: u16, tensors: i32, name: &'static str) -> Vec<u8> {
    let values = [f32::from(number) + 1.0];
    let mut writer = GgufWriter::default();
    if number == 0 {
        writer = writer.entry("general.architecture", 8, text("llama"));
    }
    writer
        .entry("split.no", 2, number.to_le_bytes())
        .entry("split.count", 2, count.to_le_bytes())
        .entry("split.tensors.count", 5, tensors.to_le_bytes())
        .tensor(GgufTensor::new(name, [1], 0, bytemuck::cast_slice(&values)))
        .bytes()
}

/// A safetensors file of one f32 tensor.
fn part(name: &str, value: f32) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt","only":"{name}"}},"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &value.to_le_bytes()].concat()
}

fn index(weight_map: &str) -> Vec<u8> {
    format!("{{\"metadata\": {{\"total_size\": 8}},\n\"weight_map\": {{{weight_map}}}}}\n").into_bytes()
}

#[test]
fn all_shards_of_gguf_are_one_checkpoint() {
    let names = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];
    let folder = Folder::new([
        (names[0], shard(0, 3, 3, "a")),
        (names[1], shard(1, 3, 3, "b")),
        (names[2], shard(2, 3, 3, "c")),
    ]);
    for name in names {
        let checkpoint = folder.open(name).unwrap();
        assert_eq!(checkpoint.path(), folder.path(name));
        assert!(checkpoint.files().eq(names.map(|name| folder.path(name))));
        let tensors = checkpoint.load(&Registry::default()).unwrap();
        for (index, (name, value)) in [("a", 1.0f32), ("b", 2.0), ("c", 3.0)].into_iter().enumerate() {
            assert_eq!(tensors.values::<f32>(name).unwrap(), [value]);
            let stored = checkpoint.tensors().find(|(known, _)| *known == name).unwrap().1;
            assert_eq!(checkpoint.file_of(stored), folder.path(names[index]));
        }
        // What is read is whole, and does not say that it is a part.
        let metadata: Vec<(&str, &Value)> = checkpoint.metadata().iter().collect();
        assert_eq!(metadata, [("general.architecture", &Value::from("llama"))]);
    }
    let saved = folder.path("saved");
    save(&folder.open(names[1]).unwrap().load(&Registry::default()).unwrap(), &saved).unwrap();
    assert_eq!(Checkpoint::open(&saved).unwrap().tensors().len(), 3);
}

#[test]
fn a_model_that_was_not_split_is_one_file() {
    let folder = Folder::new([
        ("m.gguf", shard(0, 1, 1, "a")),
        ("m-00001-of-00001.gguf", shard(0, 1, 1, "a")),
        ("m-00001-of-00001.safetensors", part("a", 1.0)),
    ]);
    for name in ["m.gguf", "m-00001-of-00001.gguf", "m-00001-of-00001.safetensors"] {
        let checkpoint = folder.open(name).unwrap();
        assert_eq!((checkpoint.files().len(), checkpoint.tensors().len()), (1, 1));
        assert!(!checkpoint.metadata().contains("split.count"));
    }
}

#[test]
fn all_shards_of_safetensors_are_one_checkpoint() {
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let folder = Folder::new([
        (first, part("a", 1.0)),
        (second, part("b", 2.0)),
        ("model.safetensors.index.json", index(&format!(r#""a": "{first}", "b": "{second}""#))),
    ]);
    for name in [first, second, "model.safetensors.index.json"] {
        let checkpoint = folder.open(name).unwrap();
        assert!(checkpoint.files().eq([first, second].map(|name| folder.path(name))), "{name}");
        let tensors = checkpoint.load(&Registry::default()).unwrap();
        assert_eq!(tensors.values::<f32>("a").unwrap(), [1.0]);
        assert_eq!(tensors.values::<f32>("b").unwrap(), [2.0]);
        assert_eq!(tensors.metadata().text("format"), Some("pt"));
        assert_eq!(tensors.metadata().text("only"), Some("a"));
    }
}

#[test]
fn shards_of_any_name_are_told_by_the_index_beside_them() {
    let map = r#""a": "one.safetensors", "b": "two.safetensors""#;
    let folder = Folder::new([
        ("one.safetensors", part("a", 1.0)),
        ("two.safetensors", part("b", 2.0)),
        ("three.safetensors", part("c", 3.0)),
        ("model.safetensors.index.json", index(map)),
    ]);
    for (name, tensors) in [("one.safetensors", 2), ("two.safetensors", 2), ("three.safetensors", 1)] {
        assert_eq!(folder.open(name).unwrap().tensors().len(), tensors, "{name}");
    }
    std::fs::remove_file(folder.path("two.safetensors")).unwrap();
    assert_eq!(
        folder.says("one.safetensors"),
        "two.safetensors is not there, which one.safetensors belongs with: 2 files make the model; put all of them into one directory"
    );
}

#[test]
fn a_tensor_of_a_shard_is_told_with_its_file() {
    let (first, second) = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors");
    let header = r#"{"t":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}"#;
    let other = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[1]].concat();
    let folder = Folder::new([(first, part("a", 1.0)), (second, other)]);
    let error = folder.open(first).unwrap().tensor("t", &Registry::default()).unwrap_err().to_string();
    assert!(error.contains(second) && error.contains("tensor `t`: its type is F8_E8M0"), "{error}");
}

#[test]
fn sets_that_do_not_fit_are_refused_with_a_sentence() {
    let (first, second) = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
    let (one, two) = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors");
    let belongs = "2 files make the model; put all of them into one directory";
    let indexed = |map: &str| ("model.safetensors.index.json", index(map));
    let both = || [(one, part("a", 1.0)), (two, part("b", 2.0))];
    let cases: Vec<(Files, &str, String)> = vec![
        (
            vec![(first, shard(0, 2, 2, "a"))],
            first,
            format!("{second} is not there, which {first} belongs with: {belongs}"),
        ),
        (
            vec![(second, shard(1, 2, 2, "a"))],
            second,
            format!("{first} is not there, which {second} belongs with: {belongs}"),
        ),
        (
            vec![("part.gguf", shard(1, 2, 2, "a"))],
            "part.gguf",
            "part.gguf: it is shard 2 of the 2 that make a model, and its name does not say which the others are; name them \
             NAME-00001-of-00002.gguf and so on"
                .to_owned(),
        ),
        (
            vec![(first, shard(0, 3, 2, "a")), (second, shard(1, 3, 2, "b"))],
            first,
            format!("{first}: its name says that there are 2 shards, and `split.count` is 3"),
        ),
        (
            vec![(first, shard(1, 2, 2, "a")), (second, shard(0, 2, 2, "b"))],
            second,
            format!("{first}: its name says that it is shard 1, and `split.no`, which counts from 0, is 1"),
        ),
        (
            vec![(first, shard(0, 2, 3, "a")), (second, shard(1, 2, 3, "b"))],
            first,
            format!("{first}: its 2 shards have 2 tensors, and `split.tensors.count` is 3"),
        ),
        (
            vec![(first, shard(0, 2, 2, "a")), (second, shard(1, 2, 2, "a"))],
            first,
            format!("{second}: the tensor `a` is in another shard as well"),
        ),
        (
            vec![(first, shard(0, 2, 2, "a")), (second, part("b", 1.0))],
            first,
            format!("{second}: it is safetensors, and {first} of the same model is GGUF version 3"),
        ),
        (
            vec![(first, shard(0, 2, 2, "a")), (second, b"PK".to_vec())],
            first,
            format!("{second} {}: it begins with \"PK\"", neither()),
        ),
        (
            vec![(one, part("a", 1.0))],
            one,
            format!("{two} is not there, which {one} belongs with: {belongs}"),
        ),
        (
            both().into_iter().chain([indexed(r#""a": "../m", "b": "m""#)]).collect(),
            "model.safetensors.index.json",
            "model.safetensors.index.json: it has the tensor `a` in `../m`; the name of a file in the same directory was expected"
                .to_owned(),
        ),
        (
            both().into_iter().chain([indexed(&format!(r#""a": "{one}", "c": "{two}""#))]).collect(),
            "model.safetensors.index.json",
            format!("{two}: it has the tensor `b`, of which the index says otherwise"),
        ),
        (
            [("x", part("a", 1.0)), ("y", part("b", 1.0)), indexed(r#""a": "y", "b": "y""#)].into(),
            "model.safetensors.index.json",
            "model.safetensors.index.json: it has the tensor `a` in `y`, which has no such tensor".to_owned(),
        ),
        (
            [("x", part("a", 1.0)), indexed("")].into(),
            "model.safetensors.index.json",
            "model.safetensors.index.json: it names no files".to_owned(),
        ),
        (
            both().into_iter().chain([indexed(&format!(r#""a": "{one}""#))]).collect(),
            "model.safetensors.index.json",
            format!(
                "model.safetensors.index.json: it names 1 files, one of which, `{one}`, says that there are 2"
            ),
        ),
        (
            [indexed(r#""a": "gone.safetensors""#)].into(),
            "model.safetensors.index.json",
            "gone.safetensors is not there, which model.safetensors.index.json belongs with: 1 files make the model; put all of \
             them into one directory"
                .to_owned(),
        ),
        (
            [("config.json", b"{\"hidden_size\": 576}".to_vec())].into(),
            "config.json",
            "config.json: it is no index of shards: missing field `weight_map` at line 1 column 20".to_owned(),
        ),
        (
            [indexed(r#""a": "x", "a": "y""#)].into(),
            "model.safetensors.index.json",
            "model.safetensors.index.json: it is no index of shards: `a` is there twice at line 2 column 34".to_owned(),
        ),
    ];
    for (files, name, expected) in cases {
        assert_eq!(Folder::new(files).says(name), expected);
    }
    // The index says that a file has one tensor fewer than it has.
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let two_tensors = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[1, 2]].concat();
    let folder = Folder::new([("x", two_tensors), indexed(r#""a": "x""#)]);
    assert_eq!(
        folder.says("model.safetensors.index.json"),
        "x: it has the tensor `b`, of which the index says otherwise"
    );
}
