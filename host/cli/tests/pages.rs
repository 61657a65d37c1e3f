//! `bitquilt compare --html`: what a browser shows of the page that the command writes. Skipped where there is no Chromium.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../page/tests/chromium/mod.rs"]
#[expect(dead_code, reason = "the tests of pages do more")]
mod chromium;
mod common;

use bitquilt::Tensor;
use chromium::{Browser, View};
use common::workplace;

#[test]
fn a_page_shows_what_was_compared() {
    let Some(mut browser) = Browser::start() else { return };
    let here = workplace();
    let noise = |seed: usize| {
        (0..8 * 64).map(move |i| (((i + seed) * 7919 % 4093) as f32 - 2046.0) / 1024.0).collect::<Vec<_>>()
    };
    let named = |(seed, name): (usize, &str)| (name.to_owned(), Tensor::new([8, 64], noise(seed)).unwrap());
    let hostile = "model.layers.1.</script><img src=x>.weight";
    let names = [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        hostile,
        "lm_head.weight",
    ];
    here.save("in.safetensors", names.into_iter().enumerate().map(named));
    let printed =
        here.json(&["compare", "in.safetensors", "--encodings", "q4_0,q8_0", "--html", "page.html"]);

    browser.show(&here.path("page.html"), View { width: 360, dark: false });
    assert_eq!(browser.text("h1"), "in.safetensors in 2 encodings");
    assert_eq!(browser.texts(".heat tbody th"), ["0", "1"]);
    assert_eq!(browser.texts(".rest .cell .name"), ["lm_head.weight"]);
    let error = printed["total"]["q4_0"]["rel_rms"].as_f64().unwrap();
    assert_eq!(browser.texts(".tile .figure")[1], format!("{:.2} %", 100.0 * error));
    browser.tap(r#".candidates input[value="q8_0"]"#);
    let error = printed["total"]["q8_0"]["rel_rms"].as_f64().unwrap();
    assert_eq!(browser.texts(".tile .figure")[1], format!("{:.2} %", 100.0 * error));
    browser.tap(r#".cell[title^="model.layers.1."]"#);
    assert_eq!(browser.text(".details h2"), hostile);
    assert_eq!(browser.texts(".details .bar").len(), 2 * 63);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
