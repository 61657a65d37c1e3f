//! What is checked, for what, and how it came out.

use std::fmt::{self, Display, Formatter};

/// Is told what is about to be called.
pub type At<'a> = &'a (dyn Fn(&str) + Sync);

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The plugin itself: how it is loaded, and registers.
    Plugin,
    /// The encoding of this name.
    Encoding(String),
    /// What the op of this name says of its types.
    Op(String),
    /// A way to run an op.
    Kernel {
        /// The op.
        op: String,
        /// The provider's name, and the encoding if it is for one.
        name: String,
        /// Its place among the plugin's.
        index: usize,
    },
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin => f.write_str("the plugin"),
            Self::Encoding(name) => write!(f, "encoding {name}"),
            Self::Op(name) => write!(f, "op {name}"),
            Self::Kernel { op, name, .. } => write!(f, "kernel {op}/{name}"),
        }
    }
}

/// A promise of a plugin's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Blocks have the values and bytes that the spec says, each stands for itself, and so does each row.
    Blocks,
    /// Values of 12 distributions come back better than if nothing were stored, and the error is shown; edge values are no
    /// trouble, and an error bound of the spec holds.
    RoundTrip,
    /// The output types are the same each time, and make sense.
    Types,
    /// Outputs are wholly written, and depend on nothing that their memory or scratch held before.
    Written,
    /// Outputs are the same each time, for every number of threads.
    Determinism,
    /// Inputs are left as they were.
    Inputs,
    /// Nothing panics, whatever the blocks, values or types.
    Panics,
    /// A layout of the spec says of blocks what `dequantize` makes of them.
    Layout,
    /// What blocks unpack to, if they do, makes sense, is wholly written, and says what `dequantize` makes of them.
    Unpacking,
    /// `qmatmul`'s generic kernel gives what multiplying the decoded weight does.
    Qmatmul,
    /// Nothing is read or written outside the buffers: they stand beside guard pages.
    Bounds,
    /// A transform of an input that says a unit gives, for rows that are cut between units, parts that join to what it gives for whole
    /// rows.
    Joins,
    /// No call leaves its thread's floating-point control changed: rounding, what is flushed to zero, what is trapped.
    Control,
}

impl Check {
    /// The checks of a subject, in order.
    pub fn all_of(subject: &Subject) -> &'static [Self] {
        use Check::{
            Blocks, Bounds, Control, Determinism, Inputs, Joins, Layout, Panics, Qmatmul, RoundTrip, Types,
            Unpacking, Written,
        };
        match subject {
            Subject::Plugin => &[Control],
            Subject::Encoding(_) => &[
                Blocks,
                RoundTrip,
                Layout,
                Unpacking,
                Written,
                Determinism,
                Inputs,
                Panics,
                Qmatmul,
                Bounds,
                Control,
            ],
            Subject::Op(_) => &[Types, Panics, Control],
            Subject::Kernel { .. } => &[Written, Determinism, Inputs, Panics, Bounds, Joins, Control],
        }
    }

    /// Its name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "block arithmetic",
            Self::RoundTrip => "round trip",
            Self::Types => "types",
            Self::Written => "outputs written",
            Self::Determinism => "determinism",
            Self::Inputs => "inputs left alone",
            Self::Panics => "panics",
            Self::Layout => "layout",
            Self::Unpacking => "unpacking",
            Self::Qmatmul => "qmatmul",
            Self::Bounds => "bounds",
            Self::Joins => "parts of rows",
            Self::Control => "float control",
        }
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise is kept; what was seen.
    Passed(String),
    /// It is broken; where and how.
    Failed(String),
    /// It could not be checked, for this reason.
    Skipped(String),
}

impl From<Result<String, String>> for Verdict {
    fn from(outcome: Result<String, String>) -> Self {
        outcome.map_or_else(Self::Failed, Self::Passed)
    }
}

/// A check of a subject, and how it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub subject: Subject,
    /// For what.
    pub check: Check,
    /// How it came out.
    pub verdict: Verdict,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Passed(text) => ("pass", text),
            Verdict::Failed(text) => ("FAIL", text),
            Verdict::Skipped(text) => ("skip", text),
        };
        write!(f, "{word}  {}  {:17}  {text}", self.subject, self.check)
    }
}
