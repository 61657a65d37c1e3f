//! An op that C describes: what it takes, and types in, types out.

use std::sync::Arc;

use bitquilt_plugin_api::{
    Arity, Dim, Error, InferContext, InputKind, KernelKey, KernelProvider, Op, OpSignature, OutputType,
    PrepareContext, Prepared, Result, Split, TensorType,
};

use crate::call::{User, call};
use crate::header::{
    ENCODED, InferFn, MAX_ATTRIBUTES, MAX_INPUTS, MAX_OUTPUTS, MAX_RANK, RawContraction, RawInput, RawOp,
    RawType, dtype_of,
};
use crate::node::{BLANK, CNode, NodeHost};
use crate::read::{self, Item};
use crate::run::{CKernel, Functions, Made};
use crate::value::{Unknown, add_attribute};

/// Encodings that an input names, at most.
const MAX_ENCODINGS: usize = 64;

/// What C said of an op.
pub(crate) struct Description {
    pub(crate) signature: OpSignature,
    outputs: usize,
    user: User,
    infer: InferFn,
    /// None if kernels run it.
    own: Option<Functions>,
}

/// An op.
#[derive(Clone)]
pub(crate) struct COp(pub(crate) Arc<Description>);

/// The kernel that an op has of its own.
pub(crate) struct OwnKernel(Arc<Description>, Functions);

impl COp {
    /// Reads the description; `what` names it in errors.
    pub(crate) fn read(what: &str, raw: &Item<RawOp>) -> Result<Self> {
        let raw = raw.read(what)?;
        let name = raw.name.read(&format!("{what}->name"))?;
        let summary = raw.summary.read_or_empty(&format!("{what}->summary"))?;
        let mut signature = OpSignature::new(name).summary(summary);
        let inputs = raw.inputs.read(&format!("{what}->inputs"), MAX_INPUTS)?;
        for (index, input) in inputs.iter().enumerate() {
            signature = add_input(signature, &format!("{what}->inputs[{index}]"), input)?;
        }
        let attributes = raw.attributes.read(&format!("{what}->attributes"), MAX_ATTRIBUTES)?;
        for (index, attribute) in attributes.iter().enumerate() {
            signature = add_attribute(signature, &format!("{what}->attributes[{index}]"), attribute)?;
        }
        if raw.output_count == 0 || raw.output_count > MAX_OUTPUTS {
            return Err(Error::invalid(format_args!(
                "{what}->output_count is {}; an op has 1 to {MAX_OUTPUTS} outputs",
                raw.output_count
            )));
        }
        let states = signature.inputs.iter().filter(|input| input.kind == InputKind::State).count();
        if states > raw.output_count {
            return Err(Error::invalid(format_args!(
                "{what}->output_count is {}, and the op has {states} states; each has an output that is its next version",
                raw.output_count
            )));
        }
        let user = User(raw.user);
        let own = raw.run.map(|run| Functions { user, serves: None, scratch: raw.scratch, run });
        if own.is_none() && raw.scratch.is_some() {
            return Err(Error::invalid(format_args!(
                "{what}->run is NULL, and {what}->scratch is for it; a kernel has its own `scratch`"
            )));
        }
        Ok(Self(Arc::new(Description {
            signature: add_meaning(signature, what, &raw)?,
            outputs: raw.output_count,
            user,
            infer: read::function(&format!("{what}->infer"), raw.infer)?,
            own,
        })))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0.signature.name
    }

    /// The kernel that it has of its own.
    pub(crate) fn own_kernel(&self) -> Option<OwnKernel> {
        self.0.own.map(|functions| OwnKernel(Arc::clone(&self.0), functions))
    }
}

fn add_input(mut signature: OpSignature, what: &str, raw: &Item<RawInput>) -> Result<OpSignature> {
    let raw = raw.read(what)?;
    let name = raw.name.read(&format!("{what}->name"))?;
    let unknown = |field: &str, code: u32, expected: &str| {
        Error::invalid(format_args!("{what}->{field} is {code}; {expected} is expected"))
    };
    let arity = match raw.arity {
        1 => Arity::One,
        2 => Arity::Optional,
        3 => Arity::Many,
        code => return Err(unknown("arity", code, "BITQUILT_ARITY_ONE, _OPTIONAL or _MANY")),
    };
    let kind = match raw.kind {
        1 => InputKind::Dense,
        2 => InputKind::Encoded,
        3 => InputKind::State,
        code => return Err(unknown("kind", code, "BITQUILT_INPUT_DENSE, _ENCODED or _STATE")),
    };
    let encodings = raw.encodings.read(&format!("{what}->encodings"), MAX_ENCODINGS)?;
    if kind != InputKind::Encoded && !encodings.is_empty() {
        return Err(Error::invalid(format_args!(
            "{what}->encodings are {}, and the input is not encoded; BITQUILT_INPUT_ENCODED is expected with them",
            encodings.len()
        )));
    }
    if kind == InputKind::Encoded && arity == Arity::One {
        signature.kernel_input.get_or_insert(signature.inputs.len());
    }
    signature = signature.input(name, kind, arity);
    let names = encodings.iter().enumerate();
    let names = names.map(|(index, name)| name.read_name(&format!("{what}->encodings[{index}]")));
    if let Some(input) = signature.inputs.last_mut() {
        input.encodings = names.collect::<Result<_>>()?;
    }
    Ok(signature)
}

