//! Products of quantized weights and quantized activations.
//!
//! A block of activations is as long as a record of the weight, and its products are summed for each of its strips, and each part of it
//! that has a scale of its own, in this order: `block = fma(f32(products), scale, block)`, `products` being the exact integer sum of
//! `(q - o) * x` over the part. Where scales are integers, `block` is one too, whether codes or sums of products take the scales, and
//! then multiplied with the scale of the whole block; so it is where the block has but one scale. Then come the minima: for a block of
//! one strip each is a float, `block = fma(min, sum(x), block)`; for a longer one they are integers,
//! `block = fma(f32(sum of min * sum(x)), min scale, block)`. At last `sum = fma(block, d, sum)`, `d` being the scale of the activations.

use std::marker::PhantomData;

use crate::{
    activation::SCALE_BYTES,
    arch::{CodeSource, DotIsa, MAX_LANES, STEP},
    form::{Form, MAX_STRIPS, STRIP_CODES, STRIP_LEN},
    unpack::{Header, Strip},
};

/// Sums that hide the latency of a product between them.
const FEW_CHAINS: usize = 6;

/// An unpacked strip, in registers or in memory.
pub(super) trait StripSource<I: DotIsa>: CodeSource<I> {
    /// The scale of part `part`.
    fn scale(&self, isa: I, part: usize) -> I::F32;
    /// The minimum of part `part`.
    fn min(&self, isa: I, part: usize) -> I::F32;
    /// The integer scales of the halves.
    fn integer_scales(&self, isa: I) -> I::Codes;
}

impl<I: DotIsa> StripSource<I> for Strip<I> {
    #[inline(always)]
    fn scale(&self, _isa: I, part: usize) -> I::F32 {
        self.scales[part]
    }

    #[inline(always)]
    fn min(&self, _isa: I, part: usize) -> I::F32 {
        self.mins[part]
    }

    #[inline(always)]
    fn integer_scales(&self, _isa: I) -> I::Codes {
        self.integer_scales
    }
}

/// A strip unpacked into memory, for the widest instruction set. Registers lie as close as the lanes of one allow.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct StoredStrip {
    codes: [u8; STRIP_CODES * 4 * MAX_LANES],
    /// Floats, or a register of integers.
    scales: [f32; 2 * MAX_LANES],
    mins: [f32; 2 * MAX_LANES],
}

impl StoredStrip {
    /// Zeros.
    pub(super) const EMPTY: Self = Self {
        codes: [0; STRIP_CODES * 4 * MAX_LANES],
        scales: [0.0; 2 * MAX_LANES],
        mins: [0.0; 2 * MAX_LANES],
    };

    /// Stores what the form of the strip has.
    #[inline(always)]
    pub(super) fn store<I: DotIsa, F: Form>(&mut self, isa: I, strip: &Strip<I>) {
        for k in 0..STRIP_CODES {
            isa.store(&mut self.codes[4 * I::LANES * k..], strip.codes[k]);
        }
        for i in 0..F::SCALES {
            isa.store_f32(&mut self.scales[I::LANES * i..], strip.scales[i]);
        }
        for i in 0..F::MINS {
            isa.store_f32(&mut self.mins[I::LANES * i..], strip.mins[i]);
        }
        if F::INTEGER_SCALES {
            isa.store(bytemuck::cast_slice_mut(&mut self.scales), strip.integer_scales);
        }
    }
}

/// The floats of a register, of those that were stored one after the other.
#[inline(always)]
fn load<I: DotIsa>(isa: I, stored: &[f32], register: usize) -> I::F32 {
    isa.load_f32(bytemuck::cast_slice(&stored[I::LANES * register..][..I::LANES]))
}

/// As it was stored for the same form and instruction set.
impl<I: DotIsa> CodeSource<I> for &StoredStrip {
    #[inline(always)]
    fn codes(&self, isa: I, k: usize) -> I::Codes {
        isa.load(&self.codes[4 * I::LANES * k..])
    }
}

impl<I: DotIsa> StripSource<I> for &StoredStrip {
    #[inline(always)]
    fn scale(&self, isa: I, part: usize) -> I::F32 {
        load(isa, &self.scales, part)
    }

    #[inline(always)]
    fn min(&self, isa: I, part: usize) -> I::F32 {
        load(isa, &self.mins, part)
    }

    #[inline(always)]
    fn integer_scales(&self, isa: I) -> I::Codes {
        isa.load(bytemuck::cast_slice(&self.scales))
    }
}

