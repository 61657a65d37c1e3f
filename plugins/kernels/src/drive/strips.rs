//! How the strips of a weight are streamed, and kept for tiles of columns; what is computed of them is in `block.rs`.

use std::array::from_fn;
use std::marker::PhantomData;

use super::block::{Block, StoredHeader, StoredStrip, record_bytes};
use super::{MAX_TILE_COLUMNS, PREFETCH, Part};
use crate::arch::{Body, DotIsa, MAX_LANES};
use crate::form::{Form, MAX_STRIPS, STRIP_LEN};
use crate::unpack::{Header, Strip, Unpack, fields::FieldReader};

/// The most tiles of columns in a task.
pub(crate) const MAX_TILES: usize = 32;

/// Bytes of the activations of a task's columns, at most: what may stay in a second-level cache.
pub(crate) const BAND_BYTES: usize = 640 << 10;

/// Row groups of a tile, at most.
const MAX_GROUPS: usize = 3;

/// Asks for as many bytes as `bytes` has, [`PREFETCH`] beyond it.
#[inline(always)]
pub(super) fn prefetch<I: DotIsa>(isa: I, bytes: &[u8]) {
    let mut line = 0;
    while line < bytes.len() {
        isa.prefetch(bytes.as_ptr().wrapping_add(PREFETCH + line));
        line += 64;
    }
}

/// The first `bytes` bytes for each row of what is left of a row group, which begins after them from then on.
#[inline(always)]
fn take<'a, I: DotIsa>(isa: I, group: &mut &'a [u8], bytes: usize) -> FieldReader<'a, I> {
    let (fields, rest) = group.split_at(bytes * I::LANES);
    *group = rest;
    prefetch(isa, fields);
    FieldReader::new(isa, fields)
}

/// The part of a product, unpacked again for each tile.
pub(crate) struct Stream<'a, E> {
    pub(crate) part: Part<'a>,
    pub(crate) unpack: &'a E,
}

impl<E: Unpack> Body for Stream<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(mut self, isa: I) {
        // One column waits for memory, which one stream reads best.
        let most = if self.part.product.m == 1 { 1 } else { I::GROUPS };
        let (mut group, end) = (self.part.groups.start, self.part.groups.end);
        while group < end {
            let count = if end - group < most { 1 } else { most };
            for tile in self.part.tiles.clone() {
                match count {
                    1 => self.tile_of_groups::<I, 1>(isa, group, tile),
                    2 if E::IS_STREAMED && I::GROUPS == 2 => self.tile_of_groups::<I, 2>(isa, group, tile),
                    _ if E::IS_STREAMED && I::GROUPS == 3 => self.tile_of_groups::<I, 3>(isa, group, tile),
                    _ => unreachable!("as many groups as the instruction set takes at a time, or one"),
                }
            }
            group += count;
        }
    }
}

impl<E: Unpack> Stream<'_, E> {
    /// Groups `group .. group + G` times tile `tile`.
    #[inline(always)]
    fn tile_of_groups<I: DotIsa, const G: usize>(&mut self, isa: I, group: usize, tile: usize) {
        let (columns, x) = self.part.product.tile(tile);
        let first = columns.start;
        match columns.len() {
            // A single column is a tile only where it is all there is.
            1 if G == 1 => self.columns::<I, G, 1>(isa, group, first, x),
            2 if E::IS_STREAMED => self.columns::<I, G, 2>(isa, group, first, x),
            3 if E::IS_STREAMED => self.columns::<I, G, 3>(isa, group, first, x),
            4 if E::IS_STREAMED => self.columns::<I, G, 4>(isa, group, first, x),
            5 if E::IS_STREAMED && I::COLUMNS >= 5 => self.columns::<I, G, 5>(isa, group, first, x),
            6 if E::IS_STREAMED && I::COLUMNS >= 6 => self.columns::<I, G, 6>(isa, group, first, x),
            _ => unreachable!("a tile is at most as wide as the instruction set allows"),
        }
    }

    /// Groups `group .. group + G` times the `W` columns from `column` on, whose activations are `x`.
    #[inline(always)]
    fn columns<I: DotIsa, const G: usize, const W: usize>(
        &mut self,
        isa: I,
        group: usize,
        column: usize,
        x: &[u8],
    ) {
        let mut sums = [[isa.splat_f32(0.0); W]; G];
        let mut weights: [&[u8]; G] = from_fn(|g| self.part.product.group(group + g));
        let record_bytes = W * record_bytes::<E::Form>();
        for x in x.chunks_exact(record_bytes * self.unpack.header_records()) {
            let mut headers = [Header::empty(isa); G];
            for g in 0..G {
                headers[g] = self.unpack.header(&mut take(isa, &mut weights[g], E::HEADER_BYTES));
            }
            for x in x.chunks_exact(record_bytes) {
                let mut block = Block::<I, E::Form, G, W>::new(isa, x);
                for s in 0..E::Form::STRIPS {
                    let mut unpacked = [Strip::empty(isa); G];
                    for g in 0..G {
                        let mut fields = take(isa, &mut weights[g], E::STRIP_BYTES).of_strip(s);
                        unpacked[g] = self.unpack.strip(&mut fields, &headers[g]);
                    }
                    block.strip(&unpacked, s);
                }
                block.finish(&headers, &mut sums);
            }
        }
        for g in 0..G {
            for c in 0..W {
                self.part.write(isa, group + g, column + c, sums[g][c]);
            }
        }
    }
}

