//! Plugins that load and then break the contract: in a constructor, or in what they register.

use std::time::Duration;

use bitquilt::plugin_api::Selector;
use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
use bitquilt_tests::host::{Host, qmatmul};
use bitquilt_tests::{PluginDir, contract};

use super::{Case, case, files};

pub(super) fn cases() -> Vec<Case> {
    let modes = [
        "constructor aborts",
        "constructor exits",
        "constructor segfaults",
        "nothing",
        "constructor function panics",
        "constructor function fails",
        "long error",
        "invalid error",
        "half, then a panic",
        "half, then bombs",
        "half, then a bad signature",
        "half, then a failing op",
        "half, then a failing kernel",
        "empty plugin name",
        "long plugin name",
        "foreign plugin name",
        "empty encoding name",
        "long encoding name",
        "foreign encoding name",
        "empty op name",
        "foreign op name",
        "spaced op name",
        "no values a block",
        "no bytes a block",
        "huge blocks",
        "twice the same encoding",
        "taken encoding",
        "taken op",
        "taken plugin name",
        "taken built-in encoding",
        "taken built-in op",
        "taken built-in kernel",
        "half, then another memory space",
        "reserved encoding name",
        "taken built-in plugin name",
    ];
    let mut cases: Vec<Case> = modes
        .into_iter()
        .map(|mode| {
            files(mode, move |_, dir| {
                dir.add("bad", contract(mode));
            })
        })
        .collect();
    cases.extend([
        case("constructor hangs", |host, dir| {
            dir.add("bad", contract("constructor hangs"));
            let probe = host.probe().time_limit(Duration::from_secs(1));
            host.refusals_with(probe, "constructor hangs", dir.path())
        }),
        case("what a child says is what the host says without one", without_a_child),
        case("destructors that panic", |host, dir| {
            dir.add("bombs", contract("bombs"));
            let session = host.session(&[dir.path()]);
            assert_eq!(session.refusals(), []);
            assert_eq!(
                host.gained("bombs", &session).len(),
                5,
                "a plugin, two encodings, an op and a kernel"
            );
            drop(session);
            "it is loaded, and dropped with its session".to_owned()
        }),
        case("a kernel for a processor that this machine is not", absent_machine),
        case("an encoding that replaces a plugin's on purpose", |host, dir| {
            replaced(host, dir, "replaced encoding", "good.int8")
        }),
        case("an encoding that replaces a built-in one on purpose", |host, dir| {
            replaced(host, dir, "replaced built-in encoding", "q4_0")
        }),
        case("two plugins in one directory that want one name", |host, dir| {
            dir.add("first", contract("sound"));
            dir.add("second", contract("half, then a bad signature"));
            dir.add("third", contract("sound"));
            let session = host.session(&[dir.path()]);
            assert_eq!(host.gained("two of one name", &session).len(), 2, "a plugin and its encoding");
            session.refusals().iter().map(|refusal| format!("{refusal}\n")).collect()
        }),
    ]);
    cases
}

/// A program that does not probe gets the same sentences, for all but what ends a process.
fn without_a_child(_: &Host, dir: &PluginDir) -> String {
    let session = InferenceSession::builder().build().unwrap();
    let before = bitquilt_tests::contents(session.registry());
    let mut said = Vec::new();
    for mode in ["half, then a panic", "half, then bombs", "constructor function panics", "taken built-in op"]
    {
        let file = dir.add(mode, contract(mode));
        let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
        assert_eq!(bitquilt_tests::contents(session.registry()), before, "{mode}");
        said.extend(session.refusals().iter().map(ToString::to_string));
        std::fs::remove_file(file).unwrap();
    }
    said.join("\n")
}

fn absent_machine(host: &Host, dir: &PluginDir) -> String {
    dir.add("machine", contract("absent machine"));
    let session = host.session(&[dir.path()]);
    assert_eq!(session.refusals(), []);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([4])]).unwrap();
    let copy = graph.op("contract.copy", [graph.input(0)]).unwrap();
    graph.output(copy).unwrap();
    let model = session.load(&graph).unwrap();
    let x = Tensor::new([4], [1f32, 2.0, 3.0, 4.0]).unwrap();
    let results = model.execute([("input0", &x)]).unwrap();
    assert_eq!(results.get::<f32>("output0").unwrap(), x.values::<f32>().unwrap());
    let plan = model.explain().unwrap().to_string();
    let lines = plan.lines().filter(|line| line.contains("avx4096") || line.contains("contract.copy"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn replaced(host: &Host, dir: &PluginDir, mode: &str, encoding: &str) -> String {
    dir.add("replacing", contract(mode));
    let session = host.session(&[dir.path()]);
    assert_eq!(session.refusals(), []);
    let plugin = session.registry().encoding(encoding).unwrap().plugin();
    let of_its_own = Selector::Encoding(encoding.to_owned());
    let kernels = session.registry().kernels("qmatmul", Some(encoding));
    let kernels = kernels.filter(|kernel| kernel.key().selector == of_its_own).count();
    // The fixture stores f32 as it is: the product is exact, and not what the former encoding gives.
    assert_ne!(qmatmul(&session, encoding).unwrap(), qmatmul(&host.session(&[]), encoding).unwrap());
    format!(
        "`{encoding}` is the plugin `{}`'s, and has {kernels} kernels of its own for qmatmul",
        plugin.name
    )
}
