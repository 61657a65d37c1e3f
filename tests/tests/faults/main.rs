//! The fault table: what a plugin, or a file that claims to be one, can do wrong, and the sentence that the host has for it.
//!
//! After each case the host must hold exactly what it held before, and compute what it computed. The sentences are in `snapshots/`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod calls;
mod contract;
mod damage;
mod file;
mod versions;

use std::fmt::Write as _;

use bitquilt_tests::PluginDir;
use bitquilt_tests::host::Host;

/// A fault, and what the host says to it.
struct Case {
    name: String,
    fault: Box<Fault>,
}

type Fault = dyn Fn(&Host, &PluginDir) -> Option<String>;

/// A case whose answer is the host's sentences; none where this machine cannot have the fault.
fn case_if(name: &str, fault: impl Fn(&Host, &PluginDir) -> Option<String> + 'static) -> Case {
    Case { name: name.to_owned(), fault: Box::new(fault) }
}

fn case(name: &str, fault: impl Fn(&Host, &PluginDir) -> String + 'static) -> Case {
    case_if(name, move |host, dir| Some(fault(host, dir)))
}

/// A case whose fault is in the files that `make` puts into the directory.
fn files(name: &str, make: impl Fn(&Host, &PluginDir) + 'static) -> Case {
    let owned = name.to_owned();
    case(name, move |host, dir| {
        make(host, dir);
        host.refusals(&owned, dir.path())
    })
}

fn host() -> Host {
    Host::new(env!("CARGO_BIN_EXE_test-host"))
}

/// Runs the cases of one part of the table, each on a directory of its own, and compares what is said with the snapshot.
fn run(part: &str, cases: Vec<Case>) {
    let host = host();
    let mut table = String::new();
    for case in cases {
        let dir = PluginDir::new();
        let Some(said) = (case.fault)(&host, &dir) else {
            tell(&format!("{part}: `{}` was left out: only root can make it", case.name));
            continue;
        };
        host.assert_unharmed(&case.name, &host.session(&[]));
        let _ = write!(table, "{}", case.name);
        for line in dir.scrub(&said).lines() {
            let _ = write!(table, "\n    {}", shortened(line));
        }
        table.push('\n');
    }
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        filters => vec![
            (r"0x[0-9a-f]+", "0xHEX"),
            (r"\.rs:\d+", ".rs:LINE"),
            // Which part of a library a cut meets is its linker's matter.
            (r"segment \d+ has \d+ bytes at offset \d+", "segment N has NUMBER bytes at offset NUMBER"),
            (r"\d{4,}", "NUMBER"),
            (r", version GLIBC_[0-9.]+", ""),
            (std::env::consts::ARCH, "ARCH"),
        ],
    }, { insta::assert_snapshot!(part, table) });
}

/// A line that nobody has to scroll for.
fn shortened(line: &str) -> String {
    let len = line.chars().count();
    if len <= 600 {
        return line.to_owned();
    }
    let (head, tail) = (line.chars().take(200), line.chars().skip(len - 100));
    format!("{}[..]{}", head.collect::<String>(), tail.collect::<String>())
}

/// Writes a line that the test harness does not hold back.
fn tell(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn files_that_are_no_plugins() {
    run("file", file::cases());
}

#[test]
fn plugins_that_break_the_contract() {
    run("contract", contract::cases());
}

#[test]
fn plugins_of_other_versions_and_profiles() {
    run("versions", versions::cases());
}

#[test]
fn functions_that_fail() {
    run("calls", calls::cases());
}
