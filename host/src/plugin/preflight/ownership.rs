//! Whether somebody else could change what a plugin does.
//!
//! A path is followed step by step from the root: every directory and every symbolic link on the way belongs to the user or to
//! root, and nobody else may write to the directories. So nobody else can lead the next step elsewhere, and what is reached stays
//! what it is. A directory that is sticky, as `/tmp` is, may be written to by others, who cannot replace in it what is not theirs;
//! but the directory that the file itself is in has to be closed to them, since the linker looks for other libraries there. The
//! group of a user's own (by convention the one whose number is the user's) is the user. On systems other than Unix nothing is
//! checked.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::error::PreflightError;

/// Where a path leads.
pub(crate) struct Trail {
    /// Its end: absolute, and without links.
    pub(crate) resolved: PathBuf,
    /// Who could change where it leads.
    pub(crate) problem: Option<PreflightError>,
}

/// Checks what stands at the end of a trail: whose it is, and who may write to it.
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<(), PreflightError> {
    check_owner(path, metadata)?;
    check_writers(path, metadata)
}

#[cfg(unix)]
impl Trail {
    fn note(&mut self, checked: Result<(), PreflightError>) {
        if let Err(problem) = checked {
            self.problem.get_or_insert(problem);
        }
    }
}

/// Follows a path.
#[cfg(unix)]
pub(crate) fn follow(path: &Path) -> io::Result<Trail> {
    use std::ffi::OsString;
    use std::os::unix::fs::MetadataExt;

    /// The most links that are followed, as many as Linux follows.
    const MAX_LINKS: usize = 40;
    let root = Path::new("/");
    let steps_of = |path: &Path| -> Vec<OsString> {
        path.iter().rev().filter(|step| *step != "/" && *step != ".").map(OsString::from).collect()
    };
    let mut trail = Trail { resolved: root.to_owned(), problem: None };
    let mut steps = steps_of(&std::path::absolute(path)?);
    let mut links = 0;
    trail.note(check(root, &std::fs::symlink_metadata(root)?));
    while let Some(step) = steps.pop() {
        // What was reached has no links in it, so that it is below its parent.
        if step == ".." {
            trail.resolved.pop();
            continue;
        }
        let next = trail.resolved.join(step);
        let metadata = std::fs::symlink_metadata(&next)?;
        trail.note(check_owner(&next, &metadata));
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                trail.resolved = root.to_owned();
            }
            steps.extend(steps_of(&target));
            continue;
        }
        let sticky = metadata.mode() & 0o1000 != 0;
        if metadata.is_dir() && !sticky {
            trail.note(check_writers(&next, &metadata));
        }
        trail.resolved = next;
    }
    Ok(trail)
}

/// Follows a path.
#[cfg(not(unix))]
pub(crate) fn follow(path: &Path) -> io::Result<Trail> {
    Ok(Trail { resolved: std::fs::canonicalize(path)?, problem: None })
}

#[cfg(unix)]
fn untrusted(path: &Path, problem: String, remedy: String) -> PreflightError {
    PreflightError::Untrusted { path: path.to_owned(), problem, remedy }
}

/// Checks whose it is.
#[cfg(unix)]
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), PreflightError> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: it takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    match metadata.uid() {
        owner if owner == 0 || owner == user => Ok(()),
        owner => {
            let problem = format!("belongs to user {owner}, who is neither root nor user {user}");
            Err(untrusted(path, problem, "copy it to a directory of your own".to_owned()))
        }
    }
}

/// Checks who may write to it.
#[cfg(unix)]
fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), PreflightError> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: these take nothing and cannot fail.
    let (user, own_group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (group, mode) = (metadata.gid(), metadata.mode());
    if mode & 0o002 != 0 {
        let remedy = format!("run `chmod o-w {}`", path.display());
        return Err(untrusted(path, "is writable by everybody".to_owned(), remedy));
    }
    let private = group == 0 || (group == own_group && group == user);
    if mode & 0o020 != 0 && !private {
        let remedy = format!("run `chmod g-w {}`", path.display());
        return Err(untrusted(path, format!("is writable by group {group}"), remedy));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &Metadata) -> Result<(), PreflightError> {
    Ok(())
}

#[cfg(not(unix))]
fn check_writers(_: &Path, _: &Metadata) -> Result<(), PreflightError> {
    Ok(())
}
