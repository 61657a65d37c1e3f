//! An extension of Python takes Python's symbols from the interpreter that loads it. The linkers of Apple's systems have to be told so.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple") {
        for argument in ["-undefined", "dynamic_lookup"] {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    }
}
