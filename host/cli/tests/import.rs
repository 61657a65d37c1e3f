//! `bitquilt import`, and what it says of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bitquilt::Tensor;
use bitquilt_tests::workplace::Workplace;
use common::workplace;

const CONFIG: &str =
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true}}"#;

/// A directory with a layer of GPTQ of 32 outputs and 64 inputs, whose codes are all 9 and whose zeros are 8.
fn workplace_with_model(order: impl Fn(usize) -> i32) -> Workplace {
    let here = workplace();
    let tensor = |shape: [usize; 2], value: u32| Tensor::full(shape, value as i32);
    let tensors = [
        ("up.qweight", tensor([8, 32], 0x9999_9999)),
        ("up.qzeros", tensor([2, 4], 0x7777_7777)),
        ("up.scales", Tensor::new([2, 32], [[0.5f32; 32], [0.25; 32]].concat()).unwrap()),
        ("up.g_idx", Tensor::new([64], (0..64).map(order).collect::<Vec<i32>>()).unwrap()),
        ("norm", Tensor::full([2], 1.0f32)),
    ];
    here.save("model.safetensors", tensors);
    here.write("config.json", CONFIG);
    here
}

#[test]
fn a_model_is_imported_and_opens_anywhere() {
    let here = workplace_with_model(|column| column as i32 / 32);
    let said = here.succeeds(&["import", ".", "out"]);
    assert_eq!(
        said,
        "out: 1 weight of GPTQ, and 1 tensor as it was\n\
         encoding           weights    MB  bits a value\n\
         gptq.int4_g32_f32        1  0.00          5.00\n"
    );
    let inspected = here.succeeds(&["inspect", "out"]);
    assert!(inspected.contains("gptq.int4_g32_f32") && inspected.contains("[32, 64]"), "{inspected}");
    here.succeeds(&["dequantize", "out", "decoded"]);
    let decoded = here.load("decoded");
    let values = decoded.values::<f32>("up.weight").unwrap();
    assert!(values.chunks(64).all(|row| row[..32] == [0.5; 32] && row[32..] == [0.25; 32]));
    // The same for every number of threads.
    for threads in ["1", "3"] {
        here.succeeds(&["import", "model.safetensors", "other", "--threads", threads]);
        assert_eq!(here.read("out"), here.read("other"));
    }
}

#[test]
fn columns_in_another_order_are_said() {
    let here = workplace_with_model(|column| column as i32 % 2);
    let said = here.succeeds(&["import", ".", "out"]);
    assert!(said.ends_with("\n1 weight has its columns in another order: NAME.perm says which\n"), "{said}");
    assert!(here.succeeds(&["inspect", "out"]).contains("up.weight.perm"));
}

#[test]
fn what_cannot_be_imported_is_one_sentence() {
    let here = workplace_with_model(|column| column as i32);
    here.write("out", "old");
    let said = here.fails(&["import", ".", "out"]);
    assert_eq!(
        said,
        "./model.safetensors, tensor `up.g_idx`: the entry 2 is 2, and the groups are 0 to 1; the file is damaged"
    );
    let said = here.fails(&["import", "nothing", "out"]);
    assert!(said.starts_with("cannot read nothing: "), "{said}");
    let whole = workplace_with_model(|column| column as i32 / 32);
    let said = whole.fails(&["import", ".", "out.gguf"]);
    assert!(said.contains("out.gguf"), "{said}");
}
