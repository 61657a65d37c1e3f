//! Products of quantized weights and quantized activations.
//!
//! For each strip, and each part of it that has a scale of its own, in this order:
//! `sum = fma(f32(products) * scale, d, sum)`, `products` being the exact integer sum of `(q - o) * x` over the part
//! and `d` the scale of the activations; then for each minimum `sum = fma(min, d * sum(x), sum)`.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use super::{MAX_TILE_COLUMNS, PREFETCH, Product};
use crate::{
    activation::CODE_AND_SCALE_BYTES,
    arch::{Body, CodeSource, DotIsa, MAX_LANES, STEP},
    unpack::{Form, STRIP_CODES, STRIP_LEN, Strip, Unpack, fields::FieldReader, strips},
};

/// Values of a row in a slab.
const SLAB_LEN: usize = 256;

/// The most tiles of columns in a task.
pub(crate) const MAX_TILES: usize = 16;

/// Bytes of the activations of a task's columns, at most: what may stay in a second-level cache.
pub(crate) const BAND_BYTES: usize = 512 << 10;

/// Strips of a slab.
const SLAB_STRIPS: usize = SLAB_LEN / STRIP_LEN;

/// Row groups of a tile, at most.
const MAX_GROUPS: usize = 3;

/// An unpacked strip, in registers or in memory.
trait StripSource<I: DotIsa>: CodeSource<I> {
    /// The scale of part `part`.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn scale(&self, part: usize) -> I::F32;
    /// The minimum of part `part`.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn min(&self, part: usize) -> I::F32;
}

impl<I: DotIsa> StripSource<I> for Strip<I> {
    #[inline(always)]
    unsafe fn scale(&self, part: usize) -> I::F32 {
        self.scales[part]
    }

    #[inline(always)]
    unsafe fn min(&self, part: usize) -> I::F32 {
        self.mins[part]
    }
}

/// A strip unpacked into memory, for the widest instruction set.
#[repr(C, align(64))]
struct StoredStrip {
    codes: [u8; STRIP_CODES * 4 * MAX_LANES],
    scales: [f32; 2 * MAX_LANES],
    mins: [f32; 2 * MAX_LANES],
}

impl StoredStrip {
    /// Stores what the form of the strip has.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `at` is writable.
    #[inline(always)]
    unsafe fn store<I: DotIsa, F: Form>(at: *mut Self, strip: &Strip<I>) {
        // SAFETY: there is room for the registers of the widest instruction set.
        unsafe {
            let codes = (&raw mut (*at).codes).cast::<u8>();
            for k in 0..STRIP_CODES {
                I::store(codes.add(4 * I::LANES * k), strip.codes[k]);
            }
            let (scales, mins) = ((&raw mut (*at).scales).cast::<f32>(), (&raw mut (*at).mins).cast::<f32>());
            for i in 0..F::SCALES {
                I::store_f32(scales.add(I::LANES * i), strip.scales[i]);
            }
            for i in 0..F::MINS {
                I::store_f32(mins.add(I::LANES * i), strip.mins[i]);
            }
        }
    }
}

/// A pointer to a [`StoredStrip`] that was stored for the same form and instruction set.
#[derive(Clone, Copy)]
struct Stored(*const StoredStrip);

impl<I: DotIsa> CodeSource<I> for Stored {
    #[inline(always)]
    unsafe fn codes(&self, k: usize) -> I::Codes {
        // SAFETY: the caller vouches for `k`, and the strip was stored for `I`.
        unsafe { I::load((&raw const (*self.0).codes).cast::<u8>().add(4 * I::LANES * k)) }
    }
}

impl<I: DotIsa> StripSource<I> for Stored {
    #[inline(always)]
    unsafe fn scale(&self, part: usize) -> I::F32 {
        // SAFETY: the strip was stored for `I` and its form, which has this part.
        unsafe { I::load_f32((&raw const (*self.0).scales).cast::<u8>().add(4 * I::LANES * part)) }
    }

    #[inline(always)]
    unsafe fn min(&self, part: usize) -> I::F32 {
        // SAFETY: the strip was stored for `I` and its form, which has this part.
        unsafe { I::load_f32((&raw const (*self.0).mins).cast::<u8>().add(4 * I::LANES * part)) }
    }
}

