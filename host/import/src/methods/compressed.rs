//! compressed-tensors: packed integers (`pack-quantized`), 8-bit integers (`int-quantized`) and FP8 (`float-quantized`), and the FP8 of
//! DeepSeek, which is laid out alike.
//!
//! Packed integers have `weight_packed`, i32 `[out, ceil(in * bits / 32)]`, the codes of a row from the lowest bits on; `weight_shape`, integers
//! `[2]`; `weight_scale` `[out, groups]`; where they are not symmetric `weight_zero_point`, i32 `[ceil(out * bits / 32), groups]`, packed along
//! `out`; and perhaps `weight_g_idx`, i32 `[in]`. What is packed is the number plus `2^(bits-1)`, of codes and zero points alike.
//!
//! Other weights have `weight`, i8 or an 8-bit float `[out, in]`, and `weight_scale`: of one entry, `[out, 1]`, `[out, groups]`, or one for each
//! block of rows and columns. DeepSeek's `weight_scale_inv` is the factor, too, in spite of its name.
//!
//! ```text
//! weight = (q - zero_point) * weight_scale
//! ```
//!
//! Codes of 3, 5, 6 and 7 bits are packed in two ways by different releases, and are refused, as is NVFP4, whose scale is a quotient.
//! Source: [compressed-tensors](https://github.com/neuralmagic/compressed-tensors) (`compressors`, `quantization/lifecycle/forward.py`).

use bitquilt::checkpoint::StoredTensor;
use bitquilt::declared::{CodeDType, StoredFactors};
use bitquilt::{DType, Tensor};

use super::Method;
use super::groups::Groups;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::numbers::{Floats, code_in};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::{Weight, blocks_of};

const NAME: &str = "compressed-tensors";
const BITS: [u32; 4] = [1, 2, 4, 8];
const PREFIX: &str = "ct";

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["compressed-tensors", "fp8"],
    mark: |source, name, stored| {
        if let Some(layer) = name.strip_suffix(".weight_packed") {
            return Some(layer);
        }
        let layer = name.strip_suffix(".weight").filter(|_| code_dtype(stored).is_some())?;
        scale_name(source, layer).map(|_| layer)
    },
    companions: &[".weight_shape", ".weight_zero_point", ".weight_g_idx"],
    read: |source, layer| match source.stored(&format!("{layer}.weight_packed")).is_some() {
        true => read_packed(source, layer),
        false => read_bytes(source, layer),
    },
};

/// What codes of one byte are.
#[derive(Clone, Copy, PartialEq)]
enum ByteCodes {
    Float(CodeDType),
    Signed,
}

fn code_dtype(stored: &StoredTensor) -> Option<ByteCodes> {
    match stored.dtype()? {
        DType::F8_E4M3 => Some(ByteCodes::Float(CodeDType::F8E4M3)),
        DType::F8_E5M2 => Some(ByteCodes::Float(CodeDType::F8E5M2)),
        DType::I8 => Some(ByteCodes::Signed),
        _ => None,
    }
}

fn scale_name(source: &Source, layer: &str) -> Option<String> {
    let names = ["weight_scale", "weight_scale_inv"].map(|part| format!("{layer}.{part}"));
    names.into_iter().find(|name| source.stored(name).is_some())
}

