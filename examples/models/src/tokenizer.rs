//! Text to tokens, through the crate `tokenizers`, and tokens to text.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Merges as MergeList, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::vocabulary::{Merges, Vocabulary, kind};

/// Why a vocabulary makes no tokenizer, or a text no tokens.
#[derive(Debug, thiserror::Error)]
#[error("tokenizer: {0}")]
pub struct TokenizerError(String);

/// Turns text into tokens and back.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// The bytes of all tokens, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    bos: Option<u32>,
    stops: Vec<u32>,
    unknown: Option<u32>,
    /// Whether a space was put before the text.
    add_space: bool,
    alphabet: Alphabet,
}

/// The pieces of text that have a token each, so that no text is left out: longer tokens are joined from these.
enum Alphabet {
    /// Bytes, of GPT-2's kind.
    Bytes(Box<[bool; 256]>),
    /// Characters, of SentencePiece's, and whether there is a token for every byte of others.
    Characters { known: HashSet<char>, bytes: bool },
}

impl Alphabet {
    fn of(vocabulary: &Vocabulary) -> Self {
        let mut known = HashSet::new();
        for token in &vocabulary.tokens {
            let mut chars = token.chars();
            if let (Some(char), None) = (chars.next(), chars.next()) {
                known.insert(char);
            }
        }
        match &vocabulary.merges {
            Merges::Listed { .. } => {
                let mut bytes = Box::new([false; 256]);
                known.into_iter().filter_map(byte_of).for_each(|byte| bytes[usize::from(byte)] = true);
                Self::Bytes(bytes)
            }
            Merges::Scored { .. } => {
                let bytes: HashSet<u8> =
                    vocabulary.tokens.iter().filter_map(|token| byte_token(token)).collect();
                Self::Characters { known, bytes: bytes.len() == 256 }
            }
        }
    }

    fn has(&self, char: char) -> bool {
        match self {
            Self::Bytes(known) => char.encode_utf8(&mut [0; 4]).bytes().all(|byte| known[usize::from(byte)]),
            Self::Characters { known, bytes } => {
                *bytes
                    || known.contains(&char)
                    || (char == ' ' && SPACE.chars().all(|space| known.contains(&space)))
            }
        }
    }
}

