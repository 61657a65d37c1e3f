//! Ops that are written in Python.

use std::sync::{Arc, OnceLock, Weak};

use bitquilt::plugin_api::{
    Arity, AttributeKind, ElementView, InferContext, InputKind, Kernel, KernelKey, KernelProvider, Op,
    OpSignature, OutputType, PrepareContext, Prepared, Result, RunContext, TensorViewMut,
};
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{Attributes, TensorType};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::encoding::attached;
use super::part;
use crate::array::Array;
use crate::attributes::{self, attribute_of};
use crate::error::{OrRaise, exception};
use crate::tensor::Tensor;
use crate::{numpy, types};

/// The session that an op is registered in, once it is there.
#[derive(Clone, Default)]
pub struct Session(Arc<OnceLock<Weak<Registry>>>);

impl Session {
    /// Tells the op what its session has.
    pub fn set_registry(&self, registry: &Arc<Registry>) {
        // An op is registered once: there is no other.
        let _ = self.0.set(Arc::downgrade(registry));
    }

    fn registry(&self) -> Option<Arc<Registry>> {
        self.0.get()?.upgrade()
    }
}

/// What an author wrote.
#[derive(Clone)]
struct Functions {
    name: String,
    infer: Arc<Py<PyAny>>,
    body: Arc<Py<PyAny>>,
    session: Session,
}

/// An op that `bitquilt.op` has made: a signature, `infer`, and the body.
pub struct PythonOp {
    signature: OpSignature,
    functions: Functions,
}

impl PythonOp {
    /// Reads the signature.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let name: String = part(object, "name", "a text")?;
        let mut signature =
            OpSignature::new(&name).summary(part::<String>(object, "summary", "a line of text")?);
        for (input, is_encoded) in
            part::<Vec<(String, bool)>>(object, "inputs", "inputs, each a name and whether it is encoded")?
        {
            signature = match is_encoded {
                true => signature.encoded(input),
                false => signature.input(input, InputKind::Dense, Arity::One),
            };
        }
        type Attribute<'py> = (String, String, bool, Option<Bound<'py, PyAny>>);
        for (attribute, kind, required, default) in
            part::<Vec<Attribute<'_>>>(object, "attributes", "attributes")?
        {
            let kind = kind_of(&attribute, &kind)?;
            signature = match default {
                Some(default) => {
                    let value =
                        attribute_of(&attribute, &default, Some(kind))?.into_kind(kind).ok_or_else(|| {
                            exception(
                                "SessionError",
                                format!("the default of `{}` is not {kind}", Brief(&attribute)),
                            )
                        })?;
                    signature.optional(attribute, value)
                }
                None if required => signature.required(attribute, kind),
                None => signature.without_default(attribute, kind),
            };
        }
        if !part::<bool>(object, "pure", "True or False")? {
            signature = signature.impure();
        }
        let (infer, body) = (object.getattr("infer")?.unbind(), object.getattr("body")?.unbind());
        let functions =
            Functions { name, infer: Arc::new(infer), body: Arc::new(body), session: Session::default() };
        Ok(Self { signature, functions })
    }

    /// The session, which the op is to be told.
    pub fn session(&self) -> &Session {
        &self.functions.session
    }

    /// What runs it.
    pub fn kernel(&self) -> impl KernelProvider + use<> {
        Provider { signature: self.signature.clone(), functions: self.functions.clone() }
    }
}

fn kind_of(attribute: &str, name: &str) -> PyResult<AttributeKind> {
    const KINDS: [(&str, AttributeKind); 8] = [
        ("int", AttributeKind::Int),
        ("float", AttributeKind::Float),
        ("bool", AttributeKind::Bool),
        ("str", AttributeKind::Text),
        ("ints", AttributeKind::Ints),
        ("shape", AttributeKind::Shape),
        ("floats", AttributeKind::Floats),
        ("strs", AttributeKind::Texts),
    ];
    let kind = KINDS.iter().find(|(known, _)| *known == name);
    kind.map(|(_, kind)| *kind).ok_or_else(|| {
        let known = KINDS.map(|(name, _)| name).join(", ");
        exception(
            "SessionError",
            format!("the attribute `{}` is of kind `{}`; there are {known}", Brief(attribute), Brief(name)),
        )
    })
}

