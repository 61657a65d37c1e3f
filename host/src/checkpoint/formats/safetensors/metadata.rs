//! Values in the metadata of a safetensors file, which is text by key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::records::{check_format, malformed};
use crate::checkpoint::metadata::{Metadata, Value};
use crate::checkpoint::unique::UniqueMap;
use crate::text::Brief;

/// The key of the entry that has all values but texts.
pub(super) const KEY: &str = "bitquilt.metadata";

/// The form of that entry; another one is refused.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record<E> {
    format: u32,
    entries: E,
}

/// The metadata as text by key.
pub(super) fn write(metadata: &Metadata) -> Result<BTreeMap<String, String>, String> {
    let mut texts = BTreeMap::new();
    let mut others = BTreeMap::new();
    for (key, value) in metadata.iter() {
        match value {
            Value::String(text) => drop(texts.insert(key.to_owned(), text.clone())),
            value => drop(others.insert(key, value)),
        }
    }
    if !others.is_empty() {
        let record = serde_json::to_string(&Record { format: FORMAT, entries: others });
        texts.insert(KEY.to_owned(), record.map_err(|error| error.to_string())?);
    }
    Ok(texts)
}

/// The metadata in text by key; or what is wrong with it.
pub(super) fn read(mut texts: BTreeMap<String, String>) -> Result<Metadata, String> {
    let record = texts.remove(KEY);
    let mut metadata: Metadata = texts.into_iter().collect();
    let Some(record) = record else { return Ok(metadata) };
    check_format(KEY, &record, FORMAT)?;
    let Record { entries, .. }: Record<UniqueMap<Value>> =
        serde_json::from_str(&record).map_err(|error| malformed(KEY, &error))?;
    for (key, value) in entries.0 {
        if metadata.contains(&key) {
            return Err(format!("the metadata has `{}` twice: as a text, and in `{KEY}`", Brief(&key)));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::metadata::Array;

    #[test]
    fn all_types_come_back_bit_for_bit() {
        let floats = [0.1, -0.0, f64::MIN_POSITIVE, f64::from_bits(1), f64::INFINITY, 1e300];
        let floats32 = [0.1f32, -0.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::NEG_INFINITY, 16_777_217.0];
        let metadata: Metadata = [
            ("text", Value::from("é\0\"")),
            ("bytes", Value::Bytes(vec![0x80, b'a'])),
            ("u64", Value::U64(u64::MAX)),
            ("i64", Value::I64(i64::MIN)),
            ("i8", Value::I8(-1)),
            ("f32", Value::F32(0.3)),
            ("f64", Value::F64(0.3)),
            ("yes", Value::from(true)),
            ("neither", Value::Bool(2)),
            ("f32s", Array::F32(floats32.into()).into()),
            ("f64s", Array::F64(floats.into()).into()),
            ("texts", Array::String(vec!["<s>".to_owned(), String::new()]).into()),
            ("byte texts", Array::Bytes(vec![vec![0xff], b"a".to_vec()]).into()),
            ("nested", Array::Array(vec![Array::U8(vec![1]), Array::Array(Vec::new())]).into()),
            ("none", Array::U16(Vec::new()).into()),
        ]
        .into_iter()
        .collect();
        let texts = write(&metadata).unwrap();
        assert_eq!(texts.keys().collect::<Vec<_>>(), [KEY, "text"]);
        assert_eq!(read(texts).unwrap(), metadata);

        let bits = [0x7fc0_0001u32, 0xff80_0001, 0x7fff_ffff];
        let nan = Value::Array(Array::F32(bits.map(f32::from_bits).into()));
        let back = read(write(&[("nan", nan)].into_iter().collect()).unwrap()).unwrap();
        let Some(Value::Array(Array::F32(back))) = back.get("nan") else { panic!("{back:?}") };
        assert_eq!(back.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
    }

    #[test]
    fn the_form_is_as_it_is_documented() {
        let metadata: Metadata = [
            ("llama.block_count", Value::U32(30)),
            ("llama.rope.freq_base", Value::F32(1e5)),
            ("tokens", Array::String(vec!["<s>".to_owned()]).into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            write(&metadata).unwrap()[KEY],
            r#"{"format":1,"entries":{"llama.block_count":{"u32":30},"llama.rope.freq_base":{"f32":"100000.0"},"tokens":{"array":{"string":["<s>"]}}}}"#
        );
    }

    #[test]
    fn what_is_malformed_is_a_sentence() {
        for (record, sentence) in [
            ("?", "the metadata `bitquilt.metadata`: expected value at line 1 column 1"),
            (
                r#"{"format":2,"anything":[]}"#,
                "the metadata `bitquilt.metadata` has format 2, 1 is read; the file may be of a newer bitquilt",
            ),
            (
                r#"{"format":1,"entries":{"a":{"u8":256}}}"#,
                "the metadata `bitquilt.metadata`: invalid value: integer `256`, expected u8 at line 1 column 36",
            ),
            (
                r#"{"format":1,"entries":{"a":{"f32":"x"}}}"#,
                "the metadata `bitquilt.metadata`: \"x\" is no number at line 1 column 38",
            ),
            (
                r#"{"format":1,"entries":{"a":{"u8":1},"a":{"u8":2}}}"#,
                "the metadata `bitquilt.metadata`: `a` is there twice at line 1 column 49",
            ),
            (
                r#"{"format":1,"entries":{"text":{"u8":1}}}"#,
                "the metadata has `text` twice: as a text, and in `bitquilt.metadata`",
            ),
        ] {
            let texts = [(KEY, record), ("text", "")].map(|(key, text)| (key.to_owned(), text.to_owned()));
            assert_eq!(read(texts.into()).unwrap_err(), sentence);
        }
        let nested = format!("{}{}", r#"{"array":["#.repeat(100_000), "]}".repeat(100_000));
        let deep = format!(r#"{{"format":1,"entries":{{"a":{{"array":{nested}}}}}}}"#);
        let error = read([(KEY.to_owned(), deep)].into()).unwrap_err();
        assert!(error.contains("recursion limit exceeded"), "{error}");
    }
}
