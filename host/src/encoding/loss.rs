//! What encoding did to rows, by decoding them again: every encoding's results are looked at, whoever wrote it.

use bitquilt_plugin_api::{Encoding, EncodingSpec, Result, Rows};
use bitquilt_simd::Isa;

use super::warning::{Indices, RowLoss};
use bitquilt_simd::{AnySimd, Body, LANES, Simd};

/// Values that are encoded and decoded at a time, where rows and blocks are not longer: they stay in the nearest cache.
pub(super) const PIECE: usize = 4096;

/// What a look at rows works in.
#[derive(Default)]
pub(super) struct Look {
    sums: Vec<Sums>,
    decoded: Vec<f32>,
}

impl Look {
    /// Begins with rows that are to be encoded: whether all values are finite, and so small that their squares are.
    pub(super) fn begin(&mut self, rows: Rows<'_>) -> bool {
        let simd = AnySimd::of(Isa::detect());
        self.sums.clear();
        self.sums.extend(
            rows.values()
                .chunks(rows.row_len())
                .map(|values| Sums { norm: simd.run(Squares(values)).into(), ..Sums::default() }),
        );
        self.sums.iter().all(|sums| sums.norm.is_finite())
    }

    /// Whether all rows that a look has begun with are fine, as an encoding's error bound proves.
    ///
    /// With blocks of `b` values whose errors are at most `f max(m, l)`, the squared errors of a row of `n` values are at most
    /// `b f^2 |x|^2 + n f^2 l^2`, since a block's `m^2` is at most the sum of its squares. Where that is under a quarter of `|x|^2`, the
    /// decoded norm is over a half and under one and a half times `|x|`. No magnitude is larger than `|x|`.
    pub(super) fn are_proven(&self, spec: &EncodingSpec, row_len: usize) -> bool {
        // Less than a quarter, whatever rounding did to the sums.
        const PART: f64 = 0.24;
        let Some(bound) = spec.error_bound else { return false };
        let squares = f64::from(bound.fraction).powi(2);
        let left = PART - spec.block_len as f64 * squares;
        let fixed = row_len as f64 * squares * f64::from(bound.least).powi(2);
        let greatest = 0.99 * f64::from(bound.greatest).powi(2);
        self.sums.iter().all(|Sums { norm, .. }| {
            left > 0.0 && SAFE.contains(norm) && fixed <= left * norm && *norm <= greatest
        })
    }
}

/// The rows of a tensor that are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LostRows {
    /// Which, if there are any.
    pub(super) rows: Option<Indices>,
    /// The one with the largest error.
    pub(super) worst: RowLoss,
}

impl LostRows {
    fn add(&mut self, loss: RowLoss) {
        self.append(Self { rows: Some(Indices::one(loss.row)), worst: loss });
    }

    /// Adds the rows of a later part.
    fn append(&mut self, later: Self) {
        let Some(rows) = later.rows else { return };
        if self.rows.is_none() || later.worst.relative_error() > self.worst.relative_error() {
            self.worst = later.worst;
        }
        self.rows = Some(Indices::join(self.rows, rows));
    }
}

/// A value whose block does not decode to finite values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NotDecodable {
    pub(super) row: usize,
    /// Of the largest magnitude in the block.
    pub(super) column: usize,
    pub(super) value: f32,
    /// The first value of the block that is not finite.
    pub(super) decoded: f32,
}

/// How far decoded values are off, summed over values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SquaredError {
    /// The squares of the differences.
    pub error: f64,
    /// The squares of the values.
    pub norm: f64,
}

impl SquaredError {
    /// The root mean square of the differences, as a part of that of the values; 0 if there are no differences.
    pub fn relative_rms(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { (self.error / self.norm).sqrt() }
    }
}

impl std::ops::AddAssign for SquaredError {
    fn add_assign(&mut self, other: Self) {
        self.error += other.error;
        self.norm += other.norm;
    }
}

