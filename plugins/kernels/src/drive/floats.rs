//! Products of weights that are floats, and activations that are floats.
//!
//! Weights and activations are sequences of elements, as [`Widen`] says. A result is the sum over slabs, in order, of the sum of two
//! sums: over the elements of the slab with even and with odd index, each in order and each product fused with its addition.

use std::array::from_fn;
use std::marker::PhantomData;

use super::strips::{load, prefetch, store};
use super::{MAX_TILE_COLUMNS, Part};
use crate::arch::{Body, DotIsa, MAX_LANES};
use crate::form::STRIP_LEN;
use crate::par::part;
use crate::widen::Widen;

/// Elements of a row in a slab: as many as leave room in the first-level cache for those that are asked for meanwhile. Sums of so
/// few lose little by rounding.
const SLAB_LEN: usize = 64;

/// The most tiles of columns in a task.
pub(crate) const MAX_TILES: usize = 64;

/// Bytes of the activations of a task's columns, at most. Their weights are more than theirs, and are read once a task.
pub(crate) const BAND_BYTES: usize = 4 << 20;

/// Row groups of a tile, at most.
const MAX_GROUPS: usize = 3;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Elements in a strip.
const fn strip_elements<E: Widen>() -> usize {
    STRIP_LEN / E::VALUES
}

/// Bytes of a strip of a row group.
const fn strip_bytes<E: Widen, I: DotIsa>() -> usize {
    strip_elements::<E>() * E::BYTES * I::LANES
}

/// Bytes of a strip of a column of activations.
const fn x_bytes<E: Widen>() -> usize {
    4 * strip_elements::<E>()
}

/// The sums over even and over odd elements, of `G` row groups and `W` columns.
type SumPairs<I, const G: usize, const W: usize> = [[[<I as DotIsa>::F32; W]; G]; 2];

/// Adds the products of the strips with which `values` begin, and of the record of `W` columns of activations with which `x` does.
#[inline(always)]
fn accumulate<I: DotIsa, E: Widen, const G: usize, const W: usize>(
    isa: I,
    sums: &mut SumPairs<I, G, W>,
    values: &[&[u8]; G],
    x: &[u8],
) {
    let x = &x[..W * x_bytes::<E>()];
    let [even, odd] = sums;
    for pair in 0..strip_elements::<E>() / 2 {
        let [of_even, of_odd] = elements::<I, E, G>(isa, values, pair);
        multiply_add::<I, E, G, W>(isa, even, of_even, x, 2 * pair);
        multiply_add::<I, E, G, W>(isa, odd, of_odd, x, 2 * pair + 1);
    }
}

/// Elements `2 * pair` and `2 * pair + 1` of strips, widened.
#[inline(always)]
fn elements<I: DotIsa, E: Widen, const G: usize>(
    isa: I,
    values: &[&[u8]; G],
    pair: usize,
) -> [[I::F32; G]; 2] {
    let mut weights = [[isa.splat_f32(0.0); G]; 2];
    for g in 0..G {
        let values = &values[g][..strip_bytes::<E, I>()];
        [weights[0][g], weights[1][g]] = E::load(isa, &values[2 * I::LANES * E::BYTES * pair..]);
    }
    weights
}

/// Adds the products of `weights`, element `k` of a strip, and of the record of `W` columns of activations with which `x` begins.
#[inline(always)]
fn multiply_add<I: DotIsa, E: Widen, const G: usize, const W: usize>(
    isa: I,
    sums: &mut [[I::F32; W]; G],
    weights: [I::F32; G],
    x: &[u8],
    k: usize,
) {
    for c in 0..W {
        let mut element = [0; 4];
        element.copy_from_slice(&x[4 * (strip_elements::<E>() * c + k)..][..4]);
        let x = isa.splat_f32(f32::from_ne_bytes(element));
        for g in 0..G {
            sums[g][c] = E::multiply_add(isa, weights[g], x, sums[g][c]);
        }
    }
}

