//! The architectures, a file each over the [`blocks`](crate::blocks): the decoders that [`DECODERS`] lists, and the sentence encoder
//! [`bert`]. A decoder's file has a type that implements [`Architecture`], and its line is in `decoders!`.

pub mod bert;

use bitquilt::text::Brief;

use crate::architecture::Architecture;

/// Takes in the files of architectures, and lists them.
macro_rules! decoders {
    ($($file:ident::$architecture:ident),* $(,)?) => {
        $(pub mod $file;)*

        /// The architectures of decoders.
        pub static DECODERS: &[&dyn Architecture] = &[$(&$file::$architecture),*];
    };
}

decoders! {
    llama::Llama,
    qwen2::Qwen2,
    qwen3::Qwen3,
}

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

/// The names of all decoders, as a sentence lists them.
fn known() -> String {
    let names: Vec<String> = DECODERS.iter().map(|decoder| format!("`{}`", decoder.name())).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_told_what_is() {
        let error = named("none").err().expect("it is not known").to_string();
        let known =
            error.strip_prefix("its architecture is `none`; this library knows ").expect("it says so");
        let names: Vec<&str> = known.split(" and ").flat_map(|names| names.split(", ")).collect();
        let expected: Vec<String> = DECODERS.iter().map(|decoder| format!("`{}`", decoder.name())).collect();
        assert_eq!(names, expected);
        assert_eq!(known.matches(" and ").count(), 1, "{known}");
    }
}
