//! Damage at seeded places: each damaged file is refused as it is read, ends the probe's child alone, or loads whole.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use bitquilt::plugin::{End, PluginError, ProbeError};
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
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { refused, refused_in_child, crashed, hung, loaded } = self;
        write!(
            f,
            "{refused} refused as they are read, {refused_in_child} refused by a child that lived, {crashed} ended a child, \
             {hung} hung one, {loaded} loaded"
        )
    }
}

impl Counts {
    fn total(&self) -> usize {
        self.refused + self.refused_in_child + self.crashed + self.hung + self.loaded
    }
}

/// The fixture `second` while nothing is wrong with it.
struct Undamaged {
    host: Host,
    library: Library,
    gained: Vec<String>,
    answer: Vec<f32>,
}

/// What a file that loads is held to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// It registers and computes what the undamaged one does.
    Yes,
    /// Nothing: what damaged code does when it runs, no host can tell. None of its functions are called.
    No,
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

    /// Loads a damaged copy, and checks that the host is as it was.
    fn load(&self, what: &str, damaged: &Library, whole: Whole, counts: &mut Counts) {
        let (host, dir) = (&self.host, PluginDir::new());
        // The name of the undamaged file.
        dir.add("second", &damaged.bytes);
        let session = host.session_with(host.probe().cache(None), &[dir.path()]);
        let gained: Vec<String> = host.gained(what, &session).iter().map(|line| dir.scrub(line)).collect();
        match session.refusals().first().map(|refusal| &refusal.reason) {
            None => {
                counts.loaded += 1;
                if whole == Whole::Yes {
                    assert_eq!(gained, self.gained, "{what}: it loads, but is another");
                    assert_eq!(
                        qmatmul(&session, ENCODING).unwrap(),
                        self.answer,
                        "{what}: it computes, but other values"
                    );
                }
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

fn flip_bits(what: &str, places: fn(&Library) -> &[Range<usize>], count: usize, whole: Whole) {
    let (undamaged, mut random, mut counts) = (Undamaged::new(), Random::new(SEED), Counts::default());
    for _ in 0..count {
        let mut damaged = undamaged.library.clone();
        let (byte, bit) = (pick(&mut random, places(&damaged)), random.below(8));
        damaged.bytes[byte] ^= 1 << bit;
        undamaged.load(&format!("bit {bit} of byte {byte:#x}"), &damaged, whole, &mut counts);
    }
    assert_eq!(counts.total(), count);
    tell(&format!("{count} files with one bit flipped in {what}: {counts}"));
}

#[test]
fn flipped_bits_in_the_headers() {
    flip_bits("the headers", |library| &library.headers, scaled(200, 10), Whole::Yes);
}

#[test]
fn flipped_bits_in_what_the_linker_reads() {
    flip_bits("the linker's tables", |library| &library.tables, scaled(40, 50), Whole::No);
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
        undamaged.load(&format!("a hole at {begin:#x}"), &damaged, Whole::No, &mut counts);
    }
    assert_eq!(counts.total(), count);
    tell(&format!("{count} files with a hole of 64 bytes: {counts}"));
}
