//! A plugin's items on their way into the registry: all of them, or none.

use std::sync::Arc;

use bitquilt_plugin_api::host::{Registration, Staged};
use bitquilt_plugin_api::{
    Arity, ContractedAxis, Contraction, EncodingHandle, InputKind, KernelKey, KernelProviderHandle, MAX_NAME,
    OpHandle, OpSignature, Selector, Split, name_problem,
};

use super::error::RegistryError;
use super::{Origin, PluginInfo, RegisteredEncoding, RegisteredKernel, RegisteredOp, Registry};
use crate::text::Brief;

impl Registry {
    /// Adds all that a plugin staged, or nothing.
    pub fn commit(&mut self, staged: Staged, origin: Origin) -> Result<Arc<PluginInfo>, RegistryError> {
        let Registration { name, version, encodings, ops, kernels } = staged.into_registration();
        check_name("the plugin", &name)?;
        let plugin = Arc::new(PluginInfo { name, version, origin });
        if let Some(first) = self.plugins.iter().find(|known| known.name == plugin.name) {
            let remedy = match first.origin {
                Origin::File(_) => "remove one of the two",
                Origin::BuiltIn | Origin::Program => "give this one another name",
            };
            return Err(RegistryError::DuplicatePlugin {
                name: plugin.name.clone(),
                first: (**first).clone(),
                remedy,
            });
        }
        if encodings.is_empty() && ops.is_empty() && kernels.is_empty() {
            return Err(RegistryError::Empty);
        }
        let mut merge =
            Merge { registry: self, plugin: &plugin, added: Registry::default(), dropped: Vec::new() };
        for (encoding, replaces) in encodings {
            merge.encoding(encoding, replaces)?;
        }
        for (op, replaces) in ops {
            merge.op(op, replaces)?;
        }
        for (kernel, replaces) in kernels {
            merge.kernel(kernel, replaces)?;
        }
        let Merge { added, dropped, .. } = merge;
        self.absorb(added, &dropped);
        self.plugins.push(Arc::clone(&plugin));
        Ok(plugin)
    }

    fn absorb(&mut self, added: Registry, dropped: &[(String, Selector, i32)]) {
        for encoding in added.encodings.keys().filter(|name| self.encodings.contains_key(*name)) {
            // Kernels for the encoding that is replaced read another byte format.
            for kernels in self.kernels.values_mut() {
                kernels.retain(|kernel| kernel.key.selector != Selector::Encoding(encoding.clone()));
            }
        }
        for kernels in self.kernels.values_mut() {
            kernels.retain(|kernel| !dropped.iter().any(|slot| *slot == slot_of(&kernel.key)));
        }
        self.encodings.extend(added.encodings);
        self.ops.extend(added.ops);
        for (op, kernels) in added.kernels {
            let all = self.kernels.entry(op).or_default();
            all.extend(kernels);
            all.sort_by_key(|kernel| std::cmp::Reverse(kernel.key.priority));
        }
    }
}

/// What makes two kernel providers rivals.
fn slot_of(key: &KernelKey) -> (String, Selector, i32) {
    (key.op.clone(), key.selector.clone(), key.priority)
}

/// A plugin's items on their way into a registry.
struct Merge<'a> {
    registry: &'a Registry,
    plugin: &'a Arc<PluginInfo>,
    added: Registry,
    dropped: Vec<(String, Selector, i32)>,
}

const REPLACE_HINT: &str = "; register it with a `replacing_` method to take its place";
const OP_HINT: &str =
    "; give it another name: an op stays, `replacing_kernel` takes the place of what runs it";
const TWICE_HINT: &str = "; it registers the name twice";