/// Bytes of a record of activations, a column.
const fn record_bytes<F: Form>() -> usize {
    CODE_AND_SCALE_BYTES + 4 * F::SUMS
}

/// Adds the products of `G` strips and `W` columns to `sums`.
///
/// # Safety
/// As for the methods of [`DotIsa`]; `x` is a record of a tile of `W` columns for the form `F`.
#[inline(always)]
unsafe fn accumulate<I: DotIsa, F: Form, S: StripSource<I>, const G: usize, const W: usize>(
    sums: &mut [[I::F32; W]; G],
    strips: &[S; G],
    x: *const u8,
) {
    // SAFETY: the record has what is read: codes, a scale and the sums of each column.
    unsafe {
        let scales = x.add(STRIP_LEN * W);
        let sums_of_x = x.add(CODE_AND_SCALE_BYTES * W);
        let steps = STRIP_CODES / STEP / F::SCALES;
        for part in 0..F::SCALES {
            let mut dots = [[I::zero_i32(); W]; G];
            if F::MINS == 0 {
                for c in 0..W {
                    let start = I::broadcast_i32(sums_of_x.add(4 * (F::SUMS * c + part)));
                    for dots in &mut dots {
                        dots[c] = start;
                    }
                }
            }
            for step in 0..steps {
                I::dot::<F, S, G, W>(&mut dots, strips, STEP * (steps * part + step), x.cast());
            }
            for g in 0..G {
                let scale = strips[g].scale(part);
                for c in 0..W {
                    let scaled = I::mul(I::to_f32(dots[g][c]), scale);
                    sums[g][c] = I::fma(scaled, I::broadcast(scales.add(4 * c)), sums[g][c]);
                }
            }
        }
        for part in 0..F::MINS {
            for g in 0..G {
                let min = strips[g].min(part);
                for c in 0..W {
                    let sum_of_x = I::broadcast(sums_of_x.add(4 * (F::SUMS * c + part)));
                    sums[g][c] = I::fma(min, sum_of_x, sums[g][c]);
                }
            }
        }
    }
}

/// Asks for the `bytes` that lie [`PREFETCH`] beyond `at`.
///
/// # Safety
/// As for the methods of [`DotIsa`].
#[inline(always)]
pub(super) unsafe fn prefetch<I: DotIsa>(at: *const u8, bytes: usize) {
    let mut line = 0;
    while line < bytes {
        // SAFETY: the address need not be valid.
        unsafe { I::prefetch(at.wrapping_add(PREFETCH + line)) };
        line += 64;
    }
}

/// Some tiles of columns times the rows of some groups, unpacked again for each tile.
pub(crate) struct Stream<E> {
    product: Product,
    groups: Range<usize>,
    tiles: Range<usize>,
    encoding: PhantomData<E>,
}

impl<E> Stream<E> {
    pub(crate) fn new(product: Product, groups: Range<usize>, tiles: Range<usize>) -> Self {
        Self { product, groups, tiles, encoding: PhantomData }
    }
}

impl<E: Unpack> Body for Stream<E> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // One column waits for memory, which one stream reads best.
        let most = if self.product.m == 1 { 1 } else { I::GROUPS };
        let mut group = self.groups.start;
        while group < self.groups.end {
            let count = if self.groups.end - group < most { 1 } else { most };
            for tile in self.tiles.clone() {
                // SAFETY: the caller's contract is this one's.
                unsafe {
                    match count {
                        1 => self.tile_of_groups::<I, 1>(group, tile),
                        2 if I::GROUPS == 2 => self.tile_of_groups::<I, 2>(group, tile),
                        _ if I::GROUPS == 3 => self.tile_of_groups::<I, 3>(group, tile),
                        _ => unreachable!("as many groups as the instruction set takes at a time, or one"),
                    }
                }
            }
            group += count;
        }
    }
}