/// The most tiles of columns that are streamed at a time: two where the sums of eight columns fit the registers.
pub(crate) const fn streamed_tiles<I: DotIsa>() -> usize {
    if I::LANES == MAX_LANES && I::COLUMNS == 4 { 2 } else { 1 }
}

/// One tile of columns, or two, times the rows of some groups, whose weights are loaded once.
pub(crate) struct Stream<'a, E>(pub(crate) Part<'a>, pub(crate) PhantomData<E>);

impl<E: Widen> Body for Stream<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let (product, tiles) = (self.0.product, self.0.tiles.clone());
        let width = |tile: usize| if tile < tiles.end { product.tile(tile).0.len() } else { 0 };
        match (width(tiles.start), width(tiles.start + 1)) {
            (1, 0) => self.columns::<I, 1, 0>(isa),
            (2, 0) => self.columns::<I, 2, 0>(isa),
            (3, 0) => self.columns::<I, 3, 0>(isa),
            (4, 0) => self.columns::<I, 4, 0>(isa),
            (5, 0) if I::COLUMNS >= 5 => self.columns::<I, 5, 0>(isa),
            (6, 0) if I::COLUMNS >= 6 => self.columns::<I, 6, 0>(isa),
            (2, 3) if const { streamed_tiles::<I>() == 2 } => self.columns::<I, 2, 3>(isa),
            (3, 3) if const { streamed_tiles::<I>() == 2 } => self.columns::<I, 3, 3>(isa),
            (3, 4) if const { streamed_tiles::<I>() == 2 } => self.columns::<I, 3, 4>(isa),
            (4, 4) if const { streamed_tiles::<I>() == 2 } => self.columns::<I, 4, 4>(isa),
            _ => unreachable!("a tile is at most as wide as the instruction set allows"),
        }
    }
}

impl<E: Widen> Stream<'_, E> {
    /// A tile of `A` columns, and the next one of `B`.
    #[inline(always)]
    fn columns<I: DotIsa, const A: usize, const B: usize>(mut self, isa: I) {
        let (product, tiles) = (self.0.product, self.0.tiles.clone());
        let (columns, first) = product.tile(tiles.start);
        let second = if B == 0 { &[] } else { product.tile(tiles.start + 1).1 };
        for group in self.0.groups.clone() {
            let (of_first, of_second) = Self::group::<I, A, B>(isa, product.group(group), first, second);
            for c in 0..A {
                self.0.write(isa, group, columns.start + c, of_first[c]);
            }
            for c in 0..B {
                self.0.write(isa, group, columns.start + A + c, of_second[c]);
            }
        }
    }

    /// The products of a row group and the columns of two tiles.
    #[inline(always)]
    fn group<I: DotIsa, const A: usize, const B: usize>(
        isa: I,
        weights: &[u8],
        mut first: &[u8],
        mut second: &[u8],
    ) -> ([I::F32; A], [I::F32; B]) {
        let zero = isa.splat_f32(0.0);
        let (mut sums, mut second_sums) = ([zero; A], [zero; B]);
        for slab in weights.chunks(SLAB_LEN / strip_elements::<E>() * strip_bytes::<E, I>()) {
            let mut of_slab: SumPairs<I, 1, A> = [[[zero; A]; 1]; 2];
            let mut second_of_slab: SumPairs<I, 1, B> = [[[zero; B]; 1]; 2];
            for values in slab.chunks_exact(strip_bytes::<E, I>()) {
                let (x, rest) = first.split_at(A * x_bytes::<E>());
                let (second_x, second_rest) = second.split_at(B * x_bytes::<E>());
                (first, second) = (rest, second_rest);
                for pair in 0..strip_elements::<E>() / 2 {
                    let bytes = 2 * E::BYTES * I::LANES;
                    prefetch(isa, &values[bytes * pair..][..bytes]);
                    let weights = elements::<I, E, 1>(isa, &[values], pair);
                    for odd in 0..2 {
                        let k = 2 * pair + odd;
                        multiply_add::<I, E, 1, A>(isa, &mut of_slab[odd], weights[odd], x, k);
                        multiply_add::<I, E, 1, B>(isa, &mut second_of_slab[odd], weights[odd], second_x, k);
                    }
                }
            }
            for c in 0..A {
                sums[c] = isa.add(sums[c], isa.add(of_slab[0][0][c], of_slab[1][0][c]));
            }
            for c in 0..B {
                second_sums[c] =
                    isa.add(second_sums[c], isa.add(second_of_slab[0][0][c], second_of_slab[1][0][c]));
            }
        }
        (sums, second_sums)
    }
}

