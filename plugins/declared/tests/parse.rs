//! Texts that are declarations, and sentences for those that are none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt_declared::Declaration;

const NF4: &str = r#"name = "my.nf4"
version = 1
summary = "4-bit normal floats, a scale for each 64"
block_len = 64
block_bytes = 34
codes = { at = 2, bits = 4, order = "sequential" }
values = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0, 0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
scale = { at = 0, dtype = "f16" }
"#;

#[test]
fn a_canonical_text_is_its_own() {
    let declaration = Declaration::parse(NF4).unwrap();
    assert_eq!(declaration.to_text(), NF4);
    assert_eq!((declaration.block_len(), declaration.block_bytes(), declaration.bits()), (64, 34, 4));
}
