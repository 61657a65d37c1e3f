//! The layout of the interface is kept as a text, `abi.txt` beside the crate's manifest, and compared with what it is today.
//!
//! - [`dump`]: the text; [`spelling`]: the types in it, as Rust writes them.
//! - [`differences()`]: what is different of two such texts, and whether a minor version may be so different.

mod differences;
mod dump;
mod spelling;

use std::fs;

use differences::differences;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/abi.txt");

const HEAD: &str = "# What crosses between a host and a plugin's library, as it is laid out on 64-bit targets.
# A line has a field's type and bytes. `T` is any type, `I` the marker of a trait object. ABI.md has the rules.
";

const UPDATE: &str = "BITQUILT_BLESS=1 cargo test -p bitquilt-plugin-api abi";

/// Why a text is not the one that is kept; None if it is.
fn complaint(kept: &str, today: &str) -> Option<String> {
    let kept_lines = kept.lines().filter(|line| !line.starts_with('#'));
    if kept_lines.eq(today.lines()) {
        return None;
    }
    let found = differences(kept, today);
    let list: String = found.iter().map(|difference| format!("  {difference}\n")).collect();
    let verdict = if found.is_empty() {
        "No type has changed, but the file is not as it is written today."
    } else if found.iter().all(|difference| difference.minor_may) {
        "A minor version of plugin-api may have these changes."
    } else {
        "No version of 1.x may have the changes that say never, once 1.0 is released."
    };
    Some(format!(
        "the plugin interface is not laid out as plugin-api/abi.txt says:\n{list}{verdict}\n\
         plugin-api/ABI.md has the rules. If the change is meant, update the file:\n  {UPDATE}\n"
    ))
}

#[cfg(target_pointer_width = "64")]
#[test]
fn the_layout_is_the_one_that_is_kept() {
    let today = dump::dump();
    if std::env::var_os("BITQUILT_BLESS").is_some() {
        fs::write(FILE, format!("{HEAD}# {UPDATE}\n{today}")).unwrap();
    }
    let kept =
        fs::read_to_string(FILE).unwrap_or_else(|error| panic!("{FILE}: {error}; this writes it: {UPDATE}"));
    if let Some(complaint) = complaint(&kept, &today) {
        panic!("{complaint}");
    }
}

#[test]
fn a_complaint_says_what_changed_and_what_to_do() {
    let kept = "# a remark\nvalue A: size 8, align 8, repr(C)\n  b: u64 @ 0..8\n";
    let today = kept.trim_start_matches("# a remark\n");
    assert_eq!(complaint(kept, today), None);
    let of = |today: &str| complaint(kept, today).unwrap();
    let removed = of("value A: size 8, align 8, repr(C)\n");
    assert!(
        removed.contains("  never in 1.x: the field `b` of `A` was removed\nNo version of 1.x may"),
        "{removed}"
    );
    assert!(removed.contains(UPDATE), "{removed}");
    let added = of(&format!("{today}\nopaque C: size 8, align 8\n"));
    assert!(added.contains("  a minor may: `C` is new\nA minor version of plugin-api may"), "{added}");
    let blank = of(&format!("{today}\n"));
    assert!(blank.contains("says:\nNo type has changed"), "{blank}");
}
