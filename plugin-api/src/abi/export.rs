//! `export_plugin!`, the one thing a shared library adds to a plugin.

use abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, ROOT_MODULE_LOADER_NAME, RootModuleResult,
};
use abi_stable::prefix_type::PrefixTypeTrait;

use super::author;
use super::library::{API_VERSION, API_VERSION_SYMBOL};
use super::module::{PluginModule, PluginModuleRef};
use super::traits::AbiRegistrarLent;
use super::types::AbiResult;
use crate::plugin::IntoPlugin;

/// Exports the plugin that a function makes, from a library of crate type `cdylib`.
///
/// The function is a path of type `fn() -> Plugin` or `fn() -> Result<Plugin>`. One library exports one plugin; in a crate that
/// is linked into a program the macro has no place, since two exports in one binary do not link.
///
/// ```
/// use bitquilt_plugin_api::{Plugin, export_plugin};
///
/// pub fn plugin() -> Plugin {
///     Plugin::new("acme-nothing", env!("CARGO_PKG_VERSION"))
/// }
///
/// export_plugin!(plugin);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($make:path) => {
        const _: () = {
            struct Export;
            impl $crate::export::Export for Export {
                fn make() -> $crate::Result<$crate::Plugin> {
                    $crate::export::make($make)
                }
            }
            /// The plugin's header, which a host looks up by its name.
            // SAFETY: the name is abi_stable's own, which no other item of a library has unless it exports two plugins.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static HEADER: $crate::export::Header = $crate::export::header::<Export>();
            /// The version of the interface, which a host reads in the file.
            // SAFETY: the name is this crate's own.
            #[unsafe(export_name = "bitquilt_plugin_api_version")]
            pub static API_VERSION: [u8; 32] = $crate::export::api_version();
        };
    };
}

/// What the macro implements.
pub trait Export {
    /// Makes the plugin.
    fn make() -> crate::Result<crate::Plugin>;
}

/// The static's type.
pub type Header = LibHeader;

/// Calls the function that the macro was given.
pub fn make<P: IntoPlugin>(function: fn() -> P) -> crate::Result<crate::Plugin> {
    function().into_plugin()
}

/// The value of the header static.
pub const fn header<E: Export>() -> Header {
    assert!(same(ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader"));
    // SAFETY: the constructor answers a `PluginModuleRef`, erased by abi_stable's own function.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(construct::<E>, CheckTypeLayout::Yes) }
}

extern "C" fn construct<E: Export>() -> RootModuleResult {
    __call_root_module_loader(module::<E>)
}

fn module<E: Export>() -> PluginModuleRef {
    PluginModule { panic_unwinds: cfg!(panic = "unwind"), register: register::<E> }.leak_into_prefix()
}

extern "C" fn register<E: Export>(registrar: AbiRegistrarLent<'_>) -> AbiResult<()> {
    author::register(registrar, E::make)
}

/// The value of the version static: the version's text, and zeros.
pub const fn api_version() -> [u8; 32] {
    assert!(same(API_VERSION_SYMBOL, "bitquilt_plugin_api_version"));
    let (text, mut bytes) = (API_VERSION.as_bytes(), [0; 32]);
    let mut index = 0;
    while index < text.len() {
        bytes[index] = text[index];
        index += 1;
    }
    bytes
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}
