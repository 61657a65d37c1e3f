//! Texts that are declarations, and sentences for those that are none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bitquilt_declared::{CodeDType, Declaration, Order, Problem, ScaleDType};
use common::{KINDS, Random, kinds, text};

const NF4: &str = r#"name = "my.nf4"
version = 1
summary = "4-bit normal floats, a scale for each 64"
block_len = 64
block_bytes = 34
codes = { at = 2, bits = 4, order = "sequential" }
values = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
scale = { at = 0, dtype = "f16" }
"#;

const INT4: &str = r#"name = "my.int4"
version = 3
block_len = 128
block_bytes = 75
groups = 4
codes = { at = 11, bits = 4, order = "sequential" }
offset = 8
scale = { at = 0, dtype = "f16" }
zero = { at = 8, bits = 4 }
"#;

#[test]
fn canonical_texts_are_their_own() {
    for text in [NF4, INT4] {
        assert_eq!(Declaration::parse(text).unwrap().to_text(), text);
    }
    for (kind, declaration) in KINDS.iter().zip(kinds()) {
        let canonical = declaration.to_text();
        let again = Declaration::parse(&canonical).unwrap();
        assert_eq!((again.to_text(), &again), (canonical, &declaration), "{}", kind.0);
        let bits = |declaration: &Declaration| {
            declaration.levels().iter().map(|level| level.to_bits()).collect::<Vec<u32>>()
        };
        assert_eq!(bits(&again), bits(&declaration), "{}", kind.0);
    }
}

/// What is written otherwise and says the same.
#[test]
fn equal_declarations_have_one_text() {
    for other in [
        NF4.replace("version = 1\n", ""),
        NF4.replace(", order = \"sequential\"", ""),
        NF4.replace("-0.3949175", "-0.39491749"),
        NF4.replace(" 1.0]", " 1, # the largest\n]").replace("[-1.0", "[\n  -1"),
        NF4.replace("block_len = 64", "groups = 1\nblock_len = 0x40"),
        NF4.replace("scale = { at = 0, dtype = \"f16\" }", "[scale]\nat = 0\ndtype = 'f16'"),
        NF4.replace("codes = { at = 2, bits = 4, order = \"sequential\" }", "codes.bits = 4\ncodes.at = +2"),
        NF4.replace('\n', "\r\n"),
        NF4.replace("normal", "n\\u006frmal"),
    ] {
        assert_eq!(
            Declaration::parse(&other).unwrap_or_else(|error| panic!("{error}: {other}")).to_text(),
            NF4
        );
    }
    let differ = |text: &str, from: &str, to: &str| {
        let (first, second) =
            (Declaration::parse(text).unwrap(), Declaration::parse(&text.replace(from, to)).unwrap());
        assert_ne!(first, second, "{to}");
    };
    differ(NF4, "0.0,", "-0.0,");
    differ(NF4, "my.nf4", "my.nf5");
    differ(INT4, "offset = 8", "signed = true");
    differ(INT4, "version = 3", "version = 4");
    let quoted = NF4.replace("normal floats", "\\\"normal\\\" \\\\ flöats");
    let quoted = Declaration::parse(&quoted).unwrap();
    assert_eq!(quoted.summary(), "4-bit \"normal\" \\ flöats, a scale for each 64");
    assert_eq!(Declaration::parse(&quoted.to_text()).unwrap(), quoted);
}

