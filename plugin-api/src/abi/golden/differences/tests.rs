use super::differences;

const RECORD: &str = "value Record: size 16, align 8, repr(C)
  code: u32 @ 0..4
  flags: u32 @ 4..8
  len: usize @ 8..16
";

const VTABLE: &str = "prefix Thing::VTable: size 16, align 8, repr(C)
  _sabi_tys: PhantomData<()> @ 0..0
  name: unsafe fn(RRef<()>) -> RString @ 0..8
  run: unsafe fn(RRef<()>, Record) -> bool @ 8..16
  size: unsafe fn(RRef<()>) -> usize @ 16..24, may be missing
";

const ENUM: &str = "enum Choice: size 16, align 8, repr(u8)
  Some: 0 of Record
  None: 1
";

const CODES: &str = "codes dtypes
  f32: 1
  f64: 2
";

fn found(old: &str, new: &str) -> Vec<String> {
    differences(old, new).iter().map(ToString::to_string).collect()
}

/// The differences of two texts, the second of which has `to` where the first has `from`.
fn after(text: &str, from: &str, to: &str) -> Vec<String> {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    found(text, &text.replace(from, to))
}

#[test]
fn texts_of_the_same_types_do_not_differ() {
    let whole = [RECORD, VTABLE, ENUM, CODES].join("\n");
    assert_eq!(found(&whole, &whole), [""; 0]);
    let other_order =
        format!("# a remark\r\n{}", [CODES, ENUM, RECORD, VTABLE].join("\n").replace('\n', "\r\n"));
    assert_eq!(found(&whole, &other_order), [""; 0]);
}

#[test]
fn a_record_has_the_fields_that_it_has() {
    assert_eq!(
        after(RECORD, "..16\n", "..16\n  more: u64 @ 16..24\n"),
        ["never in 1.x: the field `more` was added to `Record`, which is not a type that grows"]
    );
    assert_eq!(
        after(RECORD, "  flags: u32 @ 4..8\n", ""),
        ["never in 1.x: the field `flags` of `Record` was removed"]
    );
    assert_eq!(
        after(RECORD, "flags:", "options:"),
        ["never in 1.x: the field `flags` of `Record` was renamed to `options`"]
    );
    assert_eq!(
        after(RECORD, "flags: u32", "flags: f32"),
        ["never in 1.x: the field `flags` of `Record` was `u32`, and is `f32`"]
    );
    assert_eq!(
        after(RECORD, "code: u32 @ 0..4\n  flags: u32", "flags: u32 @ 0..4\n  code: u32"),
        [
            "never in 1.x: the field `code` of `Record` was moved from byte 0 to byte 4",
            "never in 1.x: the field `flags` of `Record` was moved from byte 4 to byte 0",
        ]
    );
    assert_eq!(
        after(RECORD, "8..16", "8..12"),
        ["never in 1.x: the field `len` of `Record` ended at byte 16, and ends at byte 12"]
    );
}

#[test]
fn a_record_has_the_size_and_alignment_that_it_has() {
    assert_eq!(
        after(RECORD, "size 16", "size 24"),
        ["never in 1.x: `Record` had size 16, align 8, repr(C), and has size 24, align 8, repr(C)"]
    );
    assert_eq!(
        after(RECORD, "align 8", "align 16"),
        ["never in 1.x: `Record` had size 16, align 8, repr(C), and has size 16, align 16, repr(C)"]
    );
    assert_eq!(
        after(VTABLE, "repr(C)", "repr(transparent)"),
        ["never in 1.x: `Thing::VTable` had size 16, align 8, repr(C), and has size 16, align 8, \
             repr(transparent)"]
    );
}

#[test]
fn a_vtable_grows_at_its_end() {
    let longer = VTABLE.to_owned() + "  extra: unsafe fn() @ 24..32, may be missing\n";
    assert_eq!(
        found(VTABLE, &longer),
        ["a minor may: the method `extra` was added to `Thing::VTable` at its end"]
    );
    let field = VTABLE.to_owned() + "  minor: u64 @ 24..32, may be missing\n";
    assert_eq!(
        found(VTABLE, &field),
        ["a minor may: the field `minor` was added to `Thing::VTable` at its end"]
    );
    assert_eq!(found(&longer, VTABLE), ["never in 1.x: the method `extra` of `Thing::VTable` was removed"]);
}