/// Some tiles of columns times the rows of some groups.
pub(crate) struct Tiles<'a, E>(pub(crate) Part<'a>, pub(crate) PhantomData<E>);

/// The elements of a slab, widened: one of each row, then the next.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Slab([f32; SLAB_LEN * MAX_LANES]);

/// The sums of a task's columns.
#[repr(C, align(64))]
struct Sums([f32; MAX_TILES * MAX_TILE_COLUMNS * MAX_GROUPS * MAX_LANES]);

impl<E: Widen> Body for Tiles<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(mut self, isa: I) {
        assert!(self.0.tiles.len() <= MAX_TILES, "a part has at most as many tiles as `band_tiles` says");
        let mut slabs = [Slab([0.0; _]); MAX_GROUPS];
        let (mut group, end) = (self.0.groups.start, self.0.groups.end);
        while group < end {
            let count = I::GROUPS.min(end - group);
            match count {
                1 => self.rows::<I, 1>(isa, group, &mut slabs),
                2 if I::GROUPS >= 2 => self.rows::<I, 2>(isa, group, &mut slabs),
                _ if I::GROUPS >= 3 => self.rows::<I, 3>(isa, group, &mut slabs),
                _ => unreachable!("a tile has at most as many groups as the instruction set allows"),
            }
            group += count;
        }
    }
}

/// Asks for the cache lines `lines` from `at` on, which need not be a valid address.
#[inline(always)]
fn ask<I: DotIsa>(isa: I, at: *const u8, lines: std::ops::Range<usize>) {
    for line in lines {
        isa.prefetch(at.wrapping_add(LINE * line));
    }
}

impl<E: Widen> Tiles<'_, E> {
    /// The product's rows of groups `first .. first + G`.
    #[inline(always)]
    fn rows<I: DotIsa, const G: usize>(&mut self, isa: I, first: usize, slabs: &mut [Slab; MAX_GROUPS]) {
        let (product, tiles) = (self.0.product, self.0.tiles.clone());
        let mut sums = Sums([0.0; _]);
        let tile_sums = G * MAX_TILE_COLUMNS * I::LANES;
        let groups: [&[u8]; G] = from_fn(|g| product.group(first + g));
        let elements = product.n / E::VALUES;
        let mut start = 0;
        while start < elements {
            let len = SLAB_LEN.min(elements - start);
            let (element, mut next) = (E::BYTES * I::LANES, [groups[0].as_ptr(); G]);
            for g in 0..G {
                let of_slab = &groups[g][element * start..element * (start + len)];
                next[g] = of_slab.as_ptr_range().end;
                if !E::IS_WIDE {
                    let wide = slabs[g].0.chunks_exact_mut(2 * I::LANES);
                    for (wide, values) in wide.zip(of_slab.chunks_exact(2 * element)) {
                        let [even, odd] = E::load(isa, values);
                        isa.store_f32(wide, even);
                        isa.store_f32(&mut wide[I::LANES..], odd);
                    }
                }
            }
            let values: [&[u8]; G] = from_fn(|g| match E::IS_WIDE {
                true => &groups[g][element * start..element * (start + len)],
                false => bytemuck::cast_slice(&slabs[g].0),
            });
            // The next slab is asked for while this one is multiplied, a part with each tile.
            let lines = (element * SLAB_LEN).div_ceil(LINE);
            for (tile, sums) in tiles.clone().zip(sums.0.chunks_exact_mut(tile_sums)) {
                for next in next {
                    ask(isa, next, part(lines, tiles.len(), tile - tiles.start));
                }
                let (columns, x) = product.tile(tile);
                let x = &x[4 * columns.len() * start..];
                if tile + 1 < tiles.end {
                    let next = product.tile(tile + 1).1.as_ptr().wrapping_add(4 * columns.len() * start);
                    ask(isa, next, 0..(4 * columns.len() * len).div_ceil(LINE));
                }
                let strips = len / strip_elements::<E>();
                tile_of_width::<I, E::Wide, G>(isa, columns.len(), values, strips, x, sums);
            }
            start += len;
        }
        for (tile, sums) in tiles.zip(sums.0.chunks_exact(tile_sums)) {
            let (columns, _) = product.tile(tile);
            let mut sums = sums.chunks_exact(I::LANES);
            for g in 0..G {
                for (column, sum) in columns.clone().zip(&mut sums) {
                    self.0.write(isa, first + g, column, isa.load_f32(bytemuck::cast_slice(sum)));
                }
            }
        }
    }
}