/// An unpacked header, in registers or in memory.
pub(super) trait HeaderSource<I: DotIsa> {
    /// The scale of a block whose strips have integer scales or none.
    fn scale(&self, isa: I) -> I::F32;
    /// What the minima are multiples of.
    fn min_scale(&self, isa: I) -> I::F32;
    /// Pair `i` of the minima, which the form has.
    fn mins(&self, isa: I, i: usize) -> I::Codes;
}

impl<I: DotIsa> HeaderSource<I> for Header<I> {
    #[inline(always)]
    fn scale(&self, _isa: I) -> I::F32 {
        self.scale
    }

    #[inline(always)]
    fn min_scale(&self, _isa: I) -> I::F32 {
        self.min_scale
    }

    #[inline(always)]
    fn mins(&self, _isa: I, i: usize) -> I::Codes {
        self.mins[i]
    }
}

/// A header unpacked into memory, for the widest instruction set.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct StoredHeader {
    scale: [f32; MAX_LANES],
    min_scale: [f32; MAX_LANES],
    mins: [u8; MAX_STRIPS * 4 * MAX_LANES],
}

impl StoredHeader {
    /// Zeros.
    pub(super) const EMPTY: Self =
        Self { scale: [0.0; MAX_LANES], min_scale: [0.0; MAX_LANES], mins: [0; MAX_STRIPS * 4 * MAX_LANES] };

    /// Stores what the form of the block has.
    #[inline(always)]
    pub(super) fn store<I: DotIsa, F: Form>(&mut self, isa: I, header: &Header<I>) {
        if F::SCALES == 0 {
            isa.store_f32(&mut self.scale, header.scale);
        }
        if F::PAIRS {
            isa.store_f32(&mut self.min_scale, header.min_scale);
            for i in 0..F::SUMS / 2 {
                isa.store(&mut self.mins[4 * I::LANES * i..], header.mins[i]);
            }
        }
    }
}

/// As it was stored for the same form and instruction set.
impl<I: DotIsa> HeaderSource<I> for &StoredHeader {
    #[inline(always)]
    fn scale(&self, isa: I) -> I::F32 {
        load(isa, &self.scale, 0)
    }

    #[inline(always)]
    fn min_scale(&self, isa: I) -> I::F32 {
        load(isa, &self.min_scale, 0)
    }

    #[inline(always)]
    fn mins(&self, isa: I, i: usize) -> I::Codes {
        isa.load(&self.mins[4 * I::LANES * i..])
    }
}

/// Bytes of the sums of a block of activations, a column.
const fn sum_bytes<F: Form>() -> usize {
    F::SUMS * if F::PAIRS { 2 } else { 4 }
}

/// Bytes of a record of activations, a column.
pub(super) const fn record_bytes<F: Form>() -> usize {
    F::STRIPS * STRIP_LEN + SCALE_BYTES + sum_bytes::<F>()
}

/// Four bytes of a record.
#[inline(always)]
fn four(record: &[u8], at: usize) -> [u8; 4] {
    let mut four = [0; 4];
    four.copy_from_slice(&record[at..at + 4]);
    four
}

/// The products of a block of `G` groups and `W` columns, as far as they are summed.
pub(super) struct Block<'a, I: DotIsa, F, const G: usize, const W: usize> {
    isa: I,
    /// A record of a tile of `W` columns.
    x: &'a [u8],
    /// Products that have taken integer scales.
    dots: [[I::I32; W]; G],
    sums: [[I::F32; W]; G],
    form: PhantomData<F>,
}

impl<'a, I: DotIsa, F: Form, const G: usize, const W: usize> Block<'a, I, F, G, W> {
    /// A block of which nothing is summed; `x` begins with a record of a tile of `W` columns.
    #[inline(always)]
    pub(super) fn new(isa: I, x: &'a [u8]) -> Self {
        let (x, none) = (&x[..W * record_bytes::<F>()], [[isa.splat_i32(0); W]; G]);
        let mut block = Self { isa, x, dots: none, sums: [[isa.splat_f32(0.0); W]; G], form: PhantomData };
        if F::SCALES == 0 && !F::INTEGER_SCALES {
            block.dots = block.start(F::SUMS - 1);
        }
        block
    }

    /// Sum `i` of the activations of column `c`.
    #[inline(always)]
    fn sum_of_x(&self, c: usize, i: usize) -> [u8; 4] {
        four(self.x, (F::STRIPS * STRIP_LEN + SCALE_BYTES) * W + sum_bytes::<F>() * c + 4 * i)
    }