impl<E: Unpack> Stream<E> {
    /// Groups `group .. group + G` times tile `tile`.
    ///
    /// # Safety
    /// As for [`Body::run`]; the product has those groups and that tile.
    #[inline(always)]
    unsafe fn tile_of_groups<I: DotIsa, const G: usize>(&self, group: usize, tile: usize) {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let (columns, x) = self.product.tile(tile);
            let first = columns.start;
            match columns.len() {
                // A single column is a tile only where it is all there is.
                1 if G == 1 => self.columns::<I, G, 1>(group, first, x),
                2 => self.columns::<I, G, 2>(group, first, x),
                3 => self.columns::<I, G, 3>(group, first, x),
                4 => self.columns::<I, G, 4>(group, first, x),
                5 if I::COLUMNS >= 5 => self.columns::<I, G, 5>(group, first, x),
                _ if I::COLUMNS >= 6 => self.columns::<I, G, 6>(group, first, x),
                _ => unreachable!("a tile is at most as wide as the instruction set allows"),
            }
        }
    }

    /// Groups `group .. group + G` times the `W` columns from `column` on, whose activations are at `x`.
    ///
    /// # Safety
    /// As for [`Body::run`]; the product has those groups and columns.
    #[inline(always)]
    unsafe fn columns<I: DotIsa, const G: usize, const W: usize>(
        &self,
        group: usize,
        column: usize,
        mut x: *const u8,
    ) {
        // SAFETY: the product's weight has `n / BLOCK_LEN` records for each group, its activations as many records
        // as a row has strips, and this task alone writes the rows of its groups.
        unsafe {
            let mut sums = [[I::zero(); W]; G];
            let mut fields = [FieldReader::<I>::new(self.product.weight); G];
            for g in 0..G {
                fields[g] = FieldReader::new(self.product.group(group + g));
            }
            for _ in 0..self.product.n / E::BLOCK_LEN {
                let mut headers = [[I::zero(); 2]; G];
                for g in 0..G {
                    prefetch::<I>(fields[g].position(), E::HEADER_BYTES * I::LANES);
                    headers[g] = E::header(&mut fields[g]);
                }
                for _ in 0..strips::<E>() {
                    let mut unpacked = [Strip::empty(); G];
                    for g in 0..G {
                        prefetch::<I>(fields[g].position(), E::STRIP_BYTES * I::LANES);
                        unpacked[g] = E::strip(&mut fields[g], headers[g]);
                    }
                    accumulate::<I, E::Form, _, G, W>(&mut sums, &unpacked, x);
                    x = x.add(W * record_bytes::<E::Form>());
                }
            }
            for g in 0..G {
                for c in 0..W {
                    self.product.write::<I>(group + g, column + c, sums[g][c]);
                }
            }
        }
    }
}

/// Some tiles of columns times the rows of some groups, unpacked once for all.
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

/// The slabs of a tile's row groups.
type Slabs = [[MaybeUninit<StoredStrip>; SLAB_STRIPS]; MAX_GROUPS];

/// The sums of a task's columns: those of each tile, column by column in each of its row groups.
#[repr(C, align(64))]
struct Sums([f32; MAX_TILES * MAX_TILE_COLUMNS * MAX_GROUPS * MAX_LANES]);

impl<E: Unpack> Body for Tiles<E> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mut slabs: Slabs = [const { [const { MaybeUninit::uninit() }; SLAB_STRIPS] }; MAX_GROUPS];
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

impl<E: Unpack> Tiles<E> {
    /// The product's rows of groups `first .. first + G`.
    ///
    /// # Safety
    /// As for [`Body::run`]; the product has those groups.
    #[inline(always)]
    unsafe fn rows<I: DotIsa, const G: usize>(&self, first: usize, slabs: &mut Slabs) {
        let product = &self.product;
        let mut sums = Sums([0.0; _]);
        let tile_sums = G * MAX_TILE_COLUMNS * I::LANES;
        // SAFETY: the product's weight has `n / BLOCK_LEN` records for each group, its activations as many records
        // a tile as a row has strips; `sums` has room for the tiles of a task, and `slabs` for a slab of each group.
        unsafe {
            let mut fields: [FieldReader<I>; G] =
                std::array::from_fn(|g| FieldReader::new(product.group(first + g)));
            let mut strip = 0;
            while strip < product.n / STRIP_LEN {
                let count = SLAB_STRIPS.min(product.n / STRIP_LEN - strip);
                for (fields, slab) in fields.iter_mut().zip(slabs.iter_mut()) {
                    unpack_slab::<I, E>(fields, &mut slab[..count]);
                }
                for tile in self.tiles.clone() {
                    let (columns, x) = product.tile(tile);
                    let x = x.add(columns.len() * record_bytes::<E::Form>() * strip);
                    let sums = sums.0.as_mut_ptr().add((tile - self.tiles.start) * tile_sums);
                    tile_of_width::<I, E::Form, G>(columns.len(), slabs, count, x, sums);
                }
                strip += count;
            }
            for tile in self.tiles.clone() {
                let (columns, _) = product.tile(tile);
                let sums = sums.0.as_ptr().add((tile - self.tiles.start) * tile_sums);
                for g in 0..G {
                    for (c, column) in columns.clone().enumerate() {
                        let sum = I::load_f32(sums.add((g * columns.len() + c) * I::LANES).cast());
                        product.write::<I>(first + g, column, sum);
                    }
                }
            }
        }
    }
}

