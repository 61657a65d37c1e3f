//! Why something is not registered.

use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::{EncodingSpec, MAX_NAME};

use super::{Origin, PluginInfo};
use crate::similar::similar;
use crate::text::{Brief, List, Passage};

/// Why a plugin's registrations were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The plugin's own code failed while it registered.
    #[error("its registration failed: {}", Passage(.0.message()))]
    Failed(bitquilt_plugin_api::Error),
    /// A name is empty, too long, or has characters that names cannot have.
    #[error(
        "the name {name:?} of {what} {problem}; a name has 1 to {MAX_NAME} of a-z A-Z 0-9 _ - . and begins with a letter"
    )]
    Name {
        /// What it names.
        what: &'static str,
        /// The name, cut to a printable length.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A block without values or bytes, or an absurd one.
    #[error(
        "the encoding `{encoding}` has blocks of {block_len} values in {block_bytes} bytes; both must be from 1 to {}",
        EncodingSpec::MAX_BLOCK
    )]
    Block {
        /// The encoding.
        encoding: String,
        /// Its values a block.
        block_len: usize,
        /// Its bytes a block.
        block_bytes: usize,
    },
    /// A name that means something else where encodings are named.
    #[error(
        "an encoding cannot be named `{encoding}`: in a recipe that says that a weight is not encoded; name it otherwise"
    )]
    Reserved {
        /// The name.
        encoding: String,
    },
    /// A kernel is for memory that this host does not have.
    #[error(
        "the kernel `{kernel}` is for memory space {space}; this host has space 0, its own memory, and no other"
    )]
    Space {
        /// The kernel's op, inputs and priority.
        kernel: String,
        /// The space.
        space: u32,
    },
    /// A signature contradicts itself.
    #[error("the signature of op `{op}` {problem}")]
    Signature {
        /// The op.
        op: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A name is taken.
    #[error("{what} `{name}` of {} is already registered by {}{hint}", describe(.second), describe(.first))]
    Duplicate {
        /// What it names.
        what: &'static str,
        /// The name, or the kernel's key.
        name: String,
        /// Who has it.
        first: PluginInfo,
        /// Who was refused.
        second: PluginInfo,
        /// What to do about it.
        hint: &'static str,
    },
    /// Another plugin has its name.
    #[error("a plugin named `{name}` is already registered, {}; {remedy}", origin_of(.first))]
    DuplicatePlugin {
        /// The name.
        name: String,
        /// Who has it.
        first: PluginInfo,
        /// What to do about it.
        remedy: &'static str,
    },
    /// An encoding has another declaration.
    #[error(
        "the encoding `{name}` of {origin} is already registered by {} and declared otherwise there; give one of the two another name",
        describe(.first)
    )]
    OtherDeclaration {
        /// The encoding.
        name: String,
        /// Who was refused.
        origin: Origin,
        /// Who has it.
        first: PluginInfo,
    },
    /// The plugin has nothing.
    #[error("it registers no encoding, op or kernel")]
    Empty,
}

/// An encoding that a checkpoint, graph or caller names and that is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no encoding `{}` is registered; {}there are {}", Brief(.name), Meant(.name, .known), List(.known))]
pub struct UnknownEncoding {
    /// The name.
    pub name: String,
    /// All that are.
    pub known: Vec<String>,
}

/// What may have been meant by a name that is not known.
struct Meant<'a>(&'a str, &'a [String]);

impl Display for Meant<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &similar(self.0, self.1)[..] {
            [] => Ok(()),
            names => write!(f, "did you mean `{}`? ", names.join("` or `")),
        }
    }
}

fn describe(plugin: &PluginInfo) -> String {
    match &plugin.origin {
        Origin::BuiltIn => format!("the built-in plugin `{}`", plugin.name),
        Origin::Program => format!("the program's plugin `{}`", plugin.name),
        Origin::File(_) => format!("the plugin `{}` in {}", plugin.name, plugin.origin),
    }
}

fn origin_of(plugin: &PluginInfo) -> String {
    match &plugin.origin {
        Origin::BuiltIn => "which is built in".to_owned(),
        Origin::Program => "which is the program's own".to_owned(),
        Origin::File(_) => format!("from {}", plugin.origin),
    }
}
