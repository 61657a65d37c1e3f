//! Runs of an op that C describes.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bitquilt_plugin_api::{
    Error, Kernel, KernelKey, KernelProvider, PrepareContext, Prepared, Result, RunContext, Scratch, Shapes,
};

use crate::call::{User, answer, call};
use crate::header::{Host, MAX_INPUTS, MAX_OUTPUTS, RawError, RawRun, RawScratch, RawTensor, TaskFn};
use crate::op::{CElement, COp, Description, check_count};
use crate::read::Text;
use crate::value::Values;

impl KernelProvider for COp {
    fn key(&self) -> KernelKey {
        KernelKey::for_every(&self.0.signature, "c")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        check_count(cx)?;
        Ok(Prepared::new(CKernel::new(Arc::clone(&self.0), cx)?))
    }
}

/// A node's kernel: what of its run does not change from run to run.
pub(crate) struct CKernel {
    op: Arc<Description>,
    attributes: Values,
    inputs: Vec<CElement>,
    outputs: Vec<CElement>,
}

impl CKernel {
    pub(crate) fn new(op: Arc<Description>, cx: &PrepareContext<'_>) -> Result<Self> {
        let elements =
            |types: &[_]| types.iter().map(|tensor| CElement::new(cx, tensor)).collect::<Result<Vec<_>>>();
        let attributes = Values::new(&op.signature, cx.attributes())?;
        Ok(Self { attributes, inputs: elements(cx.inputs())?, outputs: elements(cx.outputs())?, op })
    }
}

