//! Products of weights that are floats, and activations that are floats.
//!
//! Weights and activations are sequences of elements, as [`Widen`] says. A result is the sum over slabs, in order, of the sum of two
//! sums: over the elements of the slab with even and with odd index, each in order and each product fused with its addition.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use super::{MAX_TILE_COLUMNS, Product, strips::prefetch};
use crate::par::part;
use crate::{
    arch::{Body, DotIsa, MAX_LANES},
    form::STRIP_LEN,
    widen::Widen,
};

/// Elements of a row in a slab: as many as leave room in the first-level cache for those that are asked for meanwhile. Sums of so
/// few lose little by rounding.
const SLAB_LEN: usize = 64;

/// The most tiles of columns in a task.
pub(crate) const MAX_TILES: usize = 64;

/// Bytes of the activations of a task's columns, at most. Their weights are more than theirs, and are read once a task.
pub(crate) const BAND_BYTES: usize = 4 << 20;

/// Row groups of a tile, at most.
const MAX_GROUPS: usize = 3;

/// Elements in a strip.
const fn strip_elements<E: Widen>() -> usize {
    STRIP_LEN / E::VALUES
}

/// The sums over even and over odd elements, of `G` row groups and `W` columns.
type SumPairs<I, const G: usize, const W: usize> = [[[<I as DotIsa>::F32; W]; G]; 2];

/// Adds the products of a strip, `values + LANES * size * k` being the address of element `k` of every row, and of a record of
/// activations.
///
/// # Safety
/// As for the methods of [`DotIsa`]; each of `values` is at a strip, and `x` at a record of a tile of `W` columns.
#[inline(always)]
unsafe fn accumulate<I: DotIsa, E: Widen, const G: usize, const W: usize>(
    sums: &mut SumPairs<I, G, W>,
    values: [*const u8; G],
    x: *const u8,
) {
    let [even, odd] = sums;
    for pair in 0..strip_elements::<E>() / 2 {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            accumulate_element::<I, E, G, W>(even, values, x, 2 * pair);
            accumulate_element::<I, E, G, W>(odd, values, x, 2 * pair + 1);
        }
    }
}

/// Adds the products of element `k` of a strip.
///
/// # Safety
/// As for [`accumulate`]; `k` is below [`strip_elements`].
#[inline(always)]
unsafe fn accumulate_element<I: DotIsa, E: Widen, const G: usize, const W: usize>(
    sums: &mut [[I::F32; W]; G],
    values: [*const u8; G],
    x: *const u8,
    k: usize,
) {
    // SAFETY: the caller vouches for the strips and the record.
    unsafe {
        let mut weights = [I::zero(); G];
        for g in 0..G {
            weights[g] = E::load::<I>(values[g].add(I::LANES * E::BYTES * k));
        }
        for c in 0..W {
            let x = I::broadcast(x.add(4 * (strip_elements::<E>() * c + k)));
            for g in 0..G {
                sums[g][c] = E::multiply_add::<I>(weights[g], x, sums[g][c]);
            }
        }
    }
}

/// The first tile of columns times the rows of some groups.
pub(crate) struct Stream<E> {
    product: Product,
    groups: Range<usize>,
    encoding: PhantomData<E>,
}

impl<E> Stream<E> {
    pub(crate) fn new(product: Product, groups: Range<usize>, tiles: Range<usize>) -> Self {
        debug_assert_eq!(tiles, 0..1);
        Self { product, groups, encoding: PhantomData }
    }
}

impl<E: Widen> Body for Stream<E> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            match self.product.m {
                1 => self.columns::<I, 1>(),
                2 => self.columns::<I, 2>(),
                3 => self.columns::<I, 3>(),
                4 => self.columns::<I, 4>(),
                5 if I::COLUMNS >= 5 => self.columns::<I, 5>(),
                _ if I::COLUMNS >= 6 => self.columns::<I, 6>(),
                _ => unreachable!("a tile is at most as wide as the instruction set allows"),
            }
        }
    }
}

