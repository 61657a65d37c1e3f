//! The provider of `qmatmul` for every encoding that says of itself what its blocks are made of: by a layout, or by a function that
//! unpacks them.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bitquilt_declared::Declaration;
use bitquilt_kernels::Isa;
use bitquilt_kernels::{EncodingKernels, Provider, QMATMUL, priority, supports};
use bitquilt_plugin_api::{
    EncodingSpec, Error, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared, Result, Selector,
    Support,
};

use crate::declared::declared;
use crate::unpacked::Strips;

/// Serves every encoding whose spec has a layout or an unpacking, on one instruction set.
pub struct DescribedProvider(Isa);

/// The kernels for a weight.
struct Road {
    kernels: EncodingKernels,
    /// What they take, where they are for what the encoding unpacks to; none where they take its own blocks, by their layout.
    strips: Option<Strips>,
}

impl Road {
    /// That of an encoding; or why there is none. A layout goes first, if it can be read.
    fn of(spec: &EncodingSpec) -> std::result::Result<Self, String> {
        let layout = spec.layout.as_deref().map(kernels);
        match (layout, spec.unpacking) {
            (Some(Ok(kernels)), _) => Ok(Self { kernels, strips: None }),
            (_, Some(unpacking)) => {
                let strips = Strips::of(spec, unpacking)?;
                let kernels = kernels(&strips.layout().to_text())?.noted(strips.to_string());
                Ok(Self { kernels, strips: Some(strips) })
            }
            (Some(Err(reason)), None) => Err(reason),
            (None, None) => Err(format!("{} has neither a declared layout nor an unpacking", spec.name)),
        }
    }
}

impl DescribedProvider {
    /// One for each instruction set.
    pub fn all() -> impl Iterator<Item = Self> {
        Isa::ALL.into_iter().map(Self)
    }

    /// The road of the weight of a node; or why this is not the provider for it.
    fn road(&self, node: &NodeView<'_>) -> std::result::Result<Road, String> {
        let weight = node.inputs().get(1).and_then(|weight| weight.encoding());
        let name = weight.ok_or("the weight is not encoded")?;
        let road = Road::of(&node.encoding(name).map_err(|error| error.to_string())?)?;
        match road.kernels.serving(self.0) {
            isa if isa == self.0 => Ok(road),
            isa => Err(format!("{isa} serves it")),
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
    let kernels = declaration.map(|declaration| declared(&declaration));
    made.insert(layout.to_owned(), kernels.clone());
    kernels
}

impl KernelProvider for DescribedProvider {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::AnyEncoding, self.0.name()).priority(priority(self.0))
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        match self.road(node) {
            Ok(Road { kernels, strips: None }) => Provider::new(kernels, self.0).supports(node),
            Ok(Road { kernels, .. }) => supports(node, &kernels, self.0),
            Err(reason) => Support::No(reason),
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let Road { kernels, strips } = self.road(cx).map_err(Error::failed)?;
        match strips {
            None => Provider::new(kernels, self.0).prepare(cx),
            Some(strips) => strips.prepare(cx, &kernels, self.0),
        }
    }
}
