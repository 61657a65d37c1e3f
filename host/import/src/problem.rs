//! What can be wrong with a layer or a configuration, and how it is said.

use bitquilt::text::Brief;

/// What is wrong with the tensors of a layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A tensor of the layer is not there.
    #[error("the {method} layer has no tensor `{}`; the file is not complete", Brief(.part))]
    Missing {
        /// The method.
        method: &'static str,
        /// The tensor's name.
        part: String,
    },
    /// A tensor that belongs to a layer whose codes are not there.
    #[error("it is a part of a layer of {method}, whose codes are not in the file; the file is not complete")]
    Orphan {
        /// The method.
        method: &'static str,
    },
    /// A tensor has another dtype or shape.
    #[error("it is {}, and {} was expected", Brief(.found), Brief(.expected))]
    Type {
        /// Its dtype and shape.
        found: String,
        /// What was expected, and by what.
        expected: String,
    },
    /// The configuration and the tensors do not agree.
    #[error(
        "the configuration has {key} = {said}, and the tensors are of {found}; correct the configuration"
    )]
    Disagreement {
        /// The key.
        key: &'static str,
        /// The value in the configuration.
        said: i64,
        /// What the tensors say.
        found: String,
    },
    /// Groups that make no blocks.
    #[error(
        "groups of {group} values do not divide its rows of {columns} into blocks of {least} values or more; quantize it with groups that do"
    )]
    Groups {
        /// Values in a group.
        group: usize,
        /// Values in a row.
        columns: usize,
        /// The shortest block.
        least: usize,
    },
    /// An index of a group that is none.
    #[error("the entry {position} is {found}, and the groups are 0 to {last}; the file is damaged")]
    Index {
        /// Which entry.
        position: usize,
        /// Its value.
        found: i64,
        /// The last group.
        last: usize,
    },
    /// Columns in another order, where the configuration says that they are not.
    #[error(
        "column {column} is of group {found}, and of {expected} by a configuration without desc_act; programs differ in which of \
         the two counts, so correct the configuration"
    )]
    Order {
        /// The column.
        column: usize,
        /// Its group in `g_idx`.
        found: i64,
        /// Its group by its place.
        expected: usize,
    },
    /// A zero that programs read differently.
    #[error(
        "the zero of group {group} and row {row} is stored as {stored}, which is {} for some programs and 0 for others; save the \
         model anew in the format gptq_v2", .stored + 1
    )]
    Zero {
        /// The group.
        group: usize,
        /// The output feature.
        row: usize,
        /// The stored number.
        stored: u32,
    },
    /// A code that its bits do not allow.
    #[error(
        "the code at row {row}, column {column} is {found}, and codes have {bits} bits; the file is damaged"
    )]
    Code {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The code.
        found: u8,
        /// Bits of a code.
        bits: u32,
    },
    /// A code that is no number.
    #[error("the value at row {row}, column {column} is stored as NaN or infinity; mend the weight first")]
    CodeNotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
    },
    /// A value that is no number.
    #[error(
        "the value at row {row}, column {column} would be {value}: a scale, zero or bias is NaN or infinite, or too large; mend the \
         weight first"
    )]
    NotFinite {
        /// The row.
        row: usize,
        /// The column of the source.
        column: usize,
        /// What it would decode to.
        value: f32,
    },
    /// Something that is not read, or cannot be held exactly.
    #[error("{what}; {remedy}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What can be done.
        remedy: &'static str,
    },
    /// What was written inside a tensor makes no sense.
    #[error("{what}; the file is damaged")]
    Damaged {
        /// What was found and expected.
        what: String,
    },
    /// The tensors alone do not say what they are.
    #[error("{what} cannot be told from the tensors alone; put the model's config.json beside the file")]
    Unknown {
        /// What is not known.
        what: &'static str,
    },
    /// The name of the weight is another tensor's.
    #[error("it is to become `{}`, and the file has a tensor of this name; rename one of the two", Brief(.name))]
    Taken {
        /// The name.
        name: String,
    },
    /// There is no memory for the weight.
    #[error("its {bytes} bytes of blocks cannot be had from memory here")]
    Memory {
        /// The bytes.
        bytes: usize,
    },
}

/// What is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// It is no JSON object.
    #[error("it is no JSON object: {}", Brief(.said))]
    Json {
        /// What the parser says.
        said: String,
    },
    /// A value of another type.
    #[error("`{}` is {}, and {expected} was expected", Brief(.key), Brief(.found))]
    Type {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A whole number that is too small or too large.
    #[error("`{}` is {found}, and must be {allowed}", Brief(.key))]
    Number {
        /// The key.
        key: String,
        /// The number.
        found: String,
        /// The numbers that may be.
        allowed: String,
    },
    /// A word that is none of those that are read.
    #[error("`{}` is \"{}\", and {known} can be imported", Brief(.key), Brief(.found))]
    Word {
        /// The key.
        key: String,
        /// The word.
        found: String,
        /// The words that are known.
        known: String,
    },
}
