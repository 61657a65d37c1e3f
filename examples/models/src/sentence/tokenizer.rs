//! Sentences to tokens, all of them: what the encoder cannot take is an error, and never cut off.

use std::path::Path;

use bitquilt::file;
use tokenizers::{ModelWrapper, Tokenizer};

use super::config::EncoderConfig;
use super::error::EncoderError;

/// The most bytes of a `tokenizer.json`.
const LARGEST: u64 = 256 << 20;

/// The tokenizer of a sentence encoder.
pub struct SentenceTokenizer {
    tokenizer: Tokenizer,
    unknown: Option<u32>,
    longest: usize,
}

impl SentenceTokenizer {
    /// Reads a `tokenizer.json`. Its own padding and truncation, which are for batches, are left aside.
    pub fn read(path: &Path, config: &EncoderConfig) -> Result<Self, EncoderError> {
        let wrong = |problem: tokenizers::Error| EncoderError::contents(path, problem);
        let mut tokenizer = Tokenizer::from_bytes(file::read(path, LARGEST)?).map_err(wrong)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(wrong)?;
        let unknown = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => tokenizer.token_to_id(&model.unk_token),
            _ => None,
        };
        Ok(Self { tokenizer, unknown, longest: config.max_position_embeddings })
    }

    /// The tokens of a sentence, with those at its beginning and end.
    ///
    /// # Errors
    /// The sentence has more tokens than the encoder has positions.
    pub fn encode(&self, sentence: &str) -> Result<Vec<u32>, EncoderError> {
        let encoding = self.tokenizer.encode_fast(sentence, true);
        let encoding = encoding.map_err(|error| EncoderError::Encode(error.to_string()))?;
        let (tokens, longest) = (encoding.get_ids(), self.longest);
        if tokens.len() > longest {
            let (beginning, found) = (beginning(sentence), tokens.len());
            return Err(EncoderError::Sentence { beginning, found, longest });
        }
        Ok(tokens.to_vec())
    }

    /// The number of tokens that stand for words which the vocabulary does not know; the encoder cannot tell those apart.
    pub fn count_unknown(&self, tokens: &[u32]) -> usize {
        tokens.iter().filter(|token| Some(**token) == self.unknown).count()
    }
}

/// The first 60 characters of a sentence, by which people know which it is.
pub fn beginning(sentence: &str) -> String {
    const CHARACTERS: usize = 60;
    match sentence.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}...", &sentence[..end]),
        None => sentence.to_owned(),
    }
}
