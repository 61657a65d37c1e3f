//! A small host: the child of the tests' probes, and a host that runs as another user, with other rights, or under valgrind.
//!
//! `test-host [DIR..]` loads the plugins in the directories and those of the environment, and says what came of it.
//! `test-host --swap FROM TO [..]` moves a file first, as a probe's child.

use std::ffi::OsString;

use bitquilt::InferenceSession;
use bitquilt::plugin::{SearchPath, child_main};

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [swap, from, to, ..] = &arguments[..]
        && swap == "--swap"
    {
        std::fs::rename(from, to).expect("the file can be moved");
    }
    child_main();
    let path = SearchPath::with_environment(arguments);
    for note in &path.notes {
        println!("note: {note}");
    }
    let session = InferenceSession::builder().threads(2).search_path(path).build().expect("a session");
    print!("{}", bitquilt_tests::host::report(&session));
}
