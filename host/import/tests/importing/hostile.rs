//! What is wrong with files of other programs, each with its sentence.

use serde_json::{Value, json};

use crate::common::{self, File, Model};

/// A layer of GPTQ of 32 rows and 64 columns, in groups of 32, all of whose numbers are the same.
fn gptq() -> File {
    File::default()
        .i32("l.qweight", &[8, 32], &[0x8888_8888; 256])
        .i32("l.qzeros", &[2, 4], &[0x6666_6666; 8])
        .f16("l.scales", &[2, 32], &[0.5; 64])
}

fn gptq_config() -> Value {
    json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": false})
}

fn index(change: impl Fn(usize) -> u32) -> File {
    let index: Vec<u32> = (0..64).map(change).collect();
    gptq().i32("l.g_idx", &[64], &index)
}

fn hqq() -> File {
    File::default()
        .u8("l.W_q", &[8, 16], &[0x21; 128])
        .f16("l.scale", &[16, 1], &[0.5; 16])
        .f16("l.zero", &[16, 1], &[7.5; 16])
        .i64("l.shape", &[2], &[4, 64])
        .u8("l.packing", &[7], b"4bit_u8")
        .number("l.nbits", 4)
        .number("l.axis", 1)
}

fn state(kind: &str, shape: [u64; 2]) -> String {
    json!({"quant_type": kind, "blocksize": 64, "dtype": "float16", "shape": shape}).to_string()
}

fn bitsandbytes(state: &str) -> File {
    let map: Vec<f32> = (0..16).map(|index| index as f32 / 15.0).collect();
    File::default()
        .u8("l.weight", &[128, 1], &[0x21; 128])
        .f32("l.weight.absmax", &[4], &[0.5; 4])
        .f32("l.weight.quant_map", &[16], &map)
        .u8("l.weight.quant_state.bitsandbytes__nf4", &[state.len()], state.as_bytes())
}

fn mlx() -> File {
    File::default().u32("l.weight", &[2, 8], &[0x7654_3210; 16]).f16("l.scales", &[2, 2], &[0.5; 4]).f16(
        "l.biases",
        &[2, 2],
        &[0.25; 4],
    )
}

fn packed() -> File {
    File::default()
        .i32("l.weight_packed", &[2, 8], &[0x7654_3210; 16])
        .i64("l.weight_shape", &[2], &[2, 64])
        .f16("l.weight_scale", &[2, 2], &[0.5; 4])
}

fn fp8() -> File {
    File::default().tensor("l.weight", "F8_E4M3", &[2, 64], vec![0x38; 128]).f32(
        "l.weight_scale",
        &[2, 1],
        &[0.5; 2],
    )
}

fn awq() -> File {
    File::default().i32("l.qweight", &[64, 2], &[0; 128]).i32("l.qzeros", &[2, 2], &[0; 4]).f16(
        "l.scales",
        &[2, 16],
        &[0.5; 32],
    )
}

const NAN: [u8; 2] = [0x00, 0x7e];

