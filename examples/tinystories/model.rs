//! A model as files hold it: hyper-parameters, weights, vocabulary.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{Checkpoint, CheckpointError};
use bitquilt::registry::Registry;
use bitquilt::{TensorDict, checkpoint};

use super::config::{Config, EMBEDDING};
use super::vocabulary::Vocabulary;
use super::{gguf, llama2c, saved};

/// A model of the Llama architecture. Weights have the names of GGUF files, whatever they come from, and share the mapped file.
pub struct Llama {
    /// Hyper-parameters.
    pub config: Config,
    /// Weights; every one that the hyper-parameters want is there in its shape.
    pub weights: TensorDict,
    /// Tokens; none if the file has none and none was given.
    pub vocabulary: Option<Vocabulary>,
}

/// Why a file is no model that this example runs.
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
        /// What is wrong.
        problem: String,
    },
}

impl ModelError {
    /// The error for a sentence about the file at `path`.
    pub fn contents(path: &Path, problem: impl ToString) -> Self {
        Self::Contents { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl Llama {
    /// Opens a GGUF file, what `bitquilt quantize` made of one, a llama2.c checkpoint (`.bin`), or a file that [`Self::save`] wrote.
    /// Encodings come from `registry`.
    ///
    /// `tokenizer` is a llama2.c `tokenizer.bin`, which a `.bin` needs for text; by default the `tokenizer.bin` beside it.
    pub fn open(path: &Path, tokenizer: Option<&Path>, registry: &Registry) -> Result<Self, ModelError> {
        let mut model = match path.extension().is_some_and(|extension| extension == "bin") {
            true => llama2c::open(path)?,
            false => {
                let mut file = Checkpoint::open(path)?;
                let embedding = file.tensors().find(|(name, _)| *name == EMBEDDING);
                let rows = embedding.and_then(|(_, tensor)| tensor.shape().first()).copied();
                if gguf::describes(file.metadata()) {
                    let (config, vocabulary) = gguf::read(file.metadata_mut(), rows)
                        .map_err(|problem| ModelError::contents(path, problem))?;
                    Llama { config, weights: file.load(registry)?, vocabulary }
                } else {
                    saved::read(&file, registry)?
                }
            }
        };
        model.config.check().map_err(|problem| ModelError::contents(path, problem))?;
        model.config.check_weights(&model.weights).map_err(|problem| ModelError::contents(path, problem))?;
        if let Some(tokenizer) = tokenizer.map(Path::to_owned).or_else(|| beside(path, &model)) {
            model.vocabulary = Some(llama2c::open_vocabulary(&tokenizer, model.config.vocabulary)?);
        }
        if let Some(found) = model.vocabulary.as_ref().map(|vocabulary| vocabulary.tokens.len())
            && found != model.config.vocabulary
        {
            let expected = model.config.vocabulary;
            let problem = format!("the tokenizer has {found} tokens, the embedding {expected} rows");
            return Err(ModelError::contents(path, problem));
        }
        Ok(model)
    }

    /// Writes the model into one file, which is a bitquilt checkpoint, too: the weights with their encodings, and all else that
    /// [`Self::open`] needs.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let tensors = saved::write(self).map_err(|problem| ModelError::contents(path, problem))?;
        Ok(checkpoint::save(&tensors, path)?)
    }
}

/// The `tokenizer.bin` beside a model that has no vocabulary of its own.
fn beside(path: &Path, model: &Llama) -> Option<PathBuf> {
    let tokenizer = path.with_file_name("tokenizer.bin");
    (model.vocabulary.is_none() && tokenizer.is_file()).then_some(tokenizer)
}
