//! What is to be done with a node: an attribute of its own, or else an option of its session.

use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::{Error, NodeView, Result};

/// Which of `all` the attribute `name` of a node says, or else the session's option of this name, or else the first.
///
/// # Errors
/// When it says something else.
pub fn chosen<T: Copy + Display>(node: &NodeView<'_>, name: &str, all: &[T]) -> Result<T> {
    let attribute =
        node.attributes().given(name, |attributes, name| attributes.text(name).map(str::to_owned))?;
    let (whose, text) = match (attribute, node.option(name)) {
        (Some(text), _) => ("the attribute", text),
        (None, Some(text)) => ("the option", text),
        (None, None) => {
            return all.first().copied().ok_or_else(|| Error::failed("there is nothing to choose"));
        }
    };
    all.iter().copied().find(|choice| choice.to_string() == text).ok_or_else(|| {
        let known: Vec<String> = all.iter().map(|choice| format!("\"{choice}\"")).collect();
        let known = match &known[..] {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            all => all.concat(),
        };
        Error::invalid(format_args!("{whose} `{name}` is \"{text}\"; write {known}"))
    })
}

/// What a weight is prepared for: what the attribute `prepare` of a node says, or else the session's option of this name.
///
/// It is for encodings that are spread to considerably more bytes when a weight is prepared
/// ([`Unpack::IS_SPREAD`](crate::Unpack::IS_SPREAD)). Others have one form, and are prepared the same either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// `fast`: quick products. The default.
    Fast,
    /// `compact`: no more bytes than the encoded weight has, where these are fewer; it is unpacked at each product.
    Compact,
}

impl Preparation {
    /// What a node is to do.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of(node: &NodeView<'_>) -> Result<Self> {
        chosen(node, "prepare", &[Self::Fast, Self::Compact])
    }
}

impl Display for Preparation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Compact => "compact",
        })
    }
}