/// Unpacks the next strips into a slab.
///
/// # Safety
/// As for the methods of [`DotIsa`]; `fields` are at a record, and whole records with as many strips follow.
#[inline(always)]
unsafe fn unpack_slab<I: DotIsa, E: Unpack>(
    fields: &mut FieldReader<I>,
    slab: &mut [MaybeUninit<StoredStrip>],
) {
    // SAFETY: the caller's contract is this one's.
    unsafe {
        for block in slab.chunks_mut(strips::<E>()) {
            let header = E::header(fields);
            for stored in block {
                prefetch::<I>(fields.position(), E::STRIP_BYTES * I::LANES);
                StoredStrip::store::<I, E::Form>(stored.as_mut_ptr(), &E::strip(fields, header));
            }
        }
    }
}

/// Runs [`Tile`] for a width that is known when it runs.
///
/// # Safety
/// As for [`Tile`]; `width` is at most the instruction set's.
#[inline(always)]
unsafe fn tile_of_width<I: DotIsa, F: Form, const G: usize>(
    width: usize,
    slabs: &Slabs,
    count: usize,
    x: *const u8,
    sums: *mut f32,
) {
    const { assert!(I::COLUMNS <= MAX_TILE_COLUMNS) };
    // SAFETY: the caller's contract is this one's.
    unsafe {
        match width {
            1 => I::vectorize(Tile::<F, G, 1>::new(slabs, count, x, sums)),
            2 => I::vectorize(Tile::<F, G, 2>::new(slabs, count, x, sums)),
            3 => I::vectorize(Tile::<F, G, 3>::new(slabs, count, x, sums)),
            4 => I::vectorize(Tile::<F, G, 4>::new(slabs, count, x, sums)),
            5 if I::COLUMNS >= 5 => I::vectorize(Tile::<F, G, 5>::new(slabs, count, x, sums)),
            _ if I::COLUMNS >= 6 => I::vectorize(Tile::<F, G, 6>::new(slabs, count, x, sums)),
            _ => unreachable!("a tile is at most as wide as the instruction set allows"),
        }
    }
}

/// Adds to `sums` the products of `count` strips of `G` slabs and a tile of `W` columns.
///
/// The slabs were stored for the instruction set and the form `F`, `x` is at the tile's record for their first strip,
/// and `sums` are `G * W * LANES`.
struct Tile<'a, F, const G: usize, const W: usize> {
    slabs: &'a Slabs,
    count: usize,
    x: *const u8,
    sums: *mut f32,
    form: PhantomData<F>,
}

impl<'a, F: Form, const G: usize, const W: usize> Tile<'a, F, G, W> {
    #[inline(always)]
    fn new(slabs: &'a Slabs, count: usize, x: *const u8, sums: *mut f32) -> Self {
        Self { slabs, count, x, sums, form: PhantomData }
    }
}

impl<F: Form, const G: usize, const W: usize> Body for Tile<'_, F, G, W> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: what the fields are is said above.
        unsafe {
            let mut registers = [[I::zero(); W]; G];
            for g in 0..G {
                for c in 0..W {
                    registers[g][c] = I::load_f32(self.sums.add((g * W + c) * I::LANES).cast());
                }
            }
            for s in 0..self.count {
                let mut strips = [Stored(std::ptr::null()); G];
                for g in 0..G {
                    strips[g] = Stored(self.slabs[g][s].as_ptr());
                }
                let x = self.x.add(W * record_bytes::<F>() * s);
                accumulate::<I, F, _, G, W>(&mut registers, &strips, x);
            }
            for g in 0..G {
                for c in 0..W {
                    I::store_f32(self.sums.add((g * W + c) * I::LANES), registers[g][c]);
                }
            }
        }
    }
}
