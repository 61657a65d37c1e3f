//! Recipes, and the templates of conversations.

use bitquilt::quantize::Recipe;
use bitquilt::{Element, Tensor, TensorDict};
use bitquilt_models::chat::{self, Message};
use bitquilt_models::vocabulary::{Merges, Vocabulary};

use super::checkpoint::say;
use crate::{Scratch, session};

/// Recipes with a fallback, several rules, and globs of every kind.
pub(super) fn corpus(_: &Scratch) -> Vec<Vec<u8>> {
    let recipes = [
        "# For rows that no block fits.\nfallback = \"q8_0\"\n\n[[rule]]\nweights = \"blk.*.ffn_{up,down}.weight\"\n\
         encoding = \"q6_k\"\n\n[[rule]]\nweights = \"*\"\nencoding = \"q4_k\"\n",
        "[[rule]]\nweights = \"{a,{b,c}}[!x-z]?**\"\nencoding = \"keep\"\n[[rule]]\nweights = 'blk*'\nencoding = \"f32\"\n",
        "rule = [{ weights = \"[a-c]*.weight\", encoding = \"q4_0\" }]\n",
    ];
    recipes.map(|text| text.as_bytes().to_vec()).into()
}

/// A recipe is read from a file, and weights are encoded by it.
pub(super) fn read(scratch: &Scratch, bytes: &[u8]) {
    let recipe = match Recipe::read(&scratch.file("recipe.toml", bytes)) {
        Ok(recipe) => recipe,
        Err(error) => return say(&error),
    };
    let weights = [("blk.0.ffn_up.weight", [1, 256]), ("blk.0.attn_q.weight", [2, 32])];
    let mut weights: TensorDict =
        weights.map(|(name, shape)| (name, Tensor::full(shape, 0.5f32))).into_iter().collect();
    match recipe.apply(&mut weights, session().registry(), |_, _| {}) {
        Ok(summary) => drop(summary.to_string()),
        Err(error) => say(&error),
    }
    let encodings = weights.iter().filter(|(_, tensor)| matches!(tensor.element(), Element::Encoded(_)));
    for (_, tensor) in encodings {
        session().registry().to_f32(tensor).expect("what was encoded can be decoded");
    }
}

/// Templates as models have them.
pub(super) fn templates(_: &Scratch) -> Vec<Vec<u8>> {
    let templates = [
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}none{% endif %}\
         {{'<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>'}}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "{{ bos_token }}{% set ns = namespace(a=0) %}{% macro m(x) %}[{{ x * 2 }}]{% endmacro %}\
         {%- for m in messages %}\n  {% set ns.a = ns.a + 1 %}{{ m.content.strip().split(' ')[::-1] | join(',') }}\
         {% if m.role == 'x' %}{{ raise_exception('no ' ~ m.role) }}{% endif %}{% endfor %}{{ m('a' * 3) }}{{ range(9) | list }}",
    ];
    templates.map(|text| text.as_bytes().to_vec()).into()
}

/// A template is rendered for a conversation.
pub(super) fn read_template(_: &Scratch, bytes: &[u8]) {
    let vocabulary = Vocabulary {
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
    };
    let messages = [Message::new("system", "Be kind."), Message::new("user", " Hello, you there ")];
    if let Err(error) = chat::render(&String::from_utf8_lossy(bytes), &vocabulary, &messages) {
        say(&error);
    }
}