/// What rows of a tensor have lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Loss {
    /// Those of which little is left.
    pub(super) rows: LostRows,
    /// Of all that were looked at.
    pub(super) squared: SquaredError,
}

impl Loss {
    /// Adds what the rows of a later part have lost.
    pub(super) fn append(&mut self, later: Self) {
        self.rows.append(later.rows);
        self.squared += later.squared;
    }
}

/// What was found in rows.
pub(super) enum Verdict {
    /// All decode to finite values.
    Finite(Loss),
    /// The first value whose block does not.
    NotDecodable(NotDecodable),
}

/// Rows of finite values, and the blocks that they were encoded as.
pub(super) struct Encoded<'a> {
    pub(super) encoding: Encoding<'a>,
    pub(super) row_len: usize,
    /// The first row's index.
    pub(super) first_row: usize,
    pub(super) values: &'a [f32],
    pub(super) blocks: &'a [u8],
}

impl Encoded<'_> {
    /// Decodes the rows and compares them with what they were. The look has begun with them.
    pub(super) fn inspect(&self, look: &mut Look) -> Result<Verdict> {
        let Look { sums, decoded } = look;
        self.sum(sums, decoded)?;
        let mut found = Loss::default();
        for (index, sums) in sums.iter().enumerate() {
            if sums.are_surely_fine() {
                found.squared += SquaredError { error: sums.error, norm: sums.norm };
                continue;
            }
            let (values, blocks) = self.row(index);
            decoded.resize(self.row_len, 0.0);
            self.encoding.dequantize(blocks, decoded)?;
            let row = self.first_row + index;
            if let Some((column, value, decoded)) =
                first_not_decodable(values, decoded, self.encoding.block_len())
            {
                return Ok(Verdict::NotDecodable(NotDecodable { row, column, value, decoded }));
            }
            let loss = loss(row, values, decoded);
            found.squared += SquaredError { error: loss.error.powi(2), norm: loss.norm.powi(2) };
            if is_lost(&loss) {
                found.rows.add(loss);
            }
        }
        Ok(Verdict::Finite(found))
    }

    /// The sums of each row.
    fn sum(&self, sums: &mut [Sums], decoded: &mut Vec<f32>) -> Result<()> {
        let (block_len, block_bytes, row_len) =
            (self.encoding.block_len(), self.encoding.block_bytes(), self.row_len);
        // A piece is whole rows, or a part of one.
        let (span, piece) = match PIECE / row_len {
            0 => (row_len, (PIECE / block_len).max(1) * block_len),
            rows => (rows * row_len, rows * row_len),
        };
        decoded.resize(piece, 0.0);
        let simd = AnySimd::of(Isa::detect());
        let mut first = 0;
        let mut blocks = self.blocks;
        for values in self.values.chunks(span).flat_map(|span| span.chunks(piece)) {
            let (these, rest) = blocks.split_at(values.len() / block_len * block_bytes);
            let decoded = &mut decoded[..values.len()];
            self.encoding.dequantize(these, decoded)?;
            let rows = values.chunks(row_len).zip(decoded.chunks(row_len));
            for ((values, decoded), sums) in rows.zip(&mut sums[first / row_len..]) {
                let [decoded_norm, error] = simd.run(Differences { values, decoded });
                sums.decoded_norm += f64::from(decoded_norm);
                sums.error += f64::from(error);
            }
            first += values.len();
            blocks = rest;
        }
        Ok(())
    }

    fn row(&self, index: usize) -> (&[f32], &[u8]) {
        let row_bytes = self.row_len / self.encoding.block_len() * self.encoding.block_bytes();
        (&self.values[index * self.row_len..][..self.row_len], &self.blocks[index * row_bytes..][..row_bytes])
    }
}

/// The sums of squares of a row, of what it decodes to and of the difference, taken in f32.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    norm: f64,
    decoded_norm: f64,
    error: f64,
}

/// The sums that rounding did not spoil: less, and squares may have been too small for f32; more, and one may have been too large.
const SAFE: std::ops::Range<f64> = 1e-25..1e37;

