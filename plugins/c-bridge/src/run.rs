//! Runs of a node by functions of C.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use bitquilt_plugin_api::{
    Error, Kernel, PreparedMemory, Result, RunContext, Scratch, Shapes, TensorViewMut,
};

use crate::call::{User, answer, call};
use crate::header::{
    DestroyFn, MAX_INPUTS, MAX_OUTPUTS, OK, RawError, RawRun, RawScratch, RawTensor, RunFn, ScratchFn,
    ServesFn, TaskFn,
};
use crate::host::Host;
use crate::node::{CElement, CNode, CTensor};
use crate::read::Text;

/// The functions that run nodes.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) user: User,
    pub(crate) serves: Option<ServesFn>,
    pub(crate) scratch: Option<ScratchFn>,
    pub(crate) run: RunFn,
}

/// What `prepare` made, and the memory that it was lent.
pub(crate) struct Made {
    user: User,
    data: User,
    destroy: Option<DestroyFn>,
    /// Not read here; given back after `destroy`.
    _memory: Vec<PreparedMemory>,
}

impl Made {
    /// Nothing.
    pub(crate) fn nothing() -> Self {
        Self { user: User(null_mut()), data: User(null_mut()), destroy: None, _memory: Vec::new() }
    }

    /// What `prepare` answered with success.
    pub(crate) fn new(
        user: User,
        data: *mut c_void,
        destroy: Option<DestroyFn>,
        memory: Vec<PreparedMemory>,
    ) -> Self {
        Self { user, data: User(data), destroy, _memory: memory }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the author's function, with what `prepare` made, once.
            unsafe { destroy(self.user.get(), self.data.get()) };
        }
    }
}

/// A node's kernel: what of its run does not change from run to run.
pub(crate) struct CKernel {
    functions: Functions,
    node: CNode,
    made: Made,
    /// Whether each input was released.
    released: [bool; MAX_INPUTS],
    roles: OnceLock<Roles>,
}

/// What a host alone knows of a node's tensors, which the first run finds out.
#[derive(Clone, Copy, Default)]
struct Roles {
    /// Which inputs are states.
    states: [bool; MAX_INPUTS],
    /// Which outputs are an input's memory.
    aliases: [bool; MAX_OUTPUTS],
}

impl CKernel {
    pub(crate) fn new(functions: Functions, node: CNode, made: Made, released: [bool; MAX_INPUTS]) -> Self {
        Self { functions, node, made, released, roles: OnceLock::new() }
    }

    /// Calls `body` with a run of these shapes, in which there is nothing to run.
    fn shaped<T>(&self, shapes: &Shapes<'_>, body: impl FnOnce(*const RawRun<'_>) -> T) -> T {
        let mut tensors = Tensors::default();
        for (tensor, shape) in self.node.inputs.iter().zip(shapes.inputs) {
            tensors.input(tensor.element.tensor(shape, null(), null_mut(), 0));
        }
        for (tensor, shape) in self.node.outputs.iter().zip(shapes.outputs) {
            tensors.output(tensor.element.tensor(shape, null(), null_mut(), 0));
        }
        tensors.lend(self, None, shapes.workers, body)
    }

    fn inputs<'a>(
        &'a self,
        cx: &mut RunContext<'_>,
        known: Option<&Roles>,
        roles: &mut Roles,
        tensors: &mut Tensors<'a>,
    ) -> Result<()> {
        for (index, tensor) in self.node.inputs.iter().enumerate() {
            if self.released[index] {
                let shape = tensor.shape.as_deref().unwrap_or_default();
                tensors.input(tensor.element.tensor(shape, null(), null_mut(), 0));
                continue;
            }
            let is_state = known.map_or_else(|| cx.input(index).is_err(), |roles| roles.states[index]);
            roles.states[index] = is_state;
            tensors.input(if is_state {
                written(&tensor.element, cx.state(index)?)
            } else {
                let view = cx.input(index)?;
                let bytes = view.bytes();
                tensor.element.tensor(view.shape(), bytes.as_ptr().cast(), null_mut(), bytes.len())
            });
        }
        Ok(())
    }

    fn outputs<'a>(
        &'a self,
        cx: &mut RunContext<'_>,
        known: Option<&Roles>,
        roles: &mut Roles,
        tensors: &mut Tensors<'a>,
    ) {
        for (index, CTensor { element, .. }) in self.node.outputs.iter().enumerate() {
            let view = match known {
                Some(roles) if roles.aliases[index] => None,
                _ => cx.output(index).ok(),
            };
            roles.aliases[index] = view.is_none();
            tensors.output(match view {
                Some(view) => written(element, view),
                None => RawTensor { shape: null(), ..element.tensor(&[], null(), null_mut(), 0) },
            });
        }
    }
}

/// A tensor that is written.
fn written<'a>(element: &'a CElement, view: TensorViewMut<'_>) -> RawTensor<'a> {
    let shape = view.shape();
    let bytes = view.into_bytes();
    let data: *mut c_void = bytes.as_mut_ptr().cast();
    element.tensor(shape, data, data, bytes.len())
}

