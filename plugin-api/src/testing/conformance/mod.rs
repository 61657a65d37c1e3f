//! A conformance kit: what the host relies on in a plugin, tested one promise at a time.
//!
//! One line in the tests of a plugin runs all of it:
//!
//! ```
//! # use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding, Result, Rows};
//! # struct Raw;
//! # impl QuantizationEncoding for Raw {
//! #     fn spec(&self) -> EncodingSpec {
//! #         EncodingSpec::new("acme.raw", 4, 16)
//! #     }
//! #     fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
//! #         let values = rows.values().iter().zip(dst.chunks_exact_mut(4));
//! #         values.for_each(|(value, bytes)| bytes.copy_from_slice(&value.to_le_bytes()));
//! #         Ok(())
//! #     }
//! #     fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
//! #         let values = dst.iter_mut().zip(blocks.as_chunks().0);
//! #         values.for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
//! #         Ok(())
//! #     }
//! # }
//! # fn plugin() -> Plugin {
//! #     Plugin::new("acme-raw", "1.0.0").encoding(Raw)
//! # }
//! // #[test] fn it_keeps_its_promises() {
//! bitquilt_plugin_api::testing::assert_conforms(plugin());
//! // }
//! ```
//!
//! Each [`Subject`] (an encoding, an op, or a kernel) has its [`Check`]s. Inputs of ops are found by trying: candidates of many
//! dtypes and shapes are offered to `infer` until it takes some; an op that takes none of them is skipped, with the reason, unless
//! [`Conformance::example`] gives it some.
//!
//! The kit runs in the process of the test: code that hangs, hangs the test, and code that reads or writes far outside its buffers
//! ends it. `bitquilt plugin check FILE` runs the same checks of a library in child processes with limits, and says where.

mod encoding;
mod kernel;
mod op;
mod qmatmul;
mod search;
mod values;

use std::fmt::{self, Display, Formatter};

use super::TestHost;
use crate::host::{ControlChange, RegistrarHost, register, take_control_change};
use crate::{Attributes, IntoPlugin, KernelKey, Plugin, Result, Selector, TensorType};

/// Runs every check of a plugin.
///
/// # Panics
/// With a line for each check, if one fails or the plugin cannot be made.
pub fn assert_conforms(plugin: impl IntoPlugin) {
    match plugin.into_plugin().and_then(Conformance::of) {
        Ok(conformance) => conformance.assert(),
        Err(error) => panic!("there is no plugin to check: {error}"),
    }
}

/// Is told what is about to be called.
pub type At<'a> = &'a (dyn Fn(&str) + Sync);

/// A plugin, and what it is checked with.
pub struct Conformance {
    host: TestHost,
    /// The first so many of the host's encodings, ops and kernels are the plugin's.
    own: Own,
    /// Ops' names, and inputs that they take.
    examples: Vec<(String, search::Node)>,
    /// What loading or registering the plugin left changed.
    change: Option<ControlChange>,
}

#[derive(Clone, Copy)]
struct Own {
    encodings: usize,
    ops: usize,
    kernels: usize,
}

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
    /// Values of 12 distributions come back better than if nothing were stored, and the error is shown; edge values are no trouble.
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
    /// `qmatmul`'s generic kernel gives what multiplying the decoded weight does.
    Qmatmul,
    /// Nothing is read or written outside the buffers: they stand beside guard pages.
    Bounds,
    /// No call leaves its thread's floating-point control changed: rounding, what is flushed to zero, what is trapped.
    Control,
}

