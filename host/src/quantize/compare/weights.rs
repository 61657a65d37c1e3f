//! The weights of a checkpoint, compared with those of another or with what an encoding makes of them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use bitquilt_plugin_api::Element;

use super::difference::Difference;
use super::error::CompareError;
use super::histogram::{Histograms, Tally};
use super::streamed::{self, Fault};
use super::unlike::{Mismatch, Unlike};
use crate::checkpoint::{Checkpoint, StoredTensor, TensorDict};
use crate::encoding::{Decoder, QuantizeError, vector_of, vectors_of};
use crate::quantize::importance::{Coverage, ImportanceError, ImportanceMatrix};
use crate::quantize::pattern::NamePattern;
use crate::quantize::plan::Conversion;
use crate::quantize::recipe::Target;
use crate::quantize::weight::{is_float, is_weight};
use crate::registry::{RegisteredEncoding, Registry};
use crate::similar::similar;
use crate::tensor::Tensor;

/// Values of a weight that are encoded at a time, at least.
const GROUP_VALUES: usize = 1 << 22;

/// A checkpoint whose weights others are compared with.
pub struct Reference<'a> {
    file: &'a Checkpoint,
    registry: &'a Registry,
    only: Option<&'a NamePattern>,
    named: Option<BTreeSet<String>>,
    histograms: bool,
}

/// A weight that was compared.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDifference {
    /// Its name.
    pub name: String,
    /// Its logical shape.
    pub shape: Vec<usize>,
    /// What it is compared as: the dtype or encoding of the other weight.
    pub encoding: String,
    /// The bytes of the other weight.
    pub bytes: u64,
    /// How far the other weight is from the reference's.
    pub difference: Difference,
    /// How its values and their errors are spread, if [that was asked for](Reference::with_histograms).
    pub histograms: Option<Histograms>,
}

impl WeightDifference {
    /// Bits a value of the other weight.
    pub fn bits(&self) -> f64 {
        bits(self.bytes, &self.difference)
    }
}

/// Weights that were compared, and those that were not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Those that were, the one with the largest relative error first.
    pub weights: Vec<WeightDifference>,
    /// Those that one of two checkpoints does not have, or not in this shape.
    pub unlike: Option<Unlike>,
    /// Those whose rows are no whole blocks of an encoding: name, and values of a row.
    pub unfit: Vec<(String, usize)>,
}

impl Comparison {
    /// The difference over all weights that were compared.
    pub fn total(&self) -> Difference {
        self.by_name().iter().fold(Difference::default(), |sum, weight| sum.and(&weight.difference))
    }

    /// The bytes of the other weights.
    pub fn bytes(&self) -> u64 {
        self.weights.iter().map(|weight| weight.bytes).sum()
    }

    /// Bits a value of the other weights.
    pub fn bits(&self) -> f64 {
        bits(self.bytes(), &self.total())
    }

    /// In an order that does not depend on the figures.
    fn by_name(&self) -> Vec<&WeightDifference> {
        let mut weights: Vec<_> = self.weights.iter().collect();
        weights.sort_by(|left, right| left.name.cmp(&right.name));
        weights
    }

    fn sort(&mut self) {
        let worst_first = |left: &WeightDifference, right: &WeightDifference| -> Ordering {
            let of = |weight: &WeightDifference| weight.difference.rel_rms();
            of(right).total_cmp(&of(left)).then_with(|| left.name.cmp(&right.name))
        };
        self.weights.sort_by(worst_first);
    }
}

fn bits(bytes: u64, difference: &Difference) -> f64 {
    8.0 * bytes as f64 / difference.values().max(1) as f64
}

impl<'a> Reference<'a> {
    /// A checkpoint all of whose weights are compared. Encodings come from `registry`.
    pub fn new(file: &'a Checkpoint, registry: &'a Registry) -> Self {
        Self { file, registry, only: None, named: None, histograms: false }
    }

    /// The same, of which only the weights are compared whose names match.
    pub fn only(self, pattern: Option<&'a NamePattern>) -> Self {
        Self { only: pattern, ..self }
    }

