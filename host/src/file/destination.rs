//! Where what is written to a path goes.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{FileError, irregular};

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Where what is written to a path goes: links are followed, also one that leads to a file that is not there yet.
pub(super) enum Destination {
    /// A file, or a place where none is yet. Another one takes its place.
    File {
        /// The path, of which the last component is no link.
        target: PathBuf,
        /// What is there.
        old: Option<Metadata>,
    },
    /// A pipe or a character device, which takes bytes as they come.
    Stream(Stream),
}

pub(super) enum Stream {
    /// One that is opened by its path.
    Path(PathBuf),
    /// A descriptor of this process, by its number: `/dev/stdout`, `/dev/fd/5`.
    #[cfg(target_os = "linux")]
    Own(i32),
}

impl Destination {
    /// What `path` leads to. Nothing is opened yet: the reader of a pipe would take its closing for the end.
    pub(super) fn of(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::write(path, error);
        let target = match follow(path).map_err(failed)? {
            Followed::Path(target) => target,
            #[cfg(target_os = "linux")]
            Followed::Own(number) => return Ok(Self::Stream(Stream::Own(number))),
        };
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::nothing_yet(path, target),
            Err(error) => return Err(failed(error)),
        };
        match irregular(found.file_type()) {
            None => {}
            Some(_) if takes_bytes(&found) => return Ok(Self::Stream(Stream::Path(path.to_owned()))),
            Some(kind) => return Err(FileError::not_writable(path, kind)),
        }
        // The system's own links, such as those in `/proc`, lead where no path does.
        if fs::metadata(&target).is_ok_and(|there| identity(&target, &there) == identity(path, &found)) {
            return Ok(Self::File { target, old: Some(found) });
        }
        Err(FileError::not_writable(path, "a link to an open file, which has no path"))
    }

    fn nothing_yet(path: &Path, target: PathBuf) -> Result<Self, FileError> {
        let ends_in_a_separator = target.as_os_str().as_encoded_bytes().last() == Some(&b'/');
        if target.file_name().is_none() || ends_in_a_separator {
            return Err(FileError::not_writable(path, "the name of a directory"));
        }
        Ok(Self::File { target, old: None })
    }
}

/// The directory that a path's last component is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

enum Followed {
    Path(PathBuf),
    #[cfg(target_os = "linux")]
    Own(i32),
}

/// Follows links of the last component, one after the other; the last one may lead to nothing.
fn follow(path: &Path) -> io::Result<Followed> {
    let mut target = path.to_owned();
    for _ in 0..=MAX_LINKS {
        #[cfg(target_os = "linux")]
        if let Some(number) = own_descriptor(&target) {
            return Ok(Followed::Own(number));
        }
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => {
                let next = fs::read_link(&target)?;
                target = target.parent().unwrap_or(Path::new("")).join(next);
            }
            _ => return Ok(Followed::Path(target)),
        }
    }
    Err(io::Error::other("it is a link that leads to itself, or one of too many"))
}

/// The number of a descriptor of this process whose path in `/proc` this is.
#[cfg(target_os = "linux")]
fn own_descriptor(path: &Path) -> Option<i32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let own = fs::canonicalize("/proc/self/fd").ok()?;
    (fs::canonicalize(directory(path)).ok()? == own).then_some(number)
}

#[cfg(unix)]
fn takes_bytes(found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_fifo() || found.file_type().is_char_device()
}

#[cfg(not(unix))]
fn takes_bytes(_: &Metadata) -> bool {
    false
}

/// Whether what is written to a path becomes a file, or takes the place of one: not where it goes to a pipe, a device, or a descriptor
/// of this process such as `/dev/stdout`.
pub fn is_replaced(path: impl AsRef<Path>) -> bool {
    matches!(Destination::of(path.as_ref()), Ok(Destination::File { .. }))
}

/// Whether two paths lead to one file, or to one place where a file can be made: writing to one of them changes the other.
///
/// Pipes and devices take what several write to them: none of them is the same as another.
pub fn is_same(left: impl AsRef<Path>, right: impl AsRef<Path>) -> bool {
    let place = |path: &Path| match fs::metadata(path) {
        Ok(found) => found.is_file().then(|| identity(path, &found)),
        Err(_) => match follow(path).ok()? {
            Followed::Path(target) => {
                let directory = fs::canonicalize(directory(&target)).ok()?;
                Some(Identity::Path(directory.join(target.file_name()?)))
            }
            #[cfg(target_os = "linux")]
            Followed::Own(_) => None,
        },
    };
    place(left.as_ref()).is_some_and(|left| Some(left) == place(right.as_ref()))
}

#[derive(PartialEq)]
enum Identity {
    /// Device and inode.
    #[cfg(unix)]
    Inode(u64, u64),
    Path(PathBuf),
}

#[cfg(unix)]
fn identity(_: &Path, found: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity::Inode(found.dev(), found.ino())
}

#[cfg(not(unix))]
fn identity(path: &Path, _: &Metadata) -> Identity {
    Identity::Path(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
}

impl Stream {
    /// Opens it. A pipe that nobody reads, and a terminal, which would obey what is meant for a file, are errors.
    pub(super) fn open(&self, path: &Path) -> Result<File, FileError> {
        use std::io::IsTerminal;
        let file = match self {
            Self::Path(stream) => open_stream(stream),
            #[cfg(target_os = "linux")]
            Self::Own(number) => duplicate(*number),
        };
        let file = file.map_err(|error| FileError::write(path, error))?;
        if file.is_terminal() {
            return Err(FileError::not_writable(path, "a terminal, which shows no binary file"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt;
            let found = file.metadata().map_err(|error| FileError::write(path, error))?;
            let own = !matches!(self, Self::Path(_));
            if own && found.is_file() && found.len() > 0 {
                return Err(FileError::not_writable(path, "an open file that is not empty"));
            }
            let takes = takes_bytes(&found) || (own && (found.is_file() || found.file_type().is_socket()));
            if !takes {
                let kind = irregular(found.file_type()).unwrap_or("another file than it was");
                return Err(FileError::not_writable(path, kind));
            }
        }
        Ok(file)
    }
}

#[cfg(unix)]
fn open_stream(path: &Path) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::other("nobody reads this pipe; start what reads it first"),
        _ => error,
    })?;
    // It was opened without waiting for a reader; its writes wait for room.
    // SAFETY: the descriptor is open while `file` lives, and these commands take and give integers.
    let changed = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        flags >= 0 && libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) == 0
    };
    if changed { Ok(file) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(unix))]
fn open_stream(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

#[cfg(target_os = "linux")]
fn duplicate(number: i32) -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes any number, and answers a new descriptor or -1.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the descriptor is new, and nobody else's.
        new => Ok(unsafe { File::from_raw_fd(new) }),
    }
}