impl Check {
    /// The checks of a subject, in order.
    pub fn all_of(subject: &Subject) -> &'static [Self] {
        use Check::{
            Blocks, Bounds, Control, Determinism, Inputs, Panics, Qmatmul, RoundTrip, Types, Written,
        };
        match subject {
            Subject::Plugin => &[Control],
            Subject::Encoding(_) => {
                &[Blocks, RoundTrip, Written, Determinism, Inputs, Panics, Qmatmul, Bounds, Control]
            }
            Subject::Op(_) => &[Types, Panics, Control],
            Subject::Kernel { .. } => &[Written, Determinism, Inputs, Panics, Bounds, Control],
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
            Self::Qmatmul => "qmatmul",
            Self::Bounds => "bounds",
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

impl Conformance {
    /// Of a plugin of the program's own.
    pub fn of(plugin: Plugin) -> Result<Self> {
        Self::registered_by(|registrar| register(plugin, registrar))
    }

    /// Of what `register` registers, a library's plugin for instance. What loading that library left changed of this thread's
    /// floating-point control ([`take_control_change`]) is the plugin's, too.
    pub fn registered_by(register: impl FnOnce(&dyn RegistrarHost) -> Result<()>) -> Result<Self> {
        let mut host = TestHost::default();
        host.add(register)?;
        let change = take_control_change();
        let (encodings, ops, kernels) = (host.encodings.len(), host.ops.len(), host.kernels.len());
        let own = Own { encodings, ops, kernels };
        Self { host, own, examples: Vec::new(), change }
            .beside(Plugin::new("conformance", "1.0.0").encoding(values::PlainBlocks))
    }

    /// Adds a plugin that is not checked itself: encodings that ops take, ops that kernels are for, `qmatmul`.
    pub fn beside(mut self, plugin: Plugin) -> Result<Self> {
        self.host.add(|registrar| register(plugin, registrar))?;
        Ok(self)
    }

    /// Adds inputs and attributes that an op takes, for one whose inputs are not found by trying.
    #[must_use]
    pub fn example(
        mut self,
        op: &str,
        inputs: impl IntoIterator<Item = TensorType>,
        attributes: Attributes,
    ) -> Self {
        let types = inputs.into_iter().collect();
        self.examples.push((op.to_owned(), search::Node { types, attributes }));
        self
    }

    /// All that the plugin has.
    pub fn subjects(&self) -> Vec<Subject> {
        let encodings = self.host.encodings[..self.own.encodings].iter();
        let ops = self.host.ops[..self.own.ops].iter();
        let kernels = self.host.kernels[..self.own.kernels].iter().enumerate();
        let kernel = |(index, (key, _)): (usize, &(KernelKey, _))| Subject::Kernel {
            op: key.op.clone(),
            name: match &key.selector {
                Selector::Encoding(encoding) => format!("{} for {encoding}", key.name),
                Selector::Dense | Selector::AnyEncoding => key.name.clone(),
            },
            index,
        };
        [Subject::Plugin]
            .into_iter()
            .chain(encodings.map(|encoding| Subject::Encoding(encoding.spec().name.clone())))
            .chain(ops.map(|(signature, _)| Subject::Op(signature.name.clone())))
            .chain(kernels.map(kernel))
            .collect()
    }

    /// Runs one check. `at` is told what is about to be called, so that a caller can say where it ended or hung.
    pub fn check(&self, subject: &Subject, check: Check, at: At<'_>) -> Verdict {
        let missing = || Verdict::Skipped(format!("there is no {subject}"));
        if check == Check::Control {
            take_control_change();
        }
        let verdict = match subject {
            Subject::Plugin => return unchanged(self.change),
            Subject::Encoding(name) => match self.host.find_encoding(name) {
                Some(handle) => encoding::check(&self.host, handle, check, at),
                None => missing(),
            },
            Subject::Op(name) => match self.host.op(name) {
                Ok((signature, _)) => op::check(self, signature, check, at),
                Err(_) => missing(),
            },
            Subject::Kernel { index, .. } => match self.host.kernels.get(*index) {
                Some((key, _)) => kernel::check(self, *index, key, check, at),
                None => missing(),
            },
        };
        match (check, take_control_change()) {
            (Check::Control, None) => match verdict {
                // Another check says so.
                Verdict::Failed(reason) => Verdict::Skipped(reason),
                Verdict::Passed(_) => unchanged(None),
                skipped @ Verdict::Skipped(_) => skipped,
            },
            (Check::Control, change) => unchanged(change),
            _ => verdict,
        }
    }

    /// Runs every check.
    pub fn run(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for subject in self.subjects() {
            for check in Check::all_of(&subject) {
                let verdict = self.check(&subject, *check, &|_| {});
                findings.push(Finding { subject: subject.clone(), check: *check, verdict });
            }
        }
        findings
    }

    /// Runs every check.
    ///
    /// # Panics
    /// With a line for each check, if one fails.
    pub fn assert(&self) {
        let findings = self.run();
        let failed = findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Failed(_))).count();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(failed == 0, "{failed} of {} checks failed:\n{}", lines.len(), lines.join("\n"));
    }

    /// The names of the plugin's own encodings.
    fn own_encodings(&self) -> impl Iterator<Item = &str> {
        self.host.encodings[..self.own.encodings].iter().map(|encoding| encoding.spec().name.as_str())
    }
}

/// The verdict of a change that there should not be.
fn unchanged(change: Option<ControlChange>) -> Verdict {
    match change {
        Some(change) => Verdict::Failed(format!(
            "{change}; code has to put back what it found, and a library must not be linked with `-ffast-math`"
        )),
        None => Verdict::Passed("rounding, small numbers and traps are left as they were".to_owned()),
    }
}
