//! GPTQ and AWQ, made by hand, against their formulas; models in several files.

use bitquilt::{Graph, Tensor, TensorType};
use serde_json::json;

use crate::common::{self, File, Model, bits, code, float, stream, transposed};

/// A layer of GPTQ: codes `[in, out]`, zeros as they are stored, and scales, both `[groups, out]`.
fn gptq(rows: usize, columns: usize, groups: usize, width: u32, zero: impl Fn(usize) -> u8) -> File {
    let along_in = |row: usize| stream((0..columns).map(|column| code(row * columns + column, width)), width);
    let words: Vec<u32> = (0..rows).flat_map(along_in).collect();
    let zeros: Vec<u32> =
        (0..groups).flat_map(|group| stream((0..rows).map(|row| zero(group * rows + row)), width)).collect();
    let scales: Vec<f32> = (0..groups * rows).map(float).collect();
    File::default()
        .i32("l.qweight", &[words.len() / rows, rows], &transposed(&words, rows))
        .i32("l.qzeros", &[groups, zeros.len() / groups], &zeros)
        .f16("l.scales", &[groups, rows], &scales)
        .f32("norm.weight", &[2], &[1.0, f32::NAN])
}

#[test]
fn gptq_of_every_width() {
    for (width, format, less) in
        [(2, "gptq", 1), (3, "gptq", 1), (4, "gptq", 1), (8, "gptq", 1), (3, "gptq_v2", 0), (4, "gptq_v2", 0)]
    {
        for (rows, columns, group) in [(32, 64, 32), (5, 96, 96), (33, 128, 16)] {
            let groups = columns / group;
            let most = ((1u32 << width) - 1) as u8;
            let stored = |index: usize| code(index + 5, width).min(most - less);
            let file = gptq(rows, columns, groups, width, stored);
            let config = json!({"quant_method": "gptq", "bits": width, "group_size": group, "checkpoint_format": format});
            let imported = Model::new(&file, Some(config)).import();
            let expected = bits((0..rows * columns).map(|index| {
                let at = index % columns / group * rows + index / columns;
                let zero = stored(at) + less;
                (f32::from(code(index, width)) - f32::from(zero)) * float(at)
            }));
            assert_eq!(imported.decoded("l.weight").shape(), [rows, columns]);
            assert_eq!(imported.bits("l.weight"), expected, "{width} bits, {rows} x {columns}");
            assert_eq!(imported.encoding("l.weight"), format!("gptq.int{width}z_g{group}"));
            assert_eq!(imported.names(), ["l.weight", "norm.weight"]);
            assert_eq!(
                imported.tensor("norm.weight").values::<f32>().unwrap()[1].to_bits(),
                f32::NAN.to_bits()
            );
        }
    }
}

#[test]
fn gptq_with_one_zero_everywhere_needs_none() {
    let file = gptq(32, 128, 1, 4, |_| 7);
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": true});
    let imported = Model::new(&file, Some(config)).import();
    assert_eq!(imported.encoding("l.weight"), "gptq.int4_g128");
    let expected = (0..32 * 128).map(|index| (f32::from(code(index, 4)) - 8.0) * float(index / 128));
    assert_eq!(imported.bits("l.weight"), bits(expected));
}

#[test]
fn gptq_in_the_order_of_importance_is_sorted_by_group() {
    let (rows, columns, group) = (32, 64, 16);
    let of = |column: usize| column * 29 % columns / group;
    let index: Vec<u32> = (0..columns).map(|column| of(column) as u32).collect();
    let file =
        gptq(rows, columns, columns / group, 4, |index| code(index, 3)).i32("l.g_idx", &[columns], &index);
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": true});
    let imported = Model::new(&file, Some(config)).import();
    assert_eq!(imported.names(), ["l.weight", "l.weight.perm", "norm.weight"]);
    let order = imported.tensor("l.weight.perm").values::<i64>().unwrap().to_vec();
    let mut sorted: Vec<i64> = (0..columns as i64).collect();
    sorted.sort_by_key(|column| of(*column as usize));
    assert_eq!(order, sorted);
    let expected = bits((0..rows * columns).map(|index| {
        let (row, column) = (index / columns, order[index % columns] as usize);
        let at = of(column) * rows + row;
        (f32::from(code(row * columns + column, 4)) - f32::from(code(at, 3) + 1)) * float(at)
    }));
    assert_eq!(imported.bits("l.weight"), expected);
    // An index that says what is so anyway changes nothing.
    let plain: Vec<u32> = (0..columns).map(|column| (column / group) as u32).collect();
    let file =
        gptq(rows, columns, columns / group, 4, |index| code(index, 3)).i32("l.g_idx", &[columns], &plain);
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": false});
    assert_eq!(Model::new(&file, Some(config)).import().names(), ["l.weight", "norm.weight"]);
}

