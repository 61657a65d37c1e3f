//! MLX, as mlx-lm writes it.
//!
//! A weight `[.., out, in]` has `weight`, u32 `[.., out, in * bits / 32]`; `scales` `[.., out, in / group_size]`; and in the mode `affine`
//! `biases`, as the scales. The codes of a row are one stream of bits, the lowest first.
//!
//! ```text
//! affine   weight = q * scales + biases
//! mxfp4    weight = e2m1(q) * e8m0(scales)   4 bits, groups of 32
//! mxfp8    weight = e4m3(q) * e8m0(scales)   8 bits, groups of 32
//! nvfp4    weight = e2m1(q) * e4m3(scales)   4 bits, groups of 16
//! ```
//!
//! The scales of the last three are u8. `config.json` has `quantization`: `group_size`, `bits` and `mode` of all layers, and for a layer
//! with others an object of its name. Source: [MLX](https://github.com/ml-explore/mlx) (`mx.quantize`, `mlx/backend/cpu/quantized.cpp`).

use bitquilt::declared::{CodeDType, ScaleDType, StoredFactors};
use bitquilt::{DType, Tensor};

use super::Method;
use crate::config::Config;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::numbers::{Floats, Words};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::{ReadFactors, Weight, blocks_of};

const NAME: &str = "MLX";
const BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["mlx"],
    mark: |source, name, stored| {
        let layer = name.strip_suffix(".weight").filter(|_| stored.dtype() == Some(DType::U32))?;
        source.stored(&format!("{layer}.scales")).map(|_| layer)
    },
    companions: &[".biases"],
    read,
};

/// A mode without biases: codes, scales, and the groups and bits that it has.
struct FloatMode {
    name: &'static str,
    codes: CodeDType,
    scale: ScaleDType,
    group: usize,
}

const FLOAT_MODES: [FloatMode; 3] = [
    FloatMode { name: "mxfp4", codes: CodeDType::F4E2M1, scale: ScaleDType::E8M0, group: 32 },
    FloatMode { name: "mxfp8", codes: CodeDType::F8E4M3, scale: ScaleDType::E8M0, group: 32 },
    FloatMode { name: "nvfp4", codes: CodeDType::F4E2M1, scale: ScaleDType::F8E4M3, group: 16 },
];

/// The dimensions of a weight whose codes are packed in so many words a row.
struct Dims {
    outer: Vec<usize>,
    words: usize,
    groups: usize,
}

fn read(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let [weight, scales] = ["weight", "scales"].map(|part| format!("{layer}.{part}"));
    let own = source.config.object(layer);
    // A layer's own entry may also be `true`.
    let own = own.unwrap_or_default().filter(Config::is_there);
    let config = own.as_ref().unwrap_or(&source.config);
    let dims = dims(source, &weight, &scales)?;
    match config.text("mode")? {
        None | Some("affine") => affine(source, layer, config, dims),
        Some(mode) => match FLOAT_MODES.iter().find(|known| known.name == mode) {
            Some(mode) => float(source, layer, config, dims, mode),
            None => Err(config.unknown_word("mode", mode, "affine, mxfp4, mxfp8, nvfp4")),
        },
    }
}

fn dims(source: &Source, weight: &str, scales: &str) -> Result<Dims, ImportError> {
    let stored = source.required(weight, weight, NAME)?;
    let [outer @ .., words] = stored.shape() else {
        return Err(source.other_type(weight, "a matrix with values"));
    };
    if outer.is_empty() || outer.contains(&0) || *words == 0 {
        return Err(source.other_type(weight, "a matrix with values"));
    }
    match source.required(weight, scales, NAME)?.shape() {
        [others @ .., groups] if others == outer && *groups > 0 => {
            Ok(Dims { outer: outer.to_vec(), words: *words, groups: *groups })
        }
        _ => Err(source.other_type(scales, format!("scales of a shape that begins with {outer:?}"))),
    }
}

impl Dims {
    /// The columns of codes of so many bits.
    fn columns(&self, source: &Source, weight: &str, bits: u32) -> Result<usize, ImportError> {
        match self.words.checked_mul(32) {
            Some(all) if all.is_multiple_of(bits as usize) => Ok(all / bits as usize),
            _ => Err(source.other_type(weight, format!("rows of whole codes of {bits} bits"))),
        }
    }

