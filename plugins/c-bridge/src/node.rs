//! A node, as C reads it while it is built or loaded.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::ptr::{from_ref, null, null_mut};
use std::thread::ThreadId;

use bitquilt_plugin_api::{
    Element, Error, NodeView, OpSignature, PrepareContext, PreparedMemory, Result, TensorType,
};

use crate::call::answer;
use crate::header::{
    ENCODED, MAX_INPUTS, MAX_OUTPUTS, MAX_RANK, NONE, RawError, RawNode, RawTensor, RawType, TaskFn,
    dtype_code,
};
use crate::host::Host;
use crate::read::Text;
use crate::value::{Unknown, Values};

/// What C is told of a node: types, attributes, and where its inputs stand.
pub(crate) struct CNode {
    op: CString,
    pub(crate) inputs: Vec<CTensor>,
    pub(crate) outputs: Vec<CTensor>,
    pub(crate) values: Values,
    /// Where each input of the op's description stands; none for another plugin's op.
    positions: Vec<usize>,
    pub(crate) unknown: Unknown,
}

impl CNode {
    /// `signature` is that of the node's op, if it is this plugin's. An error if there is more in the node than C can be told.
    pub(crate) fn new(signature: Option<&OpSignature>, node: &NodeView<'_>) -> Result<Self> {
        for (what, count, most) in
            [("was given", node.inputs().len(), MAX_INPUTS), ("yields", node.outputs().len(), MAX_OUTPUTS)]
        {
            if count > most {
                let kind = if what == "yields" { "outputs" } else { "inputs" };
                return Err(Error::unsupported(format_args!(
                    "`{}` {what} {count} {kind}; an op in C has {most} at most",
                    node.op()
                )));
            }
        }
        let mut unknown = Unknown::new();
        let mut tensors = |what: &str, types: &[TensorType]| {
            let one = |tensor| CTensor::new(node, what, tensor, &mut unknown);
            types.iter().map(one).collect::<Result<Vec<_>>>()
        };
        let mut inputs = tensors("an input", node.inputs())?;
        let outputs = tensors("an output", node.outputs())?;
        for (index, input) in inputs.iter_mut().enumerate() {
            input.is_constant = node.is_constant(index);
        }
        let position = |name: &str| node.position(name).unwrap_or(NONE);
        let positions = signature.map(|it| it.inputs.iter().map(|input| position(&input.name)).collect());
        Ok(Self {
            op: CString::new(node.op()).map_err(|_| Error::invalid("the op's name has a zero in it"))?,
            inputs,
            outputs,
            values: Values::new(signature, node, &mut unknown)?,
            positions: positions.unwrap_or_default(),
            unknown,
        })
    }

    /// Where each input of the op's description stands, as C reads it: how many there are, and where.
    pub(crate) fn lend_positions(&self) -> (usize, *const usize) {
        let Self { positions, .. } = self;
        (positions.len(), if positions.is_empty() { null() } else { positions.as_ptr() })
    }

    /// Calls `body` with the node.
    pub(crate) fn lend<T>(&self, host: &NodeHost<'_>, body: impl FnOnce(*const RawNode<'_>) -> T) -> T {
        let inputs: Vec<RawType<'_>> = self.inputs.iter().map(CTensor::lend).collect();
        let outputs: Vec<RawType<'_>> = self.outputs.iter().map(CTensor::lend).collect();
        let constants: Vec<Option<RawTensor<'_>>> =
            (0..inputs.len()).map(|index| self.constant(host, index)).collect();
        let input_pointers: Vec<_> = inputs.iter().map(from_ref).collect();
        let output_pointers: Vec<_> = outputs.iter().map(from_ref).collect();
        let constant_pointers: Vec<_> =
            constants.iter().map(|tensor| tensor.as_ref().map_or(null(), from_ref)).collect();
        let values = self.values.lend();
        let value_pointers = values.each_ref().map(from_ref);
        let work = host.work.as_ref();
        let (position_count, positions) = self.lend_positions();
        let node = RawNode {
            size: size_of::<RawNode<'_>>(),
            host: from_ref(host).cast(),
            op: Text::lend(Some(&self.op)),
            input_count: inputs.len(),
            inputs: input_pointers.as_ptr(),
            output_count: outputs.len(),
            outputs: output_pointers.as_ptr(),
            attribute_count: self.values.len(),
            attributes: value_pointers.as_ptr(),
            position_count,
            positions,
            position,
            option,
            constants: if work.is_some() { constant_pointers.as_ptr() } else { null() },
            next: Text::lend(work.and_then(|work| work.next.as_deref())),
            workers: work.map_or(0, |work| work.host.executor.workers()),
            par_for,
            decode,
            memory,
        };
        body(&raw const node)
    }

    fn constant<'a>(&'a self, host: &'a NodeHost<'_>, index: usize) -> Option<RawTensor<'a>> {
        let view = host.work.as_ref()?.context.constant(index)?;
        let bytes = view.bytes();
        Some(self.inputs[index].element.tensor(view.shape(), bytes.as_ptr().cast(), null_mut(), bytes.len()))
    }
}

