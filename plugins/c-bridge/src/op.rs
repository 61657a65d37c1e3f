//! An op that C describes: what it takes, and types in, types out.

use std::ffi::CString;
use std::sync::Arc;

use bitquilt_plugin_api::{
    Arity, Dim, Element, Error, InferContext, InputKind, NodeView, Op, OpSignature, OutputType, Result,
    TensorType,
};

use crate::call::{User, call};
use crate::header::{
    ENCODED, InferFn, MAX_ATTRIBUTES, MAX_INPUTS, MAX_OUTPUTS, MAX_RANK, RawNode, RawOp, RawType, RunFn,
    ScratchFn, dtype_code, dtype_of,
};
use crate::read::{self, Item, Text};
use crate::value::{Values, add_attribute};

/// What C said of an op.
pub(crate) struct Description {
    pub(crate) signature: OpSignature,
    pub(crate) outputs: usize,
    pub(crate) user: User,
    pub(crate) infer: InferFn,
    pub(crate) scratch: Option<ScratchFn>,
    pub(crate) run: RunFn,
}

/// The op and the one provider of its kernels.
#[derive(Clone)]
pub(crate) struct COp(pub(crate) Arc<Description>);

impl COp {
    /// Reads the description; `what` names it in errors.
    pub(crate) fn read(what: &str, raw: &Item<RawOp>) -> Result<Self> {
        let raw = raw.read(what)?;
        let name = raw.name.read(&format!("{what}->name"))?;
        let summary = raw.summary.read_or_empty(&format!("{what}->summary"))?;
        let mut signature = OpSignature::new(name).summary(summary);
        let inputs = raw.inputs.read(&format!("{what}->inputs"), MAX_INPUTS)?;
        for (index, input) in inputs.iter().enumerate() {
            let what = format!("{what}->inputs[{index}]");
            let input = input.read(&what)?;
            let name = input.name.read(&format!("{what}->name"))?;
            let unknown = |field: &str, code: u32, expected: &str| {
                Error::invalid(format_args!("{what}->{field} is {code}; {expected} is expected"))
            };
            let arity = match input.arity {
                1 => Arity::One,
                2 => Arity::Optional,
                3 => Arity::Many,
                code => return Err(unknown("arity", code, "BITQUILT_ARITY_ONE, _OPTIONAL or _MANY")),
            };
            let kind = match input.kind {
                1 => InputKind::Dense,
                2 => InputKind::Encoded,
                code => return Err(unknown("kind", code, "BITQUILT_INPUT_DENSE or _ENCODED")),
            };
            if kind == InputKind::Encoded && arity == Arity::One {
                signature.kernel_input.get_or_insert(index);
            }
            signature = signature.input(name, kind, arity);
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
        Ok(Self(Arc::new(Description {
            signature,
            outputs: raw.output_count,
            user: User(raw.user),
            infer: read::function(&format!("{what}->infer"), raw.infer)?,
            scratch: raw.scratch,
            run: read::function(&format!("{what}->run"), raw.run)?,
        })))
    }
}

impl Op for COp {
    fn signature(&self) -> OpSignature {
        self.0.signature.clone()
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let op = &*self.0;
        check_count(cx)?;
        let elements: Vec<CElement> =
            cx.inputs().iter().map(|input| CElement::new(cx, input)).collect::<Result<_>>()?;
        let mut unknown = Vec::new();
        let inputs = cx.inputs().iter().zip(&elements);
        let inputs: Vec<RawType<'_>> =
            inputs.map(|(input, element)| input_type(input, element, &mut unknown)).collect::<Result<_>>()?;
        let input_pointers: Vec<*const RawType<'_>> = inputs.iter().map(std::ptr::from_ref).collect();
        let values = Values::new(&op.signature, cx.attributes())?;
        let attributes = values.lend();
        let attribute_pointers = attributes.each_ref().map(std::ptr::from_ref);
        let node = RawNode {
            size: size_of::<RawNode<'_>>(),
            input_count: inputs.len(),
            inputs: input_pointers.as_ptr(),
            attribute_count: values.len(),
            attributes: attribute_pointers.as_ptr(),
        };
        // No dtype has this number: an output that is not written is noticed.
        let mut outputs = [RawType { dtype: u32::MAX, ..BLANK }; MAX_OUTPUTS];
        let output_pointers = outputs.each_mut().map(std::ptr::from_mut);
        call("infer", |error| {
            // SAFETY: the node and the outputs are structs of the header, alive for the call.
            unsafe { (op.infer)(op.user.get(), &raw const node, output_pointers.as_ptr(), error) }
        })?;
        let outputs = outputs[..op.outputs].iter().enumerate();
        outputs.map(|(index, output)| output_type(index, output, &unknown)).collect()
    }
}

pub(crate) fn check_count(node: &NodeView<'_>) -> Result<()> {
    match node.inputs().len() {
        count if count <= MAX_INPUTS => Ok(()),
        count => Err(Error::unsupported(format_args!(
            "`{}` was given {count} inputs; an op in C takes {MAX_INPUTS} at most",
            node.op()
        ))),
    }
}

/// What a tensor is made of, as C reads it.
pub(crate) struct CElement {
    pub(crate) dtype: u32,
    encoding: Option<CString>,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
}

impl CElement {
    /// Whether it is an encoding's blocks.
    pub(crate) fn is_encoded(&self) -> bool {
        self.encoding.is_some()
    }

