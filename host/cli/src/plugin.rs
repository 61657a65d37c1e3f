//! `bitquilt plugin`

use std::path::{Path, PathBuf};

use bitquilt::plugin::{Entry, Registry, inspect};
use bitquilt::plugin_api::{Importance, Selector};
use clap::Subcommand;
use miette::{IntoDiagnostic, miette};
use serde_json::json;

use crate::session::SessionArguments;

/// Shows the plugins.
#[derive(Subcommand)]
pub enum PluginCommand {
    /// Lists the plugins that are loaded, what each registers, and the files that were refused.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the directories that plugins are looked for in, in order.
    Paths,
    /// Shows what a file is without running any of its code: format, machine, entry symbol, plugin-api version, dependencies.
    Inspect {
        /// The library.
        file: PathBuf,
    },
}

impl PluginCommand {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        match self {
            Self::List { json } => list(session, *json),
            Self::Paths => paths(session),
            Self::Inspect { file } => inspect_file(file),
        }
    }
}

fn inspect_file(file: &Path) -> miette::Result<()> {
    let report = inspect(file).map_err(|error| miette!("{}: {error}", file.display()))?;
    println!("file        {}", report.resolved.display());
    println!("size        {} bytes", report.identity.size);
    println!("format      {} for {}", report.format, report.architecture);
    let entry = match report.entry {
        Some(Entry::Rust) => "a plugin, by `export_plugin!`",
        Some(Entry::C) => "a plugin in C",
        None => "none: no plugin",
    };
    println!("entry       {entry}");
    println!("plugin-api  {}", report.api_version.as_deref().unwrap_or("unknown"));
    println!("needs       {}", report.needed.join(", "));
    println!(
        "verdict     {}",
        report.refusal.map_or_else(|| "may be loaded".to_owned(), |why| format!("refused: {why}"))
    );
    Ok(())
}

fn paths(session: &SessionArguments) -> miette::Result<()> {
    let path = session.search_path();
    for directory in &path.directories {
        let missing = if directory.path.is_dir() { "" } else { ", does not exist" };
        println!("{} ({}{missing})", directory.path.display(), directory.origin);
    }
    for note in &path.notes {
        tracing::warn!("{note}");
    }
    Ok(())
}

fn list(session: &SessionArguments, as_json: bool) -> miette::Result<()> {
    let session = session.build()?;
    let registry = session.registry();
    if as_json {
        let plugins: Vec<_> = registry.plugins().map(|plugin| plugin_json(registry, &plugin.name)).collect();
        let refused: Vec<_> = session
            .refusals()
            .iter()
            .map(|refusal| json!({"file": refusal.path, "reason": refusal.reason.to_string()}))
            .collect();
        let all = json!({"plugins": plugins, "refused": refused});
        println!("{}", serde_json::to_string_pretty(&all).into_diagnostic()?);
        return Ok(());
    }
    for plugin in registry.plugins() {
        println!("{plugin} ({})", plugin.origin);
        for encoding in registry.encodings().filter(|encoding| encoding.plugin().name == plugin.name) {
            let spec = encoding.spec();
            let (bits, name) = (spec.bits_per_value(), &spec.name);
            println!(
                "  encoding {name:12} {bits:6.3} bits a value, {} values in {} bytes",
                spec.block_len, spec.block_bytes
            );
        }
        for op in registry.ops().filter(|op| op.plugin().name == plugin.name) {
            println!("  op       {:12} {}", op.signature().name, op.signature().summary);
        }
        for kernel in registry.all_kernels().filter(|kernel| kernel.plugin().name == plugin.name) {
            let key = kernel.key();
            println!("  kernel   {:12} {} for {}", key.op, key.name, selector(&key.selector));
        }
    }
    for refusal in session.refusals() {
        println!("refused: {refusal}");
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

fn plugin_json(registry: &Registry, name: &str) -> serde_json::Value {
    let plugin = registry.plugins().find(|plugin| plugin.name == name);
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
        "version": plugin.map(|plugin| plugin.version.clone()),
        "origin": plugin.map(|plugin| plugin.origin.to_string()),
        "encodings": encodings.collect::<Vec<_>>(),
        "ops": ops.map(|op| op.signature().name.clone()).collect::<Vec<_>>(),
        "kernels": kernels.collect::<Vec<_>>(),
    })
}
