//! Changes to well-formed bytes that a reader may take for well-formed still.

use std::ops::Range;

use bitquilt_tests::random::Random;

/// The longest input that is made.
const LONGEST: usize = 1 << 20;
/// Where headers are: half of all changes are made here.
const HEAD: usize = 1024;
/// The most changes of an input.
const CHANGES: usize = 6;

/// Numbers at which sizes and counts go wrong.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    31,
    32,
    33,
    255,
    256,
    65535,
    65536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];
/// What JSON and text is made of.
const TOKENS: [&str; 24] = [
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "99999999999999999999",
    "\"\"",
    "\"n\"",
    "\"a+b\"",
    "\"-1\"",
    "\"NaN\"",
    "\"inf\"",
    "\"_\"",
    "null",
    "true",
    "{}",
    "[]",
    "[[]]",
    "{\"input\":0}",
    "{\"node\":[0,0]}",
    "{\"ints\":[9223372036854775807]}",
    "{\"float\":\"NaN\"}",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{fffd}\"",
];

/// One of `corpus`, changed in a few places; the same for the same numbers.
///
/// # Panics
/// If the corpus is empty.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(CHANGES) {
        match header(&bytes).filter(|_| random.below(2) == 0) {
            // A header that says its length is changed as text, and says its new length.
            Some(range) => {
                let mut text = bytes[range.clone()].to_vec();
                change_text(random, &mut text);
                bytes.splice(range, text.iter().copied());
                bytes[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
            }
            None => change(random, &mut bytes, corpus),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// Where the JSON of a safetensors file is.
fn header(bytes: &[u8]) -> Option<Range<usize>> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    (*bytes.get(8)? == b'{' && length <= bytes.len() - 8).then(|| 8..8 + length)
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = place(random, bytes.len());
    match random.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = NUMBERS[random.below(NUMBERS.len())] as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(piece(random, at, bytes.len()))),
        4 => {
            let other = &corpus[random.below(corpus.len())];
            let begin = place(random, other.len());
            let inserted = other[piece(random, begin, other.len())].to_vec();
            bytes.splice(at..at, inserted);
        }
        5 => {
            let copied = bytes[piece(random, at, bytes.len())].to_vec();
            for _ in 0..1 + random.below(8) {
                bytes.splice(at..at, copied.iter().copied());
            }
        }
        6 => add(random, &mut bytes[at..]),
        7 => change_text(random, bytes),
        _ => {
            let width = [1, 2, 4, 8][random.below(4)];
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
        }
    }
}

/// Adds a little to a number of 1, 2, 4 or 8 bytes, or takes it away.
fn add(random: &mut Random, bytes: &mut [u8]) {
    let width = [1, 2, 4, 8][random.below(4)].min(bytes.len());
    let mut number = [0; 8];
    number[..width].copy_from_slice(&bytes[..width]);
    let step = random.below(65) as u64;
    let number = u64::from_le_bytes(number).wrapping_add(step).wrapping_sub(32).to_le_bytes();
    bytes[..width].copy_from_slice(&number[..width]);
}

/// Puts one token of a text, a number, a string or a list, in the place of another, doubles it, or takes it out.
fn change_text(random: &mut Random, text: &mut Vec<u8>) {
    let (from, to) = (token(random, text), token(random, text));
    match random.below(4) {
        0 => {
            let copied = text[from].to_vec();
            text.splice(to, copied);
        }
        1 => drop(text.drain(to)),
        2 => {
            let copied = text[to.clone()].to_vec();
            text.splice(to.end..to.end, copied);
        }
        _ => {
            let new = TOKENS[random.below(TOKENS.len())].as_bytes();
            text.splice(to, new.iter().copied());
        }
    }
}

/// A string, a number, or a list or object with all that is in it.
fn token(random: &mut Random, text: &[u8]) -> Range<usize> {
    let mut begin = place(random, text.len());
    while begin > 0 && !b"{}[],: \n=".contains(&text[begin - 1]) {
        begin -= 1;
    }
    let mut depth = 0usize;
    let mut end = begin;
    while end < text.len() {
        match text[end] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return begin..end + 1;
                }
            }
            b',' | b':' | b'}' | b']' | b'\n' if depth == 0 => break,
            _ => {}
        }
        end += 1;
    }
    begin..end
}

/// A position in `0..=length`, but 0 in nothing; below `length` where there is something.
fn place(random: &mut Random, length: usize) -> usize {
    let end = if random.below(2) == 0 { length.min(HEAD) } else { length };
    random.below(end.max(1))
}

/// A piece from `at`, mostly a short one.
fn piece(random: &mut Random, at: usize, length: usize) -> Range<usize> {
    let most = if random.below(4) == 0 { 4096 } else { 24 };
    at..length.min(at + 1 + random.below(most)).max(at)
}