#[test]
fn what_is_added_to_a_vtable_has_a_default() {
    let never = "never in 1.x: the method `extra` was added to `Thing::VTable` without a default that can be seen: behind \
                 `last_prefix_field`, a method needs a body, and a field `pub` and `missing_field(option)`";
    for missing in ["", ", panics where it is missing", ", is private"] {
        assert_eq!(found(VTABLE, &format!("{VTABLE}  extra: unsafe fn() @ 24..32{missing}\n")), [never]);
    }
    assert_eq!(
        after(VTABLE, ", may be missing", ""),
        ["never in 1.x: the method `size` of `Thing::VTable` may be missing: now it must be there"]
    );
    assert_eq!(
        after(VTABLE, "8..16\n", "8..16, panics where it is missing\n"),
        [
            "never in 1.x: the method `run` of `Thing::VTable` must be there: now it panics where it is missing"
        ]
    );
}

#[test]
fn the_methods_of_a_vtable_stay_in_their_places() {
    assert_eq!(
        after(
            VTABLE,
            "size: unsafe fn(RRef<()>) -> usize @ 16..24",
            "early: fn() @ 16..24, may be missing\n  size: unsafe fn(RRef<()>) -> usize @ 24..32"
        ),
        [
            "never in 1.x: the method `size` of `Thing::VTable` was moved from byte 16 to byte 24",
            "never in 1.x: the method `early` was added to `Thing::VTable` before others",
        ]
    );
    assert_eq!(
        after(VTABLE, "unsafe fn(RRef<()>, Record) -> bool", "unsafe fn(RRef<()>, u64) -> bool"),
        [
            "never in 1.x: the method `run` of `Thing::VTable` was `unsafe fn(RRef<()>, Record) -> bool`, and is \
             `unsafe fn(RRef<()>, u64) -> bool`"
        ]
    );
    assert_eq!(
        after(VTABLE, "run:", "start:"),
        ["never in 1.x: the method `run` of `Thing::VTable` was renamed to `start`"]
    );
    assert_eq!(
        after(
            VTABLE,
            "_sabi_tys: PhantomData<()> @ 0..0\n  name: unsafe fn(RRef<()>) -> RString @ 0..8",
            "name: unsafe fn(RRef<()>) -> RString @ 0..8\n  _sabi_tys: PhantomData<()> @ 0..0"
        ),
        [
            "never in 1.x: the field `_sabi_tys` of `Thing::VTable` was moved from place 0 to place 1",
            "never in 1.x: the method `name` of `Thing::VTable` was moved from place 1 to place 0",
        ]
    );
}

#[test]
fn an_enum_has_the_variants_that_it_has() {
    assert_eq!(
        after(ENUM, "None: 1\n", "None: 1\n  Both: 2\n"),
        ["never in 1.x: the variant `Both` was added to `Choice`, which is not a type that grows"]
    );
    assert_eq!(
        after(ENUM, "0 of Record", "0 of u64"),
        ["never in 1.x: the variant `Some` of `Choice` was `0 of Record`, and is `0 of u64`"]
    );
    assert_eq!(
        after(ENUM, "Some: 0 of Record\n  None: 1", "None: 1\n  Some: 0 of Record"),
        [
            "never in 1.x: the variant `Some` of `Choice` was moved from place 0 to place 1",
            "never in 1.x: the variant `None` of `Choice` was moved from place 1 to place 0",
        ]
    );
}

#[test]
fn codes_are_added_and_keep_their_numbers() {
    assert_eq!(
        after(CODES, "  f64: 2\n", "  f8: 3\n  f64: 2\n"),
        ["a minor may: the code `f8` was added to `dtypes`"]
    );
    assert_eq!(
        after(CODES, "f64: 2", "f64: 3"),
        ["never in 1.x: the code `f64` of `dtypes` was `2`, and is `3`"]
    );
    assert_eq!(after(CODES, "  f64: 2\n", ""), ["never in 1.x: the code `f64` of `dtypes` was removed"]);
}

#[test]
fn types_come_and_do_not_go() {
    let both = [RECORD, ENUM].join("\n");
    assert_eq!(found(RECORD, &both), ["a minor may: `Choice` is new"]);
    assert_eq!(found(&both, RECORD), ["never in 1.x: `Choice` was removed"]);
    assert_eq!(
        after(RECORD, "value", "prefix"),
        ["never in 1.x: `Record` was of kind value, and is of kind prefix"]
    );
}
