//! What a host does for C while a kernel is prepared or run: it runs tasks, and decodes blocks.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bitquilt_plugin_api::{Encoding, Error, Executor, Result};

use crate::call::{User, call};
use crate::header::{MAX_INPUTS, TaskFn};

/// The host's threads, and the encodings of a node's inputs.
pub(crate) struct Host<'a> {
    pub(crate) executor: Executor<'a>,
    pub(crate) decoders: [Option<Encoding<'a>>; MAX_INPUTS],
}

impl Host<'_> {
    /// `par_for`: the error of the lowest task that has one.
    pub(crate) fn par_for(&self, tasks: usize, task: Option<TaskFn>, data: *mut c_void) -> Result<()> {
        let task = task.ok_or_else(|| Error::invalid("`par_for` was given the task NULL"))?;
        let (data, lowest, first) = (User(data), AtomicUsize::new(usize::MAX), Mutex::new(None));
        self.executor.par_for(tasks, |index, worker| {
            if index > lowest.load(Ordering::Relaxed) {
                return;
            }
            let outcome = call("a task", |error| {
                // SAFETY: the author's function and data, as the header says: for any thread.
                unsafe { task(data.get(), index, worker, error) }
            });
            if let Err(error) = outcome {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                if first.is_none() || index < lowest.load(Ordering::Relaxed) {
                    lowest.store(index, Ordering::Relaxed);
                    *first = Some(error);
                }
            }
        });
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// `decode`.
    ///
    /// # Safety
    /// The buffers are of `count` blocks, or NULL or not aligned, and nobody else writes them during the call.
    pub(crate) unsafe fn decode(
        &self,
        input: usize,
        blocks: *const u8,
        count: usize,
        dst: *mut f32,
    ) -> Result<()> {
        let encoding = self.decoders.get(input).copied().flatten().ok_or_else(|| {
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
        // SAFETY: neither NULL nor misaligned, and of `count` blocks, as the caller promises.
        let (blocks, dst) = unsafe {
            (std::slice::from_raw_parts(blocks, bytes), std::slice::from_raw_parts_mut(dst, values))
        };
        encoding.dequantize(blocks, dst)
    }
}
