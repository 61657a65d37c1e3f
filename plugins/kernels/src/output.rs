//! The output of a product, which tasks write in parts.

use std::marker::PhantomData;
use std::ops::Range;

/// The values of a product of `m` rows of `x` and `p` rows of a weight: `m` rows of `p` values.
pub struct Output<'a> {
    values: *mut f32,
    m: usize,
    p: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: no value is reached but through parts, and who makes one vouches that no two of them overlap.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// An output of rows of `p` values.
    ///
    /// # Panics
    /// If the values are not whole rows.
    pub fn new(values: &'a mut [f32], p: usize) -> Self {
        assert!(p > 0 && values.len().is_multiple_of(p), "whole rows");
        Self { m: values.len() / p, values: values.as_mut_ptr(), p, borrow: PhantomData }
    }

    /// The products of some rows of `x` with some rows of the weight.
    ///
    /// # Safety
    /// While it lives there is no other part of the output with one of these products.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub unsafe fn part(&self, of_x: Range<usize>, of_weight: Range<usize>) -> OutputPart<'_> {
        assert!(of_x.end <= self.m && of_weight.end <= self.p, "an output has such rows");
        OutputPart { values: self.values, p: self.p, of_x, of_weight, borrow: PhantomData }
    }
}

/// A part of an [`Output`], which one task writes.
pub struct OutputPart<'a> {
    values: *mut f32,
    p: usize,
    of_x: Range<usize>,
    of_weight: Range<usize>,
    borrow: PhantomData<&'a mut f32>,
}

impl OutputPart<'_> {
    /// The rows of `x` whose products are in this part.
    #[must_use]
    pub fn of_x(&self) -> Range<usize> {
        self.of_x.clone()
    }

    /// The rows of the weight whose products are in this part.
    #[must_use]
    pub fn of_weight(&self) -> Range<usize> {
        self.of_weight.clone()
    }

    /// The products of row `x` of `x` with some rows of the weight.
    ///
    /// # Panics
    /// If they are not in this part.
    #[inline(always)]
    pub fn row(&mut self, x: usize, of_weight: Range<usize>) -> &mut [f32] {
        assert!(
            self.of_x.contains(&x)
                && self.of_weight.start <= of_weight.start
                && of_weight.start <= of_weight.end
                && of_weight.end <= self.of_weight.end,
            "a part has what is written"
        );
        // SAFETY: the output has these products, in this order, and they are this part's alone.
        unsafe {
            std::slice::from_raw_parts_mut(self.values.add(x * self.p + of_weight.start), of_weight.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_writes_its_own_values_alone() {
        let mut values = [0.0; 12];
        let output = Output::new(&mut values, 4);
        // SAFETY: there is no other part.
        let mut part = unsafe { output.part(1..3, 1..3) };
        part.row(1, 1..3).fill(1.0);
        part.row(2, 2..3).fill(2.0);
        assert_eq!(values, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "a part has what is written")]
    fn a_part_does_not_reach_beyond_itself() {
        let mut values = [0.0; 12];
        let output = Output::new(&mut values, 4);
        // SAFETY: there is no other part.
        unsafe { output.part(1..3, 1..3) }.row(1, 2..4).fill(1.0);
    }
}
