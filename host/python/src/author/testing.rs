//! The conformance kit for what is written in Python.

use bitquilt::plugin_api::Plugin;
use bitquilt_plugin_kit::Conformance;
use bitquilt_plugin_kit::conformance::Verdict;
use pyo3::prelude::*;

use super::Registration;
use crate::error::exception;
use crate::work;

/// Runs every check of an encoding, a declaration or an op. Of each: what was checked, for what, `pass`, `FAIL` or `skip`, and a text.
#[pyfunction]
pub fn conformance(
    py: Python<'_>,
    subject: &Bound<'_, PyAny>,
) -> PyResult<Vec<(String, String, String, String)>> {
    let plugin = Plugin::new("subject", "1.0.0");
    let plugin = match Registration::of(subject)? {
        Registration::Declared(encoding) => plugin.encoding(encoding),
        Registration::Encoding(encoding) => plugin.encoding(encoding),
        Registration::Op(op) => {
            let kernel = op.kernel();
            plugin.op(op).kernel(kernel)
        }
    };
    let checked = work::run(py, || {
        let conformance = Conformance::of(plugin)?.beside(bitquilt_qmatmul::plugin())?;
        Ok::<_, bitquilt::plugin_api::Error>(conformance.run())
    })?;
    let findings = checked.map_err(|error| exception("ConformanceError", error.message()))?;
    let finding = findings.into_iter().map(|finding| {
        let (word, text) = match finding.verdict {
            Verdict::Passed(text) => ("pass", text),
            Verdict::Failed(text) => ("FAIL", text),
            Verdict::Skipped(text) => ("skip", text),
        };
        (finding.subject.to_string(), finding.check.name().to_owned(), word.to_owned(), text)
    });
    Ok(finding.collect())
}
