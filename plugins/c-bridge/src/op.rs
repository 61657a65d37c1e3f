//! An op that C describes: what it takes, and types in, types out.

use std::ffi::CString;
use std::sync::Arc;

use bitquilt_plugin_api::{
    Arity, Dim, Element, Error, InferContext, InputKind, KernelKey, KernelProvider, NodeView, Op,
    OpSignature, OutputType, PrepareContext, Prepared, Result, TensorType,
};

use crate::call::{User, call};
use crate::header::{
    ENCODED, InferFn, MAX_ATTRIBUTES, MAX_INPUTS, MAX_OUTPUTS, MAX_RANK, RawNode, RawOp, RawType, RunFn,
    ScratchFn, dtype_code, dtype_of,
};
use crate::kernel::CKernel;
use crate::read;
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
pub(crate) struct COp(Arc<Description>);

impl COp {
    /// Reads the description; `what` names it in errors.
    ///
    /// # Safety
    /// As for [`read::record`], and for what it points to as the header says.
    pub(crate) unsafe fn read(what: &str, raw: *const RawOp) -> Result<Self> {
        // SAFETY: as the caller promises; so below.
        let raw = unsafe { read::record(what, raw)? };
        // SAFETY: as above.
        let name = unsafe { read::text(&format!("{what}->name"), raw.name)? };
        // SAFETY: as above.
        let summary = unsafe { read::optional_text(&format!("{what}->summary"), raw.summary)? };
        let mut signature = OpSignature::new(name).summary(summary);
        // SAFETY: as above.
        let inputs =
            unsafe { read::list(&format!("{what}->inputs"), raw.inputs, raw.input_count, MAX_INPUTS)? };
        for (index, input) in inputs.iter().enumerate() {
            let what = format!("{what}->inputs[{index}]");
            // SAFETY: as above.
            let input = unsafe { read::record(&what, *input)? };
            // SAFETY: as above.
            let name = unsafe { read::text(&format!("{what}->name"), input.name)? };
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
        let most = MAX_ATTRIBUTES;
        // SAFETY: as above.
        let attributes =
            unsafe { read::list(&format!("{what}->attributes"), raw.attributes, raw.attribute_count, most)? };
        for (index, attribute) in attributes.iter().enumerate() {
            // SAFETY: as above.
            signature =
                unsafe { add_attribute(signature, &format!("{what}->attributes[{index}]"), *attribute)? };
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
        let mut unknown = Vec::new();
        let inputs = cx
            .inputs()
            .iter()
            .map(|input| CType::new(cx, input, &mut unknown))
            .collect::<Result<Vec<_>>>()?;
        let values = Values::new(&op.signature, cx.attributes())?;
        let input_pointers: Vec<*const RawType> = inputs.iter().map(|input| &raw const input.raw).collect();
        let attribute_pointers = values.pointers();
        let node = RawNode {
            size: size_of::<RawNode>(),
            input_count: inputs.len(),
            inputs: input_pointers.as_ptr(),
            attribute_count: values.len(),
            attributes: attribute_pointers.as_ptr(),
        };
        // No dtype has this number: an output that is not written is noticed.
        let blank = RawType { dtype: u32::MAX, ..CType::blank() };
        let mut outputs = [blank; MAX_OUTPUTS];
        let output_pointers = outputs.each_mut().map(std::ptr::from_mut);
        call("infer", |error| {
            // SAFETY: the node and the outputs are structs of the header, alive for the call.
            unsafe { (op.infer)(op.user.get(), &raw const node, output_pointers.as_ptr(), error) }
        })?;
        let outputs = outputs[..op.outputs].iter().enumerate();
        outputs.map(|(index, output)| output_type(index, output, &unknown)).collect()
    }
}

impl KernelProvider for COp {
    fn key(&self) -> KernelKey {
        KernelKey::for_every(&self.0.signature, "c")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        check_count(cx)?;
        Ok(Prepared::new(CKernel::new(Arc::clone(&self.0), cx)?))
    }
}

fn check_count(node: &NodeView<'_>) -> Result<()> {
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
    pub(crate) encoding: Option<CString>,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
}

impl CElement {
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

    pub(crate) fn encoding_pointer(&self) -> *const std::ffi::c_char {
        self.encoding.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())
    }
}

/// A tensor's type, as C reads it.
struct CType {
    raw: RawType,
    /// What the raw type's encoding points into.
    _element: CElement,
}

impl CType {
    fn blank() -> RawType {
        RawType {
            size: size_of::<RawType>(),
            dtype: ENCODED,
            rank: 0,
            shape: [0; MAX_RANK],
            encoding: std::ptr::null(),
            block_len: 0,
            block_bytes: 0,
        }
    }

    /// `unknown` collects the dimensions that are no numbers: the first is -1, the next -2.
    fn new(node: &NodeView<'_>, tensor: &TensorType, unknown: &mut Vec<Dim>) -> Result<Self> {
        if tensor.rank() > MAX_RANK {
            return Err(Error::unsupported(format_args!(
                "an input is {tensor}, of rank {}; an op in C takes {MAX_RANK} dimensions at most",
                tensor.rank()
            )));
        }
        let element = CElement::new(node, tensor)?;
        let mut raw = RawType {
            dtype: element.dtype,
            rank: tensor.rank() as u32,
            encoding: element.encoding_pointer(),
            block_len: element.block_len,
            block_bytes: element.block_bytes,
            ..Self::blank()
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
        Ok(Self { raw, _element: element })
    }
}

/// The type that C wrote for an output.
fn output_type(index: usize, raw: &RawType, unknown: &[Dim]) -> Result<OutputType> {
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
        // SAFETY: the header asks for null or a text.
        let name = unsafe { read::text(&format!("the encoding of output {index}"), raw.encoding)? };
        return Ok(TensorType::encoded(name, shape).into());
    }
    let dtype = dtype_of(raw.dtype).ok_or_else(|| match raw.dtype {
        u32::MAX => wrong("no dtype; write `dtype`, `rank` and `shape` of each output".to_owned()),
        code => wrong(format!("the dtype {code}, which bitquilt.h does not have")),
    })?;
    Ok(TensorType::dense(dtype, shape).into())
}