    /// Where the products that belong to sum `i` of the activations start.
    #[inline(always)]
    fn start(&self, i: usize) -> [[I::I32; W]; G] {
        let mut dots = [[self.isa.splat_i32(0); W]; G];
        if F::MINS == 0 {
            for c in 0..W {
                let start = self.isa.splat_i32(i32::from_ne_bytes(self.sum_of_x(c, i)));
                for dots in &mut dots {
                    dots[c] = start;
                }
            }
        }
        dots
    }

    /// Adds strip `s`.
    #[inline(always)]
    pub(super) fn strip<S: StripSource<I>>(&mut self, strips: &[S; G], s: usize) {
        let isa = self.isa;
        let Some(x) = self.x[STRIP_LEN * W * s..].as_chunks().0.first_chunk::<W>() else {
            unreachable!("a record has the strips of its form");
        };
        if F::INTEGER_SCALES {
            let mut halves = [self.start(2 * s), self.start(2 * s + 1)];
            for (half, dots) in halves.iter_mut().enumerate() {
                isa.dot::<F, S, G, W>(dots, strips, STEP * half, x);
            }
            for g in 0..G {
                let scales = strips[g].integer_scales(isa);
                for c in 0..W {
                    let [lower, upper] = [halves[0][g][c], halves[1][g][c]];
                    self.dots[g][c] = isa.add_scaled(self.dots[g][c], lower, upper, F::UPPER_SHIFT, scales);
                }
            }
        } else if F::SCALES == 0 {
            // Few chains of products would wait for themselves: those of a strip are a chain of their own.
            let mut dots = if G * W < FEW_CHAINS { [[isa.splat_i32(0); W]; G] } else { self.dots };
            for step in 0..STRIP_CODES / STEP {
                isa.dot::<F, S, G, W>(&mut dots, strips, STEP * step, x);
            }
            if G * W < FEW_CHAINS {
                for g in 0..G {
                    for c in 0..W {
                        dots[g][c] = isa.add_i32(self.dots[g][c], dots[g][c]);
                    }
                }
            }
            self.dots = dots;
        }
        let steps = STRIP_CODES / STEP / if F::SCALES == 0 { 1 } else { F::SCALES };
        for part in 0..F::SCALES {
            let mut dots = self.start(F::SCALES * s + part);
            for step in 0..steps {
                isa.dot::<F, S, G, W>(&mut dots, strips, STEP * (steps * part + step), x);
            }
            for g in 0..G {
                let scale = strips[g].scale(isa, part);
                for c in 0..W {
                    let dots = isa.to_f32(dots[g][c]);
                    self.sums[g][c] = if F::STRIPS == 1 && part == 0 {
                        isa.mul(dots, scale)
                    } else {
                        isa.fma(dots, scale, self.sums[g][c])
                    };
                }
            }
        }
        if F::MINS > 0 && !F::PAIRS {
            for part in 0..F::MINS {
                for g in 0..G {
                    let min = strips[g].min(isa, part);
                    for c in 0..W {
                        let sum_of_x = isa.splat_f32(f32::from_ne_bytes(self.sum_of_x(c, part)));
                        self.sums[g][c] = isa.fma(min, sum_of_x, self.sums[g][c]);
                    }
                }
            }
        }
    }

    /// Adds the block, all of whose strips were added, to `sums`.
    #[inline(always)]
    pub(super) fn finish<H: HeaderSource<I>>(mut self, headers: &[H; G], sums: &mut [[I::F32; W]; G]) {
        let isa = self.isa;
        if F::SCALES == 0 {
            for g in 0..G {
                let scale = headers[g].scale(isa);
                for c in 0..W {
                    self.sums[g][c] = isa.mul(isa.to_f32(self.dots[g][c]), scale);
                }
            }
        }
        if F::PAIRS {
            let mut dots = [[isa.splat_i32(0); W]; G];
            for pair in 0..F::SUMS / 2 {
                for g in 0..G {
                    let mins = headers[g].mins(isa, pair);
                    for c in 0..W {
                        dots[g][c] = isa.dot_pair(dots[g][c], mins, self.sum_of_x(c, pair));
                    }
                }
            }
            for g in 0..G {
                let scale = headers[g].min_scale(isa);
                for c in 0..W {
                    self.sums[g][c] = isa.fma(isa.to_f32(dots[g][c]), scale, self.sums[g][c]);
                }
            }
        }
        for g in 0..G {
            for c in 0..W {
                let scale = four(self.x, F::STRIPS * STRIP_LEN * W + SCALE_BYTES * c);
                let scale = isa.splat_f32(f32::from_ne_bytes(scale));
                sums[g][c] = isa.fma(self.sums[g][c], scale, sums[g][c]);
            }
        }
    }
}
