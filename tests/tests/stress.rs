//! Many threads build graphs, load sessions and run models while plugins are loaded: every answer is right, and no memory is lost.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitquilt::plugin::Loader;

use bitquilt::registry::Registry;
use bitquilt::{Graph, InferenceSession, Model, Tensor, TensorType};
use bitquilt_tests::elf::Library;
use bitquilt_tests::host::{qmatmul, row_sums};
use bitquilt_tests::random::Random;
use bitquilt_tests::{PluginDir, is_long_run};

const THREADS: usize = 8;
/// Copies of plugins that are opened for the first time while the others work.
const COPIES: usize = 24;
const ENCODINGS: [&str; 6] = ["q4_0", "q6_k", "q8_0", "good.int8", "second.half", "calls.sound"];

fn session(plugins: &PluginDir) -> InferenceSession {
    let session = InferenceSession::builder().threads(2).plugin_dir(plugins.path()).build().unwrap();
    assert_eq!(session.refusals(), []);
    session
}

/// A model that all threads share: a sum of products with a weight in each encoding.
fn shared_model(session: &InferenceSession) -> Model {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([4, 256])]).unwrap();
    let values: Vec<f32> = (0..32 * 256).map(|index| (index as f32 * 0.73).sin()).collect();
    let weight = Tensor::new([32, 256], values).unwrap();
    let products: Vec<_> = ENCODINGS
        .iter()
        .map(|encoding| {
            let weight = graph.quantize(encoding, &weight).unwrap();
            graph.qmatmul(graph.input(0), weight).unwrap()
        })
        .collect();
    let sum = products.into_iter().reduce(|sum, product| graph.op("add", [sum, product]).unwrap()).unwrap();
    graph.output(sum).unwrap();
    session.load(&graph).unwrap()
}

fn run(model: &Model) -> Vec<f32> {
    let values: Vec<f32> = (0..4 * 256).map(|index| (index as f32 * 0.31).cos()).collect();
    let x = Tensor::new([4, 256], values).unwrap();
    model.execute([("input0", &x)]).unwrap().get::<f32>("output0").unwrap().to_vec()
}

/// What each thing that a thread can do has to give.
struct Expected {
    products: Vec<Vec<f32>>,
    sums: Vec<f32>,
    shared: Vec<f32>,
    fault: String,
}

impl Expected {
    fn of(session: &InferenceSession, model: &Model) -> Self {
        Self {
            products: ENCODINGS.iter().map(|encoding| qmatmul(session, encoding).unwrap()).collect(),
            sums: row_sums(session, "good.row_sums").unwrap(),
            shared: run(model),
            fault: fault(session),
        }
    }
}

/// What a task that panics on a host's thread is answered with.
fn fault(session: &InferenceSession) -> String {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([4])]).unwrap();
    let copy = graph.node("calls.copy", [graph.input(0)]).attribute("fault", "task panics").value().unwrap();
    graph.output(copy).unwrap();
    let x = Tensor::new([4], [0f32; 4]).unwrap();
    session.load(&graph).unwrap().execute([("input0", &x)]).unwrap_err().to_string()
}

/// One thread's work until `end`; the number of things it did.
fn work(
    seed: usize,
    end: Instant,
    plugins: &PluginDir,
    shared: (&InferenceSession, &Model),
    expected: &Expected,
) -> usize {
    let mut random = Random::new(seed as u64);
    let mut done = 0;
    while Instant::now() < end {
        match random.below(8) {
            0 | 1 => {
                let own = session(plugins);
                let encoding = random.below(ENCODINGS.len());
                assert_eq!(qmatmul(&own, ENCODINGS[encoding]).unwrap(), expected.products[encoding]);
                assert_eq!(row_sums(&own, "good.row_sums").unwrap(), expected.sums);
            }
            2..5 => {
                let encoding = random.below(ENCODINGS.len());
                assert_eq!(qmatmul(shared.0, ENCODINGS[encoding]).unwrap(), expected.products[encoding]);
            }
            5 => assert_eq!(fault(shared.0), expected.fault),
            _ => assert_eq!(run(shared.1), expected.shared),
        }
        done += 1;
    }
    done
}

/// Bytes that are allocated, whichever library asked for them.
fn allocated() -> usize {
    // SAFETY: it takes nothing.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[test]
fn threads_build_load_and_run_while_plugins_are_loaded() {
    let length = Duration::from_secs(if is_long_run() { 60 } else { 4 });
    let plugins = PluginDir::new();
    for name in ["calls", "good", "second"] {
        plugins.add(name, Library::fixture(name).bytes);
    }
    let copies = PluginDir::new();
    for copy in 0..COPIES {
        copies.add(&format!("copy{copy}"), Library::fixture(["calls", "good", "second"][copy % 3]).bytes);
    }
    let session = session(&plugins);
    let model = shared_model(&session);
    let expected = Expected::of(&session, &model);

    // New libraries are opened in the first of four phases, and what was opened is loaded again in the others.
    let (opened, mut done, mut memory) = (AtomicUsize::new(0), Vec::new(), Vec::new());
    for phase in 0..4 {
        let end = Instant::now() + length / 4;
        done.push(thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (plugins, shared, expected) = (&plugins, (&session, &model), &expected);
                    scope.spawn(move || work(phase * THREADS + thread, end, plugins, shared, expected))
                })
                .collect();
            while Instant::now() < end {
                let copy = opened.fetch_add(1, Ordering::Relaxed);
                let mut registry = Registry::default();
                Loader::new(&mut registry).file(&copies.file(&format!("copy{}", copy % COPIES))).unwrap();
                assert_eq!(registry.plugins().count(), 1);
                thread::sleep(length / (8 * COPIES as u32));
            }
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
        }));
        assert!(opened.load(Ordering::Relaxed) >= COPIES, "all copies are opened in the first phase");
        memory.push(allocated());
    }
    let _ = writeln!(
        std::io::stderr(),
        "{THREADS} threads did {done:?} things in {} s while plugins were loaded {} times; bytes allocated after each phase: {memory:?}",
        length.as_secs(),
        opened.into_inner()
    );
    // The allocator's own caches still grow in the short run; in the long one, a byte for each two things is too much.
    let (growth, things) = (memory[3].saturating_sub(memory[1]), done[2] + done[3]);
    let caches = if is_long_run() { 0 } else { 8 * things };
    assert!(growth < caches + (64 << 10), "{growth} bytes were lost over {things} things");
}
