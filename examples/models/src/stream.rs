//! Text as it comes, in pieces that may end inside a character.

use std::io::{self, Write};

/// Writes bytes of UTF-8 when their characters are whole. What can be no character becomes `U+FFFD`.
pub struct TextStream<W> {
    out: W,
    pending: Vec<u8>,
    /// A space at the beginning is the tokenizer's, and left out.
    skip_space: bool,
}

impl<W: Write> TextStream<W> {
    /// A stream into `out`; `skip_space` leaves out one space at its beginning.
    pub fn new(out: W, skip_space: bool) -> Self {
        Self { out, pending: Vec::with_capacity(256), skip_space }
    }

    /// Takes more bytes, and writes all characters that are whole.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.skip_space && !bytes.is_empty() {
            self.skip_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.pending.extend_from_slice(bytes);
        let mut written = 0;
        for chunk in self.pending.utf8_chunks() {
            self.out.write_all(chunk.valid().as_bytes())?;
            written += chunk.valid().len();
            // The last bytes may be the beginning of a character.
            let unfinished = written + chunk.invalid().len() == self.pending.len()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if !chunk.invalid().is_empty() && !unfinished {
                self.out.write_all("\u{FFFD}".as_bytes())?;
                written += chunk.invalid().len();
            }
        }
        self.pending.drain(..written);
        self.out.flush()
    }

    /// Writes what is left, and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.pending.is_empty() {
            self.out.write_all("\u{FFFD}".as_bytes())?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_written_whole() {
        let text = " a\u{e9}\u{20ac}\u{1f600}z";
        for size in 1..=text.len() {
            let mut stream = TextStream::new(Vec::new(), false);
            for piece in text.as_bytes().chunks(size) {
                stream.push(piece).unwrap();
                assert!(std::str::from_utf8(&stream.out).is_ok());
            }
            assert_eq!(stream.finish().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        for (bytes, text) in [
            (&b"a\xffb"[..], "a\u{FFFD}b"),
            (b"\xe2\x82", "\u{FFFD}"),
            (b"\xe2\x82A\xc3", "\u{FFFD}A\u{FFFD}"),
            (b"  x", " x"),
        ] {
            let mut stream = TextStream::new(Vec::new(), true);
            bytes.chunks(1).for_each(|piece| stream.push(piece).unwrap());
            assert_eq!(String::from_utf8(stream.finish().unwrap()).unwrap(), text);
        }
    }
}