impl<E: Widen> Stream<E> {
    #[inline(always)]
    unsafe fn columns<I: DotIsa, const W: usize>(self) {
        let elements = strip_elements::<E>();
        let strip_bytes = elements * E::BYTES * I::LANES;
        // SAFETY: the product's weight has `n` values of each row of a group, its activations as many of each
        // column, and this task alone writes the rows of its groups.
        unsafe {
            for group in self.groups {
                let mut sums = [I::zero(); W];
                let values = self.product.group(group);
                let strips = self.product.n / STRIP_LEN;
                let mut start = 0;
                while start < strips {
                    let end = strips.min(start + SLAB_LEN / elements);
                    let mut of_slab = [[[I::zero(); W]; 1]; 2];
                    for strip in start..end {
                        let values = values.add(strip_bytes * strip);
                        prefetch::<I>(values, strip_bytes);
                        let x = self.product.activations.add(4 * elements * W * strip);
                        accumulate::<I, E, 1, W>(&mut of_slab, [values], x);
                    }
                    for c in 0..W {
                        sums[c] = I::add(sums[c], I::add(of_slab[0][0][c], of_slab[1][0][c]));
                    }
                    start = end;
                }
                for c in 0..W {
                    self.product.write::<I>(group, c, sums[c]);
                }
            }
        }
    }
}

/// Some tiles of columns times the rows of some groups.
pub(crate) struct Tiles<E> {
    product: Product,
    groups: Range<usize>,
    tiles: Range<usize>,
    encoding: PhantomData<E>,
}

impl<E> Tiles<E> {
    pub(crate) fn new(product: Product, groups: Range<usize>, tiles: Range<usize>) -> Self {
        debug_assert!(tiles.len() <= MAX_TILES);
        Self { product, groups, tiles, encoding: PhantomData }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// The elements of a slab, widened: one of each row, then the next.
#[repr(C, align(64))]
struct Slab([MaybeUninit<f32>; SLAB_LEN * MAX_LANES]);

/// The sums of a task's columns.
#[repr(C, align(64))]
struct Sums([f32; MAX_TILES * MAX_TILE_COLUMNS * MAX_GROUPS * MAX_LANES]);

impl<E: Widen> Body for Tiles<E> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mut slabs =
                [const { Slab([const { MaybeUninit::uninit() }; SLAB_LEN * MAX_LANES]) }; MAX_GROUPS];
            let mut group = self.groups.start;
            while group < self.groups.end {
                let count = I::GROUPS.min(self.groups.end - group);
                match count {
                    1 => self.rows::<I, 1>(group, &mut slabs),
                    2 if I::GROUPS >= 2 => self.rows::<I, 2>(group, &mut slabs),
                    _ if I::GROUPS >= 3 => self.rows::<I, 3>(group, &mut slabs),
                    _ => unreachable!("a tile has at most as many groups as the instruction set allows"),
                }
                group += count;
            }
        }
    }
}

