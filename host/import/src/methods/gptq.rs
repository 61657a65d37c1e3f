//! GPTQ, as AutoGPTQ and GPTQModel write it.
//!
//! A layer of `in` inputs and `out` outputs has `qweight`, i32 `[in * bits / 32, out]`; `qzeros`, i32 `[groups, out * bits / 32]`;
//! `scales` `[groups, out]`; and perhaps `g_idx`, i32 `[in]`, the group of each input. Codes lie along `in`, and zeros along `out`, in a
//! stream of bits in 32-bit words, the lowest first; so some codes of 3 bits lie in two words.
//!
//! ```text
//! weight[o, i] = (q[i, o] - z[g, o]) * scales[g, o],  g = g_idx[i] or i / group_size
//! ```
//!
//! In the format `gptq`, which is the older one, `z` is stored less one; in `gptq_v2` as it is. The formula is that of the layers of
//! [AutoGPTQ](https://github.com/AutoGPTQ/AutoGPTQ) (`auto_gptq/nn_modules/qlinear`) that unpack weights; of a stored zero of all ones some
//! of them make `2^bits` and others 0, so that it is refused.

use bitquilt::declared::StoredFactors;

use super::Method;
use super::awq::is_awq;
use super::groups::Groups;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::numbers::{Words, code_in, mask};
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::Weight;

const NAME: &str = "GPTQ";
const BITS: [u32; 4] = [2, 3, 4, 8];

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["gptq"],
    mark: |source, name, _| name.strip_suffix(".qweight").filter(|layer| !is_awq(source, layer)),
    companions: &[".qzeros", ".g_idx"],
    read,
};

/// How the zeros are stored.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    LessOne,
    Plain,
}

impl Format {
    fn of(source: &Source, tensor: &str) -> Result<Self, ImportError> {
        let config = &source.config;
        match config.text("checkpoint_format")? {
            Some("gptq_v2") => Ok(Self::Plain),
            Some("gptq") => Ok(Self::LessOne),
            Some(other) => Err(config.unknown_word("checkpoint_format", other, "gptq, gptq_v2")),
            None if config.is_there() => Ok(Self::LessOne),
            None => {
                let what = "whether zeros are stored less one, as in the format gptq and not in gptq_v2,";
                Err(source.wrong(tensor, Problem::Unknown { what }))
            }
        }
    }
}

fn read(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let part = |name: &str| format!("{layer}.{name}");
    let [qweight, qzeros, scales, g_idx] = ["qweight", "qzeros", "scales", "g_idx"].map(part);
    let stored = source.required(&qweight, &qweight, NAME)?;
    let [words, rows] = source.matrix(&qweight, stored)?;
    let has_index = source.stored(&g_idx).is_some();
    let index = if has_index { Some(source.integers(&g_idx, None)?) } else { None };
    let bits = bits(source, &qweight, words, index.as_deref())?;
    let columns = words * 32 / bits as usize;
    let [groups_count, _] = source.matrix(&scales, source.required(&qweight, &scales, NAME)?)?;
    let codes = source.words(&qweight, &[words, rows])?;
    let scale = source.floats(&scales, &[groups_count, rows])?;
    let groups = match &index {
        Some(index) => indexed(source, &g_idx, index, groups_count, columns)?,
        None => placed(source, &scales, groups_count, columns)?,
    };
    source.required(&qweight, &qzeros, NAME)?;
    let zeros = zeros(source, &qzeros, Format::of(source, &qweight)?, [groups_count, rows], bits)?;
    let is_symmetric = zeros.iter().all(|zero| *zero == 1 << (bits - 1));
    let kind = if is_symmetric { Kind::Symmetric { bits } } else { Kind::Zero { bits } };
    let parts = [qweight, qzeros, scales].into_iter().chain(has_index.then_some(g_idx));
    Ok(Weight {
        parts: parts.collect(),
        shape: vec![rows, columns],
        layout: Layout { prefix: "gptq", kind, scale: scale.dtype(), block_len: groups.block_len },
        permutation: groups.permutation.clone(),
        codes: along_inputs(codes, rows, columns, bits),
        factors: Box::new(move |row, column| {
            let at = groups.of(column) * rows + row;
            StoredFactors { scale: scale.bits(at), zero: zeros[at].into(), min: 0 }
        }),
    })
}

