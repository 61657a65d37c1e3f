//! Probes: a file costs one child process, and what became of it is remembered as long as the file is the same.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use bitquilt::InferenceSession;
use bitquilt::plugin::{End, Loader, PluginError, PluginProbe, ProbeError};
use bitquilt::registry::Registry;
use bitquilt_tests::elf::Library;
use bitquilt_tests::{PluginDir, contents, contract, fixture};

/// A directory of plugins, one of verdicts, and a probe that counts its children.
struct Bench {
    plugins: PluginDir,
    verdicts: PluginDir,
}

impl Bench {
    fn new() -> Self {
        Self { plugins: PluginDir::new(), verdicts: PluginDir::new() }
    }

    fn log(&self) -> PathBuf {
        self.verdicts.path().join("children")
    }

    fn cache(&self) -> PathBuf {
        self.verdicts.path().join("probes")
    }

    fn children(&self) -> usize {
        fs::read_to_string(self.log()).map_or(0, |log| log.lines().count())
    }

    fn probe(&self) -> PluginProbe {
        let log = self.log();
        PluginProbe::program(env!("CARGO_BIN_EXE_test-host"))
            .arguments(["--log".as_ref(), log.as_os_str()])
            .cache(Some(self.cache()))
    }

    /// Probes and loads a file into a registry of its own; what it then holds, or why it was refused.
    fn load(&self, probe: PluginProbe, path: &Path) -> Result<Vec<String>, PluginError> {
        let mut registry = Registry::default();
        let loaded = Loader::new(&mut registry).probe(probe).file(path);
        match loaded {
            Ok(_) => Ok(contents(&registry)),
            Err(refusal) => {
                assert_eq!(contents(&registry), [""; 0]);
                Err(refusal.reason)
            }
        }
    }

    fn verdict(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

#[test]
fn a_file_costs_one_child_until_it_is_another() {
    let bench = Bench::new();
    let path = bench.plugins.add_fixture("good");
    let first = bench.load(bench.probe(), &path).unwrap();
    assert_eq!(bench.children(), 1);
    assert_eq!(bench.load(bench.probe(), &path).unwrap(), first);
    assert_eq!(bench.children(), 1, "the verdict is kept");

    // The same bytes at another time; then, with the same size and time, other bytes, which this process cannot load any more. A
    // file that is loaded is replaced, never written to.
    let mut bytes = fs::read(&path).unwrap();
    let time = SystemTime::now() - Duration::from_secs(1000);
    for (children, change) in [(2, 0), (3, 1)] {
        *bytes.last_mut().unwrap() ^= change;
        let other = bench.plugins.path().join("other");
        fs::write(&other, &bytes).unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, &path).unwrap();
        let expected = if change == 0 { Ok(first.clone()) } else { Err(PluginError::ChangedSince) };
        assert_eq!(bench.load(bench.probe(), &path), expected);
        assert_eq!(bench.children(), children);
    }

    let moved = bench.plugins.add("moved", fs::read(fixture("good")).unwrap());
    assert_eq!(bench.load(bench.probe(), &moved).unwrap().len(), first.len());
    assert_eq!(bench.children(), 4, "another path");
}

#[test]
fn a_child_that_ended_is_remembered_with_the_file_that_remembers_it() {
    let bench = Bench::new();
    let path = bench.plugins.add("bad", contract("constructor aborts"));
    let first = bench.load(bench.probe(), &path).unwrap_err();
    assert!(
        matches!(&first, PluginError::Probe(ProbeError::Ended { end: End::Signalled(6), .. })),
        "{first}"
    );
    let second = bench.load(bench.probe(), &path).unwrap_err();
    assert_eq!(
        second.to_string(),
        format!(
            "a child process that loaded it was ended by SIGABRT (it aborted) when it was probed last; delete {} to try again",
            bench.verdict().display()
        )
    );
    assert_eq!(bench.children(), 1);
    fs::remove_file(bench.verdict()).unwrap();
    assert_eq!(bench.load(bench.probe(), &path).unwrap_err(), first);
    assert_eq!(bench.children(), 2);
}

/// What it lacks may have been installed since.
#[test]
fn a_file_that_a_child_refused_is_asked_again() {
    let bench = Bench::new();
    let mut library = Library::fixture("second");
    library.rename("libgcc_s.so.1", "libgone.so.12");
    let path = bench.plugins.add("bad", library.bytes);
    for children in 1..=2 {
        let error = bench.load(bench.probe(), &path).unwrap_err();
        assert!(matches!(&error, PluginError::Probe(ProbeError::Refused { .. })), "{error}");
        assert_eq!(bench.children(), children);
    }
}

#[test]
fn a_verdict_that_cannot_be_read_or_kept_is_found_again() {
    let bench = Bench::new();
    let path = bench.plugins.add_fixture("good");
    bench.load(bench.probe(), &path).unwrap();
    let verdict = bench.verdict();
    let text = fs::read(&verdict).unwrap();
    let damaged = [&b""[..], &text[..text.len() - 1], &text[..20], b"\xff\xfe", b"verdict passed\n"];
    for (index, bytes) in damaged.into_iter().enumerate() {
        fs::write(&verdict, bytes).unwrap();
        bench.load(bench.probe(), &path).unwrap();
        assert_eq!(bench.children(), index + 2);
        assert_eq!(fs::read(&verdict).unwrap(), text, "it is written again");
    }
    // A directory where the verdict is to be, and a file where the directory is to be.
    fs::remove_file(&verdict).unwrap();
    fs::create_dir(&verdict).unwrap();
    bench.load(bench.probe(), &path).unwrap();
    let file = bench.verdicts.add("file", b"");
    bench.load(bench.probe().cache(Some(file)), &path).unwrap();
    assert_eq!(bench.children(), damaged.len() + 3);
}

/// Verdicts that others could have written are none: the plugin is probed again.
#[test]
fn verdicts_that_others_can_write_are_not_heeded() {
    let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let bench = Bench::new();
    let path = bench.plugins.add("bad", contract("constructor aborts"));
    bench.load(bench.probe(), &path).unwrap_err();
    let (verdict, cache) = (bench.verdict(), bench.cache());
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&verdict).unwrap().permissions().mode() & 0o777, 0o600);
    let ended = fs::read_to_string(&verdict).unwrap();
    let forged = ended.split_once("verdict ").unwrap().0.to_owned() + "verdict passed\n";

    type Forge = fn(&Path, &Path, &str);
    let forgeries: [(&str, Forge); 4] = [
        ("a file that everybody can write to", |verdict, _, forged| {
            fs::write(verdict, forged).unwrap();
            fs::set_permissions(verdict, Permissions::from_mode(0o666)).unwrap();
        }),
        ("a link", |verdict, elsewhere, forged| {
            fs::write(elsewhere, forged).unwrap();
            fs::remove_file(verdict).unwrap();
            symlink(elsewhere, verdict).unwrap();
        }),
        ("a pipe", |verdict, _, _| {
            fs::remove_file(verdict).unwrap();
            assert!(Command::new("mkfifo").arg(verdict).status().unwrap().success());
        }),
        ("a long file", |verdict, _, forged| {
            fs::write(verdict, forged.to_owned() + &" ".repeat(1 << 20)).unwrap();
        }),
    ];
    for (children, (what, forge)) in (2..).zip(forgeries) {
        forge(&verdict, &bench.verdicts.path().join("elsewhere"), &forged);
        let error = bench.load(bench.probe(), &path).unwrap_err();
        assert!(matches!(error, PluginError::Probe(ProbeError::Ended { .. })), "{what}: {error}");
        assert_eq!(bench.children(), children, "{what}");
        assert_eq!(fs::read_to_string(&verdict).unwrap(), ended, "{what}: it is written again");
        assert!(fs::symlink_metadata(&verdict).unwrap().is_file(), "{what}");
    }
    assert_eq!(bench.probe().cache_problem(), None);

    // The directory, and one that it is in.
    fs::write(&verdict, &forged).unwrap();
    for (children, open) in (6..).zip([cache.clone(), bench.verdicts.path().to_owned()]) {
        set_mode(&open, 0o777);
        let error = bench.load(bench.probe(), &path).unwrap_err();
        assert!(matches!(error, PluginError::Probe(ProbeError::Ended { .. })), "{error}");
        assert_eq!(bench.children(), children);
        assert_eq!(fs::read_to_string(&verdict).unwrap(), forged, "nothing is written there");
        let problem = bench.probe().cache_problem().unwrap().to_string();
        let expected = format!("{} is writable by everybody", fs::canonicalize(&open).unwrap().display());
        assert!(problem.starts_with(&expected), "{problem}");
        set_mode(&open, 0o700);
    }
}

