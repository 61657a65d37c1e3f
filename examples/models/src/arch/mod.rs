//! The architectures, a file each over the [`blocks`](crate::blocks): the decoders that [`DECODERS`] lists, and the sentence encoder
//! [`bert`].

pub mod bert;
pub mod llama;
mod qwen2;
mod qwen3;

use bitquilt::text::Brief;

use crate::architecture::Architecture;

/// The architectures of decoders.
pub static DECODERS: [&dyn Architecture; 3] = [&llama::Llama, &qwen2::Qwen2, &qwen3::Qwen3];

/// No architecture of decoders has this name.
#[derive(Debug, thiserror::Error)]
#[error("its architecture is `{}`; this library knows {}", Brief(.name), known())]
pub struct UnknownArchitecture {
    /// The name.
    pub name: String,
}

/// The architecture of this name.
pub fn named(name: &str) -> Result<&'static dyn Architecture, UnknownArchitecture> {
    let found = DECODERS.iter().find(|architecture| architecture.name() == name);
    found.copied().ok_or_else(|| UnknownArchitecture { name: name.to_owned() })
}

/// The names of all, as a sentence lists them.
fn known() -> String {
    DECODERS.map(|architecture| format!("`{}`", architecture.name())).join(", ")
}
