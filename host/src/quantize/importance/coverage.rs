//! What importance has for the weights of a model.

use std::fmt::{self, Display, Formatter};

use super::{ColumnImportance, ImportanceError, ImportanceMatrix};
use crate::checkpoint::TensorDict;
use crate::tensor::Tensor;
use crate::text::Quoted;

/// Which weights are encoded without importance, and what importance is of no weight. It displays as a sentence for each kind, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The weights that it has nothing for.
    pub missing: Vec<String>,
    /// The weights that were multiplied with nothing, such as an expert that was never reached, or some of whose matrices were not.
    pub unseen: Vec<String>,
    /// What it is for that no tensor of the model is called.
    pub unmatched: Vec<String>,
}

impl Coverage {
    /// Whether every weight has importance, and all importance is some weight's.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// The weights that have no importance, or none for all their matrices.
    pub fn without(&self) -> Vec<String> {
        [&self.missing[..], &self.unseen].concat()
    }

    /// The sentences, without a line for what there is nothing of.
    pub fn sentences(&self) -> Vec<String> {
        let names = |names: &[String]| Quoted(names).to_string();
        let mut sentences = Vec::new();
        if !self.missing.is_empty() {
            sentences.push(format!(
                "encoded without importance, since there is none of theirs: {}",
                names(&self.missing)
            ));
        }
        if !self.unseen.is_empty() {
            sentences.push(format!(
                "encoded without importance, at least the matrices that no row has reached: {}",
                names(&self.unseen)
            ));
        }
        if !self.unmatched.is_empty() {
            sentences.push(format!(
                "the importance of these is of no use, since the model has none of them: {}",
                names(&self.unmatched)
            ));
        }
        sentences
    }
}

impl Display for Coverage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences().join("\n"))
    }
}

impl ImportanceMatrix {
    /// The mean squares for weights of these names and logical shapes, as
    /// [`quantize_with_importance`](crate::registry::RegisteredEncoding::quantize_with_importance) takes them: f32, `[columns]`, or
    /// `[matrices, columns]` where each matrix of a weight `[matrices, rows, columns]` has its own. A matrix that no row has reached has
    /// zeros. Weights without importance are not among them, and in the [`Coverage`].
    ///
    /// `is_known` says whether the model has a tensor of a name.
    ///
    /// # Errors
    /// If there is importance, and the model knows no name of it; if a weight has other columns.
    pub fn vectors<'w>(
        &self,
        weights: impl IntoIterator<Item = (&'w str, &'w [usize])>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<(TensorDict, Coverage), ImportanceError> {
        let (mut vectors, mut coverage) = (TensorDict::new(), Coverage::default());
        let mut first = None;
        for (name, shape) in weights {
            first.get_or_insert(name);
            let Some(columns) = self.get(name) else {
                coverage.missing.push(name.to_owned());
                continue;
            };
            if columns.counts().contains(&0.0) {
                coverage.unseen.push(name.to_owned());
            }
            if columns.rows() > 0.0 {
                vectors.insert(name, self.vector(name, columns, shape)?);
            }
        }
        let unmatched = self.iter().map(|(name, _)| name).filter(|name| !is_known(name));
        coverage.unmatched = unmatched.map(str::to_owned).collect();
        match (coverage.unmatched.first(), first) {
            (Some(found), Some(expected)) if coverage.unmatched.len() == self.len() => {
                let (found, expected) = (found.clone(), expected.to_owned());
                Err(ImportanceError::OtherModel { importance: self.name(), found, expected })
            }
            _ => Ok((vectors, coverage)),
        }
    }

    fn vector(
        &self,
        name: &str,
        columns: &ColumnImportance,
        shape: &[usize],
    ) -> Result<Tensor, ImportanceError> {
        let row_len = shape.last().copied().unwrap_or(1);
        let matrices = if shape.len() == 3 { shape[0] } else { 1 };
        let means = columns.means();
        let shape = match means.len() {
            len if len == row_len => Some(vec![len]),
            len if Some(len) == row_len.checked_mul(matrices) => Some(vec![matrices, row_len]),
            _ => None,
        };
        let wrong = || ImportanceError::Columns {
            importance: self.name(),
            weight: name.to_owned(),
            found: columns.len(),
            columns: row_len,
            matrices,
        };
        let shape = shape.ok_or_else(wrong)?;
        Tensor::new(shape, means).map_err(|_| wrong())
    }
}