/// Adds what an op does besides computing its outputs, and what they mean.
fn add_meaning(mut signature: OpSignature, what: &str, raw: &RawOp) -> Result<OpSignature> {
    if read::switch(&format!("{what}->impure"), raw.impure)? {
        signature = signature.impure();
    }
    if raw.effect.is_some() {
        signature = signature.effect(raw.effect.read_name(&format!("{what}->effect"))?);
    }
    let split = match raw.split {
        0 => Split::No,
        1 => Split::Elementwise,
        2 => Split::Rows(index(&signature, &format!("{what}->split_input"), raw.split_input)?),
        3 => Split::Heads,
        code => {
            return Err(Error::invalid(format_args!(
                "{what}->split is {code}; BITQUILT_SPLIT_NO, _ELEMENTWISE, _ROWS or _HEADS is expected"
            )));
        }
    };
    if raw.split != 2 && raw.split_input != 0 {
        return Err(Error::invalid(format_args!(
            "{what}->split_input is {}, which is for BITQUILT_SPLIT_ROWS alone; 0 is expected",
            raw.split_input
        )));
    }
    signature = signature.split(split);
    if raw.contraction.is_some() {
        let what = format!("{what}->contraction");
        let RawContraction { dense, encoded, .. } = raw.contraction.read(&what)?;
        let name = |field: &str, input: usize| {
            let input = index(&signature, &format!("{what}->{field}"), input)?;
            Ok::<_, Error>(signature.inputs[input].name.clone())
        };
        let (dense, encoded) = (name("dense", dense)?, name("encoded", encoded)?);
        signature = signature.contracts(&dense, &encoded);
    }
    Ok(signature)
}

/// The index of an input.
fn index(signature: &OpSignature, what: &str, index: usize) -> Result<usize> {
    match signature.inputs.len() {
        count if index < count => Ok(index),
        count => Err(Error::invalid(format_args!("{what} is {index}; the op has {count} inputs, from 0"))),
    }
}

impl Op for COp {
    fn signature(&self) -> OpSignature {
        self.0.signature.clone()
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let op = &self.0;
        let node = CNode::new(Some(&op.signature), cx)?;
        // No dtype has this number: an output that is not written is noticed.
        let mut outputs = [RawType { dtype: u32::MAX, ..BLANK }; MAX_OUTPUTS];
        let output_pointers = outputs.each_mut().map(std::ptr::from_mut);
        node.lend(&NodeHost::new(**cx), |node| {
            call("infer", |error| {
                // SAFETY: the node and the outputs are structs of the header, alive for the call.
                unsafe { (op.infer)(op.user.get(), node, output_pointers.as_ptr(), error) }
            })
        })?;
        let outputs = outputs[..op.outputs].iter().enumerate();
        let inputs = node.inputs.len();
        outputs.map(|(index, output)| output_type(index, output, inputs, &node.unknown)).collect()
    }
}

/// The type that C wrote for an output of a node with so many inputs.
fn output_type(index: usize, raw: &RawType<'_>, inputs: usize, unknown: &Unknown) -> Result<OutputType> {
    let wrong = |what: String| Error::failed(format_args!("`infer` gave output {index} {what}"));
    let Some(shape) = usize::try_from(raw.rank).ok().and_then(|rank| raw.shape.get(..rank)) else {
        return Err(wrong(format!("the rank {}; it is {MAX_RANK} at most", raw.rank)));
    };
    let dims = shape.iter().map(|dim| {
        unknown.dim(*dim).ok_or_else(|| wrong(format!("the dimension {dim}, which no input has")))
    });
    let shape: Vec<Dim> = dims.collect::<Result<_>>()?;
    let tensor = if raw.dtype == ENCODED {
        let name = raw.encoding.read(&format!("the encoding of output {index}"))?;
        TensorType::encoded(name, shape)
    } else {
        let dtype = dtype_of(raw.dtype).ok_or_else(|| match raw.dtype {
            u32::MAX => wrong("no dtype; write `dtype`, `rank` and `shape` of each output".to_owned()),
            code => wrong(format!("the dtype {code}, which bitquilt.h does not have")),
        })?;
        TensorType::dense(dtype, shape)
    };
    Ok(match raw.alias {
        0 => tensor.into(),
        alias if alias <= inputs => OutputType::alias(tensor, alias - 1),
        alias => {
            return Err(wrong(format!(
                "the alias {alias}, BITQUILT_ALIAS({}), and the node has {inputs} inputs",
                alias - 1
            )));
        }
    })
}

impl KernelProvider for OwnKernel {
    fn key(&self) -> KernelKey {
        KernelKey::for_every(&self.0.signature, "c")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let node = CNode::new(Some(&self.0.signature), cx)?;
        let released = [false; MAX_INPUTS];
        Ok(Prepared::new(CKernel::new(self.1, node, Made::nothing(), released)))
    }
}
