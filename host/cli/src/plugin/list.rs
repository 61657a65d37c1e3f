//! `bitquilt plugin list`, and what a registry holds of a plugin.

use bitquilt::plugin_api::{Importance, Selector};
use bitquilt::registry::{PluginInfo, Registry};
use serde_json::json;

use crate::output::{print_json, print_line};
use crate::session::SessionArguments;

/// Lists the plugins of a session, and the files that were refused.
pub fn list(session: &SessionArguments, as_json: bool) -> miette::Result<()> {
    let session = session.build()?;
    let registry = session.registry();
    if as_json {
        let plugins: Vec<_> = registry.plugins().map(|plugin| plugin_json(registry, plugin)).collect();
        let refused: Vec<_> = session
            .refusals()
            .iter()
            .map(|refusal| json!({"file": refusal.path.display().to_string(), "reason": refusal.reason.to_string()}))
            .collect();
        let all = json!({"plugins": plugins, "refused": refused});
        return print_json(&all);
    }
    for plugin in registry.plugins() {
        print_line(format_args!("{plugin} ({})", plugin.origin))?;
        print_items(registry, plugin)?;
    }
    for refusal in session.refusals() {
        print_line(format_args!("refused: {refusal}"))?;
    }
    Ok(())
}

/// Prints what a plugin registered, a line each.
pub fn print_items(registry: &Registry, plugin: &PluginInfo) -> miette::Result<()> {
    for encoding in registry.encodings().filter(|encoding| encoding.plugin().name == plugin.name) {
        let spec = encoding.spec();
        let (bits, name) = (spec.bits_per_value(), &spec.name);
        print_line(format_args!(
            "  encoding {name:12} {bits:6.3} bits a value, {} values in {} bytes",
            spec.block_len, spec.block_bytes
        ))?;
    }
    for op in registry.ops().filter(|op| op.plugin().name == plugin.name) {
        print_line(format_args!("  op       {:12} {}", op.signature().name, op.signature().summary))?;
    }
    for kernel in registry.all_kernels().filter(|kernel| kernel.plugin().name == plugin.name) {
        let key = kernel.key();
        print_line(format_args!("  kernel   {:12} {} for {}", key.op, key.name, selector(&key.selector)))?;
    }
    Ok(())
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::Dense => "dense inputs".to_owned(),
        Selector::Encoding(name) => name.clone(),
        _ => "any encoding".to_owned(),
    }
}

/// What a plugin registered.
pub fn plugin_json(registry: &Registry, plugin: &PluginInfo) -> serde_json::Value {
    let name = plugin.name.as_str();
    let encodings = registry.encodings().filter(|encoding| encoding.plugin().name == name).map(|encoding| {
        let spec = encoding.spec();
        json!({
            "name": spec.name, "version": spec.version, "block_len": spec.block_len, "block_bytes": spec.block_bytes,
            "bits_per_value": spec.bits_per_value(), "importance_required": spec.importance == Importance::Required,
        })
    });
    let ops = registry.ops().filter(|op| op.plugin().name == name);
    let kernels = registry.all_kernels().filter(|kernel| kernel.plugin().name == name).map(|kernel| {
        let key = kernel.key();
        json!({"op": key.op, "name": key.name, "inputs": selector(&key.selector), "priority": key.priority})
    });
    json!({
        "name": name,
        "version": plugin.version,
        "origin": plugin.origin.to_string(),
        "encodings": encodings.collect::<Vec<_>>(),
        "ops": ops.map(|op| op.signature().name.clone()).collect::<Vec<_>>(),
        "kernels": kernels.collect::<Vec<_>>(),
    })
}
