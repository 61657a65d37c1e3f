//! A host of a few lines.

use bitquilt_plugin_api::host::{
    EncodingHandle, KernelProviderHandle, OpHandle, RegistrarHost, Registration, Staged, register,
};
use bitquilt_plugin_api::{Error, KernelKey, OpSignature, Plugin, Result, Rows};

use crate::TestTensor;

/// What some plugins registered.
#[derive(Default)]
pub struct TestHost {
    pub(crate) encodings: Vec<EncodingHandle>,
    pub(crate) ops: Vec<(OpSignature, OpHandle)>,
    pub(crate) kernels: Vec<(KernelKey, KernelProviderHandle)>,
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
        let Registration { encodings, ops, kernels, .. } = staged.into_registration();
        self.encodings.extend(encodings.into_iter().map(|(encoding, _)| encoding));
        for (op, _) in ops {
            self.ops.push((op.signature()?, op));
        }
        for (kernel, _) in kernels {
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

    pub(crate) fn find_encoding(&self, name: &str) -> Option<&EncodingHandle> {
        self.encodings.iter().find(|handle| handle.spec().name == name)
    }

    pub(crate) fn op(&self, name: &str) -> Result<(&OpSignature, &OpHandle)> {
        let found = self.ops.iter().find(|(signature, _)| signature.name == name);
        found
            .map(|(signature, op)| (signature, op))
            .ok_or_else(|| Error::invalid(format_args!("no op `{name}` is registered")))
    }
}
