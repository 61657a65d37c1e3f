//! Products of quantized weights and quantized activations.
//!
//! A block of activations is as long as one of the weight, and its products are summed for each of its strips, and each part of it
//! that has a scale of its own, in this order: `block = fma(f32(products), scale, block)`, `products` being the exact integer sum of
//! `(q - o) * x` over the part. Where scales are integers, `block` is one too, whether codes or sums of products take the scales, and
//! then multiplied with the scale of the whole block. Then come the minima: for a block of one strip each is a float,
//! `block = fma(min, sum(x), block)`; for a longer one they are integers, `block = fma(f32(sum of min * sum(x)), min scale, block)`. At
//! last `sum = fma(block, d, sum)`, `d` being the scale of the activations.

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
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn scale(&self, part: usize) -> I::F32;
    /// The minimum of part `part`.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn min(&self, part: usize) -> I::F32;
    /// The integer scales of the halves.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn integer_scales(&self) -> I::Codes;
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

    #[inline(always)]
    unsafe fn integer_scales(&self) -> I::Codes {
        self.integer_scales
    }
}

/// A strip unpacked into memory, for the widest instruction set.
#[repr(C, align(64))]
pub(super) struct StoredStrip {
    codes: [u8; STRIP_CODES * 4 * MAX_LANES],
    /// Floats, or a register of integers.
    scales: [f32; 2 * MAX_LANES],
    mins: [f32; 2 * MAX_LANES],
}

impl StoredStrip {
    /// Stores what the form of the strip has.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `at` is writable.
    #[inline(always)]
    pub(super) unsafe fn store<I: DotIsa, F: Form>(at: *mut Self, strip: &Strip<I>) {
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
            if F::INTEGER_SCALES {
                I::store(scales.cast(), strip.integer_scales);
            }
        }
    }
}

/// A pointer to a [`StoredStrip`] that was stored for the same form and instruction set.
#[derive(Clone, Copy)]
pub(super) struct Stored(pub(super) *const StoredStrip);

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

    #[inline(always)]
    unsafe fn integer_scales(&self) -> I::Codes {
        // SAFETY: the strip was stored for `I` and its form, which has these scales.
        unsafe { I::load((&raw const (*self.0).scales).cast()) }
    }
}

/// An unpacked header, in registers or in memory.
pub(super) trait HeaderSource<I: DotIsa> {
    /// The scale of a block whose strips have integer scales.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn scale(&self) -> I::F32;
    /// What the minima are multiples of.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    unsafe fn min_scale(&self) -> I::F32;
    /// Pair `i` of the minima.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the form has that pair.
    unsafe fn mins(&self, i: usize) -> I::Codes;
}

impl<I: DotIsa> HeaderSource<I> for Header<I> {
    #[inline(always)]
    unsafe fn scale(&self) -> I::F32 {
        self.scale
    }

    #[inline(always)]
    unsafe fn min_scale(&self) -> I::F32 {
        self.min_scale
    }

    #[inline(always)]
    unsafe fn mins(&self, i: usize) -> I::Codes {
        self.mins[i]
    }
}

/// A header unpacked into memory, for the widest instruction set.
#[repr(C, align(64))]
pub(super) struct StoredHeader {
    scale: [f32; MAX_LANES],
    min_scale: [f32; MAX_LANES],
    mins: [u8; MAX_STRIPS * 4 * MAX_LANES],
}

impl StoredHeader {
    /// Stores what the form of the block has.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `at` is writable.
    #[inline(always)]
    pub(super) unsafe fn store<I: DotIsa, F: Form>(at: *mut Self, header: &Header<I>) {
        // SAFETY: there is room for the registers of the widest instruction set.
        unsafe {
            if F::SCALES == 0 {
                I::store_f32((&raw mut (*at).scale).cast(), header.scale);
            }
            if F::PAIRS {
                I::store_f32((&raw mut (*at).min_scale).cast(), header.min_scale);
                let mins = (&raw mut (*at).mins).cast::<u8>();
                for i in 0..F::SUMS / 2 {
                    I::store(mins.add(4 * I::LANES * i), header.mins[i]);
                }
            }
        }
    }
}

impl<I: DotIsa> HeaderSource<I> for *const StoredHeader {
    #[inline(always)]
    unsafe fn scale(&self) -> I::F32 {
        // SAFETY: the header was stored for `I` and its form, which has a scale.
        unsafe { I::load_f32((&raw const (**self).scale).cast()) }
    }

    #[inline(always)]
    unsafe fn min_scale(&self) -> I::F32 {
        // SAFETY: the header was stored for `I` and its form, which has minima.
        unsafe { I::load_f32((&raw const (**self).min_scale).cast()) }
    }

