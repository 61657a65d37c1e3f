//! What GGUF files say about a decoder in their metadata: architecture, hyper-parameters, vocabulary.

use bitquilt::checkpoint::metadata::{Array, Metadata, MetadataError, Value};
use bitquilt::text::Brief;

use crate::arch;
use crate::architecture::Architecture;
use crate::config::{Config, EMBEDDING};
use crate::tokenizer::is_llama3;
use crate::vocabulary::{Merges, Vocabulary};
use crate::yarn::Yarn;

/// The key that every such file has.
const ARCHITECTURE: &str = "general.architecture";

/// Whether a file's metadata is that of a model in GGUF.
pub(super) fn describes(metadata: &Metadata) -> bool {
    metadata.contains(ARCHITECTURE)
}

/// The metadata of a model, read.
pub(super) type Description = (&'static dyn Architecture, Config, Option<Vocabulary>);

/// The architecture, hyper-parameters and tokens of a model whose embedding has so many `rows`; the metadata's lists are taken out.
pub(super) fn read(metadata: &mut Metadata, rows: Option<usize>) -> Result<Description, String> {
    let name: &str = metadata.require(ARCHITECTURE).map_err(|error| error.to_string())?;
    let architecture = arch::named(name).map_err(|error| error.to_string())?;
    Ok((architecture, config(metadata, architecture.name(), rows)?, vocabulary(metadata)?))
}

/// The hyper-parameters, whose keys begin with the architecture's name; `rows` are those of the embedding.
fn config(metadata: &Metadata, architecture: &str, rows: Option<usize>) -> Result<Config, String> {
    let text = |error: MetadataError| error.to_string();
    let full = |key: &str| format!("{architecture}.{key}");
    let required = |key: &str| metadata.require::<usize>(&full(key)).map_err(text);
    let optional = |key: &str| metadata.find::<usize>(&full(key)).map_err(text);
    let number = |key: &str| metadata.find::<f64>(&full(key)).map_err(text);
    if let Some(experts) = optional("expert_count")?.filter(|experts| *experts > 0) {
        return Err(format!("it is a mixture of {experts} experts; this library runs dense models"));
    }
    let (width, heads) = (required("embedding_length")?, required("attention.head_count")?);
    let head = match optional("attention.key_length")? {
        Some(head) => head,
        None if heads > 0 && width.is_multiple_of(heads) => width / heads,
        None => return Err(format!("its width {width} cannot be split evenly among {heads} heads")),
    };
    if let Some(values) = optional("attention.value_length")?.filter(|values| *values != head) {
        return Err(format!(
            "its value heads have {values} values and its key heads {head}; the same was expected"
        ));
    }
    let context = required("context_length")?;
    // What llama.cpp would do otherwise with these is not done here.
    for (key, expected) in [("attn_factor", 1.0), ("yarn_ext_factor", 1.0), ("yarn_log_multiplier", 0.0)] {
        let key = format!("rope.scaling.{key}");
        if let Some(value) = number(&key)?.filter(|value| *value != expected) {
            return Err(format!("its `{}` is {value}; this library runs {expected}", full(&key)));
        }
    }
    // Files of before the scaling had types have `scale_linear`. Zero stands for none.
    let factor = number("rope.scaling.factor")?.or(number("rope.scale_linear")?);
    let factor = factor.filter(|factor| *factor != 0.0).unwrap_or(1.0);
    let (rope_scale, yarn) = match metadata.find::<&str>(&full("rope.scaling.type")).map_err(text)? {
        Some("none") => (1.0, None),
        None | Some("linear") => (1.0 / factor, None),
        Some("yarn") => {
            let trained = optional("rope.scaling.original_context_length")?.unwrap_or(context);
            let beta_fast = number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
            let beta_slow = number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
            (1.0, Some(Yarn { factor, trained, beta_fast, beta_slow }))
        }
        Some(other) => {
            return Err(format!(
                "its rope scaling is `{other}`; this library runs `none`, `linear` and `yarn`"
            ));
        }
    };
    Ok(Config {
        width,
        hidden: required("feed_forward_length")?,
        layers: required("block_count")?,
        heads,
        kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head,
        vocabulary: match optional("vocab_size")?.or(rows) {
            Some(vocabulary) => vocabulary,
            None => {
                return Err(format!("it has neither `{}` nor the tensor `{EMBEDDING}`", full("vocab_size")));
            }
        },
        context,
        eps: metadata.require::<f64>(&full("attention.layer_norm_rms_epsilon")).map_err(text)? as f32,
        rope_dims: optional("rope.dimension_count")?.unwrap_or(head),
        rope_theta: number("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scale,
        yarn,
    })
}

/// The tokens, whose lists are taken out of the metadata; none if the file has none.
pub fn vocabulary(metadata: &mut Metadata) -> Result<Option<Vocabulary>, String> {
    let text = |error: MetadataError| error.to_string();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let model = match metadata.find(&key("model")).map_err(text)? {
        None | Some("no_vocab" | "none") => return Ok(None),
        Some(model) => model.to_owned(),
    };
    let tokens = take_texts(metadata, &key("tokens")).map_err(text)?;
    let merges = match model.as_str() {
        "gpt2" => Merges::Listed {
            pre_tokenizer: metadata.find::<&str>(&key("pre")).map_err(text)?.unwrap_or("default").to_owned(),
            merges: take_texts(metadata, &key("merges")).map_err(text)?,
        },
        "llama" => {
            let scores: Vec<f64> = metadata.require(&key("scores")).map_err(text)?;
            Merges::Scored { scores: scores.into_iter().map(|score| score as f32).collect() }
        }
        other => {
            let found = Brief(other);
            return Err(format!("its tokenizer is `{found}`; this library knows `gpt2` and `llama`"));
        }
    };
    let scored = matches!(merges, Merges::Scored { .. });
    let llama3 = matches!(&merges, Merges::Listed { pre_tokenizer, .. } if is_llama3(pre_tokenizer));
    let id = |name: &str| metadata.find::<u32>(&key(name)).map_err(text);
    let flag = |name: &str| metadata.find::<bool>(&key(name)).map_err(text);
    let kinds = metadata.find::<Vec<i64>>(&key("token_type")).map_err(text)?.unwrap_or_default();
    let vocabulary = Vocabulary {
        tokens,
        kinds: kinds.iter().map(|kind| u8::try_from(*kind).unwrap_or_default()).collect(),
        merges,
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        stops: [id("eot_token_id")?, id("eom_token_id")?].into_iter().flatten().collect(),
        unknown: id("unknown_token_id")?,
        // Llama 3's files leave it out and mean yes.
        add_bos: flag("add_bos_token")?.unwrap_or(scored || llama3),
        add_space: flag("add_space_prefix")?.unwrap_or(scored),
        chat_template: metadata.find::<&str>("tokenizer.chat_template").map_err(text)?.map(str::to_owned),
    };
    vocabulary.check()?;
    Ok(Some(vocabulary))
}

/// Takes an array of texts out of the metadata, which need not be there twice.
fn take_texts(metadata: &mut Metadata, key: &str) -> Result<Vec<String>, MetadataError> {
    metadata.require::<&[String]>(key)?;
    Ok(match metadata.remove(key) {
        Some(Value::Array(Array::String(texts))) => texts,
        _ => Vec::new(),
    })
}
