//! Plugins that were built against other versions of plugin-api, or in another profile.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bitquilt_tests::host::Host;
use bitquilt_tests::patched::PatchedCopy;
use bitquilt_tests::{PluginDir, fixture};

use super::file::without_digests;
use super::{Case, case, files};

const API: &str = "plugin-api/Cargo.toml";
const PLUGIN: &str = "tests/plugins/good/src/lib.rs";

/// The fixture `good` as the package and plugin `fixture-NAME`, beside plugin-api and whatever else is to be patched.
fn copy(name: &str, members: &[&str]) -> PatchedCopy {
    // What the kit beside plugin-api depends on, once.
    let members = [&["plugin-api", "plugins/declared", "tests/plugins/good"], members].concat();
    let members: BTreeSet<&str> = members.into_iter().collect();
    let members: Vec<&str> = members.into_iter().collect();
    let manifest = "tests/plugins/good/Cargo.toml";
    let prefix = |text: &str| text.replace("good", name);
    PatchedCopy::new(env!("CARGO_TARGET_TMPDIR"), name, &members)
        .replace(manifest, "name = \"fixture-good\"", &format!("name = \"fixture-{name}\""))
        .replace(PLUGIN, "\"fixture-good\"", &prefix("\"fixture-good\""))
        .replace(PLUGIN, "EncodingSpec::new(\"good.int8\"", &prefix("EncodingSpec::new(\"good.int8\""))
        .replace(
            PLUGIN,
            "OpSignature::new(\"good.row_sums\")",
            &prefix("OpSignature::new(\"good.row_sums\")"),
        )
}

fn build(copy: &PatchedCopy, name: &str) -> PathBuf {
    copy.build(&format!("fixture-{name}"), &format!("fixture_{name}"))
}

fn version(copy: PatchedCopy, version: &str) -> PatchedCopy {
    copy.replace(API, "version = \"1.0.0\"", &format!("version = {version:?}"))
}

/// plugin-api 1.1.0, which has grown wherever it can: a method more on an author's object, on one of the host's and on the
/// registrar, and a field more in the root module. The plugin uses all of them.
fn newer(members: &[&str]) -> PatchedCopy {
    let traits = "plugin-api/src/abi/traits.rs";
    let (author, host) = ("plugin-api/src/abi/author.rs", "plugin-api/src/abi/host.rs");
    version(copy("newer", members), "1.1.0")
        .after(
            traits,
            "        let _ = (blocks, codes, scales, mins);\n        no_unpack()\n    }\n",
            "    /// `[any-thread]`\n    fn flavour(&self) -> u64 {\n        0\n    }\n",
        )
        .after(
            traits,
            "fn decoder(&self, index: usize) -> ROption<AbiEncodingLent<'_>>;\n    #[sabi(last_prefix_field)]\n    \
             fn executor(&self) -> AbiExecutor;\n",
            "    fn host_minor(&self) -> u64 {\n        0\n    }\n",
        )
        .after(
            traits,
            "fn kernel(&self, provider: AbiProviderBox, flags: u64);\n",
            "    fn remark(&self, text: RString) {\n        let _ = text;\n    }\n",
        )
        .after(author, "impl AbiEncoding for EncodingAdapter {\n", "    fn flavour(&self) -> u64 {\n        7\n    }\n")
        .after(
            "plugin-api/src/abi/foreign.rs",
            "impl AbiEncoding for LentEncoding {\n",
            "    fn flavour(&self) -> u64 {\n        self.encoding.call(\"flavour\", |encoding| encoding.flavour())\n    }\n",
        )
        .after(
            "plugin-api/src/abi/handle.rs",
            "let spec = raw.spec().into();\n",
            "        let spec: EncodingSpec = spec;\n        let summary = format!(\"{} (flavour {})\", \
             spec.summary, raw.flavour());\n        let spec = spec.summary(summary);\n",
        )
        .after(host, "impl AbiRun for RunAdapter<'_> {\n", "    fn host_minor(&self) -> u64 {\n        1\n    }\n")
        .after(
            host,
            "unsafe impl RunHost for LentRun<'_> {\n",
            "    fn host_minor(&self) -> u64 {\n        self.lent.host_minor()\n    }\n",
        )
        .after(
            "plugin-api/src/services.rs",
            "pub unsafe trait RunHost {\n",
            "    /// The host's minor version.\n    fn host_minor(&self) -> u64 {\n        1\n    }\n",
        )
        .after(
            "plugin-api/src/abi/registrar.rs",
            "impl AbiRegistrar for RegistrarAdapter<'_> {\n",
            "    fn remark(&self, text: RString) {\n        println!(\"remark: {text}\");\n    }\n",
        )
        .after(
            "plugin-api/src/context.rs",
            "impl<'a> RunContext<'a> {\n",
            "    /// The host's minor version.\n    pub fn host_minor(&self) -> u64 {\n        self.host.host_minor()\n    }\n",
        )
        .after(
            author,
            "        registrar.kernel(ProviderAdapter::erase(provider)?, flags(replaces));\n    }\n",
            "    registrar.remark(\"made with a newer plugin-api\".into());\n",
        )
        .after(
            "plugin-api/src/abi/module.rs",
            "pub(crate) register: extern \"C\" fn(AbiRegistrarLent<'_>) -> AbiResult<()>,\n",
            "    #[sabi(missing_field(option))]\n    pub(crate) built_minor: u64,\n",
        )
        .replace("plugin-api/src/abi/export.rs", "register: register::<E> }", "register: register::<E>, built_minor: 1 }")
        .after(
            "plugin-api/src/abi/library.rs",
            "return Err(LibraryError::PanicAborts);\n        }\n",
            "        assert_eq!(module.built_minor(), (found.minor > 0).then_some(found.minor.into()));\n",
        )
        .replace(
            PLUGIN,
            "sum[0] = values.iter().sum();",
            "sum[0] = values.iter().sum::<f32>() + minor as f32;",
        )
        .replace(
            PLUGIN,
            "let row_bytes =",
            "let minor = cx.host_minor();\n        let row_bytes =",
        )
}

