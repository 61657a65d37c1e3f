//! What is read and what is written, and what becomes of links, pipes and permissions.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::replace::durability;
use super::{FileError, check_writable, is_replaced, is_same, open, read, read_text, replace};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn link(&self, target: &str, name: &str) -> PathBuf {
        symlink(target, self.path(name)).unwrap();
        self.path(name)
    }

    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let text = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends with a zero byte and lives until the call returns.
        assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The sentence, with DIR for the folder.
    fn sentence(&self, error: &FileError) -> String {
        error.to_string().replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileError> {
    replace(path, |out| out.write_all(text.as_bytes()))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_symlink()
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.file("file", "old");
    for size in [0, 1, 3 << 20] {
        let error = replace(&path, |out| {
            out.write_all(&vec![b'n'; size])?;
            Err(io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert_eq!(folder.sentence(&error), "cannot write DIR/file: the disk is full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(folder.names(), ["file"]);
    }
    write(&path, "new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn nothing_lies_beside_a_file_that_is_being_written() {
    let folder = Folder::new();
    let path = folder.file("file", "old");
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true).write(true), flags);
    let has_nameless = options.open(folder.0.path()).is_ok();
    for new in ["new", "newer"] {
        replace(&path, |out| {
            out.write_all(new.as_bytes())?;
            assert!(!has_nameless || folder.names() == ["file"], "a process that is killed here leaves more");
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), new.as_bytes());
        assert_eq!(folder.names(), ["file"]);
    }
}

#[test]
fn links_are_followed_to_their_end() {
    let folder = Folder::new();
    fs::create_dir(folder.path("inner")).unwrap();
    folder.file("file", "old");
    // Each link, and the file that is written through it.
    for (target, name, written) in [
        ("file", "link", "file"),
        ("link", "link to a link", "file"),
        ("inner/new", "to nothing yet", "inner/new"),
        ("inner/hop", "to a link to nothing", "other"),
        ("inner", "folder", "inner/through"),
    ] {
        let link = folder.link(target, name);
        if name == "to a link to nothing" {
            folder.link("../other", "inner/hop");
        }
        let path = if name == "folder" { link.join("through") } else { link.clone() };
        check_writable(&path).unwrap();
        write(&path, name).unwrap();
        assert!(is_link(&link), "{name}");
        assert!(!is_link(&folder.path(written)), "{name}");
        assert_eq!(fs::read_to_string(folder.path(written)).unwrap(), name);
    }
    let absolute = folder.path("absolute");
    symlink(folder.path("there"), &absolute).unwrap();
    write(&absolute, "new").unwrap();
    assert!(is_link(&absolute) && fs::read(folder.path("there")).unwrap() == b"new");
    assert!(is_link(&folder.path("inner/hop")));

    folder.link("loop", "loop");
    folder.link("two", "one");
    folder.link("one", "two");
    folder.link("no/such/folder", "astray");
    for name in ["loop", "one", "astray"] {
        let path = folder.path(name);
        let error = folder.sentence(&write(&path, "new").unwrap_err());
        let expected = if name == "astray" {
            "cannot write DIR/astray: No such file or directory (os error 2)".to_owned()
        } else {
            format!("cannot write DIR/{name}: it is a link that leads to itself, or one of too many")
        };
        assert_eq!(error, expected);
        assert_eq!(folder.sentence(&check_writable(&path).unwrap_err()), expected);
        assert!(is_link(&path), "{name}");
    }
}

#[test]
fn what_is_no_place_for_a_file_stays_as_it_is() {
    let folder = Folder::new();
    fs::create_dir(folder.path("inner")).unwrap();
    folder.link("inner", "to a folder");
    folder.file("file", "old");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    let before = folder.names();
    for (name, sentence) in [
        ("inner", "DIR/inner is a directory; name a file"),
        ("inner/", "DIR/inner/ is a directory; name a file"),
        ("to a folder", "DIR/to a folder is a directory; name a file"),
        ("socket", "DIR/socket is a socket; name a file"),
        ("new/", "DIR/new/ is the name of a directory; name a file"),
        ("no/file", "cannot write DIR/no/file: No such file or directory (os error 2)"),
        ("file/new", "cannot write DIR/file/new: Not a directory (os error 20)"),
        ("file/", "cannot write DIR/file/: Not a directory (os error 20)"),
    ] {
        let path = folder.path(name);
        assert_eq!(folder.sentence(&check_writable(&path).unwrap_err()), sentence);
        let called = replace(&path, |_| panic!("{name}"));
        assert_eq!(folder.sentence(&called.unwrap_err()), sentence);
        assert_eq!(folder.names(), before);
    }
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"old");
}

#[test]
fn a_pipe_is_written_to() {
    let folder = Folder::new();
    let pipe = folder.pipe("pipe");
    folder.link("pipe", "link");
    let nobody = folder.sentence(&write(&pipe, "new").unwrap_err());
    assert_eq!(nobody, "cannot write DIR/pipe: nobody reads this pipe; start what reads it first");
    for name in ["pipe", "link"] {
        let path = folder.path(name);
        let large = "x".repeat(1 << 20);
        let reader = {
            use std::os::unix::fs::OpenOptionsExt;
            // Opened for both, it waits for nobody, and stays open until it is dropped.
            let held = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe);
            let held = held.unwrap();
            let pipe = pipe.clone();
            let length = large.len();
            let reader = std::thread::spawn(move || {
                let mut text = vec![0; length];
                File::open(pipe).unwrap().read_exact(&mut text).unwrap();
                text
            });
            // Looking whether it can be written to leaves the reader waiting.
            check_writable(&path).unwrap();
            write(&path, &large).unwrap();
            let text = reader.join().unwrap();
            drop(held);
            text
        };
        assert!(reader == large.as_bytes(), "{name}");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
    assert!(is_link(&folder.path("link")));
    assert_eq!(folder.names(), ["link", "pipe"]);
    let link = folder.path("null");
    symlink("/dev/null", &link).unwrap();
    write(&link, "gone").unwrap();
    assert!(is_link(&link) && fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

/// A link to `/proc/self/fd/N` looks like one that leads nowhere: what it leads to has no path.
#[test]
fn a_descriptor_of_this_process_is_written_to() {
    use std::os::fd::AsRawFd;
    let folder = Folder::new();
    let (mut reader, writer) = io::pipe().unwrap();
    let number = writer.as_raw_fd();
    for target in [format!("/proc/self/fd/{number}"), format!("/dev/fd/{number}")] {
        let link = folder.path("stdout");
        symlink(&target, &link).unwrap();
        check_writable(&link).unwrap();
        write(&link, "through a pipe").unwrap();
        let mut text = [0; 14];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"through a pipe");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(&target));
        fs::remove_file(&link).unwrap();
    }

    // As a shell opens it for `> file`: what is written follows what was.
    let file = File::create(folder.path("file")).unwrap();
    let link = folder.link(&format!("/proc/self/fd/{}", file.as_raw_fd()), "stdout");
    write(&link, "first").unwrap();
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"first");
    let error = folder.sentence(&write(&link, "second").unwrap_err());
    assert_eq!(error, "DIR/stdout is an open file that is not empty; name a file");
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"first");
    drop(file);
    fs::remove_file(&link).unwrap();

    let link = folder.link("/proc/self/fd/987654", "closed");
    let error = folder.sentence(&write(&link, "new").unwrap_err());
    assert_eq!(error, "cannot write DIR/closed: Bad file descriptor (os error 9)");
    let read_only = File::open(folder.path("file")).unwrap();
    File::create(folder.path("file")).unwrap();
    let link = folder.link(&format!("/proc/self/fd/{}", read_only.as_raw_fd()), "read-only");
    let error = folder.sentence(&write(&link, "new").unwrap_err());
    assert_eq!(error, "cannot write DIR/read-only: Bad file descriptor (os error 9)");
    assert_eq!(folder.names(), ["closed", "file", "read-only"]);
}

#[test]
fn permissions_and_owner_stay() {
    let folder = Folder::new();
    let (file, plain) = (folder.path("file"), folder.file("plain", ""));
    write(&file, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&file), mode(&plain));
    for bits in [0o640, 0o600, 0o444, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(bits)).unwrap();
        write(&file, "new").unwrap();
        assert_eq!(mode(&file) & 0o7777, bits);
    }
    // As root another's file stays another's.
    if std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).is_ok() {
        write(&file, "newer").unwrap();
        let found = fs::metadata(&file).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65_534, 65_534, 0o777));
    } else {
        println!("not root: nothing is said of owners");
    }
}