#[test]
fn what_is_wrong_is_one_sentence() {
    let with = |key: &str, value: Value| {
        let mut config = gptq_config();
        config[key] = value;
        config
    };
    let gptq_says = "model.safetensors, tensor `l.qweight`: ";
    let cases: Vec<(&str, File, Option<Value>, String)> = vec![
        // What the configuration says.
        ("another method", gptq(), Some(json!({"quant_method": "aqlm"})),
            "config.json: `quantization_config.quant_method` is \"aqlm\", and gptq, awq, hqq, bitsandbytes, mlx, compressed-tensors, fp8 can be imported".into()),
        ("5 bits", gptq(), Some(with("bits", json!(5))), "config.json: `quantization_config.bits` is 5, and must be one of 2, 3, 4, 8".into()),
        ("bits that are no number", gptq(), Some(with("bits", json!("4"))), "config.json: `quantization_config.bits` is \"4\", and a whole number was expected".into()),
        ("a huge group", gptq(), Some(with("group_size", json!(1u64 << 60))),
            "config.json: `quantization_config.group_size` is 1152921504606846976, and must be -1, or from 1 to 1073741824".into()),
        ("a number beyond all", gptq(), Some(with("group_size", json!(u64::MAX))),
            "config.json: `quantization_config.group_size` is 18446744073709551615, and must be -1, or from 1 to 1073741824".into()),
        ("half a group", gptq(), Some(with("group_size", json!(0.5))), "config.json: `quantization_config.group_size` is 0.5, and must be -1, or from 1 to 1073741824".into()),
        ("a group of nothing", gptq(), Some(with("group_size", json!(0))), "config.json: `quantization_config.group_size` is 0, and must be -1, or from 1 to 1073741824".into()),
        ("another group", gptq(), Some(with("group_size", json!(16))),
            "model.safetensors, tensor `l.scales`: the configuration has group_size = 16, and the tensors are of 2 groups for 64 columns; correct the configuration".into()),
        ("another format", gptq(), Some(with("checkpoint_format", json!("marlin"))),
            "config.json: `quantization_config.checkpoint_format` is \"marlin\", and gptq, gptq_v2 can be imported".into()),
        ("a configuration that is a text", gptq(), Some(json!("gptq")), "config.json: `quantization_config` is \"gptq\", and an object was expected".into()),
        ("no configuration", gptq(), None,
            format!("{gptq_says}the number of bits of a code cannot be told from the tensors alone; put the model's config.json beside the file")),
        ("no configuration, and an index", index(|column| column as u32 / 32), None,
            format!("{gptq_says}whether zeros are stored less one, as in the format gptq and not in gptq_v2, cannot be told from the tensors alone; put the model's config.json beside the file")),
        ("a version of AWQ", awq(), Some(json!({"quant_method": "awq", "version": "gemv"})), "config.json: `quantization_config.version` is \"gemv\", and gemm can be imported".into()),
        ("nothing quantized", File::default().f32("norm", &[1], &[1.0]), None,
            "DIR has no quantized layers of GPTQ, AWQ, HQQ, bitsandbytes, MLX, compressed-tensors; there is nothing to import".into()),
        // Two methods.
        ("two methods", hqq().and(gptq().renamed("l.qweight", "m.qweight").renamed("l.qzeros", "m.qzeros").renamed("l.scales", "m.scales")), None,
            "DIR: the tensor `m.qweight` is of a layer of GPTQ, and `l.W_q` of HQQ; split the model, or correct its configuration".into()),
        ("another method than configured", hqq(), Some(gptq_config()),
            "DIR: the tensor `l.W_q` is of a layer of HQQ, and the configuration says GPTQ; split the model, or correct its configuration".into()),
        // GPTQ.
        ("no zeros", gptq().without("l.qzeros"), Some(gptq_config()), format!("{gptq_says}the GPTQ layer has no tensor `l.qzeros`; the file is not complete")),
        ("no scales", gptq().without("l.scales"), Some(gptq_config()), format!("{gptq_says}the GPTQ layer has no tensor `l.scales`; the file is not complete")),
        ("no codes of one", gptq().and(File::default().i32("m.qzeros", &[1, 1], &[0])), Some(gptq_config()),
            "model.safetensors, tensor `m.qzeros`: it is a part of a layer of GPTQ, whose codes are not in the file; the file is not complete".into()),
        ("scales of another shape", gptq().f16("l.scales", &[2, 31], &[0.5; 62]), Some(gptq_config()),
            "model.safetensors, tensor `l.scales`: it is f16 [2, 31], and f16 or bf16 or f32 [2, 32] was expected".into()),
        ("zeros of another shape", gptq().i32("l.qzeros", &[2, 3], &[0; 6]), Some(gptq_config()),
            "model.safetensors, tensor `l.qzeros`: it is i32 [2, 3], and i32 or u32 [2, 4] was expected".into()),
        ("codes of a vector", gptq().i32("l.qweight", &[256], &[0; 256]), Some(gptq_config()), format!("{gptq_says}it is i32 [256], and a matrix with values was expected")),
        ("codes of nothing", gptq().i32("l.qweight", &[0, 32], &[]), Some(gptq_config()), format!("{gptq_says}it is i32 [0, 32], and a matrix with values was expected")),
        ("no groups", gptq().f16("l.scales", &[0, 32], &[]), Some(gptq_config()), "model.safetensors, tensor `l.scales`: it is f16 [0, 32], and a matrix with values was expected".into()),
        ("codes that are floats", gptq().f32("l.qweight", &[8, 32], &[0.0; 256]), Some(gptq_config()), format!("{gptq_says}it is f32 [8, 32], and i32 or u32 [8, 32] was expected")),
        ("words of 3 bits", gptq(), Some(with("bits", json!(3))), format!("{gptq_says}it is i32 [8, 32], and a number of rows for codes of 3 bits was expected")),
        ("bits of the index", index(|column| column as u32 / 32), Some(with("bits", json!(8))),
            format!("{gptq_says}the configuration has bits = 8, and the tensors are of 4 bits; correct the configuration")),
        ("an index of another length", gptq().i32("l.g_idx", &[60], &[0; 60]), Some(gptq_config()),
            format!("{gptq_says}it is i32 [8, 32], and 3, 5, 7, 15 rows for the 60 entries of g_idx and codes of 2, 3, 4 or 8 bits was expected")),
        ("an index beyond the groups", index(|column| column as u32 / 32 + u32::from(column == 63)), Some(gptq_config()),
            "model.safetensors, tensor `l.g_idx`: the entry 63 is 2, and the groups are 0 to 1; the file is damaged".into()),
        ("an index below 0", index(|column| if column == 5 { u32::MAX } else { 0 }), Some(with("desc_act", json!(true))),
            "model.safetensors, tensor `l.g_idx`: the entry 5 is -1, and the groups are 0 to 1; the file is damaged".into()),
        ("an index that ought not to be", index(|column| column as u32 % 2), Some(gptq_config()),
            "model.safetensors, tensor `l.g_idx`: column 1 is of group 1, and of 0 by a configuration without desc_act; programs differ in which of the two counts, so correct the configuration".into()),
        ("groups of few", index(|column| u32::from(column >= 3)), Some(with("desc_act", json!(true))),
            "model.safetensors, tensor `l.g_idx`: groups of 1 values do not divide its rows of 64 into blocks of 8 values or more; quantize it with groups that do".into()),
        ("groups that do not divide", gptq().f16("l.scales", &[2, 32], &[0.5; 64]), Some(with("group_size", json!(60))),
            "model.safetensors, tensor `l.scales`: groups of 60 values do not divide its rows of 64 into blocks of 8 values or more; quantize it with groups that do".into()),
        ("a zero of all ones", gptq().i32("l.qzeros", &[2, 4], &[0x6666_f666; 8]), Some(gptq_config()),
            "model.safetensors, tensor `l.qzeros`: the zero of group 0 and row 3 is stored as 15, which is 16 for some programs and 0 for others; save the model anew in the format gptq_v2".into()),
        ("a scale that is NaN", gptq().with_bytes("l.scales", |bytes| bytes[2 * 37..][..2].copy_from_slice(&NAN)), Some(gptq_config()),
            format!("{gptq_says}the value at row 5, column 32 would be NaN: a scale, zero or bias is NaN or infinite, or too large; mend the weight first")),
        ("an infinite scale", gptq().f32("l.scales", &[2, 32], &[f32::INFINITY; 64]), Some(gptq_config()),
            format!("{gptq_says}the value at row 0, column 0 would be inf: a scale, zero or bias is NaN or infinite, or too large; mend the weight first")),
        ("a product that is too large", gptq().f32("l.scales", &[2, 32], &[f32::MAX; 64]).i32("l.qweight", &[8, 32], &[0; 256]), Some(gptq_config()),
            format!("{gptq_says}the value at row 0, column 0 would be -inf: a scale, zero or bias is NaN or infinite, or too large; mend the weight first")),
        ("a name that is taken", gptq().f32("l.weight", &[1], &[1.0]), Some(gptq_config()),
            format!("{gptq_says}it is to become `l.weight`, and the file has a tensor of this name; rename one of the two")),
        ("an order whose name is taken", index(|column| column as u32 % 2).f32("l.weight.perm", &[1], &[1.0]), Some(with("desc_act", json!(true))),
            "model.safetensors, tensor `l.g_idx`: it is to become `l.weight.perm`, and the file has a tensor of this name; rename one of the two".into()),
        // AWQ.
        ("AWQ without zeros", awq().without("l.qzeros"), None, format!("{gptq_says}the AWQ layer has no tensor `l.qzeros`; the file is not complete")),
        ("AWQ of 3 bits", awq(), Some(json!({"quant_method": "awq", "bits": 3})), "config.json: `quantization_config.bits` is 3, and must be one of 4".into()),
        ("AWQ with another group", awq(), Some(json!({"quant_method": "awq", "group_size": 128})),
            "model.safetensors, tensor `l.scales`: the configuration has group_size = 64, and the tensors are of 2 groups for 64 columns; correct the configuration".into()),
        // HQQ.
        ("axis 0", hqq().number("l.axis", 0), None,
            "model.safetensors, tensor `l.axis`: its groups run along axis 0, so that neighbours in a row have scales of their own; quantize it with axis=1".into()),
        ("quantized zeros", hqq().number("l.quant_zero", 1), None,
            "model.safetensors, tensor `l.quant_zero`: its scales or zeros are quantized again; quantize it without quant_scale and quant_zero".into()),
        ("another packing", hqq().u8("l.packing", &[3], b"\x1b[m"), None,
            "model.safetensors, tensor `l.packing`: its packing is \"\\u{1b}[m\", and 8bit_u8, 4bit_u8, 3bit_32, 2bit_u8, 1bit_u8 are known; save it with one of these".into()),
        ("bits of another packing", hqq().number("l.nbits", 2), None, "model.safetensors, tensor `l.nbits`: it is 2, and codes are packed as 4bit_u8; the file is damaged".into()),
        ("no shape", hqq().without("l.shape"), None, "model.safetensors, tensor `l.W_q`: the HQQ layer has no tensor `l.shape`; the file is not complete".into()),
        ("a shape beyond all", hqq().i64("l.shape", &[2], &[i64::MAX, i64::MAX]), None, "model.safetensors, tensor `l.shape`: it holds no shape of a matrix; the file is damaged".into()),
        ("a large shape", hqq().i64("l.shape", &[2], &[1 << 40, 16]), None,
            "model.safetensors, tensor `l.W_q`: groups of 1099511627776 values do not divide its rows of 16 into blocks of 8 values or more; quantize it with groups that do".into()),
        ("a shape below 0", hqq().i64("l.shape", &[2], &[-4, 64]), None, "model.safetensors, tensor `l.shape`: it holds no shape of a matrix; the file is damaged".into()),
        ("codes of another shape", hqq().u8("l.W_q", &[16, 8], &[0; 128]), None, "model.safetensors, tensor `l.W_q`: it is u8 [16, 8], and u8 [8, 16] was expected".into()),
        ("groups that reach over rows", hqq().i64("l.shape", &[2], &[32, 8]), None,
            "model.safetensors, tensor `l.W_q`: groups of 16 values do not divide its rows of 8 into blocks of 8 values or more; quantize it with groups that do".into()),
        ("codes beyond their bits", hqq().u8("l.packing", &[7], b"8bit_u8").number("l.nbits", 5).u8("l.W_q", &[16, 16], &[[31; 70].as_slice(), &[32], &[0; 185]].concat()), None,
            "model.safetensors, tensor `l.W_q`: the code at row 1, column 6 is 32, and codes have 5 bits; the file is damaged".into()),
        ("an infinite zero", hqq().f16("l.zero", &[16, 1], &[f32::INFINITY; 16]), None,
            "model.safetensors, tensor `l.W_q`: the value at row 0, column 0 would be -inf: a scale, zero or bias is NaN or infinite, or too large; mend the weight first".into()),
        // bitsandbytes.
        ("no description", bitsandbytes("{}").without("l.weight.quant_state.bitsandbytes__nf4"), None,
            "model.safetensors, tensor `l.weight.absmax`: the bitsandbytes layer has no tensor `l.weight.quant_state.bitsandbytes__nf4`; the file is not complete".into()),
        ("a description that is none", bitsandbytes("{"), None,
            "model.safetensors, tensor `l.weight.quant_state.bitsandbytes__nf4`: it holds no JSON object: EOF while parsing an object at line 1 column 1; the file is damaged".into()),
        ("a description of another type", bitsandbytes(&state("fp4", [4, 64])), None,
            "model.safetensors, tensor `l.weight.quant_state.bitsandbytes__nf4`: its `quant_type` is not nf4; the file is damaged".into()),
        ("a description of a huge shape", bitsandbytes(&state("nf4", [1 << 60, 1 << 60])), None,
            "model.safetensors, tensor `l.weight.quant_state.bitsandbytes__nf4`: its `shape` is not that of a matrix with values; the file is damaged".into()),
        ("a description of another shape", bitsandbytes(&state("nf4", [4, 128])), None, "model.safetensors, tensor `l.weight`: it is u8 [128, 1], and u8 [256, 1] was expected".into()),
        ("blocks over odd rows", bitsandbytes(&state("nf4", [64, 4])), None,
            "model.safetensors, tensor `l.weight`: groups of 64 values do not divide its rows of 4 into blocks of 8 values or more; quantize it with groups that do".into()),
        ("a table with NaN", bitsandbytes(&state("nf4", [4, 64])).f32("l.weight.quant_map", &[16], &[f32::NAN; 16]), None,
            "model.safetensors, tensor `l.weight.quant_map`: its entry 0 is NaN, and all are numbers; the file is damaged".into()),
        ("8 bits", File::default().tensor("l.weight", "I8", &[2, 8], vec![0; 16]).f32("l.SCB", &[2], &[1.0; 2]), None,
            "model.safetensors, tensor `l.weight`: it is of bitsandbytes' 8-bit type, whose values q * SCB / 127 no block holds exactly; quantize it as NF4 or FP4, or save it in full precision".into()),
        // MLX.
        ("MLX without a configuration", mlx(), None,
            "model.safetensors, tensor `l.weight`: the number of bits of a code, and of values in a group, cannot be told from the tensors alone; put the model's config.json beside the file".into()),
        ("MLX without biases", mlx().without("l.biases"), Some(json!({"bits": 4, "group_size": 32})), "model.safetensors, tensor `l.weight`: the MLX layer has no tensor `l.biases`; the file is not complete".into()),
        ("MLX of another width", mlx(), Some(json!({"bits": 8, "group_size": 32})),
            "model.safetensors, tensor `l.scales`: the configuration has group_size = 32, and the tensors are of 2 groups for 32 columns; correct the configuration".into()),
        ("MLX of another mode", mlx(), Some(json!({"bits": 4, "group_size": 32, "mode": "turbo"})),
            "config.json: `quantization_config.mode` is \"turbo\", and affine, mxfp4, mxfp8, nvfp4 can be imported".into()),
        ("biases alone", mlx().f16("m.biases", &[1], &[0.5]), Some(json!({"bits": 4, "group_size": 32})),
            "model.safetensors, tensor `m.biases`: it is a part of a layer of MLX, whose codes are not in the file; the file is not complete".into()),
        ("an exponent that is NaN", File::default().u32("l.weight", &[1, 4], &[0x2222_2222; 4]).u8("l.scales", &[1, 1], &[255]), Some(json!({"bits": 4, "group_size": 32, "mode": "mxfp4"})),
            "model.safetensors, tensor `l.weight`: the value at row 0, column 0 would be NaN: a scale, zero or bias is NaN or infinite, or too large; mend the weight first".into()),
        // compressed-tensors.
        ("codes of 3 bits", packed().i32("l.weight_packed", &[2, 7], &[0; 14]), None,
            "model.safetensors, tensor `l.weight_packed`: its codes have 3 bits, which releases of compressed-tensors pack in different ways; quantize it with 1, 2, 4 or 8 bits".into()),
        ("codes of no width", packed().i32("l.weight_packed", &[2, 9], &[0; 18]), None,
            "model.safetensors, tensor `l.weight_packed`: it is i32 [2, 9], and rows of words for 64 codes of 1, 2, 4, 8 bits was expected".into()),
        ("codes of 7 or 8 bits", packed().i32("l.weight_packed", &[2, 16], &[0; 32]), None,
            "model.safetensors, tensor `l.weight_packed`: the number of bits of a code cannot be told from the tensors alone; put the model's config.json beside the file".into()),
        ("codes of another width", packed(), Some(json!({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8}}}})),
            "model.safetensors, tensor `l.weight_packed`: it is i32 [2, 8], and rows of words for 64 codes of 8 bits was expected".into()),
        ("another group", packed(), Some(json!({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 16}}}})),
            "model.safetensors, tensor `l.weight_scale`: the configuration has group_size = 16, and the tensors are of 2 scales for 64 rows or columns; correct the configuration".into()),
        ("packed shape of others", packed().i64("l.weight_shape", &[2], &[3, 64]), None,
            "model.safetensors, tensor `l.weight_shape`: it holds no shape of a matrix of 2 rows; the file is damaged".into()),
        ("NVFP4", packed().u8("l.weight_packed", &[2, 32], &[0; 64]), None,
            "model.safetensors, tensor `l.weight_packed`: it is packed otherwise than as integers, as NVFP4 and MXFP4 are; save the model in full precision, and quantize it with another format".into()),
        ("more scales than values", packed().f16("l.weight_scale", &[3, 2], &[0.5; 6]), None,
            "model.safetensors, tensor `l.weight_scale`: it is f16 [3, 2], and scales for each row, group or block of 2 x 64 values was expected".into()),
        ("zero points of another shape", packed().i32("l.weight_zero_point", &[2, 2], &[0; 4]), None,
            "model.safetensors, tensor `l.weight_zero_point`: it is i32 [2, 2], and i32 or u32 [1, 2] was expected".into()),
        ("a part of nothing", fp8().i64("m.weight_shape", &[2], &[1, 1]), None,
            "model.safetensors, tensor `m.weight_shape`: it is a part of a layer of compressed-tensors, whose codes are not in the file; the file is not complete".into()),
        ("a value that is NaN", fp8().with_bytes("l.weight", |bytes| bytes[70] = 0xff), None,
            "model.safetensors, tensor `l.weight`: the value at row 1, column 6 is stored as NaN or infinity; mend the weight first".into()),
        ("zero points of floats", fp8().tensor("l.weight_zero_point", "F8_E4M3", &[2, 1], vec![0x38; 2]), None,
            "model.safetensors, tensor `l.weight_zero_point`: it has zero points that are not 0, for codes that are floats; quantize the weight symmetrically".into()),
        ("groups of no size", fp8().f32("l.weight_scale", &[1, 3], &[0.5; 3]), None,
            "model.safetensors, tensor `l.weight_scale`: the number of values in a group cannot be told from the tensors alone; put the model's config.json beside the file".into()),
        ("blocks of no size", fp8().tensor("l.weight", "F8_E4M3", &[4, 64], vec![0x38; 256]).f32("l.weight_scale", &[2, 2], &[0.5; 4]), None,
            "model.safetensors, tensor `l.weight_scale`: the number of rows of a block cannot be told from the tensors alone; put the model's config.json beside the file".into()),
        ("blocks of another size", fp8().f32("l.weight_scale", &[1, 3], &[0.5; 3]), Some(json!({"quant_method": "fp8", "weight_block_size": [128, 128]})),
            "model.safetensors, tensor `l.weight_scale`: the configuration has weight_block_size = 128, and the tensors are of 3 scales for 64 rows or columns; correct the configuration".into()),
        ("a block of nothing", fp8(), Some(json!({"quant_method": "fp8", "weight_block_size": [0, 128]})),
            "config.json: `quantization_config.weight_block_size` is [0,128], and an array of two whole numbers from 1 to 1073741824 was expected".into()),
    ];
    for (what, file, config, sentence) in cases {
        assert_eq!(Model::new(&file, config).says(), sentence, "{what}");
    }
}

