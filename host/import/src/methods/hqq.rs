//! HQQ, as hqq and transformers write it to safetensors.
//!
//! A layer has `W_q`, the packed codes; `scale` and `zero`, floats; and what else the library needs, as tensors: `shape` i64 `[2]`, `nbits`,
//! `axis`, `packing` (a text as u8), `group_size`, `view_as_float` and others. Along axis 1 a weight `[out, in]` is seen as the rows of
//! `out * in / group_size` groups, `scale` and `zero` have one entry for each, and rows are packed in slabs: of `k` codes in a byte, or
//! 10 codes of 3 bits in an i32, slab `j` of the rows has bits `bits * (k - 1 - j)` and those above.
//!
//! ```text
//! weight = (q - zero) * scale
//! ```
//!
//! Source: [hqq](https://github.com/mobiusml/hqq) (`hqq/core/quantize.py`, `hqq/core/bitpack.py`). Along axis 0 the values of a group lie in
//! other rows, for which there are no blocks; such layers are refused, and so are those whose scales or zeros are quantized again.

use bitquilt::declared::StoredFactors;
use bitquilt::text::Brief;
use bitquilt::{DType, Tensor};

use super::Method;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::numbers::{Floats, mask};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::{Weight, blocks_of};

const NAME: &str = "HQQ";

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["hqq"],
    mark: |_, name, _| name.strip_suffix(".W_q"),
    companions: &[],
    read,
};

/// What belongs to a layer besides its bias.
const PARTS: [&str; 20] = [
    "W_q",
    "scale",
    "zero",
    "zero_scale",
    "shape",
    "nbits",
    "axis",
    "packing",
    "group_size",
    "view_as_float",
    "unpack_view_dtype",
    "compute_dtype",
    "quant_scale",
    "quant_zero",
    "offload_meta",
    "encoded_state_dict",
    "stores_quant_config",
    "channel_wise",
    "optimize",
    "round_zero",
];

/// How codes are packed: a name, bytes of a unit, codes in one, bits between them, and the bits that codes may have.
struct Packing {
    name: &'static str,
    dtype: DType,
    in_unit: usize,
    step: u32,
    bits: &'static [u32],
}

const PACKINGS: [Packing; 5] = [
    Packing { name: "8bit_u8", dtype: DType::U8, in_unit: 1, step: 8, bits: &[8, 6, 5] },
    Packing { name: "4bit_u8", dtype: DType::U8, in_unit: 2, step: 4, bits: &[4] },
    Packing { name: "3bit_32", dtype: DType::I32, in_unit: 10, step: 3, bits: &[3] },
    Packing { name: "2bit_u8", dtype: DType::U8, in_unit: 4, step: 2, bits: &[2] },
    Packing { name: "1bit_u8", dtype: DType::U8, in_unit: 8, step: 1, bits: &[1] },
];

fn read(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let part = |name: &str| format!("{layer}.{name}");
    let (codes, scale, zero) = (part("W_q"), part("scale"), part("zero"));
    check_supported(source, &part)?;
    let [rows, columns] = shape(source, &codes, &part("shape"))?;
    let (packing, bits) = packing(source, &codes, &part)?;
    let count = source.required(&codes, &scale, NAME)?.shape().iter().product::<usize>();
    let all = rows * columns;
    if count == 0 || !all.is_multiple_of(count) {
        return Err(source.other_type(&scale, format!("a scale for each group of {rows} x {columns} values")));
    }
    let group = all / count;
    let scale = source.floats(&scale, &[count, 1])?;
    source.required(&codes, &zero, NAME)?;
    let zero = source.floats(&zero, &[count, 1])?;
    // Groups follow each other from row to row, and none may be of two.
    if group > columns || !columns.is_multiple_of(group) {
        let problem = Problem::Groups { group, columns, least: crate::layout::LEAST_BLOCK };
        return Err(source.wrong(&codes, problem));
    }
    let block_len = blocks_of(group, columns).map_err(|problem| source.wrong(&codes, problem))?;
    let slab = count.div_ceil(packing.in_unit);
    let packed = source.tensor(&codes, &[packing.dtype], &[slab, group])?;
    let slabs = Slabs { packed, packing, slab, group, bits };
    slabs.check(source, &codes, count, columns)?;
    let kind = Kind::FloatZero { bits, dtype: zero.dtype() };
    let parts = PARTS.map(part).into_iter().filter(|name| source.stored(name).is_some());
    Ok(Weight {
        parts: parts.collect(),
        shape: vec![rows, columns],
        layout: Layout { prefix: "hqq", kind, scale: scale.dtype(), block_len },
        permutation: None,
        codes: Box::new(move |range, dst| {
            for (line, dst) in (range.start * columns / group..).zip(dst.chunks_exact_mut(group)) {
                slabs.line(line, dst);
            }
        }),
        factors: Box::new(move |row, column| factors(&scale, &zero, (row * columns + column) / group)),
    })
}

fn factors(scale: &Floats, zero: &Floats, group: usize) -> StoredFactors {
    StoredFactors { scale: scale.bits(group), zero: zero.bits(group), min: 0 }
}

