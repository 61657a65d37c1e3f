//! The importance of one weight's columns.

/// Of each column of a weight the sum of the squares of what it was multiplied with, and how many rows were summed.
///
/// A weight of several matrices, `[experts, p, n]`, may have sums for each of them, and a count for each; or one count for all; or the sums
/// of one matrix for all.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnImportance {
    /// Of the first matrix, then of the next.
    squares: Vec<f64>,
    /// Each is that of as many sums.
    counts: Vec<f64>,
}

impl ColumnImportance {
    /// Sums and counts; an error says what is wrong with them.
    pub(super) fn new(squares: Vec<f64>, counts: Vec<f64>) -> Result<Self, String> {
        let is_number = |value: &f64| value.is_finite() && *value >= 0.0;
        let wrong = |value: f64, place: String| {
            format!("it has {value} {place}; finite numbers that are not negative were expected")
        };
        if let Some(index) = counts.iter().position(|count| !is_number(count)) {
            return Err(wrong(counts[index], format!("for count {index}")));
        }
        if squares.is_empty() || counts.is_empty() || !squares.len().is_multiple_of(counts.len()) {
            let (sums, counts) = (squares.len(), counts.len());
            return Err(format!(
                "it has {counts} counts for {sums} sums; each count is that of as many sums, one at least"
            ));
        }
        if let Some(index) = squares.iter().position(|sum| !is_number(sum)) {
            return Err(wrong(squares[index], format!("at column {index}")));
        }
        Ok(Self { squares, counts })
    }

    /// Sums over so many rows, all finite.
    pub(crate) fn recorded(squares: Vec<f64>, rows: u64) -> Self {
        Self { squares, counts: vec![rows as f64] }
    }

    /// The number of columns, of all matrices that have sums of their own.
    pub fn len(&self) -> usize {
        self.squares.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.squares.is_empty()
    }

    /// The sums of the squares.
    pub fn sums(&self) -> &[f64] {
        &self.squares
    }

    /// The rows that were summed: of all matrices, or of each.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The rows that were summed, of all matrices.
    pub fn rows(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// The mean squares: 0 where no row was summed, and the largest f32 where one is larger.
    pub fn means(&self) -> Vec<f32> {
        let of_count = self.squares.len() / self.counts.len();
        let mean = |(index, sum): (usize, &f64)| match self.counts[index / of_count] {
            0.0 => 0.0,
            count => (sum / count).min(f32::MAX.into()) as f32,
        };
        self.squares.iter().enumerate().map(mean).collect()
    }

    /// The largest mean square over the mean of all: how unequal columns are. None if all are 0.
    pub fn spread(&self) -> Option<f64> {
        let means = self.means();
        let mean = means.iter().map(|mean| f64::from(*mean)).sum::<f64>() / means.len() as f64;
        let greatest = means.iter().fold(0f32, |greatest, mean| greatest.max(*mean));
        (mean > 0.0).then(|| f64::from(greatest) / mean)
    }

    /// Makes means the sums that they are of.
    pub(super) fn multiply(&mut self) {
        let of_count = self.squares.len() / self.counts.len();
        for (sums, count) in self.squares.chunks_mut(of_count).zip(&self.counts) {
            sums.iter_mut().for_each(|sum| *sum *= count);
        }
    }

    /// Adds sums and counts; answers whether they are of the same columns, or else nothing was done.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        if self.squares.len() != other.squares.len() {
            return false;
        }
        let counts = self.counts.len().max(other.counts.len());
        if [self.counts.len(), other.counts.len()].iter().any(|len| *len != 1 && *len != counts) {
            return false;
        }
        self.counts.resize(counts, self.counts[0]);
        self.squares.iter_mut().zip(&other.squares).for_each(|(sum, more)| *sum += more);
        let more = other.counts.iter().cycle();
        self.counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        true
    }
}
