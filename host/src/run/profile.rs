//! Where the time of runs goes: for each node, for each op, and as a trace that browsers show.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::observe::{Observer, Values};
use crate::file::{FileError, replace};
use crate::plan::{Layout, Program, RunError, Step};
use crate::text::Columns;

/// The most spans that a trace has: a profile keeps the first ones.
const MAX_SPANS: usize = 1 << 16;

/// Calls of a node that its median is of: the last ones.
const SAMPLES: usize = 64;

/// The times of a state's runs so far. Its memory is allocated when it is made.
pub(crate) struct Profiler {
    origin: Instant,
    runs: u64,
    total: Duration,
    /// Of each step, then of each transform.
    times: Vec<Times>,
    steps: usize,
    spans: Vec<Span>,
}

#[derive(Clone)]
struct Times {
    calls: u64,
    total: Duration,
    least: Duration,
    bytes: u64,
    samples: [Duration; SAMPLES],
}

#[derive(Clone, Copy)]
struct Span {
    place: usize,
    begin: Duration,
    length: Duration,
}

impl Profiler {
    pub(crate) fn new(program: &Program) -> Self {
        let times = Times {
            calls: 0,
            total: Duration::ZERO,
            least: Duration::MAX,
            bytes: 0,
            samples: [Duration::ZERO; SAMPLES],
        };
        let steps = program.steps.len();
        Self {
            origin: Instant::now(),
            runs: 0,
            total: Duration::ZERO,
            times: vec![times; steps + program.transforms.len()],
            steps,
            spans: Vec::with_capacity(MAX_SPANS),
        }
    }

    /// A run has ended.
    pub(crate) fn run(&mut self, begin: Instant) {
        self.runs += 1;
        self.total += begin.elapsed();
    }

    fn add(&mut self, place: usize, begin: Instant, bytes: usize) {
        let length = begin.elapsed();
        let times = &mut self.times[place];
        times.samples[(times.calls % SAMPLES as u64) as usize] = length;
        times.calls += 1;
        times.total += length;
        times.least = times.least.min(length);
        times.bytes += bytes as u64;
        if self.spans.len() < MAX_SPANS {
            self.spans.push(Span { place, begin: begin - self.origin, length });
        }
    }

    /// What is known so far.
    pub(crate) fn profile(&self, program: &Program) -> Profile {
        let kernels = program.step_kernels();
        // A transform is computed before the first step that asked for it.
        let mut asks = vec![None; program.transforms.len()];
        for step in program.steps.iter().rev() {
            let slots = step.kernels.iter().flat_map(|kernel| &kernel.transforms);
            slots.for_each(|slot| asks[*slot] = Some(step));
        }
        let name = |place: usize| match place.checked_sub(self.steps) {
            None => {
                let step = &program.steps[place];
                (step.node.clone(), step.op.clone(), kernels[place].clone())
            }
            Some(slot) => {
                let (node, op) = asks[slot]
                    .map_or_else(Default::default, |step: &Step| (step.node.clone(), step.op.clone()));
                (node, format!("{op} (input)"), String::new())
            }
        };
        let nodes = self.times.iter().enumerate().map(|(place, times)| {
            let (node, op, kernel) = name(place);
            let mut samples = times.samples;
            let samples =
                &mut samples[..usize::try_from(times.calls).map_or(SAMPLES, |calls| calls.min(SAMPLES))];
            samples.sort_unstable();
            ProfiledNode {
                node,
                op,
                kernel,
                calls: times.calls,
                total: times.total,
                least: if times.calls == 0 { Duration::ZERO } else { times.least },
                median: samples.get(samples.len() / 2).copied().unwrap_or_default(),
                bytes: times.bytes,
            }
        });
        Profile { nodes: nodes.collect(), runs: self.runs, total: self.total, spans: self.spans.clone() }
    }
}

impl Observer for Profiler {
    type Mark = Instant;

    fn begin(&self) -> Instant {
        Instant::now()
    }

    fn inputs(&mut self, _: usize, _: &impl Values) -> Result<(), RunError> {
        Ok(())
    }

    fn step(&mut self, index: usize, begin: Instant, program: &Program, layout: &Layout) {
        let step = &program.steps[index];
        let values = step.inputs.iter().chain(&step.outputs);
        let bytes = values.map(|(value, _)| layout.bytes(*value)).sum();
        self.add(index, begin, bytes);
    }

