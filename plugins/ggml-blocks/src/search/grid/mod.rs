//! Grids: the few points of a small cube of levels that a format can store, and the search for the best of them.
//!
//! A format that uses a grid splits its values into groups of `D`. A group's levels are one of the grid's points, and
//! what is stored is the point's number. There are two cubes: 3 levels in 8 dimensions, and 8 levels in 4. A point is
//! written as its *code*, its levels side by side from the low bits up: 2 bits a level in 8 dimensions, 3 bits in 4.
//!
//! Values are rounded to the cube first. Where they meet no point of the grid, the nearest in the cube are tried, with
//! the error that the values and their weights give each: these neighbours are tabulated when the grid is first used.

mod blocks;
mod fit;
pub(crate) mod points;
mod signs;
mod ternary;

use std::sync::LazyLock;

use crate::lanes::Lanes;

pub(crate) use blocks::{LEN, blocks, half_of, pack_even, pack_halves, scaled, unpack_even, weights};
pub(crate) use fit::{Ladder, Recipe, Refit, Start, SubBlock, levels_of_scales, quantize};
pub(crate) use points::{values_4, values_8};
pub(crate) use signs::{Signs, even_signs, signed};
pub(crate) use ternary::{Choices, Shifts, Sums, TernarySubBlock};

/// The grid of `iq2_xxs`.
pub(crate) static IQ2_XXS: LazyLock<Grid<8>> = LazyLock::new(|| Grid::new(&points::IQ2_XXS, 2));
/// The grid of `iq2_xs`.
pub(crate) static IQ2_XS: LazyLock<Grid<8>> = LazyLock::new(|| Grid::new(&points::IQ2_XS, 2));
/// The grid of `iq2_s`.
pub(crate) static IQ2_S: LazyLock<Grid<8>> = LazyLock::new(|| Grid::new(&points::IQ2_S, 1));
/// The grid of `iq1_s` and `iq1_m`.
pub(crate) static IQ1: LazyLock<Grid<8>> = LazyLock::new(|| Grid::new(&points::IQ1, 3));
/// The grid of `iq3_xxs`.
pub(crate) static IQ3_XXS: LazyLock<Grid<4>> = LazyLock::new(|| Grid::new(&points::IQ3_XXS, 2));
/// The grid of `iq3_s`.
pub(crate) static IQ3_S: LazyLock<Grid<4>> = LazyLock::new(|| Grid::new(&points::IQ3_S, 3));

/// The points of the grid of `iq1_s` and `iq1_m`, for decoding, in eighths.
pub(crate) static IQ1_EIGHTHS: [[i8; 8]; 2048] = values_8(&points::IQ1, [-8, 0, 8]);

/// The points of a grid and, for each other point of the cube, its neighbours.
pub(crate) struct Grid<const D: usize> {
    /// By code.
    cells: Vec<Cell>,
    /// Codes of points: lists that each start at a multiple of [`PAD`] and are filled up to one.
    neighbours: Vec<u16>,
}

/// What is known of a point of the cube.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cell {
    /// The number of the point in the grid or, where it has neighbours, the place of their list in units of [`PAD`].
    at: u16,
    /// Number of neighbours; 0 for a point of the grid.
    neighbours: u16,
}

/// Neighbours are read in chunks of this many or of a divisor of it.
const PAD: usize = 16;

impl<const D: usize> Grid<D> {
    /// Levels of a dimension.
    pub(crate) const LEVELS: u16 = if D == 8 { 3 } else { 8 };
    /// Bits of a level in a code.
    pub(crate) const BITS: u32 = if D == 8 { 2 } else { 3 };

    /// The grid of these points, each with its code, and with neighbours for every other point of the cube: all grid
    /// points at the `shells` smallest distances that occur, by distance and then by number.
    fn new(points: &[u16], shells: usize) -> Self {
        let levels = |code: u16| -> [u8; D] {
            std::array::from_fn(|i| (code >> (Self::BITS * i as u32)) as u8 & ((1 << Self::BITS) - 1))
        };
        // By dimension and level: the squared difference to each point.
        let squares = |i: usize, level: u8| -> Vec<u8> {
            points.iter().map(|&code| levels(code)[i].abs_diff(level).pow(2)).collect()
        };
        let squares: [Vec<Vec<u8>>; D] =
            std::array::from_fn(|i| (0..Self::LEVELS as u8).map(|level| squares(i, level)).collect());

        let mut cells = vec![Cell::default(); 1 << (Self::BITS * D as u32)];
        let mut neighbours = Vec::new();
        let mut distances = vec![0u8; points.len()];
        let in_cube = |&code: &u16| levels(code).iter().all(|&level| u16::from(level) < Self::LEVELS);
        for code in (0..cells.len()).map(|code| code as u16).filter(in_cube) {
            distances.fill(0);
            for (squares, level) in squares.iter().zip(levels(code)) {
                for (distance, square) in distances.iter_mut().zip(&squares[usize::from(level)]) {
                    *distance += square;
                }
            }
            if let Some(at) = distances.iter().position(|&distance| distance == 0) {
                cells[usize::from(code)] = Cell { at: at as u16, neighbours: 0 };
                continue;
            }
            let mut occurs = [false; 256];
            for &distance in &distances {
                occurs[usize::from(distance)] = true;
            }
            let furthest =
                (0..=u8::MAX).filter(|&distance| occurs[usize::from(distance)]).take(shells).last();
            let near = |&(_, &distance): &(_, &u8)| Some(distance) <= furthest;
            let mut list: Vec<_> = points.iter().zip(&distances).filter(near).collect();
            list.sort_by_key(|&(_, distance)| distance);

            let (start, len) = (neighbours.len(), list.len());
            neighbours.extend(list.iter().map(|&(&code, _)| code));
            // A filler repeats a neighbour before it, in its own lane where there is one: so it is never chosen.
            for filler in len..len.next_multiple_of(PAD) {
                let lane = if filler >= PAD { PAD } else { (PAD / 2).min(filler) };
                neighbours.push(neighbours[start + filler - lane]);
            }
            cells[usize::from(code)] = Cell { at: (start / PAD) as u16, neighbours: len as u16 };
        }
        Self { cells, neighbours }
    }