fn read_packed(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let part = |name: &str| format!("{layer}.{name}");
    let [packed, scale, shape] = ["weight_packed", "weight_scale", "weight_shape"].map(part);
    let [zero_point, g_idx] = ["weight_zero_point", "weight_g_idx"].map(part);
    let stored = source.required(&packed, &packed, NAME)?;
    if stored.dtype() != Some(DType::I32) {
        let what = "it is packed otherwise than as integers, as NVFP4 and MXFP4 are".to_owned();
        let remedy = "save the model in full precision, and quantize it with another format";
        return Err(source.wrong(&packed, Problem::Unsupported { what, remedy }));
    }
    let [rows, words] = source.matrix(&packed, stored)?;
    source.required(&packed, &shape, NAME)?;
    let columns = match source.integers(&shape, Some(2))?[..] {
        [first, columns] if usize::try_from(first) == Ok(rows) && columns > 0 => columns as usize,
        _ => {
            let what = format!("it holds no shape of a matrix of {rows} rows");
            return Err(source.wrong(&shape, Problem::Damaged { what }));
        }
    };
    let bits = packed_bits(source, &packed, words, columns)?;
    let scale_shape = source.required(&packed, &scale, NAME)?.shape().to_vec();
    let scales = Scales::read(source, &scale, &scale_shape, [rows, columns])?;
    let count = scales.across;
    let index = match source.stored(&g_idx) {
        None => None,
        // All are -1 until columns are put in an order.
        Some(_) => Some(source.integers(&g_idx, Some(columns))?)
            .filter(|index| index.iter().any(|group| *group != -1)),
    };
    let groups = match &index {
        Some(index) => Groups::of_index(index, count).map_err(|problem| source.wrong(&g_idx, problem))?,
        None => Groups::of_equal(scales.width, columns).map_err(|problem| source.wrong(&scale, problem))?,
    };
    let zeros = match source.stored(&zero_point) {
        None => None,
        Some(_) => Some(packed_zeros(source, &zero_point, [rows, count], bits)?),
    };
    let kind = match &zeros {
        None => Kind::Symmetric { bits },
        Some(_) => Kind::Zero { bits },
    };
    let names = [packed, scale, shape, zero_point, g_idx];
    let codes = source.words(&names[0], &[rows, words])?;
    Ok(Weight {
        parts: names.into_iter().filter(|name| source.stored(name).is_some()).collect(),
        shape: vec![rows, columns],
        layout: Layout { prefix: PREFIX, kind, scale: scales.floats.dtype(), block_len: groups.block_len },
        permutation: groups.permutation.clone(),
        codes: codes.along_rows(words, columns, bits),
        factors: Box::new(move |row, column| {
            let group = groups.of(column);
            let zero = zeros.as_ref().map_or(0, |zeros| zeros[row * count + group]);
            StoredFactors { scale: scales.bits(row, group), zero: zero.into(), min: 0 }
        }),
    })
}

/// The bits of packed codes: those of the configuration whose codes take so many words, or those that alone do.
fn packed_bits(source: &Source, packed: &str, words: usize, columns: usize) -> Result<u32, ImportError> {
    let said = configured_bits(source)?;
    let fits = |bits: &u32| {
        let dense = columns.checked_mul(*bits as usize).map(|all| all.div_ceil(32));
        dense == Some(words) || columns.div_ceil(32 / *bits as usize) == words
    };
    let allowed = (1..=8).filter(|bits| said.is_empty() || said.contains(bits));
    match allowed.filter(fits).collect::<Vec<u32>>()[..] {
        [bits] if BITS.contains(&bits) => Ok(bits),
        [bits] => {
            let what = format!(
                "its codes have {bits} bits, which releases of compressed-tensors pack in different ways"
            );
            Err(source
                .wrong(packed, Problem::Unsupported { what, remedy: "quantize it with 1, 2, 4 or 8 bits" }))
        }
        [] => {
            let bits: Vec<String> =
                if said.is_empty() { BITS.to_vec() } else { said }.iter().map(u32::to_string).collect();
            Err(source
                .other_type(packed, format!("rows of words for {columns} codes of {} bits", bits.join(", "))))
        }
        _ => Err(source.wrong(packed, Problem::Unknown { what: "the number of bits of a code" })),
    }
}