    fn transform(&mut self, slot: usize, begin: Instant, program: &Program, layout: &Layout) {
        let bytes = layout.bytes(program.transforms[slot].value) + layout.transform(slot).bytes;
        self.add(self.steps + slot, begin, bytes);
    }
}

/// Where the time of a state's runs went. It displays as a table of the ops.
#[derive(Clone)]
#[non_exhaustive]
pub struct Profile {
    /// The nodes that run a kernel, in the order they run in; then what is computed from inputs before kernels run, for all that
    /// share it.
    pub nodes: Vec<ProfiledNode>,
    /// The number of runs.
    pub runs: u64,
    /// The time of all runs, from when the threads are taken to when the last kernel has returned.
    pub total: Duration,
    spans: Vec<Span>,
}

/// The time of a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfiledNode {
    /// Its name.
    pub node: String,
    /// Its op; with ` (input)` for what is computed from an input, once for all that share it.
    pub op: String,
    /// Its kernel.
    pub kernel: String,
    /// How often it ran.
    pub calls: u64,
    /// The time of all calls.
    pub total: Duration,
    /// The time of the shortest call.
    pub least: Duration,
    /// The median of the last 64 calls.
    pub median: Duration,
    /// Bytes of its inputs, constants and whole states included, and of its outputs, over all calls.
    pub bytes: u64,
}

/// The time of all nodes of an op that have the same kernel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfiledOp {
    /// The op.
    pub op: String,
    /// The kernel.
    pub kernel: String,
    /// The number of nodes.
    pub nodes: usize,
    /// How often they ran.
    pub calls: u64,
    /// The time of all calls.
    pub total: Duration,
    /// The sum of the nodes' medians.
    pub median: Duration,
    /// Bytes of inputs and outputs, over all calls.
    pub bytes: u64,
}

impl Profile {
    /// The ops, that which took the longest first.
    pub fn ops(&self) -> Vec<ProfiledOp> {
        let mut ops: BTreeMap<(&str, &str), ProfiledOp> = BTreeMap::new();
        for node in &self.nodes {
            let op = ops.entry((&node.op, &node.kernel)).or_insert_with(|| ProfiledOp {
                op: node.op.clone(),
                kernel: node.kernel.clone(),
                nodes: 0,
                calls: 0,
                total: Duration::ZERO,
                median: Duration::ZERO,
                bytes: 0,
            });
            op.nodes += 1;
            op.calls += node.calls;
            op.total += node.total;
            op.median += node.median;
            op.bytes += node.bytes;
        }
        let mut ops: Vec<ProfiledOp> = ops.into_values().collect();
        ops.sort_by_key(|op| std::cmp::Reverse(op.total));
        ops
    }

    /// The time of all kernels.
    pub fn kernels(&self) -> Duration {
        self.nodes.iter().map(|node| node.total).sum()
    }

    /// Writes a trace in the Trace Event Format, which `chrome://tracing` and Perfetto show. It has the first 65536 kernels that ran.
    ///
    /// The file is replaced as a whole: an error leaves what was there.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        replace(path, |file| self.trace(file))
    }

    fn trace(&self, file: &mut dyn Write) -> io::Result<()> {
        let events = self.spans.iter().map(|span| {
            let node = &self.nodes[span.place];
            TraceEvent {
                name: &node.node,
                cat: &node.op,
                ph: "X",
                ts: micros(span.begin),
                dur: micros(span.length),
                pid: 1,
                tid: 1,
                args: TraceArguments { op: &node.op, kernel: &node.kernel },
            }
        });
        let trace = Trace { trace_events: events.collect(), display_time_unit: "ns" };
        serde_json::to_writer(file, &trace).map_err(io::Error::from)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A file of Google's Trace Event Format.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<TraceEvent<'a>>,
    display_time_unit: &'a str,
}

/// A complete event: times are in microseconds.
#[derive(Serialize)]
struct TraceEvent<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'a str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: TraceArguments<'a>,
}

#[derive(Serialize)]
struct TraceArguments<'a> {
    op: &'a str,
    kernel: &'a str,
}

const HEADINGS: [&str; 8] = ["op", "kernel", "nodes", "calls", "total ms", "share", "us a call", "GB/s"];