/// The part of a product, unpacked once for all tiles.
pub(crate) struct Tiles<'a, E> {
    pub(crate) part: Part<'a>,
    pub(crate) unpack: &'a E,
}

/// Some strips of a row group, unpacked into memory, and the header of those of a block with more than one.
#[derive(Clone, Copy)]
struct Slab {
    header: StoredHeader,
    strips: [StoredStrip; MAX_STRIPS],
}

impl Slab {
    const EMPTY: Self = Self { header: StoredHeader::EMPTY, strips: [StoredStrip::EMPTY; MAX_STRIPS] };
}

/// The slabs of a tile's row groups.
type Slabs = [Slab; MAX_GROUPS];

/// The sums of a task's columns: those of each tile, column by column in each of its row groups.
#[repr(C, align(64))]
struct Sums([f32; MAX_TILES * MAX_TILE_COLUMNS * MAX_GROUPS * MAX_LANES]);

impl<E: Unpack> Body for Tiles<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let Self { part, unpack } = self;
        if const { keeps_scaled::<I, E>() } {
            isa.call(TilesOfForm {
                part,
                isa,
                source: unpack,
                form: PhantomData::<<E::Form as Form>::Scaled>,
            });
        } else {
            isa.call(TilesOfForm { part, isa, source: unpack, form: PhantomData::<E::Form> });
        }
    }
}

/// Whether slabs have codes that have taken their scales.
const fn keeps_scaled<I: DotIsa, E: Unpack>() -> bool {
    E::Form::INTEGER_SCALES && (I::BYTES_ARE_QUICK || <E::Form as Form>::Scaled::BITS < 8)
}

/// What slabs are unpacked from. All else is compiled once for the encodings of a form.
trait SlabSource<I> {
    /// Unpacks the next `count` strips, whole blocks, of what is left of a row group into a slab.
    fn unpack(&self, isa: I, weight: &mut &[u8], slab: &mut Slab, count: usize);
}

impl<I: DotIsa, E: Unpack> SlabSource<I> for E {
    fn unpack(&self, isa: I, weight: &mut &[u8], slab: &mut Slab, count: usize) {
        isa.call(UnpackSlab { unpack: self, weight, slab, count });
    }
}

/// [`SlabSource::unpack`].
struct UnpackSlab<'a, 'w, E> {
    unpack: &'a E,
    weight: &'a mut &'w [u8],
    slab: &'a mut Slab,
    count: usize,
}

impl<E: Unpack> Body for UnpackSlab<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        let Self { unpack, weight, slab, count } = self;
        for strips in slab.strips[..count].chunks_mut(E::Form::STRIPS * unpack.header_records()) {
            let header = unpack.header(&mut take(isa, weight, E::HEADER_BYTES));
            slab.header.store::<I, E::Form>(isa, &header);
            for (s, stored) in strips.iter_mut().enumerate() {
                let mut fields = take(isa, weight, E::STRIP_BYTES).of_strip(s % E::Form::STRIPS);
                if const { keeps_scaled::<I, E>() } {
                    let strip = unpack.scaled_strip(&mut fields, &header);
                    stored.store::<I, <E::Form as Form>::Scaled>(isa, &strip);
                } else {
                    stored.store::<I, E::Form>(isa, &unpack.strip(&mut fields, &header));
                }
            }
        }
    }
}

/// [`Tiles`] of an encoding whose slabs have the form `F`, on the instruction set `J`.
struct TilesOfForm<'a, J, F> {
    part: Part<'a>,
    isa: J,
    source: &'a dyn SlabSource<J>,
    form: PhantomData<F>,
}

impl<J: DotIsa, F: Form> Body for TilesOfForm<'_, J, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(mut self, isa: I) {
        assert!(self.part.tiles.len() <= MAX_TILES, "a part has at most as many tiles as `band_tiles` says");
        let mut slabs = [Slab::EMPTY; MAX_GROUPS];
        let (mut group, end) = (self.part.groups.start, self.part.groups.end);
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

