//! Places buffers that live for a while into one arena.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::memory::ALIGNMENT;

/// The most pairs of buffers that are alive together for which the largest buffers are placed first.
const MAX_PAIRS: usize = 4 << 20;

/// A buffer that is needed from one step to another, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The offset of each buffer, each aligned, and the arena's size; none if that is more than memory can be.
pub(super) fn plan(buffers: &[Buffer]) -> Option<(Vec<usize>, usize)> {
    let (offsets, arena) = match neighbours(buffers) {
        Some(neighbours) => by_size(buffers, &neighbours)?,
        None => by_time(buffers)?,
    };
    isize::try_from(arena).ok()?;
    Some((offsets, arena))
}

/// Largest first, each at the lowest offset where it overlaps with no buffer that is placed and alive at the same time.
fn by_size(buffers: &[Buffer], neighbours: &[Vec<usize>]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|buffer| buffers[*buffer].bytes > 0).collect();
    order.sort_by_key(|buffer| (Reverse(buffers[*buffer].bytes), buffers[*buffer].first));
    let mut offsets = vec![0; buffers.len()];
    let mut placed = vec![false; buffers.len()];
    let mut arena = 0usize;
    let mut taken = Vec::new();
    for buffer in order {
        taken.clear();
        let alive = neighbours[buffer].iter().filter(|other| placed[**other]);
        taken.extend(alive.map(|other| (offsets[*other], offsets[*other] + buffers[*other].bytes)));
        taken.sort_unstable();
        let mut offset = 0usize;
        for (begin, end) in &taken {
            if offset.checked_add(buffers[buffer].bytes)? <= *begin {
                break;
            }
            offset = offset.max(end.checked_next_multiple_of(ALIGNMENT)?);
        }
        offsets[buffer] = offset;
        placed[buffer] = true;
        arena = arena.max(offset.checked_add(buffers[buffer].bytes)?);
    }
    Some((offsets, arena))
}

/// In the order in which they are first needed, each in the smallest piece that is free then. Takes more memory than [`by_size`],
/// and no more time for buffers that are all alive together.
fn by_time(buffers: &[Buffer]) -> Option<(Vec<usize>, usize)> {
    let mut offsets = vec![0; buffers.len()];
    let mut arena = Pieces::default();
    // The end of each buffer that is alive, where it is, and its bytes.
    let mut ends: BinaryHeap<Reverse<(usize, usize, usize)>> = BinaryHeap::new();
    for buffer in in_time(buffers) {
        let Buffer { bytes, first, last } = buffers[buffer];
        while let Some(Reverse((_, offset, bytes))) = ends.peek().filter(|Reverse((end, ..))| *end < first) {
            arena.give(*offset, *bytes);
            ends.pop();
        }
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT)?;
        offsets[buffer] = arena.take(bytes)?;
        ends.push(Reverse((last, offsets[buffer], bytes)));
    }
    Some((offsets, arena.end))
}

/// The free pieces of an arena that grows at its end.
#[derive(Default)]
struct Pieces {
    bytes_at: BTreeMap<usize, usize>,
    /// Bytes and offset of each.
    by_size: BTreeSet<(usize, usize)>,
    end: usize,
}

impl Pieces {
    fn take(&mut self, bytes: usize) -> Option<usize> {
        if let Some((found, offset)) = self.by_size.range((bytes, 0)..).next().copied() {
            self.remove(offset, found);
            if found > bytes {
                self.insert(offset + bytes, found - bytes);
            }
            return Some(offset);
        }
        let last = self.bytes_at.last_key_value().map(|(offset, bytes)| (*offset, *bytes));
        let offset = match last.filter(|(offset, bytes)| offset + bytes == self.end) {
            Some((offset, bytes)) => {
                self.remove(offset, bytes);
                offset
            }
            None => self.end,
        };
        self.end = offset.checked_add(bytes)?;
        Some(offset)
    }

