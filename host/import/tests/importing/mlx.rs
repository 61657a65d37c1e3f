//! MLX, made by hand, against its formulas.

use serde_json::json;

use crate::common::{File, Model, bits, code, float, stream};

/// A weight of MLX of any rank.
fn mlx(outer: &[usize], columns: usize, group: usize, width: u32) -> File {
    let rows: usize = outer.iter().product();
    let line = |row: usize| stream((0..columns).map(|column| code(row * columns + column, width)), width);
    let words: Vec<u32> = (0..rows).flat_map(line).collect();
    let shape = |last: usize| [outer, &[last]].concat();
    let count = rows * columns / group;
    File::default()
        .u32("l.weight", &shape(words.len() / rows), &words)
        .f16("l.scales", &shape(columns / group), &(0..count).map(float).collect::<Vec<_>>())
        .f16(
            "l.biases",
            &shape(columns / group),
            &(0..count).map(|index| float(index + 20)).collect::<Vec<_>>(),
        )
}

#[test]
fn mlx_of_every_width() {
    for width in [2, 3, 4, 5, 6, 8] {
        for (outer, columns, group) in [(&[3][..], 64, 32), (&[7], 128, 64), (&[2, 3], 128, 128)] {
            let model = Model::new(&mlx(outer, columns, group, width), None);
            // Another width for all layers, and this layer's own.
            let own = json!({"bits": width, "group_size": group});
            let quantization = json!({"bits": 4, "group_size": 1, "l": own, "other": false});
            model.write("config.json", &json!({"quantization": quantization}).to_string());
            let imported = model.import();
            let rows: usize = outer.iter().product();
            let expected = (0..rows * columns).map(|index| {
                let at = index / group;
                f32::from(code(index, width)) * float(at) + float(at + 20)
            });
            assert_eq!(imported.bits("l.weight"), bits(expected), "{width} bits, {outer:?} x {columns}");
            assert_eq!(imported.decoded("l.weight").shape(), [outer, &[columns]].concat());
            assert_eq!(imported.encoding("l.weight"), format!("mlx.int{width}m_g{group}"));
        }
    }
}

#[test]
fn mlx_of_floats() {
    let e2m1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0f32];
    let (rows, columns) = (3, 64);
    let words: Vec<u32> = (0..rows)
        .flat_map(|row| stream((0..columns).map(move |column| code(row * columns + column, 4)), 4))
        .collect();
    for (mode, group, scale) in [
        ("mxfp4", 32, (|byte| 2f32.powi(i32::from(byte) - 127)) as fn(u8) -> f32),
        ("nvfp4", 16, |byte| f32::from(byte - 120) / 8.0 + 1.0),
    ] {
        let count = rows * columns / group;
        // Exponents near that of 1; and of e4m3 the binade from 1 on.
        let byte =
            |index: usize| if mode == "mxfp4" { 120 + (index % 9) as u8 } else { 0x38 + (index % 8) as u8 };
        let value =
            |index: usize| if mode == "mxfp4" { scale(byte(index)) } else { 1.0 + (index % 8) as f32 / 8.0 };
        let file = File::default().u32("l.weight", &[rows, columns / 8], &words).u8(
            "l.scales",
            &[rows, columns / group],
            &(0..count).map(byte).collect::<Vec<_>>(),
        );
        let model = Model::new(&file, None);
        let quantization = json!({"quantization": {"bits": 4, "group_size": group, "mode": mode}});
        model.write("config.json", &quantization.to_string());
        let expected = (0..rows * columns).map(|index| {
            let code = code(index, 4);
            let level = e2m1[usize::from(code & 7)];
            (if code & 8 == 0 { level } else { -level }) * value(index / group)
        });
        assert_eq!(model.import().bits("l.weight"), bits(expected), "{mode}");
    }
}
