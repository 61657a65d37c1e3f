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
//! bitquilt_plugin_kit::assert_conforms(plugin());
//! // }
//! ```
//!
//! Each [`Subject`] (an encoding, an op, or a kernel) has its [`Check`]s. Inputs of ops are found by trying: candidates of many
//! dtypes and shapes are offered to `infer` until it takes some; an op that takes none of them is skipped, with the reason, unless
//! [`Conformance::example`] gives it some.
//!
//! The kit runs in the process of the test: code that hangs, hangs the test, and code that reads or writes far outside its buffers
//! ends it. `bitquilt plugin check FILE` runs the same checks of a library in child processes with limits, and says where.

mod claim;
mod encoding;
mod finding;
mod kernel;
mod layout;
mod node;
mod op;
mod qmatmul;
mod search;
mod setup;
mod unpacking;
mod values;

use bitquilt_plugin_api::host::{ControlChange, RegistrarHost, register, take_control_change};
use bitquilt_plugin_api::{Attributes, IntoPlugin, KernelKey, Plugin, Result, Selector, TensorType};

pub use finding::{At, Check, Finding, Subject, Verdict};
use node::Node;
use setup::Setup;

use crate::TestHost;

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

/// A plugin, and what it is checked with.
pub struct Conformance {
    setup: Setup,
    /// What loading or registering the plugin left changed.
    change: Option<ControlChange>,
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
        Self { setup: Setup::of(host), change }
            .beside(Plugin::new("conformance", "1.0.0").encoding(values::PlainBlocks))
    }

    /// Adds a plugin that is not checked itself: encodings that ops take, ops that kernels are for, `qmatmul`.
    pub fn beside(mut self, plugin: Plugin) -> Result<Self> {
        self.setup.host.add(|registrar| register(plugin, registrar))?;
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
        self.setup.examples.push((op.to_owned(), Node { types, named: Vec::new(), attributes }));
        self
    }

    /// All that the plugin has.
    pub fn subjects(&self) -> Vec<Subject> {
        let encodings = self.setup.host.encodings[..self.setup.own.encodings].iter();
        let ops = self.setup.host.ops[..self.setup.own.ops].iter();
        let kernels = self.setup.host.kernels[..self.setup.own.kernels].iter().enumerate();
        let kernel = |(index, (key, _)): (usize, &(KernelKey, _))| Subject::Kernel {
            op: key.op.clone(),
            name: match &key.selector {
                Selector::Encoding(encoding) => format!("{} for {encoding}", key.name),
                _ => key.name.clone(),
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
            Subject::Encoding(name) => match self.setup.host.find_encoding(name) {
                Some(handle) => encoding::check(&self.setup.host, handle, check, at),
                None => missing(),
            },
            Subject::Op(name) => match self.setup.host.op(name) {
                Ok((signature, _)) => op::check(&self.setup, signature, check, at),
                Err(_) => missing(),
            },
            Subject::Kernel { index, .. } => match self.setup.host.kernels.get(*index) {
                Some((key, _)) => kernel::check(&self.setup, *index, key, check, at),
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
