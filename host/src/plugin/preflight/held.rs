//! A file and its directory, held open: what was checked is what is read, and what is opened.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that is open, and the directory that it was opened in.
///
/// On Linux the file has a path through the open directory, `/proc/self/fd/N/NAME`: whatever the directory's own path leads to by
/// now, it is a file of that directory, where nobody else may write, and so are the libraries that it looks for beside itself
/// (`$ORIGIN`). On other systems, and where there is no `/proc`, it has its own path, no part of which others can change.
#[derive(Clone, Debug)]
pub(crate) struct HeldFile {
    file: Arc<File>,
    directory: Arc<Option<File>>,
    /// The file's own path, absolute and without links.
    path: PathBuf,
}

impl HeldFile {
    /// Opens the file at a path without links, without waiting for whoever may write to it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = path.parent().and_then(open_directory);
        let mut options = File::options();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
        }
        let file = options.open(path_through(directory.as_ref(), path))?;
        Ok(Self { file: Arc::new(file), directory: Arc::new(directory), path: path.to_owned() })
    }

    /// The file.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// A path to what has the file's name in its directory, as long as this is held.
    pub(crate) fn path(&self) -> PathBuf {
        path_through(self.directory.as_ref().as_ref(), &self.path)
    }

    /// The directory, as it was opened.
    pub(crate) fn directory(&self) -> io::Result<Metadata> {
        match (&*self.directory, self.path.parent()) {
            (Some(directory), _) => directory.metadata(),
            (None, Some(parent)) => fs::symlink_metadata(parent),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What has the file's name now.
    pub(crate) fn entry(&self) -> io::Result<Metadata> {
        fs::metadata(self.path())
    }

    /// A text that names [`Self::path`], with the file's own path in its place.
    pub(crate) fn restored(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), &self.path.display().to_string())
    }

    /// Whether both hold the same bytes.
    pub(crate) fn has_bytes_of(&self, other: &Self) -> bool {
        same_bytes(&self.file, &other.file).unwrap_or(false)
    }
}

/// The path of a file by way of its open directory.
fn path_through(directory: Option<&File>, path: &Path) -> PathBuf {
    match (directory.and_then(descriptor_path), path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_directory(path: &Path) -> Option<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let directory = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let through = fs::metadata(descriptor_path(&directory)?).ok().map(inode);
    (through.is_some() && through == directory.metadata().ok().map(inode)).then_some(directory)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn descriptor_path(directory: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    Some(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_directory(_: &Path) -> Option<File> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn descriptor_path(_: &File) -> Option<PathBuf> {
    None
}

/// Compares two files piece by piece.
fn same_bytes(mut a: &File, mut b: &File) -> io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    const PIECE: u64 = 1 << 16;
    a.seek(SeekFrom::Start(0))?;
    b.seek(SeekFrom::Start(0))?;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.take(PIECE).read_to_end(&mut left)?;
        b.take(PIECE).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
