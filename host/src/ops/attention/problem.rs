//! What is computed: shapes, which keys a query sees, and tasks.

use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::{Error, Result, Scalar};

use crate::ops::positions::Positions;
use crate::ops::walk::Walk;
use bitquilt_simd::{LANES, Simd, prefetch, touch};

/// Rows of a task, a query's heads counted each; one query's rows may be more.
const TASK_ROWS: usize = 64;

/// The shapes, in numbers.
#[derive(Clone, Copy)]
pub(super) struct Dims {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) n: usize,
    pub(super) m: usize,
}

impl Dims {
    /// Of the shapes of `q`, `k` and `v`, which inference has found to fit.
    pub(super) fn of(q: &[usize], k: &[usize], v: &[usize]) -> Self {
        let from_end =
            |shape: &[usize], place: usize| shape.iter().rev().nth(place).copied().unwrap_or_default();
        Self {
            batch: q[..q.len().saturating_sub(3)].iter().product(),
            seq: from_end(q, 2),
            keys: from_end(k, 2),
            heads: from_end(q, 1),
            kv_heads: from_end(k, 1),
            n: from_end(q, 0),
            m: from_end(v, 0),
        }
    }

    /// Heads of queries for each head of keys.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Queries of a task.
    pub(super) fn queries(&self) -> usize {
        (TASK_ROWS / self.group().max(1)).clamp(1, self.seq.max(1))
    }

    /// The tasks: some queries each, with the heads that share a head of keys.
    pub(super) fn tasks(&self) -> usize {
        self.batch * self.kv_heads * self.seq.div_ceil(self.queries())
    }
}

/// Which keys the queries see: the first so many.
#[derive(Clone, Copy)]
pub(super) enum Visible<'a> {
    /// All of them.
    All,
    /// Query `i` sees `i` more than the first does.
    From(usize),
    /// As many as its position says, which is below the number of keys.
    To(Positions<'a>),
}

impl<'a> Visible<'a> {
    /// The last query sees all keys.
    pub(super) fn to_last(dims: &Dims) -> Result<Self> {
        let (seq, keys) = (dims.seq, dims.keys);
        let before = keys.checked_sub(seq).ok_or_else(|| {
            Error::invalid(format_args!(
                "there are {seq} queries and {keys} keys; expected a key for each query, or `positions` for them"
            ))
        })?;
        Ok(Self::From(before + 1))
    }

    /// A query sees the keys up to its position, itself included.
    pub(super) fn to_positions(positions: Positions<'a>, dims: &Dims) -> Result<Self> {
        for row in 0..dims.batch * dims.seq {
            let position = positions.at(row, dims.seq);
            if usize::try_from(position).is_ok_and(|position| position < dims.keys) {
                continue;
            }
            return Err(Error::invalid(format_args!(
                "query {row} is at position {position}; expected 0 or more, and less than the {} keys",
                dims.keys
            )));
        }
        Ok(Self::To(positions))
    }

    /// The keys that query `query` of a sequence sees.
    fn count(&self, dims: &Dims, batch: usize, query: usize) -> usize {
        match self {
            Self::All => dims.keys,
            Self::From(first) => first + query,
            // The position was found to be below the number of keys.
            Self::To(positions) => positions.at(batch * dims.seq + query, dims.seq) as usize + 1,
        }
    }
}

/// A mask that broadcasts to `[batch, heads, seq, keys]`.
pub(super) enum Mask<'a> {
    /// f32, added to the products.
    Added { walk: Walk<1>, one_for_all: bool, values: &'a [f32] },
    /// Bytes of bools: whether a key is seen.
    Seen { walk: Walk<1>, one_for_all: bool, values: &'a [u8] },
}

/// The tensors.
pub(super) struct Problem<'a, K> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [K],
    pub(super) v: &'a [K],
    pub(super) mask: Option<Mask<'a>>,
    pub(super) visible: Visible<'a>,
    pub(super) dims: Dims,
    pub(super) scale: f32,
}

/// Some queries of a sequence, and a head of keys.
#[derive(Clone, Copy)]
pub(super) struct Task {
    pub(super) batch: usize,
    pub(super) kv_head: usize,
    pub(super) query: usize,
    pub(super) queries: usize,
    fetches: Fetches,
}

/// Which keys and values a task fetches ahead of their use.
#[derive(Clone, Copy)]
enum Fetches {
    /// Those of its head.
    Own,
    /// Those of all heads, which lie side by side.
    All,
    /// None: a task before it has.
    Nothing,
}

