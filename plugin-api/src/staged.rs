//! A plugin's items on their way into a host.

use std::cell::RefCell;

use crate::abi::handle::{EncodingHandle, KernelProviderHandle, OpHandle};

/// Where a plugin registers what it has. The host stages it, and commits all or nothing.
pub trait RegistrarHost {
    /// The plugin's name and version. Called first.
    fn plugin(&self, name: String, version: String);
    /// An encoding, and whether it may replace one of the same name.
    fn encoding(&self, encoding: EncodingHandle, replaces: bool);
    /// An op, and whether it may replace one of the same name.
    fn op(&self, op: OpHandle, replaces: bool);
    /// A kernel provider, and whether it may replace one of the same key.
    fn kernel(&self, provider: KernelProviderHandle, replaces: bool);
}

/// What one plugin registers, until a host commits all of it or nothing.
#[derive(Default)]
pub struct Staged(RefCell<Registration>);

/// All that a plugin registered. What stands beside an item says whether it may replace one of its name or key.
#[derive(Default)]
pub struct Registration {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// Its encodings.
    pub encodings: Vec<(EncodingHandle, bool)>,
    /// Its ops.
    pub ops: Vec<(OpHandle, bool)>,
    /// Its kernel providers.
    pub kernels: Vec<(KernelProviderHandle, bool)>,
}

impl Staged {
    /// What was registered.
    pub fn into_registration(self) -> Registration {
        self.0.into_inner()
    }
}

impl RegistrarHost for Staged {
    fn plugin(&self, name: String, version: String) {
        let mut items = self.0.borrow_mut();
        (items.name, items.version) = (name, version);
    }
    fn encoding(&self, encoding: EncodingHandle, replaces: bool) {
        self.0.borrow_mut().encodings.push((encoding, replaces));
    }
    fn op(&self, op: OpHandle, replaces: bool) {
        self.0.borrow_mut().ops.push((op, replaces));
    }
    fn kernel(&self, provider: KernelProviderHandle, replaces: bool) {
        self.0.borrow_mut().kernels.push((provider, replaces));
    }
}
