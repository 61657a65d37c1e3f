//! `bitquilt inspect`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bitquilt::checkpoint::metadata::{Metadata, Value};
use bitquilt::checkpoint::{Checkpoint, StoredTensor};
use bitquilt::text::{Brief, Passage};
use bitquilt::{Graph, GraphOutline, OutlineNode, OutlineOutput, OutlinePort};
use clap::Args;
use miette::IntoDiagnostic;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::json;

use crate::output::{print_json, print_with};
use crate::session::SessionArguments;

/// Shows what is in a checkpoint, a GGUF file or a saved graph, without running any of it.
///
/// Of a model in several files all are shown: FILE is any one of them, or their index. A tensor's type is its dtype or encoding; one that
/// this version does not read has the file's name for it, such as F4, or ggml.137 for the type of that number in ggml. Of arrays in the
/// metadata the first values are shown.
#[derive(Args)]
pub struct InspectArguments {
    /// A safetensors checkpoint, a GGUF file, or a saved graph.
    file: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// How many values of an array in the metadata are shown.
const FIRST: usize = 8;

impl InspectArguments {
    /// Does it.
    pub fn execute(&self, _: &SessionArguments) -> miette::Result<()> {
        let file = Checkpoint::open(&self.file).into_diagnostic()?;
        let (graph, format) = match Graph::is_in(&file) {
            true => (outline(&file), format!("{} with a graph", file.format())),
            false => (None, file.format().to_string()),
        };
        if self.json {
            return print_json(&Inspection { path: &self.file, format, graph, file: &file });
        }
        print_with(|out| self.write(&file, &format, graph.as_ref(), out))
    }

    fn write(
        &self,
        file: &Checkpoint,
        format: &str,
        graph: Option<&GraphOutline>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let several = file.files().len() > 1;
        match several {
            true => writeln!(out, "{}: {format}, {} files", self.file.display(), file.files().len())?,
            false => writeln!(out, "{}: {format}", self.file.display())?,
        }
        graph.map_or(Ok(()), |graph| write_graph(graph, out))?;
        // The graph itself has been shown.
        let shown = |(key, _): &(&str, &Value)| graph.is_none() || *key != Graph::METADATA_KEY;
        for (key, value) in file.metadata().iter().filter(shown) {
            match value {
                // The array is cut already, value by value.
                Value::Array(array) => writeln!(out, "  {} = {array}", Brief(key))?,
                value => writeln!(out, "  {} = {}", Brief(key), Brief(&value.to_string()))?,
            }
        }
        let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            let (element, bytes) =
                (Brief(&tensor.element().to_string()).to_string(), tensor.byte_range().len());
            let (shape, name) = (format!("{:?}", tensor.shape()), Brief(name));
            write!(out, "  {element:8} {shape:>20} {bytes:>12} bytes  {name}")?;
            match several {
                true => writeln!(out, "  ({})", last_part(file.file_of(tensor)))?,
                false => writeln!(out)?,
            }
            let sum = sums.entry(element).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
        }
        for (element, (count, bytes)) in sums {
            writeln!(out, "{element}: {count} tensors, {bytes} bytes")?;
        }
        Ok(())
    }
}

/// What a graph consists of. Of one that cannot be read the rest of the file is shown, after a warning.
fn outline(file: &Checkpoint) -> Option<GraphOutline> {
    GraphOutline::of(file).map_err(|error| tracing::warn!("{}", Passage(&error.to_string()))).ok()
}

/// Writes what a graph consists of; its constants are among the tensors.
fn write_graph(graph: &GraphOutline, out: &mut dyn Write) -> io::Result<()> {
    for (kind, ports) in [("input", &graph.inputs), ("state", &graph.states)] {
        for OutlinePort { name, element, shape } in ports {
            let kind_of = format!("{element} [{}]", shape.join(", "));
            writeln!(out, "  {kind:6} {} {}", Brief(name), Brief(&kind_of))?;
        }
    }
    for OutlineNode { name, op, inputs, attributes } in &graph.nodes {
        let call = format!(
            "{op}({})",
            inputs.iter().chain(attributes).map(String::as_str).collect::<Vec<_>>().join(", ")
        );
        writeln!(out, "  node   {} = {}", Brief(name), Brief(&call))?;
    }
    for OutlineOutput { name, value } in &graph.outputs {
        writeln!(out, "  output {} = {}", Brief(name), Brief(value))?;
    }
    Ok(())
}

/// A file's name, without the directory.
fn last_part(path: &Path) -> String {
    Brief(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()).to_string()
}

/// All that is known of a checkpoint, as JSON that is made while it is written.
struct Inspection<'a> {
    path: &'a Path,
    format: String,
    graph: Option<GraphOutline>,
    file: &'a Checkpoint,
}

impl Serialize for Inspection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file = self.file;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", &self.path.display().to_string())?;
        let files: Vec<String> = file.files().map(|path| path.display().to_string()).collect();
        map.serialize_entry("files", &files)?;
        map.serialize_entry("format", &self.format)?;
        if let Some(graph) = &self.graph {
            map.serialize_entry("graph", graph)?;
        }
        map.serialize_entry("metadata", &Entries(file.metadata()))?;
        map.serialize_entry("tensors", &Tensors(file))?;
        map.end()
    }
}

struct Entries<'a>(&'a Metadata);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, json_value(value))))
    }
}

/// A value as JSON has it; an array as its type, its length and its first values.
fn json_value(value: &Value) -> serde_json::Value {
    if let Some(array) = value.as_array() {
        let first: Vec<_> =
            (0..FIRST).map_while(|index| array.get(index)).map(|value| json_value(&value)).collect();
        return json!({"type": array.type_name(), "length": array.len(), "first": first});
    }
    if let Some(integer) = value.as_i64() {
        return json!(integer);
    }
    match (value.as_u64(), value.as_bool(), value) {
        (Some(integer), ..) => json!(integer),
        (_, Some(flag), _) => json!(flag),
        // As many digits as say which f32 it is; what is no number in JSON is a text.
        (.., Value::F32(_) | Value::F64(_)) => {
            let text = value.to_string();
            text.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map_or(json!(text), |number| json!(number))
        }
        _ => json!(value.to_string()),
    }
}

struct Tensors<'a>(&'a Checkpoint);

impl Serialize for Tensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.tensors().len()))?;
        for (name, tensor) in self.0.tensors() {
            list.serialize_element(&json_tensor(self.0, name, tensor))?;
        }
        list.end()
    }
}

fn json_tensor(file: &Checkpoint, name: &str, tensor: &StoredTensor) -> serde_json::Value {
    let range = tensor.byte_range();
    let mut json = json!({
        "name": name, "element": tensor.element().to_string(), "shape": tensor.shape(), "bytes": range.len(), "offset": range.start,
    });
    if file.files().len() > 1 {
        json["file"] = json!(last_part(file.file_of(tensor)));
    }
    if tensor.is_opaque() {
        json["opaque"] = json!(true);
    }
    json
}
