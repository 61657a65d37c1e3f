//! A small host: the child of the tests' probes, and a host that runs as another user, with other rights, or under valgrind.
//!
//! `test-host [DIR..]` loads the plugins in the directories and those of the environment, and says what came of it. As a probe's
//! child it may have something to do before: `--swap FROM TO` moves a file, `--log FILE` adds a line to one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;

use bitquilt::InferenceSession;
use bitquilt::plugin::{SearchPath, child_main};

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [swap, from, to] if swap == "--swap" => fs::rename(from, to).expect("the file can be moved"),
        [log, file] if log == "--log" => {
            let mut file =
                File::options().append(true).create(true).open(file).expect("the log can be written");
            file.write_all(b"started\n").expect("the log can be written");
        }
        _ => {}
    }
    child_main();
    let path = SearchPath::with_environment(arguments);
    for note in &path.notes {
        println!("note: {note}");
    }
    let session = InferenceSession::builder().threads(2).search_path(path).build().expect("a session");
    print!("{}", bitquilt_tests::host::report(&session));
}
