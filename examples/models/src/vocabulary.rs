//! A model's tokens, as files hold them.

/// The kinds of tokens, by GGUF's numbers (`tokenizer.ggml.token_type`).
pub mod kind {
    /// A piece of text.
    pub const NORMAL: u8 = 1;
    /// Stands for what cannot be encoded.
    pub const UNKNOWN: u8 = 2;
    /// Means something and has no text, such as the end.
    pub const CONTROL: u8 = 3;
    /// A piece of text that is never split.
    pub const USER_DEFINED: u8 = 4;
    /// Never used.
    pub const UNUSED: u8 = 5;
    /// A byte, written `<0x0A>`.
    pub const BYTE: u8 = 6;
}

/// The most bytes of a token: every part of a token may be one, and the longest of well-known models have a few hundred.
const LONGEST_TOKEN: usize = 1024;

/// A model's tokens, and how text becomes a sequence of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// The text of each token.
    pub tokens: Vec<String>,
    /// The [`kind`] of each token; empty if all are normal.
    pub kinds: Vec<u8>,
    /// The pairs of pieces that are joined.
    pub merges: Merges,
    /// The token before a text.
    pub bos: Option<u32>,
    /// The token after a text.
    pub eos: Option<u32>,
    /// Other tokens that end a text.
    pub stops: Vec<u32>,
    /// The token for what cannot be encoded.
    pub unknown: Option<u32>,
    /// Whether texts begin with `bos`.
    pub add_bos: bool,
    /// Whether a space is put before a text.
    pub add_space: bool,
    /// The Jinja template of a conversation, of models that were trained for one.
    pub chat_template: Option<String>,
}

/// The two kinds of byte-pair encoding.
#[derive(Clone, Debug, PartialEq)]
pub enum Merges {
    /// GPT-2's: over bytes, pairs in the order of a list.
    Listed {
        /// Two pieces a line, separated by a space.
        merges: Vec<String>,
        /// llama.cpp's name for the way in which text is split into words before.
        pre_tokenizer: String,
    },
    /// SentencePiece's: over characters, the pair first whose joined token has the highest score.
    Scored {
        /// The score of each token.
        scores: Vec<f32>,
    },
}

impl Vocabulary {
    /// Checks that the parts fit each other; the error is a sentence.
    pub fn check(&self) -> Result<(), String> {
        let count = self.tokens.len();
        let wrong = |what: &str, found: usize| {
            Err(format!("the tokenizer has {count} tokens and {found} {what}; the same number was expected"))
        };
        if !self.kinds.is_empty() && self.kinds.len() != count {
            return wrong("token types", self.kinds.len());
        }
        if let Some((id, token)) =
            self.tokens.iter().enumerate().find(|(_, token)| token.len() > LONGEST_TOKEN)
        {
            let bytes = token.len();
            return Err(format!(
                "the tokenizer's token {id} has {bytes} bytes; at most {LONGEST_TOKEN} were expected"
            ));
        }
        match &self.merges {
            Merges::Scored { scores } if scores.len() != count => return wrong("scores", scores.len()),
            _ => {}
        }
        let ids = [self.bos, self.eos, self.unknown].into_iter().flatten().chain(self.stops.iter().copied());
        for id in ids {
            if id as usize >= count {
                return Err(format!("the tokenizer names the token {id} of {count}"));
            }
        }
        Ok(())
    }

    /// The [`kind`] of a token.
    pub fn kind(&self, id: usize) -> u8 {
        self.kinds.get(id).copied().unwrap_or(kind::NORMAL)
    }
}
