//! The text of the interface's layout: a paragraph for each type, by name.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use abi_stable::StableAbi;
use abi_stable::type_layout::{
    DiscriminantRepr, FieldAccessor, ReprAttr, TLData, TLEnum, TLField, TLFields, TypeLayout,
};

use super::spelling::{field_type, title};
use crate::abi::library::{API_VERSION_SYMBOL, ENTRY_SYMBOL, ENTRY_SYMBOL_LEN};
use crate::abi::module::PluginModuleRef;
use crate::tensor::DType;

/// All that crosses between a host and a library: the symbols, the root module and what is reached from it, the numbers of dtypes.
pub(super) fn dump() -> String {
    let mut dump = Dump::default();
    dump.visit(<PluginModuleRef as StableAbi>::LAYOUT);
    dump.paragraphs.insert("symbols".to_owned(), symbols());
    dump.paragraphs.insert("dtypes".to_owned(), dtypes());
    dump.paragraphs.into_values().collect::<Vec<_>>().join("\n")
}

/// The symbols of a library. What stands at the first is abi_stable's own, which has a version of its own.
fn symbols() -> String {
    let version_len = size_of_val(&crate::export::api_version());
    let mut text = "prefix symbols\n".to_owned();
    let _ = writeln!(text, "  {ENTRY_SYMBOL}: LibHeader, {ENTRY_SYMBOL_LEN} bytes");
    let _ = writeln!(text, "  {API_VERSION_SYMBOL}: [u8; {version_len}]");
    text
}

fn dtypes() -> String {
    DType::all().fold("codes dtypes\n".to_owned(), |text, dtype| text + &format!("  {dtype}: {}\n", dtype.0))
}

#[derive(Default)]
struct Dump {
    visited: HashSet<*const TypeLayout>,
    paragraphs: BTreeMap<String, String>,
}

impl Dump {
    fn visit(&mut self, layout: &'static TypeLayout) {
        if !self.visited.insert(layout) {
            return;
        }
        if has_paragraph(layout) {
            let (title, text) = (title(layout), paragraph(layout));
            let known = self.paragraphs.entry(title.clone()).or_insert_with(|| text.clone());
            assert_eq!(*known, text, "two types are spelled `{title}`: `spelling` has to tell them apart");
        }
        for field in layout.phantom_fields().iter().chain(layout.get_fields().into_iter().flatten()) {
            self.visit(field.layout());
            for function in field.function_range() {
                function.param_type_layouts.iter().for_each(|layout| self.visit(layout()));
                function.return_type_layout().into_iter().for_each(|layout| self.visit(layout()));
            }
        }
        layout.generics().type_params().iter().for_each(|layout| self.visit(layout()));
    }
}

/// Types of the language and of std, and markers, are told by their spelling and their size where they are used.
fn has_paragraph(layout: &'static TypeLayout) -> bool {
    let (name, module) = (layout.name(), layout.mod_path().to_string());
    let is_plain =
        matches!(name, "PrefixRef" | "AFunctionPointer" | "OpaqueField") || name.ends_with("_Interface");
    !(is_plain || module.starts_with("std::") || module == "<prelude>")
}

fn paragraph(layout: &'static TypeLayout) -> String {
    let (kind, members) = match layout.data() {
        TLData::Struct { fields } => ("value", placed(layout, fields, usize::MAX)),
        TLData::PrefixType(prefix) => {
            ("prefix", placed(layout, prefix.fields, prefix.first_suffix_field.into()))
        }
        TLData::Enum(variants) => ("enum", variant_lines(layout, &variants)),
        TLData::Union { fields } => ("union", fields.iter().map(|field| typed(layout, &field)).collect()),
        TLData::Opaque | TLData::Primitive(_) => ("opaque", Vec::new()),
    };
    let mut text = format!("{kind} {}: {}\n", title(layout), facts(layout));
    for member in members {
        let _ = writeln!(text, "  {member}");
    }
    text
}

fn facts(layout: &'static TypeLayout) -> String {
    let repr = match layout.repr_attr() {
        ReprAttr::C => "C".to_owned(),
        ReprAttr::Transparent => "transparent".to_owned(),
        ReprAttr::Int(int) => integer(int),
        ReprAttr::CAndInt(int) => format!("C, {}", integer(int)),
        other => format!("{other:?}"),
    };
    let mut text = format!("size {}, align {}, repr({repr})", layout.size(), layout.alignment());
    if layout.is_nonzero() {
        text += ", never zero";
    }
    if layout.generics().lifetime_count() > 0 {
        let _ = write!(text, ", lifetimes {}", layout.generics().lifetime_count());
    }
    if let Some(checks) = layout.extra_checks() {
        text += &required_traits(&checks.to_string());
    }
    text
}

/// The traits that the value of a trait object must have, out of what abi_stable says of them.
fn required_traits(checks: &str) -> String {
    let frame = ["RequiredTraits", "Auto", "Impld", "traits:", "traits:<no_traits>"];
    let traits = checks.split_whitespace().filter(|word| !frame.contains(word));
    let traits: String = traits.map(|word| format!(" {word}")).collect();
    if traits.is_empty() { traits } else { format!(", requires{traits}") }
}

fn integer(int: DiscriminantRepr) -> String {
    format!("{int:?}").to_lowercase()
}

fn typed(owner: &'static TypeLayout, field: &TLField) -> String {
    format!("{}: {}", field.name(), field_type(owner, field))
}

/// Fields with their bytes, which `repr(C)` lays one after the other. The type's size is that of the first `required`; later ones
/// may be missing in a library that was built with an older interface.
fn placed(layout: &'static TypeLayout, fields: TLFields, required: usize) -> Vec<String> {
    let (mut end, mut lines) = (0usize, Vec::new());
    let check = |end: usize| assert_eq!(end.next_multiple_of(layout.alignment()), layout.size());
    for (index, field) in fields.iter().enumerate() {
        if index == required {
            check(end);
        }
        let start = end.next_multiple_of(field.layout().alignment());
        end = start + field.layout().size();
        let missing = match field.field_accessor() {
            _ if index < required => "",
            FieldAccessor::MethodOption => ", may be missing",
            FieldAccessor::Opaque => ", is private",
            _ => ", panics where it is missing",
        };
        lines.push(format!("{} @ {start}..{end}{missing}", typed(layout, &field)));
    }
    if required >= fields.len() {
        check(end);
    }
    lines
}

fn variant_lines(layout: &'static TypeLayout, variants: &TLEnum) -> Vec<String> {
    let discriminants = format!("{:?}", variants.discriminants);
    let discriminants = discriminants.trim_matches(['[', ']']).split(", ");
    let mut fields = variants.fields.iter();
    let lines = variants.variant_names_iter().zip(discriminants).zip(variants.field_count.iter());
    let lines = lines.map(|((name, discriminant), count)| {
        let fields = fields.by_ref().take((*count).into());
        let fields: Vec<String> = fields.map(|field| field_type(layout, &field)).collect();
        if fields.is_empty() {
            format!("{name}: {discriminant}")
        } else {
            format!("{name}: {discriminant} of {}", fields.join(", "))
        }
    });
    lines.collect()
}