impl<J: DotIsa, F: Form> TilesOfForm<'_, J, F> {
    /// The product's rows of groups `first .. first + G`.
    #[inline(always)]
    fn rows<I: DotIsa, const G: usize>(&mut self, isa: I, first: usize, slabs: &mut Slabs) {
        let product = self.part.product;
        let mut sums = Sums([0.0; _]);
        let tile_sums = G * MAX_TILE_COLUMNS * I::LANES;
        let mut weights: [&[u8]; G] = from_fn(|g| product.group(first + g));
        let mut strip = 0;
        while strip < product.n / STRIP_LEN {
            let count = MAX_STRIPS.min(product.n / STRIP_LEN - strip);
            for (weight, slab) in weights.iter_mut().zip(slabs.iter_mut()) {
                self.source.unpack(self.isa, weight, slab, count);
            }
            for (tile, sums) in self.part.tiles.clone().zip(sums.0.chunks_exact_mut(tile_sums)) {
                let (columns, x) = product.tile(tile);
                let width = columns.len();
                let x = &x[width * record_bytes::<F>() * (strip / F::STRIPS)..];
                tile_of_width::<I, F, G>(isa, width, slabs, count, x, sums);
            }
            strip += count;
        }
        for (tile, sums) in self.part.tiles.clone().zip(sums.0.chunks_exact(tile_sums)) {
            let (columns, _) = product.tile(tile);
            let mut sums = sums.chunks_exact(I::LANES);
            for g in 0..G {
                for (column, sum) in columns.clone().zip(&mut sums) {
                    self.part.write(isa, first + g, column, isa.load_f32(bytemuck::cast_slice(sum)));
                }
            }
        }
    }
}

/// Runs [`Tile`] for a width that is known when it runs, at most the instruction set's.
#[inline(always)]
fn tile_of_width<I: DotIsa, F: Form, const G: usize>(
    isa: I,
    width: usize,
    slabs: &Slabs,
    count: usize,
    x: &[u8],
    sums: &mut [f32],
) {
    const { assert!(I::COLUMNS <= MAX_TILE_COLUMNS) };
    let form = PhantomData::<F>;
    match width {
        1 => isa.call(Tile::<F, G, 1> { slabs, count, x, sums, form }),
        2 => isa.call(Tile::<F, G, 2> { slabs, count, x, sums, form }),
        3 => isa.call(Tile::<F, G, 3> { slabs, count, x, sums, form }),
        4 => isa.call(Tile::<F, G, 4> { slabs, count, x, sums, form }),
        5 if I::COLUMNS >= 5 => isa.call(Tile::<F, G, 5> { slabs, count, x, sums, form }),
        _ if I::COLUMNS >= 6 => isa.call(Tile::<F, G, 6> { slabs, count, x, sums, form }),
        _ => unreachable!("a tile is at most as wide as the instruction set allows"),
    }
}

/// Adds to `sums` the products of `count` strips of `G` slabs and a tile of `W` columns.
///
/// The slabs were stored for the instruction set and the form `F`, `x` begins with the tile's record for their first strip, and `sums`
/// with `G * W * LANES`.
struct Tile<'a, F, const G: usize, const W: usize> {
    slabs: &'a Slabs,
    count: usize,
    x: &'a [u8],
    sums: &'a mut [f32],
    form: PhantomData<F>,
}

/// Reads the sums of a tile.
#[inline(always)]
pub(super) fn load<I: DotIsa, const G: usize, const W: usize>(
    isa: I,
    sums: &[f32],
    registers: &mut [[I::F32; W]; G],
) {
    for (g, registers) in registers.iter_mut().enumerate() {
        for (c, register) in registers.iter_mut().enumerate() {
            let sums = &sums[(g * W + c) * I::LANES..][..I::LANES];
            *register = isa.load_f32(bytemuck::cast_slice(sums));
        }
    }
}

/// Writes the sums of a tile.
#[inline(always)]
pub(super) fn store<I: DotIsa, const G: usize, const W: usize>(
    isa: I,
    sums: &mut [f32],
    registers: &[[I::F32; W]; G],
) {
    for (g, registers) in registers.iter().enumerate() {
        for (c, register) in registers.iter().enumerate() {
            isa.store_f32(&mut sums[(g * W + c) * I::LANES..], *register);
        }
    }
}

impl<F: Form, const G: usize, const W: usize> Body for Tile<'_, F, G, W> {
    type Output = ();

    #[inline(always)]
    fn run<I: DotIsa>(self, isa: I) {
        assert!(self.count <= MAX_STRIPS, "a slab has so many strips");
        let sums = &mut self.sums[..G * W * I::LANES];
        let headers: [&StoredHeader; G] = from_fn(|g| &self.slabs[g].header);
        let mut registers = [[isa.splat_f32(0.0); W]; G];
        // There are no registers for sums beside those of a block of many strips.
        let before = F::STRIPS == 1;
        if before {
            load(isa, sums, &mut registers);
        }
        let records = self.x.chunks_exact(W * record_bytes::<F>());
        for (block, x) in (0..self.count / F::STRIPS).zip(records) {
            let mut products = Block::<I, F, G, W>::new(isa, x);
            for s in 0..F::STRIPS {
                let strips: [&StoredStrip; G] = from_fn(|g| &self.slabs[g].strips[F::STRIPS * block + s]);
                products.strip(&strips, s);
            }
            if !before {
                load(isa, sums, &mut registers);
            }
            products.finish(&headers, &mut registers);
            if !before {
                store(isa, sums, &registers);
            }
        }
        if before {
            store(isa, sums, &registers);
        }
    }
}