#[test]
fn a_directory_that_cannot_be_synchronized_is_no_failure() {
    let failed = |code| Err(io::Error::from_raw_os_error(code));
    let path = Path::new("file");
    assert_eq!(durability(path, Ok(())), None);
    for code in
        [libc::EINVAL, libc::ENOTSUP, libc::ENOSYS, libc::EACCES, libc::EPERM, libc::EROFS, libc::EBADF]
    {
        assert_eq!(durability(path, failed(code)), None, "{code}");
    }
    for code in [libc::EIO, libc::ENOSPC] {
        let warning = durability(path, failed(code)).unwrap();
        assert!(warning.starts_with("file was written, but might not outlast a power failure"), "{warning}");
    }
}

#[test]
fn files_are_told_apart_by_what_they_are() {
    let folder = Folder::new();
    folder.file("file", "");
    folder.file("other", "");
    folder.link("file", "link");
    folder.link("new", "to nothing");
    folder.pipe("pipe");
    fs::hard_link(folder.path("file"), folder.path("hard")).unwrap();
    for (left, right, expected) in [
        ("file", "file", true),
        ("file", "./file", true),
        ("file", "link", true),
        ("hard", "link", true),
        ("file", "other", false),
        ("new", "new", true),
        ("new", "to nothing", true),
        ("new", "newer", false),
        ("file", "new", false),
        ("no/new", "no/new", false),
        ("pipe", "pipe", false),
    ] {
        assert_eq!(is_same(folder.path(left), folder.path(right)), expected, "{left} {right}");
        assert_eq!(is_same(folder.path(right), folder.path(left)), expected, "{left} {right}");
    }
    assert!(!is_same("/dev/null", "/dev/null"));
    for (name, expected) in [("file", true), ("to nothing", true), ("pipe", false)] {
        assert_eq!(is_replaced(folder.path(name)), expected, "{name}");
    }
    assert!(!is_replaced("/dev/null") && !is_replaced("/proc/self/fd/1"));
}

