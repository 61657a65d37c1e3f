//! What is left of values that are encoded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bitquilt_declared::{Declaration, DeclaredEncoding, Order, ScaleDType};
use bitquilt_plugin_api::{F8E4M3, Plugin, QuantizationEncoding, Rows};
use bitquilt_plugin_kit::assert_conforms;
use common::{Random, dequantize, distributions, kind, kinds, quantize};
use half::{bf16, f16};

/// A way to store a number, and the number that comes back.
type Store = fn(f64) -> f64;

const F16: Store = |value| f16::from_f64(value.clamp(-65504.0, 65504.0)).to_f64();
const F32: Store = |value| f64::from(value as f32);
const BF16: Store = |value| bf16::from_f64(value).to_f64();

fn error(values: &[f32], decoded: &[f32], weights: Option<&[f32]>) -> f64 {
    let items = values.iter().zip(decoded).enumerate();
    let term = |(index, (a, b)): (usize, (&f32, &f32))| {
        let weight = weights.map_or(1.0, |weights| weights[index % weights.len()]);
        (f64::from(*a) - f64::from(*b)).powi(2) * f64::from(weight)
    };
    items.map(term).sum()
}

/// What is left where each value gets the nearest of `(level - zero) * scale + min`.
fn left(values: &[f32], levels: &[f32], scale: f64, zero: f64, min: f64) -> f64 {
    let decode = |level: &f32| f64::from(((level - zero as f32) * scale as f32) + min as f32);
    let decoded: Vec<f64> = levels.iter().map(decode).collect();
    let nearest = |value: &f32| {
        let errors = decoded.iter().map(|level| (f64::from(*value) - level).powi(2));
        errors.fold(f64::INFINITY, f64::min)
    };
    values.iter().map(nearest).sum()
}

/// The extremes of values.
fn extremes(values: &[f32]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(f64::from(*value)), high.max(f64::from(*value)))
    })
}

/// Checks each group of values of every distribution, beside what is decoded of it.
fn each_group(declaration: &Declaration, check: impl Fn(&str, &[f32], &[f32])) {
    for (what, values) in distributions(8 * declaration.block_len()) {
        let decoded = dequantize(declaration, &quantize(declaration, &values, None));
        let groups = values.chunks(declaration.group_len());
        for (values, decoded) in groups.zip(decoded.chunks(declaration.group_len())) {
            check(what, values, decoded);
        }
    }
}

#[test]
fn nothing_is_worse_than_absmax_scaling() {
    for (name, store) in [
        ("t.nf4", F16),
        ("t.nf4.f32", F32),
        ("t.fp4", F32),
        ("t.af4", BF16),
        ("t.int3", F16),
        ("t.int4", F16),
        ("t.ternary", F16),
        ("t.ternary.int", F16),
        ("t.int8", F32),
        ("t.int5", BF16),
        ("t.int6", F16),
        ("t.int7", F16),
        ("t.bit", F16),
        ("t.fp8.f32", F32),
        ("t.fp8.bf16", BF16),
    ] {
        let declaration = kind(name);
        let levels: Vec<f32> = declaration.levels().to_vec();
        let (low, high) = extremes(&levels);
        each_group(&declaration, |what, values, decoded| {
            let (least, most) = extremes(values);
            let absmax = most.max(-least);
            let ours = error(values, decoded, None);
            for reach in [high.max(-low), high.min(-low)] {
                for sign in [1.0, -1.0] {
                    let absmax = left(values, &levels, store(sign * absmax / reach), 0.0, 0.0);
                    assert!(ours <= absmax * (1.0 + 1e-12), "{name}, {what}: {ours} is more than {absmax}");
                }
            }
            let nothing = error(values, &vec![0.0; values.len()], None);
            assert!(ours <= nothing, "{name}, {what}: {ours}");
        });
    }
}

