//! A plugin's library, and a program's own plugin, as the host registers them.

use std::ffi::c_void;

use abi_stable::library::{AbiHeaderRef, LibHeader};
use abi_stable::sabi_types::VersionNumber;
use abi_stable::std_types::RResult;

use super::author::register_all;
use super::layout::{self, Mismatch};
use super::module::PluginModuleRef;
use super::registrar::RegistrarAdapter;
use crate::control::in_default_control;
use crate::plugin::Plugin;
use crate::staged::RegistrarHost;
use crate::{Error, Result};

/// Registers a plugin of the program's own, through the same vtables as a library's.
pub fn register(plugin: Plugin, registrar: &dyn RegistrarHost) -> Result<()> {
    in_default_control("registering", || register_all(plugin, RegistrarAdapter(registrar).lend()))
}

/// The symbol a plugin's library exports.
pub const ENTRY_SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// Bytes of what stands there.
pub const ENTRY_SYMBOL_LEN: usize = size_of::<LibHeader>();

/// The symbol of the version that a library was built with: text of at most 32 bytes, ended by a zero.
pub const API_VERSION_SYMBOL: &str = "bitquilt_plugin_api_version";

/// The version of the plugin interface.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a library is no plugin for this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// What stands at the entry symbol is no plugin's header.
    #[error(
        "the symbol `{ENTRY_SYMBOL}` is no plugin header: {reason}; build the library with `export_plugin!`"
    )]
    Header {
        /// What is wrong with it.
        reason: String,
    },
    /// The library was built with another major version of the interface.
    #[error("it was built with plugin-api {found}, this host takes {expected}; rebuild it with plugin-api {}.x", major(.expected))]
    Version {
        /// The host's.
        expected: String,
        /// The plugin's.
        found: String,
    },
    /// A type of the interface is laid out differently.
    #[error(
        "its interface is laid out differently from this host's ({summary}); rebuild it with plugin-api {API_VERSION}"
    )]
    Layout {
        /// Where, in a line.
        summary: String,
        /// All that abi_stable says, in both directions.
        report: String,
    },
    /// The library was built with `panic = "abort"`.
    #[error(
        "it was built with `panic = \"abort\"`, so a panic in it would end the program; rebuild it with `panic = \"unwind\"`"
    )]
    PanicAborts,
    /// The library's own constructor failed.
    #[error("its root module could not be made: {reason}")]
    Constructor {
        /// What it said.
        reason: String,
    },
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// A library that passed every check, and has not registered yet.
pub struct PluginLibrary {
    module: PluginModuleRef,
    api_version: String,
}

impl PluginLibrary {
    /// Checks what stands at a library's [`ENTRY_SYMBOL`]: magic, abi_stable's version, the interface's version, its layout in
    /// both directions, and whether its panics can be caught. Runs none of the plugin's own code but the root module's constructor.
    ///
    /// # Safety
    /// `symbol` must be the address of that symbol in a library that stays loaded until the process ends.
    pub unsafe fn from_symbol(symbol: *const c_void) -> Result<Self, LibraryError> {
        // SAFETY: as the caller promises.
        in_default_control("the root module's constructor", || unsafe { Self::read(symbol) })
    }

    /// # Safety
    /// As for [`Self::from_symbol`].
    unsafe fn read(symbol: *const c_void) -> Result<Self, LibraryError> {
        let header =
            |error: &dyn std::fmt::Display| LibraryError::Header { reason: first_line(&error.to_string()) };
        if symbol.is_null() || !symbol.cast::<LibHeader>().is_aligned() {
            return Err(header(&"its address is null or misaligned"));
        }
        // SAFETY: the symbol is readable; `AbiHeaderRef` is a pointer to the part that every version of abi_stable starts with.
        let abi: AbiHeaderRef = unsafe { std::mem::transmute(symbol) };
        if !abi.is_valid() {
            return Err(header(&"it lacks abi_stable's magic, or is of another abi_stable"));
        }
        let library: &'static LibHeader = abi.upgrade().map_err(|error| header(&error))?;
        let version = |strings: abi_stable::sabi_types::VersionStrings| {
            VersionNumber::new(strings).map_err(|error| header(&error))
        };
        let found = version(library.version_strings())?;
        let expected = version(<PluginModuleRef as abi_stable::library::RootModule>::VERSION_STRINGS)?;
        if found.major != expected.major {
            return Err(LibraryError::Version { expected: expected.to_string(), found: found.to_string() });
        }
        let Some(layout) = library.layout() else {
            let summary = "it does not say how".to_owned();
            return Err(LibraryError::Layout { summary, report: String::new() });
        };
        layout::check(layout)
            .map_err(|Mismatch { summary, report }| LibraryError::Layout { summary, report })?;
        // SAFETY: the layout was checked, in either direction: what one side lacks are methods at the end of a vtable or fields
        // at the end of the root module, which have defaults.
        let module = unsafe { library.unchecked_layout::<PluginModuleRef>() }
            .map_err(|error| LibraryError::Constructor { reason: first_line(&error.to_string()) })?;
        if !module.panic_unwinds() {
            return Err(LibraryError::PanicAborts);
        }
        Ok(Self { module, api_version: found.to_string() })
    }

    /// The version of plugin-api it was built with.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Runs the plugin's constructor and registers all that it has.
    pub fn register(&self, registrar: &dyn RegistrarHost) -> Result<()> {
        let register = self.module.register();
        match in_default_control("registering", || register(RegistrarAdapter(registrar).lend())) {
            RResult::ROk(()) => Ok(()),
            RResult::RErr(error) => Err(Error::from(error)),
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().take(200).collect()
}
