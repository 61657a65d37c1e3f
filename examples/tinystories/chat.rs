//! Conversations: the Jinja template that instruct models bring, rendered.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;

use super::vocabulary::Vocabulary;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

/// The text of a conversation up to where the assistant's answer begins; an error says what is wrong with the template.
pub fn render(template: &str, vocabulary: &Vocabulary, messages: &[Message]) -> Result<String, Error> {
    let mut environment = Environment::new();
    // As Hugging Face's `apply_chat_template` sets them, for which these templates are written.
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    let text = |id: Option<u32>| {
        id.and_then(|id| vocabulary.tokens.get(id as usize)).map_or(String::new(), String::clone)
    };
    environment.render_str(
        template,
        context! {
            messages,
            add_generation_prompt => true,
            bos_token => text(vocabulary.bos),
            eos_token => text(vocabulary.eos),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tinystories::vocabulary::Merges;

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

    #[test]
    fn a_template_may_refuse_a_conversation() {
        let template = "{{ raise_exception('roles must alternate') }}";
        let error = render(template, &vocabulary(), &[]).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }
}
