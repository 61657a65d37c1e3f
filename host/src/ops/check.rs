//! What inference asks of inputs, and the sentences for what does not fit.

use bitquilt_plugin_api::{DType, Dim, Error, InferContext, NodeView, Result, ShapeDisplay, TensorType};
use bitquilt_simd::{AnySimd, Isa};

use super::walk::MAX_RANK;

/// An input of a node, by the name that its signature gives it.
pub(super) struct Input<'a> {
    pub(super) name: &'static str,
    pub(super) tensor: &'a TensorType,
}

impl<'a> Input<'a> {
    /// Input `index`; an error if the node has fewer, or its rank is more than kernels walk.
    pub(super) fn of(cx: &'a InferContext<'_>, index: usize, name: &'static str) -> Result<Self> {
        let tensor = cx
            .inputs()
            .get(index)
            .ok_or_else(|| Error::invalid(format_args!("the input `{name}` is missing")))?;
        if tensor.rank() > MAX_RANK {
            return Err(Error::unsupported(format_args!(
                "`{name}` is {tensor}, of rank {}; at most {MAX_RANK} dimensions are supported",
                tensor.rank()
            )));
        }
        Ok(Self { name, tensor })
    }

    /// Its dimensions.
    pub(super) fn shape(&self) -> &'a [Dim] {
        &self.tensor.shape
    }

    /// An error that says what it is and what is expected.
    pub(super) fn refuse(&self, expected: impl std::fmt::Display) -> Error {
        Error::invalid(format_args!("`{}` is {}; expected {expected}", self.name, self.tensor))
    }

    /// Its dtype; an error if it is none of `allowed`.
    pub(super) fn dtype(&self, allowed: &[DType]) -> Result<DType> {
        self.tensor.dtype().filter(|dtype| allowed.contains(dtype)).ok_or_else(|| {
            let names: Vec<String> = allowed.iter().map(DType::to_string).collect();
            self.refuse(format_args!("{} values", names.join(" or ")))
        })
    }

    /// Itself, if its values are f32.
    pub(super) fn f32(self) -> Result<Self> {
        self.dtype(&[DType::F32])?;
        Ok(self)
    }
}

/// The shape that `a` and `b` broadcast to: aligned at their last dimensions, each pair is equal, or one of it is 1.
pub(super) fn broadcast(a: &Input<'_>, b: &Input<'_>) -> Result<Vec<Dim>> {
    broadcast_dims(a.shape(), b.shape()).map_err(|(left, right)| {
        Error::invalid(format_args!(
            "`{}` is {} and `{}` is {}; expected shapes that broadcast, got {left} against {right}, which are neither equal nor 1",
            a.name, a.tensor, b.name, b.tensor
        ))
    })
}

/// [`broadcast`] of bare shapes; the error is the pair that does not fit.
pub(super) fn broadcast_dims<'a>(a: &'a [Dim], b: &'a [Dim]) -> Result<Vec<Dim>, (&'a Dim, &'a Dim)> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let (outer, inner) = long.split_at(long.len() - short.len());
    let one = Dim::Fixed(1);
    let mut shape = outer.to_vec();
    for (left, right) in inner.iter().zip(short) {
        shape.push(match (left == &one, right == &one) {
            (true, _) => right.clone(),
            (_, true) => left.clone(),
            _ if left == right => left.clone(),
            _ => return Err(if a.len() >= b.len() { (left, right) } else { (right, left) }),
        });
    }
    Ok(shape)
}

/// The index of `axis`, which counts from the end where it is negative.
pub(crate) fn axis_index(axis: i64, rank: usize) -> Option<usize> {
    let from_end = |axis: i64| rank.checked_sub(usize::try_from(axis.unsigned_abs()).ok()?);
    let index = if axis < 0 { from_end(axis)? } else { usize::try_from(axis).ok()? };
    (index < rank).then_some(index)
}

/// The index of the attribute `axis` of a node whose `x` is of this type.
pub(super) fn axis(node: &NodeView<'_>, x: &TensorType) -> Result<usize> {
    let (axis, rank) = (node.attributes().int("axis")?, x.rank());
    axis_index(axis, rank).ok_or_else(|| match rank {
        0 => Error::invalid(format_args!("`axis` is {axis} and `x` is {x}; expected a tensor that has axes")),
        _ => Error::invalid(format_args!(
            "`axis` is {axis} and `x` is {x}; expected an axis from -{rank} to {}",
            rank - 1
        )),
    })
}

/// The order of axes that a node asks for: none given reverses them. An error if it is no permutation.
pub(super) fn permutation(node: &NodeView<'_>, shape: &[Dim]) -> Result<Vec<usize>> {
    let (axes, rank) = (node.attributes().ints("axes")?, shape.len());
    if axes.is_empty() {
        return Ok((0..rank).rev().collect());
    }
    let mut order = Vec::with_capacity(rank);
    for axis in axes {
        match axis_index(*axis, rank) {
            Some(index) if !order.contains(&index) => order.push(index),
            _ => break,
        }
    }
    if order.len() == rank && axes.len() == rank {
        return Ok(order);
    }
    Err(Error::invalid(format_args!(
        "`axes` is {}; expected each axis of the shape {} once",
        ShapeDisplay(axes),
        ShapeDisplay(shape)
    )))
}

/// The lanes of the instruction set that a node's session chooses.
pub(super) fn chosen_simd(node: &NodeView<'_>) -> Result<AnySimd> {
    Isa::of_option(node.option("isa").as_deref()).map(AnySimd::of).map_err(Error::invalid)
}
