//! Conversations: the Jinja template that instruct models bring, rendered.
//!
//! A template is a program by whoever wrote the file: it runs in a thread of its own, with bounds on all that it could take.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bitquilt::text::Cut;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use crate::budget::Budget;
use crate::vocabulary::Vocabulary;

/// The most bytes of a template; those of well-known models have up to 20,000.
const LENGTH: usize = 1 << 16;
/// The number of instructions that a template may take, and how many more for each message.
const STEPS: u64 = 100_000;
const STEPS_A_MESSAGE: u64 = 10_000;
/// The number of bytes that it may write, and that it may keep at a time. Each grows by a multiple of the messages' bytes.
const OUTPUT: usize = 1 << 20;
const MEMORY: usize = 1 << 26;
const TIMES_THE_MESSAGES: usize = 16;
/// The longest time that it may take in all: an instruction that allocates nothing is bounded by nothing else.
const TIME: Duration = Duration::from_secs(10);
/// The most characters of an error's message, which a template may have worded.
const MESSAGE: usize = 300;
/// The number of bytes of the stack. Templates are parsed, compiled and freed by recursion: as deep as they are long, with some KB a level.
const STACK: usize = 1 << 29;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }

    fn bytes(&self) -> usize {
        self.role.len() + self.content.len()
    }
}

/// Why a template gives no text.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// It is longer than any that is run.
    #[error("it has {bytes} bytes; at most {LENGTH} are run")]
    Length {
        /// The number of its bytes.
        bytes: usize,
    },
    /// It is no template, or refuses the conversation.
    #[error("{0}")]
    Template(String),
    /// It runs on and on.
    #[error("it takes more than {most} steps")]
    Steps {
        /// The number that it may take.
        most: u64,
    },
    /// It writes more than it should.
    #[error("it writes more than {most} bytes")]
    Output {
        /// The number that it may write.
        most: usize,
    },
    /// Its values are too large.
    #[error("it takes more than {most} bytes of memory")]
    Memory {
        /// The number that it may take.
        most: usize,
    },
    /// One of its steps goes on and on, in a thread that nobody waits for any more.
    #[error("it takes longer than {} seconds", TIME.as_secs())]
    Time,
    /// There is no thread for it.
    #[error("no thread can be started for it: {0}")]
    Thread(#[source] io::Error),
    /// Its thread panicked.
    #[error("it made the template engine fail")]
    Engine,
}

/// The bounds of a template for a conversation.
#[derive(Clone, Copy)]
struct Limits {
    steps: u64,
    output: usize,
    memory: usize,
}

impl Limits {
    fn of(messages: &[Message]) -> Self {
        let messages_bytes: usize = messages.iter().map(Message::bytes).sum();
        let more = messages_bytes.saturating_mul(TIMES_THE_MESSAGES);
        Self {
            steps: STEPS + STEPS_A_MESSAGE * messages.len() as u64,
            output: OUTPUT.saturating_add(more),
            memory: MEMORY.saturating_add(more),
        }
    }
}

/// The text of a conversation up to where the assistant's answer begins.
///
/// Length, steps, depth and output of the template are bounded, and so is its memory in a program whose allocator is
/// [`Budgeted`](crate::budget::Budgeted).
///
/// # Errors
/// A [`ChatError`] says what is wrong with the template, or which bound it exceeds.
pub fn render(template: &str, vocabulary: &Vocabulary, messages: &[Message]) -> Result<String, ChatError> {
    if template.len() > LENGTH {
        return Err(ChatError::Length { bytes: template.len() });
    }
    let limits = Limits::of(messages);
    let text = |id: Option<u32>| id.and_then(|id| vocabulary.tokens.get(id as usize)).cloned();
    let values = context! {
        messages,
        add_generation_prompt => true,
        bos_token => text(vocabulary.bos).unwrap_or_default(),
        eos_token => text(vocabulary.eos).unwrap_or_default(),
    };
    let (template, budget, (done, wait)) = (template.to_owned(), Budget::default(), mpsc::channel());
    let spending = budget.clone();
    let work = move || {
        let rendered = spending.spend(limits.memory, || render_within(&template, values, limits));
        // Nobody waits any more if it took too long.
        let _ = done.send(rendered);
    };
    thread::Builder::new().stack_size(STACK).spawn(work).map_err(ChatError::Thread)?;
    let begin = Instant::now();
    loop {
        match wait.recv_timeout(Duration::from_millis(5)) {
            Ok(rendered) => return rendered,
            Err(RecvTimeoutError::Disconnected) => return Err(ChatError::Engine),
            Err(RecvTimeoutError::Timeout) if budget.is_spent() => {
                return Err(ChatError::Memory { most: limits.memory });
            }
            Err(RecvTimeoutError::Timeout) if begin.elapsed() > TIME => return Err(ChatError::Time),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Renders in this thread; memory, time and stack are the caller's to bound.
fn render_within(template: &str, values: Value, limits: Limits) -> Result<String, ChatError> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(limits.steps));
    // As Hugging Face's `apply_chat_template` sets them, for which these templates are written.
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    let mut output = Bounded { text: Vec::new(), most: limits.output };
    let rendered = environment
        .template_from_named_str("chat", template)
        .and_then(|template| template.render_captured_to(values, &mut output).map(drop));
    match rendered {
        // Values are texts, and so is what is written of them.
        Ok(()) => Ok(String::from_utf8_lossy(&output.text).into_owned()),
        Err(error) => Err(match error.kind() {
            ErrorKind::OutOfFuel => ChatError::Steps { most: limits.steps },
            ErrorKind::WriteFailure => ChatError::Output { most: limits.output },
            _ => ChatError::Template(Cut(&error.to_string(), MESSAGE).to_string()),
        }),
    }
}

/// An output that takes up to a number of bytes.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Merges;

    fn vocabulary() -> Vocabulary {
        Vocabulary {
            tokens: vec!["<s>".to_owned(), "</s>".to_owned()],
            kinds: Vec::new(),
            merges: Merges::Scored { scores: vec![0.0; 2] },
            bos: Some(0),
            eos: Some(1),
            stops: Vec::new(),
            unknown: None,
            add_bos: true,
            add_space: true,
            chat_template: None,
        }
    }

    #[test]
    fn templates_are_rendered_as_their_authors_mean_them() {
        let messages = [Message::new("system", "Be kind."), Message::new("user", " Hello ")];
        let chatml = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}none{% endif %}\
            {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
            {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        assert_eq!(
            render(chatml, &vocabulary(), &messages).unwrap(),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hello <|im_end|>\n<|im_start|>assistant\n"
        );
        let stripped = "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}\n[{{ m['content'].strip() }}]\n  {% endif %}\n{% endfor %}{{ eos_token }}";
        assert_eq!(render(stripped, &vocabulary(), &messages).unwrap(), "<s>[Hello]\n</s>");
    }
}
