//! What the steps of a run look up, as cache lines.

/// Bytes of a cache line; where lines are longer, some are named twice.
const LINE: usize = 64;

/// The addresses of the cache lines that each step looks up before its kernel runs: records of the program and of the layout, and the
/// kernel.
///
/// The weights of a large model evict them from the caches between two runs of a step, and a record holds the address of the next one:
/// a step whose lines were not prefetched waits for memory several times, one after the other.
#[derive(Default)]
pub(crate) struct Lookups {
    lines: Vec<usize>,
    /// Where those of each step end.
    ends: Vec<usize>,
}

impl Lookups {
    /// Adds the next step: `look_up` names what it looks up.
    pub(super) fn add_step(&mut self, look_up: impl FnOnce(&mut Lines)) {
        let mut lines = Lines(Vec::new());
        look_up(&mut lines);
        lines.0.sort_unstable();
        lines.0.dedup();
        self.lines.append(&mut lines.0);
        self.ends.push(self.lines.len());
    }

    /// Those of a step; none if there is no such step.
    pub(super) fn lines(&self, step: usize) -> &[usize] {
        let Some(end) = self.ends.get(step) else { return &[] };
        let begin = step.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.lines[begin..*end]
    }
}

/// The cache lines of a step.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Adds those of a slice.
    pub(super) fn add<T>(&mut self, values: &[T]) {
        if size_of_val(values) == 0 {
            return;
        }
        let range = values.as_ptr_range();
        self.0.extend((line_of(range.start.addr())..range.end.addr()).step_by(LINE));
    }

    /// Adds the one of an address.
    pub(super) fn add_address(&mut self, address: *const u8) {
        self.0.push(line_of(address.addr()));
    }
}

fn line_of(address: usize) -> usize {
    address / LINE * LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_step_is_named_once() {
        let memory = [[0u8; LINE]; 5];
        let bytes = memory.as_flattened();
        let first = line_of(bytes.as_ptr().addr() + LINE - 1);
        let bytes = &bytes[first - bytes.as_ptr().addr()..];
        let mut lookups = Lookups::default();
        lookups.add_step(|lines| {
            lines.add(&bytes[2 * LINE - 1..2 * LINE + 1]);
            lines.add(&bytes[..LINE]);
            lines.add(&bytes[7 * LINE / 2..7 * LINE / 2]);
            lines.add_address(&bytes[LINE + 3]);
        });
        lookups.add_step(|_| {});
        lookups.add_step(|lines| lines.add(&bytes[..LINE + 1]));
        assert_eq!(lookups.lines(0), [first, first + LINE, first + 2 * LINE]);
        assert_eq!(lookups.lines(1), [0; 0]);
        assert_eq!(lookups.lines(2), [first, first + LINE]);
        assert_eq!(lookups.lines(3), [0; 0]);
    }
}
