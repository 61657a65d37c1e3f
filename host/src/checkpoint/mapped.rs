//! Files that are mapped.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;

use super::CheckpointError;
use crate::file::{self, FileError};
use crate::memory;

/// A file in memory, and the path for messages.
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    pub(super) map: Arc<Mmap>,
    file: File,
    state: FileState,
}

/// What tells that a file is the one that it was: its length, and when it was written to last.
#[derive(PartialEq)]
struct FileState {
    len: u64,
    modified: Option<SystemTime>,
}

impl FileState {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl MappedFile {
    /// Maps a regular file.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |error| FileError::Io { action: "read", path: path.to_owned(), error };
        let file = file::open(path)?;
        // SAFETY: the mapping is private and read-only. The module's documentation asks that nobody changes a
        // file in place while tensors of it live; `file::replace` never does.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let state = FileState::of(&file).map_err(failed)?;
        Ok(Self { path: path.to_owned(), map: Arc::new(map), file, state })
    }

    /// Whether the file is as long as it was when it was mapped: to read behind its end is to be ended by a signal.
    pub(super) fn check_length(&self) -> Result<(), CheckpointError> {
        let found = self.file.metadata().map_err(|error| {
            let path = self.path.clone();
            FileError::Io { action: "read", path, error }
        })?;
        let (expected, found) = (self.map.len() as u64, found.len());
        if found < expected {
            return Err(CheckpointError::Changed { path: self.path.clone(), expected, found });
        }
        Ok(())
    }

    /// Whether nobody has written to the file since it was mapped, as far as the system keeps the time of that.
    pub(super) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.check_length()?;
        let state = FileState::of(&self.file).map_err(|error| FileError::Io {
            action: "read",
            path: self.path.clone(),
            error,
        })?;
        match state == self.state {
            true => Ok(()),
            false => Err(CheckpointError::WrittenTo { path: self.path.clone() }),
        }
    }

    /// Lets the system have back the pages, until somebody reads them again.
    pub(super) fn forget_pages(&self) {
        memory::forget_pages(&self.map, 0..self.map.len());
    }
}
