//! Files: mapped for reading, replaced as a whole for writing.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use tempfile::NamedTempFile;

use super::CheckpointError;
use crate::memory;

/// A file in memory, and the path for messages.
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    pub(super) map: Arc<Mmap>,
    file: File,
}

impl MappedFile {
    /// Maps a regular file.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |error| CheckpointError::Io { action: "read", path: path.to_owned(), error };
        // Asked before it is opened: opening a pipe waits for its writer.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(CheckpointError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the mapping is private and read-only. The module's documentation asks that nobody changes a
        // file in place while tensors of it live; `replace` never does.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self { path: path.to_owned(), map: Arc::new(map), file })
    }

    /// Whether the file is as long as it was when it was mapped: to read behind its end is to be ended by a signal.
    pub(super) fn check_length(&self) -> Result<(), CheckpointError> {
        let found = self.file.metadata().map_err(|error| {
            let path = self.path.clone();
            CheckpointError::Io { action: "read", path, error }
        })?;
        let (expected, found) = (self.map.len() as u64, found.len());
        if found < expected {
            return Err(CheckpointError::Changed { path: self.path.clone(), expected, found });
        }
        Ok(())
    }

    /// Lets the system have back the pages, until somebody reads them again.
    pub(super) fn forget_pages(&self) {
        memory::forget_pages(&self.map, 0..self.map.len());
    }
}

/// Writes a file beside `path`, and puts it in its place when all of it is on the disk.
///
/// An error leaves what was there as it was, and nothing beside it. A link is followed; the permissions stay those
/// of the file that is replaced.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let failed = |error| CheckpointError::Io { action: "write", path: path.to_owned(), error };
    let (target, old) = match fs::canonicalize(path) {
        Ok(target) => {
            let old = fs::metadata(&target).map_err(failed)?;
            (target, Some(old))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(failed(error)),
    };
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(CheckpointError::NotAFile { path: path.to_owned() });
    }
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let unfinished = Unfinished::create(directory).map_err(failed)?;
    if let Some(old) = old {
        unfinished.file().set_permissions(old.permissions()).map_err(failed)?;
    }
    let mut writer = BufWriter::with_capacity(1 << 20, unfinished.file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    unfinished.file().sync_all().map_err(failed)?;
    unfinished.place(directory, &target).map_err(failed)?;
    sync_directory(directory).map_err(failed)
}

/// A file that is not in its place yet.
enum Unfinished {
    /// Without a name: the system removes it with the process, even one that is killed.
    #[cfg(target_os = "linux")]
    Nameless(File),
    /// With a name of its own, where files cannot be without; dropped, it is removed.
    Named(NamedTempFile),
}

impl Unfinished {
    fn create(directory: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = nameless(directory)? {
            return Ok(Self::Nameless(file));
        }
        Ok(Self::Named(names().tempfile_in(directory)?))
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Puts it in the place of `target`, which is in the same directory.
    fn place(self, directory: &Path, target: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => {
                // A link cannot take another file's place, a renamed file can.
                let named = names().make_in(directory, |path| link(&file, path))?;
                named.persist(target).map_err(|error| error.error)
            }
            Self::Named(file) => file.persist(target).map(drop).map_err(|error| error.error),
        }
    }
}

/// The names, and permissions, of files that are not in their place yet.
fn names() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bitquilt-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What a file gets that is created plainly: the process's mask applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

/// A file without a name in a directory's file system; none if that has no such files, or they could not be given names.
#[cfg(target_os = "linux")]
fn nameless(directory: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    if !Path::new("/proc/self/fd").is_dir() {
        return Ok(None);
    }
    let mut options = File::options();
    match options.read(true).write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory) {
        Ok(file) => Ok(Some(file)),
        // A kernel that does not know the flag sees a directory that is to be written to.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a file that has no name one.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
    // SAFETY: both paths end with a zero byte and live until the call returns.
    match unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), follow) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts the renaming itself on the disk.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Other systems have no handle of a directory to synchronize.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let error = replace(&path, |out| {
            out.write_all(&vec![b'n'; 3 << 20])?;
            Err(io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}: the disk is full", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(directory.path()), ["file"]);

        replace(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(entries(directory.path()), ["file"]);
    }

    #[test]
    fn what_is_no_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let error = replace(directory.path(), |_| Ok(())).unwrap_err();
        assert!(matches!(error, CheckpointError::NotAFile { .. }), "{error}");
        let error = replace(&directory.path().join("no/file"), |_| Ok(())).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { action: "write", .. }), "{error}");
        assert!(matches!(MappedFile::open(directory.path()), Err(CheckpointError::NotAFile { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        replace(&file, |_| Ok(())).unwrap();
        let plain = directory.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&plain));

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, |out| out.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(mode(&file) & 0o777, 0o640);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn nothing_lies_beside_a_file_that_is_being_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let names = || fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let has_nameless = nameless(directory.path()).unwrap().is_some();
        for new in ["new", "newer"] {
            replace(&path, |out| {
                out.write_all(new.as_bytes())?;
                assert!(!has_nameless || names().eq(["file"]), "a process that is killed here leaves more");
                Ok(())
            })
            .unwrap();
            assert_eq!(fs::read(&path).unwrap(), new.as_bytes());
            assert!(names().eq(["file"]));
        }
        replace(&path, |_| Err(io::Error::other("no"))).unwrap_err();
        let error = replace(&directory.path().join("none/file"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.ends_with("none/file: No such file or directory (os error 2)"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"newer");
    }
}
