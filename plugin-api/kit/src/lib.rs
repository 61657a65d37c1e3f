//! The conformance kit of plugins, and a host of a few lines for the tests of encodings, ops and kernels.
//!
//! [`assert_conforms`] tests all that a host relies on in a plugin, in one line; [`conformance`] says what that is. [`TestHost`] is
//! for the tests of what a plugin computes.
//!
//! It calls a plugin through the same vtables as the real host and keeps to its contract: defaults of attributes are filled in,
//! providers are asked in order, released constants are gone, transforms run first, and outputs and scratch hold garbage before
//! the kernel runs. It knows no graphs.
//!
//! ```
//! # use bitquilt_plugin_api::{
//! #     InferContext, Kernel, Op, OpSignature, OutputType, Plugin, Result, RunContext,
//! # };
//! # use bitquilt_plugin_kit::{TestHost, TestTensor};
//! # struct Negate;
//! # impl Op for Negate {
//! #     fn signature(&self) -> OpSignature {
//! #         OpSignature::new("negate").dense("x")
//! #     }
//! #     fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
//! #         Ok(vec![cx.inputs()[0].clone().into()])
//! #     }
//! # }
//! # impl Kernel for Negate {
//! #     fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
//! #         let x = cx.input(0)?.values::<f32>()?;
//! #         cx.output(0)?.into_values::<f32>()?.iter_mut().zip(x).for_each(|(y, x)| *y = -x);
//! #         Ok(())
//! #     }
//! # }
//! # fn main() -> Result<()> {
//! let host = TestHost::new([Plugin::new("example", "1.0.0").simple_op(Negate)])?;
//! let x = TestTensor::new(&[3], &[1f32, 2.0, 3.0])?;
//! let outputs = host.call("negate").input(&x).threads(2).run()?;
//! assert_eq!(outputs[0].values::<f32>()?, [-1.0, -2.0, -3.0]);
//! # Ok(())
//! # }
//! ```

mod call;
pub mod conformance;
mod host;
mod memory;
mod run;
mod tensor;
mod threads;

pub use call::Call;
pub use conformance::{Conformance, assert_conforms};
pub use host::TestHost;
pub use tensor::TestTensor;
pub use threads::TestThreads;
