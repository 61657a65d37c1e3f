//! Chat templates by strangers: each gives a text or a sentence, soon, and takes no more than it may.
#![allow(clippy::unwrap_used, reason = "tests may")]

use bitquilt_models::budget::Budgeted;
use bitquilt_models::chat::{ChatError, Message, render};
use bitquilt_models::vocabulary::{Merges, Vocabulary};

#[global_allocator]
static ALLOCATOR: Budgeted = Budgeted;

fn answer(template: &str) -> Result<String, ChatError> {
    let vocabulary = Vocabulary {
        tokens: Vec::new(),
        kinds: Vec::new(),
        merges: Merges::Scored { scores: Vec::new() },
        bos: None,
        eos: None,
        stops: Vec::new(),
        unknown: None,
        add_bos: false,
        add_space: false,
        chat_template: None,
    };
    render(template, &vocabulary, &[Message::new("user", "Hello")])
}

/// The template gets this sentence, which is short and says nothing to a terminal.
fn refused(template: &str, sentence: &str) {
    let shown: String = template.chars().take(60).collect();
    match answer(template) {
        Ok(text) => panic!("{shown}: {} bytes of text", text.len()),
        Err(error) => {
            let found = error.to_string();
            assert!(found.contains(sentence), "{shown}: {found:?}, not {sentence:?}");
            assert!(found.len() < 1000, "{shown}: a sentence of {} bytes", found.len());
            assert!(!found.contains(char::is_control), "{shown}: {found:?}");
        }
    }
}

#[test]
fn a_template_that_asks_for_too_much_gets_a_sentence() {
    let (steps, memory, output) = (
        "it takes more than 110000 steps",
        "it takes more than 67109008 bytes of memory",
        "it writes more than 1048720 bytes",
    );
    for (template, sentence) in [
        // Time.
        (
            "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
            steps,
        ),
        ("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "recursion limit exceeded"),
        ("{% for a in [[1], [2]] recursive %}{{ loop([a, a]) }}{% endfor %}", "recursion limit exceeded"),
        ("{% for a in range(100000000000) %}{% endfor %}", "range"),
        ("{{ ([1] * 1000000000000) | sum }}", "it takes longer than 10 seconds"),
        // Output.
        ("{% for a in range(1000) %}{{ 'a' * 10000 }}{% endfor %}", output),
        ("{{ 'a' * 2000000 }}", output),
        // Memory.
        ("{{ 'a\\nb' | indent(4000000000) }}", memory),
        ("{{ 'a' * 4000000000 }}", "repeated string is too large"),
        (
            "{% set s = namespace(s='aa') %}{% for i in range(100) %}{% set s.s = s.s ~ s.s %}{% endfor %}{{ s.s }}",
            memory,
        ),
        (
            "{% set s = namespace(s='aa') %}{% for i in range(100) %}{% set s.s = s.s + s.s %}{% endfor %}{{ s.s }}",
            memory,
        ),
        (
            "{% set s = namespace(s='aa') %}{% for i in range(100) %}{% set s.s = s.s | replace('a', 'aa') %}{% endfor %}",
            memory,
        ),
        (
            "{% set s = namespace(s='aa') %}{% for i in range(100) %}{% set s.s %}{{ s.s }}{{ s.s }}{% endset %}{% endfor %}",
            memory,
        ),
        (
            "{% set s = namespace(s=['a']) %}{% for i in range(100) %}{% set s.s = (s.s + s.s) | list %}{% endfor %}",
            memory,
        ),
        ("{{ ([1] * 1000000000) | list | length }}", memory),
        ("{{ [1, 2] | slice(4000000000) | list }}", memory),
        ("{{ [1, 2] | batch(4000000000, 0) | list }}", memory),
        ("{{ ('a' * 99999999) ~ ('a' * 99999999) }}", memory),
        ("{{ '%1000000000d' | format(1) }}", ""),
        ("{{ 'a'.center(4000000000) }}", ""),
        ("{{ 'a'.ljust(4000000000) }}", ""),
        // What a template says.
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ raise_exception('a\\u001b[31mb\\nc') }}", "a\\u{1b}[31mb\\nc"),
        ("{{ raise_exception('a' * 1000000) }}", "aaa…"),
        ("{% if %}", "chat:1"),
        ("{{ nothing.at.all }}", "undefined"),
    ] {
        refused(template, sentence);
    }
    refused(&"a".repeat(70_000), "it has 70000 bytes; at most 65536 are run");
}

#[test]
fn a_template_may_be_as_deep_as_it_is_long() {
    const LENGTH: usize = 1 << 16;
    let many = |text: &str| text.repeat((LENGTH - 40) / text.len());
    let expression = |first: &str, more: &str| format!("{{{{ {first}{} }}}}", many(more));
    let too_deep = "template exceeds maximum recursion limits";
    for (template, expected) in [
        // Texts.
        (format!("{{{{ {}1 }}}}", many("--")), Ok("1")),
        (format!("{{{{ {}messages == 1 }}}}", "not ".repeat(2000)), Ok("False")),
        (expression("1", "+0"), Ok("1")),
        (expression("'a'", "~''"), Ok("a")),
        (expression("messages[0].role", "|e"), Ok("user")),
        (expression("1", " if 1 else 2"), Ok("1")),
        (expression("1", " and 1"), Ok("1")),
        (format!("{{%if a%}}{}{{%endif%}}", many("{%elif a%}")), Ok("")),
        (many("{{a}}"), Ok("")),
        (nested(4000, "[[[[[[[[[[n.v]]]]]]]]]]", "{{ n.v | length }}"), Ok("1")),
        (nested(4000, "{1: [n.v]}", "{{ n.v == n.v }}"), Ok("True")),
        // Sentences.
        (nested(90_000, "[[[[[[[[[[n.v]]]]]]]]]]", ""), Err("it takes more than 110000 steps")),
        (expression("messages", ".a"), Err("undefined value")),
        (expression("messages", "()"), Err("not callable")),
        (expression("", "("), Err(too_deep)),
        (expression("", "["), Err(too_deep)),
        (expression("", "a["), Err(too_deep)),
        (expression("", "{1:"), Err(too_deep)),
        (many("{%if a%}"), Err(too_deep)),
        (many("{%for a in a%}"), Err(too_deep)),
        (many("{%macro a()%}"), Err(too_deep)),
        (many("{%set a%}"), Err(too_deep)),
        (many("{#"), Err("unexpected end of comment")),
    ] {
        match expected {
            Ok(text) => assert_eq!(answer(&template).unwrap(), text, "{}", &template[..60]),
            Err(sentence) => refused(&template, sentence),
        }
    }
}

/// A template that puts a value into another so many times.
fn nested(times: usize, value: &str, then: &str) -> String {
    format!(
        "{{% set n = namespace(v=[1]) %}}{{% for a in range({times}) %}}{{% set n.v = {value} %}}{{% endfor %}}{then}"
    )
}
