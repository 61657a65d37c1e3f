//! A checkpoint made of another: some tensors are converted, one after the other, the rest is carried over.

mod error;
mod importance;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bitquilt_plugin_api::{DType, Element, EncodingSpec};

use super::plan::{Conversion, Plan};
use super::recipe::Target;
use super::report::Report;
use super::weight::is_weight;
use crate::checkpoint::metadata::Value;
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter, Format, StoredTensor, TensorDict};
use crate::encoding::{QuantizeError, QuantizeWarning, Quantized};
use crate::file;
use crate::graph::Graph;
use crate::registry::Registry;
use crate::tensor::{FLOATS, Tensor};

pub use error::RewriteError;
pub use importance::PlanImportance;

/// Metadata of a GGUF file that numbers the type that most of its tensors are of, as llama.cpp counts mixes. Programs find it from the
/// tensors where it is missing.
const FILE_TYPE: &str = "general.file_type";

/// Metadata that a GGUF file with quantized tensors has to have: the version of ggml's encodings.
const QUANTIZATION_VERSION: (&str, u32) = ("general.quantization_version", 2);

/// Metadata that every model in a GGUF file has.
const ARCHITECTURE: &str = "general.architecture";

/// A checkpoint that is to be written from another, whose tensors are all carried over unless they are announced to be others.
pub struct Rewrite {
    file: Checkpoint,
    /// The weights that may be encoded, if the checkpoint holds a graph.
    of_graph: Option<BTreeSet<String>>,
    output: PathBuf,
    writer: CheckpointWriter,
    converted: BTreeSet<String>,
    split: Option<u64>,
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
    /// Of these, the tensor of this name is next.
    Next(&'a str),
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
    /// An error for a checkpoint that holds a graph, and for an `output` that is one of the files of the checkpoint. The format of
    /// `output` is its name's, unless another is [set](Self::set_format).
    pub fn open(input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Self, RewriteError> {
        let rewrite = Self::open_weights(input, output)?;
        match rewrite.of_graph {
            None => Ok(rewrite),
            Some(_) => Err(RewriteError::Graph { path: rewrite.file.path().to_owned() }),
        }
    }

    /// As [`Self::open`], of a saved graph, too, whose [weights](Graph::weights) may get other encodings: f32, f16 and bf16 among them,
    /// since a graph has no dense weights where its ops take encoded ones.
    pub fn open_weights(input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Self, RewriteError> {
        let (input, output) = (input.as_ref(), output.as_ref().to_owned());
        let file = Checkpoint::open(input)?;
        let of_graph = Graph::is_in(&file).then(|| Graph::weights_in(&file)).transpose()?;
        if file.files().any(|read| file::is_same(read, &output)) {
            return Err(match file.files().len() {
                1 => RewriteError::Input { path: output },
                _ => RewriteError::Shard { path: output },
            });
        }
        let mut writer = CheckpointWriter::new();
        writer.metadata_mut().clone_from(file.metadata());
        file.tensors().for_each(|(name, stored)| writer.stored(name, stored));
        Ok(Self { file, of_graph, output, writer, converted: BTreeSet::new(), split: None })
    }

    /// Sets the format of the file that is written, whatever its name ends in.
    pub fn set_format(&mut self, format: Format) {
        self.writer.set_format(format);
    }

    /// Has what is written split into files of at most so many bytes of tensors each, or of one tensor that is larger.
    pub fn split(&mut self, bytes: u64) {
        self.split = Some(bytes);
    }

    /// Names, elements and logical shapes of the tensors, or of a graph's weights, as [`Recipe::plan`](super::Recipe::plan) takes them.
    pub fn types(&self) -> Vec<(&str, Element, &[usize])> {
        let is_among = |name: &str| self.of_graph.as_ref().is_none_or(|weights| weights.contains(name));
        let tensors = self.file.tensors().filter(|(name, _)| is_among(name));
        tensors.map(|(name, stored)| (name, self.element(stored), stored.shape())).collect()
    }

    /// What a tensor is before it is converted: a graph's weight of f32, f16 or bf16 is dense, though the graph has it as encoded.
    fn element(&self, stored: &StoredTensor) -> Element {
        let element = stored.element();
        match &element {
            Element::Encoded(name) if self.of_graph.is_some() => {
                FLOATS.into_iter().find(|dtype| dtype.to_string() == *name).map_or(element, Element::Dense)
            }
            _ => element,
        }
    }

    /// The tensor of that element.
    fn as_stored(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let tensor = self.file.as_stored(name)?;
        let dense = self.of_graph.as_ref().and_then(|_| tensor.as_dense());
        Ok(dense.unwrap_or(tensor))
    }

    /// The checkpoint that is read.
    pub fn file(&self) -> &Checkpoint {
        &self.file
    }

    /// The file that is written.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Announces that a tensor of the checkpoint gets an encoding. A model of a GGUF file has `general.quantization_version` then.
    pub fn encode(&mut self, name: &str, encoding: &EncodingSpec) -> Result<(), CheckpointError> {
        let shape = self.file.require(name)?.shape().to_vec();
        self.writer.encoded(name, encoding, shape);
        self.converts(name);
        let (key, version) = QUANTIZATION_VERSION;
        let metadata = self.writer.metadata_mut();
        if metadata.get(ARCHITECTURE).is_some() && metadata.get(key).is_none() {
            metadata.insert(key, Value::U32(version));
        }
        Ok(())
    }

    /// Announces that a tensor of the checkpoint becomes one of a dtype.
    pub fn cast(&mut self, name: &str, dtype: DType) -> Result<(), CheckpointError> {
        let shape = self.file.require(name)?.shape().to_vec();
        self.writer.dense(name, dtype, shape);
        self.converts(name);
        Ok(())
    }

    /// The tensor is converted. What the metadata says of the type of most tensors is not known to be true any more.
    fn converts(&mut self, name: &str) {
        self.converted.insert(name.to_owned());
        self.writer.metadata_mut().remove(FILE_TYPE);
    }

    /// A conversion for each tensor that is to be f32, f16 or bf16 and is not yet: to f32 all that hold f16 or bf16 values or are encoded;
    /// to f16 and bf16 those of them that are [weights](super::is_weight) or are encoded.
    pub fn casts(&self, target: &Target) -> Plan {
        let is_cast = |element: &Element, shape: &[usize]| match (element, target) {
            (Element::Dense(dtype), Target::Dense(to)) if dtype == to => false,
            (Element::Encoded(_), _) => true,
            (Element::Dense(DType::F16 | DType::BF16), Target::Dense(DType::F32)) => true,
            (Element::Dense(_), _) => is_weight(element, shape),
        };
        let cast = self
            .file
            .tensors()
            .filter(|(_, stored)| !stored.is_opaque() && is_cast(&stored.element(), stored.shape()));
        let conversion = |(name, _): (&str, _)| Conversion {
            weight: name.to_owned(),
            target: target.clone(),
            instead_of: None,
        };
        Plan { conversions: cast.map(conversion).collect(), ..Plan::default() }
    }

    /// Leaves out what the checkpoint says about itself.
    pub fn without_metadata(&mut self) {
        self.writer.metadata_mut().clear();
    }

    /// The bytes of all tensors of the checkpoint that is read.
    pub fn bytes(&self) -> u64 {
        self.file.tensors().map(|(_, stored)| stored.byte_range().len() as u64).sum()
    }

    /// Writes the file, as [`CheckpointWriter::write`] does. `convert` answers what was announced of a tensor; `next` is told the name
    /// and the bytes of each tensor that is about to be read. It is an error if somebody writes to a file while it is read.
    pub fn write<E: From<CheckpointError>>(
        &self,
        mut next: impl FnMut(&str, u64),
        mut convert: impl FnMut(&str, Tensor) -> Result<Tensor, E>,
    ) -> Result<(), E> {
        let tensor = |name: &str| {
            if !self.converted.contains(name) {
                let tensor = self.file.as_stored(name)?;
                next(name, tensor.bytes().len() as u64);
                return Ok(tensor);
            }
            let tensor = self.as_stored(name)?;
            next(name, tensor.bytes().len() as u64);
            convert(name, tensor)
        };
        let finish = || Ok(self.file.check_unchanged()?);
        if let Some(bytes) = self.split {
            self.check_shards(bytes)?;
        }
        match self.split {
            None => self.writer.write_then(&self.output, tensor, finish),
            Some(bytes) => self.writer.write_split(&self.output, bytes, tensor, finish),
        }
    }

    /// An error if one of the files that are written is one that is read.
    fn check_shards(&self, bytes: u64) -> Result<(), CheckpointError> {
        let paths = self.writer.split_paths(&self.output, bytes)?;
        let is_read = |path: &&PathBuf| self.file.files().any(|read| file::is_same(read, *path));
        match paths.iter().find(is_read) {
            None => Ok(()),
            Some(path) => {
                let problem = "it is one of the files that are read; name another".to_owned();
                Err(CheckpointError::Unsupported { path: path.clone(), problem })
            }
        }
    }

    /// Whether a plan changes any weight.
    pub fn is_changed_by(&self, plan: &Plan) -> bool {
        plan.conversions.iter().any(|Conversion { weight, target, .. }| {
            self.file.require(weight).is_ok_and(|stored| !target.is(&self.element(stored)))
        })
    }

    /// Announces what a plan says of weights, and what will come of it. An error for an encoding that is not registered, and for what
    /// the format of the file has no place for.
    pub fn announce(&mut self, plan: &Plan, registry: &Registry) -> Result<Report, RewriteError> {
        for Conversion { weight, target, .. } in &plan.conversions {
            let stored = self.file.require(weight)?;
            // It is carried over, as the file describes it.
            if target.is(&self.element(stored)) {
                continue;
            }
            match (target, &self.of_graph) {
                (Target::Keep, _) => {}
                (Target::Dense(dtype), None) => self.cast(weight, *dtype)?,
                (Target::Encoding(_), _) | (Target::Dense(_), Some(_)) => {
                    let encoding = registry.require_encoding(&target.to_string());
                    let encoding = encoding.map_err(|error| self.weight_error(weight, error.into()))?;
                    self.encode(weight, encoding.spec())?;
                }
            }
        }
        self.writer.check(&self.output)?;
        Ok(Report::of(&self.file, &self.writer, plan))
    }

    /// Writes the file with the weights as a plan says. Each is checked before anything is written.
    ///
    /// `importance` has [vectors](Self::use_importance) for the weights whose errors do not count alike in all columns.
    pub fn quantize(
        mut self,
        plan: &Plan,
        registry: &Registry,
        importance: &TensorDict,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Report, RewriteError> {
        let mut report = self.announce(plan, registry)?;
        self.check(plan, registry, importance, observe)?;
        let by_name: BTreeMap<&str, &Conversion> =
            plan.conversions.iter().map(|conversion| (conversion.weight.as_str(), conversion)).collect();
        observe(Event::Writing(self.bytes()));
        let progress = RefCell::new(observe);
        let mut read = 0;
        let next = |name: &str, bytes| {
            let mut observe = progress.borrow_mut();
            observe(Event::Written(std::mem::replace(&mut read, bytes)));
            observe(Event::Next(name));
        };
        self.write(next, |name, tensor| -> Result<Tensor, RewriteError> {
            let Some(conversion) = by_name.get(name) else { return Ok(tensor) };
            let vector = vector(importance, name);
            let converted = vector.and_then(|vector| conversion.convert_measured(&tensor, registry, vector));
            let (Quantized { tensor, warnings }, error) =
                converted.map_err(|source| self.weight_error(name, source))?;
            let tensor = if self.of_graph.is_some() { registry.as_encoded(&tensor) } else { tensor };
            for warning in &warnings {
                (progress.borrow_mut())(Event::Warning { weight: name, warning });
            }
            report.measured(name, error);
            Ok(tensor)
        })?;
        Ok(report)
    }

    fn check(
        &self,
        plan: &Plan,
        registry: &Registry,
        importance: &TensorDict,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), RewriteError> {
        let encoded: Vec<(&Conversion, &String)> = plan
            .conversions
            .iter()
            .filter_map(|conversion| match &conversion.target {
                Target::Encoding(name) => Some((conversion, name)),
                Target::Keep | Target::Dense(_) => None,
            })
            .collect();
        let stored = encoded.iter().filter_map(|(conversion, _)| self.file.require(&conversion.weight).ok());
        observe(Event::Checking(stored.map(|stored| stored.byte_range().len() as u64).sum()));
        for (conversion, name) in encoded {
            let weight = self.as_stored(&conversion.weight)?;
            if weight.dtype().is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint;

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_no_source() {
        let directory = tempfile::tempdir().unwrap();
        let (input, output) = (directory.path().join("in"), directory.path().join("out"));
        let tensors: TensorDict =
            [("a", Tensor::full([4], 1f32)), ("b", Tensor::full([4], 2f32))].into_iter().collect();
        checkpoint::save(&tensors, &input).unwrap();
        std::fs::write(&output, "kept").unwrap();
        for split in [None, Some(16)] {
            let mut rewrite = Rewrite::open(&input, &output).unwrap();
            rewrite.split = split;
            let touch = |name: &str, _| {
                if name == "b" {
                    let file = std::fs::File::options().write(true).open(&input).unwrap();
                    let time = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
                    file.set_modified(time).unwrap();
                }
            };
            let error =
                rewrite.write(touch, |_, tensor| Ok::<_, RewriteError>(tensor)).unwrap_err().to_string();
            assert!(error.contains("in was written to while it was read"), "{error}");
            assert_eq!(std::fs::read(&output).unwrap(), b"kept");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
            checkpoint::save(&tensors, &input).unwrap();
        }
    }
}