#[test]
fn a_child_that_hangs_is_killed_with_all_that_it_started() {
    let bench = Bench::new();
    let path = bench.plugins.add("bad", contract("constructor hangs"));
    let (begin, limit) = (Instant::now(), Duration::from_millis(700));
    let error = bench.load(bench.probe().time_limit(limit), &path).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a child process that loaded it was still running after 700 ms and was killed"
    );
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let alive = fs::read_dir("/proc").unwrap().filter(|entry| {
        let environment = fs::read(entry.as_ref().unwrap().path().join("environ")).unwrap_or_default();
        let path = path.as_os_str().as_encoded_bytes();
        environment.windows(path.len()).any(|window| window == path)
    });
    assert_eq!(alive.count(), 0);
}

#[test]
fn a_program_that_is_no_probe_says_so() {
    let bench = Bench::new();
    let path = bench.plugins.add_fixture("good");
    let said = |program: &str| {
        let probe = PluginProbe::program(program).cache(Some(bench.cache()));
        bench.load(probe, &path).unwrap_err().to_string()
    };
    assert_eq!(
        said("/bin/true"),
        "/bin/true answered no probe: it must call `bitquilt::plugin::child_main` first"
    );
    assert_eq!(
        said("/no/such/program"),
        "no child process to probe it in could be started with /no/such/program: No such file or directory (os error 2)"
    );
    assert!(!bench.cache().exists(), "nothing is known of the file");
}

#[test]
fn a_session_probes_where_it_is_asked_to() {
    let bench = Bench::new();
    bench.plugins.add_fixture("good");
    bench.plugins.add("bad", contract("constructor exits"));
    let session =
        InferenceSession::builder().plugin_dir(bench.plugins.path()).probe(bench.probe()).build().unwrap();
    assert!(session.registry().encoding("good.int8").is_some());
    assert_eq!(bench.children(), 2);
    assert_eq!(session.refusals().len(), 1);
    assert_eq!(session.refusals()[0].path, bench.plugins.file("bad"));
}
