//! The encodings of GGML as a shared library, for a host that was built without them.

bitquilt_plugin_api::export_plugin!(bitquilt_ggml::plugin);
