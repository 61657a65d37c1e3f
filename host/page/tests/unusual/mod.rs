//! Pages of reports that are out of the ordinary.

use serde_json::{Value, json};

use crate::fixtures;

/// What each is, its page, and how many cells and rows that has.
pub fn pages() -> Vec<(&'static str, String, [usize; 2])> {
    let hostile = "</script><img src=x onerror=\"window.hacked = 1\"><b>&amp;\u{2028}{style}";
    let long = "n".repeat(1000);
    let weight = |name: &str| json!({ "name": name, "encoding": name, "reason": name, "shape": [2, 3] });
    let names =
        [hostile, &long, "", "blk.0.a.weight", &format!("blk.1.{long}.weight"), &format!("blk.2.{hostile}")];
    let strange: Vec<Value> = names.iter().map(|name| weight(name)).collect();
    let candidates = json!([{ "name": hostile, "bytes": 5, "bits": null, "loss": 0.0 }, { "name": long, "bytes": 9, "loss": 1.0 }]);
    let experts: Vec<_> = (0..3000)
        .map(|index| {
            (format!("model.layers.{}.mlp.experts.{}.up_proj.weight", index / 64, index % 64), [64, 64])
        })
        .collect();
    let exact = json!({ "name": "blk.0.a", "shape": [4], "encoding": "f32", "bits": 32.0, "rel_rms": 0.0, "max_abs": 0.0,
        "snr_db": null, "cosine": 1.0, "histograms": { "values": { "width": 1.0, "counts": [0, 4, 0] }, "error": { "width": null, "counts": [] } } });
    let infinite = json!({ "name": "b", "shape": [], "encoding": "f32", "bits": 32.0, "rel_rms": null, "max_abs": 1.0, "snr_db": null, "cosine": 0.0 });
    let numbers = json!({ "name": 7, "encoding": null, "shape": "wide", "bits": "x", "loss": true, "alternatives": [{}, { "encoding": "q" }] });
    vec![
        ("a plan", bitquilt_page::plan(&fixtures::plan()), [211, 211]),
        ("a comparison", bitquilt_page::compare(&fixtures::compare(&["iq4_nl", "q8_0"], true)), [211, 211]),
        ("one encoding", bitquilt_page::compare(&fixtures::compare(&["q4_k"], false)), [30, 30]),
        ("an empty plan", bitquilt_page::plan(&json!({})), [0, 0]),
        ("an empty comparison", bitquilt_page::compare(&json!({})), [0, 0]),
        (
            "nothing but null",
            bitquilt_page::plan(
                &json!({ "file": null, "measure": null, "target": null, "total": null, "weights": null, "frontier": null, "candidates": null }),
            ),
            [0, 0],
        ),
        ("one weight", bitquilt_page::plan(&fixtures::plan_for(&fixtures::names()[..1], 2e7)), [1, 1]),
        (
            "no figures",
            bitquilt_page::plan(&json!({ "weights": [{ "name": "blk.0.up.weight" }, numbers] })),
            [2, 2],
        ),
        (
            "outputs",
            bitquilt_page::plan(
                &json!({ "measure": { "kind": "outputs", "source": long }, "weights": [weight("w")] }),
            ),
            [1, 1],
        ),
        (
            "hostile names in a plan",
            bitquilt_page::plan(&json!({ "file": hostile, "weights": strange, "candidates": candidates })),
            [6, 6],
        ),
        (
            "hostile names in a comparison",
            bitquilt_page::compare(&json!({ "a": hostile, "b": long, "weights": strange,
            "total": { "bits": 1.0, "bytes": 1, "rel_rms": null } })),
            [6, 6],
        ),
        (
            "hostile encodings",
            bitquilt_page::compare(
                &json!({ "a": hostile, "weights": strange, "total": { hostile: { "bytes": 1, "rel_rms": 0.5 }, &long: { "bytes": 2, "rel_rms": 0.0 } } }),
            ),
            [1, 1],
        ),
        (
            "exact and infinite",
            bitquilt_page::compare(
                &json!({ "weights": [exact, infinite], "total": { "bits": 32.0, "bytes": 20, "rel_rms": null } }),
            ),
            [2, 2],
        ),
        ("thousands of experts", bitquilt_page::plan(&fixtures::plan_for(&experts, 7e6)), [47, 500]),
    ]
}
