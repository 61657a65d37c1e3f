//! What `describe` says of declarations.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::kind;

#[test]
fn pictures_have_every_field() {
    let of = |name: &str| kind(name).describe().to_string();
    assert_eq!(
        of("t.kquant"),
        "t.kquant: 256 values in 143 bytes, 4.4688 bits a value\n\n\
         byte   0                  2                    14       15                 143\n       \
         | super_scale: f16 | scale: 16 x 6 bits | unused | codes: 128 bytes |\n\n\
         codes  4 bits each in one little-endian stream: code i from bit 4 * i on\n\
         groups 16: value i is of group i / 16\n\
         value  (code - 8) * (scale * super_scale)\n"
    );
    assert_eq!(
        of("t.gptq"),
        "t.gptq: 512 values in 266 bytes, 4.1562 bits a value\n\n\
         byte   0                  256              264                266\n       \
         | codes: 256 bytes | scale: 4 x f16 | zero: 4 x 4 bits |\n\n\
         codes  4 bits each in one little-endian stream: code i from bit 4 * i on\n\
         groups 4: value i is of group i / 128\n\
         value  ((code - 1) - zero) * scale\n"
    );
    for (name, formula) in [
        ("t.nf4", "value  values[code] * scale\n"),
        ("t.onnx8", "value  (signed code - zero) * scale\n"),
        ("t.mlx4.f16", "value  code * scale + min\n"),
        ("t.fp8.f32", "codes  a byte each\nvalue  f8_e4m3 code * scale\n"),
        (
            "t.int4",
            "codes  byte i has code i in bits 0..4, and code i + 16 in bits 4..8\nvalue  (code - 8) * scale\n",
        ),
        (
            "t.bit",
            "codes  1 bit each in one little-endian stream: code i from bit i on\nvalue  values[code] * scale\n",
        ),
    ] {
        assert!(of(name).ends_with(formula), "{}", of(name));
    }
}