#[test]
fn a_builder_makes_what_a_text_says() {
    let built = [
        Declaration::builder("t.gptq", 512, 266)
            .groups(4)
            .codes(0, 4)
            .offset(1)
            .scale(256, ScaleDType::F16)
            .zero(264, 4),
        Declaration::builder("t.hqq4.zero", 64, 36)
            .codes(4, 4)
            .scale(0, ScaleDType::F16)
            .float_zero(2, ScaleDType::F16),
        Declaration::builder("t.int4", 32, 18)
            .codes_in(2, 4, Order::Halves)
            .offset(8)
            .scale(0, ScaleDType::F16),
        Declaration::builder("t.int8", 32, 36).codes(4, 8).signed().scale(0, ScaleDType::F32),
        Declaration::builder("t.ternary", 128, 34)
            .codes(2, 2)
            .values([-1.0, 0.0, 1.0])
            .unused(0.0)
            .scale(0, ScaleDType::F16),
        Declaration::builder("t.mlx4.bf16", 64, 36)
            .codes(4, 4)
            .scale(0, ScaleDType::BF16)
            .min(2, ScaleDType::BF16),
        Declaration::builder("t.nvfp4", 64, 40)
            .groups(4)
            .float_codes(8, CodeDType::F4E2M1)
            .scale(4, ScaleDType::F8E4M3)
            .super_scale(0, ScaleDType::F32),
        Declaration::builder("t.kquant", 256, 143)
            .groups(16)
            .codes(15, 4)
            .offset(8)
            .scale_bits(2, 6)
            .super_scale(0, ScaleDType::F16)
            .version(1)
            .summary(""),
    ];
    let kinds = kinds();
    for builder in built {
        let built = builder.build().unwrap();
        let read = kinds.iter().find(|kind| kind.name() == built.name()).unwrap();
        assert_eq!(&built, read);
    }
    let error = Declaration::builder("a", 1 << 40, 1).codes(0, 4).build().unwrap_err();
    assert_eq!((error.line, error.key.as_deref()), (None, Some("block_len")));
    assert_eq!(error.problem, Problem::Range { found: 1 << 40, least: 1, greatest: 1 << 20 });
    assert_eq!(error.to_string(), "`block_len`: it is 1099511627776, and must be from 1 to 1048576");
    assert_eq!(error.message(), "it is 1099511627776, and must be from 1 to 1048576");
}

