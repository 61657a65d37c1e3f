//! Every reader, given its regressions and as many mutated files as the time allows: no panic, no abort, no hang, bounded memory.
//!
//! `BITQUILT_FUZZ_SECONDS` is the time for all readers together; without it each has a few hundred files. The files are the same in
//! each run: one that failed is written to a folder that the message names, and joins `regressions/`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::abort;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bitquilt_fuzz::memory::Bounded;
use bitquilt_fuzz::mutate::mutate;
use bitquilt_fuzz::{Scratch, TARGETS, Target};
use bitquilt_tests::random::Random;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Files of each reader, where no time is given.
const FILES: u64 = 300;
/// A file that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// Readers take turns: memory is counted for the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Gives a reader its corpus, its regressions and mutations.
fn campaign(name: &str) {
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (target, scratch) = (Target::named(name), Scratch::new());
    let mut corpus = (target.corpus)(&scratch);
    for bytes in &corpus {
        check(target, &scratch, bytes);
    }
    for path in regressions(name) {
        let bytes = fs::read(&path).expect("a regression is readable");
        check(target, &scratch, &bytes);
        corpus.push(bytes);
    }
    let seconds =
        std::env::var("BITQUILT_FUZZ_SECONDS").ok().map(|text| text.parse::<f64>().expect("seconds"));
    let (begin, mut files) = (Instant::now(), 0);
    let time = Duration::from_secs_f64(seconds.unwrap_or_default() / TARGETS.len() as f64);
    while if seconds.is_some() { begin.elapsed() < time } else { files < FILES } {
        check(target, &scratch, &mutate(&mut Random::new(files), &corpus));
        files += 1;
    }
    println!("{name}: {files} files in {:.1?}", begin.elapsed());
    drop(turn);
}

fn regressions(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder is readable").path()).collect();
    paths.sort();
    paths
}

/// Reads bytes, watched.
fn check(target: &'static Target, scratch: &Scratch, bytes: &[u8]) {
    // What ends the process leaves its input behind.
    let input = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target.name);
    fs::write(&input, bytes).expect("cargo's folder for tests is writable");
    let mut outcome = Ok(());
    let watched = Watched::begin(target.name);
    let peak = Bounded::peak_of(|| {
        outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(scratch, bytes)));
    });
    drop(watched);
    assert!(outcome.is_ok(), "{}: the file {} breaks a promise", target.name, input.display());
    let (most, each) = target.memory;
    let most = most + each * bytes.len();
    assert!(
        peak <= most,
        "{}: the file {} takes {peak} bytes of memory, at most {most} are allowed",
        target.name,
        input.display()
    );
}

/// Ends the process where reading hangs.
struct Watched;

/// How many files were begun and ended: odd while one is read.
static TICKS: AtomicU64 = AtomicU64::new(0);

impl Watched {
    fn begin(name: &'static str) -> Self {
        let tick = TICKS.fetch_add(1, Relaxed) + 1;
        static WATCH: Mutex<bool> = Mutex::new(false);
        let mut is_watched = WATCH.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !std::mem::replace(&mut *is_watched, true) {
            thread::spawn(watch);
        }
        *NAME.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = name;
        debug_assert!(tick % 2 == 1);
        Self
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        TICKS.fetch_add(1, Relaxed);
    }
}

/// The reader at work.
static NAME: Mutex<&str> = Mutex::new("");

fn watch() {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = TICKS.load(Relaxed);
        if now != seen || now.is_multiple_of(2) {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > LONGEST {
            let name = *NAME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("{name}: the file {}/{name} hangs", env!("CARGO_TARGET_TMPDIR"));
            abort();
        }
    }
}

macro_rules! campaigns {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { campaign(stringify!($name)); })*
        #[test]
        fn every_reader_has_its_turn() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}
campaigns!(
    safetensors,
    gguf,
    npy,
    npz,
    graph,
    importance,
    plugin,
    llama2c,
    tokenizer,
    decoder,
    saved,
    recipe,
    template
);
