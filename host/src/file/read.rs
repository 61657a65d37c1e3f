//! Regular files, opened without waiting and read with a bound.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::error::{FileError, irregular};

/// Opens a regular file. Nothing else is: a pipe, which would wait for its writer, and a device are errors.
pub fn open(path: impl AsRef<Path>) -> Result<File, FileError> {
    let path = path.as_ref();
    let failed = |error| FileError::read(path, error);
    let regular = |kind| match irregular(kind) {
        None => Ok(()),
        Some(kind) => Err(FileError::NotAFile { path: path.to_owned(), kind }),
    };
    // Asked before it is opened, as opening a device may have an effect, and after: it may have been exchanged.
    regular(fs::metadata(path).map_err(failed)?.file_type())?;
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(failed)?;
    regular(file.metadata().map_err(failed)?.file_type())?;
    Ok(file)
}

/// All bytes of a regular file, which has at most `limit`.
pub fn read(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    // One more byte is read to know that there are more: what a file says of its length need not be true.
    let read = open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| FileError::read(path, error))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// The text of a regular file, in UTF-8 and of at most `limit` bytes.
pub fn read_text(path: impl AsRef<Path>, limit: u64) -> Result<String, FileError> {
    let path = path.as_ref();
    String::from_utf8(read(path, limit)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        FileError::NotText { path: path.to_owned(), at }
    })
}
