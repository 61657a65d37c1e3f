//! Sessions: what is registered, quantizing with it, and loading graphs.

use std::path::PathBuf;
use std::sync::Arc;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::plugin::{PluginProbe, SearchPath};
use bitquilt::registry::Registry;
use bitquilt::text::Passage;
use bitquilt::{DType, Importance, InferenceSession, QuantizeWarning, Quantized};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::array::Array;
use crate::author::Registration;
use crate::error::{self, OrRaise, exception};
use crate::tensor::{self, Tensor};
use crate::work;

/// What is registered, and the threads that run models.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Session {
    pub session: InferenceSession,
}

/// How a session's encoding uses importance.
fn importance_name(importance: Importance) -> &'static str {
    match importance {
        Importance::Ignored => "ignored",
        Importance::Required => "required",
        _ => "optional",
    }
}

impl Session {
    /// The encodings and ops.
    pub fn registry(&self) -> &Arc<Registry> {
        self.session.registry()
    }
}

/// The weights of the columns of an array.
fn importance_of(object: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let array = Array::of("`importance`", object)?;
    if array.dtype() != DType::F32 || array.shape().len() != 1 {
        return Err(error::tensor_error(format!(
            "`importance` is {} {:?}; f32 of one dimension was expected, a weight for each column",
            array.dtype(),
            array.shape()
        )));
    }
    let (chunks, _) = array.as_ref().as_chunks::<4>();
    Ok(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Warnings of what quantizing has cost, as Python's.
pub fn warn<'a>(
    py: Python<'_>,
    warnings: impl IntoIterator<Item = (Option<&'a str>, &'a QuantizeWarning)>,
) -> PyResult<()> {
    let sentence = |(weight, warning): (Option<&str>, &QuantizeWarning)| match weight {
        Some(weight) => format!("tensor `{}`: {warning}", bitquilt::text::Brief(weight)),
        None => warning.to_string(),
    };
    warn_of(py, warnings.into_iter().map(sentence).collect())
}

/// Warnings of the library's sentences, as Python's. They name the line that called the package.
pub fn warn_of(py: Python<'_>, sentences: Vec<String>) -> PyResult<()> {
    /// The first level is the package's function that has called this module: native functions have no frames.
    const LEVEL: usize = 2;
    for sentence in sentences {
        let sentence = Passage(&sentence).to_string();
        let arguments = (sentence, error::class(py, "QuantizeWarning")?, LEVEL);
        py.import("warnings")?.call_method1("warn", arguments)?;
    }
    Ok(())
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (*, plugin_dirs, environment, probe, threads, options, encodings_of, registered))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of Python, each by its name")]
    fn new(
        py: Python<'_>,
        plugin_dirs: Vec<PathBuf>,
        environment: bool,
        probe: Option<PathBuf>,
        threads: Option<usize>,
        options: Vec<(String, String)>,
        encodings_of: Vec<PathBuf>,
        registered: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if let Some(missing) = plugin_dirs.iter().find(|directory| !directory.is_dir()) {
            return Err(exception(
                "SessionError",
                format!("plugin_dirs: there is no directory {}", missing.display()),
            ));
        }
        let path = if environment {
            SearchPath::with_environment(plugin_dirs)
        } else {
            SearchPath::program(plugin_dirs)
        };
        let mut builder = InferenceSession::builder().search_path(path);
        for (name, value) in options {
            builder = builder.option(name, value);
        }
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        if let Some(program) = probe {
            builder = builder.probe(PluginProbe::program(program));
        }
        for file in encodings_of {
            builder = builder.encodings_of(&Checkpoint::open(file).or_raise()?);
        }
        let mut ops = Vec::new();
        for object in &registered {
            builder = Registration::of(object)?.register(builder, &mut ops);
        }
        let session = work::run(py, || builder.build())?.or_raise()?;
        ops.iter().for_each(|op| op.set_registry(session.registry()));
        Ok(Self { session })
    }

    /// Name, and what is known of it, of each encoding.
    fn encodings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let encodings = self.registry().encodings().map(|encoding| {
            let spec = encoding.spec();
            (
                spec.name.clone(),
                spec.version,
                spec.block_len,
                spec.block_bytes,
                importance_name(spec.importance),
                spec.summary.clone(),
                encoding.plugin().name.clone(),
            )
        });
        PyList::new(py, encodings.collect::<Vec<_>>())
    }

    /// Name, summary, inputs, attributes and plugin of each op. An input is a name, what it takes and how many there are of it.
    fn ops<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let ops = self.registry().ops().map(|op| {
            let signature = op.signature();
            let input = |input: &bitquilt::plugin_api::InputSpec| {
                (
                    input.name.clone(),
                    format!("{:?}", input.kind).to_lowercase(),
                    format!("{:?}", input.arity).to_lowercase(),
                )
            };
            let attribute = |attribute: &bitquilt::plugin_api::AttributeSpec| {
                let default = attribute.default.as_ref().map(ToString::to_string);
                (attribute.name.clone(), attribute.kind.to_string(), attribute.required, default)
            };
            (
                signature.name.clone(),
                signature.summary.clone(),
                signature.inputs.iter().map(input).collect::<Vec<_>>(),
                signature.attributes.iter().map(attribute).collect::<Vec<_>>(),
                op.plugin().name.clone(),
            )
        });
        PyList::new(py, ops.collect::<Vec<_>>())
    }

    /// Whether there is an op of this name.
    fn has_op(&self, name: &str) -> bool {
        self.registry().op(name).is_some()
    }

    /// Name, version and origin of each plugin.
    #[getter]
    fn plugins(&self) -> Vec<(String, String, String)> {
        let plugins = self.registry().plugins();
        plugins
            .map(|plugin| (plugin.name.clone(), plugin.version.clone(), plugin.origin.to_string()))
            .collect()
    }

    /// The files that were refused, a sentence each.
    #[getter]
    fn refusals(&self) -> Vec<String> {
        self.session.refusals().iter().map(|refusal| Passage(&refusal.to_string()).to_string()).collect()
    }

    /// The threads that a run has.
    #[getter]
    fn threads(&self) -> usize {
        self.session.threads()
    }

    /// The instruction set.
    #[getter]
    fn isa(&self) -> &'static str {
        self.session.isa().name()
    }

    /// Encodes an array, row by row.
    #[pyo3(signature = (encoding, array, importance=None))]
    fn quantize(
        &self,
        py: Python<'_>,
        encoding: &str,
        array: &Bound<'_, PyAny>,
        importance: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Tensor> {
        let encoding = self.registry().require_encoding(encoding).or_raise()?;
        let tensor = tensor::of_any("the array", array, true)?;
        let importance = importance.map(importance_of).transpose()?;
        let quantized = work::run_for(py, tensor.len(), || match &importance {
            Some(weights) => encoding.quantize_with_importance(&tensor, weights),
            None => encoding.quantize(&tensor),
        })?;
        let Quantized { tensor, warnings } = quantized.or_raise()?;
        warn(py, warnings.iter().map(|warning| (None, warning)))?;
        Ok(Tensor::of(tensor, self.registry()))
    }

    /// The values of a tensor as an f32 array.
    fn dequantize<'py>(&self, py: Python<'py>, tensor: &Bound<'py, Tensor>) -> PyResult<Bound<'py, PyAny>> {
        tensor.get().decoded(py, self.registry())
    }

    /// A tensor of blocks.
    fn encoded(&self, encoding: &str, shape: Vec<usize>, blocks: &Bound<'_, PyAny>) -> PyResult<Tensor> {
        let encoding = self.registry().require_encoding(encoding).or_raise()?;
        Ok(Tensor::of(tensor::of_blocks(encoding.spec(), shape, blocks)?, self.registry()))
    }

    /// A tensor of an array, which knows the session's encodings; one that is a tensor already is as it was.
    fn tensor<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Tensor>> {
        match object.cast::<Tensor>() {
            Ok(tensor) => Ok(tensor.clone()),
            Err(_) => Bound::new(
                object.py(),
                Tensor::of(tensor::of_any("the array", object, false)?, self.registry()),
            ),
        }
    }
}
