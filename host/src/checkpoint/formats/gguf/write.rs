//! Writing version 3.

use std::collections::BTreeMap;

use super::{ALIGNMENT_KEY, MAGIC, MAX_RANK, alignment, types, value};
use crate::checkpoint::container::{HeadFirst, Types};
use crate::checkpoint::metadata::{Metadata, Value};
use crate::checkpoint::shards::SPLIT_KEYS;
use crate::text::{Brief, Quoted};

/// The version that is written.
const VERSION: u32 = 3;
/// The longest name of a tensor, in bytes: ggml keeps 64, the last of which is zero.
const MAX_NAME: usize = 63;

/// Lays out a file with its tensors in the order of their names.
pub(super) fn lay_out<'a>(mut order: Types<'a>, metadata: &Metadata) -> Result<HeadFirst<'a>, String> {
    order.sort_by_key(|(name, ..)| *name);
    let alignment = alignment(metadata).map_err(|problem| format!("{problem}; remove `{ALIGNMENT_KEY}`"))?;
    check_types(&order)?;
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((order.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, entry) in metadata.iter() {
        value::write_text(key.as_bytes(), &mut head);
        value::write(entry, &mut head);
    }
    let mut offset = 0usize;
    for (name, element, shape) in &order {
        let wrong = |problem: String| format!("tensor `{}`: {problem}", Brief(name));
        if name.len() > MAX_NAME {
            return Err(wrong(format!(
                "its name has {} bytes, GGUF allows {MAX_NAME}; rename it, or write a .safetensors file",
                name.len()
            )));
        }
        if shape.len() > MAX_RANK {
            return Err(wrong(format!(
                "it has {} dimensions, GGUF allows {MAX_RANK}; write a .safetensors file",
                shape.len()
            )));
        }
        let type_id = types::number(element).unwrap_or_default();
        let bytes = element.bytes(shape).map_err(|error| wrong(error.to_string()))?;
        value::write_text(name.as_bytes(), &mut head);
        head.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|dim| head.extend((*dim as u64).to_le_bytes()));
        head.extend(type_id.to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset = bytes
            .checked_next_multiple_of(alignment)
            .and_then(|bytes| offset.checked_add(bytes))
            .ok_or("the tensors have more bytes than a file can")?;
    }
    head.resize(head.len().next_multiple_of(alignment), 0);
    Ok(HeadFirst { head, order, alignment })
}

/// An error if ggml lacks the types of some tensors.
fn check_types(order: &Types<'_>) -> Result<(), String> {
    let mut without: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, element, _) in order.iter().filter(|(_, element, _)| types::number(element).is_none()) {
        without.entry(element.name().to_string()).or_default().push((*name).to_owned());
    }
    let sentence = |(element, names): (&String, &Vec<String>)| {
        format!("`{}`, which is that of {}", Brief(element), Quoted(names))
    };
    match without.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "GGUF has no number for the type {}; write a .safetensors file, or give them another type",
            without.iter().map(sentence).collect::<Vec<_>>().join(", nor for ")
        )),
    }
}

/// The metadata of a shard: all of it and its place among the others in the first, as llama.cpp has it, and the place in the others.
pub(super) fn shard_metadata(whole: &Metadata, index: usize, count: usize, tensors: usize) -> Metadata {
    let mut metadata = match index {
        0 => whole.clone(),
        _ => whole
            .iter()
            .filter(|(key, _)| *key == ALIGNMENT_KEY)
            .map(|(key, value)| (key, value.clone()))
            .collect(),
    };
    let [number_key, count_key, tensors_key] = SPLIT_KEYS;
    metadata.insert(number_key, Value::U16(index as u16));
    metadata.insert(count_key, Value::U16(count as u16));
    metadata.insert(tensors_key, Value::I32(tensors as i32));
    metadata
}
