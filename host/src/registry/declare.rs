//! Declared encodings on their way into the registry.

use std::sync::Arc;

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::Plugin;

use super::{Origin, PluginInfo, Registry, RegistryError, Staged};

impl Registry {
    /// Adds a declared encoding, whose plugin has its name; one that is registered with the same declaration stays, and its plugin is
    /// answered.
    pub fn declare(
        &mut self,
        declaration: Declaration,
        origin: Origin,
    ) -> Result<Arc<PluginInfo>, RegistryError> {
        let name = declaration.name().to_owned();
        if let Some(known) = self.encoding(&name) {
            let plugin = Arc::clone(known.plugin());
            return match known.spec().layout.as_deref() == Some(&*declaration.to_text()) {
                true => Ok(plugin),
                false => Err(RegistryError::OtherDeclaration { name, origin, first: (*plugin).clone() }),
            };
        }
        let plugin = Plugin::new(&name, declaration.version().to_string());
        let staged = Staged::default();
        bitquilt_plugin_api::host::register(plugin.encoding(DeclaredEncoding::new(declaration)), &staged)
            .map_err(RegistryError::Failed)?;
        self.commit(staged, origin)
    }
}