/// What is replaced by what in a declaration that is right, and the sentence.
#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let fields = |text: &'static str, from: &'static str, to: &'static str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let nf4 = |from, to| fields(NF4, from, to);
    let int4 = |from, to| fields(INT4, from, to);
    let name = "a name has 1 to 64 of a-z A-Z 0-9 _ - . and begins with a letter";
    let known = "name, version, summary, block_len, block_bytes, groups, codes, values, unused, offset, signed, scale, super_scale, \
                 min and zero are known, so correct or remove it";
    let long = format!("name = \"{}\"", "a".repeat(65));
    let cases: Vec<(String, String)> = vec![
        // The text as a whole.
        (String::new(), "`name`: this key is missing; add `name = \"my.int4\"`, with your own values".into()),
        ("x".repeat((1 << 20) + 1), "the text has 1048577 bytes, and a declaration at most 1048576; is this the right file?".into()),
        (nf4("name = ", "name "), "line 1: this is no TOML: key with no value, expected `=`".into()),
        (nf4("version = 1", "name = 'b'"), "line 2, `name`: this key is given twice; remove one of the two".into()),
        (nf4("bits = 4,", "bits = 4, bits = 3,"), "line 6, `bits`: this key is given twice; remove one of the two".into()),
        (nf4("version", "versoin"), format!("line 2, `versoin`: there is no such key here; {known}")),
        (
            nf4("dtype =", "type ="),
            "line 8, `scale.type`: there is no such key here; at, bits and dtype are known, so correct or remove it".into(),
        ),
        (
            nf4("scale =", "super_scale = { at = 0, bits = 4 }\nscale ="),
            "line 8, `super_scale.bits`: there is no such key here; at and dtype are known, so correct or remove it".into(),
        ),
        // Missing keys.
        (nf4("block_len = 64\n", ""), "`block_len`: this key is missing; add `block_len = 64`, with your own values".into()),
        (nf4("block_bytes = 34\n", ""), "`block_bytes`: this key is missing; add `block_bytes = 34`, with your own values".into()),
        (
            int4("codes = { at = 11, bits = 4, order = \"sequential\" }\n", ""),
            "`codes`: this key is missing; add `codes = { at = 2, bits = 4 }`, with your own values".into(),
        ),
        (
            nf4("scale = { at = 0, dtype = \"f16\" }", ""),
            "`scale`: this key is missing; add `scale = { at = 0, dtype = \"f16\" }`, with your own values".into(),
        ),
        (nf4("at = 0, ", ""), "line 8, `scale.at`: this key is missing; add `at = 0`, with your own values".into()),
        (nf4(", dtype = \"f16\"", ""), "line 8, `scale.dtype`: this key is missing; add `dtype = \"f16\"`, with your own values".into()),
        (int4(", bits = 4 }", " }"), "line 9, `zero.bits`: this key is missing; add `bits = 4`, with your own values".into()),
        (nf4(" bits = 4,", ""), "line 6, `codes.bits`: this key is missing; add `bits = 4`, with your own values".into()),
        // Types and words.
        (nf4("= 64", "= 64.5"), "line 4, `block_len`: it is 64.5, and a whole number of 64 bits is expected".into()),
        (nf4("= 64", "= '64'"), "line 4, `block_len`: it is a string, and a whole number of 64 bits is expected".into()),
        (
            nf4("= 64", "= 99999999999999999999"),
            "line 4, `block_len`: it is 99999999999999999999, and a whole number of 64 bits is expected".into(),
        ),
        (nf4("\"my.nf4\"", "7"), "line 1, `name`: it is 7, and a string is expected".into()),
        (int4("offset = 8", "signed = 1"), "line 7, `signed`: it is 1, and true or false is expected".into()),
        (int4("offset = 8", "values = 1"), "line 7, `values`: it is 1, and an array of numbers is expected".into()),
        (nf4("0.0,", "[],"), "line 7, `values[7]`: it is an array, and a number is expected".into()),
        (nf4("{ at = 0, dtype = \"f16\" }", "\"f16\""), "line 8, `scale`: it is a string, and a table like { at = 0, .. } is expected".into()),
        (
            nf4("\"f16\"", "\"f8_e5m2\""),
            "line 8, `scale.dtype`: it is \"f8_e5m2\", and f32, f16, bf16, f8_e4m3 and e8m0 are known; write one of these".into(),
        ),
        (
            nf4("bits = 4, order = \"sequential\"", "dtype = 'f8'"),
            "line 6, `codes.dtype`: it is \"f8\", and f8_e4m3, f8_e5m2, f4_e2m1, f6_e2m3 and f6_e3m2 are known; write one of these".into(),
        ),
        (nf4("sequential", "half"), "line 6, `codes.order`: it is \"half\", and sequential and halves are known; write one of these".into()),
        // Names and lines.
        (nf4("my.nf4", ""), format!("line 1, `name`: \"\" is empty; {name}")),
        (nf4("my.nf4", "4.nf"), format!("line 1, `name`: \"4.nf\" does not begin with a letter; {name}")),
        (nf4("my.nf4", "my/nf4"), format!("line 1, `name`: \"my/nf4\" has other characters; {name}")),
        (NF4.replace("name = \"my.nf4\"", &long), format!("line 1, `name`: \"{}\" is too long; {name}", "a".repeat(65))),
        (
            nf4("floats,", "floats\\n"),
            "line 3, `summary`: it must be one line of at most 200 bytes without control characters; shorten it".into(),
        ),
        // Ranges.
        (nf4("version = 1", "version = 0"), "line 2, `version`: it is 0, and must be from 1 to 4294967295".into()),
        (nf4("= 64", "= 1099511627776"), "line 4, `block_len`: it is 1099511627776, and must be from 1 to 1048576".into()),
        (nf4("= 34", "= 0"), "line 5, `block_bytes`: it is 0, and must be from 1 to 1048576".into()),
        (nf4("bits = 4", "bits = 9"), "line 6, `codes.bits`: it is 9, and must be from 1 to 8".into()),
        (nf4("at = 2", "at = -1"), "line 6, `codes.at`: it is -1, and must be from 0 to 34".into()),
        (nf4("at = 0", "at = 9223372036854775807"), "line 8, `scale.at`: it is 9223372036854775807, and must be from 0 to 34".into()),
        (int4("at = 8, bits = 4", "at = 8, bits = 0"), "line 9, `zero.bits`: it is 0, and must be from 1 to 8".into()),
        (int4("offset = 8", "offset = 16"), "line 7, `offset`: it is 16, and must be from 0 to 15".into()),
        (int4("offset = 8", "offset = -1"), "line 7, `offset`: it is -1, and must be from 0 to 15".into()),
        (int4("groups = 4", "groups = 129"), "line 5, `groups`: it is 129, and must be from 1 to 128".into()),
        (
            int4("groups = 4", "groups = 3"),
            "line 5, `groups`: 3 groups are not equal parts of the 128 values of a block; take a divisor of 128".into(),
        ),
        // Tables.
        (
            nf4(", 1.0]", "]"),
            "line 7, `values`: it has 15 entries, and codes of 4 bits have 16 values; add the others, or say what they are by `unused`".into(),
        ),
        (
            nf4(", 1.0]", ", 1.0, 1.5]"),
            "line 7, `values`: it has 17 entries, and codes of 4 bits have 16 values; remove some, or give the codes more bits".into(),
        ),
        (
            int4("offset = 8\n", "values = []\nunused = 0\n"),
            "line 7, `values`: it has 0 entries, and codes of 4 bits have 16 values; add the others, or say what they are by `unused`".into(),
        ),
        (nf4("0.0,", "nan,"), "line 7, `values[7]`: it is NaN; a value must be a finite f32, at most 3.4028235e38 in magnitude".into()),
        (nf4("0.0,", "\n-inf,"), "line 8, `values[7]`: it is -inf; a value must be a finite f32, at most 3.4028235e38 in magnitude".into()),
        (nf4("0.0,", "1e39,"), "line 7, `values[7]`: it is inf; a value must be a finite f32, at most 3.4028235e38 in magnitude".into()),
        (
            nf4(", 1.0]", "]\nunused = nan"),
            "line 8, `unused`: it is NaN; a value must be a finite f32, at most 3.4028235e38 in magnitude".into(),
        ),
        (nf4("1.0]", "1.0]\nunused = 0"), "line 8, `unused`: every code has a value of its own, so none is unused; remove it".into()),
        (int4("offset = 8", "unused = 0"), "line 7, `unused`: every code has a value of its own, so none is unused; remove it".into()),
        (
            int4("bits = 4, order = \"sequential\" }\noffset = 8", "dtype = 'f4_e2m1' }\nunused = 0"),
            "line 7, `unused`: every code has a value of its own, so none is unused; remove it".into(),
        ),
        // What cannot be together.
        (
            nf4("1.0]", "1.0]\noffset = 8"),
            "line 8, `offset`: it cannot stand beside `values`: each says what a code stands for; remove one of the two".into(),
        ),
        (
            nf4("1.0]", "1.0]\nsigned = true"),
            "line 8, `signed`: it cannot stand beside `values`: each says what a code stands for; remove one of the two".into(),
        ),
        (
            int4("offset = 8", "offset = 8\nsigned = true"),
            "line 8, `signed`: it cannot stand beside `offset`: each says what a code stands for; remove one of the two".into(),
        ),
        (
            nf4("bits = 4, order = \"sequential\"", "dtype = 'f4_e2m1'"),
            "line 7, `values`: it cannot stand beside `codes.dtype`: codes of a dtype have its values; remove one of the two".into(),
        ),
        (
            nf4("order = \"sequential\"", "dtype = 'f4_e2m1'"),
            "line 6, `codes.dtype`: it cannot stand beside `codes.bits`: a dtype has its bits and its order; remove one of the two".into(),
        ),
        (
            nf4("at = 0, dtype", "at = 0, bits = 6, dtype"),
            "line 8, `scale.dtype`: it cannot stand beside `bits`: an entry is a whole number or a float; remove one of the two".into(),
        ),
        (
            nf4("scale =", "zero = { at = 0, bits = 4 }\nscale ="),
            "line 8, `zero`: it cannot stand beside `values`: a zero is taken from whole numbers; remove one of the two".into(),
        ),
        (
            int4("scale =", "min = { at = 75, dtype = 'f16' }\nscale ="),
            "line 10, `zero`: it cannot stand beside `min`: the one says what the other says; remove one of the two".into(),
        ),
        (
            int4("bits = 4, order = \"sequential\" }\noffset = 8", "dtype = 'f4_e2m1' }"),
            "line 8, `zero`: it cannot stand beside `codes.dtype`: a zero is taken from whole numbers; remove one of the two".into(),
        ),
        (
            nf4("dtype = \"f16\"", "bits = 6"),
            "line 8, `scale`: it needs `super_scale`: a scale of bits is a multiple of it; add it".into(),
        ),
        (
            nf4("scale =", "min = { at = 0, dtype = 'e8m0' }\nscale ="),
            "line 8, `min.dtype`: e8m0 has neither zero nor negative values, which a minimum may be; take f32, f16, bf16 or f8_e4m3".into(),
        ),
        (
            int4("at = 8, bits = 4", "at = 75, dtype = 'e8m0'"),
            "line 9, `zero.dtype`: e8m0 has neither zero nor negative values, which a zero may be; take f32, f16, bf16 or f8_e4m3".into(),
        ),
        (
            int4("bits = 4, order = \"sequential\"", "bits = 3, order = 'halves'").replace("offset = 8", "offset = 4"),
            "line 6, `codes.order`: `halves` is for 4-bit codes of blocks with an even number of values; these have 3 bits, so write \
             \"sequential\"".into(),
        ),
        (
            nf4("sequential", "halves").replace("= 64", "= 63"),
            "line 6, `codes.order`: `halves` is for 4-bit codes of blocks with an even number of values; this has 63 values, so write \
             \"sequential\"".into(),
        ),
        // Places.
        (
            nf4("= 34", "= 33"),
            "line 6, `codes`: its bytes are 2 to 34, and a block has 33; move it, or make `block_bytes` larger".into(),
        ),
        (nf4("at = 0", "at = 33"), "line 8, `scale`: its bytes are 33 to 35, and a block has 34; move it, or make `block_bytes` larger".into()),
        (nf4("at = 2", "at = 1"), "line 8, `scale`: its bytes 0 to 2 overlap bytes 1 to 33 of `codes`; move one of the two".into()),
        (int4("at = 8", "at = 7"), "line 9, `zero`: its bytes 7 to 9 overlap bytes 0 to 8 of `scale`; move one of the two".into()),
        (int4("at = 8", "at = 10"), "line 9, `zero`: its bytes 10 to 12 overlap bytes 11 to 75 of `codes`; move one of the two".into()),
        (
            nf4("= \"f16\"", "= \"f8_e4m3\"").replace("scale =", "super_scale = { at = 0, dtype = 'f16' }\nscale ="),
            "line 8, `super_scale`: its bytes 0 to 2 overlap bytes 0 to 1 of `scale`; move one of the two".into(),
        ),
    ];
    for (text, sentence) in cases {
        let shown = &text[..text.len().min(400)];
        let error = Declaration::parse(&text)
            .err()
            .unwrap_or_else(|| panic!("{shown} is taken; it should be: {sentence}"));
        assert_eq!(error.to_string(), sentence, "{shown}");
        assert!(!error.to_string().contains('\n'));
    }
}

