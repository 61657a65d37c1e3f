//! A host of a few lines, for the tests of encodings, ops and kernels. Behind the feature `testing`.
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
//! #     InferContext, Kernel, Op, OpSignature, OutputType, Plugin, Result, RunContext, testing::{TestHost, TestTensor},
//! # };
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
mod memory;
mod run;
mod tensor;
mod threads;

use std::cell::RefCell;

pub use call::Call;
pub use conformance::{Conformance, assert_conforms};
pub use tensor::TestTensor;
pub use threads::TestThreads;

use crate::host::{EncodingHandle, KernelProviderHandle, OpHandle, RegistrarHost, register};
use crate::{Attributes, Error, KernelKey, OpSignature, OutputType, Plugin, Result, Rows, TensorType};

/// What some plugins registered.
#[derive(Default)]
pub struct TestHost {
    encodings: Vec<EncodingHandle>,
    ops: Vec<(OpSignature, OpHandle)>,
    kernels: Vec<(KernelKey, KernelProviderHandle)>,
}

impl TestHost {
    /// A host with these plugins.
    pub fn new(plugins: impl IntoIterator<Item = Plugin>) -> Result<Self> {
        let mut host = Self::default();
        for plugin in plugins {
            host.add(|registrar| register(plugin, registrar))?;
        }
        Ok(host)
    }

    /// Adds what `register` registers, a library's plugin for instance.
    pub fn add(&mut self, register: impl FnOnce(&dyn RegistrarHost) -> Result<()>) -> Result<()> {
        let staged = Staged::default();
        register(&staged)?;
        self.encodings.extend(staged.encodings.into_inner());
        for op in staged.ops.into_inner() {
            self.ops.push((op.signature()?, op));
        }
        for kernel in staged.kernels.into_inner() {
            self.kernels.push((kernel.key()?, kernel));
        }
        Ok(())
    }

    /// All encodings, in the order of their registration.
    pub fn encodings(&self) -> &[EncodingHandle] {
        &self.encodings
    }

    /// The encoding of this name.
    pub fn encoding(&self, name: &str) -> Result<&EncodingHandle> {
        self.find_encoding(name)
            .ok_or_else(|| Error::invalid(format_args!("no encoding `{name}` is registered")))
    }

    /// The values, encoded. `shape` counts values.
    pub fn quantize(&self, encoding: &str, shape: &[usize], values: &[f32]) -> Result<TestTensor> {
        let handle = self.encoding(encoding)?;
        let byte_shape = handle.spec().byte_shape(shape)?;
        let mut bytes = vec![0xA5; byte_shape.iter().product()];
        let row_len = shape.last().copied().unwrap_or_default();
        handle.encoding().quantize(Rows::new(values, row_len)?, None, &mut bytes)?;
        TestTensor::from_encoded(handle.spec(), shape, &bytes)
    }

    /// The decoded values of an encoded tensor.
    pub fn dequantize(&self, tensor: &TestTensor) -> Result<Vec<f32>> {
        let name = tensor.tensor_type().encoding().unwrap_or_default().to_owned();
        let mut values = vec![f32::NAN; tensor.shape().iter().product()];
        self.encoding(&name)?.encoding().dequantize(tensor.bytes(), &mut values)?;
        Ok(values)
    }

    /// The output types of an op; none of its inputs is a constant.
    pub fn infer(&self, op: &str, inputs: &[TensorType], attributes: &Attributes) -> Result<Vec<OutputType>> {
        call::infer(self, op, inputs, attributes)
    }

    /// A call of an op; give its inputs in order.
    pub fn call<'a>(&'a self, op: &str) -> Call<'a> {
        Call::new(self, op)
    }

    fn find_encoding(&self, name: &str) -> Option<&EncodingHandle> {
        self.encodings.iter().find(|handle| handle.spec().name == name)
    }

    fn op(&self, name: &str) -> Result<(&OpSignature, &OpHandle)> {
        let found = self.ops.iter().find(|(signature, _)| signature.name == name);
        found
            .map(|(signature, op)| (signature, op))
            .ok_or_else(|| Error::invalid(format_args!("no op `{name}` is registered")))
    }
}

#[derive(Default)]
struct Staged {
    encodings: RefCell<Vec<EncodingHandle>>,
    ops: RefCell<Vec<OpHandle>>,
    kernels: RefCell<Vec<KernelProviderHandle>>,
}

impl RegistrarHost for Staged {
    fn plugin(&self, _: String, _: String) {}
    fn encoding(&self, encoding: EncodingHandle, _: bool) {
        self.encodings.borrow_mut().push(encoding);
    }
    fn op(&self, op: OpHandle, _: bool) {
        self.ops.borrow_mut().push(op);
    }
    fn kernel(&self, provider: KernelProviderHandle, _: bool) {
        self.kernels.borrow_mut().push(provider);
    }
}
