//! Where a plugin registers what it has, as a vtable.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::RString;

use super::author::REPLACES;
use super::handle::{EncodingHandle, KernelProviderHandle, OpHandle};
use super::traits::*;
use crate::staged::RegistrarHost;
use crate::text::Passage;

/// The host's side of [`AbiRegistrar`].
pub(crate) struct RegistrarAdapter<'a>(pub(crate) &'a dyn RegistrarHost);

impl RegistrarAdapter<'_> {
    pub(crate) fn lend(&self) -> AbiRegistrarLent<'_> {
        AbiRegistrarLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl AbiRegistrar for RegistrarAdapter<'_> {
    fn plugin(&self, name: RString, version: RString) {
        self.0.plugin(name.into(), Passage::of_bytes(version.as_bytes()));
    }
    fn encoding(&self, encoding: AbiEncodingBox, flags: u64) {
        self.0.encoding(EncodingHandle::new(encoding), flags & REPLACES != 0);
    }
    fn op(&self, op: AbiOpBox, flags: u64) {
        self.0.op(OpHandle::new(op), flags & REPLACES != 0);
    }
    fn kernel(&self, provider: AbiProviderBox, flags: u64) {
        self.0.kernel(KernelProviderHandle::new(provider), flags & REPLACES != 0);
    }
}
