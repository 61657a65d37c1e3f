//! Data in a script element.

use std::collections::HashMap;

use serde_json::{Number, Value};

/// JSON that can stand in a script element: nothing in it ends the element, or begins markup.
pub(crate) fn embedded(value: &Value) -> String {
    let mut json = String::new();
    // Outside of strings, JSON has none of these.
    for character in rounded(value).to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => json.push(other),
        }
    }
    json
}

/// The same comparison, in which a weight that is there in several encodings has the histogram of its values in the first alone.
pub(crate) fn with_values_once(report: &Value) -> Value {
    let mut report = report.clone();
    let mut known: HashMap<String, Value> = HashMap::new();
    for weight in report.get_mut("weights").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(name) = weight["name"].as_str().map(str::to_owned) else { continue };
        let Some(histograms) = weight.get_mut("histograms").and_then(Value::as_object_mut) else { continue };
        match (known.get(&name), histograms.get("values")) {
            (Some(first), Some(values)) if first == values => drop(histograms.remove("values")),
            (None, Some(values)) => drop(known.insert(name, values.clone())),
            _ => {}
        }
    }
    report
}

/// The same, with floats of seven significant digits.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), rounded(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Number(number) if number.is_f64() => seven_digits(number).map_or(Value::Null, Value::Number),
        other => other.clone(),
    }
}

fn seven_digits(number: &Number) -> Option<Number> {
    format!("{:.6e}", number.as_f64()?).parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_name_ends_the_element_or_begins_markup() {
        for hostile in [
            "</script><img src=x onerror=alert(1)>",
            "<!--<script>",
            "]]>",
            "&lt;",
            "a\u{2028}b\u{2029}c",
            "\"\\\u{0}\n",
        ] {
            let value = json!({ hostile: [hostile, { "name": hostile }] });
            let embedded = embedded(&value);
            let forbidden = ['<', '>', '&', '\u{2028}', '\u{2029}', '\n', '\0'];
            assert!(!embedded.contains(forbidden), "{embedded}");
            assert_eq!(serde_json::from_str::<Value>(&embedded).unwrap(), value);
        }
    }

    #[test]
    fn values_that_are_the_same_are_there_once() {
        let weight = |name: &str, values: u64, error: u64| json!({ "name": name, "histograms": { "values": [values], "error": [error] } });
        let report = json!({ "weights": [weight("a", 1, 2), weight("b", 1, 2), weight("a", 1, 3), weight("a", 4, 2), {}, 7] });
        let mut expected = report.clone();
        expected["weights"][2]["histograms"] = json!({ "error": [3] });
        assert_eq!(with_values_once(&report), expected);
        for other in [json!({}), json!(null), json!({ "weights": {} })] {
            assert_eq!(with_values_once(&other), other);
        }
    }

    #[test]
    fn floats_are_rounded_and_whole_numbers_are_not() {
        let value =
            json!([0.123_456_789_f64, 1.5e-300, u64::MAX, i64::MIN, 0.0, null, true, "1.23456789123"]);
        let expected =
            format!("[0.1234568,1.5e-300,{},{},0.0,null,true,\"1.23456789123\"]", u64::MAX, i64::MIN);
        assert_eq!(embedded(&value), expected);
    }
}