impl<K: Element> Problem<'_, K> {
    /// The task of an index. Those of the first queries come first; they run from the last one on, by so many workers.
    pub(super) fn task(&self, index: usize, workers: usize) -> Task {
        let Dims { batch, kv_heads, seq, .. } = self.dims;
        let query = index / (batch * kv_heads) * self.dims.queries();
        let kv_head = index % kv_heads;
        let fetches = match workers {
            1 if kv_head + 1 == kv_heads => Fetches::All,
            1 => Fetches::Nothing,
            _ => Fetches::Own,
        };
        let queries = self.dims.queries().min(seq - query);
        Task { batch: index / kv_heads % batch, kv_head, query, queries, fetches }
    }

    /// Fetches keys `start .. end`, ahead of their use, if that is for this task to do.
    #[inline(always)]
    pub(super) fn fetch_keys(&self, task: &Task, start: usize, end: usize) {
        self.fetch(self.k, self.dims.n, task, start, end);
    }

    /// Fetches the values of keys `start .. end`, ahead of their use, if that is for this task to do.
    #[inline(always)]
    pub(super) fn fetch_values(&self, task: &Task, start: usize, end: usize) {
        self.fetch(self.v, self.dims.m, task, start, end);
    }

    #[inline(always)]
    fn fetch(&self, rows: &[K], len: usize, task: &Task, start: usize, end: usize) {
        let Dims { keys, kv_heads, .. } = self.dims;
        let (first, count) = ((task.batch * keys + start) * kv_heads, (end - start) * kv_heads);
        let rows = &rows[first * len..][..count * len];
        match task.fetches {
            Fetches::All => touch(rows),
            Fetches::Own => rows.chunks_exact(kv_heads * len.max(1)).for_each(|heads| {
                prefetch(&heads[task.kv_head * len..][..len]);
            }),
            Fetches::Nothing => {}
        }
    }

    /// The keys that a row of a task sees. A row is a query and one of its heads, the heads of a query in a row.
    pub(super) fn visible(&self, task: &Task, row: usize) -> usize {
        self.visible.count(&self.dims, task.batch, task.query + row / self.dims.group())
    }

    /// The most keys that a query sees.
    pub(super) fn most_visible(&self) -> usize {
        let (batches, seq) = match self.visible {
            Visible::All => return self.dims.keys,
            Visible::From(first) => return first + self.dims.seq - 1,
            Visible::To(_) => (self.dims.batch, self.dims.seq),
        };
        let rows = (0..batches).flat_map(|batch| (0..seq).map(move |query| (batch, query)));
        rows.map(|(batch, query)| self.visible.count(&self.dims, batch, query)).max().unwrap_or_default()
    }

    /// A row's place among those of all queries and heads.
    pub(super) fn place(&self, task: &Task, row: usize) -> usize {
        let Dims { seq, heads, .. } = self.dims;
        let group = self.dims.group();
        ((task.batch * seq) + task.query + row / group) * heads + task.kv_head * group + row % group
    }

    /// The row of `k` and of `v` that key `index` of a task has.
    #[inline(always)]
    pub(super) fn kv_row(&self, task: &Task, index: usize) -> usize {
        (task.batch * self.dims.keys + index) * self.dims.kv_heads + task.kv_head
    }

    /// Key `index` of a task.
    #[inline(always)]
    pub(super) fn key(&self, task: &Task, index: usize) -> &[K] {
        &self.k[self.kv_row(task, index) * self.dims.n..][..self.dims.n]
    }

    /// The value of key `index` of a task.
    #[inline(always)]
    pub(super) fn value(&self, task: &Task, index: usize) -> &[K] {
        &self.v[self.kv_row(task, index) * self.dims.m..][..self.dims.m]
    }

    /// Adds the mask of keys `start ..` to a row's products with them.
    pub(super) fn add_mask(&self, task: &Task, row: usize, start: usize, scores: &mut [f32]) {
        let Some(mask) = &self.mask else { return };
        let Dims { seq, heads, keys, .. } = self.dims;
        let group = self.dims.group();
        let (head, query) = (task.kv_head * group + row % group, task.query + row / group);
        let index = ((task.batch * heads + head) * seq + query) * keys + start;
        match mask {
            Mask::Added { walk, one_for_all, values } => {
                let [offset] = walk.offsets(index);
                let stride = usize::from(!one_for_all);
                scores
                    .iter_mut()
                    .enumerate()
                    .for_each(|(key, score)| *score += values[offset + key * stride]);
            }
            Mask::Seen { walk, one_for_all, values } => {
                let [offset] = walk.offsets(index);
                let stride = usize::from(!one_for_all);
                for (key, score) in scores.iter_mut().enumerate() {
                    if values[offset + key * stride] == 0 {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// What keys and values are stored as.
pub(super) trait Element: Scalar {
    /// Sixteen of them, as f32.
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F;
    /// Whether they are f32.
    const F32: bool;
}

impl Element for f32 {
    const F32: bool = true;
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load(from)
    }
}

impl Element for f16 {
    const F32: bool = false;
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load_f16(from)
    }
}
