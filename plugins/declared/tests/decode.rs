//! Blocks of any bytes, against a decoder that is written from `FORMAT.md` alone and reads bit by bit.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::QuantizationEncoding;
use common::{KINDS, Random, dequantize, kind, kinds, text};
use toml::{Table, Value};

/// Bits of the exponent, of the fraction, the bias, and whether the largest exponent is that of infinity and NaN; a sign is before them.
fn shape(dtype: &str) -> (u32, u32, i32, bool) {
    match dtype {
        "f32" => (8, 23, 127, true),
        "f16" => (5, 10, 15, true),
        "bf16" => (8, 7, 127, true),
        "f8_e5m2" => (5, 2, 15, true),
        "f8_e4m3" => (4, 3, 7, false),
        "f6_e3m2" => (3, 2, 3, false),
        "f6_e2m3" => (2, 3, 1, false),
        "f4_e2m1" => (2, 1, 1, false),
        _ => panic!("{dtype}"),
    }
}

fn bits_of(dtype: &str) -> u32 {
    if dtype == "e8m0" { 8 } else { 1 + shape(dtype).0 + shape(dtype).1 }
}

/// The value of the bits of a float.
fn float(dtype: &str, raw: u32) -> f64 {
    if dtype == "e8m0" {
        return if raw == 255 { f64::NAN } else { 2f64.powi(raw as i32 - 127) };
    }
    let (exponents, fractions, bias, is_ieee) = shape(dtype);
    let sign = if raw >> (exponents + fractions) & 1 == 1 { -1.0 } else { 1.0 };
    let exponent = raw >> fractions & ((1 << exponents) - 1);
    let fraction = raw & ((1 << fractions) - 1);
    if is_ieee && exponent == (1 << exponents) - 1 {
        return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if dtype == "f8_e4m3" && raw & 0x7f == 0x7f {
        return f64::NAN;
    }
    let fraction = f64::from(fraction) / 2f64.powi(fractions as i32);
    match exponent as i32 {
        0 => sign * fraction * 2f64.powi(1 - bias),
        exponent => sign * (1.0 + fraction) * 2f64.powi(exponent - bias),
    }
}

fn whole(table: &Table, key: &str) -> Option<usize> {
    table.get(key).map(|value| value.as_integer().unwrap() as usize)
}

fn number(value: &Value) -> f32 {
    value.as_float().unwrap_or_else(|| value.as_integer().unwrap() as f64) as f32
}

/// Entry `index` of the numbers of `bits` bits each from byte `at` on.
fn entry(block: &[u8], at: usize, index: usize, bits: u32) -> u32 {
    (0..bits).fold(0, |number, bit| {
        let place = at * 8 + index * bits as usize + bit as usize;
        number | u32::from(block[place / 8] >> (place % 8) & 1) << bit
    })
}

fn signed(raw: u32, bits: u32) -> i64 {
    i64::from(raw) - if raw >> (bits - 1) == 1 { 1 << bits } else { 0 }
}

/// The values of a block.
fn reference(declaration: &Table, block: &[u8]) -> Vec<f32> {
    let (block_len, groups) =
        (whole(declaration, "block_len").unwrap(), whole(declaration, "groups").unwrap_or(1));
    let is_signed = declaration.get("signed").is_some_and(|signed| signed.as_bool().unwrap());
    let field = |key: &str, index: usize| -> Option<f32> {
        let field = declaration.get(key)?.as_table().unwrap();
        let at = whole(field, "at").unwrap();
        Some(match field.get("dtype") {
            Some(dtype) => {
                let dtype = dtype.as_str().unwrap();
                float(dtype, entry(block, at, index, bits_of(dtype))) as f32
            }
            None => {
                let bits = whole(field, "bits").unwrap() as u32;
                let raw = entry(block, at, index, bits);
                if is_signed && key == "zero" { signed(raw, bits) as f32 } else { raw as f32 }
            }
        })
    };
    let codes = declaration["codes"].as_table().unwrap();
    let at = whole(codes, "at").unwrap();
    let unused = declaration.get("unused").map(number);
    let value = |index: usize| -> f32 {
        let level = if let Some(dtype) = codes.get("dtype") {
            let dtype = dtype.as_str().unwrap();
            let raw = entry(block, at, index, bits_of(dtype));
            let value = float(dtype, raw);
            let largest = if dtype == "f8_e4m3" { 448.0 } else { 57344.0 };
            let negative = raw >> (bits_of(dtype) - 1) == 1;
            match unused {
                _ if value.is_finite() => value as f32,
                Some(unused) => unused,
                None => {
                    if negative {
                        -largest
                    } else {
                        largest
                    }
                }
            }
        } else {
            let bits = whole(codes, "bits").unwrap() as u32;
            let code = match codes.get("order").map(|order| order.as_str().unwrap()) {
                Some("halves") if index < block_len / 2 => u32::from(block[at + index] & 15),
                Some("halves") => u32::from(block[at + index - block_len / 2] >> 4),
                _ => entry(block, at, index, bits),
            };
            match declaration.get("values") {
                Some(values) => values.as_array().unwrap().get(code as usize).map(number).or(unused).unwrap(),
                None if is_signed => signed(code, bits) as f32,
                None => code as f32 - whole(declaration, "offset").unwrap_or(0) as f32,
            }
        };
        let group = index / (block_len / groups);
        let mut scale = field("scale", group).unwrap();
        if let Some(super_scale) = field("super_scale", 0) {
            scale *= super_scale;
        }
        let level = match field("zero", group) {
            Some(zero) => level - zero,
            None => level,
        };
        let product = level * scale;
        match field("min", group) {
            Some(min) => product + min,
            None => product,
        }
    };
    (0..block_len).map(value).collect()
}

#[test]
fn any_bytes_decode_to_what_the_format_says() {
    for (kind, declaration) in KINDS.iter().zip(kinds()) {
        let table: Table = text(*kind).parse().unwrap();
        let mut random = Random(17);
        for _ in 0..200 {
            let block: Vec<u8> = (0..declaration.block_bytes()).map(|_| random.bits() as u8).collect();
            let (found, expected) = (dequantize(&declaration, &block), reference(&table, &block));
            let mut codes = vec![0; declaration.block_len()];
            declaration.codes(&block, &mut codes);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{}, value {index}: {found:?} is not {expected:?}", kind.0);
                // What kernels use is the same.
                let factors = declaration.factors(&block, index / declaration.group_len());
                let level = declaration.levels()[usize::from(codes[index])];
                let value = (level - factors.zero) * factors.scale + factors.min;
                assert!(value.to_bits() == found.to_bits() || value.is_nan(), "{}, value {index}", kind.0);
            }
        }
    }
}