#[test]
fn only_regular_files_of_a_bounded_size_are_read() {
    let folder = Folder::new();
    folder.file("text", "größe");
    fs::write(folder.path("bytes"), b"ab\xff").unwrap();
    folder.pipe("pipe");
    folder.link("/dev/zero", "zero");
    folder.link("loop", "loop");
    assert_eq!(read_text(folder.path("text"), 7).unwrap(), "größe");
    assert_eq!(read(folder.path("bytes"), 3).unwrap(), b"ab\xff");
    for (name, limit, sentence) in [
        ("text", 6, "DIR/text has more than 6 bytes, and is too large to be what was asked for"),
        ("bytes", 9, "DIR/bytes is no text in UTF-8: byte 2 begins no character"),
        ("pipe", 9, "DIR/pipe is a pipe; a regular file was expected"),
        ("zero", 9, "DIR/zero is a device; a regular file was expected"),
        ("", 9, "DIR/ is a directory; a regular file was expected"),
        ("none", 9, "cannot read DIR/none: No such file or directory (os error 2)"),
        ("loop", 9, "cannot read DIR/loop: Too many levels of symbolic links (os error 40)"),
    ] {
        assert_eq!(folder.sentence(&read_text(folder.path(name), limit).unwrap_err()), sentence);
    }
    assert!(open(folder.path("text")).is_ok());
}

/// Runs on a thread of its own as nobody, where this process is root, whom no permission stops.
fn as_nobody(run: impl FnOnce() + Send) {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: the calls take numbers alone; by this way they change the thread that makes them, and no other.
    let give_up_root = || unsafe {
        libc::geteuid() != 0
            || (libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY) == 0
                && libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| match give_up_root() {
            true => run(),
            false => println!("skipped: root cannot be given up here"),
        });
    });
}

#[test]
fn a_directory_that_cannot_be_listed_is_written_to() {
    let folder = Folder::new();
    let inner = folder.path("inner");
    fs::create_dir(&inner).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(folder.0.path(), 0o755);
    mode(&inner, 0o333);
    let file = inner.join("file");
    as_nobody(|| {
        for text in ["new", "newer"] {
            check_writable(&file).unwrap();
            write(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        let listed = fs::read_dir(&inner).unwrap_err();
        assert_eq!(listed.kind(), io::ErrorKind::PermissionDenied);
    });
    mode(&inner, 0o555);
    as_nobody(|| {
        let error = folder.sentence(&write(&file, "newest").unwrap_err());
        assert_eq!(error, "cannot write DIR/inner/file: Permission denied (os error 13)");
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
    });
    mode(&inner, 0o755);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1, "nothing lies beside the file");
}
