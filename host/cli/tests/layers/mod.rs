//! A model for the tests of what is made of its weights.

use bitquilt::{DType, Tensor, TensorDict, checkpoint};
use bitquilt_tests::workplace::Workplace;
use bitquilt_tests::{values, weight};

/// A directory with the checkpoint `model`: two layers of weights, of all three dtypes, and what is no weight.
pub fn workplace() -> Workplace {
    let here = crate::common::workplace();
    let done = here.registry().require_encoding("q8_0").unwrap().quantize(&weight([2, 64])).unwrap().tensor;
    let mut model = TensorDict::from_iter([
        ("layer.0.up", weight([3, 512])),
        ("layer.0.down", narrow(DType::F16, [2, 256])),
        ("layer.1.up", narrow(DType::BF16, [5, 256])),
        ("layer.1.done", done),
        ("norm", weight([512])),
        ("ids", Tensor::new([2, 2], [1i64, 2, 3, 4]).unwrap()),
        ("experts", weight([2, 2, 256])),
        ("kernel", weight([2, 1, 2, 3])),
    ]);
    model.metadata_mut().insert("author", "nobody");
    checkpoint::save(&model, here.path("model")).unwrap();
    here
}

/// [`weight`] in a smaller dtype.
fn narrow(dtype: DType, shape: [usize; 2]) -> Tensor {
    let bits = |x: f32| match dtype {
        DType::F16 => half::f16::from_f32(x).to_bits(),
        _ => half::bf16::from_f32(x).to_bits(),
    };
    let bytes: Vec<u8> =
        values(shape.iter().product()).into_iter().flat_map(|x| bits(x).to_le_bytes()).collect();
    Tensor::from_bytes(dtype, shape, &bytes).unwrap()
}