/// A tensor of a node, as C is told of it.
pub(crate) struct CTensor {
    pub(crate) element: CElement,
    rank: u32,
    dims: [i64; MAX_RANK],
    /// The shape, if it is known.
    pub(crate) shape: Option<Vec<usize>>,
    is_constant: bool,
}

impl CTensor {
    fn new(node: &NodeView<'_>, what: &str, tensor: &TensorType, unknown: &mut Unknown) -> Result<Self> {
        let element = CElement::new(node, tensor)?;
        if tensor.rank() > MAX_RANK {
            return Err(Error::unsupported(format_args!(
                "{what} is {tensor}, of rank {}; an op in C takes {MAX_RANK} dimensions at most",
                tensor.rank()
            )));
        }
        let mut dims = [0; MAX_RANK];
        for (slot, dim) in dims.iter_mut().zip(&tensor.shape) {
            *slot = unknown.number(dim)?;
        }
        let (rank, shape) = (tensor.rank() as u32, tensor.fixed_shape());
        Ok(Self { element, rank, dims, shape, is_constant: false })
    }

    fn lend(&self) -> RawType<'_> {
        RawType {
            dtype: self.element.dtype,
            rank: self.rank,
            shape: self.dims,
            encoding: self.element.lend_encoding(),
            block_len: self.element.block_len,
            block_bytes: self.element.block_bytes,
            constant: self.is_constant.into(),
            ..BLANK
        }
    }
}

/// A type of which nothing is said.
pub(crate) const BLANK: RawType<'static> = RawType {
    size: size_of::<RawType<'_>>(),
    dtype: ENCODED,
    rank: 0,
    shape: [0; MAX_RANK],
    encoding: Text::NULL,
    block_len: 0,
    block_bytes: 0,
    alias: 0,
    constant: 0,
    reserved: 0,
};

/// What a tensor is made of, as C reads it.
pub(crate) struct CElement {
    dtype: u32,
    encoding: Option<CString>,
    block_len: usize,
    block_bytes: usize,
}

impl CElement {
    fn new(node: &NodeView<'_>, tensor: &TensorType) -> Result<Self> {
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

    /// Whether it is an encoding's blocks.
    pub(crate) fn is_encoded(&self) -> bool {
        self.encoding.is_some()
    }

    /// The encoding's name, as C reads it.
    fn lend_encoding(&self) -> Text<'_> {
        Text::lend(self.encoding.as_deref())
    }

    /// A tensor that is made of it.
    pub(crate) fn tensor(
        &self,
        shape: &[usize],
        data: *const c_void,
        output: *mut c_void,
        bytes: usize,
    ) -> RawTensor<'_> {
        RawTensor {
            size: size_of::<RawTensor<'_>>(),
            dtype: self.dtype,
            rank: shape.len() as u32,
            shape: shape.as_ptr(),
            encoding: self.lend_encoding(),
            block_len: self.block_len,
            block_bytes: self.block_bytes,
            bytes,
            data,
            output,
        }
    }
}

/// What stands behind a node's field `host`, which C passes on and does not read.
pub(crate) struct NodeHost<'a> {
    node: NodeView<'a>,
    /// The thread that all but `work.host` is for.
    thread: ThreadId,
    /// Texts that C was lent.
    texts: RefCell<Vec<CString>>,
    /// None while nothing is prepared.
    work: Option<Work<'a>>,
}

/// What is there while a kernel is prepared.
struct Work<'a> {
    context: &'a PrepareContext<'a>,
    host: Host<'a>,
    next: Option<CString>,
    memory: RefCell<Vec<PreparedMemory>>,
}