impl Kernel for CKernel {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let Some(scratch) = self.functions.scratch else { return Scratch::default() };
        let mut asked = RawScratch { size: size_of::<RawScratch>(), shared: 0, per_worker: 0 };
        self.shaped(shapes, |run| {
            // SAFETY: the run and the answer are structs of the header, alive for the call.
            unsafe { scratch(self.functions.user.get(), run, &raw mut asked) };
        });
        Scratch { shared: asked.shared, per_worker: asked.per_worker }
    }

    fn serves(&self, shapes: &Shapes<'_>) -> bool {
        self.functions.serves.is_none_or(|serves| {
            // SAFETY: the run is a struct of the header, alive for the call.
            self.shaped(shapes, |run| unsafe { serves(self.functions.user.get(), run) } == OK)
        })
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let mut tensors = Tensors::default();
        let (known, mut roles) = (self.roles.get(), Roles::default());
        self.inputs(cx, known, &mut roles, &mut tensors)?;
        self.outputs(cx, known, &mut roles, &mut tensors);
        self.roles.get_or_init(|| roles);
        let mut decoders = [None; MAX_INPUTS];
        for (index, (tensor, decoder)) in self.node.inputs.iter().zip(&mut decoders).enumerate() {
            if tensor.element.is_encoded() {
                *decoder = Some(cx.decoder(index)?);
            }
        }
        let shared = cx.shared_scratch();
        (tensors.shared, tensors.shared_bytes) = (shared.as_mut_ptr(), shared.len());
        let workers = cx.worker_scratch();
        (tensors.per_worker, tensors.worker_bytes, tensors.worker_stride) =
            (workers.as_ptr(), workers.bytes(), workers.stride());
        let host = Host { executor: cx.executor(), decoders };
        tensors.lend(self, Some(&host), cx.executor().workers(), |run| {
            call("run", |error| {
                // SAFETY: the run is a struct of the header, alive for the call, whose pointers have the lengths that stand beside them.
                unsafe { (self.functions.run)(self.functions.user.get(), run, error) }
            })
        })
    }
}

/// The tensors and memory of a run, on the stack: a run allocates nothing.
struct Tensors<'a> {
    inputs: [RawTensor<'a>; MAX_INPUTS],
    input_count: usize,
    outputs: [RawTensor<'a>; MAX_OUTPUTS],
    output_count: usize,
    shared: *mut u8,
    shared_bytes: usize,
    per_worker: *mut u8,
    worker_bytes: usize,
    worker_stride: usize,
}

impl Default for Tensors<'_> {
    fn default() -> Self {
        let blank = RawTensor {
            size: size_of::<RawTensor<'_>>(),
            dtype: 0,
            rank: 0,
            shape: null(),
            encoding: Text::NULL,
            block_len: 0,
            block_bytes: 0,
            bytes: 0,
            data: null(),
            output: null_mut(),
        };
        Self {
            inputs: [blank; MAX_INPUTS],
            input_count: 0,
            outputs: [blank; MAX_OUTPUTS],
            output_count: 0,
            shared: null_mut(),
            shared_bytes: 0,
            per_worker: null_mut(),
            worker_bytes: 0,
            worker_stride: 0,
        }
    }
}

impl<'a> Tensors<'a> {
    fn input(&mut self, tensor: RawTensor<'a>) {
        self.inputs[self.input_count] = tensor;
        self.input_count += 1;
    }

    fn output(&mut self, tensor: RawTensor<'a>) {
        self.outputs[self.output_count] = tensor;
        self.output_count += 1;
    }

    /// Calls `body` with a run of these tensors. There is no host while there is nothing to run.
    fn lend<T>(
        &self,
        kernel: &CKernel,
        host: Option<&Host<'_>>,
        workers: usize,
        body: impl FnOnce(*const RawRun<'_>) -> T,
    ) -> T {
        let inputs = self.inputs.each_ref().map(std::ptr::from_ref);
        let outputs = self.outputs.each_ref().map(std::ptr::from_ref);
        let values = kernel.node.values.lend();
        let attributes = values.each_ref().map(std::ptr::from_ref);
        let (position_count, positions) = kernel.node.lend_positions();
        let run = RawRun {
            size: size_of::<RawRun<'_>>(),
            host: host.map_or(std::ptr::null(), std::ptr::from_ref).cast(),
            input_count: self.input_count,
            inputs: inputs.as_ptr(),
            output_count: self.output_count,
            outputs: outputs.as_ptr(),
            attribute_count: kernel.node.values.len(),
            attributes: attributes.as_ptr(),
            workers,
            shared: self.shared,
            shared_bytes: self.shared_bytes,
            per_worker: self.per_worker,
            worker_bytes: self.worker_bytes,
            worker_stride: self.worker_stride,
            par_for,
            decode,
            position_count,
            positions,
            prepared: kernel.made.data.get(),
        };
        body(&raw const run)
    }
}

/// What a run's functions work with; an error where there is nothing to run.
fn host_of<'a>(run: Option<&'a RawRun<'_>>) -> Result<&'a Host<'a>> {
    // SAFETY: it was made of a host that outlives the run.
    run.and_then(|run| unsafe { run.host.cast::<Host<'_>>().as_ref() })
        .ok_or_else(|| Error::invalid("a run's function was called without the run that `run` was given"))
}

unsafe extern "C" fn par_for(
    run: Option<&RawRun<'_>>,
    tasks: usize,
    task: Option<TaskFn>,
    data: *mut c_void,
    error: Option<&RawError>,
) -> i32 {
    answer(error, || host_of(run)?.par_for(tasks, task, data))
}

unsafe extern "C" fn decode(
    run: Option<&RawRun<'_>>,
    input: usize,
    blocks: *const u8,
    count: usize,
    dst: *mut f32,
    error: Option<&RawError>,
) -> i32 {
    // SAFETY: the header asks for such buffers.
    answer(error, || unsafe { host_of(run)?.decode(input, blocks, count, dst) })
}