    fn with(&self, last: usize) -> Vec<usize> {
        self.outer.iter().copied().chain([last]).collect()
    }

    /// An error where groups of this size are not as many as there are scales.
    fn check_group(
        &self,
        source: &Source,
        scales: &str,
        columns: usize,
        group: usize,
    ) -> Result<(), ImportError> {
        if columns.checked_div(group) == Some(self.groups) && columns.is_multiple_of(group) {
            return Ok(());
        }
        let found = format!("{} groups for {columns} columns", self.groups);
        Err(source.wrong(scales, Problem::Disagreement { key: "group_size", said: group as i64, found }))
    }
}

fn affine(source: &Source, layer: &str, config: &Config, dims: Dims) -> Result<Weight, ImportError> {
    let [weight, scales, biases] = ["weight", "scales", "biases"].map(|part| format!("{layer}.{part}"));
    let Some(bits) = config.bits("bits", &BITS)? else {
        let what = "the number of bits of a code, and of values in a group,";
        return Err(source.wrong(&weight, Problem::Unknown { what }));
    };
    let columns = dims.columns(source, &weight, bits)?;
    let group = config.group("group_size", columns)?.unwrap_or(columns / dims.groups).max(1);
    dims.check_group(source, &scales, columns, group)?;
    source.required(&weight, &biases, NAME)?;
    let scale = source.floats(&scales, &dims.with(dims.groups))?;
    let bias = source.floats(&biases, &dims.with(dims.groups))?;
    let kind = Kind::Min { bits, dtype: bias.dtype() };
    let layout = (kind, scale.dtype());
    let groups = dims.groups;
    let factors: ReadFactors = Box::new(move |row, column| {
        let at = row * groups + column / group;
        StoredFactors { scale: scale.bits(at), zero: 0, min: bias.bits(at) }
    });
    let parts = vec![weight, scales, biases];
    whole(source, dims, parts, (columns, group, bits), layout, factors)
}

fn float(
    source: &Source,
    layer: &str,
    config: &Config,
    dims: Dims,
    mode: &FloatMode,
) -> Result<Weight, ImportError> {
    let [weight, scales] = ["weight", "scales"].map(|part| format!("{layer}.{part}"));
    let bits = mode.codes.bits();
    config.bits("bits", &[bits])?;
    let columns = dims.columns(source, &weight, bits)?;
    let group = config.group("group_size", columns)?.unwrap_or(mode.group);
    dims.check_group(source, &scales, columns, group)?;
    let scale = Floats::new(source.tensor(&scales, &[DType::U8], &dims.with(dims.groups))?, mode.scale);
    let groups = dims.groups;
    if mode.codes == CodeDType::F8E4M3 {
        let codes = source.tensor(&weight, &[DType::U32], &dims.with(dims.words))?;
        super::compressed::check_codes(source, &weight, &codes, mode.codes, columns)?;
    }
    let factors: ReadFactors = Box::new(move |row, column| {
        let scale = scale.bits(row * groups + column / group);
        StoredFactors { scale, ..StoredFactors::default() }
    });
    let layout = (Kind::Float(mode.codes), mode.scale);
    whole(source, dims, vec![weight, scales], (columns, group, bits), layout, factors)
}

/// The weight of these parts, of which the first has the codes.
fn whole(
    source: &Source,
    dims: Dims,
    parts: Vec<String>,
    (columns, group, bits): (usize, usize, u32),
    (kind, scale): (Kind, ScaleDType),
    factors: ReadFactors,
) -> Result<Weight, ImportError> {
    let weight = &parts[0];
    let codes: Tensor = source.tensor(weight, &[DType::U32], &dims.with(dims.words))?;
    let block_len = blocks_of(group, columns).map_err(|problem| source.wrong(weight, problem))?;
    Ok(Weight {
        shape: dims.with(columns),
        parts,
        layout: Layout { prefix: "mlx", kind, scale, block_len },
        permutation: None,
        codes: Words::new(codes).along_rows(dims.words, columns, bits),
        factors,
    })
}
