//! What this program does where it was started as a child, to probe or to check a plugin.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use super::child::{self, Limits};
use super::loader::Loader;
use super::probe::{BEGUN, CHILD_VARIABLE, MARK, PASSED};
use crate::file::is_elevated;
use crate::registry::Registry;

/// Loads the plugin that this process was started to probe or check, and exits; returns at once in any other process.
///
/// A program that probes or checks plugins with children of its own ([`PluginProbe::new`](super::PluginProbe::new),
/// `PluginCheck::new`) calls this before anything else. It returns at once in a process that has more rights than its user, too, who is not to say
/// what such a process loads.
pub fn child_main() {
    if is_elevated() {
        return;
    }
    #[cfg(feature = "plugin-check")]
    super::check::child_main();
    if let Some(path) = std::env::var_os(CHILD_VARIABLE) {
        std::process::exit(probe_here(&path));
    }
}

fn probe_here(path: &OsStr) -> i32 {
    child::limit_this_process(Limits::default());
    say(BEGUN);
    let mut registry = Registry::default();
    match Loader::new(&mut registry).file(Path::new(path)) {
        Ok(_) => {
            say(PASSED);
            0
        }
        Err(refusal) => {
            say(&refusal.reason.to_string().replace(['\n', '\r'], " "));
            1
        }
    }
}

/// Writes past any buffer, in one piece.
fn say(what: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(format!("\n{MARK} {what}\n").as_bytes());
    let _ = stdout.flush();
}
