//! The checks of a kernel: runs on inputs that its op takes.

use bitquilt_plugin_api::{Dim, Element, Error, ErrorKind, KernelKey, OpSignature, Selector};

use super::finding::{At, Check, Verdict};
use super::node::Node;
use super::op::nothing_found;
use super::search::legal_nodes;
use super::setup::Setup;
use super::values::{Filling, is_dense};
use crate::TestTensor;
use crate::call::{Call, Ran};
use crate::memory::{ALIGNMENT, Memory, Placement};

/// Thread counts that outputs must not depend on.
const THREADS: [usize; 4] = [1, 2, 3, 5];

pub(super) fn check(setup: &Setup, index: usize, key: &KernelKey, check: Check, at: At<'_>) -> Verdict {
    let Ok((signature, _)) = setup.host.op(&key.op) else {
        return Verdict::Skipped(format!("the op `{}` is another plugin's, which is not here", key.op));
    };
    if key.space != 0 {
        return Verdict::Skipped(format!(
            "it is for memory space {}, and here is 0, the host's own, alone",
            key.space
        ));
    }
    let wanted = match &key.selector {
        Selector::Encoding(name) => Some(name.as_str()),
        _ => None,
    };
    if let Some(name) = wanted.filter(|name| setup.host.find_encoding(name).is_none()) {
        return Verdict::Skipped(format!("the encoding `{name}` is another plugin's, which is not here"));
    }
    at("infer, candidates");
    let found = legal_nodes(setup, signature, wanted);
    if found.nodes.is_empty() {
        return nothing_found(signature, &found);
    }
    if !signature.pure && matches!(check, Check::Written | Check::Determinism) {
        let reason = "the op need not give the same outputs each time";
        return Verdict::Skipped(reason.to_owned());
    }
    let probe = Probe { setup, index, signature, at };
    if check == Check::Panics {
        return probe.panics(&found.nodes);
    }
    let mut cases = Vec::new();
    let mut refusal = None;
    for node in &found.nodes {
        match probe.case(node) {
            Ok(case) => cases.push(case),
            Err(error) => refusal = refusal.or(Some((node, error))),
        }
    }
    match refusal {
        Some((node, error)) if cases.is_empty() => {
            let reason = format!("no run on {}: {error}", node.describe());
            return match error.kind() {
                ErrorKind::Panicked => Verdict::Failed(reason),
                _ => Verdict::Skipped(reason),
            };
        }
        _ => {}
    }
    match check {
        // Of an op that need not give the same twice, any run shows what is left changed.
        Check::Control if !signature.pure => probe.inputs(&cases).into(),
        Check::Written | Check::Control => probe.written(&cases).into(),
        Check::Determinism => probe.determinism(&cases).into(),
        Check::Inputs => probe.inputs(&cases).into(),
        Check::Bounds => probe.bounds(&cases).into(),
        Check::Joins => probe.joins(&cases).into(),
        _ => Verdict::Skipped("a kernel has no such check".to_owned()),
    }
}

/// A kernel, and how it is told what it does.
struct Probe<'a> {
    setup: &'a Setup,
    index: usize,
    signature: &'a OpSignature,
    at: At<'a>,
}

/// A node, and inputs that the kernel runs on.
struct Case {
    node: Node,
    tensors: Vec<TestTensor>,
}

