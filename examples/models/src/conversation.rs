//! A conversation with a model, turn by turn, or texts that it continues.

use std::io;

use crate::chat::{ChatError, Message, render};
use crate::generate::{GenerateError, Generation, continue_text};
use crate::runner::Runner;
use crate::sampler::Sampler;
use crate::stream::TextStream;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::vocabulary::Vocabulary;

/// What was said so far.
pub struct Conversation<'v> {
    vocabulary: &'v Vocabulary,
    template: Option<&'v str>,
    messages: Vec<Message>,
}

/// Why a model gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// There is a system message and no place for it.
    #[error("the model has no chat template; --system needs one")]
    NoTemplate,
    /// The template gives no text.
    #[error("the model's chat template: {0}; --raw does without it")]
    Template(#[from] ChatError),
    /// The text gives no tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model does not continue it.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// An answer, and what was fed for it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// How it was generated.
    pub generation: Generation,
    /// The number of tokens of the prompt that were fed; those that the model had from turns before were not.
    pub fed: usize,
    /// The most tokens that it could have: what was asked for, or what the context had room for.
    pub most: usize,
    /// The number of pieces of the text that have no tokens.
    pub unknown: usize,
}

impl Answer {
    /// Why the answer ends before the model ended it, if it does; `most` tokens were asked for.
    pub fn cut(&self, most: usize, context: usize) -> Option<String> {
        match self.generation.ended {
            true => None,
            false if self.most < most => {
                Some(format!("the context of {context} tokens is full; --context makes it longer"))
            }
            false => Some(format!("stopped after {most} tokens; -n gives more")),
        }
    }
}

impl<'v> Conversation<'v> {
    /// A conversation in which nothing was said but what the model is told to be. Without a chat template, or where it is `raw`, each text
    /// is continued as it is.
    pub fn new(
        vocabulary: &'v Vocabulary,
        raw: bool,
        system: Option<&str>,
    ) -> Result<Self, ConversationError> {
        let template = vocabulary.chat_template.as_deref().filter(|_| !raw);
        if system.is_some() && template.is_none() {
            return Err(ConversationError::NoTemplate);
        }
        let messages = system.iter().map(|text| Message::new("system", text)).collect();
        Ok(Self { vocabulary, template, messages })
    }

    /// Whether texts are answered, and not continued.
    pub fn is_answered(&self) -> bool {
        self.template.is_some()
    }

    /// Answers or continues a text of `most` tokens at most, which is written as it comes. A text that is continued is written before.
    ///
    /// `prefilled` is called when the prompt is fed. After an error the conversation is as it was before.
    pub fn say(
        &mut self,
        text: &str,
        model: &mut Talker<'_>,
        out: impl io::Write,
        most: usize,
        prefilled: impl FnOnce(&mut Runner),
    ) -> Result<Answer, ConversationError> {
        let prompt = match self.template {
            Some(template) => {
                self.messages.push(Message::new("user", text));
                let rendered = render(template, self.vocabulary, &self.messages);
                rendered.inspect_err(|_| drop(self.messages.pop()))?
            }
            None => text.to_owned(),
        };
        let answer = self.answer(&prompt, model, out, most, prefilled);
        match (&answer, self.template) {
            (Ok(answer), Some(_)) => self.messages.push(Message::new("assistant", &answer.text)),
            (Err(_), Some(_)) => drop(self.messages.pop()),
            (_, None) => {}
        }
        answer
    }

    fn answer(
        &self,
        prompt: &str,
        model: &mut Talker<'_>,
        out: impl io::Write,
        most: usize,
        prefilled: impl FnOnce(&mut Runner),
    ) -> Result<Answer, ConversationError> {
        let Talker { runner, tokenizer, sampler } = model;
        // Templates write out the token that begins a text, where there is one.
        let tokens = tokenizer.encode(prompt, !self.is_answered())?;
        let unknown = tokenizer.count_unknown(&tokens);
        let prompt: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let mut stream = TextStream::new(Copied { out, copy: Vec::new() }, tokenizer.adds_space());
        if !self.is_answered() {
            let written = tokens.iter().try_for_each(|token| stream.push(tokenizer.bytes(*token)));
            written.map_err(GenerateError::from)?;
        }
        let known = runner.resume(&prompt);
        let most = most.min(runner.context().saturating_sub(prompt.len()) + 1);
        let fed = &prompt[known..];
        let generation = continue_text(runner, fed, tokenizer, sampler, &mut stream, most, prefilled)?;
        let copied = stream.finish().map_err(GenerateError::from)?;
        let text = String::from_utf8_lossy(&copied.copy).into_owned();
        Ok(Answer { text, generation, fed: fed.len(), most, unknown })
    }
}

/// A model that talks.
pub struct Talker<'m> {
    /// The model.
    pub runner: &'m mut Runner,
    /// Its tokenizer.
    pub tokenizer: &'m Tokenizer,
    /// What chooses its tokens.
    pub sampler: &'m mut Sampler,
}

/// An output of which a copy is kept.
struct Copied<W> {
    out: W,
    copy: Vec<u8>,
}

impl<W: io::Write> io::Write for Copied<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.copy.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
