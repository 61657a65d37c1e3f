//! All that an author of a bitquilt plugin depends on.
//!
//! A plugin adds [encodings](QuantizationEncoding), [ops](Op) and [kernels](KernelProvider) to a host. It is a crate of type
//! `cdylib` with one dependency, this one; its library is dropped into a directory that the host looks into. The interface
//! between the two is stable: a plugin built with any 1.x of this crate, by any compiler, loads into any 1.x host.
//!
//! # A whole plugin
//!
//! An encoding of 4 bits a value, and an op other than matmul that decodes it:
//!
//! ```
//! use bitquilt_plugin_api::{
//!     EncodingSpec, Error, InferContext, Kernel, Op, OpSignature, OutputType, Plugin, QuantizationEncoding, Result, Rows,
//!     RunContext, Scratch, Shapes, TensorType, export_plugin,
//! };
//!
//! /// Blocks of 32 values: a scale as f32, then 16 bytes of two values each, offset by 8.
//! struct Int4;
//!
//! impl QuantizationEncoding for Int4 {
//!     fn spec(&self) -> EncodingSpec {
//!         EncodingSpec::new("acme.int4", 32, 20).summary("4-bit integers with a scale for each 32")
//!     }
//!
//!     fn quantize(&self, rows: Rows<'_>, _importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
//!         for (values, block) in rows.values().chunks_exact(32).zip(dst.chunks_exact_mut(20)) {
//!             let scale = values.iter().fold(0f32, |max, value| max.max(value.abs())) / 7.0;
//!             let code = |value: f32| if scale == 0.0 { 8 } else { ((value / scale).round() as i8 + 8) as u8 };
//!             block[..4].copy_from_slice(&scale.to_le_bytes());
//!             for (byte, pair) in block[4..].iter_mut().zip(values.chunks_exact(2)) {
//!                 *byte = code(pair[0]) | code(pair[1]) << 4;
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
//!         for (block, values) in blocks.chunks_exact(20).zip(dst.chunks_exact_mut(32)) {
//!             let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
//!             for (byte, pair) in block[4..].iter().zip(values.chunks_exact_mut(2)) {
//!                 pair[0] = (f32::from(byte & 15) - 8.0) * scale;
//!                 pair[1] = (f32::from(byte >> 4) - 8.0) * scale;
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! /// `acme.row_norms(w)`: the Euclidean length of each row of an encoded matrix, f32 `[rows]`.
//! struct RowNorms;
//!
//! impl Op for RowNorms {
//!     fn signature(&self) -> OpSignature {
//!         OpSignature::new("acme.row_norms").encoded("w").summary("the length of each row")
//!     }
//!
//!     fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
//!         match &cx.inputs()[0].shape[..] {
//!             [rows, _] => Ok(vec![TensorType::f32([rows]).into()]),
//!             _ => Err(Error::invalid(format_args!("`w` is {}; a matrix is expected", cx.inputs()[0]))),
//!         }
//!     }
//! }
//!
//! impl Kernel for RowNorms {
//!     fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
//!         Scratch { shared: 0, per_worker: shapes.inputs[0][1] * size_of::<f32>() }
//!     }
//!
//!     fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
//!         let (w, decoder, norms) = (cx.input(0)?, cx.decoder(0)?, cx.output(0)?.into_values::<f32>()?);
//!         let row_bytes = w.bytes().len() / norms.len().max(1);
//!         cx.executor().try_par_chunks_mut(norms, 1, cx.worker_scratch(), |row, norm, scratch| {
//!             let values: &mut [f32] = bitquilt_plugin_api::bytemuck::cast_slice_mut(scratch);
//!             decoder.dequantize(&w.bytes()[row * row_bytes..][..row_bytes], values)?;
//!             norm[0] = values.iter().map(|value| value * value).sum::<f32>().sqrt();
//!             Ok(())
//!         })
//!     }
//! }
//!
//! pub fn plugin() -> Plugin {
//!     Plugin::new("acme-int4", env!("CARGO_PKG_VERSION")).encoding(Int4).simple_op(RowNorms)
//! }
//!
//! export_plugin!(plugin);
//! # fn main() {
//! #     bitquilt_plugin_kit::assert_conforms(plugin());
//! # }
//! ```
//!
//! # What to read
//!
//! [`QuantizationEncoding`], [`Op`], [`KernelProvider`] and [`Kernel`] say what the host promises and what it asks for. A kernel
//! for an encoding of another plugin is a [`KernelProvider`] whose key names that op and encoding. A panic in any of these
//! functions, in a parallel task or in a destructor becomes an error of the call; a segfault or an endless loop does not.
//!
//! # The contract of every call
//!
//! - **Threads.** `[load-thread]` functions are called while a plugin or a graph is loaded, one call at a time; `[any-thread]` functions at
//!   any time, from several threads at once. A plugin starts no threads: it takes the host's from its context, as an [`Executor`].
//! - **Lifetimes.** What a context gives lives as long as the call, [`PreparedMemory`] until it is dropped. What an author makes (encodings,
//!   ops, providers, kernels, transforms) lives as long as the host keeps it, and is dropped by the author's own code, on any thread.
//! - **Memory.** Outputs, states, scratch, results of transforms and prepared memory begin at a multiple of 64 bytes, dense inputs at one of
//!   their dtype's size, encoded inputs anywhere. All of it is contiguous, row-major, and the host's: who lends frees.
//! - **Order.** The effects of one group happen in the order in which their nodes were added to the graph; see [`OpSignature::effect`].
//! - **Answers.** `signature`, `spec` and `key` are asked for once; `infer`, `scratch`, `serves`, `bytes` and `unit` give the same answer for
//!   the same question each time.
//!
//! Floating-point control is the host's at every border. Each of these functions, each parallel task and each destructor, on
//! whichever thread, begins in the default control: results are rounded to nearest, the smallest numbers are kept, nothing is
//! trapped. Code that needs another sets it and puts back what it found; what is left behind, also by a constructor of the library
//! (`-ffast-math` links one), is undone, and is a fault that the conformance kit names.
//!
//! What may change between versions of the interface, and what never does, is in `ABI.md` beside this crate's manifest.
//!
//! [`mod@host`] is for those who write a host. The crate `bitquilt-plugin-kit`, beside this one, is for the tests of a plugin: a
//! conformance kit, which checks in one line all that a host relies on, and a small host to test what a plugin computes, both without
//! a file.