impl<'a> NodeHost<'a> {
    /// For a node of which nothing is prepared.
    pub(crate) fn new(node: NodeView<'a>) -> Self {
        Self { node, thread: std::thread::current().id(), texts: RefCell::default(), work: None }
    }

    /// For a kernel that is prepared.
    pub(crate) fn preparing(context: &'a PrepareContext<'a>) -> Result<Self> {
        let mut decoders = [None; MAX_INPUTS];
        for (decoder, tensor) in decoders.iter_mut().zip(context.inputs()) {
            if let Some(name) = tensor.encoding() {
                *decoder = Some(context.decoder(name)?);
            }
        }
        let next = context.next().map(|next| CString::new(next.name()));
        let next = next.transpose().map_err(|_| Error::invalid("a kernel's name has a zero in it"))?;
        let host = Host { executor: context.executor(), decoders };
        let work = Work { context, host, next, memory: RefCell::default() };
        Ok(Self { work: Some(work), ..Self::new(**context) })
    }

    /// The memory that was lent.
    pub(crate) fn into_memory(self) -> Vec<PreparedMemory> {
        self.work.map(|work| work.memory.into_inner()).unwrap_or_default()
    }

    /// Itself on the thread that it is for; none on others.
    fn here(&self) -> Option<&Self> {
        (std::thread::current().id() == self.thread).then_some(self)
    }
}

/// What stands behind a node.
fn host_of<'a>(node: Option<&'a RawNode<'_>>) -> Option<&'a NodeHost<'a>> {
    // SAFETY: it was made of a host that outlives the node; a node that is not lent has none.
    node.and_then(|node| unsafe { node.host.cast::<NodeHost<'_>>().as_ref() })
}

unsafe extern "C" fn position(node: Option<&RawNode<'_>>, input: Text<'_>) -> usize {
    let mut position = NONE;
    answer(None, || {
        let host = host_of(node).and_then(NodeHost::here);
        let name = input.read("the input's name")?;
        position = host.and_then(|host| host.node.position(&name)).unwrap_or(NONE);
        Ok(())
    });
    position
}

unsafe extern "C" fn option(node: Option<&RawNode<'_>>, name: Text<'_>) -> *const c_char {
    let mut text = null();
    answer(None, || {
        let Some(host) = host_of(node).and_then(NodeHost::here) else { return Ok(()) };
        let name = name.read("the option's name")?;
        if let Some(Ok(value)) = host.node.option(&name).map(CString::new) {
            text = value.as_ptr();
            host.texts.borrow_mut().push(value);
        }
        Ok(())
    });
    text
}

/// What a node's function works with; an error where nothing is prepared.
fn work<'a>(node: Option<&'a RawNode<'_>>, function: &str) -> Result<&'a Work<'a>> {
    host_of(node).and_then(|host| host.work.as_ref()).ok_or_else(|| {
        Error::invalid(format_args!(
            "a node's `{function}` was called without the node that `prepare` was given"
        ))
    })
}

unsafe extern "C" fn par_for(
    node: Option<&RawNode<'_>>,
    tasks: usize,
    task: Option<TaskFn>,
    data: *mut c_void,
    error: Option<&RawError>,
) -> i32 {
    answer(error, || work(node, "par_for")?.host.par_for(tasks, task, data))
}

unsafe extern "C" fn decode(
    node: Option<&RawNode<'_>>,
    input: usize,
    blocks: *const u8,
    count: usize,
    dst: *mut f32,
    error: Option<&RawError>,
) -> i32 {
    // SAFETY: the header asks for such buffers.
    answer(error, || unsafe { work(node, "decode")?.host.decode(input, blocks, count, dst) })
}

unsafe extern "C" fn memory(
    node: Option<&RawNode<'_>>,
    bytes: usize,
    memory: *mut *mut c_void,
    error: Option<&RawError>,
) -> i32 {
    answer(error, || {
        let work = work(node, "memory")?;
        if host_of(node).and_then(NodeHost::here).is_none() {
            return Err(Error::invalid("`memory` was called in a task; call it where `prepare` was called"));
        }
        if memory.is_null() || !memory.is_aligned() {
            return Err(Error::invalid(
                "`memory` was given no place for the address: it is NULL or not aligned",
            ));
        }
        let mut lent = work.context.memory(bytes)?;
        // SAFETY: a place for a pointer, as the header says; neither NULL nor misaligned.
        unsafe { memory.write(lent.as_mut_ptr().cast()) };
        work.memory.borrow_mut().push(lent);
        Ok(())
    })
}
