//! Types and signatures as Rust writes them. abi_stable does not record the parameters of its own generic types, and says them in
//! terms of what is in their fields; lifetimes are a list of their own.

use std::collections::VecDeque;

use abi_stable::type_layout::{
    LifetimeArrayOrSlice, LifetimeIndex, TLData, TLField, TLFunction, TLPrimitive, TypeLayout,
};

/// Generic types that are the same whatever their parameter is: they are written once, of a `T`.
const UNIFORM: [&str; 8] =
    ["BoxVtable", "MutWorkaround", "RBox", "RMut", "RRef", "RSlice", "RSliceMut", "RVec"];

/// The parameter of a type that is the same for all of them.
pub(super) fn uniform_parameter(layout: &'static TypeLayout) -> Option<&'static TypeLayout> {
    UNIFORM.contains(&layout.name()).then(|| parameters(layout).into_iter().next()).flatten()
}

/// The name that the paragraph of a type has.
pub(super) fn title(layout: &'static TypeLayout) -> String {
    match uniform_parameter(layout) {
        Some(_) => format!("{}<T>", layout.name()),
        None => Speller::new(None).spell(layout, false),
    }
}

/// The type of a field of `owner`, with its functions' signatures and its lifetimes.
pub(super) fn field_type(owner: &'static TypeLayout, field: &TLField) -> String {
    let mut speller = Speller::new(uniform_parameter(owner));
    speller.functions = field.function_range().iter().collect();
    let spelled = speller.spell(field.layout(), false);
    spelled + &lifetimes(&field.lifetime_indices())
}

struct Speller {
    /// What is spelled `T` between angle brackets.
    parameter: Option<&'static TypeLayout>,
    /// The signatures of the function pointers still to come.
    functions: VecDeque<TLFunction>,
}

impl Speller {
    fn new(parameter: Option<&'static TypeLayout>) -> Self {
        Self { parameter, functions: VecDeque::new() }
    }

    fn spell(&mut self, layout: &'static TypeLayout, is_nested: bool) -> String {
        let name = layout.name();
        if is_nested && self.parameter == Some(layout) {
            return "T".to_owned();
        }
        if name == "AFunctionPointer" {
            let function = self.functions.pop_front();
            return function.map_or_else(|| "fn".to_owned(), |function| self.signature(&function));
        }
        // The marker of a trait object: another type for each trait, without data.
        if name.ends_with("_Interface") {
            return "I".to_owned();
        }
        let inner: Vec<String> =
            parameters(layout).into_iter().map(|inner| self.spell(inner, true)).collect();
        let inner = inner.join(", ");
        match layout.data() {
            TLData::Primitive(TLPrimitive::SharedRef) => format!("&{inner}"),
            TLData::Primitive(TLPrimitive::MutRef) => format!("&mut {inner}"),
            TLData::Primitive(TLPrimitive::ConstPtr) => format!("*const {inner}"),
            TLData::Primitive(TLPrimitive::MutPtr) => format!("*mut {inner}"),
            TLData::Primitive(TLPrimitive::Array) => {
                format!("[{inner}; {:?}]", layout.generics().const_params()[0])
            }
            _ if inner.is_empty() => base_name(layout),
            _ => format!("{}<{inner}>", base_name(layout)),
        }
    }

    fn signature(&mut self, function: &TLFunction) -> String {
        let names = function.param_names.as_str().split([',', ';']).chain(std::iter::repeat(""));
        let parameters = names.zip(function.param_type_layouts.iter()).map(|(name, layout)| {
            let spelled = self.spell(layout(), false);
            // `#[sabi_trait]` numbers them.
            if name.is_empty() || name.starts_with("param_") { spelled } else { format!("{name}: {spelled}") }
        });
        let parameters: Vec<String> = parameters.collect();
        let output = function.return_type_layout().map(|layout| self.spell(layout(), false));
        let output = output.filter(|output| output != "()").map(|output| format!(" -> {output}"));
        let safety = if function.fn_qualifs.is_unsafe() { "unsafe " } else { "" };
        let lifetimes = lifetimes(&function.paramret_lifetime_indices);
        format!("{safety}fn({}){}{lifetimes}", parameters.join(", "), output.unwrap_or_default())
    }
}

/// A vtable is called `VTable` whatever its trait is, whose name the module around it has.
fn base_name(layout: &'static TypeLayout) -> String {
    match layout.name() {
        "VTable" => {
            let module = layout.mod_path().to_string();
            let module = module.rsplit("::").next().unwrap_or_default();
            format!("{}::VTable", module.trim_end_matches("_trait"))
        }
        name => name.to_owned(),
    }
}

/// The type parameters, as far as the layout tells them.
fn parameters(layout: &'static TypeLayout) -> Vec<&'static TypeLayout> {
    let fields = || layout.get_fields().into_iter().flatten().map(|field| field.layout());
    let of_a_field = || fields().map(parameters).find(|found| !found.is_empty()).unwrap_or_default();
    match layout.name() {
        "RResult" | "ROption" | "MaybeCmp" | "Tuple2" | "Tuple3" | "Tuple4" => fields().collect(),
        "RObject" | "RObjectVtable" | "VTable" => of_a_field(),
        name if UNIFORM.contains(&name) => of_a_field(),
        // A trait object has those of its vtable.
        name if name.ends_with("_TO") => of_a_field().into_iter().flat_map(parameters).collect(),
        _ => {
            let phantoms: Vec<_> = layout.phantom_fields().iter().map(|field| field.layout()).collect();
            let generics = layout.generics().type_params().iter().map(|layout| layout());
            if phantoms.is_empty() { generics.collect() } else { phantoms }
        }
    }
}

/// Those of a signature or field, in order, if there are any but `'_`: the type's and the signature's own have numbers.
fn lifetimes(indices: &LifetimeArrayOrSlice<'_>) -> String {
    let indices = indices.iter().flat_map(|pair| <[LifetimeIndex; 2]>::from(pair.both()));
    let indices: Vec<LifetimeIndex> = indices.filter(|index| *index != LifetimeIndex::NONE).collect();
    if indices.iter().all(|index| *index == LifetimeIndex::ANONYMOUS) {
        return String::new();
    }
    indices.iter().fold(" for".to_owned(), |text, index| text + &format!(" {index}"))
}
