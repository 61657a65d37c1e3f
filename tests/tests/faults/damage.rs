//! Damage at seeded places: each damaged file is refused as it is read, ends the probe's child alone, or loads; counted.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::process::Command;

use bitquilt::plugin::{End, PluginError, ProbeError, inspect};
use bitquilt_tests::elf::Library;
use bitquilt_tests::host::{Host, qmatmul};
use bitquilt_tests::random::Random;
use bitquilt_tests::{PluginDir, scaled};

use super::{host, tell};

const SEED: u64 = 0x00b1_7f11;
/// The fixture's.
const ENCODING: &str = "second.half";

/// What became of damaged files.
#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    refused_in_child: usize,
    crashed: usize,
    hung: usize,
    loaded: usize,
    ended_host: usize,
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { refused, refused_in_child, crashed, hung, loaded, ended_host } = self;
        write!(
            f,
            "{refused} refused as they are read, {refused_in_child} refused by a child that lived, {crashed} ended a child, \
             {hung} hung one, {loaded} loaded, {ended_host} ended a host that its child had let load it"
        )
    }
}

impl Counts {
    fn total(&self) -> usize {
        self.refused + self.refused_in_child + self.crashed + self.hung + self.loaded + self.ended_host
    }
}

/// The fixture `second` while nothing is wrong with it.
struct Undamaged {
    host: Host,
    library: Library,
    gained: Vec<String>,
    answer: Vec<f32>,
}

impl Undamaged {
    fn new() -> Self {
        let (host, dir) = (host(), PluginDir::new());
        dir.add_fixture("second");
        let session = host.session(&[dir.path()]);
        let gained = host.gained("undamaged", &session).iter().map(|line| dir.scrub(line)).collect();
        let answer = qmatmul(&session, ENCODING).unwrap();
        drop(session);
        Self { host, library: Library::fixture("second"), gained, answer }
    }

    /// Loads a damaged copy, and checks that the host is as it was; what loads must be what the undamaged one is.
    fn load(&self, what: &str, damaged: &Library, counts: &mut Counts) {
        let (host, dir) = (&self.host, PluginDir::new());
        // The name of the undamaged file.
        dir.add("second", &damaged.bytes);
        let session = host.session_with(host.probe().cache(None), &[dir.path()]);
        let gained: Vec<String> = host.gained(what, &session).iter().map(|line| dir.scrub(line)).collect();
        match session.refusals().first().map(|refusal| &refusal.reason) {
            None => {
                counts.loaded += 1;
                assert_eq!(gained, self.gained, "{what}: it loads, but is another");
                assert_eq!(
                    qmatmul(&session, ENCODING).unwrap(),
                    self.answer,
                    "{what}: it computes other values"
                );
                return;
            }
            Some(PluginError::Probe(ProbeError::Ended { end: End::TimedOut(_), .. })) => counts.hung += 1,
            Some(PluginError::Probe(ProbeError::Ended { .. })) => counts.crashed += 1,
            Some(PluginError::Probe(ProbeError::Refused { .. })) => counts.refused_in_child += 1,
            Some(PluginError::File(_)) => counts.refused += 1,
            Some(other) => panic!("{what}: the child let it pass, the host refused it: {other}"),
        }
        assert_eq!(gained, [""; 0], "{what}: it was refused");
    }

    /// Loads a damaged copy whose code may be what is damaged, in a host that is a process of its own: code that runs in a child
    /// may still end the host, and none of its functions are called.
    fn load_elsewhere(&self, what: &str, damaged: &Library, counts: &mut Counts) {
        let dir = PluginDir::new();
        let file = dir.add("second", &damaged.bytes);
        if inspect(&file).is_ok_and(|report| report.refusal.is_some()) {
            counts.refused += 1;
            return;
        }
        let output = Command::new(self.host.program()).arg("--probed").arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = said.lines().collect();
        match &lines[..] {
            [refusal, "it answers"] if refusal.contains("still running") => counts.hung += 1,
            [refusal, "it answers"] if refusal.contains("a child process that loaded it") => {
                counts.crashed += 1
            }
            [_, "it answers"] => counts.refused_in_child += 1,
            ["it answers"] => counts.loaded += 1,
            _ => {
                counts.ended_host += 1;
                tell(&format!("{what}: its child let it pass, and the host {}", output.status));
            }
        }
        self.host.assert_unharmed(what, &self.host.session(&[]));
    }
}

/// A byte of `places`, all bytes alike.
fn pick(random: &mut Random, places: &[Range<usize>]) -> usize {
    let mut index = random.below(places.iter().map(ExactSizeIterator::len).sum());
    for place in places {
        if index < place.len() {
            return place.start + index;
        }
        index -= place.len();
    }
    unreachable!("the index is below the sum of all lengths")
}

#[test]
fn flipped_bits_in_the_headers() {
    let (undamaged, mut random, mut counts) = (Undamaged::new(), Random::new(SEED), Counts::default());
    let count = scaled(200, 10);
    for _ in 0..count {
        let mut damaged = undamaged.library.clone();
        let (byte, bit) = (pick(&mut random, &damaged.headers), random.below(8));
        damaged.bytes[byte] ^= 1 << bit;
        undamaged.load(&format!("bit {bit} of byte {byte:#x}"), &damaged, &mut counts);
    }
    assert_eq!((counts.total(), counts.ended_host), (count, 0));
    tell(&format!("{count} files with one bit flipped in the headers: {counts}"));
}

#[test]
fn flipped_bits_in_what_the_linker_reads() {
    let (undamaged, mut random, mut counts) = (Undamaged::new(), Random::new(SEED), Counts::default());
    let count = scaled(40, 50);
    for _ in 0..count {
        let mut damaged = undamaged.library.clone();
        let (byte, bit) = (pick(&mut random, &damaged.tables), random.below(8));
        damaged.bytes[byte] ^= 1 << bit;
        undamaged.load_elsewhere(&format!("bit {bit} of byte {byte:#x}"), &damaged, &mut counts);
    }
    assert_eq!(counts.total(), count);
    assert!(counts.ended_host <= count / 20, "{counts}");
    tell(&format!("{count} files with one bit flipped in the linker's tables: {counts}"));
}

/// Half of the holes are where the linker reads, the others anywhere.
#[test]
fn holes_of_64_bytes() {
    let (undamaged, mut random, mut counts) = (Undamaged::new(), Random::new(SEED), Counts::default());
    let linked = [&undamaged.library.headers[..], &undamaged.library.tables[..]].concat();
    let count = scaled(40, 20);
    for index in 0..count {
        let mut damaged = undamaged.library.clone();
        let begin = match index % 2 {
            0 => pick(&mut random, &linked),
            _ => random.below(damaged.bytes.len()),
        };
        let end = (begin + 64).min(damaged.bytes.len());
        damaged.bytes[begin..end].fill(0);
        undamaged.load_elsewhere(&format!("a hole at {begin:#x}"), &damaged, &mut counts);
    }
    assert_eq!(counts.total(), count);
    assert!(counts.ended_host <= count / 20, "{counts}");
    tell(&format!("{count} files with a hole of 64 bytes: {counts}"));
}
