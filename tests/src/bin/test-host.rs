//! A small host: the child of the tests' probes, and a host that runs as another user, with other rights, or under valgrind.
//!
//! `test-host [DIR..]` loads the plugins in the directories and those of the environment, and says what came of it. As a probe's
//! child it may have something to do before: `--swap FROM TO` moves a file, `--log FILE` adds a line to one.
//!
//! `test-host --probed DIR` probes what is in the directory, loads it, and says what it refused and that it still computes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;

use bitquilt::InferenceSession;
use bitquilt::plugin::{PluginProbe, SearchPath, child_main};

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
    if let [probed, directory] = &arguments[..]
        && probed == "--probed"
    {
        let probe = PluginProbe::new().expect("this program has a path").cache(None);
        let builder = InferenceSession::builder().threads(2).plugin_dir(directory).probe(probe);
        let session = builder.build().expect("a session");
        session.refusals().iter().for_each(|refusal| println!("refused {refusal}"));
        bitquilt_tests::host::qmatmul(&session, "q4_0").expect("it computes");
        drop(session);
        println!("it answers");
        return;
    }
    let path = SearchPath::with_environment(arguments);
    for note in &path.notes {
        println!("note: {note}");
    }
    let session = InferenceSession::builder().threads(2).search_path(path).build().expect("a session");
    print!("{}", bitquilt_tests::host::report(&session));
}