/// The bits of a code: what the configuration says, and the number of columns must fit.
fn bits(source: &Source, qweight: &str, words: usize, index: Option<&[i64]>) -> Result<u32, ImportError> {
    let said = source.config.bits("bits", &BITS)?;
    let Some(index) = index else {
        let bits = said.ok_or_else(|| {
            source.wrong(qweight, Problem::Unknown { what: "the number of bits of a code" })
        })?;
        return match words.is_multiple_of(word_step(bits)) {
            true => Ok(bits),
            false => Err(source.other_type(qweight, format!("a number of rows for codes of {bits} bits"))),
        };
    };
    let fits = |bits: &&u32| words.checked_mul(32).is_some_and(|all| all == index.len() * **bits as usize);
    let found = BITS.iter().find(fits).copied().ok_or_else(|| {
        let rows: Vec<String> =
            BITS.iter().map(|bits| (index.len() * *bits as usize / 32).to_string()).collect();
        let columns = index.len();
        source.other_type(
            qweight,
            format!(
                "{} rows for the {columns} entries of g_idx and codes of 2, 3, 4 or 8 bits",
                rows.join(", ")
            ),
        )
    })?;
    // Layers may have settings of their own, by patterns of names.
    let has_exceptions = source.config.object("dynamic")?.is_some();
    match said.filter(|said| *said != found && !has_exceptions) {
        Some(said) => {
            let found = format!("{found} bits");
            Err(source.wrong(qweight, Problem::Disagreement { key: "bits", said: said.into(), found }))
        }
        None => Ok(found),
    }
}

/// The number of words that whole codes end with.
fn word_step(bits: u32) -> usize {
    if bits == 3 { 3 } else { 1 }
}

fn indexed(
    source: &Source,
    g_idx: &str,
    index: &[i64],
    count: usize,
    columns: usize,
) -> Result<Groups, ImportError> {
    let config = &source.config;
    let group = config.group("group_size", columns)?;
    let has_exceptions = config.object("dynamic")?.is_some();
    if let (Some(false), Some(group), false) = (config.flag("desc_act")?, group, has_exceptions) {
        let mut entries = index.iter().enumerate();
        let other = entries.find(|(column, found)| usize::try_from(**found) != Ok(column / group));
        if let Some((column, found)) = other.filter(|(_, found)| (0..count as i64).contains(*found)) {
            let problem = Problem::Order { column, found: *found, expected: column / group };
            return Err(source.wrong(g_idx, problem));
        }
    }
    Groups::of_index(index, count).map_err(|problem| source.wrong(g_idx, problem))
}

/// Groups one after another: of the size in the configuration, or as many as there are scales.
fn placed(source: &Source, scales: &str, count: usize, columns: usize) -> Result<Groups, ImportError> {
    let group = match source.config.group("group_size", columns)? {
        Some(group) if columns.div_ceil(group) == count => group,
        Some(group) => {
            let (said, found) = (group as i64, format!("{count} groups for {columns} columns"));
            return Err(source.wrong(scales, Problem::Disagreement { key: "group_size", said, found }));
        }
        None if columns.is_multiple_of(count) => columns / count,
        None => {
            return Err(source.wrong(scales, Problem::Unknown { what: "the number of values in a group" }));
        }
    };
    Groups::of_equal(group, columns).map_err(|problem| source.wrong(scales, problem))
}

/// The zero of each group and row.
fn zeros(
    source: &Source,
    qzeros: &str,
    format: Format,
    [groups, rows]: [usize; 2],
    bits: u32,
) -> Result<Vec<u8>, ImportError> {
    let words = (rows * bits as usize).div_ceil(32);
    let stored = source.words(qzeros, &[groups, words])?;
    let mut zeros = Vec::with_capacity(groups * rows);
    for group in 0..groups {
        let line = &stored.all()[group * words..][..words];
        for row in 0..rows {
            let stored = code_in(|word| line[word], row, bits);
            let zero = match format {
                Format::Plain => Some(stored),
                Format::LessOne => (stored < mask(bits)).then(|| stored + 1),
            };
            let problem = Problem::Zero { group, row, stored: stored.into() };
            zeros.push(zero.ok_or_else(|| source.wrong(qzeros, problem))?);
        }
    }
    Ok(zeros)
}

/// Codes that lie along the inputs, in words of which each has codes of one output.
fn along_inputs(words: Words, rows: usize, columns: usize, bits: u32) -> crate::weight::ReadCodes {
    Box::new(move |range, dst| {
        let words = words.all();
        for (row, dst) in range.zip(dst.chunks_exact_mut(columns)) {
            for (column, code) in dst.iter_mut().enumerate() {
                *code = code_in(|word| words[word * rows + row], column, bits);
            }
        }
    })
}
