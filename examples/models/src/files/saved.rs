//! A decoder in one bitquilt checkpoint: the weights under their names, the vocabulary as tensors, the rest as JSON in the metadata.

use bitquilt::checkpoint::Checkpoint;
use bitquilt::registry::Registry;
use bitquilt::{Tensor, TensorDict};
use serde::{Deserialize, Serialize};

use crate::arch;
use crate::config::Config;
use crate::model::{DecoderModel, ModelError};
use crate::vocabulary::{Merges, Vocabulary};

/// The metadata that makes a checkpoint such a model.
const KEY: &str = "tinystories";

/// The metadata's value, JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    #[serde(default = "llama", skip_serializing_if = "is_llama")]
    architecture: String,
    config: Config,
    vocabulary: Option<VocabularyRecord>,
}

/// The version of the entry.
const FORMAT: u32 = 1;

/// The architecture where the entry names none.
fn llama() -> String {
    "llama".to_owned()
}

fn is_llama(architecture: &String) -> bool {
    *architecture == llama()
}

/// The parts of a vocabulary that are no lists; those are tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabularyRecord {
    /// None if the tokens have scores.
    pre_tokenizer: Option<String>,
    bos: Option<u32>,
    eos: Option<u32>,
    stops: Vec<u32>,
    unknown: Option<u32>,
    add_bos: bool,
    add_space: bool,
    chat_template: Option<String>,
}

/// The tensors of lists. A list of texts is all of them one after the other, each ended by a zero byte.
const TOKENS: &str = "tokenizer.tokens";
const MERGES: &str = "tokenizer.merges";
const SCORES: &str = "tokenizer.scores";
const KINDS: &str = "tokenizer.kinds";

/// The model in a checkpoint.
pub(super) fn read(file: &Checkpoint, registry: &Registry) -> Result<DecoderModel, ModelError> {
    let wrong = |problem: String| ModelError::contents(file.path(), problem);
    let text = file.metadata().text(KEY).ok_or_else(|| {
        wrong(
            "it is no model that this library runs; give a GGUF file, what `bitquilt quantize` made of one, a llama2.c .bin, or what --save wrote"
                .to_owned(),
        )
    })?;
    let record: Record =
        serde_json::from_str(text).map_err(|error| wrong(format!("the metadata `{KEY}`: {error}")))?;
    if record.format != FORMAT {
        let found = record.format;
        return Err(wrong(format!("the metadata `{KEY}` is of format {found}, this version reads {FORMAT}")));
    }
    let architecture = arch::named(&record.architecture).map_err(|error| wrong(error.to_string()))?;
    let mut weights = file.load(registry)?;
    weights.metadata_mut().clear();
    let vocabulary = match record.vocabulary {
        Some(record) => Some(vocabulary(record, &mut weights).map_err(wrong)?),
        None => None,
    };
    Ok(DecoderModel { architecture, config: record.config, weights, vocabulary })
}

fn vocabulary(record: VocabularyRecord, weights: &mut TensorDict) -> Result<Vocabulary, String> {
    let mut texts = |name: &str| {
        let bytes = weights.values::<u8>(name).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(bytes).map_err(|_| format!("tensor `{name}` is no UTF-8"))?;
        let list: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        weights.remove(name);
        Ok::<_, String>(list)
    };
    let tokens = texts(TOKENS)?;
    let merges = match record.pre_tokenizer {
        Some(pre_tokenizer) => Merges::Listed { merges: texts(MERGES)?, pre_tokenizer },
        None => {
            let scores = weights.values::<f32>(SCORES).map_err(|error| error.to_string())?.to_vec();
            weights.remove(SCORES);
            Merges::Scored { scores }
        }
    };
    let kinds = weights.values::<u8>(KINDS).map_err(|error| error.to_string())?.to_vec();
    weights.remove(KINDS);
    let vocabulary = Vocabulary {
        tokens,
        kinds,
        merges,
        bos: record.bos,
        eos: record.eos,
        stops: record.stops,
        unknown: record.unknown,
        add_bos: record.add_bos,
        add_space: record.add_space,
        chat_template: record.chat_template,
    };
    vocabulary.check()?;
    Ok(vocabulary)
}

/// The tensors and metadata of a file.
pub(super) fn write(model: &DecoderModel) -> Result<TensorDict, String> {
    let mut tensors = model.weights.clone();
    let architecture = model.architecture.name().to_owned();
    let mut record = Record { format: FORMAT, architecture, config: model.config.clone(), vocabulary: None };
    if let Some(vocabulary) = &model.vocabulary {
        tensors.insert(TOKENS, texts(&vocabulary.tokens)?);
        tensors.insert(KINDS, list(&vocabulary.kinds)?);
        let pre_tokenizer = match &vocabulary.merges {
            Merges::Listed { merges, pre_tokenizer } => {
                tensors.insert(MERGES, texts(merges)?);
                Some(pre_tokenizer.clone())
            }
            Merges::Scored { scores } => {
                tensors.insert(SCORES, list(scores)?);
                None
            }
        };
        record.vocabulary = Some(VocabularyRecord {
            pre_tokenizer,
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            stops: vocabulary.stops.clone(),
            unknown: vocabulary.unknown,
            add_bos: vocabulary.add_bos,
            add_space: vocabulary.add_space,
            chat_template: vocabulary.chat_template.clone(),
        });
    }
    let text = serde_json::to_string(&record).map_err(|error| error.to_string())?;
    tensors.metadata_mut().clear();
    tensors.metadata_mut().insert(KEY, text);
    Ok(tensors)
}

fn list<T: bitquilt::Scalar>(values: &[T]) -> Result<Tensor, String> {
    Tensor::new([values.len()], values).map_err(|error| error.to_string())
}

fn texts(texts: &[String]) -> Result<Tensor, String> {
    if let Some(text) = texts.iter().find(|text| text.contains('\0')) {
        return Err(format!("the token {text:?} has a zero byte, which the list of tokens has no place for"));
    }
    let bytes: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
    list(&bytes)
}
