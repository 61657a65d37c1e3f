//! What was checked is what is opened: paths, links, and files that others could change.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bitquilt::plugin::{Loader, inspect};

use bitquilt::registry::Registry;
use bitquilt_tests::{PluginDir, c, contents, fixture, scaled};

/// A user without any rights.
const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory with a plugin, below `parent`.
fn plugins_in(parent: &Path) -> PathBuf {
    let plugins = parent.join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    fs::copy(fixture("second"), plugins.join("second.so")).unwrap();
    plugins
}

/// Loads a file; the sentence that it is refused with, if it is.
fn load(path: &Path) -> Option<String> {
    let mut registry = Registry::default();
    let refusal = Loader::new(&mut registry).file(path).err().map(|refusal| refusal.to_string());
    assert_eq!(contents(&registry).is_empty(), refusal.is_some());
    refusal
}

#[test]
fn every_step_of_a_path_is_checked() {
    let dir = PluginDir::new();
    let open = dir.path().join("open");
    let plugin = plugins_in(&open).join("second.so");
    set_mode(&open, 0o777);
    let said = |path: &Path| dir.scrub(&load(path).unwrap_or_else(|| "loaded".to_owned()));
    let by_everybody = "DIR/open is writable by everybody, so somebody else could change what this program runs; run `chmod o-w DIR/open`";
    assert!(said(&plugin).ends_with(by_everybody), "{}", said(&plugin));

    // A link that stands, or leads, where others may write; the file and its directory are nobody else's.
    let closed = plugins_in(&dir.path().join("closed")).join("second.so");
    symlink(&closed, open.join("link.so")).unwrap();
    symlink(open.join("link.so"), dir.path().join("hop.so")).unwrap();
    symlink("open/../closed/plugins", dir.path().join("linked")).unwrap();
    for path in ["open/link.so", "hop.so", "open/../closed/plugins/second.so", "linked/second.so"] {
        let path = dir.path().join(path);
        assert!(said(&path).ends_with(by_everybody), "{}: {}", path.display(), said(&path));
    }

    // Another user's link, if this one can make such.
    let link = dir.path().join("theirs.so");
    symlink(&closed, &link).unwrap();
    if lchown(&link, Some(NOBODY), None).is_ok() {
        let refused = said(&link);
        assert!(
            refused.contains("DIR/theirs.so belongs to user 65534, who is neither root nor"),
            "{refused}"
        );
    }

    // In a sticky directory nobody replaces what is not theirs; but they may put other libraries beside the file.
    set_mode(&open, 0o1777);
    fs::copy(fixture("second"), open.join("beside.so")).unwrap();
    assert!(said(&open.join("beside.so")).ends_with(by_everybody));
    assert_eq!(said(&open.join("link.so")), "loaded");
    assert_eq!(said(&dir.path().join("hop.so")), "loaded");
    assert_eq!(said(&plugin), "loaded");
}

/// Exchanges two directories, again and again, until it is told to stop.
fn exchange(a: &Path, b: &Path, stop: &AtomicBool) {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (a, b) = (name(a), name(b));
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: both are texts that end with a zero.
        let done = unsafe {
            libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// Starts hosts that load `base/plugins`, while it and a directory with a file that everybody can write to change places. Answers
/// what the hosts said; that file's constructor never runs.
fn race(base: &Path, starts: usize) -> Vec<String> {
    let plugins = plugins_in(base);
    let evil = base.join("evil");
    fs::create_dir(&evil).unwrap();
    let mark = base.join("mark");
    let marks = format!("-DMARK=\"{}\"", mark.display());
    let library =
        c::build(&evil, "second", "tests/c/faulty.c", &["-DFAULT=\"leaves a mark\"", "-DNO_MAGIC=0", &marks]);
    set_mode(&library, 0o666);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| exchange(&plugins, &evil, &stop));
        let answers = (0..starts).map(|_| {
            let output = Command::new(env!("CARGO_BIN_EXE_test-host")).arg(&plugins).output().unwrap();
            assert!(!mark.exists(), "a file that was not checked was opened");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let answers = answers.collect();
        stop.store(true, Ordering::Relaxed);
        answers
    })
}

#[test]
fn a_directory_that_changes_places_is_opened_as_it_was_checked() {
    let dir = PluginDir::new();
    let answers = race(dir.path(), scaled(60, 30));
    let loaded = answers.iter().filter(|answer| answer.contains("plugin fixture-second"));
    let refused = answers.iter().filter(|answer| answer.contains("is writable by everybody"));
    println!("{} of {} loaded, {} refused", loaded.count(), answers.len(), refused.count());
}

#[test]
fn below_a_directory_of_everybody_nothing_is_opened() {
    let dir = PluginDir::new();
    let base = dir.path().join("open");
    fs::create_dir(&base).unwrap();
    set_mode(&base, 0o777);
    for answer in race(&base, 10) {
        assert!(answer.contains("refused") && !answer.contains("plugin fixture-second"), "{answer}");
    }
}

#[test]
fn a_library_beside_a_plugin_is_found() {
    let dir = PluginDir::new();
    let beside = dir.path().join("lib");
    fs::create_dir(&beside).unwrap();
    let source = dir.path().join("needed.c");
    fs::write(&source, "int needed(void);\nint needed(void) { return 1; }\n").unwrap();
    c::build(&beside, "libneeded", source.to_str().unwrap(), &[]);
    let search = format!("-L{}", beside.display());
    // Linkers read options in order: the library is named before what would need it.
    let options = ["-Wl,--no-as-needed", &search, "-lneeded", "-Wl,-rpath,$ORIGIN/lib"];
    let plugin = c::build(dir.path(), "acme_c", "examples/c-plugin/acme.c", &options);
    assert_eq!(load(&plugin), None);
}

#[test]
fn names_that_a_terminal_would_obey_are_escaped() {
    let dir = PluginDir::new();
    let text = dir.add("a\u{1b}[31mb", "no library");
    let refused = dir.scrub(&load(&text).unwrap());
    assert_eq!(refused, r"DIR/a\u{1b}[31mb.so: it is text, not an ELF shared library");
}

/// Bytes that this process has read so far.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_large_file_is_read_where_it_says_something() {
    let dir = PluginDir::new();
    let path = dir.add_fixture("second");
    File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    let before = bytes_read();
    let report = inspect(&path).unwrap();
    assert_eq!((report.refusal, report.identity.size), (None, 1 << 30));
    assert_eq!(load(&path), None);
    assert!(bytes_read() - before < 1 << 29, "the file was read whole");
}