    /// The same, of which only the weights of these names are compared, such as those that a saved graph
    /// [can have encoded anew](crate::Graph::weights).
    pub fn named(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { named: Some(names.into_iter().collect()), ..self }
    }

    /// The same, of whose weights histograms are made.
    pub fn with_histograms(self, histograms: bool) -> Self {
        Self { histograms, ..self }
    }

    fn tally(&self) -> Option<Tally> {
        self.histograms.then(Tally::new)
    }

    /// The weights that are compared with those of an encoding, and the values of their rows: of rank 2 and 3, dense or encoded.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.file.tensors().filter(|(name, stored)| {
            self.is_meant(name) && is_weight(&stored.element(), stored.shape()) && !stored.is_opaque()
        })
    }

    /// The [vectors](ImportanceMatrix::vectors) for the weights that are compared with those of an encoding.
    pub fn importance(&self, matrix: &ImportanceMatrix) -> Result<(TensorDict, Coverage), ImportanceError> {
        let shapes = self.weights().map(|(name, stored)| (name, stored.shape()));
        matrix.vectors(shapes, |name| self.file.require(name).is_ok())
    }

    /// The bytes of all tensors that are compared.
    pub fn bytes(&self) -> u64 {
        self.comparable(self.file).map(|(_, stored)| stored.byte_range().len() as u64).sum()
    }

    fn is_meant(&self, name: &str) -> bool {
        self.only.is_none_or(|pattern| pattern.is_match(name))
            && self.named.as_ref().is_none_or(|names| names.contains(name))
    }

    /// The tensors of a checkpoint that can be compared with another's: of any rank, dense floats or encoded.
    fn comparable<'c>(&self, file: &'c Checkpoint) -> impl Iterator<Item = (&'c str, &'c StoredTensor)> {
        file.tensors().filter(|(name, stored)| self.is_meant(name) && holds_floats(stored))
    }

    /// Compares with the tensors of the same names in another checkpoint: all that hold floats or are encoded, of any rank.
    ///
    /// `progress` is told the bytes of each that was compared. What one of the two lacks is in [`Comparison::unlike`].
    ///
    /// # Errors
    /// If the reference has no such tensors, if an encoding is not registered, or a value is not finite.
    pub fn compare(
        &self,
        other: &Checkpoint,
        mut progress: impl FnMut(u64),
    ) -> Result<Comparison, CompareError> {
        let mut comparison = Comparison::default();
        let mut mismatches = Vec::new();
        for (name, stored) in self.comparable(self.file) {
            let Ok(others) = other.require(name) else {
                let similar = similar_in(name, other);
                mismatches.push(Mismatch::NotInOther { name: name.to_owned(), similar });
                continue;
            };
            if !holds_floats(others) {
                let found = others.element().to_string();
                mismatches.push(Mismatch::Type { name: name.to_owned(), found });
                continue;
            }
            if others.shape() != stored.shape() {
                let (reference, other) = (stored.shape().to_vec(), others.shape().to_vec());
                mismatches.push(Mismatch::Shape { name: name.to_owned(), reference, other });
                continue;
            }
            comparison.weights.push(self.compare_weight(name, other)?);
            progress(stored.byte_range().len() as u64);
        }
        for (name, _) in self.comparable(other).filter(|(name, _)| self.file.require(name).is_err()) {
            let similar = similar_in(name, self.file);
            mismatches.push(Mismatch::NotInReference { name: name.to_owned(), similar });
        }
        if comparison.weights.is_empty() && mismatches.is_empty() {
            return Err(self.no_weights(false));
        }
        comparison.unlike = (!mismatches.is_empty()).then(|| Unlike {
            reference: self.file.path().to_owned(),
            other: other.path().to_owned(),
            mismatches,
        });
        comparison.sort();
        Ok(comparison)
    }

    fn compare_weight(&self, name: &str, other: &Checkpoint) -> Result<WeightDifference, CompareError> {
        let a = self.file.tensor(name, self.registry)?;
        let b = other.tensor(name, self.registry)?;
        let decoder = |file: &Checkpoint, tensor| {
            Decoder::of(tensor, self.registry).map_err(|source| weight_error(file.path(), name, source))
        };
        let (reference, others) = (decoder(self.file, &a)?, decoder(other, &b)?);
        let tally = self.tally();
        let difference = streamed::difference(&reference, &others, a.len(), tally.as_ref())
            .map_err(|fault| self.fault(name, row_len(&a), 0, fault, other.path()))?;
        [&a, &b].iter().for_each(|tensor| tensor.forget_pages());
        Ok(weight_difference(name, a.shape(), &b.element(), b.bytes().len(), difference, tally))
    }

    /// Compares with what an encoding makes of the [weights](Self::weights), some rows of one at a time.
    ///
    /// `importance` has [vectors](Self::importance) of weights; the others have none. Weights that have the encoding already are as they were.
    /// Those whose rows are no whole blocks are in [`Comparison::unfit`]. `progress` is told the bytes of each that was compared.
    ///
    /// # Errors
    /// If there are no weights, or none that fits; if the encoding is not registered, or does not take a weight's values.
    pub fn encode(
        &self,
        encoding: &str,
        importance: Option<&TensorDict>,
        mut progress: impl FnMut(u64),
    ) -> Result<Comparison, CompareError> {
        let encoding = self.registry.require_encoding(encoding)?;
        let block_len = encoding.spec().block_len;
        let mut comparison = Comparison::default();
        for (name, stored) in self.weights() {
            let row_len = stored.shape().last().copied().unwrap_or(1);
            if !row_len.is_multiple_of(block_len) {
                comparison.unfit.push((name.to_owned(), row_len));
                continue;
            }
            let importance = importance.and_then(|vectors| vectors.get(name));
            comparison.weights.push(self.encode_weight(name, encoding, importance)?);
            progress(stored.byte_range().len() as u64);
        }
        match (comparison.weights.is_empty(), comparison.unfit.first()) {
            (true, None) => return Err(self.no_weights(true)),
            (true, Some((weight, row_len))) => {
                return Err(CompareError::NoneFits {
                    path: self.file.path().to_owned(),
                    weights: comparison.unfit.len(),
                    encoding: encoding.spec().name.clone(),
                    block_len,
                    weight: weight.clone(),
                    row_len: *row_len,
                });
            }
            _ => {}
        }
        comparison.sort();
        Ok(comparison)
    }

    fn encode_weight(
        &self,
        name: &str,
        encoding: &RegisteredEncoding,
        importance: Option<&Tensor>,
    ) -> Result<WeightDifference, CompareError> {
        let failed = |source| weight_error(self.file.path(), name, source);
        let tensor = self.file.tensor(name, self.registry)?;
        let importance =
            importance.map(Tensor::values::<f32>).transpose().map_err(|error| failed(error.into()))?;
        let (spec, row_len, count) = (encoding.spec(), row_len(&tensor), tensor.len());
        let decoder = Decoder::of(&tensor, self.registry).map_err(failed)?;
        let fault = |fault, first_row| self.fault(name, row_len, first_row, fault, self.file.path());
        let (mut difference, tally) = (Difference::default(), self.tally());
        if tensor.encoding().is_some_and(|found| found.name == spec.name) {
            let itself = streamed::difference(&decoder, &decoder, count, tally.as_ref());
            difference = itself.map_err(|found| fault(found, 0))?;
        } else {
            let vectors = importance.map_or(1, |weights| vectors_of(tensor.shape(), weights.len()));
            let (matrix_len, step) =
                (count / vectors, GROUP_VALUES.div_ceil(row_len.max(1)) * row_len.max(1));
            for matrix in 0..vectors {
                let importance = vector_of(spec, importance, vectors, matrix);
                let end = (matrix + 1) * matrix_len;
                for begin in (matrix * matrix_len..end).step_by(step) {
                    let first_row = begin / row_len.max(1);
                    let rows = decoder.rows(begin..end.min(begin + step), row_len).map_err(failed)?;
                    let encoded = match importance {
                        Some(weights) => encoding.quantize_with_importance(&rows, weights),
                        None => encoding.quantize(&rows),
                    };
                    let encoded = encoded.map_err(|source| failed(further_down(source, first_row)))?.tensor;
                    let decoders = (Decoder::of(&rows, self.registry), Decoder::of(&encoded, self.registry));
                    let part = streamed::difference(
                        &decoders.0.map_err(failed)?,
                        &decoders.1.map_err(failed)?,
                        rows.len(),
                        tally.as_ref(),
                    );
                    difference = difference.and(&part.map_err(|found| fault(found, first_row))?);
                }
            }
        }
        tensor.forget_pages();
        let bytes = count / spec.block_len * spec.block_bytes;
        let element = Element::Encoded(spec.name.clone());
        Ok(weight_difference(name, tensor.shape(), &element, bytes, difference, tally))
    }

    /// The [weights](Self::weights) that fit, in an encoding, whole. `importance` is as for [`Self::encode`].
    pub fn encoded(
        &self,
        encoding: &str,
        importance: Option<&TensorDict>,
    ) -> Result<TensorDict, CompareError> {
        let block_len = self.registry.require_encoding(encoding)?.spec().block_len;
        let fits =
            |stored: &StoredTensor| stored.shape().last().is_some_and(|len| len.is_multiple_of(block_len));
        let encode = |(name, _): (&str, &StoredTensor)| {
            let failed = |source| weight_error(self.file.path(), name, source);
            let (weight, target) = (name.to_owned(), Target::Encoding(encoding.to_owned()));
            let importance = importance.and_then(|vectors| vectors.get(name)).map(Tensor::values::<f32>);
            let importance = importance.transpose().map_err(|error| failed(error.into()))?;
            let tensor = self.file.tensor(name, self.registry)?;
            let encoded =
                Conversion { weight, target, instead_of: None }.convert(&tensor, self.registry, importance);
            Ok((name.to_owned(), encoded.map_err(failed)?.tensor))
        };
        self.weights().filter(|(_, stored)| fits(stored)).map(encode).collect()
    }

    fn no_weights(&self, encoded: bool) -> CompareError {
        let only = self.only.map(|pattern| pattern.as_str().to_owned());
        CompareError::NoWeights { path: self.file.path().to_owned(), only, encoded }
    }

    fn fault(
        &self,
        name: &str,
        row_len: usize,
        first_row: usize,
        fault: Fault,
        other: &Path,
    ) -> CompareError {
        let path = |of_reference| if of_reference { self.file.path() } else { other };
        match fault {
            Fault::Decode { of_reference, source } => weight_error(path(of_reference), name, source),
            Fault::NotFinite { of_reference, index, value } => CompareError::NotFinite {
                path: path(of_reference).to_owned(),
                weight: name.to_owned(),
                row: first_row + index / row_len,
                column: index % row_len,
                value,
            },
        }
    }
}