#[test]
fn a_gather_by_the_order_and_a_product_are_the_layer() {
    let (rows, columns, group) = (32, 64, 16);
    let of = |column: usize| column * 29 % columns / group;
    let index: Vec<u32> = (0..columns).map(|column| of(column) as u32).collect();
    let file =
        gptq(rows, columns, columns / group, 4, |index| code(index, 3)).i32("l.g_idx", &[columns], &index);
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": true});
    let imported = Model::new(&file, Some(config)).import();
    let session = imported.session();
    let x = Tensor::new([3, columns], (0..3 * columns).map(|index| float(index + 7)).collect::<Vec<f32>>())
        .unwrap();
    let weight = |row: usize, column: usize| {
        let at = of(column) * rows + row;
        (f32::from(code(row * columns + column, 4)) - f32::from(code(at, 3) + 1)) * float(at)
    };
    for (precision, tolerance) in [("exact", 1e-5), ("fast", 0.05)] {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([3, columns])]).unwrap();
        let [w, order] =
            ["l.weight", "l.weight.perm"].map(|name| graph.constant(&imported.tensor(name)).unwrap());
        let gathered =
            graph.node("gather", [graph.input(0), order]).attribute("axis", -1i64).value().unwrap();
        let product = graph.node("qmatmul", [gathered, w]).attribute("precision", precision).value().unwrap();
        graph.output_named("y", product).unwrap();
        let results = session.load(&graph).unwrap().execute([("input0", &x)]).unwrap();
        let (found, x) = (results.get::<f32>("y").unwrap(), x.values::<f32>().unwrap());
        for (index, found) in found.iter().enumerate() {
            let (line, row) = (&x[index / rows * columns..], index % rows);
            let terms = (0..columns).map(|column| f64::from(line[column]) * f64::from(weight(row, column)));
            let expected: f64 = terms.sum();
            assert!((f64::from(*found) - expected).abs() < tolerance, "{precision}: {found} {expected}");
        }
    }
}

/// A layer of AWQ: 8 outputs in a word, in the order of the places.
pub fn awq(rows: usize, columns: usize, groups: usize, zero: impl Fn(usize) -> u8) -> File {
    let line = |value: &dyn Fn(usize) -> u8| -> Vec<u32> {
        let word = |word: usize| {
            let places = [0, 2, 4, 6, 1, 3, 5, 7].into_iter().enumerate();
            places.fold(0, |all, (place, output)| all | u32::from(value(word * 8 + output)) << (4 * place))
        };
        (0..rows / 8).map(word).collect()
    };
    let codes: Vec<u32> =
        (0..columns).flat_map(|column| line(&|row| code(row * columns + column, 4))).collect();
    let zeros: Vec<u32> = (0..groups).flat_map(|group| line(&|row| zero(group * rows + row))).collect();
    let scales: Vec<f32> = (0..groups * rows).map(float).collect();
    File::default()
        .i32("l.qweight", &[columns, rows / 8], &codes)
        .i32("l.qzeros", &[groups, rows / 8], &zeros)
        .f16("l.scales", &[groups, rows], &scales)
}

#[test]
fn awq_with_and_without_a_configuration() {
    for (rows, columns, group) in [(8, 64, 32), (24, 96, 96), (16, 128, 16)] {
        let file = awq(rows, columns, columns / group, |index| code(index + 3, 4));
        let config = json!({"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": true});
        for config in [Some(config), None] {
            let imported = Model::new(&file, config).import();
            let expected = (0..rows * columns).map(|index| {
                let at = index % columns / group * rows + index / columns;
                (f32::from(code(index, 4)) - f32::from(code(at + 3, 4))) * float(at)
            });
            assert_eq!(imported.bits("l.weight"), bits(expected), "{rows} x {columns}");
            assert_eq!(imported.encoding("l.weight"), format!("awq.int4z_g{group}"));
        }
    }
}

#[test]
fn several_files_are_one_model_and_layouts_are_told_apart() {
    let model = Model::new(
        &File::default(),
        Some(json!({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "GEMM"})),
    );
    let first = awq(8, 64, 2, |index| code(index, 4));
    let parts = ["qweight", "qzeros", "scales"];
    let second = parts
        .iter()
        .fold(awq(16, 64, 2, |_| 8), |file, part| file.renamed(&format!("l.{part}"), &format!("m.{part}")));
    std::fs::remove_file(model.path("model.safetensors")).unwrap();
    std::fs::write(model.path("model-00001-of-00002.safetensors"), first.bytes()).unwrap();
    std::fs::write(model.path("model-00002-of-00002.safetensors"), second.bytes()).unwrap();
    let import = bitquilt_import::Import::open(model.directory()).unwrap();
    let shard = model.path("model-00002-of-00002.safetensors");
    let error = import.write(&shard, |_| {}).unwrap_err().to_string();
    assert!(error.contains("is one of the files that make the model"), "{error}");
    let mut read = 0;
    import.write(model.path("out"), |bytes| read += bytes).unwrap();
    assert_eq!(read, import.bytes());
    let sizes: Vec<_> =
        import.encodings().into_iter().map(|size| (size.name, size.weights, size.values)).collect();
    assert_eq!(sizes, [("awq.int4_g32".to_owned(), 1, 1024), ("awq.int4z_g32".to_owned(), 1, 512)]);
    let imported = common::Imported::open(&model.path("out"));
    assert_eq!(imported.names(), ["l.weight", "m.weight"]);
    assert_eq!(imported.bits("m.weight")[0], ((f32::from(code(0, 4)) - 8.0) * float(0)).to_bits());
}
