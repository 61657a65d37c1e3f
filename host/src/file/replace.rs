//! Files that are written whole, or not at all.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::destination::{Destination, directory, is_same};
use super::error::FileError;

/// Writes a file beside `path`, and puts it in its place when all of it is on the disk.
///
/// An error leaves what was there as it was, and nothing beside it; on Linux so does a kill. A link is followed: what it leads to is
/// replaced, or made if it is not there. Mode, owner and group stay those of the file that is replaced, as far as this process may
/// give them. Where the system cannot put the renaming itself on the disk, a `tracing` warning says so.
///
/// A pipe or a character device takes the bytes as they come, as does a descriptor of this process by the name of `/dev/stdout` or
/// `/dev/fd/5`, if it is not of a file with contents. A directory, a terminal, a socket and a block device are errors.
pub fn replace(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    match stage(path.as_ref(), |out| write(out))? {
        Some(staged) => staged.place(),
        None => Ok(()),
    }
}

/// A file that is on the disk whole, and not in its place yet. Dropped, it is gone.
pub(crate) struct Staged {
    path: PathBuf,
    /// The place, of which the last component is no link.
    target: PathBuf,
    unfinished: Unfinished,
}

/// The first half of [`replace`]; none if `path` is of a pipe or a device, which has taken the bytes.
pub(crate) fn stage(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<Option<Staged>, FileError> {
    let failed = |error| FileError::write(path, error);
    let (target, old) = match Destination::of(path)? {
        Destination::File { target, old } => (target, old),
        Destination::Stream(stream) => {
            fill(&stream.open(path)?, write).map_err(failed)?;
            return Ok(None);
        }
    };
    let unfinished = Unfinished::create(directory(&target)).map_err(failed)?;
    if let Some(old) = old {
        keep_permissions(unfinished.file(), &old).map_err(failed)?;
    }
    fill(unfinished.file(), write).map_err(failed)?;
    match unfinished.file().sync_all() {
        Err(error) if !is_unsupported(&error) => Err(failed(error)),
        _ => Ok(Some(Staged { path: path.to_owned(), target, unfinished })),
    }
}

impl Staged {
    /// The second half of [`replace`].
    pub(crate) fn place(self) -> Result<(), FileError> {
        let Self { path, target, unfinished } = self;
        let directory = directory(&target);
        unfinished.place(directory, &target).map_err(|error| FileError::write(&path, error))?;
        if let Some(warning) = durability(&path, sync_directory(directory)) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

/// Whether [`replace`] would find a place for a file, as far as that can be told without writing one: an error before work is done
/// that could not be kept.
pub fn check_writable(path: impl AsRef<Path>) -> Result<(), FileError> {
    let path = path.as_ref();
    match Destination::of(path)? {
        Destination::File { target, .. } => {
            Unfinished::create(directory(&target)).map(drop).map_err(|error| FileError::write(path, error))
        }
        Destination::Stream(_) => Ok(()),
    }
}

/// Whether files [can be written](check_writable), and none of them takes the place of one that is read, or of another. Each is named by an
/// option, which the error says.
pub fn check_written(written: &[(&str, &Path)], read: &[PathBuf]) -> Result<(), FileError> {
    for (index, (option, path)) in written.iter().enumerate() {
        if read.iter().any(|read| is_same(read, path)) {
            return Err(FileError::WouldBeLost { option: (*option).to_owned(), path: path.to_path_buf() });
        }
        if let Some((one, _)) = written[..index].iter().find(|(_, other)| is_same(other, path)) {
            let (one, other) = ((*one).to_owned(), (*option).to_owned());
            return Err(FileError::WrittenTwice { one, other, path: path.to_path_buf() });
        }
        check_writable(path)?;
    }
    Ok(())
}

fn fill(file: &File, write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let written = write(&mut writer).and_then(|()| writer.flush());
    // What is left of a failed write goes nowhere.
    let _ = writer.into_parts();
    written
}

/// Gives a file the owner, group and mode of another, before anything is in it. The owner and the group are given where that is
/// allowed.
#[cfg(unix)]
fn keep_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid())
        && fchown(file, Some(old.uid()), Some(old.gid())).is_err()
    {
        let _ = fchown(file, None, Some(old.gid()));
    }
    // A file system without modes refuses to set any, and gives all files the same.
    match file.metadata()?.mode() == old.mode() {
        true => Ok(()),
        false => file.set_permissions(old.permissions()),
    }
}

#[cfg(not(unix))]
fn keep_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions())
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
        if let Some(file) = nameless(directory) {
            return Ok(Self::Nameless(file));
        }
        Ok(Self::Named(names().tempfile_in(directory).map_err(without_path)?))
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Puts it in the place of `target`, which is in the same directory.
    fn place(
        self,
        #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "files have names"))]
        directory: &Path,
        target: &Path,
    ) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => {
                // A link cannot take another file's place, a renamed file can.
                let named = names().make_in(directory, |path| link(&file, path)).map_err(without_path)?;
                named.persist(target).map_err(|error| error.error)
            }
            Self::Named(file) => file.persist(target).map(drop).map_err(|error| error.error),
        }
    }
}

/// An error of `tempfile` without the name of the file that is not in its place, which means nothing to anybody.
fn without_path(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause.to_owned()),
        None => error,
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
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// A file without a name in a directory's file system; none if that has no such files, or they could not be given names.
#[cfg(target_os = "linux")]
fn nameless(directory: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if !Path::new("/proc/self/fd").is_dir() {
        return None;
    }
    // Whatever is the matter is found again, and said, where a file with a name is created instead.
    File::options().read(true).write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory).ok()
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

/// What is said when a file is in its place and its directory could not be synchronized; nothing where the file system, or the
/// directory's permissions, do not provide for that.
pub(super) fn durability(path: &Path, synchronized: io::Result<()>) -> Option<String> {
    let error = synchronized.err().filter(|error| !is_unsupported(error))?;
    let path = path.display();
    Some(format!(
        "{path} was written, but might not outlast a power failure: its directory could not be synchronized: {error}"
    ))
}

/// Whether an error of opening or synchronizing says that this cannot be had here, and not that data was lost.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EBADF)) {
        return true;
    }
    matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}