impl Sums {
    /// Whether the row decodes to finite values and is not lost, whatever rounding did to the sums. So the answer of a closer look does
    /// not depend on the instruction set.
    fn are_surely_fine(&self) -> bool {
        SAFE.contains(&self.norm)
            && self.error <= 0.98 * self.norm
            && (0.26 * self.norm..3.9 * self.norm).contains(&self.decoded_norm)
    }
}

/// Sums of each kind, so that none waits for itself.
const SUMS: usize = 4;
/// Values of as many registers.
const STEP: usize = SUMS * LANES;

/// The sum of the squares of values.
struct Squares<'a>(&'a [f32]);

impl Body for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); SUMS];
        let (whole, rest) = self.0.as_chunks::<STEP>();
        for values in whole {
            for (sum, values) in sums.iter_mut().zip(values.as_chunks::<LANES>().0) {
                *sum = add_square(simd, *sum, simd.load(values));
            }
        }
        for values in rest.chunks(LANES) {
            sums[0] = add_square(simd, sums[0], simd.load_some(values));
        }
        total(simd, sums)
    }
}

/// Sums of squares: of what values decode to, and of the difference.
struct Differences<'a> {
    values: &'a [f32],
    decoded: &'a [f32],
}

impl Body for Differences<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; 2] {
        let (mut norms, mut errors) = ([simd.splat(0.0); SUMS], [simd.splat(0.0); SUMS]);
        let (whole, rest) = self.values.as_chunks::<STEP>();
        let (whole_decoded, rest_decoded) = self.decoded.as_chunks::<STEP>();
        for (values, decoded) in whole.iter().zip(whole_decoded) {
            let lanes = values.as_chunks::<LANES>().0.iter().zip(decoded.as_chunks::<LANES>().0);
            for (i, (values, decoded)) in lanes.enumerate() {
                let (x, y) = (simd.load(values), simd.load(decoded));
                norms[i] = add_square(simd, norms[i], y);
                errors[i] = add_square(simd, errors[i], simd.sub(x, y));
            }
        }
        for (values, decoded) in rest.chunks(LANES).zip(rest_decoded.chunks(LANES)) {
            let (x, y) = (simd.load_some(values), simd.load_some(decoded));
            norms[0] = add_square(simd, norms[0], y);
            errors[0] = add_square(simd, errors[0], simd.sub(x, y));
        }
        [total(simd, norms), total(simd, errors)]
    }
}

#[inline(always)]
fn add_square<S: Simd>(simd: S, sum: S::F, x: S::F) -> S::F {
    simd.fma(x, x, sum)
}

#[inline(always)]
fn total<S: Simd>(simd: S, [a, b, c, d]: [S::F; SUMS]) -> f32 {
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}

/// Of the first block that does not decode to finite values: the column and value of the largest magnitude, and what is not finite.
fn first_not_decodable(values: &[f32], decoded: &[f32], block_len: usize) -> Option<(usize, f32, f32)> {
    let (at, value) = super::values::first_not_finite(decoded)?;
    let first = at / block_len * block_len;
    let block = &values[first..][..block_len];
    let largest = (0..block_len)
        .fold(0, |largest, index| if block[index].abs() > block[largest].abs() { index } else { largest });
    Some((first + largest, block[largest], value))
}

/// The norms of a row, which no square overflows.
fn loss(row: usize, values: &[f32], decoded: &[f32]) -> RowLoss {
    let norm = |of: fn(f64, f64) -> f64| {
        let squares = values.iter().zip(decoded).map(|(x, y)| of(f64::from(*x), f64::from(*y)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    RowLoss { row, norm: norm(|x, _| x), decoded_norm: norm(|_, y| y), error: norm(|x, y| x - y) }
}

/// Whether a row is not what it was: the error exceeds it, or its norm is halved or doubled.
fn is_lost(loss: &RowLoss) -> bool {
    let RowLoss { norm, decoded_norm, error, .. } = *loss;
    error > norm || decoded_norm < 0.5 * norm || decoded_norm > 2.0 * norm
}