impl Display for Profile {
    /// A table of the ops, and a line with the runs.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let total = self.total.as_secs_f64().max(f64::MIN_POSITIVE);
        let rows: Vec<[String; 8]> = self
            .ops()
            .into_iter()
            .map(|op| {
                let seconds = op.total.as_secs_f64();
                let rate = op.bytes as f64 / seconds.max(1e-12) / 1e9;
                [
                    op.op,
                    op.kernel,
                    op.nodes.to_string(),
                    op.calls.to_string(),
                    format!("{:.3}", seconds * 1e3),
                    format!("{:.1}%", 100.0 * seconds / total),
                    format!("{:.2}", seconds * 1e6 / op.calls.max(1) as f64),
                    format!("{rate:.1}"),
                ]
            })
            .collect();
        let columns = Columns::new(2, HEADINGS, &rows);
        writeln!(f, "{}", columns.line(&HEADINGS))?;
        for cells in &rows {
            writeln!(f, "{}", columns.line(cells))?;
        }
        let (runs, between) = (self.runs.max(1) as f64, self.total.saturating_sub(self.kernels()));
        let (total, between) = (self.total.as_secs_f64() * 1e6 / runs, between.as_secs_f64() * 1e6 / runs);
        writeln!(f, "{} runs of {total:.1} us, {between:.1} us of which between kernels", self.runs)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Graph, InferenceSession, Rope, Tensor, TensorType, dim};

    #[test]
    fn nodes_and_what_they_share_are_timed() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let types = [
            TensorType::f32([dim("seq"), dim(2), dim(8)]),
            TensorType::dense(crate::DType::I64, [dim("seq")]),
        ];
        let mut graph = Graph::new(session.registry(), types).unwrap();
        let (mut x, positions) = (graph.input(0), graph.input(1));
        for _ in 0..3 {
            x = graph.rope(x, positions, Rope::default()).unwrap();
            x = graph.silu(x).unwrap();
        }
        graph.output(x).unwrap();
        let mut state = session.load(&graph).unwrap().new_state().unwrap();
        let mut run = |seq: usize, profile: bool| {
            let (x, positions) = (Tensor::full([seq, 2, 8], 1f32), Tensor::full([seq], 3i64));
            state.set_profile(profile);
            for _ in 0..70 {
                state.run([("input0", &x), ("input1", &positions)]).unwrap();
            }
            state.profile()
        };
        assert!(run(5, false).is_none());
        let profile = run(5, true).unwrap();
        assert_eq!((profile.runs, profile.nodes.len()), (70, 7));
        for node in &profile.nodes {
            assert_eq!(node.calls, 70, "{node:?}");
            assert!(node.least <= node.median && node.median <= node.total, "{node:?}");
        }
        assert!(profile.kernels() <= profile.total);
        let names: Vec<(&str, usize, u64)> =
            profile.nodes.iter().map(|node| (node.op.as_str(), node.node.len(), node.bytes)).collect();
        let silu = 70 * 2 * 5 * 16 * 4;
        assert_eq!(names[1], ("silu", "silu.1".len(), silu));
        assert_eq!(names[6], ("rope (input)", "rope.0".len(), 70 * (5 * 8 + 5 * 8 * 4)));
        let ops = profile.ops();
        let silus = ops.iter().find(|op| op.op == "silu").unwrap();
        assert_eq!((silus.nodes, silus.calls, silus.bytes), (3, 210, 3 * silu));
        assert!(ops.is_sorted_by(|a, b| a.total >= b.total));
        let table = profile.to_string();
        assert_eq!(table.lines().count(), 1 + ops.len() + 1);
        assert!(table.starts_with("op") && table.contains("70 runs of"), "{table}");

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trace.json");
        profile.write_trace(&file).unwrap();
        let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 70 * 7);
        assert_eq!(
            (events[0]["name"].as_str(), events[0]["cat"].as_str()),
            (Some("rope.0"), Some("rope (input)"))
        );
        let ends: Vec<f64> = events
            .iter()
            .map(|event| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap())
            .collect();
        assert!(
            events.iter().skip(1).zip(ends).all(|(next, end)| next["ts"].as_f64().unwrap() >= end - 1e-6)
        );
        assert!(profile.write_trace(directory.path().join("no/such/trace.json")).is_err());
    }
}
