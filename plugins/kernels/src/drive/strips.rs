//! How the strips of a weight are streamed, and kept for tiles of columns; what is computed of them is in `block.rs`.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use super::{
    MAX_TILE_COLUMNS, PREFETCH, Product,
    block::{Block, Stored, StoredHeader, StoredStrip, record_bytes},
};
use crate::{
    arch::{Body, DotIsa, MAX_LANES},
    form::{Form, MAX_STRIPS, STRIP_LEN},
    unpack::{Header, Strip, Unpack, block_len, fields::FieldReader},
};

/// The most tiles of columns in a task.
pub(crate) const MAX_TILES: usize = 32;

/// Bytes of the activations of a task's columns, at most: what may stay in a second-level cache.
pub(crate) const BAND_BYTES: usize = 640 << 10;

/// Row groups of a tile, at most.
const MAX_GROUPS: usize = 3;

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
        // SAFETY: the product's weight has a record for each block of each group, its activations as many for the tile,
        // and this task alone writes the rows of its groups.
        unsafe {
            let mut sums = [[I::zero(); W]; G];
            let mut fields = [FieldReader::<I>::new(self.product.weight); G];
            for g in 0..G {
                fields[g] = FieldReader::new(self.product.group(group + g));
            }
            for _ in 0..self.product.n / block_len::<E>() {
                let mut headers = [Header::scaled(I::zero()); G];
                for g in 0..G {
                    prefetch::<I>(fields[g].position(), E::HEADER_BYTES * I::LANES);
                    headers[g] = E::header(&mut fields[g]);
                }
                let mut block = Block::<I, G, W>::new::<E::Form>(x);
                for s in 0..E::Form::STRIPS {
                    let mut unpacked = [Strip::empty(); G];
                    for g in 0..G {
                        prefetch::<I>(fields[g].position(), E::STRIP_BYTES * I::LANES);
                        unpacked[g] = E::strip(&mut fields[g], &headers[g]);
                    }
                    block.strip::<E::Form, _>(&unpacked, x, s);
                }
                block.finish::<E::Form, _>(&headers, x, &mut sums);
                x = x.add(W * record_bytes::<E::Form>());
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

/// Some strips of a row group, unpacked into memory, and the header of those of a block with more than one.
struct Slab {
    header: MaybeUninit<StoredHeader>,
    strips: [MaybeUninit<StoredStrip>; MAX_STRIPS],
}

impl Slab {
    const EMPTY: Self =
        Self { header: MaybeUninit::uninit(), strips: [const { MaybeUninit::uninit() }; MAX_STRIPS] };
}

/// The slabs of a tile's row groups.
type Slabs = [Slab; MAX_GROUPS];

/// The sums of a task's columns: those of each tile, column by column in each of its row groups.
#[repr(C, align(64))]
struct Sums([f32; MAX_TILES * MAX_TILE_COLUMNS * MAX_GROUPS * MAX_LANES]);

impl<E: Unpack> Body for Tiles<E> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let mut slabs: Slabs = [const { Slab::EMPTY }; MAX_GROUPS];
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
        // SAFETY: the product's weight has a record for each block of each group, its activations as many for each tile;
        // `sums` has room for the tiles of a task, and `slabs` for a slab of each group.
        unsafe {
            let mut fields: [FieldReader<I>; G] =
                std::array::from_fn(|g| FieldReader::new(product.group(first + g)));
            let mut strip = 0;
            while strip < product.n / STRIP_LEN {
                let count = MAX_STRIPS.min(product.n / STRIP_LEN - strip);
                for (fields, slab) in fields.iter_mut().zip(slabs.iter_mut()) {
                    unpack_slab::<I, E>(fields, slab, count);
                }
                for tile in self.tiles.clone() {
                    let (columns, x) = product.tile(tile);
                    let x = x.add(columns.len() * record_bytes::<E::Form>() * (strip / E::Form::STRIPS));
                    let sums = sums.0.as_mut_ptr().add((tile - self.tiles.start) * tile_sums);
                    if keeps_scaled::<I, E>() {
                        tile_of_width::<I, <E::Form as Form>::Scaled, G>(
                            columns.len(),
                            slabs,
                            count,
                            x,
                            sums,
                        );
                    } else {
                        tile_of_width::<I, E::Form, G>(columns.len(), slabs, count, x, sums);
                    }
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

/// Whether slabs have codes that have taken their scales.
const fn keeps_scaled<I: DotIsa, E: Unpack>() -> bool {
    E::Form::INTEGER_SCALES && (I::BYTES_ARE_QUICK || <E::Form as Form>::Scaled::BITS < 8)
}

/// Unpacks the next `count` strips, whole blocks, into a slab.
///
/// # Safety
/// As for the methods of [`DotIsa`]; `fields` are at a record, and whole records with as many strips follow.
#[inline(always)]
unsafe fn unpack_slab<I: DotIsa, E: Unpack>(fields: &mut FieldReader<I>, slab: &mut Slab, count: usize) {
    // SAFETY: the caller's contract is this one's.
    unsafe {
        for block in slab.strips[..count].chunks_mut(E::Form::STRIPS) {
            prefetch::<I>(fields.position(), E::HEADER_BYTES * I::LANES);
            let header = E::header(fields);
            StoredHeader::store::<I, E::Form>(slab.header.as_mut_ptr(), &header);
            for stored in block {
                prefetch::<I>(fields.position(), E::STRIP_BYTES * I::LANES);
                if keeps_scaled::<I, E>() {
                    let strip = E::scaled_strip(fields, &header);
                    StoredStrip::store::<I, <E::Form as Form>::Scaled>(stored.as_mut_ptr(), &strip);
                } else {
                    let strip = E::strip(fields, &header);
                    StoredStrip::store::<I, E::Form>(stored.as_mut_ptr(), &strip);
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

    /// Reads the sums.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    unsafe fn load<I: DotIsa>(&self, registers: &mut [[I::F32; W]; G]) {
        for (g, registers) in registers.iter_mut().enumerate() {
            for (c, register) in registers.iter_mut().enumerate() {
                // SAFETY: there are `G * W * LANES` sums.
                *register = unsafe { I::load_f32(self.sums.add((g * W + c) * I::LANES).cast()) };
            }
        }
    }

    /// Writes the sums.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    unsafe fn store<I: DotIsa>(&self, registers: &[[I::F32; W]; G]) {
        for (g, registers) in registers.iter().enumerate() {
            for (c, register) in registers.iter().enumerate() {
                // SAFETY: there are `G * W * LANES` sums.
                unsafe { I::store_f32(self.sums.add((g * W + c) * I::LANES), *register) };
            }
        }
    }
}

impl<F: Form, const G: usize, const W: usize> Body for Tile<'_, F, G, W> {
    #[inline(always)]
    unsafe fn run<I: DotIsa>(self) {
        // SAFETY: what the fields are is said above.
        unsafe {
            let headers = std::array::from_fn(|g| self.slabs[g].header.as_ptr());
            let mut registers = [[I::zero(); W]; G];
            // There are no registers for sums beside those of a block of many strips.
            let before = F::STRIPS == 1;
            if before {
                self.load::<I>(&mut registers);
            }
            for block in 0..self.count / F::STRIPS {
                let x = self.x.add(W * record_bytes::<F>() * block);
                let mut products = Block::<I, G, W>::new::<F>(x);
                for s in 0..F::STRIPS {
                    let strips: [_; G] =
                        std::array::from_fn(|g| Stored(self.slabs[g].strips[F::STRIPS * block + s].as_ptr()));
                    products.strip::<F, _>(&strips, x, s);
                }
                if !before {
                    self.load::<I>(&mut registers);
                }
                products.finish::<F, _>(&headers, x, &mut registers);
                if !before {
                    self.store::<I>(&registers);
                }
            }
            if before {
                self.store::<I>(&registers);
            }
        }
    }
}
