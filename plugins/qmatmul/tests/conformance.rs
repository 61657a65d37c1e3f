//! What a host relies on, with GGML's encodings beside the ops.

use bitquilt_plugin_kit::Conformance;

#[test]
fn every_promise_to_a_host_is_kept() -> bitquilt_plugin_api::Result<()> {
    Conformance::of(bitquilt_qmatmul::plugin())?.beside(bitquilt_ggml::plugin())?.assert();
    Ok(())
}