fn holds_floats(stored: &StoredTensor) -> bool {
    is_float(&stored.element()) || stored.encoding().is_some()
}

fn similar_in(name: &str, file: &Checkpoint) -> Vec<String> {
    let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
    similar(name, &names)
}

fn row_len(tensor: &Tensor) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

fn weight_error(path: &Path, name: &str, source: QuantizeError) -> CompareError {
    CompareError::Weight { path: path.to_owned(), weight: name.to_owned(), source }
}

/// An error about rows, as one about the same rows of a weight that has others before them.
fn further_down(error: QuantizeError, rows: usize) -> QuantizeError {
    match error {
        QuantizeError::NotFinite { encoding, row, column, value } => {
            QuantizeError::NotFinite { encoding, row: row + rows, column, value }
        }
        QuantizeError::NotDecodable { encoding, block_len, row, column, value, decoded } => {
            QuantizeError::NotDecodable { encoding, block_len, row: row + rows, column, value, decoded }
        }
        other => other,
    }
}

fn weight_difference(
    name: &str,
    shape: &[usize],
    element: &Element,
    bytes: usize,
    difference: Difference,
    tally: Option<Tally>,
) -> WeightDifference {
    WeightDifference {
        name: name.to_owned(),
        shape: shape.to_vec(),
        encoding: element.to_string(),
        bytes: bytes as u64,
        difference,
        histograms: tally.map(Tally::histograms),
    }
}
