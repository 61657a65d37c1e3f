//! Walking operands along the values of a shape, where each has strides of its own.

use std::ops::Range;

/// The most dimensions a tensor may have.
pub(super) const MAX_RANK: usize = 8;

/// How `N` operands are read for the values of a shape, in order: dimensions that all operands walk as one are merged.
pub(super) struct Walk<const N: usize> {
    rank: usize,
    extents: [usize; MAX_RANK],
    /// For each dimension, the values that each operand moves on by.
    strides: [[usize; N]; MAX_RANK],
}

impl<const N: usize> Walk<N> {
    /// A walk along `shape`, where `stride(axis)` tells how far each operand moves from one index of an axis to the next.
    ///
    /// # Panics
    /// If the shape has more than [`MAX_RANK`] dimensions other than 1.
    pub(super) fn new(shape: &[usize], stride: impl Fn(usize) -> [usize; N]) -> Self {
        let mut walk = Self { rank: 0, extents: [1; MAX_RANK], strides: [[0; N]; MAX_RANK] };
        for (axis, extent) in shape.iter().copied().enumerate().filter(|(_, extent)| *extent != 1) {
            let strides = stride(axis);
            let last = walk.rank.checked_sub(1);
            match last.filter(|last| walk.strides[*last] == strides.map(|stride| stride * extent)) {
                Some(last) => {
                    walk.extents[last] *= extent;
                    walk.strides[last] = strides;
                }
                None => {
                    walk.extents[walk.rank] = extent;
                    walk.strides[walk.rank] = strides;
                    walk.rank += 1;
                }
            }
        }
        walk.rank = walk.rank.max(1);
        walk
    }

    /// A walk along `shape`, to which the contiguous operands of these shapes broadcast.
    pub(super) fn broadcast(shape: &[usize], operands: [&[usize]; N]) -> Self {
        Self::new(shape, |axis| {
            operands.map(|operand| match (axis + operand.len()).checked_sub(shape.len()) {
                Some(own) if operand[own] != 1 => operand[own + 1..].iter().product(),
                _ => 0,
            })
        })
    }

    /// How far each operand moves from one value of a run to the next.
    pub(super) fn inner_strides(&self) -> [usize; N] {
        self.strides[self.rank - 1]
    }

    /// Where each operand's value for the value `index` of the shape lies.
    pub(super) fn offsets(&self, index: usize) -> [usize; N] {
        self.locate(index).1
    }

    fn locate(&self, index: usize) -> ([usize; MAX_RANK], [usize; N]) {
        let (mut place, mut offsets, mut rest) = ([0; MAX_RANK], [0; N], index);
        for axis in (0..self.rank).rev() {
            place[axis] = rest % self.extents[axis];
            rest /= self.extents[axis];
            self.shift(&mut offsets, axis, place[axis]);
        }
        (place, offsets)
    }

    fn shift(&self, offsets: &mut [usize; N], axis: usize, steps: usize) {
        for (offset, stride) in offsets.iter_mut().zip(&self.strides[axis]) {
            *offset += steps * stride;
        }
    }

    /// Calls `body` for each run of values `first..first + count` along which the operands move by [`Self::inner_strides`]: with
    /// the run, counted from `first`, and where it begins in each operand.
    #[inline(always)]
    pub(super) fn runs(&self, first: usize, count: usize, mut body: impl FnMut(Range<usize>, [usize; N])) {
        if count == 0 {
            return;
        }
        let inner = self.rank - 1;
        let (mut place, mut offsets) = self.locate(first);
        let mut done = 0;
        while done < count {
            let run = (self.extents[inner] - place[inner]).min(count - done);
            body(done..done + run, offsets);
            done += run;
            place[inner] += run;
            self.shift(&mut offsets, inner, run);
            let mut axis = inner;
            while axis > 0 && place[axis] == self.extents[axis] {
                place[axis] = 0;
                place[axis - 1] += 1;
                for (operand, offset) in offsets.iter_mut().enumerate() {
                    *offset -= self.extents[axis] * self.strides[axis][operand];
                    *offset += self.strides[axis - 1][operand];
                }
                axis -= 1;
            }
        }
    }
}
