//! A checkpoint made of another: some tensors are converted, one after the other, the rest is carried over.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitquilt_plugin_api::{DType, EncodingSpec};

use super::recipe::{Conversion, Plan, Target};
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter, TensorDict, check_target};
use crate::encoding::{QuantizeError, QuantizeWarning, Quantized};
use crate::file;
use crate::graph::Graph;
use crate::registry::Registry;
use crate::tensor::Tensor;
use crate::text::Brief;

/// A checkpoint that is to be written from another, whose tensors are all carried over unless they are announced to be others.
pub struct Rewrite {
    file: Checkpoint,
    output: PathBuf,
    writer: CheckpointWriter,
    converted: BTreeSet<String>,
}

/// Why a checkpoint was not made of another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The types of a graph's tensors are a part of the graph.
    #[error(
        "{} holds a graph, which says what encodings its weights have; quantize the weights and build the graph of them",
        .path.display()
    )]
    Graph {
        /// The file.
        path: PathBuf,
    },
    /// One file of several would be replaced.
    #[error(
        "{} is one of the files that make the model; name a file of its own for what is written", .path.display()
    )]
    Shard {
        /// The file.
        path: PathBuf,
    },
    /// A weight could not be converted.
    #[error("{}, tensor `{}`: {source}", .path.display(), Brief(.weight))]
    Weight {
        /// The file.
        path: PathBuf,
        /// The weight.
        weight: String,
        /// Why.
        source: QuantizeError,
    },
}

/// What happens while a checkpoint is quantized. Bytes are those of the file that is read.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Weights of so many bytes are going to be checked.
    Checking(u64),
    /// Of these, as many more are.
    Checked(u64),
    /// Tensors of so many bytes are going to be written.
    Writing(u64),
    /// Of these, as many more are.
    Written(u64),
    /// A weight is not what it was.
    Warning {
        /// Its name.
        weight: &'a str,
        /// What became of it.
        warning: &'a QuantizeWarning,
    },
}

impl Rewrite {
    /// Opens a checkpoint, once it is known that `output` can be written: all tensors are to be carried over.
    ///
    /// An error for a checkpoint that holds a graph, and for an `output` that is one of several files of the model. A model of one file
    /// may be its own `output`.
    pub fn open(input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Self, RewriteError> {
        let (input, output) = (input.as_ref(), output.as_ref().to_owned());
        let file = Checkpoint::open(input)?;
        if Graph::is_in(&file) {
            return Err(RewriteError::Graph { path: input.to_owned() });
        }
        if file.files().len() > 1 && file.files().any(|shard| file::is_same(shard, &output)) {
            return Err(RewriteError::Shard { path: output });
        }
        check_target(&output)?;
        let mut writer = CheckpointWriter::new();
        writer.metadata_mut().clone_from(file.metadata());
        file.tensors().for_each(|(name, stored)| writer.stored(name, stored));
        Ok(Self { file, output, writer, converted: BTreeSet::new() })
    }

    /// The checkpoint that is read.
    pub fn file(&self) -> &Checkpoint {
        &self.file
    }

    /// The file that is written.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Announces that a tensor of the checkpoint gets an encoding.
    pub fn encode(&mut self, name: &str, encoding: &EncodingSpec) -> Result<(), CheckpointError> {
        let shape = self.file.require(name)?.shape().to_vec();
        self.writer.encoded(name, encoding, shape);
        self.converted.insert(name.to_owned());
        Ok(())
    }

    /// Announces that a tensor of the checkpoint becomes f32.
    pub fn decode(&mut self, name: &str) -> Result<(), CheckpointError> {
        let shape = self.file.require(name)?.shape().to_vec();
        self.writer.dense(name, DType::F32, shape);
        self.converted.insert(name.to_owned());
        Ok(())
    }

    /// The bytes of all tensors of the checkpoint that is read.
    pub fn bytes(&self) -> u64 {
        self.file.tensors().map(|(_, stored)| stored.byte_range().len() as u64).sum()
    }

    /// Writes the file, as [`CheckpointWriter::write`] does. `convert` answers what was announced of a tensor; `read` is told the bytes
    /// of each tensor that was read.
    pub fn write<E: From<CheckpointError>>(
        &self,
        mut read: impl FnMut(u64),
        mut convert: impl FnMut(&str, Tensor) -> Result<Tensor, E>,
    ) -> Result<(), E> {
        self.writer.write(&self.output, |name| {
            let tensor = self.file.as_stored(name)?;
            read(tensor.bytes().len() as u64);
            if self.converted.contains(name) { convert(name, tensor) } else { Ok(tensor) }
        })
    }

    /// Writes the file with the weights as a plan says. Each is checked before anything is written.
    ///
    /// `importance` has an f32 vector for each weight whose errors do not count alike.
    pub fn quantize(
        mut self,
        plan: &Plan,
        registry: &Registry,
        importance: &TensorDict,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), RewriteError> {
        let conversions: Vec<&Conversion> =
            plan.conversions.iter().filter(|conversion| conversion.target != Target::Keep).collect();
        self.check(&conversions, registry, importance, observe)?;
        for conversion in &conversions {
            match &conversion.target {
                Target::Keep => {}
                Target::F32 => self.decode(&conversion.weight)?,
                Target::Encoding(name) => {
                    let encoding = registry.require_encoding(name);
                    let encoding =
                        encoding.map_err(|error| self.weight_error(&conversion.weight, error.into()))?;
                    self.encode(&conversion.weight, encoding.spec())?;
                }
            }
        }
        let by_name: BTreeMap<&str, &Conversion> =
            conversions.iter().map(|conversion| (conversion.weight.as_str(), *conversion)).collect();
        observe(Event::Writing(self.bytes()));
        let progress = RefCell::new(observe);
        let read = |bytes| (progress.borrow_mut())(Event::Written(bytes));
        self.write(read, |name, tensor| {
            let Some(conversion) = by_name.get(name) else { return Ok(tensor) };
            let vector = vector(importance, name);
            let converted = vector.and_then(|vector| conversion.convert(&tensor, registry, vector));
            let Quantized { tensor, warnings } =
                converted.map_err(|source| self.weight_error(name, source))?;
            for warning in &warnings {
                (progress.borrow_mut())(Event::Warning { weight: name, warning });
            }
            Ok(tensor)
        })
    }

    fn check(
        &self,
        conversions: &[&Conversion],
        registry: &Registry,
        importance: &TensorDict,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), RewriteError> {
        let stored = conversions.iter().filter_map(|conversion| self.file.require(&conversion.weight).ok());
        observe(Event::Checking(stored.map(|stored| stored.byte_range().len() as u64).sum()));
        for conversion in conversions {
            let weight = self.file.as_stored(&conversion.weight)?;
            if let (Target::Encoding(name), true) = (&conversion.target, weight.dtype().is_some()) {
                let checked = registry
                    .require_encoding(name)
                    .map_err(QuantizeError::from)
                    .and_then(|encoding| encoding.check(&weight, vector(importance, &conversion.weight)?));
                checked.map_err(|source| self.weight_error(&conversion.weight, source))?;
            }
            observe(Event::Checked(weight.bytes().len() as u64));
        }
        Ok(())
    }

    fn weight_error(&self, weight: &str, source: QuantizeError) -> RewriteError {
        RewriteError::Weight { path: self.file.path().to_owned(), weight: weight.to_owned(), source }
    }
}

/// The importance of a weight's columns.
fn vector<'a>(importance: &'a TensorDict, weight: &str) -> Result<Option<&'a [f32]>, QuantizeError> {
    Ok(importance.get(weight).map(Tensor::values::<f32>).transpose()?)
}
