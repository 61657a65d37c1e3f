//! What is remembered of probes: a file for each plugin, in a directory of the user's.
//!
//! Who can write there can have a plugin pass unprobed, or keep one from being loaded. So directory and files belong to the user or
//! to root, and nobody else may write to them; links are not followed, and a file gets its name when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bitquilt_plugin_api::host::API_VERSION;

use super::preflight::ownership;
use super::preflight::{FileReport, PreflightError};

/// The longest file of a verdict: a path, and some words.
const MAX_LEN: u64 = 1 << 16;

/// The verdict on a file.
pub(super) struct Verdict {
    pub(super) path: PathBuf,
    /// All that must be as it was for the verdict to hold.
    key: String,
}

impl Verdict {
    /// The verdict on the file of a report, in a directory.
    pub(super) fn new(directory: &Path, report: &FileReport) -> Self {
        let identity = &report.identity;
        let modified = identity.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let key = format!(
            "bitquilt {} plugin-api {API_VERSION}\npath {:?}\nsize {}\nmodified {}.{:09}\ninode {:?}\nchanged {:?}\n",
            env!("CARGO_PKG_VERSION"),
            report.resolved,
            identity.size,
            modified.as_secs(),
            modified.subsec_nanos(),
            identity.inode,
            identity.changed
        );
        let name = fnv1a(report.resolved.as_os_str().as_encoded_bytes());
        Self { path: directory.join(format!("{name:016x}.txt")), key }
    }

    /// What was found, unless the file is another by now or the verdict is not to be trusted.
    pub(super) fn read(&self) -> Option<String> {
        if !matches!(check_directory(self.path.parent()?), Ok(true)) {
            return None;
        }
        let text = read_own(&self.path).ok()?;
        text.strip_prefix(&self.key)?.strip_prefix("verdict ")?.strip_suffix('\n').map(str::to_owned)
    }

    /// Keeps what was found. What cannot be kept is found again the next time.
    pub(super) fn write(&self, verdict: &str) {
        let Some(directory) = self.path.parent() else { return };
        let write = || -> io::Result<()> {
            create(directory)?;
            if !check_directory(directory).is_ok_and(|exists| exists) {
                return Ok(());
            }
            let mut partial = tempfile::Builder::new().prefix(".verdict-").tempfile_in(directory)?;
            writeln!(partial, "{}verdict {verdict}", self.key)?;
            partial.persist(&self.path)?;
            Ok(())
        };
        let _ = write();
    }
}

/// Whether a directory of verdicts exists; an error if others could change what is in it.
pub(super) fn check_directory(directory: &Path) -> Result<bool, PreflightError> {
    let unreadable = |error: io::Error| PreflightError::Unreadable { reason: error.to_string() };
    let trail = match ownership::follow(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        trail => trail.map_err(unreadable)?,
    };
    trail.problem.map_or(Ok(()), Err)?;
    ownership::check(&trail.resolved, &fs::symlink_metadata(&trail.resolved).map_err(unreadable)?)?;
    Ok(true)
}

/// Makes a directory that is the user's alone, and those it is in.
fn create(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// The text of a regular file that nobody else can write to.
fn read_own(path: &Path) -> io::Result<String> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || ownership::check(path, &metadata).is_err() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// A short name for a path. Two paths of one name cost each other a probe.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