impl Merge<'_> {
    fn encoding(&mut self, handle: EncodingHandle, replaces: bool) -> Result<(), RegistryError> {
        let spec = handle.spec();
        check_name("an encoding", &spec.name)?;
        if !spec.has_sane_block() {
            let (encoding, block_len, block_bytes) = (spec.name.clone(), spec.block_len, spec.block_bytes);
            return Err(RegistryError::Block { encoding, block_len, block_bytes });
        }
        let name = spec.name.clone();
        if name == RESERVED {
            return Err(RegistryError::Reserved { encoding: name });
        }
        if let Some(first) = self.registry.encodings.get(&name).filter(|_| !replaces) {
            return Err(duplicate("encoding", name, &first.plugin, self.plugin, REPLACE_HINT));
        }
        if self.added.encodings.contains_key(&name) {
            return Err(duplicate("encoding", name, self.plugin, self.plugin, TWICE_HINT));
        }
        self.added.encodings.insert(name, RegisteredEncoding { handle, plugin: Arc::clone(self.plugin) });
        Ok(())
    }

    fn op(&mut self, handle: OpHandle, replaces: bool) -> Result<(), RegistryError> {
        let signature = handle.signature().map_err(RegistryError::Failed)?;
        check_signature(&signature)?;
        let name = signature.name.clone();
        if let Some(first) = self.registry.ops.get(&name).filter(|_| !replaces) {
            return Err(duplicate("op", name, &first.plugin, self.plugin, OP_HINT));
        }
        if self.added.ops.contains_key(&name) {
            return Err(duplicate("op", name, self.plugin, self.plugin, TWICE_HINT));
        }
        self.added.ops.insert(name, RegisteredOp { handle, signature, plugin: Arc::clone(self.plugin) });
        Ok(())
    }

    fn kernel(&mut self, handle: KernelProviderHandle, replaces: bool) -> Result<(), RegistryError> {
        let key = handle.key().map_err(RegistryError::Failed)?;
        if key.space != 0 {
            return Err(RegistryError::Space { kernel: kernel_name(&key), space: key.space });
        }
        check_name("a kernel", &key.name)?;
        check_name("a kernel's op", &key.op)?;
        let slot = slot_of(&key);
        let rival = |registry: &'_ Registry| {
            let kernels = registry.kernels.get(&key.op)?;
            kernels
                .iter()
                .find(|kernel| slot_of(&kernel.key) == slot)
                .map(|kernel| Arc::clone(&kernel.plugin))
        };
        match rival(self.registry) {
            Some(_) if replaces => self.dropped.push(slot.clone()),
            Some(first) => {
                return Err(duplicate("kernel", kernel_name(&key), &first, self.plugin, REPLACE_HINT));
            }
            None => {}
        }
        if let Some(first) = rival(&self.added) {
            return Err(duplicate(
                "kernel",
                kernel_name(&key),
                &first,
                self.plugin,
                "; give one another priority",
            ));
        }
        let kernel = RegisteredKernel { handle, key: key.clone(), plugin: Arc::clone(self.plugin) };
        self.added.kernels.entry(key.op).or_default().push(kernel);
        Ok(())
    }
}

/// The name to which recipes give another meaning: to leave a weight as it is.
const RESERVED: &str = "keep";

fn kernel_name(key: &KernelKey) -> String {
    let inputs = Brief(match &key.selector {
        Selector::Dense => "dense inputs",
        Selector::Encoding(name) => name,
        _ => "any encoding",
    });
    format!("{} for {inputs} at priority {}", key.op, key.priority)
}

fn duplicate(
    what: &'static str,
    name: String,
    first: &PluginInfo,
    second: &PluginInfo,
    hint: &'static str,
) -> RegistryError {
    RegistryError::Duplicate { what, name, first: first.clone(), second: second.clone(), hint }
}

fn check_name(what: &'static str, name: &str) -> Result<(), RegistryError> {
    match name_problem(name) {
        None => Ok(()),
        Some(problem) => {
            Err(RegistryError::Name { what, name: name.chars().take(MAX_NAME).collect(), problem })
        }
    }
}

fn check_signature(signature: &OpSignature) -> Result<(), RegistryError> {
    check_name("an op", &signature.name)?;
    let wrong = |problem: String| RegistryError::Signature { op: signature.name.clone(), problem };
    let mut names = Vec::new();
    for (index, input) in signature.inputs.iter().enumerate() {
        check_name("an op's input", &input.name)?;
        // Those that may be left out are told by name, all others by their place.
        if let Some(next) = signature.inputs.get(index + 1) {
            let problem = match (input.arity, next.arity) {
                (Arity::One, _) | (Arity::Optional, Arity::Optional) => None,
                (Arity::Optional, _) => Some("which may be left out"),
                _ => Some("which may be several"),
            };
            if let Some(problem) = problem {
                let (name, next) = (&input.name, &next.name);
                return Err(wrong(format!("has the input `{next}` after `{name}`, {problem}")));
            }
        }
        names.push(&input.name);
    }
    for attribute in &signature.attributes {
        check_name("an op's attribute", &attribute.name)?;
        if let Some(default) = &attribute.default
            && default.clone().into_kind(attribute.kind).is_none()
        {
            return Err(wrong(format!(
                "gives `{}` the default {}, which is not {}",
                attribute.name,
                Brief(&default.to_string()),
                attribute.kind
            )));
        }
        names.push(&attribute.name);
    }
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(format!("has `{}` twice", pair[0])));
    }
    match signature.kernel_input.map(|index| signature.inputs.get(index)) {
        Some(Some(input)) if input.kind == InputKind::Encoded && input.arity == Arity::One => {}
        Some(_) => {
            return Err(wrong("selects its kernel by an input that is not one encoded tensor".to_owned()));
        }
        None => {}
    }
    if let Some(group) = &signature.effect {
        check_name("a group of effects", group)?;
    }
    check_meaning(signature).map_err(|problem| wrong(problem.to_owned()))
}

