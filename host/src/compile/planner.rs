//! Places buffers that live for a while into one arena.

use crate::memory::ALIGNMENT;

/// A buffer that is needed from one step to another, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The offset of each buffer, each aligned, and the arena's size; none if that is more than memory can be.
///
/// Largest first, each at the lowest offset where it overlaps with no buffer that is placed and alive at the same time.
pub(super) fn plan(buffers: &[Buffer]) -> Option<(Vec<usize>, usize)> {
    let neighbours = neighbours(buffers);
    let mut order: Vec<usize> = (0..buffers.len()).filter(|buffer| buffers[*buffer].bytes > 0).collect();
    order.sort_by_key(|buffer| (std::cmp::Reverse(buffers[*buffer].bytes), buffers[*buffer].first));
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
    isize::try_from(arena).ok()?;
    Some((offsets, arena))
}

/// For each buffer, those that are alive at some time when it is.
fn neighbours(buffers: &[Buffer]) -> Vec<Vec<usize>> {
    let mut by_first: Vec<usize> = (0..buffers.len()).filter(|buffer| buffers[*buffer].bytes > 0).collect();
    by_first.sort_by_key(|buffer| buffers[*buffer].first);
    let mut neighbours = vec![Vec::new(); buffers.len()];
    let mut alive: Vec<usize> = Vec::new();
    for buffer in by_first {
        alive.retain(|other| buffers[*other].last >= buffers[buffer].first);
        for other in &alive {
            neighbours[*other].push(buffer);
            neighbours[buffer].push(*other);
        }
        alive.push(buffer);
    }
    neighbours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(buffers: &[Buffer]) -> usize {
        let (offsets, arena) = plan(buffers).unwrap();
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
        assert!(plan(&[huge; 4]).is_none());
    }
}