#[test]
fn nothing_is_worse_than_min_max() {
    for (name, store) in [
        ("t.int4.zero", F16),
        ("t.gptq", F16),
        ("t.onnx8", F16),
        ("t.mlx4.f16", F16),
        ("t.mlx4.bf16", BF16),
        ("t.hqq3", F16),
        ("t.hqq4.zero", F16),
        ("t.hqq2.zero", BF16),
    ] {
        let declaration = kind(name);
        let levels: Vec<f32> = declaration.levels().to_vec();
        let (low, high) = extremes(&levels);
        each_group(&declaration, |what, values, decoded| {
            let (least, most) = extremes(values);
            let ours = error(values, decoded, None);
            let min_max = if declaration.has_min() {
                left(values, &levels, store((most - least) / (high - low)), 0.0, store(least))
            } else if name.ends_with(".zero") && name.starts_with("t.hqq") {
                // The middle of the extremes is in the middle of the levels, as far as what is stored allows.
                let scale = (most - least) / (high - low);
                let zero = (low + high) / 2.0 - (least + most) / 2.0 / scale.max(1e-300);
                let zero = if name == "t.hqq2.zero" {
                    zero as f32 as f64
                } else {
                    F16(zero.clamp(-65504.0, 65504.0))
                };
                left(values, &levels, store(scale), zero, 0.0)
            } else {
                let (least, most) = (least.min(0.0), most.max(0.0));
                let scale = (most - least) / (high - low);
                let zeros = if name == "t.onnx8" { (-128.0, 127.0) } else { (0.0, 15.0) };
                let zero = (low - least / scale.max(1e-300)).round().clamp(zeros.0, zeros.1);
                left(values, &levels, store(scale), zero, 0.0)
            };
            assert!(ours <= min_max * (1.0 + 1e-12), "{name}, {what}: {ours} is more than {min_max}");
        });
    }
}

/// Scales that are rounded so far apart, or are multiples of another, that the errors of groups are looked at together.
#[test]
fn nothing_is_worse_than_scaling_by_powers_of_two_or_by_a_super_scale() {
    let e4m3 = |value: f64| F8E4M3::from_f64(value.min(448.0)).to_f32();
    for declaration in kinds() {
        let (name, levels) = (declaration.name(), declaration.levels());
        let (low, high) = extremes(levels);
        let fitting = |values: &[f32]| {
            let (least, most) = extremes(values);
            (most / high).max(if low < 0.0 { least / low } else { 0.0 })
        };
        for (what, values) in distributions(8 * declaration.block_len()) {
            let decoded = dequantize(&declaration, &quantize(&declaration, &values, None));
            for (values, decoded) in
                values.chunks(declaration.block_len()).zip(decoded.chunks(declaration.block_len()))
            {
                let groups: Vec<&[f32]> = values.chunks(declaration.group_len()).collect();
                let scales: Vec<f64> = groups.iter().map(|group| fitting(group)).collect();
                let largest = scales.iter().copied().fold(0.0, f64::max);
                let total = |scale_of: &dyn Fn(f64) -> f64| -> f64 {
                    groups
                        .iter()
                        .zip(&scales)
                        .map(|(group, scale)| left(group, levels, scale_of(*scale), 0.0, 0.0))
                        .sum()
                };
                let theirs = match name {
                    // The rule of the OCP Microscaling specification, and the power above.
                    "t.mxfp4" | "t.mxfp6" => {
                        let below = |value: f64| {
                            2f64.powi((value.max(1e-38).log2()).floor() as i32).max(2f64.powi(-127))
                        };
                        let ocp = total(&|scale| below(scale * high) / below(high));
                        ocp.min(total(&|scale| 2.0 * below(scale)))
                    }
                    "t.nvfp4" => {
                        let super_scale = F32(largest / 448.0);
                        total(&|scale| f64::from(e4m3(scale / super_scale.max(1e-300)) * super_scale as f32))
                    }
                    "t.kquant" => {
                        let super_scale = F16(largest / 63.0);
                        total(&|scale| (scale / super_scale.max(1e-300)).round().min(63.0) * super_scale)
                    }
                    _ => continue,
                };
                let ours = error(values, decoded, None);
                assert!(ours <= theirs * (1.0 + 1e-12), "{name}, {what}: {ours} is more than {theirs}");
            }
        }
    }
}

