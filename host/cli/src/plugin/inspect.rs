//! `bitquilt plugin inspect`

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use bitquilt::plugin::{Entry, FileReport, Loader, inspect};

use bitquilt::registry::{PluginInfo, Registry};
use clap::Args;
use miette::miette;
use serde_json::{Value, json};

use super::list::{plugin_json, print_items};
use crate::output::{print_json, print_line};
use crate::session::SessionArguments;

/// Which file, and how much of it.
#[derive(Args)]
pub struct InspectArguments {
    /// The library.
    file: PathBuf,
    /// Loads it, too, and shows what it registers; in a child process first, unless --no-probe is given.
    #[arg(long)]
    load: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl InspectArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let report = inspect(&self.file).map_err(|error| miette!("{}: {error}", self.file.display()))?;
        let mut registry = Registry::default();
        let mut loader = Loader::new(&mut registry);
        if let Some(probe) = session.probe()? {
            loader = loader.probe(probe);
        }
        let loaded = self.load.then(|| loader.file(&self.file));
        drop(loader);
        let plugin = loaded.as_ref().and_then(|loaded| loaded.as_deref().ok());
        if self.json {
            let all = report_json(&report, plugin.map(|plugin| plugin_json(&registry, plugin)));
            print_json(&all)?;
        } else {
            print(&report)?;
            if let Some(plugin) = plugin {
                print_loaded(&registry, plugin)?;
            }
        }
        match loaded {
            Some(Err(refusal)) => Err(miette!("{refusal}")),
            _ => Ok(()),
        }
    }
}

fn print_loaded(registry: &Registry, plugin: &PluginInfo) -> miette::Result<()> {
    print_line(format_args!("plugin      {plugin}"))?;
    print_items(registry, plugin)
}

fn print(report: &FileReport) -> miette::Result<()> {
    print_line(format_args!("file        {}", report.resolved.display()))?;
    print_line(format_args!("size        {} bytes", report.identity.size))?;
    let machine = if report.architecture.is_empty() { "an unknown machine" } else { &report.architecture };
    print_line(format_args!("format      {} for {machine}", report.format))?;
    let entry = match report.entry {
        Some(Entry::Rust) => "a plugin, by `export_plugin!`",
        Some(Entry::C) => "a plugin in C, by `bitquilt.h`",
        None => "none: no plugin",
    };
    print_line(format_args!("entry       {entry}"))?;
    print_line(format_args!("plugin-api  {}", report.api_version.as_deref().unwrap_or("unknown")))?;
    let needs = if report.needed.is_empty() { "nothing".to_owned() } else { report.needed.join(", ") };
    print_line(format_args!("needs       {needs}"))?;
    let verdict = report.refusal.as_ref().map(|why| format!("refused: {why}"));
    print_line(format_args!("verdict     {}", verdict.as_deref().unwrap_or("may be loaded")))
}

fn report_json(report: &FileReport, plugin: Option<Value>) -> Value {
    let modified = report.identity.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "file": report.resolved.display().to_string(),
        "size": report.identity.size,
        "modified": modified.as_secs_f64(),
        "inode": report.identity.inode,
        "format": report.format,
        "architecture": report.architecture,
        "entry": report.entry.map(|entry| entry.to_string()),
        "plugin_api": report.api_version,
        "needs": report.needed,
        "refused": report.refusal.as_ref().map(ToString::to_string),
        "plugin": plugin,
    })
}