impl Tokenizer {
    /// The tokenizer of a vocabulary.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError(error.to_string());
        let mut tokenizer = match &vocabulary.merges {
            Merges::Listed { merges, pre_tokenizer } => {
                let (words, whole_words) = pre_tokenizers(pre_tokenizer)?;
                let model = BPE::builder()
                    .vocab_and_merges(vocab(vocabulary), listed_merges(merges)?)
                    .ignore_merges(whole_words);
                let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(failed)?);
                tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(words)));
                tokenizer
            }
            Merges::Scored { scores } => {
                let vocab = vocab(vocabulary);
                let merges = scored_merges(&vocabulary.tokens, scores, &vocab)?;
                let mut model =
                    BPE::builder().vocab_and_merges(vocab, merges).byte_fallback(true).fuse_unk(true);
                if let Some(unknown) = vocabulary.unknown {
                    model = model.unk_token(vocabulary.tokens[unknown as usize].clone());
                }
                let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(failed)?);
                let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
                if vocabulary.add_space {
                    normalizers.push(Prepend::new(SPACE.to_owned()).into());
                }
                normalizers.push(Replace::new(" ", SPACE).map_err(failed)?.into());
                tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(failed)?;
                tokenizer
            }
        };
        let whole =
            |id: usize| matches!(vocabulary.kind(id), kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED);
        let special =
            vocabulary.tokens.iter().enumerate().filter(|(id, token)| whole(*id) && !token.is_empty());
        let special = special.map(|(_, token)| AddedToken::from(token.clone(), true));
        tokenizer.add_special_tokens(special.collect::<Vec<_>>()).map_err(failed)?;

        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(vocabulary.tokens.len()));
        for id in 0..vocabulary.tokens.len() {
            push_bytes(vocabulary, id, &mut bytes);
            ends.push(bytes.len());
        }
        Ok(Self {
            tokenizer,
            bytes,
            ends,
            bos: vocabulary.bos.filter(|_| vocabulary.add_bos),
            stops: stops(vocabulary),
            unknown: vocabulary.unknown.filter(|_| matches!(vocabulary.merges, Merges::Scored { .. })),
            add_space: vocabulary.add_space,
            alphabet: Alphabet::of(vocabulary),
        })
    }

    /// The tokens of a text. If it `begins` one, the model's token for that comes first, if it wants one.
    ///
    /// Special tokens that are written out in the text, such as `<|im_start|>`, become themselves.
    ///
    /// # Errors
    /// A [`TokenizerError`] names the first character that has no token, if the vocabulary has none for [unknown text](Self::count_unknown), either.
    pub fn encode(&self, text: &str, begins: bool) -> Result<Vec<u32>, TokenizerError> {
        if self.unknown.is_none()
            && let Some((offset, char)) = text.char_indices().find(|(_, char)| !self.alphabet.has(*char))
        {
            return Err(TokenizerError(format!(
                "the character {char:?} at byte {offset} of the text has no token in the model's vocabulary, and would be left out"
            )));
        }
        let encoding =
            self.tokenizer.encode_fast(text, false).map_err(|error| TokenizerError(error.to_string()))?;
        let bos = self.bos.filter(|_| begins);
        Ok(bos.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// The tokens of a text, as models take them. `warn` is told if parts of it have none.
    pub fn encode_for_model(
        &self,
        text: &str,
        begins: bool,
        warn: impl FnOnce(String),
    ) -> Result<Vec<i32>, TokenizerError> {
        let tokens = self.encode(text, begins)?;
        if let Some(warning) = unknown_pieces(self.count_unknown(&tokens)) {
            warn(warning);
        }
        Ok(tokens.iter().map(|id| *id as i32).collect())
    }

    /// The number of tokens that stand for text which the vocabulary has no token for.
    pub fn count_unknown(&self, tokens: &[u32]) -> usize {
        tokens.iter().filter(|token| Some(**token) == self.unknown).count()
    }

    /// The bytes of a token's text, which may be a part of a character; none for tokens without text.
    pub fn bytes(&self, token: u32) -> &[u8] {
        let index = token as usize;
        match self.ends.get(index) {
            Some(end) => &self.bytes[index.checked_sub(1).map_or(0, |before| self.ends[before])..*end],
            None => &[],
        }
    }

    /// The text of tokens. What is no UTF-8 becomes `U+FFFD`.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.bytes(*token)).copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.strip_prefix(' ').filter(|_| self.add_space).unwrap_or(&text).to_owned()
    }

    /// Whether a space was put before the text, which the text of its tokens begins with.
    pub fn adds_space(&self) -> bool {
        self.add_space
    }

    /// Whether a text ends at this token.
    pub fn is_stop(&self, token: u32) -> bool {
        self.stops.contains(&token)
    }
}

/// What to say of a text of which so many pieces have no tokens.
pub fn unknown_pieces(count: usize) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "the model's vocabulary has no tokens for {count} pieces of the text; it sees its sign for the unknown instead"
        )
    })
}

/// SentencePiece's sign for a space.
const SPACE: &str = "\u{2581}";

fn vocab(vocabulary: &Vocabulary) -> Vocab {
    vocabulary.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect()
}

fn listed_merges(merges: &[String]) -> Result<MergeList, TokenizerError> {
    let pair = |merge: &String| {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            TokenizerError(format!("the merge \"{merge}\" is no pair separated by a space"))
        })?;
        Ok((left.to_owned(), right.to_owned()))
    };
    merges.iter().map(pair).collect()
}