/// Relative errors of normal values that each kind must reach: a change that makes the search worse shows here.
#[test]
fn errors_of_normal_values() {
    for (name, most) in [
        ("t.nf4", 0.0830),
        ("t.fp4", 0.1116),
        ("t.int3", 0.1736),
        ("t.int4", 0.0802),
        ("t.int4.zero", 0.0935),
        ("t.mlx4.f16", 0.0825),
        ("t.gptq", 0.0935),
        ("t.hqq4.zero", 0.0825),
        ("t.ternary", 0.4295),
        ("t.bit", 0.5970),
        ("t.int8", 0.0050),
        ("t.fp8.f32", 0.0210),
        ("t.mxfp4", 0.1115),
        ("t.nvfp4", 0.0850),
        ("t.kquant", 0.0750),
        ("t.kquant.min", 0.0710),
    ] {
        let declaration = kind(name);
        let (_, values) = &distributions(65536)[0];
        let decoded = dequantize(&declaration, &quantize(&declaration, values, None));
        let relative = (error(values, &decoded, None) / error(values, &vec![0.0; values.len()], None)).sqrt();
        assert!(relative <= most && relative >= 0.9 * most, "{name}: {relative}");
    }
}

#[test]
fn what_can_be_stored_comes_back_to_the_bit() {
    for declaration in kinds() {
        let mut random = Random(23);
        let levels = declaration.levels();
        // The ends of the levels in every group, or the scale could not be told; whole scales are exact in every dtype.
        let (low, high) = extremes(levels);
        let is_exact = levels.iter().all(|level| (level * 256.0).fract() == 0.0 && level.abs() < 256.0);
        if !is_exact || declaration.name().starts_with("t.kquant") {
            continue;
        }
        let zero =
            if declaration.has_zero() { levels.iter().sum::<f32>() / levels.len() as f32 } else { 0.0 };
        let values: Vec<f32> = (0..2 * declaration.block_len())
            .map(|index| {
                let level = match index % declaration.group_len() {
                    0 => low as f32,
                    1 => high as f32,
                    _ => loop {
                        let level = levels[random.below(levels.len())];
                        if level >= low as f32 {
                            break level;
                        }
                    },
                };
                (level - zero.floor()) * 0.5 + if declaration.has_min() { 2.0 } else { 0.0 }
            })
            .collect();
        let decoded = dequantize(&declaration, &quantize(&declaration, &values, None));
        assert_eq!(decoded, values, "{}", declaration.name());
    }
}

#[test]
fn bytes_are_a_function_of_the_block_alone() {
    for declaration in kinds() {
        let name = declaration.name();
        for (what, values) in distributions(4 * declaration.block_len()) {
            let bytes = quantize(&declaration, &values, None);
            assert_eq!(bytes, quantize(&declaration, &values, None), "{name}, {what}");
            let alone =
                values.chunks(declaration.block_len()).flat_map(|block| quantize(&declaration, block, None));
            assert_eq!(bytes, alone.collect::<Vec<u8>>(), "{name}, {what}");
            let ones = vec![1.0; declaration.block_len()];
            assert_eq!(bytes, quantize(&declaration, &values, Some(&ones)), "{name}, {what}");
        }
    }
}

#[test]
fn decoding_and_encoding_again_leaves_little() {
    for declaration in kinds() {
        for (what, values) in distributions(4 * declaration.block_len()) {
            let once = dequantize(&declaration, &quantize(&declaration, &values, None));
            let twice = dequantize(&declaration, &quantize(&declaration, &once, None));
            let zeros = vec![0.0; values.len()];
            let (again, first) = (error(&once, &twice, None), error(&values, &once, None));
            let size = error(&once, &zeros, None);
            assert!(again <= first + 1e-6 * size, "{}, {what}: {again} after {first}", declaration.name());
        }
    }
}

