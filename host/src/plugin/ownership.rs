//! Whether somebody else could change what a plugin does.
//!
//! A file, and the directory it is in, belong to the user or to root, and nobody else may write to them. The group of a user's own
//! (by convention the one whose number is the user's) is the user. On systems other than Unix nothing is checked.

use std::fs::Metadata;
use std::path::Path;

use super::preflight::FileError;

/// Checks the file, the directory it is in, and the directory of the path it was asked for by.
#[cfg(unix)]
pub(super) fn check(asked: &Path, resolved: &Path, file: &Metadata) -> Result<(), FileError> {
    check_one(resolved, file)?;
    for path in [resolved, asked] {
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => continue,
        };
        let metadata = std::fs::metadata(parent)
            .map_err(|error| FileError::Unreadable { reason: format!("{}: {error}", parent.display()) })?;
        check_one(parent, &metadata)?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn check(_: &Path, _: &Path, _: &Metadata) -> Result<(), FileError> {
    Ok(())
}

#[cfg(unix)]
fn check_one(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: these take nothing and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (owner, file_group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
    let untrusted = |problem: String, remedy: String| {
        Err(FileError::Untrusted { path: path.to_owned(), problem, remedy })
    };
    if owner != 0 && owner != user {
        let problem = format!("belongs to user {owner}, who is neither root nor user {user}");
        return untrusted(problem, "copy it to a directory of your own".to_owned());
    }
    if mode & 0o002 != 0 {
        return untrusted(
            "is writable by everybody".to_owned(),
            format!("run `chmod o-w {}`", path.display()),
        );
    }
    let private = file_group == 0 || (file_group == group && file_group == user);
    if mode & 0o020 != 0 && !private {
        let problem = format!("is writable by group {file_group}");
        return untrusted(problem, format!("run `chmod g-w {}`", path.display()));
    }
    Ok(())
}