#[test]
fn files_that_are_cut_or_missing_are_one_sentence() {
    let model = Model::new(&gptq(), Some(gptq_config()));
    let bytes = gptq().bytes();
    std::fs::write(model.path("model.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    let said = model.says();
    assert!(said.starts_with("model.safetensors, tensor `l.scales`: it ends at byte"), "{said}");

    model.write("config.json", "[1]");
    std::fs::write(model.path("model.safetensors"), &bytes).unwrap();
    let said = model.says();
    assert!(said.starts_with("config.json: it is no JSON object: "), "{said}");
    model.write("config.json", &"[".repeat(100_000));
    assert!(model.says().starts_with("config.json: it is no JSON object: "));

    std::fs::write(model.path("b.safetensors"), &bytes).unwrap();
    assert_eq!(
        model.says(),
        "DIR has several checkpoints, `b.safetensors`, `model.safetensors`, and no index of them; name one of the files"
    );
    std::fs::remove_file(model.path("b.safetensors")).unwrap();
    std::fs::remove_file(model.path("model.safetensors")).unwrap();
    assert_eq!(
        model.says(),
        "DIR has no file that ends in .safetensors; name the directory of a model, or a file"
    );
}

#[test]
fn an_older_configuration_and_one_file_are_read() {
    let model = Model::new(&gptq(), None);
    model.write("config.json", r#"{"model_type": "llama"}"#);
    model.write("quantize_config.json", &json!({"bits": 4, "group_size": 32, "desc_act": false}).to_string());
    assert_eq!(model.import().encoding("l.weight"), "gptq.int4z_g32");
    let import = bitquilt_import::Import::open(model.path("model.safetensors")).unwrap();
    assert_eq!((import.method(), import.carried()), ("GPTQ", 0));
    // A model of one file may be replaced by what it becomes.
    import.write(model.path("model.safetensors"), |_| {}).unwrap();
    assert_eq!(
        model.says(),
        "DIR has no quantized layers of GPTQ, AWQ, HQQ, bitsandbytes, MLX, compressed-tensors; there is nothing to import"
    );
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    let model = Model::new(&gptq(), Some(gptq_config()));
    let bytes = gptq().bytes();
    for end in (0..bytes.len()).step_by(97) {
        std::fs::write(model.path("model.safetensors"), &bytes[..end]).unwrap();
        assert_ne!(model.says(), "no error", "{end}");
    }
}

#[test]
fn any_bytes_are_imported_or_refused() {
    // Numbers of every part that are any: what comes of it is a file or a sentence.
    let files = [gptq(), awq(), hqq(), bitsandbytes(&state("nf4", [4, 64])), mlx(), packed(), fp8()];
    let configs =
        [Some(gptq_config()), None, None, None, Some(json!({"bits": 4, "group_size": 32})), None, None];
    let mut seed = 7u64;
    for (file, config) in files.iter().zip(configs) {
        for _ in 0..60 {
            let mut file = file.clone();
            for (_, _, bytes) in file.0.values_mut() {
                for byte in bytes.iter_mut() {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if seed >> 60 == 0 {
                        *byte = (seed >> 32) as u8;
                    }
                }
            }
            let model = Model::new(&file, config.clone());
            let imported = bitquilt_import::Import::open(model.directory())
                .and_then(|import| import.write(model.path("out"), |_| {}));
            if imported.is_ok() {
                let values = common::Imported::open(&model.path("out")).decoded("l.weight");
                assert!(values.values::<f32>().unwrap().iter().all(|value| value.is_finite()));
            }
        }
    }
}