fn major() -> PatchedCopy {
    version(copy("major", &[]), "2.0.0")
}

/// A patch version whose author has forgotten that what crosses by value is frozen.
fn layout() -> PatchedCopy {
    version(copy("layout", &[]), "1.0.1")
        .after(
            "plugin-api/src/abi/types.rs",
            "pub struct AbiBlock {\n    pub(crate) len: usize,\n    pub(crate) bytes: usize,\n",
            "    pub(crate) layers: usize,\n",
        )
        .replace(
            "plugin-api/src/abi/author.rs",
            "bytes: self.spec.block_bytes }",
            "bytes: self.spec.block_bytes, layers: 1 }",
        )
}

fn aborting() -> PatchedCopy {
    copy("aborting", &[]).after("Cargo.toml", "[profile.dev]\n", "panic = \"abort\"\n")
}

/// A whole host whose plugin-api is a minor newer.
fn newer_host() -> PathBuf {
    let plugins = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins")).unwrap();
    let built_in = plugins.map(|entry| format!("plugins/{}", entry.unwrap().file_name().display()));
    let mut members: Vec<String> = built_in.chain(["host".to_owned(), "tests".to_owned()]).collect();
    members.sort();
    newer(&members.iter().map(String::as_str).collect::<Vec<_>>())
        .cut("tests/Cargo.toml", "# Cargo builds the plugins first")
        .build("bitquilt-tests", "test-host")
}

pub(super) fn cases() -> Vec<Case> {
    let refused = |name: &str, build_it: fn() -> PathBuf| {
        files(name, move |_, dir| {
            dir.add("bad", fs::read(build_it()).unwrap());
        })
    };
    vec![
        case("plugin-api newer by a minor", newer_plugin),
        case("plugin-api older by a minor than the host's", older_plugin),
        refused("plugin-api newer by a major", || build(&major(), "major")),
        refused("a struct laid out in another way", || build(&layout(), "layout")),
        refused("built with panic = \"abort\"", || build(&aborting(), "aborting")),
    ]
}

/// What it calls and this host lacks answers its defaults.
fn newer_plugin(host: &Host, dir: &PluginDir) -> String {
    dir.add("newer", fs::read(build(&newer(&[]), "newer")).unwrap());
    let session = host.session(&[dir.path()]);
    assert_eq!(session.refusals(), []);
    assert_eq!(host.gained("newer", &session).len(), 4, "a plugin, an encoding, an op and a kernel");
    without_digests(&bitquilt_tests::host::report(&session))
        .replace(&host.good().display().to_string(), "GOOD")
}

/// What the host calls and the plugin lacks answers its defaults.
fn older_plugin(_: &Host, dir: &PluginDir) -> String {
    fs::copy(fixture("good"), dir.file("good")).unwrap();
    dir.add("newer", fs::read(build(&newer(&[]), "newer")).unwrap());
    let output = Command::new(newer_host()).arg(dir.path()).env_remove("HOME").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the host ended with {}: {errors}", output.status);
    without_digests(&String::from_utf8_lossy(&output.stdout))
}