/// Whether what a signature says of its inputs to tools can be.
fn check_meaning(signature: &OpSignature) -> Result<(), &'static str> {
    let is_kind = |index: usize, kind: InputKind| {
        signature.inputs.get(index).is_some_and(|input| input.kind == kind && input.arity == Arity::One)
    };
    for Contraction { activation, weight, axis, .. } in &signature.contractions {
        let is_weight = match axis {
            ContractedAxis::Last => {
                is_kind(*weight, InputKind::Dense) || is_kind(*weight, InputKind::Encoded)
            }
            _ => is_kind(*weight, InputKind::Dense),
        };
        if !is_kind(*activation, InputKind::Dense) || !is_weight || activation == weight {
            return Err(
                "contracts inputs that are not an activation, which is one dense tensor, and another tensor",
            );
        }
    }
    match signature.split {
        Split::Rows(input) if !(is_kind(input, InputKind::Dense) || is_kind(input, InputKind::Encoded)) => {
            Err("is split by the rows of an input that is not one tensor")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::host::register;
    use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding, Result as ApiResult, Rows};

    use super::*;

    struct Named(&'static str, usize);

    impl QuantizationEncoding for Named {
        fn spec(&self) -> EncodingSpec {
            EncodingSpec::new(self.0, self.1, 4)
        }
        fn quantize(&self, _: Rows<'_>, _: Option<&[f32]>, _: &mut [u8]) -> ApiResult<()> {
            Ok(())
        }
        fn dequantize(&self, _: &[u8], _: &mut [f32]) -> ApiResult<()> {
            Ok(())
        }
    }

    fn commit(registry: &mut Registry, plugin: Plugin) -> Result<(), RegistryError> {
        let staged = Staged::default();
        register(plugin, &staged).map_err(RegistryError::Failed)?;
        registry.commit(staged, Origin::Program).map(drop)
    }

    fn names(registry: &Registry) -> Vec<&str> {
        registry.encodings().map(|encoding| encoding.spec().name.as_str()).collect()
    }

    #[test]
    fn a_plugin_is_committed_whole_or_not_at_all() {
        let mut registry = Registry::default();
        commit(&mut registry, Plugin::new("first", "1").encoding(Named("a", 2))).unwrap();
        let second = Plugin::new("second", "1").encoding(Named("b", 2)).encoding(Named("a", 2));
        let error = commit(&mut registry, second).unwrap_err().to_string();
        assert_eq!(
            error,
            "encoding `a` of the program's plugin `second` is already registered by the program's plugin `first`; register it \
             with a `replacing_` method to take its place"
        );
        assert_eq!(names(&registry), ["a"]);
        assert_eq!(registry.plugins().count(), 1);
        commit(&mut registry, Plugin::new("third", "1").replacing_encoding(Named("a", 3))).unwrap();
        assert_eq!(registry.encoding("a").map(|encoding| encoding.spec().block_len), Some(3));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long: &'static str = "n".repeat(65).leak();
        for (plugin, sentence) in [
            (Plugin::new("", "1").encoding(Named("a", 1)), "is empty"),
            (Plugin::new("p", "1"), "registers no encoding"),
            (Plugin::new("p", "1").encoding(Named("", 1)), "is empty"),
            (Plugin::new("p", "1").encoding(Named(long, 1)), "is too long"),
            (Plugin::new("p", "1").encoding(Named("naïve", 1)), "other characters"),
            (Plugin::new("p", "1").encoding(Named("a", 0)), "blocks of 0 values"),
            (Plugin::new("p", "1").encoding(Named("a", usize::MAX)), "must be from 1 to"),
        ] {
            let mut registry = Registry::default();
            let error = commit(&mut registry, plugin).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
            assert_eq!(names(&registry), [""; 0]);
        }
    }
}
