//! The files that hold a decoder, a format each: GGUF, llama2.c's, and what [`DecoderModel::save`] writes.

pub mod gguf;
mod llama2c;
mod saved;

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::registry::Registry;

use crate::config::EMBEDDING;
use crate::model::{DecoderModel, ModelError};

impl DecoderModel {
    /// Opens a GGUF file, what `bitquilt quantize` made of one, a llama2.c checkpoint (`.bin`), or a file that [`Self::save`] wrote.
    /// Encodings come from `registry`.
    ///
    /// `tokenizer` is a llama2.c `tokenizer.bin`, which a `.bin` needs for text; by default the `tokenizer.bin` beside it.
    pub fn open(path: &Path, tokenizer: Option<&Path>, registry: &Registry) -> Result<Self, ModelError> {
        let wrong = |problem: String| ModelError::contents(path, problem);
        let mut model = match path.extension().is_some_and(|extension| extension == "bin") {
            true => llama2c::open(path)?,
            false => open_checkpoint(path, registry)?,
        };
        model.check().map_err(wrong)?;
        if let Some(tokenizer) = tokenizer.map(Path::to_owned).or_else(|| beside(path, &model)) {
            model.vocabulary = Some(llama2c::open_vocabulary(&tokenizer, model.config.vocabulary)?);
        }
        model.check_vocabulary().map_err(wrong)?;
        Ok(model)
    }

    /// Writes the model into one file, which is a bitquilt checkpoint, too: the weights with their encodings, and all else that
    /// [`Self::open`] needs.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let tensors = saved::write(self).map_err(|problem| ModelError::contents(path, problem))?;
        Ok(checkpoint::save(&tensors, path)?)
    }
}

/// The model in a checkpoint whose metadata describe one, as GGUF files' do, or this library's own.
fn open_checkpoint(path: &Path, registry: &Registry) -> Result<DecoderModel, ModelError> {
    let mut file = Checkpoint::open(path)?;
    if !gguf::describes(file.metadata()) {
        return saved::read(&file, registry);
    }
    let embedding = file.tensors().find(|(name, _)| *name == EMBEDDING);
    let rows = embedding.and_then(|(_, tensor)| tensor.shape().first()).copied();
    let (architecture, config, vocabulary) =
        gguf::read(file.metadata_mut(), rows).map_err(|problem| ModelError::contents(path, problem))?;
    Ok(DecoderModel { architecture, config, weights: file.load(registry)?, vocabulary })
}

/// The `tokenizer.bin` beside a model that has no vocabulary of its own.
fn beside(path: &Path, model: &DecoderModel) -> Option<PathBuf> {
    let tokenizer = path.with_file_name("tokenizer.bin");
    (model.vocabulary.is_none() && tokenizer.is_file()).then_some(tokenizer)
}