/// All pairs of tokens that make a token, by its score: what SentencePiece does, as a list.
fn scored_merges(tokens: &[String], scores: &[f32], vocab: &Vocab) -> Result<MergeList, TokenizerError> {
    /// The number of bytes that the pairs may take; those of Gemma's 256,000 tokens take some 40 MB.
    const BYTES: usize = 1 << 27;
    let mut pairs: Vec<(f32, (String, String))> = Vec::new();
    let mut bytes = 0;
    for (token, score) in tokens.iter().zip(scores) {
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                bytes += token.len() + size_of::<(f32, (String, String))>();
                if bytes > BYTES {
                    return Err(TokenizerError(format!(
                        "its tokens are joined of each other in too many ways: their list has more than {BYTES} bytes"
                    )));
                }
                pairs.push((*score, (left.to_owned(), right.to_owned())));
            }
        }
    }
    pairs.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    Ok(pairs.into_iter().map(|(_, pair)| pair).collect())
}

/// Whether this is one of llama.cpp's names for Llama 3's way to split text into words.
pub(crate) fn is_llama3(pre_tokenizer: &str) -> bool {
    ["llama-bpe", "llama3", "llama-v3"].contains(&pre_tokenizer)
}

/// How text is split into words, and whether a word that is a token stays one, for the name that llama.cpp has for it.
fn pre_tokenizers(name: &str) -> Result<(Vec<PreTokenizerWrapper>, bool), TokenizerError> {
    /// Llama 3's words, with numbers of up to so many digits.
    fn llama3(digits: &str) -> String {
        format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    }
    let (gpt2, bytes) = (ByteLevel::new(false, false, true), ByteLevel::new(false, false, false));
    let split = |pattern: String| {
        Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| TokenizerError(error.to_string()))
    };
    Ok(match name {
        "gpt-2" | "gpt2" | "mpt" | "olmo" | "jais" => (vec![gpt2.into()], false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            (vec![Digits::new(true).into(), gpt2.into()], false)
        }
        name if is_llama3(name) => (vec![split(llama3("{1,3}"))?.into(), bytes.into()], true),
        "qwen2" => (vec![split(llama3(""))?.into(), bytes.into()], false),
        other => {
            return Err(TokenizerError(format!(
                "its pre-tokenizer is `{other}`; this library knows gpt-2, smollm, llama-bpe and qwen2"
            )));
        }
    })
}

/// Adds the bytes of a token's text.
fn push_bytes(vocabulary: &Vocabulary, id: usize, bytes: &mut Vec<u8>) {
    let token = &vocabulary.tokens[id];
    match (vocabulary.kind(id), &vocabulary.merges) {
        (kind::CONTROL | kind::UNKNOWN | kind::UNUSED, _) => {}
        (kind::BYTE, _) => bytes.extend(byte_token(token)),
        (kind::USER_DEFINED, Merges::Listed { .. }) => bytes.extend_from_slice(token.as_bytes()),
        (_, Merges::Scored { .. }) => bytes.extend_from_slice(token.replace(SPACE, " ").as_bytes()),
        (_, Merges::Listed { .. }) => {
            for char in token.chars() {
                match byte_of(char) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
    }
}

/// The byte of a token such as `<0x0A>`.
fn byte_token(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// The byte that GPT-2 writes as this character: printable ones of Latin-1 as themselves, the others, in order, from U+0100 on.
fn byte_of(char: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(char) {
        code @ 0..=0xFF => Some(code as u8).filter(|byte| printable(*byte)),
        code => (0..=0xFF).filter(|byte| !printable(*byte)).nth(usize::try_from(code - 0x100).ok()?),
    }
}

/// The tokens at which a text ends: those that the file names, and those that models are known to end a turn with.
fn stops(vocabulary: &Vocabulary) -> Vec<u32> {
    const KNOWN: [&str; 6] =
        ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>"];
    let known = vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, token)| vocabulary.kind(*id) == kind::CONTROL && KNOWN.contains(&token.as_str()));
    let mut stops: Vec<u32> = known.map(|(id, _)| id as u32).collect();
    stops.extend(vocabulary.eos);
    stops.extend(&vocabulary.stops);
    stops.sort_unstable();
    stops.dedup();
    stops
}
