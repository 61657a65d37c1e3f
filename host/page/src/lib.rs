//! Pages that people look at, of what `bitquilt compare --json` and `bitquilt plan --json` print.
//!
//! Each page is one HTML document that needs nothing else: style, script and data are in it, and its content security policy lets it load
//! nothing. The data is JSON in an element of its own; the script writes what is in there as text alone, so that no name can bring in
//! markup. Floats are rounded to seven significant digits, which is more than is shown.
//!
//! ```
//! let page = bitquilt_page::compare(&serde_json::json!({
//!     "weights": [{"name": "blk.0.up", "shape": [2, 32], "encoding": "q4_0", "bits": 4.5,
//!                  "rel_rms": 0.08, "max_abs": 0.06, "snr_db": 22.1, "cosine": 0.997}],
//!     "total": {"bits": 4.5, "bytes": 36, "rel_rms": 0.08, "max_abs": 0.06, "snr_db": 22.1, "cosine": 0.997},
//! }));
//! assert!(page.starts_with("<!doctype html>"));
//! ```

mod data;

use serde_json::Value;

/// What all scripts use, in the order in which it is defined.
const SHARED: [&str; 10] = [
    include_str!("../assets/dom.js"),
    include_str!("../assets/format.js"),
    include_str!("../assets/names.js"),
    include_str!("../assets/scale.js"),
    include_str!("../assets/chart.js"),
    include_str!("../assets/histogram.js"),
    include_str!("../assets/heatmap.js"),
    include_str!("../assets/table.js"),
    include_str!("../assets/shares.js"),
    include_str!("../assets/explorer.js"),
];

/// The page of what `bitquilt compare --json` prints: how large each candidate is and what it has lost, error by layer and kind of
/// weight, each weight's figures and histograms.
///
/// Figures that are missing or null are shown as such; so is a comparison of no weights.
pub fn compare(report: &Value) -> String {
    page("bitquilt compare", include_str!("../assets/compare.js"), &data::with_values_once(report))
}

/// The page of what `bitquilt plan --json` prints: loss over size, the encoding, error and sensitivity of each weight by layer and kind,
/// the reasons, and what the alternatives would have cost.
///
/// ```json
/// {"file": "model.gguf", "measure": {"kind": "kl", "source": "text.txt", "tokens": 384}, "target": {"bytes": 90000000},
///  "total": {"bytes": 89990000, "values": 134479872, "bits": 5.35, "predicted_loss": 0.0338, "loss": 0.0343},
///  "weights": [{"name": "blk.0.attn_q.weight", "shape": [576, 576], "values": 331776, "encoding": "q5_0", "reason": "why",
///               "sensitivity": 1.21, "bits": 5.5, "bytes": 228096, "rel_error": 0.0016, "loss": 0.0019,
///               "alternatives": [{"encoding": "q8_0", "bits": 8.5, "bytes": 352512, "rel_error": 0.00002, "loss": 0.00003}]}],
///  "frontier": [{"bytes": 60000000, "bits": 3.6, "predicted_loss": 0.21}],
///  "candidates": [{"name": "plan", "bytes": 89990000, "bits": 5.35, "loss": 0.0343}]}
/// ```
///
/// A measure is of kind `kl` or `outputs`; `rel_error` is the squared error as a part of the squared values; the candidate `plan` is the plan
/// itself. Figures that are missing or null are shown as such; so is a plan of no weights, or without a frontier.
pub fn plan(report: &Value) -> String {
    page("bitquilt plan", include_str!("../assets/plan.js"), report)
}

fn page(title: &str, script: &str, report: &Value) -> String {
    let data = data::embedded(report);
    let (before_style, rest) = split(include_str!("../assets/page.html"), "{style}");
    let (before_data, rest) = split(rest, "{data}");
    let (before_script, after) = split(rest, "{script}");
    let mut page = String::with_capacity(data.len() + (1 << 17));
    page.push_str(&before_style.replace("{title}", title));
    page.push_str(include_str!("../assets/page.css"));
    page.push_str(before_data);
    page.push_str(&data);
    page.push_str(before_script);
    page.push_str("(() => {\n\"use strict\";\n");
    SHARED.iter().for_each(|part| page.push_str(part));
    page.push_str(script);
    page.push_str("})();\n");
    page.push_str(after);
    page
}

/// What is before a place of the template, and what is after it.
fn split<'a>(template: &'a str, place: &str) -> (&'a str, &'a str) {
    template.split_once(place).unwrap_or((template, ""))
}
