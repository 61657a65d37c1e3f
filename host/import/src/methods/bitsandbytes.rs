//! The 4-bit types of bitsandbytes, NF4 and FP4.
//!
//! A weight has `weight`, u8 of all codes, two in a byte, the first in the high half; `weight.absmax`, one for each `blocksize` values of
//! the weight in the order of its rows; `weight.quant_map`, f32 `[16]`; and `weight.quant_state.bitsandbytes__nf4` or `__fp4`, a JSON object as
//! u8. Where `absmax` is quantized again it is u8, and there are `weight.nested_absmax` f32, one for each `nested_blocksize` of these, and
//! `weight.nested_quant_map`, f32 `[256]`.
//!
//! ```text
//! weight = quant_map[q] * absmax
//! absmax = nested_quant_map[absmax8] * nested_absmax + nested_offset
//! ```
//!
//! The second line is computed once, in f32. Source: [bitsandbytes](https://github.com/bitsandbytes-foundation/bitsandbytes)
//! (`bitsandbytes/functional.py`: `QuantState`, `dequantize_4bit`, `dequantize_blockwise`).

use bitquilt::DType;
use bitquilt::declared::{ScaleDType, StoredFactors};
use serde_json::{Map, Value};

use super::Method;
use crate::config::MAX_GROUP;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::{Weight, blocks_of};

const NAME: &str = "bitsandbytes";

/// The end of the name of a description, before the type.
const STATE: &str = ".weight.quant_state.bitsandbytes__";
/// The types that are read, and what they are called there.
const TYPES: [&str; 2] = ["nf4", "fp4"];
/// The longest description, in bytes.
const MAX_STATE: usize = 1 << 16;

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["bitsandbytes"],
    mark: |source, name, stored| {
        let is_weight = |layer: &str| source.stored(&format!("{layer}.weight")).is_some();
        match name.strip_suffix(".SCB").filter(|layer| is_weight(layer)) {
            // 8-bit weights, which are refused by name.
            Some(layer) => Some(layer),
            None => name.strip_suffix(".weight.absmax").filter(|_| !stored.is_opaque()),
        }
    },
    companions: &[".quant_map", ".nested_absmax"],
    read,
};

/// What the description of a weight says.
struct State {
    kind: &'static str,
    name: String,
    shape: [usize; 2],
    block: usize,
    /// The second description's block and offset.
    nested: Option<(usize, f32)>,
}

fn read(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let part = |name: &str| format!("{layer}.weight{name}");
    if source.stored(&format!("{layer}.SCB")).is_some() {
        let what =
            "it is of bitsandbytes' 8-bit type, whose values q * SCB / 127 no block holds exactly".to_owned();
        let remedy = "quantize it as NF4 or FP4, or save it in full precision";
        return Err(source.wrong(&part(""), Problem::Unsupported { what, remedy }));
    }
    let state = State::read(source, layer)?;
    let [rows, columns] = state.shape;
    let count = rows * columns;
    let packed = codes(source, &part(""), count)?;
    let blocks = count.div_ceil(state.block);
    let scales = absmax(source, &part, &state, blocks)?;
    let map = source.tensor(&part(".quant_map"), &[DType::F32], &[16])?;
    let values = map.values::<f32>().unwrap_or_default().to_vec();
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let what = format!("its entry {at} is {}, and all are numbers", values[at]);
        return Err(source.wrong(&part(".quant_map"), Problem::Damaged { what }));
    }
    let block = state.block;
    let block_len = blocks_of(block, columns).map_err(|problem| source.wrong(&part(""), problem))?;
    let names = ["", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"].map(part);
    let parts = names.into_iter().filter(|name| source.stored(name).is_some());
    let kind = Kind::Table { name: table_name(state.kind, &values), values };
    Ok(Weight {
        parts: parts.chain([state.name]).collect(),
        shape: vec![rows, columns],
        layout: Layout { prefix: "bnb", kind, scale: ScaleDType::F32, block_len },
        permutation: None,
        codes: Box::new(move |range, dst| {
            let bytes = packed.bytes();
            for (index, code) in (range.start * columns..).zip(dst) {
                *code = bytes[index / 2] >> (if index % 2 == 0 { 4 } else { 0 }) & 15;
            }
        }),
        factors: Box::new(move |row, column| {
            let scale = scales[(row * columns + column) / block].to_bits();
            StoredFactors { scale, ..StoredFactors::default() }
        }),
    })
}

/// The packed codes: a column, or a row, of bytes.
fn codes(source: &Source, name: &str, count: usize) -> Result<bitquilt::Tensor, ImportError> {
    let bytes = count.div_ceil(2);
    source.required(name, name, NAME)?;
    let is_row = source.stored(name).is_some_and(|stored| stored.shape() == [1, bytes]);
    let shape = if is_row { [1, bytes] } else { [bytes, 1] };
    source.tensor(name, &[DType::U8], &shape)
}