    fn give(&mut self, offset: usize, bytes: usize) {
        let (mut begin, mut end) = (offset, offset + bytes);
        let before = self.bytes_at.range(..begin).next_back().map(|(offset, bytes)| (*offset, *bytes));
        if let Some((offset, bytes)) = before.filter(|(offset, bytes)| offset + bytes == begin) {
            self.remove(offset, bytes);
            begin = offset;
        }
        if let Some(bytes) = self.bytes_at.get(&end).copied() {
            self.remove(end, bytes);
            end += bytes;
        }
        self.insert(begin, end - begin);
    }

    fn insert(&mut self, offset: usize, bytes: usize) {
        self.bytes_at.insert(offset, bytes);
        self.by_size.insert((bytes, offset));
    }

    fn remove(&mut self, offset: usize, bytes: usize) {
        self.bytes_at.remove(&offset);
        self.by_size.remove(&(bytes, offset));
    }
}

/// The buffers that have bytes, in the order in which they are first needed.
fn in_time(buffers: &[Buffer]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|buffer| buffers[*buffer].bytes > 0).collect();
    order.sort_by_key(|buffer| buffers[*buffer].first);
    order
}

/// For each buffer, those that are alive at some time when it is; none if that is more than [`MAX_PAIRS`].
fn neighbours(buffers: &[Buffer]) -> Option<Vec<Vec<usize>>> {
    let mut pairs = 0;
    let mut neighbours = vec![Vec::new(); buffers.len()];
    let mut alive: Vec<usize> = Vec::new();
    for buffer in in_time(buffers) {
        alive.retain(|other| buffers[*other].last >= buffers[buffer].first);
        pairs += alive.len();
        if pairs > MAX_PAIRS {
            return None;
        }
        for other in &alive {
            neighbours[*other].push(buffer);
            neighbours[buffer].push(*other);
        }
        alive.push(buffer);
    }
    Some(neighbours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(buffers: &[Buffer]) -> usize {
        check_plan(buffers, by_time(buffers).unwrap());
        check_plan(buffers, plan(buffers).unwrap())
    }

    fn check_plan(buffers: &[Buffer], (offsets, arena): (Vec<usize>, usize)) -> usize {
        for (a, left) in buffers.iter().enumerate() {
            assert!(offsets[a].is_multiple_of(ALIGNMENT) && offsets[a] + left.bytes <= arena);
            for (b, right) in buffers.iter().enumerate().skip(a + 1) {
                let together = left.first <= right.last && right.first <= left.last;
                let apart = offsets[a] + left.bytes <= offsets[b] || offsets[b] + right.bytes <= offsets[a];
                assert!(!together || apart || left.bytes == 0 || right.bytes == 0, "{left:?} {right:?}");
            }
        }
        arena
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Buffer> =
            (0..1000).map(|step| Buffer { bytes: 640, first: step, last: step + 1 }).collect();
        assert_eq!(check(&chain), 1280);
        assert_eq!(by_time(&chain).unwrap().1, 1280);
    }

    #[test]
    fn buffers_that_are_all_alive_together_take_no_quadratic_time() {
        const COUNT: usize = 200_000;
        let buffers: Vec<Buffer> =
            (0..COUNT).map(|first| Buffer { bytes: 1 + first % 64, first, last: COUNT }).collect();
        assert!(neighbours(&buffers).is_none());
        assert_eq!(plan(&buffers).unwrap().1, COUNT * ALIGNMENT);
    }

    #[test]
    fn buffers_alive_together_do_not_overlap() {
        let mut seed = 1u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for _ in 0..50 {
            let buffers: Vec<Buffer> = (0..60)
                .map(|_| {
                    let first = next(40);
                    Buffer { bytes: next(1000), first, last: first + next(8) }
                })
                .collect();
            check(&buffers);
        }
    }

    #[test]
    fn what_no_memory_can_hold_is_refused() {
        let huge = Buffer { bytes: 1 << 62, first: 0, last: 0 };
        assert!(plan(&[huge; 4]).is_none() && by_time(&[huge; 4]).is_none());
    }
}
