//! llama2.c's files: the checkpoint of its first format (`.bin`, without a magic number) and `tokenizer.bin`.
//!
//! All numbers are little-endian. A checkpoint is seven i32 (width, feed-forward size, layers, heads, key/value heads, vocabulary,
//! context) and f32 tensors one after the other, those of one kind for all layers together. A vocabulary below zero says that the
//! classifier is a tensor of its own. `tokenizer.bin` is a u32, the length of the longest token, and for each token its score (f32),
//! its length (i32) and its bytes.

use std::path::Path;

use bitquilt::TensorDict;
use bitquilt::checkpoint::RawFile;

use crate::arch::llama::Llama;
use crate::config::{CLASSIFIER, Config, EMBEDDING, OUTPUT_NORM, layer_tensor};
use crate::model::{DecoderModel, ModelError};
use crate::vocabulary::{Merges, Vocabulary, kind};

/// Bytes before the tensors.
const HEADER: usize = 7 * size_of::<i32>();

/// The model in a checkpoint, without a vocabulary.
pub(super) fn open(path: &Path) -> Result<DecoderModel, ModelError> {
    let file = RawFile::open(path)?;
    let wrong = |problem: String| ModelError::contents(path, problem);
    let header = file.bytes().first_chunk::<HEADER>().ok_or_else(|| {
        wrong(format!(
            "a llama2.c checkpoint begins with {HEADER} bytes of numbers; it has {}",
            file.bytes().len()
        ))
    })?;
    let numbers: [i32; 7] = std::array::from_fn(|index| {
        let at = index * size_of::<i32>();
        i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    });
    let [width, hidden, layers, heads, kv_heads, vocabulary, context] = numbers;
    let size = |value: i32| usize::try_from(value).unwrap_or_default();
    let (width, heads) = (size(width), size(heads));
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(wrong(format!(
            "it begins with {numbers:?}, which are no sizes of a llama2.c model: the width cannot be split among the heads"
        )));
    }
    let head = width / heads;
    let config = Config {
        width,
        hidden: size(hidden),
        layers: size(layers),
        heads,
        kv_heads: size(kv_heads),
        head,
        vocabulary: vocabulary.unsigned_abs() as usize,
        context: size(context),
        eps: 1e-5,
        rope_dims: head,
        rope_theta: 10_000.0,
        rope_scale: 1.0,
        yarn: None,
    };
    config.check().map_err(|problem| wrong(format!("{problem}; it begins with {numbers:?}")))?;
    let weights = weights(&file, &config, vocabulary < 0)?;
    Ok(DecoderModel { architecture: &Llama, config, weights, vocabulary: None })
}

/// The tensors, which must be all of the file.
fn weights(file: &RawFile, config: &Config, own_classifier: bool) -> Result<TensorDict, ModelError> {
    let &Config { width, hidden, layers, head, vocabulary, context, .. } = config;
    let (queries, kv) = (config.query_width(), config.kv_width());
    let mut reader = Reader { file, offset: HEADER, weights: TensorDict::new() };
    reader.one(EMBEDDING, &[vocabulary, width])?;
    for (part, shape) in [
        ("attn_norm.weight", &[width][..]),
        ("attn_q.weight", &[queries, width]),
        ("attn_k.weight", &[kv, width]),
        ("attn_v.weight", &[kv, width]),
        ("attn_output.weight", &[width, queries]),
        ("ffn_norm.weight", &[width]),
        ("ffn_gate.weight", &[hidden, width]),
        ("ffn_down.weight", &[width, hidden]),
        ("ffn_up.weight", &[hidden, width]),
    ] {
        for layer in 0..layers {
            reader.one(&layer_tensor(layer, part), shape)?;
        }
    }
    reader.one(OUTPUT_NORM, &[width])?;
    // The cosines and sines of all positions, which the graph computes itself.
    reader.skip(&[2, context, head / 2])?;
    if own_classifier {
        reader.one(CLASSIFIER, &[vocabulary, width])?;
    }
    let (end, len) = (reader.offset, file.bytes().len());
    if end != len {
        let problem = format!(
            "its sizes make {end} bytes, and it has {len}; is it a llama2.c checkpoint of another version?"
        );
        return Err(ModelError::contents(file.path(), problem));
    }
    Ok(reader.weights)
}

/// Takes tensors one after the other.
struct Reader<'a> {
    file: &'a RawFile,
    offset: usize,
    weights: TensorDict,
}

impl Reader<'_> {
    fn one(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        let tensor = self.file.tensor::<f32>(shape, self.offset)?;
        self.offset += tensor.bytes().len();
        self.weights.insert(name, tensor);
        Ok(())
    }

    fn skip(&mut self, shape: &[usize]) -> Result<(), ModelError> {
        self.offset += self.file.tensor::<f32>(shape, self.offset)?.bytes().len();
        Ok(())
    }
}

/// The tokens in a `tokenizer.bin`, of which a model has `count`.
pub(super) fn open_vocabulary(path: &Path, count: usize) -> Result<Vocabulary, ModelError> {
    let file = RawFile::open(path)?;
    let mut rest = file.bytes();
    let (mut tokens, mut scores) = (Vec::new(), Vec::new());
    let cut = |index: usize| {
        ModelError::contents(
            path,
            format!("it ends in token {index} of {count}; it was cut, or is another model's"),
        )
    };
    rest = rest.get(size_of::<u32>()..).ok_or_else(|| cut(0))?;
    for index in 0..count {
        let (score, after) = rest.split_first_chunk().ok_or_else(|| cut(index))?;
        let (len, after) = after.split_first_chunk().ok_or_else(|| cut(index))?;
        let len = usize::try_from(i32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (token, after) = after.split_at_checked(len).ok_or_else(|| cut(index))?;
        let token = std::str::from_utf8(token)
            .map_err(|_| ModelError::contents(path, format!("token {index} is no UTF-8")))?;
        // SentencePiece's sign for a space, which llama2.c has written out.
        tokens.push(token.replace(' ', "\u{2581}"));
        scores.push(f32::from_le_bytes(*score));
        rest = after;
    }
    if !rest.is_empty() {
        let problem = format!("it has more than the {count} tokens of the model");
        return Err(ModelError::contents(path, problem));
    }
    let kinds = (0..count).map(|id| match id {
        0 => kind::UNKNOWN,
        1 | 2 => kind::CONTROL,
        3..259 => kind::BYTE,
        _ => kind::NORMAL,
    });
    let vocabulary = Vocabulary {
        kinds: kinds.collect(),
        tokens,
        merges: Merges::Scored { scores },
        bos: Some(1),
        eos: Some(2),
        // llama2.c's stories are separated by the token that begins the next.
        stops: vec![1],
        unknown: Some(0),
        add_bos: true,
        add_space: true,
        chat_template: None,
    };
    vocabulary.check().map_err(|problem| ModelError::contents(path, problem))?;
    Ok(vocabulary)
}