/// Runs [`Tile`] for a width that is known when it runs, at most the instruction set's.
#[inline(always)]
fn tile_of_width<I: DotIsa, E: Widen, const G: usize>(
    isa: I,
    width: usize,
    values: [&[u8]; G],
    strips: usize,
    x: &[u8],
    sums: &mut [f32],
) {
    const { assert!(I::COLUMNS <= MAX_TILE_COLUMNS) };
    let encoding = PhantomData::<E>;
    match width {
        1 => isa.call(Tile::<E, G, 1> { values, strips, x, sums, encoding }),
        2 => isa.call(Tile::<E, G, 2> { values, strips, x, sums, encoding }),
        3 => isa.call(Tile::<E, G, 3> { values, strips, x, sums, encoding }),
        4 => isa.call(Tile::<E, G, 4> { values, strips, x, sums, encoding }),
        5 if I::COLUMNS >= 5 => isa.call(Tile::<E, G, 5> { values, strips, x, sums, encoding }),
        _ if I::COLUMNS >= 6 => isa.call(Tile::<E, G, 6> { values, strips, x, sums, encoding }),
        _ => unreachable!("a tile is at most as wide as the instruction set allows"),
    }
}

/// Adds to `sums` the products of a slab, `strips` strips of `G` row groups, and a tile of `W` columns.
///
/// `x` begins with the tile's record for the first strip, and `sums` with `G * W * LANES`.
struct Tile<'a, E, const G: usize, const W: usize> {
    values: [&'a [u8]; G],
    strips: usize,
    x: &'a [u8],
    sums: &'a mut [f32],
    encoding: PhantomData<E>,
}

impl<E: Widen, const G: usize, const W: usize> Body for Tile<'_, E, G, W> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let sums = &mut self.sums[..G * W * I::LANES];
        let mut of_slab: SumPairs<I, G, W> = [[[isa.splat_f32(0.0); W]; G]; 2];
        let (mut values, mut x) = (self.values, self.x);
        for _ in 0..self.strips {
            let mut strips = values;
            for g in 0..G {
                (strips[g], values[g]) = values[g].split_at(strip_bytes::<E, I>());
            }
            let (record, rest) = x.split_at(W * x_bytes::<E>());
            accumulate::<I, E, G, W>(isa, &mut of_slab, &strips, record);
            x = rest;
        }
        let mut registers = [[isa.splat_f32(0.0); W]; G];
        load(isa, sums, &mut registers);
        for g in 0..G {
            for c in 0..W {
                let added = isa.add(of_slab[0][g][c], of_slab[1][g][c]);
                registers[g][c] = isa.add(registers[g][c], added);
            }
        }
        store(isa, sums, &registers);
    }
}