#[test]
fn several_blocks_are_each_for_themselves() {
    for declaration in kinds() {
        let mut random = Random(5);
        let bytes: Vec<u8> = (0..3 * declaration.block_bytes()).map(|_| random.bits() as u8).collect();
        let together: Vec<u32> =
            dequantize(&declaration, &bytes).iter().map(|value| value.to_bits()).collect();
        let alone = bytes.chunks(declaration.block_bytes()).flat_map(|block| dequantize(&declaration, block));
        assert_eq!(together, alone.map(f32::to_bits).collect::<Vec<u32>>(), "{}", declaration.name());
        let encoding = DeclaredEncoding::new(declaration.clone());
        let short = encoding.dequantize(&bytes[1..], &mut vec![0.0; 3 * declaration.block_len()]);
        assert!(short.unwrap_err().message().contains("are not the blocks of"));
    }
}

#[test]
fn facts_of_declarations() {
    for (name, group_len, bits, has_min, has_zero, scales_are_f16) in [
        ("t.nf4", 64, 4, false, false, true),
        ("t.nf4.f32", 64, 4, false, false, false),
        ("t.gptq", 128, 4, false, true, true),
        ("t.mlx4.bf16", 64, 4, true, false, false),
        ("t.fp6", 64, 6, false, false, true),
        ("t.nvfp4", 16, 4, false, false, false),
        ("t.kquant", 16, 4, false, false, false),
        ("t.mxfp6", 32, 6, false, false, false),
        ("t.onnx8", 32, 8, false, true, true),
        ("t.hqq4.zero", 64, 4, false, true, true),
    ] {
        let declaration = kind(name);
        let found =
            (declaration.group_len(), declaration.bits(), declaration.has_min(), declaration.has_zero());
        assert_eq!(found, (group_len, bits, has_min, has_zero), "{name}");
        assert_eq!(declaration.scales_are_f16(), scales_are_f16, "{name}");
        assert_eq!(declaration.zeros_are_bytes(), name == "t.gptq", "{name}");
        assert_eq!(declaration.groups() * group_len, declaration.block_len(), "{name}");
        let spec = DeclaredEncoding::new(declaration.clone()).spec();
        assert_eq!(spec, declaration.spec());
        assert_eq!(Declaration::parse(&spec.layout.unwrap()).unwrap(), declaration, "{name}");
    }
}