/// The scale of each block.
fn absmax(
    source: &Source,
    part: &impl Fn(&str) -> String,
    state: &State,
    blocks: usize,
) -> Result<Vec<f32>, ImportError> {
    let Some((block, offset)) = state.nested else {
        let scales = source.tensor(&part(".absmax"), &[DType::F32], &[blocks])?;
        return Ok(scales.values::<f32>().unwrap_or_default().to_vec());
    };
    let indices = source.tensor(&part(".absmax"), &[DType::U8], &[blocks])?;
    let (absmax, map) = (part(".nested_absmax"), part(".nested_quant_map"));
    for name in [&absmax, &map] {
        source.required(&part(".absmax"), name, NAME)?;
    }
    let absmax = source.tensor(&absmax, &[DType::F32], &[blocks.div_ceil(block)])?;
    let map = source.tensor(&map, &[DType::F32], &[256])?;
    let (absmax, map) = (absmax.values::<f32>().unwrap_or_default(), map.values::<f32>().unwrap_or_default());
    let scale = |(index, entry): (usize, &u8)| map[usize::from(*entry)] * absmax[index / block] + offset;
    Ok(bitquilt::plugin_api::host::in_default_control("importing", || {
        indices.bytes().iter().enumerate().map(scale).collect()
    }))
}

impl State {
    fn read(source: &Source, layer: &str) -> Result<Self, ImportError> {
        let absmax = format!("{layer}.weight.absmax");
        let names = TYPES.map(|kind| (kind, format!("{layer}{STATE}{kind}")));
        let found = names.into_iter().find(|(_, name)| source.stored(name).is_some());
        let Some((kind, name)) = found else {
            let part = format!("{layer}{STATE}nf4");
            return Err(source.wrong(&absmax, Problem::Missing { method: NAME, part }));
        };
        let expected = || source.other_type(&name, format!("u8 [n] of at most {MAX_STATE} values"));
        let length = match source.stored(&name).map(|stored| stored.shape()) {
            Some([length]) if *length <= MAX_STATE => *length,
            _ => return Err(expected()),
        };
        let text = source.tensor(&name, &[DType::U8], &[length])?;
        let object: Map<String, Value> = serde_json::from_slice(text.bytes()).map_err(|error| {
            source.wrong(
                &name,
                Problem::Damaged {
                    what: format!("it holds no JSON object: {}", bitquilt::text::Brief(&error.to_string())),
                },
            )
        })?;
        Self::of(&object, kind, &name).map_err(|what| source.wrong(&name, Problem::Damaged { what }))
    }

    fn of(object: &Map<String, Value>, kind: &'static str, name: &str) -> Result<Self, String> {
        let whole = |key: &str| {
            let number = object.get(key).and_then(Value::as_i64);
            let number =
                number.filter(|number| (1..=MAX_GROUP).contains(number)).map(|number| number as usize);
            number.ok_or_else(|| format!("its `{key}` is no whole number from 1 to {MAX_GROUP}"))
        };
        if object.get("quant_type").is_some_and(|found| found != kind) {
            return Err(format!("its `quant_type` is not {kind}"));
        }
        let dims = object.get("shape").and_then(Value::as_array);
        let dims: Vec<usize> =
            dims.into_iter().flatten().filter_map(Value::as_u64).map(|dim| dim as usize).collect();
        let shape = match dims[..] {
            [rows, columns] if rows > 0 && columns > 0 && rows.checked_mul(columns).is_some() => {
                [rows, columns]
            }
            _ => return Err("its `shape` is not that of a matrix with values".to_owned()),
        };
        let nested = match object.get("nested_blocksize") {
            None => None,
            Some(_) => {
                let offset = object.get("nested_offset").and_then(Value::as_f64);
                let offset = offset.ok_or("its `nested_offset` is no number")? as f32;
                if object.get("nested_dtype").is_some_and(|dtype| dtype != "float32") {
                    return Err("its `nested_dtype` is not float32".to_owned());
                }
                Some((whole("nested_blocksize")?, offset))
            }
        };
        Ok(Self { kind, name: name.to_owned(), shape, block: whole("blocksize")?, nested })
    }
}

/// The tables that the types have everywhere, as bitsandbytes defines them.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
const FP4: [f32; 16] = [
    0.0,
    0.0625 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    0.5,
    2.0 / 12.0,
    0.25,
    0.0,
    -0.0625 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -0.5,
    -2.0 / 12.0,
    -0.25,
];

/// The name of a table: that of the type, and for another table than the type's a sum of its bits (FNV-1a).
fn table_name(kind: &str, values: &[f32]) -> String {
    let known = if kind == "nf4" { NF4 } else { FP4 };
    let is_known = values.iter().zip(known).all(|(value, known)| value.to_bits() == known.to_bits());
    if is_known {
        return kind.to_owned();
    }
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let sum = bytes.fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{kind}-{sum:08x}")
}
