//! HQQ, made by hand, against its formula.

use serde_json::json;

use crate::common::{File, Model, bits, code, float};

/// A layer of HQQ, with the description that the library saves with it.
fn hqq(rows: usize, columns: usize, group: usize, width: u32) -> File {
    let lines = rows * columns / group;
    let (name, in_unit, step) = match width {
        8 | 6 | 5 => ("8bit_u8", 1, 8),
        4 => ("4bit_u8", 2, 4),
        3 => ("3bit_32", 10, 3),
        2 => ("2bit_u8", 4, 2),
        _ => ("1bit_u8", 8, 1),
    };
    let slab = lines.div_ceil(in_unit);
    let unit = |index: usize| {
        (0..in_unit).fold(0u32, |unit, part| {
            let line = part * slab + index / group;
            let code = if line < lines { code(line * group + index % group, width) } else { 0 };
            unit << step | u32::from(code)
        })
    };
    let units: Vec<u32> = (0..slab * group).map(unit).collect();
    let bytes: Vec<u8> = units.iter().map(|unit| *unit as u8).collect();
    let file = match width {
        3 => File::default().i32("l.W_q", &[slab, group], &units),
        _ => File::default().u8("l.W_q", &[slab, group], &bytes),
    };
    file.f16("l.scale", &[lines, 1], &(0..lines).map(float).collect::<Vec<_>>())
        .f16("l.zero", &[lines, 1], &(0..lines).map(|index| 3.0 + float(index + 9)).collect::<Vec<_>>())
        .i64("l.shape", &[2], &[rows as i64, columns as i64])
        .u8("l.packing", &[name.len()], name.as_bytes())
        .number("l.nbits", width as u8)
        .number("l.axis", 1)
        .number("l.group_size", group as u8)
        .number("l.view_as_float", 0)
        .number("l.quant_zero", 0)
        .f16("l.bias", &[1], &[1.0])
}

#[test]
fn hqq_of_every_width() {
    for width in [1, 2, 3, 4, 5, 6, 8] {
        for (rows, columns, group) in [(8, 64, 16), (16, 96, 96), (8, 32, 8)] {
            let imported =
                Model::new(&hqq(rows, columns, group, width), Some(json!({"quant_method": "hqq"}))).import();
            let expected = (0..rows * columns).map(|index| {
                let line = index / group;
                (f32::from(code(index, width)) - (3.0 + float(line + 9))) * float(line)
            });
            assert_eq!(imported.bits("l.weight"), bits(expected), "{width} bits, {rows} x {columns}");
            assert_eq!(imported.encoding("l.weight"), format!("hqq.int{width}f_g{group}"));
            assert_eq!(imported.names(), ["l.bias", "l.weight"]);
        }
    }
}