impl<E: Widen> Tiles<E> {
    /// The product's rows of groups `first .. first + G`.
    ///
    /// # Safety
    /// As for [`Body::run`]; the product has those groups.
    #[inline(always)]
    unsafe fn rows<I: DotIsa, const G: usize>(&self, first: usize, slabs: &mut [Slab; MAX_GROUPS]) {
        let product = &self.product;
        let mut sums = Sums([0.0; _]);
        let tile_sums = G * MAX_TILE_COLUMNS * I::LANES;
        // SAFETY: the product's weight has `n` values of each row of a group, its activations as many of each column;
        // `sums` has room for the tiles of a task, and each slab for a slab.
        unsafe {
            let elements = product.n / E::VALUES;
            let mut start = 0;
            while start < elements {
                let len = SLAB_LEN.min(elements - start);
                let mut values = [product.weight; G];
                let mut next = values;
                for (g, slab) in slabs.iter_mut().enumerate().take(G) {
                    let at = product.group(first + g).add(E::BYTES * I::LANES * start);
                    next[g] = at.wrapping_add(E::BYTES * I::LANES * len);
                    values[g] = if E::IS_WIDE { at } else { slab.0.as_ptr().cast() };
                    if !E::IS_WIDE {
                        let slab = slab.0.as_mut_ptr().cast::<f32>();
                        for k in 0..len {
                            let value = E::load::<I>(at.add(E::BYTES * I::LANES * k));
                            I::store_f32(slab.add(I::LANES * k), value);
                        }
                    }
                }
                // The next slab is asked for while this one is multiplied, a part with each tile.
                let lines = (E::BYTES * I::LANES * SLAB_LEN).div_ceil(LINE);
                for tile in self.tiles.clone() {
                    for next in next {
                        for line in part(lines, self.tiles.len(), tile - self.tiles.start) {
                            I::prefetch(next.wrapping_add(LINE * line));
                        }
                    }
                    let (columns, x) = product.tile(tile);
                    let bytes = 4 * columns.len() * len;
                    let x = x.add(4 * columns.len() * start);
                    if tile + 1 < self.tiles.end {
                        let next = product.tile(tile + 1).1.add(4 * columns.len() * start);
                        for line in 0..bytes.div_ceil(LINE) {
                            I::prefetch(next.wrapping_add(LINE * line));
                        }
                    }
                    let sums = sums.0.as_mut_ptr().add((tile - self.tiles.start) * tile_sums);
                    let strips = len / strip_elements::<E>();
                    tile_of_width::<I, E::Wide, G>(columns.len(), values, strips, x, sums);
                }
                start += len;
            }
            for tile in self.tiles.clone() {
                let (columns, _) = product.tile(tile);
                let sums = sums.0.as_ptr().add((tile - self.tiles.start) * tile_sums);
                for g in 0..G {
                    for (c, column) in columns.clone().enumerate() {
                        let sum = sums.add((g * columns.len() + c) * I::LANES);
                        product.write::<I>(first + g, column, I::load_f32(sum.cast()));
                    }
                }
            }
        }
    }
}

/// Runs [`Tile`] for a width that is known when it runs.
///
/// # Safety
/// As for [`Tile`]; `width` is at most the instruction set's.
#[inline(always)]
unsafe fn tile_of_width<I: DotIsa, E: Widen, const G: usize>(
    width: usize,
    values: [*const u8; G],
    strips: usize,
    x: *const u8,
    sums: *mut f32,
) {
    const { assert!(I::COLUMNS <= MAX_TILE_COLUMNS) };
    let encoding = PhantomData;
    // SAFETY: the caller's contract is this one's.
    unsafe {
        match width {
            1 => I::vectorize(Tile::<E, G, 1> { values, strips, x, sums, encoding }),
            2 => I::vectorize(Tile::<E, G, 2> { values, strips, x, sums, encoding }),
            3 => I::vectorize(Tile::<E, G, 3> { values, strips, x, sums, encoding }),
            4 => I::vectorize(Tile::<E, G, 4> { values, strips, x, sums, encoding }),
            5 if I::COLUMNS >= 5 => I::vectorize(Tile::<E, G, 5> { values, strips, x, sums, encoding }),
            _ if I::COLUMNS >= 6 => I::vectorize(Tile::<E, G, 6> { values, strips, x, sums, encoding }),
            _ => unreachable!("a tile is at most as wide as the instruction set allows"),
        }
    }
}

/// Adds to `sums` the products of a slab, `strips` strips of `G` row groups, and a tile of `W` columns.
///
/// `x` is at the tile's record for the first strip, and `sums` are `G * W * LANES`.
struct Tile<E, const G: usize, const W: usize> {
    values: [*const u8; G],
    strips: usize,
    x: *const u8,
    sums: *mut f32,
    encoding: PhantomData<E>,
}

impl<E: Widen, const G: usize, const W: usize> Body for Tile<E, G, W> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: what the fields are is said above.
        unsafe {
            let mut of_slab: SumPairs<I, G, W> = [[[I::zero(); W]; G]; 2];
            for s in 0..self.strips {
                let mut values = self.values;
                for values in &mut values {
                    *values = values.add(E::BYTES * strip_elements::<E>() * I::LANES * s);
                }
                let x = self.x.add(4 * strip_elements::<E>() * W * s);
                accumulate::<I, E, G, W>(&mut of_slab, values, x);
            }
            for g in 0..G {
                for c in 0..W {
                    let sum = self.sums.add((g * W + c) * I::LANES);
                    let added = I::add(of_slab[0][g][c], of_slab[1][g][c]);
                    I::store_f32(sum, I::add(I::load_f32(sum.cast()), added));
                }
            }
        }
    }
}
