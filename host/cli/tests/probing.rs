//! The command tries each plugin in a child process first, unless it is told not to.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use bitquilt_tests::workplace::{Workplace, said};
use bitquilt_tests::{PluginDir, contract};
use common::workplace;

/// How `plugin list` ends, and all that it prints and says.
fn list(here: &Workplace, plugins: &PluginDir, more: &[&str]) -> (ExitStatus, String) {
    let mut command = here.command(&["plugin", "list", "--plugin-dir"]);
    let output = command.arg(plugins.path()).args(more).output().unwrap();
    (output.status, format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output)))
}

#[test]
fn a_plugin_that_ends_its_process_does_not_end_the_command() {
    let (here, plugins) = (workplace(), PluginDir::new());
    plugins.add_fixture("good");
    plugins.add("bad", contract("constructor aborts"));
    let (status, said) = list(&here, &plugins, &[]);
    assert!(status.success(), "{said}");
    assert!(said.contains("fixture-good"), "{said}");
    assert!(said.contains("was ended by SIGABRT"), "{said}");

    // Both verdicts are kept, and the second time say where.
    let verdicts = fs::read_dir(here.home().join("bitquilt/probes")).unwrap().count();
    assert_eq!(verdicts, 2);
    let (status, said) = list(&here, &plugins, &[]);
    assert!(status.success(), "{said}");
    assert!(said.contains("when it was probed last; delete"), "{said}");

    let (status, _) = list(&here, &plugins, &["--no-probe"]);
    assert_eq!(status.signal(), Some(6), "it runs in the command");
}

#[test]
fn a_place_for_verdicts_that_others_can_write_to_is_named_and_left_alone() {
    let (here, plugins) = (workplace(), PluginDir::new());
    plugins.add_fixture("good");
    let verdicts = here.home().join("bitquilt/probes");
    fs::create_dir_all(&verdicts).unwrap();
    fs::set_permissions(&verdicts, fs::Permissions::from_mode(0o777)).unwrap();
    let (status, said) = list(&here, &plugins, &[]);
    assert!(status.success(), "{said}");
    let sentence = format!(
        "each plugin is tried anew, since what came of it cannot be kept: {0} is writable by everybody, so somebody else could change \
         what this program runs; run `chmod o-w {0}`",
        verdicts.display()
    );
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(fs::read_dir(&verdicts).unwrap().count(), 0);
}
