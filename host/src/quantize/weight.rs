//! What is a weight.

use bitquilt_plugin_api::Element;

use crate::tensor::FLOATS;

/// What [`is_dense_weight`] is true of, for messages.
pub const WEIGHTS: &str = "weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values)";

/// Whether a tensor of this element and logical shape is a weight: a matrix, or several of one shape, as those of experts, of f32, f16 or
/// bf16 values, or encoded. Its rows are what an encoding takes, along the last dimension.
pub fn is_weight(element: &Element, shape: &[usize]) -> bool {
    matches!(shape.len(), 2 | 3) && (is_float(element) || matches!(element, Element::Encoded(_)))
}

/// Whether a tensor is a [weight](is_weight) that is not encoded.
pub fn is_dense_weight(element: &Element, shape: &[usize]) -> bool {
    is_weight(element, shape) && is_float(element)
}

/// Whether an encoding takes the values.
pub(super) fn is_float(element: &Element) -> bool {
    matches!(element, Element::Dense(dtype) if FLOATS.contains(dtype))
}