    pub(crate) fn new(node: &NodeView<'_>, tensor: &TensorType) -> Result<Self> {
        match &tensor.element {
            Element::Dense(dtype) => {
                let dtype = dtype_code(*dtype).ok_or_else(|| {
                    Error::unsupported(format_args!("bitquilt.h does not know the dtype {dtype}"))
                })?;
                Ok(Self { dtype, encoding: None, block_len: 0, block_bytes: 0 })
            }
            Element::Encoded(name) => {
                let spec = node.encoding(name)?;
                let (block_len, block_bytes) = (spec.block_len, spec.block_bytes);
                let encoding = CString::new(name.as_str()).map_err(|_| {
                    Error::invalid(format_args!("the encoding's name {name:?} has a zero in it"))
                })?;
                Ok(Self { dtype: ENCODED, encoding: Some(encoding), block_len, block_bytes })
            }
        }
    }

    /// The encoding's name, as C reads it.
    pub(crate) fn lend_encoding(&self) -> Text<'_> {
        Text::lend(self.encoding.as_deref())
    }
}

const BLANK: RawType<'static> = RawType {
    size: size_of::<RawType<'_>>(),
    dtype: ENCODED,
    rank: 0,
    shape: [0; MAX_RANK],
    encoding: Text::NULL,
    block_len: 0,
    block_bytes: 0,
};

/// A tensor's type, as C reads it. `unknown` collects the dimensions that are no numbers: the first is -1, the next -2.
fn input_type<'a>(tensor: &TensorType, element: &'a CElement, unknown: &mut Vec<Dim>) -> Result<RawType<'a>> {
    if tensor.rank() > MAX_RANK {
        return Err(Error::unsupported(format_args!(
            "an input is {tensor}, of rank {}; an op in C takes {MAX_RANK} dimensions at most",
            tensor.rank()
        )));
    }
    let mut raw = RawType {
        dtype: element.dtype,
        rank: tensor.rank() as u32,
        encoding: element.lend_encoding(),
        block_len: element.block_len,
        block_bytes: element.block_bytes,
        ..BLANK
    };
    for (slot, dim) in raw.shape.iter_mut().zip(&tensor.shape) {
        *slot = match dim.fixed() {
            Some(number) => i64::try_from(number)
                .map_err(|_| Error::invalid(format_args!("the dimension {number} is too large")))?,
            None => {
                let known = unknown.iter().position(|known| known == dim);
                -1 - known.unwrap_or_else(|| {
                    unknown.push(dim.clone());
                    unknown.len() - 1
                }) as i64
            }
        };
    }
    Ok(raw)
}

/// The type that C wrote for an output.
fn output_type(index: usize, raw: &RawType<'_>, unknown: &[Dim]) -> Result<OutputType> {
    let wrong = |what: String| Error::failed(format_args!("`infer` gave output {index} {what}"));
    let Some(shape) = usize::try_from(raw.rank).ok().and_then(|rank| raw.shape.get(..rank)) else {
        return Err(wrong(format!("the rank {}; it is {MAX_RANK} at most", raw.rank)));
    };
    let dims = shape.iter().map(|dim| match usize::try_from(*dim) {
        Ok(number) => Ok(Dim::Fixed(number)),
        Err(_) => {
            let known = usize::try_from(-1 - *dim).ok().and_then(|index| unknown.get(index));
            known.cloned().ok_or_else(|| wrong(format!("the dimension {dim}, which no input has")))
        }
    });
    let shape: Vec<Dim> = dims.collect::<Result<_>>()?;
    if raw.dtype == ENCODED {
        let name = raw.encoding.read(&format!("the encoding of output {index}"))?;
        return Ok(TensorType::encoded(name, shape).into());
    }
    let dtype = dtype_of(raw.dtype).ok_or_else(|| match raw.dtype {
        u32::MAX => wrong("no dtype; write `dtype`, `rank` and `shape` of each output".to_owned()),
        code => wrong(format!("the dtype {code}, which bitquilt.h does not have")),
    })?;
    Ok(TensorType::dense(dtype, shape).into())
}