mod abi;
mod attributes;
mod context;
mod control;
pub mod dim;
mod encoding;
mod error;
mod executor;
mod float8;
mod guard;
pub mod host;
mod kernel;
mod name;
mod op;
mod plugin;
mod prepared;
mod services;
mod signature;
mod staged;
mod tensor;
pub mod text;
mod tile;
mod unpacking;

#[doc(hidden)]
pub use abi::export;
pub use attributes::{Attribute, AttributeKind, Attributes};
pub use bytemuck;
pub use context::{InferContext, NodeView, PrepareContext, RunContext};
pub use dim::{Bindings, Dim, dim};
pub use encoding::{Encoding, EncodingSpec, ErrorBound, Importance, QuantizationEncoding, Rows};
pub use error::{Error, ErrorKind, Result};
pub use executor::Executor;
pub use float8::{F8E4M3, F8E5M2};
pub use half;
pub use host::{EncodingHandle, KernelProviderHandle, OpHandle};
pub use kernel::{
    InputTransform, Kernel, KernelKey, KernelProvider, Prepared, PreparedTransform, RowPart, Scratch,
    Selector, Shapes, Support,
};
pub use name::{MAX_NAME, name_problem};
pub use op::{
    Arity, AttributeSpec, ContractedAxis, Contraction, InputKind, InputSpec, Op, OpSignature, OutputType,
    Split,
};
pub use plugin::{IntoPlugin, Plugin};
pub use prepared::{Next, PreparedMemory};
pub use signature::SignatureError;
pub use tensor::{
    DType, Element, ElementView, Scalar, ShapeDisplay, TensorType, TensorView, TensorViewMut, WorkerScratch,
};
pub use tile::{Tile, Tiles};
pub use unpacking::{Unpacked, Unpacking};
