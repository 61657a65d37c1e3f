//! compressed-tensors, made by hand, against its formula.

use serde_json::json;

use crate::common::{File, Model, bits, code, float, transposed};

/// Packed integers of compressed-tensors, with zero points packed along the rows where there are some.
fn packed(rows: usize, columns: usize, groups: usize, width: u32, with_zeros: bool) -> File {
    let per_word = 32 / width as usize;
    let line = |count: usize, value: &dyn Fn(usize) -> u8| -> Vec<u32> {
        let word = |word: usize| {
            let places = (0..per_word).filter(|place| word * per_word + place < count);
            places.fold(0, |all, place| {
                all | u32::from(value(word * per_word + place)) << (width as usize * place)
            })
        };
        (0..count.div_ceil(per_word)).map(word).collect()
    };
    let codes: Vec<u32> =
        (0..rows).flat_map(|row| line(columns, &|column| code(row * columns + column, width))).collect();
    let file = File::default()
        .i32("l.weight_packed", &[rows, columns.div_ceil(per_word)], &codes)
        .i64("l.weight_shape", &[2], &[rows as i64, columns as i64])
        .f16("l.weight_scale", &[rows, groups], &(0..rows * groups).map(float).collect::<Vec<_>>());
    if !with_zeros {
        return file;
    }
    let zeros: Vec<u32> =
        (0..groups).flat_map(|group| line(rows, &|row| code(row * groups + group + 11, width))).collect();
    let words = rows.div_ceil(per_word);
    file.i32("l.weight_zero_point", &[words, groups], &transposed(&zeros, groups))
}

#[test]
fn packed_integers_of_compressed_tensors() {
    for width in [1, 2, 4, 8] {
        for (rows, columns, groups) in [(4, 64, 2), (7, 96, 1), (9, 128, 4)] {
            for with_zeros in [false, true] {
                let group = columns / groups;
                let file = packed(rows, columns, groups, width, with_zeros);
                let weights = json!({"num_bits": width, "symmetric": !with_zeros, "group_size": group, "strategy": "group"});
                let config = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
                    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}});
                // 8 bits take as many words as 7 do, so that a configuration must tell.
                let without = (width < 8).then_some(None);
                for config in [Some(Some(config)), without].into_iter().flatten() {
                    let imported = Model::new(&file, config).import();
                    let middle = f32::from(1u8 << (width - 1));
                    let expected = (0..rows * columns).map(|index| {
                        let at = index / columns * groups + index % columns / group;
                        let zero = if with_zeros { f32::from(code(at + 11, width)) } else { middle };
                        ((f32::from(code(index, width)) - middle) - (zero - middle)) * float(at)
                    });
                    assert_eq!(
                        imported.bits("l.weight"),
                        bits(expected),
                        "{width} bits, {rows} x {columns}, {with_zeros}"
                    );
                    assert_eq!(imported.names(), ["l.weight"]);
                }
            }
        }
    }
}

#[test]
fn packed_integers_in_the_order_of_importance() {
    let (rows, columns, groups) = (4, 64, 4);
    let of = |column: usize| column * 13 % columns / (columns / groups);
    let index: Vec<u32> = (0..columns).map(|column| of(column) as u32).collect();
    let file = packed(rows, columns, groups, 4, false);
    let imported = Model::new(&file.clone().i32("l.weight_g_idx", &[columns], &index), None).import();
    let order = imported.tensor("l.weight.perm").values::<i64>().unwrap().to_vec();
    let expected = (0..rows * columns).map(|index| {
        let (row, column) = (index / columns, order[index % columns] as usize);
        (f32::from(code(row * columns + column, 4)) - 8.0) * float(row * groups + of(column))
    });
    assert_eq!(imported.bits("l.weight"), bits(expected));
    let unset = file.i32("l.weight_g_idx", &[columns], &[u32::MAX; 64]);
    assert_eq!(Model::new(&unset, None).import().names(), ["l.weight"]);
}

#[test]
fn bytes_of_compressed_tensors() {
    let (rows, columns) = (6, 64);
    let codes: Vec<u8> = (0..rows * columns).map(|index| code(index, 8)).collect();
    // Without NaN.
    let floats: Vec<u8> = codes.iter().map(|code| if code & 0x7f == 0x7f { 0 } else { *code }).collect();
    let e4m3 = |code: u8| bitquilt::F8E4M3::from_bits(code).to_f32();
    let scale = |file: File, name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        file.f32(name, shape, &(0..count).map(float).collect::<Vec<_>>())
    };
    type At = fn(usize, usize) -> usize;
    let block =
        |tall: usize, wide: usize| Some(json!({"quant_method": "fp8", "weight_block_size": [tall, wide]}));
    let cases: [(&str, &[usize], Option<serde_json::Value>, At); 7] = [
        ("l.weight_scale", &[], None, |_, _| 0),
        ("l.weight_scale", &[1], None, |_, _| 0),
        ("l.weight_scale", &[6, 1], None, |row, _| row),
        ("l.weight_scale", &[6, 4], None, |row, column| row * 4 + column / 16),
        ("l.weight_scale", &[3, 2], block(2, 32), |row, column| row / 2 * 2 + column / 32),
        ("l.weight_scale_inv", &[2, 4], block(3, 16), |row, column| row / 3 * 4 + column / 16),
        // The last blocks have fewer rows and columns.
        ("l.weight_scale_inv", &[2, 2], block(4, 48), |row, column| row / 4 * 2 + column / 48),
    ];
    for (name, shape, config, at) in cases {
        let file = File::default().tensor("l.weight", "F8_E4M3", &[rows, columns], floats.clone());
        let imported = Model::new(&scale(file, name, shape), config).import();
        let expected = (0..rows * columns)
            .map(|index| e4m3(floats[index]) * float(at(index / columns, index % columns)));
        assert_eq!(imported.bits("l.weight"), bits(expected), "{shape:?}");
        assert_eq!(imported.names(), ["l.weight"]);
    }
    for zero in [0u8, 0xfd] {
        let file = File::default().tensor("l.weight", "I8", &[rows, columns], codes.clone());
        let file = scale(file, "l.weight_scale", &[6, 1]).tensor(
            "l.weight_zero_point",
            "I8",
            &[6, 1],
            vec![zero; 6],
        );
        let imported =
            Model::new(&file, Some(json!({"quant_method": "compressed-tensors", "format": "int-quantized"})))
                .import();
        let signed = |byte: u8| f32::from(byte as i8);
        let expected =
            (0..rows * columns).map(|index| (signed(codes[index]) - signed(zero)) * float(index / columns));
        assert_eq!(imported.bits("l.weight"), bits(expected), "{zero}");
    }
}
