//! Pages in a browser: what they show, and what happens when somebody clicks, types and taps. Skipped where there is no Chromium.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chromium;
mod fixtures;
mod unusual;

use chromium::{Browser, View};
use serde_json::{Value, json};

const DESK: View = View { width: 1280, dark: false };
const PHONE: View = View { width: 360, dark: true };

/// The weights of a report.
fn weights(report: &Value) -> &Vec<Value> {
    report["weights"].as_array().unwrap()
}

fn name(weight: &Value) -> &str {
    weight["name"].as_str().unwrap()
}

/// The names of weights, those with the largest figure first.
fn by_figure(report: &Value, figure: &str) -> Vec<String> {
    let mut sorted: Vec<&Value> = weights(report).iter().collect();
    sorted.sort_by(|a, b| b[figure].as_f64().unwrap().total_cmp(&a[figure].as_f64().unwrap()));
    sorted.into_iter().map(|weight| name(weight).to_owned()).collect()
}

const ROW_NAMES: &str = ".rows tbody th";

#[test]
fn a_plan_shows_its_totals_and_each_weight() {
    let Some(mut browser) = Browser::start() else { return };
    let plan = fixtures::plan();
    browser.open(&bitquilt_page::plan(&plan), DESK);
    assert_eq!(browser.text("h1"), "A plan for SmolLM2-135M-Instruct.F16.gguf");
    assert_eq!(browser.evaluate("document.title"), json!("A plan for SmolLM2-135M-Instruct.F16.gguf"));
    let figures = browser.texts(".tile .figure");
    let megabytes = plan["total"]["bytes"].as_f64().unwrap() / 1e6;
    assert_eq!(
        figures[..2],
        [format!("{megabytes:.2} MB"), format!("{:.2}", plan["total"]["bits"].as_f64().unwrap())]
    );
    assert_eq!(figures[2], format!("{:.4} nats", plan["total"]["loss"].as_f64().unwrap()));
    assert_eq!(browser.texts(".heat thead th").len(), 7);
    assert_eq!(
        browser.texts(".heat thead th"),
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    );
    assert_eq!((browser.texts(".heat tbody tr").len(), browser.texts(".heat .cell").len()), (30, 210));
    assert_eq!(browser.texts(".rest .cell .name"), ["token_embd.weight"]);
    let mut encodings: Vec<&str> = weights(&plan).iter().map(|it| it["encoding"].as_str().unwrap()).collect();
    encodings.sort_unstable();
    encodings.dedup();
    let mut shown = browser.texts(r#"section[aria-label="Where the bytes go"] td:first-child"#);
    shown.sort_unstable();
    assert_eq!(shown, encodings);

    // A click on a cell shows its weight: here, in the table, and in the map.
    let chosen = weights(&plan).iter().find(|it| name(it) == "blk.7.ffn_down.weight").unwrap();
    browser.click(r#".cell[title^="blk.7.ffn_down.weight"]"#);
    assert_eq!(browser.text(".details h2"), "blk.7.ffn_down.weight");
    assert_eq!(browser.text(".details .reason"), chosen["reason"].as_str().unwrap());
    assert_eq!(browser.texts(r#".cell[aria-pressed="true"]"#), [chosen["encoding"].as_str().unwrap()]);
    assert_eq!(browser.texts(r#".rows tr[aria-current="true"] th"#), ["blk.7.ffn_down.weight"]);
    let alternatives = chosen["alternatives"].as_array().unwrap().len();
    assert_eq!(browser.texts(".details tbody tr").len(), alternatives + 1);
    assert_eq!(browser.texts(".details .chart .point").len(), alternatives + 1);
    browser.point(".details .chart .point.main");
    assert!(browser.text(".details .tip:not([hidden])").starts_with(chosen["encoding"].as_str().unwrap()));

    // So does a row of the table, and keys in the map.
    browser.click(".rows tbody tr:nth-child(3) button");
    let third = by_figure(&plan, "loss")[2].clone();
    assert_eq!(browser.text(".details h2"), third);
    browser.evaluate(r#"document.querySelector('.cell[title^="blk.3.attn_v.weight"]').focus()"#);
    browser.press(&["ArrowDown", "ArrowRight", "Enter"]);
    assert_eq!(browser.text(".details h2"), "blk.4.attn_output.weight");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn colors_show_what_is_chosen() {
    let Some(mut browser) = Browser::start() else { return };
    let plan = fixtures::plan();
    browser.open(&bitquilt_page::plan(&plan), DESK);
    let share = |browser: &mut Browser, weight: &str| {
        let cell = format!(
            r#"document.querySelector('.cell[title^="{weight}:"]').style.getPropertyValue("--share")"#
        );
        browser.evaluate(&cell).as_str().unwrap().to_owned()
    };
    for (mode, ramp, figure) in
        [("error", "error", "rel_error"), ("sensitivity", "sense", "sensitivity"), ("loss", "error", "loss")]
    {
        browser.click(&format!(r#".switch input[value="{mode}"]"#));
        let sorted = by_figure(&plan, figure);
        assert_eq!(share(&mut browser, &sorted[0]), "100.0%", "{mode}");
        assert_eq!(share(&mut browser, sorted.last().unwrap()), "0.0%", "{mode}");
        assert_eq!(browser.evaluate(&format!("document.querySelectorAll('.{ramp} .heat').length")), json!(1));
    }
    browser.click(r#".switch input[value="sensitivity"]"#);
    // The scale is that of the layers, of which the embedding is none.
    assert_eq!(share(&mut browser, "blk.1.ffn_down.weight"), "100.0%");
    assert_eq!(browser.texts(".legend .end")[1], "\u{2265} 4.5");
    assert_eq!(browser.text(r#".cell[title^="token_embd.weight"] :last-child"#), "7.2");
    browser.click(r#".switch input[value="encoding"]"#);
    let found = browser.text(r#".cell[title^="blk.0.attn_q.weight"]"#);
    assert_eq!(
        json!(found),
        weights(&plan).iter().find(|it| name(it) == "blk.0.attn_q.weight").unwrap()["encoding"]
    );
}

#[test]
fn a_table_is_sorted_and_filtered() {
    let Some(mut browser) = Browser::start() else { return };
    let plan = fixtures::plan();
    browser.open(&bitquilt_page::plan(&plan), DESK);
    let sorts = |browser: &mut Browser| {
        let all =
            "[...document.querySelectorAll('.rows thead th')].map((it) => it.getAttribute('aria-sort'))";
        serde_json::from_value::<Vec<String>>(browser.evaluate(all)).unwrap()
    };
    assert_eq!(browser.texts(ROW_NAMES), by_figure(&plan, "loss"));
    browser.click(".rows thead th:nth-child(6) button");
    let mut by_sensitivity = by_figure(&plan, "sensitivity");
    assert_eq!(browser.texts(ROW_NAMES), by_sensitivity);
    let mut expected = vec!["none"; 9];
    expected[5] = "descending";
    assert_eq!(sorts(&mut browser), expected);
    browser.click(".rows thead th:nth-child(6) button");
    by_sensitivity.reverse();
    assert_eq!(browser.texts(ROW_NAMES), by_sensitivity);
    assert_eq!(sorts(&mut browser)[5], "ascending");
    // Names as people count: 2 before 10.
    browser.click(".rows thead th:nth-child(1) button");
    let names = browser.texts(ROW_NAMES);
    let place = |name: &str| names.iter().position(|it| it == name).unwrap();
    assert!(place("blk.2.ffn_up.weight") < place("blk.10.attn_k.weight"));

    browser.click(".filter input");
    browser.enter("FFN_down q5");
    let fits = |weight: &&Value| {
        let has = |text: &str, part: &str| text.contains(part);
        let row = format!("{} {} {}", name(weight), weight["encoding"], weight["reason"]);
        has(&row, "ffn_down") && has(&row, "q5")
    };
    let found = weights(&plan).iter().filter(fits).count();
    assert!(found > 0 && found < 211, "{found}");
    assert_eq!(browser.texts(ROW_NAMES).len(), found);
    assert_eq!(browser.text(".filter [role=status]"), format!("{found} of 211 weights"));
    browser.evaluate("document.querySelector('.filter input').select()");
    browser.enter("no such weight");
    assert_eq!(browser.text(".filter [role=status]"), "0 of 211 weights");
    assert!(browser.texts(ROW_NAMES).is_empty());
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn a_frontier_says_what_is_pointed_at() {
    let Some(mut browser) = Browser::start() else { return };
    let mut plan = fixtures::plan();
    // Sizes that are far from the plan's are not drawn.
    let bytes = |of: &Value| of["bytes"].as_f64().unwrap();
    let total = bytes(&plan["total"]);
    let far = json!({ "bytes": 3.0 * total, "bits": 3.0 * plan["total"]["bits"].as_f64().unwrap(), "predicted_loss": 1e-7 });
    plan["frontier"].as_array_mut().unwrap().push(far);
    let plan = plan;
    browser.open(&bitquilt_page::plan(&plan), DESK);
    let is_near = |it: &&Value| (0.5..=2.0).contains(&(bytes(it) / total));
    let near: Vec<&Value> = plan["frontier"].as_array().unwrap().iter().filter(is_near).collect();
    assert!(near.len() > 2);
    let points = near.len() + plan["candidates"].as_array().unwrap().len();
    assert_eq!(browser.texts("main > section:first-of-type .point").len(), points);
    assert_eq!(browser.texts(".chart .line").len(), 1);
    let labels = browser.texts("main > section:first-of-type .label");
    assert!(labels.contains(&"plan".to_owned()) && labels.len() >= 3, "{labels:?}");
    browser.point(".point.main");
    let bits = plan["total"]["bits"].as_f64().unwrap();
    let tip = browser.text(".tip:not([hidden])");
    assert!(tip.starts_with("plan\n") && tip.contains(&format!("{bits:.2} bits")), "{tip}");
    // By keys: from the first point to the last.
    browser.evaluate("document.querySelector('.point[tabindex=\"0\"]').focus()");
    let first = browser.text(".tip:not([hidden])");
    browser.press(&["ArrowRight"]);
    assert_ne!(browser.text(".tip:not([hidden])"), first);
    browser.press(&["End"]);
    let last = browser.text(".tip:not([hidden])");
    let largest = near.iter().map(|it| it["bits"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(last.contains(&format!("{largest:.2} bits")), "{last}");
    // The candidate that is the plan is not drawn beside it.
    let mut chosen = plan.clone();
    chosen["candidates"][0]["name"] = "searched again".into();
    browser.open(&bitquilt_page::plan(&chosen), DESK);
    assert_eq!(browser.texts("main > section:first-of-type .point").len(), points);
    assert_eq!(browser.texts("main > section:first-of-type td:first-child")[0], "plan: searched again");
    // On a phone, with a finger.
    browser.open(&bitquilt_page::plan(&plan), PHONE);
    browser.tap(".point.main");
    assert!(browser.text(".tip:not([hidden])").starts_with("plan\n"));
}

#[test]
fn a_comparison_shows_encodings_and_histograms() {
    let Some(mut browser) = Browser::start() else { return };
    let report = fixtures::compare(&["iq4_nl", "q3_k", "q8_0"], true);
    browser.open(&bitquilt_page::compare(&report), PHONE);
    assert_eq!(browser.text("h1"), "SmolLM2-135M-Instruct.F16.gguf in 3 encodings");
    assert_eq!(browser.texts("main > section:first-of-type .label"), ["q3_k", "iq4_nl", "q8_0"]);
    // The first one is the smallest, and takes only some of the weights.
    assert_eq!((browser.texts(".heat .cell").len(), browser.texts(ROW_NAMES).len()), (30, 30));
    assert_eq!(browser.texts(".tile .figure")[0], "3.44");
    browser.tap(r#".candidates input[value="q8_0"]"#);
    assert_eq!(browser.texts(ROW_NAMES).len(), 211);
    let kl = report["kl"]["q8_0"]["mean"].as_f64().unwrap();
    let tiles = browser.texts(".tile .figure");
    assert_eq!(tiles[3].contains("\u{b7}10"), kl < 1e-3, "{tiles:?} {kl}");

    browser.tap(r#".cell[title^="blk.12.ffn_up.weight"]"#);
    assert_eq!(browser.text(".details h2"), "blk.12.ffn_up.weight");
    assert_eq!(browser.texts(".details .bar").len(), 2 * 63);
    let chosen = |it: &&Value| name(it) == "blk.12.ffn_up.weight" && it["encoding"] == "q8_0";
    let counts = &weights(&report).iter().find(chosen).unwrap()["histograms"]["values"]["counts"];
    browser.evaluate("document.querySelector('.details [role=slider]').focus()");
    browser.press(&["ArrowRight"]);
    let tip = browser.text(".details .tip:not([hidden])").replace('\u{202f}', "");
    assert!(tip.contains(&format!("\n{} values, ", counts[32])), "{tip}");
    browser.press(&["Home"]);
    assert!(browser.text(".details .tip:not([hidden])").starts_with("below "));
    // The bars' heights are those of the counts' logarithms.
    let heights = "[...document.querySelectorAll('.details .bar')].slice(0, 63).map((it) => Number(it.getAttribute('height')))";
    let heights: Vec<f64> = serde_json::from_value(browser.evaluate(heights)).unwrap();
    let count = |bin: usize| counts[bin].as_f64().unwrap();
    let step = |a: usize, b: usize| (heights[a] - heights[b]) / (count(a).ln() - count(b).ln());
    assert!((step(31, 20) - step(31, 14)).abs() < 1e-3 * step(31, 20), "{heights:?}");
    // The weight stays where the encoding changes.
    browser.tap(r#".candidates input[value="iq4_nl"]"#);
    assert_eq!(browser.text(".details h2"), "blk.12.ffn_up.weight");
    assert!(browser.text(".details dl").contains("iq4_nl, 4.50 bits a value"));
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn what_is_wrong_with_a_page_is_noticed() {
    let Some(mut browser) = Browser::start() else { return };
    let page = bitquilt_page::plan(&fixtures::plan());
    for (place, wrong) in [
        ("<main", r#"<img src="https://localhost/x.png"><main"#),
        ("<main", r#"<b onclick="1">x</b><main"#),
        ("\"use strict\";", "\"use strict\"; null.x;"),
        ("\"use strict\";", "\"use strict\"; console.error(1);"),
    ] {
        let changed = page.replacen(place, wrong, 1);
        assert_ne!(changed, page);
        browser.open(&changed, DESK);
        assert!(!browser.complaints().is_empty(), "{wrong}");
    }
}

#[test]
fn every_page_fits_every_width_by_day_and_by_night() {
    let Some(mut browser) = Browser::start() else { return };
    for (what, page, [cells, rows]) in unusual::pages() {
        for (width, dark) in [(320, false), (360, true), (1280, false)] {
            let view = View { width, dark };
            browser.open(&page, view);
            let across = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]");
            assert!(
                across[0].as_u64() <= across[1].as_u64() && across[1] == json!(width),
                "{what} {view:?}: {across}"
            );
            assert_eq!(browser.texts(".cell").len(), cells, "{what}");
            assert_eq!(browser.texts(ROW_NAMES).len(), rows, "{what}");
            assert_eq!(
                browser.evaluate("[document.images.length, document.scripts.length, window.hacked ?? null]"),
                json!([0, 2, null]),
                "{what}"
            );
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{what} {view:?}");
            let text = browser.text("main");
            for wrong in ["undefined", "NaN", "Infinity", "[object"] {
                assert!(!text.contains(wrong), "{what}: {wrong} in {text}");
            }
        }
    }
}

#[test]
fn cells_of_many_weights_and_names_with_markup_can_be_chosen() {
    let Some(mut browser) = Browser::start() else { return };
    for (what, page, _) in unusual::pages() {
        let selector = match what {
            "hostile names in a plan" => r#".heat .cell[title^="blk.2"]"#,
            "thousands of experts" => ".heat .cell",
            _ => continue,
        };
        browser.open(&page, DESK);
        browser.click(selector);
        if what == "thousands of experts" {
            assert_eq!(browser.texts(".details .others button").len(), 64);
            browser.click(".details .others button:nth-child(9)");
            assert_eq!(browser.text(".details h2"), "model.layers.0.mlp.experts.8.up_proj.weight");
            assert_eq!(browser.texts(r#".details .others [aria-pressed="true"]"#).len(), 1);
            browser.click(".rows .screen button");
            assert_eq!(browser.texts(ROW_NAMES).len(), 3000);
        } else {
            let expected = "blk.2.</script><img src=x onerror=\"window.hacked = 1\"><b>&amp;\u{2028}{style}";
            assert_eq!(browser.text(".details h2"), expected);
            assert_eq!(browser.text(".details .reason"), expected);
        }
        assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    }
}

/// The least contrast, by WCAG's formula, of the texts that a selector finds with what is behind them.
const CONTRAST: &str = r#"(selector) => {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (color) => {
        paint.fillStyle = color;
        paint.fillRect(0, 0, 1, 1);
        const parts = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map((it) => it / 255);
        const [r, g, b] = parts.map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (it) => {
        for (; it; it = it.parentElement) {
            const color = getComputedStyle(it).backgroundColor;
            if (color !== "rgba(0, 0, 0, 0)") return color;
        }
        return "white";
    };
    const contrast = (it) => {
        const style = getComputedStyle(it);
        const [a, b] = [light(it.namespaceURI.endsWith("svg") ? style.fill : style.color), light(behind(it))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    return Math.min(...[...document.querySelectorAll(selector)].map(contrast));
}"#;

#[test]
fn texts_have_contrast_and_controls_have_names() {
    let Some(mut browser) = Browser::start() else { return };
    for dark in [false, true] {
        browser.open(&bitquilt_page::plan(&fixtures::plan()), View { width: 1280, dark });
        let selectors = [
            "p, dt, dd, h1, h2, h3, td, th, .list button, .switch span, .legend span",
            ".chart text",
            ".cell",
        ];
        for mode in ["encoding", "error", "sensitivity"] {
            browser.click(&format!(r#".switch input[value="{mode}"]"#));
            for selector in selectors {
                let least = browser.evaluate(&format!("({CONTRAST})({})", json!(selector))).as_f64().unwrap();
                assert!(least >= 4.5, "{mode} {selector}: {least}, dark: {dark}");
            }
        }
    }
    for page in [
        bitquilt_page::plan(&fixtures::plan()),
        bitquilt_page::compare(&fixtures::compare(&["iq4_nl", "q8_0"], true)),
    ] {
        browser.open(&page, DESK);
        let tree = browser.call("Accessibility.getFullAXTree", json!({}));
        let roles = [
            "button",
            "radio",
            "radiogroup",
            "image",
            "img",
            "searchbox",
            "slider",
            "table",
            "region",
            "columnheader",
            "rowheader",
        ];
        let (mut seen, nodes) = (Vec::new(), tree["nodes"].as_array().unwrap());
        for node in nodes.iter().filter(|node| node["ignored"] == json!(false)) {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            if roles.contains(&role) {
                assert!(!node["name"]["value"].as_str().unwrap_or_default().is_empty(), "{node}");
                seen.push(role);
            }
        }
        for role in ["button", "radio", "searchbox", "table", "columnheader", "rowheader"] {
            assert!(seen.contains(&role), "{role}");
        }
    }
}

#[test]
fn dark_pages_are_dark_and_paper_is_white() {
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&bitquilt_page::plan(&fixtures::plan()), PHONE);
    let light = "['section', 'body', 'html'].every((it) => { \
                 const color = getComputedStyle(document.querySelector(it)).backgroundColor; \
                 return color.match(/\\d+/g).slice(0, 3).every((part) => part > 200); })";
    assert_eq!(browser.evaluate(light), json!(false));
    browser.media("print", true);
    assert_eq!(browser.evaluate(light), json!(true));
    assert_eq!(
        browser.evaluate("getComputedStyle(document.querySelector('.filter')).display"),
        json!("none")
    );
    let paper = browser.call("Page.printToPDF", json!({ "printBackground": true }));
    // "%PDF-" in base64.
    assert!(paper["data"].as_str().unwrap().starts_with("JVBERi0"));
    browser.media("", false);
    assert_eq!(browser.evaluate(light), json!(true));
}
