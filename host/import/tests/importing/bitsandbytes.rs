//! The 4-bit types of bitsandbytes, made by hand, against their formula.

use serde_json::json;

use crate::common::{File, Model, bits, code, float};

/// A weight of bitsandbytes, with scales that are floats, or quantized again in blocks of 4.
fn bitsandbytes(rows: usize, columns: usize, block: usize, map: &[f32], nested: bool) -> File {
    let count = rows * columns;
    let blocks = count.div_ceil(block);
    let packed: Vec<u8> = (0..count.div_ceil(2))
        .map(|index| code(2 * index, 4) << 4 | if 2 * index + 1 < count { code(2 * index + 1, 4) } else { 0 })
        .collect();
    let mut state =
        json!({"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": [rows, columns]});
    let file =
        File::default().u8("l.weight", &[packed.len(), 1], &packed).f32("l.weight.quant_map", &[16], map);
    let file = match nested {
        false => file.f32("l.weight.absmax", &[blocks], &(0..blocks).map(float).collect::<Vec<_>>()),
        true => {
            state["nested_blocksize"] = json!(4);
            state["nested_dtype"] = json!("float32");
            state["nested_offset"] = json!(f64::from(0.3f32));
            let map: Vec<f32> = (0..256).map(|index| (index as f32 - 100.0) / 97.0).collect();
            file.u8(
                "l.weight.absmax",
                &[blocks],
                &(0..blocks).map(|index| code(index, 8)).collect::<Vec<_>>(),
            )
            .f32(
                "l.weight.nested_absmax",
                &[blocks.div_ceil(4)],
                &(0..blocks.div_ceil(4)).map(float).collect::<Vec<_>>(),
            )
            .f32("l.weight.nested_quant_map", &[256], &map)
        }
    };
    let state = state.to_string();
    file.u8("l.weight.quant_state.bitsandbytes__nf4", &[state.len()], state.as_bytes())
}

#[test]
fn bitsandbytes_with_scales_of_both_kinds() {
    let map: Vec<f32> = (0..16).map(|index| (index as f32 - 7.0) / 9.0).collect();
    // Blocks that fit, that reach over rows, and a last one that is not full.
    for (rows, columns, block) in [(4, 64, 64), (3, 64, 32), (6, 24, 32), (5, 16, 64)] {
        for nested in [false, true] {
            let file = bitsandbytes(rows, columns, block, &map, nested);
            let config =
                json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"});
            let imported = Model::new(&file, Some(config)).import();
            let absmax = |index: usize| match nested {
                false => float(index),
                true => (f32::from(code(index, 8)) - 100.0) / 97.0 * float(index / 4) + 0.3f32,
            };
            let expected =
                (0..rows * columns).map(|index| map[usize::from(code(index, 4))] * absmax(index / block));
            assert_eq!(imported.bits("l.weight"), bits(expected), "{rows} x {columns}, {block}, {nested}");
            assert_eq!(imported.names(), ["l.weight"]);
            // The table is not the type's own, which the name tells.
            assert!(imported.encoding("l.weight").starts_with("bnb.nf4-"));
        }
    }
    let table = [
        -1.0,
        -0.6961928,
        -0.52507305,
        -0.3949175,
        -0.28444138,
        -0.18477343,
        -0.091050036,
        0.0,
        0.0795803,
        0.1609302,
        0.2461123,
        0.33791524,
        0.44070983,
        0.562617,
        0.72295684,
        1.0f32,
    ];
    let imported = Model::new(&bitsandbytes(4, 64, 64, &table, false), None).import();
    assert_eq!(imported.encoding("l.weight"), "bnb.nf4_g64_f32");
}
