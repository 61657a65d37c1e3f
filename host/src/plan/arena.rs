//! The arena: buffers are asked for, then placed all together.

use super::error::RunError;
use super::planner::{Buffer, plan};
use super::program::Program;

/// A piece of the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// A buffer that was asked for: its number.
#[derive(Clone, Copy)]
pub(super) struct Ticket(usize);

/// The buffers that are asked for.
#[derive(Default)]
pub(super) struct Asked(Vec<Buffer>);

impl Asked {
    /// Asks for a buffer that is used from one step to another, both included.
    pub(super) fn add(&mut self, bytes: usize, first: usize, last: usize) -> Ticket {
        self.0.push(Buffer { bytes, first, last });
        Ticket(self.0.len() - 1)
    }

    /// Places all buffers.
    pub(super) fn place(self, program: &Program) -> Result<Arena, RunError> {
        let buffers = self.0;
        let largest = buffers.iter().map(|buffer| (buffer.bytes, buffer.first)).max();
        let Some((offsets, bytes)) = plan(&buffers) else {
            let total = buffers.iter().map(|buffer| buffer.bytes as u128).sum();
            return Err(program.arena_refused(largest, total));
        };
        let pieces =
            buffers.iter().zip(offsets).map(|(buffer, offset)| Piece { offset, bytes: buffer.bytes });
        Ok(Arena { pieces: pieces.collect(), bytes, largest })
    }
}

/// Where each buffer is.
pub(super) struct Arena {
    pieces: Vec<Piece>,
    pub(super) bytes: usize,
    /// The bytes of the largest buffer, and the step that needs it first; none in an empty arena.
    pub(super) largest: Option<(usize, usize)>,
}

impl Arena {
    pub(super) fn piece(&self, ticket: Ticket) -> Piece {
        self.pieces[ticket.0]
    }
}
