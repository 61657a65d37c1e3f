//! The root module: what a shared library exports.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;

use super::traits::AbiRegistrarLent;
use super::types::AbiResult;

/// What a plugin's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// Whether the library was built so that its panics can be caught; others are refused before they run.
    pub(crate) panic_unwinds: bool,
    /// Registers all that the plugin has. `[load-thread]`
    #[sabi(last_prefix_field)]
    pub(crate) register: extern "C" fn(AbiRegistrarLent<'_>) -> AbiResult<()>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "bitquilt_plugin";
    const NAME: &'static str = "bitquilt_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