impl Op for PythonOp {
    fn signature(&self) -> OpSignature {
        self.signature.clone()
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let types = attached(|py| {
            let inputs =
                cx.inputs().iter().map(|input| types::to_python(py, input)).collect::<PyResult<Vec<_>>>()?;
            let attributes = attributes::to_python(py, cx.attributes())?;
            let answer = self.functions.infer.bind(py).call(PyTuple::new(py, inputs)?, Some(&attributes))?;
            outputs_of(&answer)
        })?;
        Ok(types.into_iter().map(OutputType::from).collect())
    }
}

/// The types that `infer` answers: one, or several.
fn outputs_of(answer: &Bound<'_, PyAny>) -> PyResult<Vec<TensorType>> {
    if let Ok(several) = answer.cast::<PyTuple>() {
        return several.iter().map(|tensor| types::type_of(&tensor)).collect();
    }
    Ok(vec![types::type_of(answer)?])
}

/// Prepares nodes of an op.
struct Provider {
    signature: OpSignature,
    functions: Functions,
}

impl KernelProvider for Provider {
    fn key(&self) -> KernelKey {
        KernelKey::for_every(&self.signature, "python")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(Body {
            functions: self.functions.clone(),
            attributes: cx.attributes().clone(),
            outputs: cx.outputs().len(),
        }))
    }
}

/// Runs a node.
struct Body {
    functions: Functions,
    attributes: Attributes,
    outputs: usize,
}

impl Kernel for Body {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let mut encodings = Vec::with_capacity(cx.input_count());
        for index in 0..cx.input_count() {
            let view = cx.input(index)?;
            let spec = match view.element() {
                ElementView::Dense(_) => None,
                ElementView::Encoded(_) => Some(cx.decoder(index)?.spec()),
            };
            encodings.push((view, spec));
        }
        let mut outputs = Vec::with_capacity(self.outputs);
        for index in 0..self.outputs {
            outputs.push(cx.output(index)?);
        }
        attached(|py| {
            let mut inputs = Vec::with_capacity(encodings.len());
            for (view, spec) in &encodings {
                inputs.push(match spec {
                    None => numpy::of_view(py, view)?
                        .ok_or_else(|| exception("RunError", "an encoded input has no encoding"))?,
                    Some(spec) => {
                        let tensor =
                            bitquilt::Tensor::from_encoded(spec, view.shape(), view.bytes()).or_raise()?;
                        let registry = self.functions.session.registry();
                        Bound::new(py, Tensor { tensor, registry })?.into_any()
                    }
                });
            }
            let attributes: Bound<'_, PyDict> = attributes::to_python(py, &self.attributes)?;
            let answer = self.functions.body.bind(py).call(PyTuple::new(py, inputs)?, Some(&attributes))?;
            let answers = match answer.cast::<PyTuple>() {
                Ok(several) => several.iter().collect(),
                Err(_) => vec![answer],
            };
            if answers.len() != outputs.len() {
                let (found, expected) = (answers.len(), outputs.len());
                let sentence = format!(
                    "`{}` answers {found} arrays; `infer` has announced {expected}",
                    Brief(&self.functions.name)
                );
                return Err(exception("RunError", sentence));
            }
            for (index, (answer, output)) in answers.iter().zip(outputs).enumerate() {
                self.write(index, answer, output)?;
            }
            Ok(())
        })
    }
}

impl Body {
    fn write(&self, index: usize, answer: &Bound<'_, PyAny>, output: TensorViewMut<'_>) -> PyResult<()> {
        let what = format!("output {index} of `{}`", Brief(&self.functions.name));
        let answer = match answer.hasattr("__array_interface__")? {
            // A view in another order is as good.
            true => answer.py().import("numpy")?.call_method1("ascontiguousarray", (answer,))?,
            false => answer.clone(),
        };
        let array = Array::of(&what, &answer)?;
        let expected = ElementView::Dense(array.dtype());
        // NumPy makes a scalar's array one of rank 1.
        let is_scalar = output.shape().is_empty() && array.shape() == [1];
        if output.element() != expected || output.shape() != array.shape() && !is_scalar {
            let found = format!("{} {:?}", array.dtype(), array.shape());
            let element = match output.element() {
                ElementView::Dense(dtype) => dtype.to_string(),
                ElementView::Encoded(encoding) => encoding.to_owned(),
            };
            let announced = format!("{element} {:?}", output.shape());
            return Err(exception(
                "RunError",
                format!("{what} is {found}; `infer` has announced {announced}"),
            ));
        }
        output.into_bytes().copy_from_slice(array.as_ref());
        Ok(())
    }
}
