//! Pages without a browser: what is in them, and how large they are.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use serde_json::{Value, json};

/// The data of a page.
fn data(page: &str) -> Value {
    let (_, after) = page.split_once(r#"<script id="data" type="application/json" nonce="page">"#).unwrap();
    serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_loads_nothing_and_says_so() {
    for page in [bitquilt_page::plan(&json!({})), bitquilt_page::compare(&json!({}))] {
        assert!(page.starts_with("<!doctype html>"));
        assert!(
            page.contains(r#"content="default-src 'none'; style-src 'nonce-page'; script-src 'nonce-page';"#)
        );
        for forbidden in
            ["http:", "https:", "//cdn", "@import", "url(", "fetch(", "XMLHttp", "innerHTML", "outerHTML"]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for place in ["{style}", "{script}", "{data}", "{title}"] {
            assert!(!page.contains(place), "{place}");
        }
        assert_eq!(data(&page), json!({}));
    }
}

#[test]
fn names_bring_in_no_markup() {
    for hostile in [
        "</script><img src=x onerror=alert(1)>",
        "<!--<script>",
        "{style}{script}{data}{title}",
        "\u{2028}\u{2029}&amp;\"'\\",
        &"x".repeat(1000),
    ] {
        let report = json!({ "file": hostile, "weights": [{ "name": hostile, "reason": hostile }] });
        for page in [bitquilt_page::plan(&report), bitquilt_page::compare(&report)] {
            assert_eq!(page.matches("</script").count(), 2, "{hostile}");
            assert_eq!(page.matches("<script").count(), 2, "{hostile}");
            assert_eq!(page.matches("<img").count(), 0, "{hostile}");
            assert_eq!(data(&page), report);
        }
    }
}

#[test]
fn pages_of_three_hundred_weights_are_below_a_megabyte() {
    let mut names = fixtures::names();
    names.extend((0..89).map(|index| (format!("blk.{}.ffn_down.weight", 30 + index), [576, 1536])));
    assert_eq!(names.len(), 300);
    let plan = bitquilt_page::plan(&fixtures::plan_for(&names, 110e6));
    let encodings = ["iq4_nl", "q4_1", "q5_0", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"];
    let compare = fixtures::compare(&encodings, true);
    assert!(compare["weights"].as_array().unwrap().len() > 900);
    let compare = bitquilt_page::compare(&compare);
    for page in [plan, compare, bitquilt_page::plan(&fixtures::plan())] {
        assert!(page.len() < 1_000_000, "{}", page.len());
    }
}