/// Texts with bytes changed, doubled and left out are refused or taken, and what is taken keeps its promises.
#[test]
fn no_text_panics() {
    let mut random = Random(41);
    let parts = [
        "{", "}", "[", "]", "=", "\"", "'", "\n", "-", "0", "9", "e38", "nan", "inf", "at", "bits", "dtype",
        ",", ".", "#", "\u{0}", "ä",
    ];
    let (mut taken, mut refused) = (0, 0);
    for kind in KINDS {
        for _ in 0..400 {
            let mut chars: Vec<char> = text(kind).chars().collect();
            for _ in 0..1 + random.below(3) {
                let at = random.below(chars.len());
                match random.below(4) {
                    0 => drop(chars.remove(at)),
                    1 => chars.insert(at, chars[at]),
                    2 => chars[at] = char::from(32 + random.below(95) as u8),
                    _ => drop(chars.splice(at..at, parts[random.below(parts.len())].chars())),
                }
            }
            let mutated: String = chars.into_iter().collect();
            match Declaration::parse(&mutated) {
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().contains('\n') && error.to_string().len() < 800, "{error}");
                }
                Ok(declaration) => {
                    taken += 1;
                    assert_eq!(Declaration::parse(&declaration.to_text()).unwrap(), declaration, "{mutated}");
                    assert!(declaration.levels().iter().all(|level| level.is_finite()), "{mutated}");
                    assert_eq!(declaration.levels().len(), 1 << declaration.bits());
                    if declaration.block_len() < 2000 {
                        let values: Vec<f32> =
                            (0..declaration.block_len()).map(|_| random.normal()).collect();
                        let bytes = common::quantize(&declaration, &values, None);
                        common::dequantize(&declaration, &bytes);
                        assert!(!declaration.describe().to_string().is_empty());
                    }
                }
            }
        }
    }
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
}

/// Nests that would exhaust the stack of a careless parser.
#[test]
fn deep_nests_are_refused() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let text = format!("values = {}{}", open.repeat(50_000), close.repeat(50_000));
        assert!(Declaration::parse(&text).is_err());
    }
    assert!(Declaration::parse(&format!("values = [{}]", "1,".repeat(400_000))).is_err());
    assert!(Declaration::parse(&format!("{} = 1", ["a"; 100_000].join("."))).is_err());
}
