//! Files: what they are, whose they are, and what they lead to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitquilt::plugin::PATH_VARIABLE;
use bitquilt_tests::elf::Library;
use bitquilt_tests::host::Host;
use bitquilt_tests::{PluginDir, fixture};

use super::{Case, case, case_if, files};

/// A user without any rights.
const NOBODY: u32 = 65534;

const ENTRY: &str = "_1as_0lib_1header_0root_bmodule_bloader";

pub(super) fn cases() -> Vec<Case> {
    let bytes = |name: &str, bytes: &'static [u8]| {
        files(name, move |_, dir| {
            dir.add("bad", bytes);
        })
    };
    let patched = |name: &str, patch: fn(&mut Library)| {
        files(name, move |_, dir| {
            let mut library = Library::fixture("second");
            patch(&mut library);
            dir.add("bad", library.bytes);
        })
    };
    let mut cases = vec![
        bytes("empty", b""),
        bytes("text", b"This is not the library you are looking for.\n"),
        bytes("a script", b"#!/bin/sh\nrm -rf /\n"),
        bytes("zeros", &[0; 5000]),
        bytes("the magic number alone", b"\x7fELF"),
        bytes("an archive", b"!<arch>\nobject.o/"),
    ];
    // Cut within the header, and at even distances over all that is loaded.
    cases.push(patched("cut within its header", |library| library.bytes.truncate(40)));
    for part in 1..10 {
        let name = format!("cut after {part} tenths of what is loaded");
        cases.push(files(&name, move |_, dir| {
            let mut library = Library::fixture("second");
            library.bytes.truncate(library.bytes.len() * part / 10);
            dir.add("bad", library.bytes);
        }));
    }
    cases.extend([
        patched("for another machine", |library| library.bytes[18] = 22),
        patched("for this machine in the other byte order", |library| {
            library.bytes[5] = 2;
            library.bytes[18..20].reverse();
        }),
        files("32-bit", |_, dir| {
            dir.add("bad", elf32());
        }),
        patched("a program, not a library", |library| library.bytes[16] = 2),
        files("a directory", |_, dir| fs::create_dir(dir.file("bad")).unwrap()),
        files("a pipe", |_, dir| make_fifo(&dir.file("bad"))),
        files("a device", |_, dir| symlink("/dev/zero", dir.file("bad")).unwrap()),
        files("a socket", |_, dir| {
            std::os::unix::net::UnixListener::bind(dir.file("bad")).unwrap();
        }),
        files("a symbolic link in a circle", |_, dir| {
            symlink(dir.file("bad"), dir.file("worse")).unwrap();
            symlink(dir.file("worse"), dir.file("bad")).unwrap();
        }),
        files("a symbolic link to nothing", |_, dir| {
            symlink(dir.path().join("nothing"), dir.file("bad")).unwrap();
        }),
        files("a symbolic link to a plugin that is loaded", |host, dir| {
            symlink(host.good(), dir.file("bad")).unwrap();
        }),
        files("another name of a plugin that is loaded", |host, dir| {
            fs::hard_link(host.good(), dir.file("bad")).unwrap();
        }),
        files("the system's mathematics library", |_, dir| {
            dir.add("bad", fs::read(libm()).unwrap());
        }),
        patched("a dependency that there is not", |library| library.rename("libgcc_s.so.1", "libgone.so.12")),
        patched("a function that there is not", |library| library.rename("memmove", "mumbled")),
        patched("without its entry symbol", |library| {
            library.rename(ENTRY, "_1as_0lib_1header_0root_bmodule_bleaves");
        }),
        patched("garbage behind its entry symbol", |library| library.symbol(ENTRY).fill(0xa5)),
        patched("zeros behind its entry symbol", |library| library.symbol(ENTRY).fill(0)),
        patched("the entry symbol of another library version", |library| {
            // The last bytes of the magic and the versions of abi_stable, which follow it.
            library.symbol(ENTRY)[32..40].fill(0xff);
        }),
        case("replaced between the check and the load", |host, dir| {
            let library = dir.add_fixture("second");
            let other = dir.path().join("other");
            fs::write(&other, Library::fixture("second").bytes).unwrap();
            let swap = ["--swap".as_ref(), other.as_os_str(), library.as_os_str()];
            host.refusals_with(host.probe().arguments(swap), "replaced", dir.path())
        }),
        files("writable by everybody", |_, dir| {
            fs::set_permissions(dir.add_fixture("second"), Permissions::from_mode(0o646)).unwrap();
        }),
        files("writable by a group", |_, dir| {
            let library = dir.add_fixture("second");
            fs::set_permissions(&library, Permissions::from_mode(0o664)).unwrap();
            // A group other than root's needs root to be given; without, the user's own group may be the user.
            let _ = chown(&library, None, Some(NOBODY));
        }),
        files("in a directory that everybody can write to", |_, dir| {
            dir.add_fixture("second");
            fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        }),
        case_if("of a user who is neither root nor this one", |host, dir| {
            chown(dir.add_fixture("second"), Some(NOBODY), None).ok()?;
            Some(host.refusals("owner", dir.path()))
        }),
        case_if("in a directory of such a user", |host, dir| {
            dir.add_fixture("second");
            chown(dir.path(), Some(NOBODY), None).ok()?;
            Some(host.refusals("owner of the directory", dir.path()))
        }),
        case("unreadable", unreadable),
        case("entries of the path variable that are empty or relative", path_variable),
        case_if("the path variable of a process with more rights than its user", elevated),
    ]);
    cases
}