/// The bits of all groups of layers in the configuration.
fn configured_bits(source: &Source) -> Result<Vec<u32>, ImportError> {
    let mut all = Vec::new();
    for weights in configured_weights(source)? {
        all.extend(weights.bits("num_bits", &[1, 2, 3, 4, 5, 6, 7, 8])?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// What the configuration says of weights, for each group of layers.
fn configured_weights(source: &Source) -> Result<Vec<crate::config::Config>, ImportError> {
    let Some(groups) = source.config.object("config_groups")? else { return Ok(Vec::new()) };
    let weights = groups.objects()?.into_iter().filter_map(|group| group.object("weights").transpose());
    weights.collect()
}

/// The zero points, plus `2^(bits-1)` as codes are.
fn packed_zeros(
    source: &Source,
    name: &str,
    [rows, groups]: [usize; 2],
    bits: u32,
) -> Result<Vec<u8>, ImportError> {
    let is_packed = source.stored(name).is_some_and(|stored| stored.dtype() == Some(DType::I32));
    if !is_packed {
        let zeros = source.tensor(name, &[DType::I8], &[rows, groups])?;
        let middle = 1i16 << (bits - 1);
        let zero = |(index, zero): (usize, &i8)| {
            let what = format!("its entry {index} is {zero}, which codes of {bits} bits do not have");
            u8::try_from(i16::from(*zero) + middle)
                .ok()
                .filter(|zero| i16::from(*zero) < 2 * middle)
                .ok_or_else(|| source.wrong(name, Problem::Damaged { what }))
        };
        return zeros.values::<i8>().unwrap_or_default().iter().enumerate().map(zero).collect();
    }
    let words = rows.div_ceil(32 / bits as usize);
    let stored = source.words(name, &[words, groups])?;
    let stored = stored.all();
    let zero = |index: usize| {
        let (row, group) = (index / groups, index % groups);
        code_in(|word| stored[word * groups + group], row, bits)
    };
    Ok((0..rows * groups).map(zero).collect())
}

fn read_bytes(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let (weight, zero_point) = (format!("{layer}.weight"), format!("{layer}.weight_zero_point"));
    let stored = source.required(&weight, &weight, NAME)?;
    let (Some(kind), Some(dtype)) = (code_dtype(stored), stored.dtype()) else {
        return Err(source.other_type(&weight, "an 8-bit integer or float"));
    };
    let [rows, columns] = source.matrix(&weight, stored)?;
    let codes = source.tensor(&weight, &[dtype], &[rows, columns])?;
    if let ByteCodes::Float(dtype) = kind {
        check_codes(source, &weight, &codes, dtype, columns)?;
    }
    let missing = || Problem::Missing { method: NAME, part: format!("{layer}.weight_scale") };
    let scale = scale_name(source, layer).ok_or_else(|| source.wrong(&weight, missing()))?;
    let scale_shape = source.stored(&scale).map(|stored| stored.shape().to_vec()).unwrap_or_default();
    let scales = Scales::read(source, &scale, &scale_shape, [rows, columns])?;
    let block_len = blocks_of(scales.width, columns).map_err(|problem| source.wrong(&scale, problem))?;
    let zeros = byte_zeros(source, &zero_point, kind, &scale_shape)?;
    let kind = match (kind, zeros.is_some()) {
        (ByteCodes::Float(dtype), _) => Kind::Float(dtype),
        (ByteCodes::Signed, false) => Kind::Signed,
        (ByteCodes::Signed, true) => Kind::SignedZero,
    };
    let names = [weight, scale, zero_point];
    Ok(Weight {
        parts: names.into_iter().filter(|name| source.stored(name).is_some()).collect(),
        shape: vec![rows, columns],
        layout: Layout { prefix: PREFIX, kind, scale: scales.floats.dtype(), block_len },
        permutation: None,
        codes: Box::new(move |range, dst| {
            dst.copy_from_slice(&codes.bytes()[range.start * columns..][..dst.len()])
        }),
        factors: Box::new(move |row, column| {
            let at = scales.at(row, column / scales.width);
            let zero = zeros.as_ref().map_or(0, |zeros| zeros.bytes()[at]);
            StoredFactors { scale: scales.floats.bits(at), zero: zero.into(), min: 0 }
        }),
    })
}

/// The zero points of codes of a byte, where there are some that are not 0.
fn byte_zeros(
    source: &Source,
    name: &str,
    kind: ByteCodes,
    shape: &[usize],
) -> Result<Option<Tensor>, ImportError> {
    if source.stored(name).is_none() {
        return Ok(None);
    }
    let dtypes = [DType::I8, DType::F8_E4M3, DType::F8_E5M2];
    let zeros = source.tensor(name, &dtypes, shape)?;
    match zeros.bytes().iter().all(|byte| *byte == 0) {
        true => Ok(None),
        false if kind == ByteCodes::Signed && zeros.dtype() == Some(DType::I8) => Ok(Some(zeros)),
        false => {
            let what = "it has zero points that are not 0, for codes that are floats".to_owned();
            Err(source
                .wrong(name, Problem::Unsupported { what, remedy: "quantize the weight symmetrically" }))
        }
    }
}

/// An error for codes that are NaN or infinite, which a block could not hold.
pub(super) fn check_codes(
    source: &Source,
    name: &str,
    codes: &Tensor,
    dtype: CodeDType,
    columns: usize,
) -> Result<(), ImportError> {
    let finite: [bool; 256] = std::array::from_fn(|code| dtype.is_finite(code as u32));
    match codes.bytes().iter().position(|code| !finite[usize::from(*code)]) {
        None => Ok(()),
        Some(at) => {
            Err(source.wrong(name, Problem::CodeNotFinite { row: at / columns, column: at % columns }))
        }
    }
}

/// An error where parts of a length are not as many as there are scales.
fn check_side(
    source: &Source,
    name: &str,
    key: &'static str,
    (said, count, of): (usize, usize, usize),
) -> Result<(), ImportError> {
    if of.div_ceil(said) == count {
        return Ok(());
    }
    let found = format!("{count} scales for {of} rows or columns");
    Err(source.wrong(name, Problem::Disagreement { key, said: said as i64, found }))
}

/// The values in a group: what the configuration has for any group of layers and fits, or else an equal part of a row.
fn group_len(source: &Source, name: &str, count: usize, columns: usize) -> Result<usize, ImportError> {
    let mut said = Vec::new();
    for weights in configured_weights(source)? {
        said.extend(weights.group("group_size", columns)?);
    }
    let fits = said.iter().find(|group| columns.div_ceil(**group) == count);
    match (fits, said.first()) {
        (Some(group), _) => Ok(*group),
        (None, Some(first)) => {
            check_side(source, name, "group_size", (*first, count, columns)).map(|()| *first)
        }
        (None, None) if columns.is_multiple_of(count) => Ok(columns / count),
        (None, None) => Err(source.wrong(name, Problem::Unknown { what: "the number of values in a group" })),
    }
}

/// Scales, each of a rectangle of a weight.
struct Scales {
    floats: Floats,
    /// Rows of a rectangle.
    height: usize,
    /// Columns of a rectangle.
    width: usize,
    /// Rectangles side by side.
    across: usize,
}

impl Scales {
    /// The scales of a shape: one for all, one for each row, one for each group of a row, or one for each block of rows and columns.
    fn read(
        source: &Source,
        name: &str,
        shape: &[usize],
        [rows, columns]: [usize; 2],
    ) -> Result<Self, ImportError> {
        let floats = source.floats(name, shape)?;
        let expected = || {
            source
                .other_type(name, format!("scales for each row, group or block of {rows} x {columns} values"))
        };
        let (down, across) = match *shape {
            [] => (1, 1),
            [down] => (down, 1),
            [down, across] => (down, across),
            _ => return Err(expected()),
        };
        if down == 0 || across == 0 || down > rows || across > columns {
            return Err(expected());
        }
        let block = Self::block(source)?;
        let height = match (down, block) {
            (1, _) => rows,
            _ if down == rows => 1,
            (_, None) => {
                return Err(source.wrong(name, Problem::Unknown { what: "the number of rows of a block" }));
            }
            (_, Some([tall, _])) => {
                check_side(source, name, "weight_block_size", (tall, down, rows))?;
                tall
            }
        };
        let width = match (across, block) {
            (1, _) => columns,
            (_, Some([_, wide])) => {
                check_side(source, name, "weight_block_size", (wide, across, columns))?;
                wide
            }
            (_, None) => group_len(source, name, across, columns)?,
        };
        Ok(Self { floats, height, width, across })
    }

    /// The rows and columns of a block, where the configuration has them.
    fn block(source: &Source) -> Result<Option<[usize; 2]>, ImportError> {
        if let Some(pair) = source.config.pair("weight_block_size")? {
            return Ok(Some(pair));
        }
        for weights in configured_weights(source)? {
            if let Some(pair) = weights.pair("block_structure")? {
                return Ok(Some(pair));
            }
        }
        Ok(None)
    }

    /// Which of them a row and a rectangle of it have.
    fn at(&self, row: usize, group: usize) -> usize {
        row / self.height * self.across + group
    }

    fn bits(&self, row: usize, group: usize) -> u32 {
        self.floats.bits(self.at(row, group))
    }
}
