//! Which group a column is of, where columns may be in any order.

use crate::layout::{LEAST_BLOCK, block_len};
use crate::problem::Problem;
use crate::weight::{blocks_of, gcd};

/// The groups of the columns of a weight.
pub(crate) struct Groups {
    by: By,
    /// For each column that is written that of the source, where they are in another order: by group, and within one as they were.
    pub(crate) permutation: Option<Vec<usize>>,
    /// The length of blocks of which each is of one group.
    pub(crate) block_len: usize,
}

enum By {
    Place(usize),
    Index(Vec<usize>),
}

impl Groups {
    /// Groups of as many columns one after another.
    pub(crate) fn of_equal(group: usize, columns: usize) -> Result<Self, Problem> {
        Ok(Self { by: By::Place(group), permutation: None, block_len: blocks_of(group, columns)? })
    }

    /// Groups by an index for each column, of which `count` are there.
    pub(crate) fn of_index(index: &[i64], count: usize) -> Result<Self, Problem> {
        let group = |(position, found): (usize, &i64)| {
            let group = usize::try_from(*found).ok().filter(|group| *group < count);
            group.ok_or(Problem::Index { position, found: *found, last: count.saturating_sub(1) })
        };
        let groups: Vec<usize> = index.iter().enumerate().map(group).collect::<Result<_, _>>()?;
        let mut counts = vec![0; count];
        groups.iter().for_each(|group| counts[*group] += 1);
        let run = counts.iter().copied().fold(0, gcd);
        let least = LEAST_BLOCK;
        let block_len = block_len(run).ok_or(Problem::Groups { group: run, columns: groups.len(), least })?;
        let permutation = (!groups.is_sorted()).then(|| {
            let mut columns: Vec<usize> = (0..groups.len()).collect();
            columns.sort_by_key(|column| groups[*column]);
            columns
        });
        Ok(Self { by: By::Index(groups), permutation, block_len })
    }

    /// The group of a column of the source.
    pub(crate) fn of(&self, column: usize) -> usize {
        match &self.by {
            By::Place(group) => column / group,
            By::Index(groups) => groups[column],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_sorted_by_group() {
        let index: Vec<i64> = (0..32).map(|column| column % 2).collect();
        let groups = Groups::of_index(&index, 2).unwrap();
        let permutation = groups.permutation.as_ref().unwrap();
        assert_eq!((&permutation[..3], permutation[16], groups.block_len), (&[0, 2, 4][..], 1, 16));
        assert_eq!((groups.of(0), groups.of(1)), (0, 1));
        let sorted: Vec<i64> = (0..32).map(|column| column / 16).collect();
        assert!(Groups::of_index(&sorted, 2).unwrap().permutation.is_none());
        let few = Groups::of_index(&[0, 0, 1], 2).err().unwrap();
        assert_eq!(few, Problem::Groups { group: 1, columns: 3, least: 8 });
        let beyond = Groups::of_index(&[0, 2], 2).err().unwrap();
        assert_eq!(beyond, Problem::Index { position: 1, found: 2, last: 1 });
    }
}