impl Kernel for CKernel {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let Some(scratch) = self.op.scratch else { return Scratch::default() };
        let mut tensors = Tensors::default();
        for (element, shape) in self.inputs.iter().zip(shapes.inputs) {
            tensors.input(element, shape, null(), 0);
        }
        for (element, shape) in self.outputs.iter().zip(shapes.outputs) {
            tensors.output(element, shape, null_mut(), 0);
        }
        let mut asked = RawScratch { size: size_of::<RawScratch>(), shared: 0, per_worker: 0 };
        tensors.lend(self, None, shapes.workers, |run| {
            // SAFETY: the run and the answer are structs of the header, alive for the call.
            unsafe { scratch(self.op.user.get(), run, &raw mut asked) };
        });
        Scratch { shared: asked.shared, per_worker: asked.per_worker }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let mut tensors = Tensors::default();
        let mut decoders = [None; MAX_INPUTS];
        for (index, (element, decoder)) in self.inputs.iter().zip(&mut decoders).enumerate() {
            let view = cx.input(index)?;
            tensors.input(element, view.shape(), view.bytes().as_ptr().cast(), view.bytes().len());
            if element.is_encoded() {
                *decoder = Some(cx.decoder(index)?);
            }
        }
        for (index, element) in self.outputs.iter().enumerate() {
            let view = cx.output(index)?;
            let shape = view.shape();
            let bytes = view.into_bytes();
            tensors.output(element, shape, bytes.as_mut_ptr().cast(), bytes.len());
        }
        let shared = cx.shared_scratch();
        (tensors.shared, tensors.shared_bytes) = (shared.as_mut_ptr(), shared.len());
        let workers = cx.worker_scratch();
        (tensors.per_worker, tensors.worker_bytes, tensors.worker_stride) =
            (workers.as_ptr(), workers.bytes(), workers.stride());
        let host = Host { executor: cx.executor(), decoders };
        tensors.lend(self, Some(&host), host.executor.workers(), |run| {
            call("run", |error| {
                // SAFETY: the run is a struct of the header, alive for the call, whose pointers have the lengths that stand beside them.
                unsafe { (self.op.run)(self.op.user.get(), run, error) }
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
    fn input(&mut self, element: &'a CElement, shape: &[usize], data: *const c_void, bytes: usize) {
        self.inputs[self.input_count] = tensor(element, shape, data, null_mut(), bytes);
        self.input_count += 1;
    }

    fn output(&mut self, element: &'a CElement, shape: &[usize], data: *mut c_void, bytes: usize) {
        self.outputs[self.output_count] = tensor(element, shape, data, data, bytes);
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
        let values = kernel.attributes.lend();
        let attributes = values.each_ref().map(std::ptr::from_ref);
        let run = RawRun {
            size: size_of::<RawRun<'_>>(),
            host,
            input_count: self.input_count,
            inputs: inputs.as_ptr(),
            output_count: self.output_count,
            outputs: outputs.as_ptr(),
            attribute_count: kernel.attributes.len(),
            attributes: attributes.as_ptr(),
            workers,
            shared: self.shared,
            shared_bytes: self.shared_bytes,
            per_worker: self.per_worker,
            worker_bytes: self.worker_bytes,
            worker_stride: self.worker_stride,
            par_for,
            decode,
        };
        body(&raw const run)
    }
}

fn tensor<'a>(
    element: &'a CElement,
    shape: &[usize],
    data: *const c_void,
    output: *mut c_void,
    bytes: usize,
) -> RawTensor<'a> {
    RawTensor {
        size: size_of::<RawTensor<'_>>(),
        dtype: element.dtype,
        rank: shape.len() as u32,
        shape: shape.as_ptr(),
        encoding: element.lend_encoding(),
        block_len: element.block_len,
        block_bytes: element.block_bytes,
        bytes,
        data,
        output,
    }
}

/// What a run's functions work with; an error where there is nothing to run.
fn host_of<'a>(run: Option<&'a RawRun<'_>>) -> Result<&'a Host<'a>> {
    run.and_then(|run| run.host)
        .ok_or_else(|| Error::invalid("a run's function was called without the run that `run` was given"))
}

unsafe extern "C" fn par_for(
    run: Option<&RawRun<'_>>,
    tasks: usize,
    task: Option<TaskFn>,
    data: *mut c_void,
    error: Option<&RawError>,
) -> i32 {
    let body = || {
        let host = host_of(run)?;
        let task = task.ok_or_else(|| Error::invalid("`par_for` was given the task NULL"))?;
        let (data, failed, first) = (User(data), AtomicBool::new(false), Mutex::new(None));
        host.executor.par_for(tasks, |index, worker| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let outcome = call("a task", |error| {
                // SAFETY: the author's function and data, as the header says: for any thread.
                unsafe { task(data.get(), index, worker, error) }
            });
            if let Err(error) = outcome {
                failed.store(true, Ordering::Relaxed);
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    };
    answer(error, body)
}

unsafe extern "C" fn decode(
    run: Option<&RawRun<'_>>,
    input: usize,
    blocks: *const u8,
    count: usize,
    dst: *mut f32,
    error: Option<&RawError>,
) -> i32 {
    let body = || {
        let host = host_of(run)?;
        let encoding = host.decoders.get(input).copied().flatten().ok_or_else(|| {
            Error::invalid(format_args!("`decode` was given input {input}, which is not encoded"))
        })?;
        if count == 0 {
            return Ok(());
        }
        let (bytes, values) =
            (count.checked_mul(encoding.block_bytes()), count.checked_mul(encoding.block_len()));
        let limit = isize::MAX as usize / size_of::<f32>();
        let (Some(bytes), Some(values)) = (bytes, values.filter(|values| *values <= limit)) else {
            return Err(Error::invalid(format_args!(
                "`decode` was given {count} blocks, which no memory holds"
            )));
        };
        if blocks.is_null() || dst.is_null() || !dst.is_aligned() || bytes > isize::MAX as usize {
            return Err(Error::invalid("`decode` was given a buffer that is NULL or not aligned"));
        }
        // SAFETY: the header asks for buffers of `count` blocks, which nobody else writes during the call.
        let (blocks, dst) = unsafe {
            (std::slice::from_raw_parts(blocks, bytes), std::slice::from_raw_parts_mut(dst, values))
        };
        encoding.dequantize(blocks, dst)
    };
    answer(error, body)
}
