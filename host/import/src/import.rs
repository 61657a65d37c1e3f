//! From the files of another program to a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bitquilt::checkpoint::{CheckpointWriter, check_target};
use bitquilt::declared::Declaration;
use bitquilt::{DType, EncodingSpec, Tensor, TensorError, file};

use crate::error::ImportError;
use crate::methods::{self, Method};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::Weight;

/// The end of the name of the order of a weight's columns.
const ORDER: &str = ".perm";

/// A checkpoint of another program, of which it is known what each tensor becomes.
pub struct Import {
    source: Source,
    method: &'static Method,
    /// By the name of what is written.
    weights: BTreeMap<String, Planned>,
    /// The weight of each order of columns.
    orders: BTreeMap<String, String>,
    carried: Vec<String>,
}

/// A weight that is going to be made.
struct Planned {
    layer: String,
    shape: Vec<usize>,
    declaration: Declaration,
    spec: EncodingSpec,
    /// Bytes of the tensors that it is made of.
    source_bytes: u64,
}

/// What the weights of an encoding take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodingSize {
    /// The encoding.
    pub name: String,
    /// Weights that have it.
    pub weights: usize,
    /// Their values.
    pub values: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Import {
    /// Opens a directory with the files of a model, or a file, and checks all but the values: every tensor of every quantized layer,
    /// and what `config.json` beside them says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImportError> {
        let source = Source::open(path.as_ref())?;
        let (method, layers) = methods::layers(&source)?;
        let (mut weights, mut orders, mut used) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for layer in layers {
            let weight = (method.read)(&source, &layer)?;
            let name = format!("{layer}.weight");
            let declaration = weight.layout.declare();
            let declaration =
                declaration.map_err(|error| ImportError::Declaration { weight: name.clone(), error })?;
            if weight.permutation.is_some() {
                orders.insert(format!("{name}{ORDER}"), name.clone());
            }
            let stored = weight.parts.iter().filter_map(|part| source.stored(part));
            let source_bytes = stored.map(|stored| stored.byte_range().len() as u64).sum();
            used.extend(weight.parts);
            let (shape, spec) = (weight.shape, declaration.spec());
            weights.insert(name, Planned { layer, shape, declaration, spec, source_bytes });
        }
        let mut carried = Vec::new();
        for (name, _) in source.file.tensors().filter(|(name, _)| !used.contains(*name)) {
            method.check_left(&source, name)?;
            carried.push(name.to_owned());
        }
        let import = Self { source, method, weights, orders, carried };
        import.check_names()?;
        Ok(import)
    }

    /// An error where a name would be that of two tensors.
    fn check_names(&self) -> Result<(), ImportError> {
        let is_taken =
            |name: &String| self.carried.binary_search(name).is_ok() || self.weights.contains_key(name);
        let carried = |name: &String| self.carried.binary_search(name).is_ok();
        let weights = self.weights.iter().filter(|(name, _)| carried(name));
        let orders = self.orders.iter().filter(|(name, _)| is_taken(name));
        let orders = orders.filter_map(|(name, weight)| Some((name, self.weights.get(weight)?)));
        match weights.chain(orders).next() {
            None => Ok(()),
            Some((name, planned)) => {
                let mut tensors = self.source.file.tensors().map(|(name, _)| name);
                let prefix = format!("{}.", planned.layer);
                let part = tensors.find(|part| part.starts_with(&prefix) && part != name);
                Err(self.source.wrong(part.unwrap_or(&planned.layer), Problem::Taken { name: name.clone() }))
            }
        }
    }

    /// The method that the layers are quantized with, for people.
    pub fn method(&self) -> &'static str {
        self.method.name
    }

    /// Number of tensors that are carried over bit for bit.
    pub fn carried(&self) -> usize {
        self.carried.len()
    }

    /// The names of the weights whose columns are in another order; each has a tensor `NAME.perm` beside it.
    pub fn reordered(&self) -> impl Iterator<Item = &str> {
        self.orders.values().map(String::as_str)
    }

    /// The encodings that weights get, by name.
    pub fn encodings(&self) -> Vec<EncodingSize> {
        let mut sizes: BTreeMap<&str, EncodingSize> = BTreeMap::new();
        for planned in self.weights.values() {
            let values: usize = planned.shape.iter().product();
            let size = sizes.entry(planned.declaration.name()).or_default();
            size.name = planned.declaration.name().to_owned();
            size.weights += 1;
            size.values += values;
            size.bytes += values / planned.spec.block_len * planned.spec.block_bytes;
        }
        sizes.into_values().collect()
    }

    /// Bytes of all tensors that are read.
    pub fn bytes(&self) -> u64 {
        self.source.file.tensors().map(|(_, stored)| stored.byte_range().len() as u64).sum()
    }

    /// Writes the checkpoint, a safetensors file, whole or not at all, with one weight in memory at a time. `read` is told the bytes of
    /// each tensor that was read.
    ///
    /// An error for a weight with values that are not finite, and for an `output` that is one of several files of the model.
    pub fn write(&self, output: impl AsRef<Path>, mut read: impl FnMut(u64)) -> Result<(), ImportError> {
        let output = output.as_ref();
        let mut files = self.source.file.files();
        if files.len() > 1 && files.any(|shard| file::is_same(shard, output)) {
            return Err(ImportError::Shard { path: output.to_owned() });
        }
        check_target(output)?;
        self.writer()?.write(output, |name| {
            if let Some(planned) = self.weights.get(name) {
                let tensor = self.encode(planned)?;
                read(planned.source_bytes);
                return Ok(tensor);
            }
            if let Some(weight) = self.orders.get(name) {
                return self.order(weight);
            }
            let tensor = self.source.file.as_stored(name)?;
            read(tensor.bytes().len() as u64);
            Ok(tensor)
        })
    }

    fn writer(&self) -> Result<CheckpointWriter, ImportError> {
        let mut writer = CheckpointWriter::new();
        writer.metadata_mut().clone_from(self.source.file.metadata());
        for name in &self.carried {
            writer.stored(name, self.source.file.require(name)?);
        }
        for (name, planned) in &self.weights {
            writer.encoded(name, &planned.spec, planned.shape.clone());
        }
        for (order, weight) in &self.orders {
            let columns = self.weights.get(weight).and_then(|planned| planned.shape.last().copied());
            writer.dense(order, DType::I64, [columns.unwrap_or_default()]);
        }
        Ok(writer)
    }

    fn read(&self, planned: &Planned) -> Result<Weight, ImportError> {
        (self.method.read)(&self.source, &planned.layer)
    }

    fn encode(&self, planned: &Planned) -> Result<Tensor, ImportError> {
        let weight = self.read(planned)?;
        let wrong = |problem| self.source.wrong(weight.parts.first().map_or("", String::as_str), problem);
        let bytes = weight.encode(&planned.declaration).map_err(wrong)?;
        let tensor = Tensor::from_encoded(&planned.spec, planned.shape.clone(), &bytes);
        tensor.map_err(|error| wrong(not_held(&error, bytes.len())))
    }

    /// The order of a weight's columns.
    fn order(&self, weight: &str) -> Result<Tensor, ImportError> {
        let columns = match self.weights.get(weight) {
            Some(planned) => self.read(planned)?.permutation.unwrap_or_default(),
            None => Vec::new(),
        };
        let columns: Vec<i64> = columns.into_iter().map(|column| column as i64).collect();
        Tensor::new([columns.len()], &columns)
            .map_err(|error| self.source.wrong(weight, not_held(&error, 8 * columns.len())))
    }
}

fn not_held(error: &TensorError, bytes: usize) -> Problem {
    match error {
        TensorError::OutOfMemory { .. } => Problem::Memory { bytes },
        error => Problem::Damaged { what: error.to_string() },
    }
}