impl Probe<'_> {
    fn run(&self, node: &Node, tensors: &[TestTensor], threads: usize, memory: Memory) -> Result<Ran, Error> {
        let call = self.setup.host.call(&self.signature.name).provider_at(self.index);
        self.call(call.threads(threads).memory(memory), node, tensors).run_watched()
    }

    fn call<'a>(&self, call: Call<'a>, node: &Node, tensors: &'a [TestTensor]) -> Call<'a> {
        let (by_place, by_name) = tensors.split_at(tensors.len() - node.named.len());
        let call = by_place.iter().fold(call, Call::input);
        let named = node.named.iter().zip(by_name);
        let call = named.fold(call, |call, (name, tensor)| call.input_named(name, tensor));
        let attributes = node.attributes.iter();
        attributes.fold(call, |call, (name, value)| call.attribute(name, value.clone()))
    }

    /// Transforms of rows that are cut give what those of whole rows do.
    fn joins(&self, cases: &[Case]) -> Result<String, String> {
        for Case { node, tensors } in cases {
            let said = node.describe();
            (self.at)(&format!("transforms of parts of rows, {said}"));
            let call = self.setup.host.call(&self.signature.name).provider_at(self.index).joins();
            let ran = self.call(call, node, tensors).run_watched();
            ran.map_err(|error| format!("of {said}: {error}"))?;
        }
        Ok(said(cases))
    }

    /// Inputs of a node that the kernel runs on: which whole numbers are indices that it takes is found by trying.
    fn case(&self, node: &Node) -> Result<Case, Error> {
        let mut refusal = None;
        for filling in [Filling::Plain, Filling::Zeros, Filling::Ones] {
            (self.at)(&format!("run, {}, {filling}", node.describe()));
            let tensors = node.tensors(&self.setup.host, filling)?;
            match self.run(node, &tensors, 1, Memory::default()) {
                Ok(_) => return Ok(Case { node: node.clone(), tensors }),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| Error::failed("nothing was tried")))
    }

    fn written(&self, cases: &[Case]) -> Result<String, String> {
        for Case { node, tensors } in cases {
            let said = node.describe();
            (self.at)(&format!("run, {said}, over two patterns"));
            let run = |fill| self.run(node, tensors, 2, Memory { fill, ..Memory::default() });
            let (first, second) = (run(0xA5), run(0x5A));
            let (first, second) = (complete(first, &said)?, complete(second, &said)?);
            if let Some((output, byte)) = first_difference(&first, &second) {
                return Err(format!(
                    "of {said}: byte {byte} of output {output} is not written, or depends on what outputs or scratch held before"
                ));
            }
        }
        Ok(said(cases))
    }

    fn determinism(&self, cases: &[Case]) -> Result<String, String> {
        for Case { node, tensors } in cases {
            let said = node.describe();
            let mut first: Option<(Vec<TestTensor>, usize)> = None;
            for threads in [THREADS, THREADS].concat() {
                (self.at)(&format!("run, {said}, {threads} threads"));
                let ran = self.run(node, tensors, threads, Memory::default());
                let Ran { outputs, displaced, .. } = ran.map_err(|error| format!("of {said}: {error}"))?;
                let (first, before) = first.get_or_insert_with(|| (outputs.clone(), displaced));
                if *before != displaced {
                    return Err(format!(
                        "of {said}: `serves` answers otherwise for the same shapes another time"
                    ));
                }
                if let Some((output, byte)) = first_difference(first, &outputs) {
                    return Err(format!(
                        "of {said}: byte {byte} of output {output} is another on {threads} threads, or another time"
                    ));
                }
            }
        }
        Ok(format!("the same on 1, 2, 3 and 5 threads; {}", said(cases)))
    }

    fn inputs(&self, cases: &[Case]) -> Result<String, String> {
        for Case { node, tensors } in cases {
            let said = node.describe();
            let before: Vec<Vec<u8>> = tensors.iter().map(|tensor| tensor.bytes().to_vec()).collect();
            (self.at)(&format!("run, {said}"));
            complete(self.run(node, tensors, 2, Memory::default()), &said)?;
            let changed = before.iter().zip(tensors).position(|(before, tensor)| before != tensor.bytes());
            if let Some(input) = changed {
                return Err(format!("of {said}: input {input} is changed"));
            }
        }
        Ok(said(cases))
    }

    fn bounds(&self, cases: &[Case]) -> Result<String, String> {
        for placement in [Placement::Heap, Placement::AfterGuard, Placement::BeforeGuard] {
            for Case { node, tensors } in cases {
                let said = node.describe();
                let placed = tensors
                    .iter()
                    .enumerate()
                    .map(|(index, tensor)| tensor.placed(self.alignment(index, tensor), placement));
                let placed = placed.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
                for threads in [1, 3] {
                    (self.at)(&format!("run, {said}, {threads} threads, {placement}"));
                    let ran = self.run(node, &placed, threads, Memory { placement, ..Memory::default() });
                    if let Some(place) = ran.map_err(|error| format!("of {said}: {error}"))?.trespass {
                        return Err(format!("of {said}: it writes outside {place}"));
                    }
                }
            }
        }
        let guarded = if cfg!(unix) { "guard pages" } else { "margins" };
        Ok(format!("{guarded} on both sides of every buffer; {}", said(cases)))
    }

    /// What a host promises of an input's address.
    fn alignment(&self, index: usize, tensor: &TestTensor) -> usize {
        match is_dense(&tensor.tensor_type().element) {
            _ if self.signature.is_state(index) => ALIGNMENT,
            Some(dtype) => dtype.size().unwrap_or(1),
            None => 1,
        }
    }

    fn panics(&self, nodes: &[Node]) -> Verdict {
        let (mut calls, mut refusal) = (0, None);
        for node in nodes.iter().chain(&nodes.iter().map(emptied).collect::<Vec<_>>()) {
            if node.infer(&self.setup.host, &self.signature.name).is_err() {
                continue;
            }
            for filling in [Filling::Plain, Filling::Zeros, Filling::Ones, Filling::Hostile] {
                for threads in [1, 3] {
                    let said = format!("run, {}, {filling}, {threads} threads", node.describe());
                    (self.at)(&said);
                    let tensors = node.tensors(&self.setup.host, filling);
                    match tensors.and_then(|tensors| self.run(node, &tensors, threads, Memory::default())) {
                        Ok(_) => calls += 1,
                        Err(error) if error.kind() == ErrorKind::Panicked => {
                            return Verdict::Failed(format!("{said}: {error}"));
                        }
                        Err(error) if error.kind() == ErrorKind::Unsupported => {
                            refusal = refusal.or(Some(format!("no {said}: {error}")));
                        }
                        Err(_) => calls += 1,
                    }
                }
            }
        }
        match refusal {
            Some(refusal) if calls == 0 => Verdict::Skipped(refusal),
            _ => Verdict::Passed(format!(
                "none in {calls} runs with empty tensors, odd indices and values that are not finite"
            )),
        }
    }
}

/// The node with dense inputs of no rows.
fn emptied(node: &Node) -> Node {
    let mut node = node.clone();
    for tensor in &mut node.types {
        if let (Element::Dense(_), Some(first)) = (&tensor.element, tensor.shape.first_mut()) {
            *first = Dim::Fixed(0);
        }
    }
    node
}

fn complete(ran: Result<Ran, Error>, said: &str) -> Result<Vec<TestTensor>, String> {
    ran.map(|ran| ran.outputs).map_err(|error| format!("of {said}: {error}"))
}

/// Output and byte at which two runs differ.
fn first_difference(a: &[TestTensor], b: &[TestTensor]) -> Option<(usize, usize)> {
    a.iter().zip(b).enumerate().find_map(|(output, (a, b))| {
        let (a, b) = (a.bytes(), b.bytes());
        let byte = a.iter().zip(b).position(|(a, b)| a != b);
        Some((output, byte.or((a.len() != b.len()).then_some(a.len().min(b.len())))?))
    })
}

fn said(cases: &[Case]) -> String {
    let nodes: Vec<String> = cases.iter().map(|case| case.node.describe()).collect();
    format!("on {}", nodes.join("; "))
}
