//! Checkpoints as other programs write them, made byte by byte, and what became of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::{InferenceSession, Tensor};
use bitquilt_import::Import;
use serde_json::{Value, json};

/// A safetensors file in the making: dtype, shape and bytes by name.
#[derive(Clone, Default)]
pub struct File(pub BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)>);

impl File {
    /// Adds a tensor.
    pub fn tensor(mut self, name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.0.insert(name.to_owned(), (dtype, shape.to_vec(), bytes));
        self
    }

    pub fn i32(self, name: &str, shape: &[usize], values: &[u32]) -> Self {
        self.tensor(name, "I32", shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub fn u32(self, name: &str, shape: &[usize], values: &[u32]) -> Self {
        self.tensor(name, "U32", shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub fn i64(self, name: &str, shape: &[usize], values: &[i64]) -> Self {
        self.tensor(name, "I64", shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub fn u8(self, name: &str, shape: &[usize], values: &[u8]) -> Self {
        self.tensor(name, "U8", shape, values.to_vec())
    }

    pub fn f32(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.tensor(name, "F32", shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub fn f16(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes());
        self.tensor(name, "F16", shape, bytes.collect())
    }

    /// A number, as hqq writes one.
    pub fn number(self, name: &str, value: u8) -> Self {
        self.u8(name, &[], &[value])
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    pub fn renamed(mut self, name: &str, other: &str) -> Self {
        let tensor = self.0.remove(name).unwrap();
        self.0.insert(other.to_owned(), tensor);
        self
    }

    /// Other bytes of a tensor.
    pub fn with_bytes(mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.0.get_mut(name).unwrap().2);
        self
    }

    /// All tensors of both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        for (name, (dtype, shape, bytes)) in &self.0 {
            let begin = data.len();
            data.extend(bytes);
            header.insert(
                name.clone(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]}),
            );
        }
        let header = Value::Object(header).to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
    }
}

/// A directory with a model, and with what it becomes.
pub struct Model(tempfile::TempDir);

impl Model {
    /// A model of one file, and what `config.json` has as `quantization_config`, if there is one.
    pub fn new(file: &File, config: Option<Value>) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        fs::write(this.path("model.safetensors"), file.bytes()).unwrap();
        if let Some(config) = config {
            this.write(
                "config.json",
                &json!({"model_type": "llama", "quantization_config": config}).to_string(),
            );
        }
        this
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn directory(&self) -> &std::path::Path {
        self.0.path()
    }

    /// Imports it, and opens what was written.
    pub fn import(&self) -> Imported {
        let import = Import::open(self.0.path()).unwrap_or_else(|error| panic!("{error}"));
        import.write(self.path("out"), |_| {}).unwrap_or_else(|error| panic!("{error}"));
        Imported::open(&self.path("out"))
    }

    /// What is said where it cannot be imported, without the directory. Nothing is written then.
    pub fn says(&self) -> String {
        let out = self.path("out");
        fs::write(&out, "old").unwrap();
        let imported = Import::open(self.0.path()).and_then(|import| import.write(&out, |_| {}));
        let said = match imported {
            Ok(()) => "no error".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(fs::read(out).unwrap(), b"old", "{said}");
        let directory = self.0.path().display().to_string();
        said.replace(&format!("{directory}/"), "").replace(&directory, "DIR")
    }
}

/// What was written, in a session that knows what it carries.
pub struct Imported {
    pub file: Checkpoint,
    session: InferenceSession,
}

impl Imported {
    pub fn open(path: &std::path::Path) -> Self {
        let file = Checkpoint::open(path).unwrap();
        let session = InferenceSession::builder().encodings_of(&file).build().unwrap();
        Self { file, session }
    }

    pub fn session(&self) -> &InferenceSession {
        &self.session
    }

    pub fn tensor(&self, name: &str) -> Tensor {
        self.file.tensor(name, self.session.registry()).unwrap()
    }

    /// The name of a weight's encoding.
    pub fn encoding(&self, name: &str) -> String {
        self.tensor(name).element().to_string()
    }

    /// The values of a weight.
    pub fn decoded(&self, name: &str) -> Tensor {
        self.session.registry().to_f32(&self.tensor(name)).unwrap()
    }

    /// The same as bits, which tell -0 from 0.
    pub fn bits(&self, name: &str) -> Vec<u32> {
        self.decoded(name).values::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        self.file.tensors().map(|(name, _)| name).collect()
    }
}

pub fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// A code of so many bits for each place: the same on each run.
pub fn code(index: usize, bits: u32) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 7) as u8 & (0xff_u32 >> (8 - bits)) as u8
}

/// A float for each place, exact in f16.
pub fn float(index: usize) -> f32 {
    ((index * 37 % 61) as f32 - 30.0) / 64.0 + 1.0 / 128.0
}

/// Codes one after the other, the lowest bits first, in 32-bit words.
pub fn stream(codes: impl IntoIterator<Item = u8>, bits: u32) -> Vec<u32> {
    let mut words = Vec::new();
    let (mut word, mut filled) = (0u64, 0);
    for code in codes {
        word |= u64::from(code) << filled;
        filled += bits;
        if filled >= 32 {
            words.push(word as u32);
            word >>= 32;
            filled -= 32;
        }
    }
    if filled > 0 {
        words.push(word as u32);
    }
    words
}

/// Lines as columns: `[rows, columns]` becomes `[columns, rows]`.
pub fn transposed(values: &[u32], rows: usize) -> Vec<u32> {
    let columns = values.len() / rows;
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