    #[inline(always)]
    unsafe fn mins(&self, i: usize) -> I::Codes {
        // SAFETY: the header was stored for `I` and its form, which has this pair.
        unsafe { I::load((&raw const (**self).mins).cast::<u8>().add(4 * I::LANES * i)) }
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

/// The products of a block of `G` groups and `W` columns, as far as they are summed.
pub(super) struct Block<I: DotIsa, const G: usize, const W: usize> {
    /// Those that have taken integer scales.
    dots: [[I::I32; W]; G],
    sums: [[I::F32; W]; G],
}

impl<I: DotIsa, const G: usize, const W: usize> Block<I, G, W> {
    /// A block of which nothing is summed.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `x` is a record of a tile of `W` columns for the form `F`.
    #[inline(always)]
    pub(super) unsafe fn new<F: Form>(x: *const u8) -> Self {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let dots = match F::SCALES == 0 && !F::INTEGER_SCALES {
                true => Self::start::<F>(x, F::SUMS - 1),
                false => [[I::zero_i32(); W]; G],
            };
            Self { dots, sums: [[I::zero(); W]; G] }
        }
    }

    /// Where the products that belong to sum `i` of the activations start.
    ///
    /// # Safety
    /// As for [`new`](Self::new); the form has that sum.
    #[inline(always)]
    unsafe fn start<F: Form>(x: *const u8, i: usize) -> [[I::I32; W]; G] {
        // SAFETY: the record has the sums of each column.
        unsafe {
            let mut dots = [[I::zero_i32(); W]; G];
            if F::MINS == 0 {
                let sums_of_x = x.add((F::STRIPS * STRIP_LEN + SCALE_BYTES) * W);
                for c in 0..W {
                    let start = I::broadcast_i32(sums_of_x.add(sum_bytes::<F>() * c + 4 * i));
                    for dots in &mut dots {
                        dots[c] = start;
                    }
                }
            }
            dots
        }
    }

    /// Adds strip `s`.
    ///
    /// # Safety
    /// As for [`new`](Self::new); the form has that strip.
    #[inline(always)]
    pub(super) unsafe fn strip<F: Form, S: StripSource<I>>(
        &mut self,
        strips: &[S; G],
        x: *const u8,
        s: usize,
    ) {
        // SAFETY: the record has what is read: codes and the sums of each column.
        unsafe {
            let codes = x.add(STRIP_LEN * W * s).cast();
            if F::INTEGER_SCALES {
                let mut halves = [Self::start::<F>(x, 2 * s), Self::start::<F>(x, 2 * s + 1)];
                for (half, dots) in halves.iter_mut().enumerate() {
                    I::dot::<F, S, G, W>(dots, strips, STEP * half, codes);
                }
                for g in 0..G {
                    let scales = strips[g].integer_scales();
                    for c in 0..W {
                        let [lower, upper] = [halves[0][g][c], halves[1][g][c]];
                        self.dots[g][c] = I::add_scaled::<F>(self.dots[g][c], lower, upper, scales);
                    }
                }
            } else if F::SCALES == 0 {
                // Few chains of products would wait for themselves: those of a strip are a chain of their own.
                let mut dots = if G * W < FEW_CHAINS { [[I::zero_i32(); W]; G] } else { self.dots };
                for step in 0..STRIP_CODES / STEP {
                    I::dot::<F, S, G, W>(&mut dots, strips, STEP * step, codes);
                }
                if G * W < FEW_CHAINS {
                    for g in 0..G {
                        for c in 0..W {
                            dots[g][c] = I::add_i32(self.dots[g][c], dots[g][c]);
                        }
                    }
                }
                self.dots = dots;
            }
            let steps = STRIP_CODES / STEP / if F::SCALES == 0 { 1 } else { F::SCALES };
            for part in 0..F::SCALES {
                let mut dots = Self::start::<F>(x, F::SCALES * s + part);
                for step in 0..steps {
                    I::dot::<F, S, G, W>(&mut dots, strips, STEP * (steps * part + step), codes);
                }
                for g in 0..G {
                    let scale = strips[g].scale(part);
                    for c in 0..W {
                        let dots = I::to_f32(dots[g][c]);
                        self.sums[g][c] = if F::STRIPS == 1 && part == 0 {
                            I::mul(dots, scale)
                        } else {
                            I::fma(dots, scale, self.sums[g][c])
                        };
                    }
                }
            }
            if F::MINS > 0 && !F::PAIRS {
                let sums_of_x = x.add((STRIP_LEN + SCALE_BYTES) * W);
                for part in 0..F::MINS {
                    for g in 0..G {
                        let min = strips[g].min(part);
                        for c in 0..W {
                            let sum_of_x = I::broadcast(sums_of_x.add(sum_bytes::<F>() * c + 4 * part));
                            self.sums[g][c] = I::fma(min, sum_of_x, self.sums[g][c]);
                        }
                    }
                }
            }
        }
    }

    /// Adds the block, all of whose strips were added, to `sums`.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline(always)]
    pub(super) unsafe fn finish<F: Form, H: HeaderSource<I>>(
        mut self,
        headers: &[H; G],
        x: *const u8,
        sums: &mut [[I::F32; W]; G],
    ) {
        // SAFETY: the record has what is read: a scale and the sums of each column.
        unsafe {
            let scales = x.add(F::STRIPS * STRIP_LEN * W);
            let sums_of_x = scales.add(SCALE_BYTES * W);
            if F::SCALES == 0 {
                for g in 0..G {
                    let scale = headers[g].scale();
                    for c in 0..W {
                        self.sums[g][c] = I::mul(I::to_f32(self.dots[g][c]), scale);
                    }
                }
            }
            if F::PAIRS {
                let mut dots = [[I::zero_i32(); W]; G];
                for pair in 0..F::SUMS / 2 {
                    for g in 0..G {
                        let mins = headers[g].mins(pair);
                        for c in 0..W {
                            let x = sums_of_x.add(sum_bytes::<F>() * c + 4 * pair);
                            dots[g][c] = I::dot_pair(dots[g][c], mins, x);
                        }
                    }
                }
                for g in 0..G {
                    let scale = headers[g].min_scale();
                    for c in 0..W {
                        self.sums[g][c] = I::fma(I::to_f32(dots[g][c]), scale, self.sums[g][c]);
                    }
                }
            }
            for g in 0..G {
                for c in 0..W {
                    let scale = I::broadcast(scales.add(SCALE_BYTES * c));
                    sums[g][c] = I::fma(self.sums[g][c], scale, sums[g][c]);
                }
            }
        }
    }
}
