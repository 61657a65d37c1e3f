//! Whether an encoding's layout says what its `dequantize` does.

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::QuantizationEncoding;

use super::encoding::Probe;
use super::finding::Verdict;

/// How far a value may be from the layout's, as a part of the largest of its group: a few roundings.
const ROUNDING: f64 = 1.0 / (1 << 20) as f64;

impl Probe<'_> {
    pub(super) fn layout(&self) -> Verdict {
        let Some(layout) = &self.spec.layout else {
            return Verdict::Passed("the spec has none".to_owned());
        };
        match Declaration::parse(layout) {
            Ok(declaration) => self.layout_agrees(declaration).into(),
            Err(error) => Verdict::Skipped(format!("bitquilt cannot read the layout: {error}")),
        }
    }

    fn layout_agrees(&self, declaration: Declaration) -> Result<String, String> {
        let (of_layout, of_spec) = (declaration.block_len(), self.spec.block_len);
        let bytes = (declaration.block_bytes(), self.spec.block_bytes);
        if of_layout != of_spec || bytes.0 != bytes.1 {
            return Err(format!(
                "the layout has blocks of {of_layout} values in {} bytes, the spec of {of_spec} in {}",
                bytes.0, bytes.1
            ));
        }
        let group_len = declaration.group_len();
        let encoding = DeclaredEncoding::new(declaration);
        let mut compared = 0;
        for (number, block) in self.blocks_to_compare()?.iter().enumerate() {
            (self.at)(&format!("dequantize, block {number} for the layout"));
            let mut expected = vec![0.0; of_spec];
            // Blocks that no encoder writes may be refused.
            let (Ok(found), Ok(())) = (self.decode(block), encoding.dequantize(block, &mut expected)) else {
                continue;
            };
            compared += 1;
            let groups = found.chunks(group_len).zip(expected.chunks(group_len));
            for (group, (found, expected)) in groups.enumerate() {
                if let Some(index) = first_apart(found, expected) {
                    return Err(format!(
                        "value {} of the block {} is {} by the layout, and `dequantize` makes it {}",
                        group * group_len + index,
                        hex(block),
                        expected[index],
                        found[index]
                    ));
                }
            }
        }
        match compared {
            0 => Err("every block is refused, by the layout or by `dequantize`".to_owned()),
            _ => Ok(format!("`dequantize` agrees with it on {compared} blocks")),
        }
    }
}

/// The first value that is another, if one is: values that are no finite numbers count as equal.
fn first_apart(found: &[f32], expected: &[f32]) -> Option<usize> {
    let largest = expected.iter().filter(|value| value.is_finite());
    let largest = largest.fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
    let allowed = largest * ROUNDING + f64::from(f32::MIN_POSITIVE);
    found.iter().zip(expected).position(|(found, expected)| {
        let is_same = (f64::from(*found) - f64::from(*expected)).abs() <= allowed;
        !is_same && (found.is_finite() || expected.is_finite())
    })
}

/// The first bytes of a block.
pub(super) fn hex(block: &[u8]) -> String {
    let mut said: String = block.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    if block.len() > 16 {
        said.push_str("..");
    }
    said
}