/// The number of a tensor that has one.
fn number(source: &Source, name: &str) -> Result<Option<i64>, ImportError> {
    if source.stored(name).is_none() {
        return Ok(None);
    }
    match source.integers(name, None)?[..] {
        [number] => Ok(Some(number)),
        _ => Err(source.other_type(name, "one number")),
    }
}

fn check_supported(source: &Source, part: &impl Fn(&str) -> String) -> Result<(), ImportError> {
    let refuse = |name: &str, what: &str, remedy| {
        Err(source.wrong(&part(name), Problem::Unsupported { what: what.to_owned(), remedy }))
    };
    if number(source, &part("axis"))?.is_some_and(|axis| axis != 1) {
        return refuse(
            "axis",
            "its groups run along axis 0, so that neighbours in a row have scales of their own",
            "quantize it with axis=1",
        );
    }
    for name in ["quant_scale", "quant_zero"] {
        if number(source, &part(name))?.is_some_and(|flag| flag != 0) {
            return refuse(
                name,
                "its scales or zeros are quantized again",
                "quantize it without quant_scale and quant_zero",
            );
        }
    }
    if number(source, &part("view_as_float"))?.is_some_and(|flag| flag != 0) {
        return refuse("view_as_float", "its codes are stored as floats", "save it with view_as_float=False");
    }
    if source.stored(&part("zero_scale")).is_some() {
        return refuse(
            "zero_scale",
            "its scales and zeros are one tensor",
            "save it with offload_meta=False",
        );
    }
    Ok(())
}

/// The shape of the weight. Its values are as many as can be counted.
fn shape(source: &Source, codes: &str, name: &str) -> Result<[usize; 2], ImportError> {
    source.required(codes, name, NAME)?;
    let dims = source.integers(name, Some(2))?;
    let dims: Vec<usize> =
        dims.iter().filter_map(|dim| usize::try_from(*dim).ok()).filter(|dim| *dim > 0).collect();
    match dims[..] {
        [rows, columns] if rows.checked_mul(columns).is_some() => Ok([rows, columns]),
        _ => Err(source.wrong(name, Problem::Damaged { what: "it holds no shape of a matrix".to_owned() })),
    }
}

/// How codes are packed, and their bits.
fn packing(
    source: &Source,
    codes: &str,
    part: &impl Fn(&str) -> String,
) -> Result<(&'static Packing, u32), ImportError> {
    static TABLE: [Packing; 5] = PACKINGS;
    let name = part("packing");
    source.required(codes, &name, NAME)?;
    let text: String = source.integers(&name, None)?.iter().map(|byte| char::from(*byte as u8)).collect();
    let Some(packing) = TABLE.iter().find(|packing| packing.name == text) else {
        let known: Vec<&str> = TABLE.iter().map(|packing| packing.name).collect();
        let what = format!("its packing is \"{}\", and {} are known", Brief(&text), known.join(", "));
        return Err(source.wrong(&name, Problem::Unsupported { what, remedy: "save it with one of these" }));
    };
    let nbits = part("nbits");
    // The bits of ternary codes are a float, and theirs are packed as those of 2 bits.
    let is_float = source.stored(&nbits).is_some_and(|stored| stored.dtype() == Some(DType::F32));
    let said = if is_float { None } else { number(source, &nbits)? };
    let bits = match said {
        None => packing.bits[0],
        Some(said) => *packing.bits.iter().find(|bits| i64::from(**bits) == said).ok_or_else(|| {
            let what = format!("it is {said}, and codes are packed as {}", packing.name);
            source.wrong(&nbits, Problem::Damaged { what })
        })?,
    };
    Ok((packing, bits))
}

/// Packed codes of lines of one group each.
struct Slabs {
    packed: Tensor,
    packing: &'static Packing,
    /// Lines of a slab.
    slab: usize,
    group: usize,
    bits: u32,
}

impl Slabs {
    /// The codes of a line.
    fn line(&self, line: usize, dst: &mut [u8]) {
        let Packing { in_unit, step, dtype, .. } = self.packing;
        let shift = step * (in_unit - 1 - line / self.slab) as u32;
        let begin = line % self.slab * self.group;
        match *dtype {
            DType::I32 => {
                let units = &self.packed.values::<i32>().unwrap_or_default()[begin..][..self.group];
                dst.iter_mut()
                    .zip(units)
                    .for_each(|(code, unit)| *code = (unit >> shift) as u8 & mask(*step));
            }
            _ => {
                let units = &self.packed.bytes()[begin..][..self.group];
                dst.iter_mut().zip(units).for_each(|(code, unit)| *code = unit >> shift & mask(*step));
            }
        }
    }

    /// An error for codes with more bits than they may have: those of 5 and 6 bits are bytes.
    fn check(&self, source: &Source, name: &str, lines: usize, columns: usize) -> Result<(), ImportError> {
        if self.bits == self.packing.step {
            return Ok(());
        }
        let mut codes = vec![0; self.group];
        for line in 0..lines {
            self.line(line, &mut codes);
            if let Some(at) = codes.iter().position(|code| *code > mask(self.bits)) {
                let index = line * self.group + at;
                let (row, column) = (index / columns, index % columns);
                let problem = Problem::Code { row, column, found: codes[at], bits: self.bits };
                return Err(source.wrong(name, problem));
            }
        }
        Ok(())
    }
}
