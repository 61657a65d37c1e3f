//! The types of ggml's tensors, by their numbers in files (`enum ggml_type` of ggml 0.25).

use std::sync::Arc;

use bitquilt_plugin_api::{DType, EncodingSpec};

use crate::tensor::TensorElement;

const DENSE: [(u32, DType); 8] = [
    (0, DType::F32),
    (1, DType::F16),
    (24, DType::I8),
    (25, DType::I16),
    (26, DType::I32),
    (27, DType::I64),
    (28, DType::F64),
    (30, DType::BF16),
];

/// Number, name, values and bytes of a block.
const ENCODED: [(u32, &str, usize, usize); 25] = [
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (10, "q2_k", 256, 84),
    (11, "q3_k", 256, 110),
    (12, "q4_k", 256, 144),
    (13, "q5_k", 256, 176),
    (14, "q6_k", 256, 210),
    (16, "iq2_xxs", 256, 66),
    (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18),
    (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136),
    (29, "iq1_m", 256, 56),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
    (41, "q1_0", 128, 18),
    (42, "q2_0", 64, 18),
];

/// What a tensor of this type is made of; none for types that this version does not know, that ggml has no more, or that it has in
/// memory alone (`q8_1`, `q8_k`).
pub(super) fn element(type_id: u32) -> Option<TensorElement> {
    if let Some((_, dtype)) = DENSE.iter().find(|(id, _)| *id == type_id) {
        return Some(TensorElement::Dense(*dtype));
    }
    let (_, name, block_len, block_bytes) = ENCODED.iter().find(|(id, ..)| *id == type_id)?;
    Some(TensorElement::Encoded(Arc::new(EncodingSpec::new(*name, *block_len, *block_bytes))))
}

/// The name of a type that is known by its number alone.
pub(super) fn unknown_name(type_id: u32) -> String {
    format!("ggml.{type_id}")
}
