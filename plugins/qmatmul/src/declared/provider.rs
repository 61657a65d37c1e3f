//! The provider of `qmatmul` for every encoding that is declared.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bitquilt_declared::Declaration;
use bitquilt_kernels::Isa;
use bitquilt_kernels::{EncodingKernels, Provider, QMATMUL, priority};
use bitquilt_plugin_api::{
    Error, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared, Result, Selector, Support,
};

/// Serves every encoding whose spec has a layout, on one instruction set.
pub struct DeclaredProvider(Isa);

impl DeclaredProvider {
    /// One for each instruction set.
    pub fn all() -> impl Iterator<Item = Self> {
        Isa::ALL.into_iter().map(Self)
    }

    /// The kernels for the weight of a node; or why there are none.
    fn provider(&self, node: &NodeView<'_>) -> std::result::Result<Provider, String> {
        let weight = node.inputs().get(1).and_then(|weight| weight.encoding());
        let name = weight.ok_or("the weight is not encoded")?;
        let spec = node.encoding(name).map_err(|error| error.to_string())?;
        let layout = spec.layout.as_deref().ok_or_else(|| format!("{name} has no declared layout"))?;
        let kernels = kernels(layout)?;
        match kernels.serving(self.0) == self.0 {
            true => Ok(Provider::new(kernels, self.0)),
            false => Err(format!("{} serves it", kernels.serving(self.0))),
        }
    }
}

/// The kernels for a layout, which are made once.
fn kernels(layout: &str) -> std::result::Result<EncodingKernels, String> {
    static MADE: LazyLock<Mutex<BTreeMap<String, std::result::Result<EncodingKernels, String>>>> =
        LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kernels) = made.get(layout) {
        return kernels.clone();
    }
    let declaration =
        Declaration::parse(layout).map_err(|error| format!("its layout cannot be read: {error}"));
    let kernels = declaration.map(|declaration| super::declared(&declaration));
    made.insert(layout.to_owned(), kernels.clone());
    kernels
}

impl KernelProvider for DeclaredProvider {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::AnyEncoding, self.0.name()).priority(priority(self.0))
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        match self.provider(node) {
            Ok(provider) => provider.supports(node),
            Err(reason) => Support::No(reason),
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        self.provider(cx).map_err(Error::failed)?.prepare(cx)
    }
}
