//! A decoder as files hold it: architecture, hyper-parameters, weights, vocabulary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitquilt::TensorDict;
use bitquilt::checkpoint::CheckpointError;
use bitquilt::text::Brief;

use crate::architecture::Architecture;
use crate::config::{CLASSIFIER, Config, EMBEDDING, OUTPUT_NORM, ROPE_FACTORS, layer_tensor};
use crate::vocabulary::Vocabulary;

/// A model that predicts the next token. Weights have the names of GGUF files, whatever they come from, and share the mapped file.
#[derive(Clone)]
pub struct DecoderModel {
    /// The architecture.
    pub architecture: &'static dyn Architecture,
    /// The hyper-parameters.
    pub config: Config,
    /// The weights; every one that architecture and hyper-parameters want is there in its shape.
    pub weights: TensorDict,
    /// The tokens; none if the file has none and none was given.
    pub vocabulary: Option<Vocabulary>,
}

/// Why a file is no model that this library runs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// Its contents are no such model.
    #[error("{}: {problem}", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
}

/// A model has no vocabulary, which text needs.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the model has no tokenizer; name the file of one by the option `tokenizer`")]
pub struct NoTokenizer;

impl ModelError {
    /// The error for a sentence about the file at `path`.
    pub fn contents(path: &Path, problem: impl ToString) -> Self {
        Self::Contents { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl DecoderModel {
    /// What to say where a model is to look back on more tokens than it was trained for; `option` is what asks for so many.
    pub fn beyond(&self, option: &str, context: usize) -> Option<String> {
        let trained = self.config.context;
        (context > trained).then(|| {
            format!(
                "{option} is {context}, and the model was trained for {trained} tokens: what it predicts beyond them means little"
            )
        })
    }

    /// Takes the vocabulary out of the model; an error if it has none.
    pub fn take_vocabulary(&mut self) -> Result<Vocabulary, NoTokenizer> {
        self.vocabulary.take().ok_or(NoTokenizer)
    }

    /// Checks that the hyper-parameters make a model, and that every weight of it is there in its shape, and no other; the error is a
    /// sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.config.check()?;
        let Self { architecture, config, weights, .. } = self;
        let matrix = vec![config.vocabulary, config.width];
        let mut expected = BTreeMap::from([
            (EMBEDDING.to_owned(), matrix.clone()),
            (OUTPUT_NORM.to_owned(), vec![config.width]),
        ]);
        for layer in 0..config.layers {
            for (part, shape) in architecture.layer_weights(config) {
                // Before more names are made: the weights of this layer are there.
                let name = layer_tensor(layer, part);
                check_weight(weights, &name, &shape)?;
                expected.insert(name, shape);
            }
        }
        for (name, shape) in [(CLASSIFIER, matrix), (ROPE_FACTORS, vec![config.rope_dims / 2])] {
            if weights.contains(name) {
                expected.insert(name.to_owned(), shape);
            }
        }
        expected.iter().try_for_each(|(name, shape)| check_weight(weights, name, shape))?;
        match weights.names().find(|name| !expected.contains_key(*name)) {
            Some(name) => Err(format!(
                "the architecture `{}` has no place for the tensor `{}`",
                architecture.name(),
                Brief(name)
            )),
            None => Ok(()),
        }
    }

    /// Checks that there are as many tokens as rows of the embedding; the error is a sentence.
    pub(crate) fn check_vocabulary(&self) -> Result<(), String> {
        let expected = self.config.vocabulary;
        match self.vocabulary.as_ref().map(|vocabulary| vocabulary.tokens.len()) {
            Some(found) if found != expected => {
                Err(format!("the tokenizer has {found} tokens, the embedding {expected} rows"))
            }
            _ => Ok(()),
        }
    }
}

fn check_weight(weights: &TensorDict, name: &str, shape: &[usize]) -> Result<(), String> {
    let tensor = weights.require(name).map_err(|error| error.to_string())?;
    if tensor.shape() != shape {
        return Err(format!(
            "tensor `{name}` is {}; the hyper-parameters want the shape {shape:?}",
            tensor.tensor_type()
        ));
    }
    Ok(())
}
