//! The command tries each plugin in a child process first, unless it is told not to.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use bitquilt_tests::{PluginDir, contract};

fn list(plugins: &PluginDir, home: &PluginDir, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitquilt"))
        .args(["plugin", "list", "--plugin-dir"])
        .arg(plugins.path())
        .args(more)
        .env_remove("BITQUILT_PLUGIN_PATH")
        .env("XDG_DATA_HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .output()
        .unwrap()
}

#[test]
fn a_plugin_that_ends_its_process_does_not_end_the_command() {
    let (plugins, home) = (PluginDir::new(), PluginDir::new());
    plugins.add_fixture("good");
    plugins.add("bad", contract("constructor aborts"));
    let first = list(&plugins, &home, &[]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&first.stdout), String::from_utf8_lossy(&first.stderr));
    assert!(first.status.success(), "{said}");
    assert!(said.contains("fixture-good"), "{said}");
    assert!(said.contains("was ended by SIGABRT"), "{said}");

    // Both verdicts are kept, and the second time say where.
    let verdicts = std::fs::read_dir(home.path().join("bitquilt/probes")).unwrap().count();
    assert_eq!(verdicts, 2);
    let second = list(&plugins, &home, &[]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&second.stdout), String::from_utf8_lossy(&second.stderr));
    assert!(second.status.success(), "{said}");
    assert!(said.contains("when it was probed last; delete"), "{said}");

    let unprobed = list(&plugins, &home, &["--no-probe"]);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&unprobed.status),
        Some(6),
        "it runs in the command"
    );
}

#[test]
fn a_place_for_verdicts_that_others_can_write_to_is_named_and_left_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (plugins, home) = (PluginDir::new(), PluginDir::new());
    plugins.add_fixture("good");
    let verdicts = home.path().join("bitquilt/probes");
    std::fs::create_dir_all(&verdicts).unwrap();
    std::fs::set_permissions(&verdicts, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = list(&plugins, &home, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let sentence = format!(
        "each plugin is tried anew, since what came of it cannot be kept: {0} is writable by everybody, so somebody else could change \
         what this program runs; run `chmod o-w {0}`",
        verdicts.display()
    );
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(std::fs::read_dir(&verdicts).unwrap().count(), 0);
}
