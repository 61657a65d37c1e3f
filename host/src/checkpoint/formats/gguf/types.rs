//! The types of ggml's tensors, by their numbers in files (`enum ggml_type` of ggml 0.25).

use std::sync::Arc;

use bitquilt_ggml_blocks::FORMATS;
use bitquilt_plugin_api::{DType, EncodingSpec};

use crate::tensor::TensorElement;

/// The types whose values lie one by one; [`FORMATS`] has the others, by block.
const DENSE: [(u32, DType); 8] = [
    (F32, DType::F32),
    (1, DType::F16),
    (24, DType::I8),
    (25, DType::I16),
    (26, DType::I32),
    (27, DType::I64),
    (28, DType::F64),
    (30, DType::BF16),
];

/// The number of f32.
const F32: u32 = 0;

/// What a tensor of this type is made of; none for types that this version does not know, that ggml has no more, or that it has in
/// memory alone (`q8_1`, `q8_k`).
pub(super) fn element(type_id: u32) -> Option<TensorElement> {
    if let Some((_, dtype)) = DENSE.iter().find(|(id, _)| *id == type_id) {
        return Some(TensorElement::Dense(*dtype));
    }
    let format = FORMATS.iter().find(|format| format.ggml_type == type_id)?;
    Some(TensorElement::Encoded(Arc::new(EncodingSpec::new(
        format.name,
        format.block_len,
        format.block_bytes,
    ))))
}

/// The number of the type that a tensor is of; none if ggml has no such type.
pub(super) fn number(element: &TensorElement) -> Option<u32> {
    match element {
        TensorElement::Dense(dtype) => DENSE.iter().find(|(_, known)| known == dtype).map(|(id, _)| *id),
        // What is encoded as f32 is f32.
        TensorElement::Encoded(spec) if (&spec.name[..], spec.block_len) == ("f32", 1) => Some(F32),
        TensorElement::Encoded(spec) => {
            let format = FORMATS.iter().find(|format| format.name == spec.name)?;
            let is_same = (format.block_len, format.block_bytes) == (spec.block_len, spec.block_bytes);
            (is_same && spec.layout.is_none()).then_some(format.ggml_type)
        }
        TensorElement::Opaque(opaque) => opaque.name.strip_prefix(UNKNOWN)?.parse().ok(),
    }
}

/// What the names of types begin with that are known by their number alone.
const UNKNOWN: &str = "ggml.";

/// The name of a type that is known by its number alone.
pub(super) fn unknown_name(type_id: u32) -> String {
    format!("{UNKNOWN}{type_id}")
}