    /// The number of a point by its code, or `None` for a point of the cube that is not in the grid.
    #[inline(always)]
    pub(crate) fn number(&self, code: u16) -> Option<u16> {
        let cell = self.cells[usize::from(code)];
        (cell.neighbours == 0).then_some(cell.at)
    }

    /// The neighbours of a code; `None` for a point of the grid.
    #[inline(always)]
    pub(crate) fn neighbours(&self, code: u16) -> Option<Neighbours<'_>> {
        let cell = self.cells[usize::from(code)];
        let len = usize::from(cell.neighbours);
        (len > 0).then(|| Neighbours { len, points: &self.neighbours[usize::from(cell.at) * PAD..] })
    }
}

/// The neighbours of a code.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours<'a> {
    len: usize,
    /// Starts with the neighbours, filled up to a multiple of [`PAD`].
    points: &'a [u16],
}

impl Neighbours<'_> {
    /// The code of the neighbour at which a group of values has the least error, the first of equals.
    ///
    /// `levels` has what each level stands for. The error is the weighted sum of the squared differences, from the first
    /// dimension to the last.
    #[inline(always)]
    pub(crate) fn nearest<V: Lanes, const D: usize>(
        self,
        levels: V::Table,
        x: &[f32; D],
        weights: &[f32; D],
    ) -> u16 {
        // No closures: what they do would not be inlined into the function that has the instructions for it.
        let mut errors = [levels; D];
        for i in 0..D {
            let difference = levels - V::table(&[x[i]; 8]);
            errors[i] = V::table(&[weights[i]; 8]) * difference * difference;
        }

        let points = &self.points[..self.len.next_multiple_of(V::COUNT)];
        let mut least = V::splat(f32::MAX);
        let mut least_at = V::splat_code(0);
        for (chunk, at) in points.chunks_exact(V::COUNT).zip((0..).step_by(V::COUNT)) {
            let codes = V::load_short_codes(chunk);
            let mut error = V::entries(errors[0], codes);
            for (&errors, i) in errors[1..].iter().zip(1..) {
                error = error + V::entries(errors, V::from_level(codes, Grid::<D>::BITS * i));
            }
            let less = error.lt(least);
            least = V::select(less, error, least);
            if points.len() == V::COUNT {
                return points[least_lanes(least).trailing_zeros() as usize];
            }
            least_at = V::select_codes(less, V::splat_code(at), least_at);
        }
        points[first_least(least, least_at) as usize]
    }
}

/// A bit for each lane, set where no other lane is less. No lane is NaN.
#[inline(always)]
fn least_lanes<V: Lanes>(errors: V) -> u32 {
    !V::bits(V::splat(errors.least()).lt(errors)) & (u32::MAX >> (32 - V::COUNT))
}

/// The first place with the least error, where each lane's place is `at + lane`. No lane is NaN.
#[inline(always)]
fn first_least<V: Lanes>(errors: V, at: V::Codes) -> u32 {
    let mut places = [0; PAD];
    V::store_codes(at, &mut places);
    let mut lanes = least_lanes(errors);
    let mut first = u32::MAX;
    while lanes != 0 {
        let lane = lanes.trailing_zeros();
        first = first.min(places[lane as usize % PAD] + lane);
        lanes &= lanes - 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const D: usize>(grid: &Grid<D>, points: &[u16]) {
        for (number, &code) in points.iter().enumerate() {
            assert_eq!(grid.number(code), Some(number as u16));
        }
        assert!(grid.neighbours.len() / PAD <= usize::from(u16::MAX), "a list's place fits its field");
        assert_eq!(grid.neighbours.len() % PAD, 0);
        for cell in grid.cells.iter().filter(|cell| cell.neighbours > 0) {
            let list = &grid.neighbours[usize::from(cell.at) * PAD..][..usize::from(cell.neighbours)];
            assert!(list.iter().all(|&code| grid.number(code).is_some()));
        }
    }

    #[test]
    fn points_have_their_numbers_and_neighbours_are_points() {
        check(&IQ2_XXS, &points::IQ2_XXS);
        check(&IQ2_XS, &points::IQ2_XS);
        check(&IQ2_S, &points::IQ2_S);
        check(&IQ1, &points::IQ1);
        check(&IQ3_XXS, &points::IQ3_XXS);
        check(&IQ3_S, &points::IQ3_S);
    }
}