#[test]
fn importance_moves_the_error_to_where_it_is_cheap() {
    for declaration in kinds() {
        let name = declaration.name();
        let len = 4 * declaration.block_len();
        let (_, values) = &distributions(8 * len)[0];
        let mut random = Random(31);
        let weights: Vec<f32> = (0..len).map(|_| if random.below(8) == 0 { 100.0 } else { 0.1 }).collect();
        let plain = dequantize(&declaration, &quantize(&declaration, values, None));
        let weighted = dequantize(&declaration, &quantize(&declaration, values, Some(&weights)));
        let (before, after) =
            (error(values, &plain, Some(&weights)), error(values, &weighted, Some(&weights)));
        // Powers of two leave little choice.
        let is_less = if name.starts_with("t.mx") { after <= before } else { after < before };
        assert!(is_less, "{name}: {after} is not less than {before}");
        // What is no weight weighs nothing, and where nothing weighs, all is alike.
        for odd in [0.0, f32::NAN, -1.0, f32::NEG_INFINITY] {
            assert_eq!(
                quantize(&declaration, values, Some(&vec![odd; len])),
                quantize(&declaration, values, None),
                "{name}"
            );
        }
        let largest = quantize(&declaration, values, Some(&vec![f32::INFINITY; len]));
        assert!(dequantize(&declaration, &largest).iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn zeros_are_zeros_and_what_is_unused_is_zero() {
    for declaration in kinds() {
        let name = declaration.name();
        let values = vec![0.0; 2 * declaration.block_len()];
        let bytes = quantize(&declaration, &values, None);
        if declaration.levels().contains(&0.0) {
            assert_eq!(dequantize(&declaration, &bytes), values, "{name}");
        }
    }
    let declaration = Declaration::parse(
        "name = 'a'\nblock_len = 5\nblock_bytes = 12\ncodes = { at = 1, bits = 3 }\nscale = { at = 6, dtype = 'f16' }\n\
         zero = { at = 9, bits = 3 }",
    )
    .unwrap();
    let mut random = Random(3);
    for _ in 0..100 {
        let values: Vec<f32> = (0..5).map(|_| random.normal()).collect();
        let bytes = quantize(&declaration, &values, None);
        assert_eq!(
            [
                bytes[0],
                bytes[2] & 0x80,
                bytes[3],
                bytes[4],
                bytes[5],
                bytes[8],
                bytes[9] & 0xf8,
                bytes[10],
                bytes[11]
            ],
            [0; 9]
        );
    }
}

/// Codes without a value of their own are for other encoders.
#[test]
fn unused_codes_are_not_written() {
    for (name, codes) in [("t.ternary", 3..4), ("t.fp8.bf16", 0x7c..0x80), ("t.fp8.f32", 0x7f..0x80)] {
        let declaration = kind(name);
        for (what, values) in distributions(4 * declaration.block_len()) {
            let mut found = vec![0; declaration.block_len()];
            for block in quantize(&declaration, &values, None).chunks(declaration.block_bytes()) {
                declaration.codes(block, &mut found);
                assert!(!found.iter().any(|code| codes.contains(code)), "{name}, {what}");
            }
        }
    }
}

#[test]
fn a_scale_may_be_negative_where_levels_reach_further_below() {
    let builder = Declaration::builder("a", 8, 6).codes_in(2, 4, Order::Halves).offset(8);
    let declaration = builder.scale(0, ScaleDType::F16).build().unwrap();
    let values = [8.0, 7.0, -7.0, 1.0, 0.0, 2.0, 3.0, -5.0];
    let bytes = quantize(&declaration, &values, None);
    assert_eq!(declaration.factors(&bytes, 0).scale, -1.0);
    assert_eq!(dequantize(&declaration, &bytes), values);
}

#[test]
fn every_promise_to_a_host_is_kept() {
    let plugin = Plugin::new("declared", "1.0.0");
    assert_conforms(
        kinds().into_iter().fold(plugin, |plugin, kind| plugin.encoding(DeclaredEncoding::new(kind))),
    );
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let encoding = DeclaredEncoding::new(kinds()[0].clone());
    let values = [1.0; 128];
    for (row_len, weights, bytes, said) in [
        (32, None, 68, "68 bytes are not the blocks of rows of 32 values: a block has 64 values in 34 bytes"),
        (64, None, 67, "67 bytes are not the blocks of rows of 64 values: a block has 64 values in 34 bytes"),
        (64, Some(&values[..63]), 68, "the importance vector has 63 weights for rows of 64 columns"),
    ] {
        let rows = Rows::new(&values, row_len).unwrap();
        assert_eq!(encoding.quantize(rows, weights, &mut vec![0; bytes]).unwrap_err().message(), said);
    }
}
