//! AWQ, as AutoAWQ writes it in its version `gemm`.
//!
//! A layer of `in` inputs and `out` outputs has `qweight`, i32 `[in, out / 8]`; `qzeros`, i32 `[groups, out / 8]`; and `scales`
//! `[groups, out]`. A word has the codes of 8 outputs: the four bits from bit `4 * k` on are those of output 0, 2, 4, 6, 1, 3, 5, 7 for
//! `k` from 0 to 7.
//!
//! ```text
//! weight[o, i] = (q[i, o] - z[i / group_size, o]) * scales[i / group_size, o]
//! ```
//!
//! Source: [AutoAWQ](https://github.com/casper-hansen/AutoAWQ) (`awq/modules/linear/gemm.py`, `awq/utils/packing_utils.py`).

use bitquilt::declared::StoredFactors;

use super::Method;
use crate::error::ImportError;
use crate::layout::{Kind, Layout};
use crate::numbers::Words;
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::{Weight, blocks_of};

const NAME: &str = "AWQ";
const BITS: u32 = 4;
/// Outputs in a word.
const IN_WORD: usize = 8;
/// Where in a word the codes of its outputs are.
const PLACES: [usize; IN_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

pub(super) const METHOD: Method = Method {
    name: NAME,
    configured: &["awq"],
    mark: |source, name, _| name.strip_suffix(".qweight").filter(|layer| is_awq(source, layer)),
    companions: &[".qzeros"],
    read,
};

/// Whether `qweight` of a layer is of this method, rather than of GPTQ: the configuration says so, or else it is narrower than the scales.
pub(super) fn is_awq(source: &Source, layer: &str) -> bool {
    if let Ok(Some(method)) = source.config.text("quant_method") {
        return method.eq_ignore_ascii_case("awq");
    }
    let columns = |part: &str| match source.stored(&format!("{layer}.{part}"))?.shape() {
        [_, columns] => Some(*columns),
        _ => None,
    };
    match (columns("qweight"), columns("scales")) {
        (Some(codes), Some(scales)) => codes.checked_mul(IN_WORD) == Some(scales),
        _ => false,
    }
}

fn read(source: &Source, layer: &str) -> Result<Weight, ImportError> {
    let [qweight, qzeros, scales] = ["qweight", "qzeros", "scales"].map(|name| format!("{layer}.{name}"));
    let config = &source.config;
    config.bits("bits", &[BITS])?.or(config.bits("w_bit", &[BITS])?);
    if let Some(version) = config.text("version")?.filter(|version| !version.eq_ignore_ascii_case("gemm")) {
        return Err(config.unknown_word("version", version, "gemm"));
    }
    let stored = source.required(&qweight, &qweight, NAME)?;
    let [columns, words] = source.matrix(&qweight, stored)?;
    let [groups, _] = source.matrix(&scales, source.required(&qweight, &scales, NAME)?)?;
    let rows = words.saturating_mul(IN_WORD);
    let codes = source.words(&qweight, &[columns, words])?;
    let scale = source.floats(&scales, &[groups, rows])?;
    source.required(&qweight, &qzeros, NAME)?;
    let zeros = source.words(&qzeros, &[groups, words])?;
    let group = match config.group("group_size", columns)?.or(config.group("q_group_size", columns)?) {
        Some(group) if columns.div_ceil(group) != groups => {
            let (said, found) = (group as i64, format!("{groups} groups for {columns} columns"));
            return Err(source.wrong(&scales, Problem::Disagreement { key: "group_size", said, found }));
        }
        Some(group) => group,
        None if columns.is_multiple_of(groups) => columns / groups,
        None => {
            return Err(source.wrong(&scales, Problem::Unknown { what: "the number of values in a group" }));
        }
    };
    let block_len = blocks_of(group, columns).map_err(|problem| source.wrong(&scales, problem))?;
    let kind = if is_symmetric(&zeros) { Kind::Symmetric { bits: BITS } } else { Kind::Zero { bits: BITS } };
    Ok(Weight {
        parts: vec![qweight, qzeros, scales],
        shape: vec![rows, columns],
        layout: Layout { prefix: "awq", kind, scale: scale.dtype(), block_len },
        permutation: None,
        codes: Box::new(move |range, dst| {
            let codes = codes.all();
            for (row, dst) in range.zip(dst.chunks_exact_mut(columns)) {
                for (column, code) in dst.iter_mut().enumerate() {
                    *code = code_of(codes, column, words, row);
                }
            }
        }),
        factors: Box::new(move |row, column| {
            let group = column / group;
            let zero = code_of(zeros.all(), group, words, row);
            StoredFactors { scale: scale.bits(group * rows + row), zero: zero.into(), min: 0 }
        }),
    })
}

/// The code of an output in a line of so many words.
fn code_of(lines: &[u32], line: usize, words: usize, output: usize) -> u8 {
    let word = lines[line * words + output / IN_WORD];
    (word >> (4 * PLACES[output % IN_WORD])) as u8 & 15
}

/// Whether every zero is the middle of the codes.
fn is_symmetric(zeros: &Words) -> bool {
    zeros.all().iter().all(|word| *word == 0x8888_8888)
}