/// The least that is an ELF file for a 32-bit machine.
fn elf32() -> Vec<u8> {
    let mut bytes = vec![0; 52];
    bytes[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    (bytes[16], bytes[18], bytes[20], bytes[40], bytes[42], bytes[46]) = (3, 3, 1, 52, 32, 40);
    bytes
}

fn make_fifo(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

fn libm() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc"));
    let folder = Path::new(libc.expect("the test is linked with a C library")).parent().unwrap();
    folder.join("libm.so.6")
}

/// A directory that anybody can read, with a copy of `program` and one of a fixture.
fn public(dir: &PluginDir, program: &Path) -> PathBuf {
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("host");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    copy
}

fn is_root() -> bool {
    let probe = PluginDir::new();
    chown(probe.path(), Some(NOBODY), None).is_ok()
}

fn answer(command: &mut Command) -> String {
    let output = command.env_remove("HOME").env_remove("XDG_DATA_HOME").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the host ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A file that its user cannot read stops nobody: the host runs without root's rights, which would read it nevertheless.
fn unreadable(host: &Host, dir: &PluginDir) -> String {
    let copy = public(dir, host.program());
    let (good, bad) = (dir.add_fixture("good"), dir.add_fixture("second"));
    fs::set_permissions(good, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&bad, Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(copy);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    without_digests(&answer(command.arg(dir.path()).current_dir("/")))
}

/// The current directory is never searched, whatever the variable says.
fn path_variable(host: &Host, dir: &PluginDir) -> String {
    dir.add_fixture("second");
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::copy(fixture("good"), dir.path().join("below/good.so")).unwrap();
    let mut command = Command::new(host.program());
    command.current_dir(dir.path()).env(PATH_VARIABLE, ":.:below::./below:");
    without_digests(&answer(&mut command))
}

/// A program with the set-user-ID bit, started by another user, who also sets the variable.
fn elevated(host: &Host, dir: &PluginDir) -> Option<String> {
    let program = public(dir, host.program());
    chown(&program, Some(NOBODY), None).ok()?;
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    let tempting = PluginDir::new();
    tempting.add_fixture("second");
    fs::set_permissions(tempting.path(), Permissions::from_mode(0o755)).unwrap();
    let answer =
        |program: &Path| without_digests(&answer(Command::new(program).env(PATH_VARIABLE, tempting.path())));
    // The same without the bit loads the plugin, so that the bit is what makes the difference.
    let plain = answer(host.program());
    assert!(plain.contains("plugin fixture-second"), "{plain}");
    // A probe's child would load the file, whoever asks; a program with more rights is nobody's child.
    let as_child =
        Command::new(&program).env("BITQUILT_PROBE_CHILD", tempting.file("second")).output().unwrap();
    assert!(!String::from_utf8_lossy(&as_child.stdout).contains("bitquilt-probe"));
    Some(answer(&program))
}

/// A report without what depends on the arithmetic.
pub(super) fn without_digests(report: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((head, _)) if line.starts_with("qmatmul of") => format!("{head} answers\n"),
        _ => format!("{line}\n"),
    };
    report.lines().map(line).collect()
}
