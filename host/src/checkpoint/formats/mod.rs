//! The formats of checkpoints.

use std::io::Read;
use std::path::Path;

use super::CheckpointError;
use super::container::{Container, Contents, Format};
use super::mapped::MappedFile;
use crate::file;

pub(super) use self::safetensors::opaque_bool;

/// Takes in the files of formats, and lists them.
macro_rules! formats {
    ($($file:ident::$format:ident),* $(,)?) => {
        $(mod $file;)*

        /// All formats. The first is written where a file's name does not say which.
        pub(super) const FORMATS: &[&dyn Container] = &[$(&$file::$format),*];
    };
}

formats! {
    safetensors::SafeTensors,
    gguf::Gguf,
    npz::Npz,
}

/// Reads what is in a file. The format is told by the first bytes.
pub(super) fn read(file: &MappedFile) -> Result<Contents, CheckpointError> {
    let bytes = &file.map[..];
    if let Some(format) = of_bytes(bytes) {
        let contents = format.parse(bytes).map_err(|fault| fault.at(&file.path));
        file.forget_pages();
        return contents;
    }
    let found = match bytes.get(..bytes.len().min(12)) {
        None | Some([]) => "is empty".to_owned(),
        Some(first) => format!("begins with \"{}\"", first.escape_ascii()),
    };
    let known: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    let known = known.join(" nor a ");
    Err(CheckpointError::UnknownFormat { path: file.path.clone(), known, found })
}

/// The format that a file is written in: the one that is given, or its name's; an error if it cannot be written, or would take the place of
/// a file of another format.
pub(super) fn to_write(
    path: &Path,
    format: Option<Format>,
) -> Result<&'static dyn Container, CheckpointError> {
    let refused = |problem: String| CheckpointError::Unsupported { path: path.to_owned(), problem };
    let given = format.and_then(|format| FORMATS.iter().copied().find(|known| known.name() == format.name()));
    let format = given.or_else(|| of_name(path)).unwrap_or(FORMATS[0]);
    let mut first = Vec::new();
    let is_read = file::open(path).map(|file| file.take(16).read_to_end(&mut first)).is_ok();
    if let Some(there) = of_bytes(&first).filter(|there| is_read && there.name() != format.name()) {
        let (there, written) = (there.name(), format.name());
        return Err(refused(format!(
            "it is a {there} file, of which a {written} file would lose a part; name another file, or remove it first"
        )));
    }
    file::check_writable(path)?;
    Ok(format)
}

impl Format {
    /// The format whose files' names end in `extension`, such as `gguf`; none if there is no such format.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let format = FORMATS.iter().find(|format| extension.eq_ignore_ascii_case(format.extension()))?;
        Some(Self::new(format.name(), None))
    }
}

fn of_bytes(bytes: &[u8]) -> Option<&'static dyn Container> {
    FORMATS.iter().copied().find(|format| format.matches(bytes))
}

fn of_name(path: &Path) -> Option<&'static dyn Container> {
    let extension = path.extension()?;
    FORMATS.iter().copied().find(|format| extension.eq_ignore_ascii_case(format.extension()))
}
