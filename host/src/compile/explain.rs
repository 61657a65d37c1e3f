//! The plan of a loaded graph, for people.

use std::fmt::{self, Display, Formatter};

use bitquilt_simd::Isa;

use crate::plan::{Layout, Location, NodeNote, Place, Program};
use crate::text::{Brief, Columns, Passage};

/// The plan of a loaded graph: what runs, on which kernels, and where.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The nodes in the order they run in. Nodes that no output needs, and those computed at load, are not among them.
    pub nodes: Vec<ExplainedNode>,
    /// The session's instruction set. A node whose kernel has no code for it says which it uses.
    pub isa: Isa,
    /// Bytes of the arena; none where symbols are not bound.
    pub arena_bytes: Option<usize>,
    /// Bytes of constants that kernels read when they run.
    pub constant_bytes: usize,
    /// Bytes that kernels hold of their own, repacked weights for instance.
    pub held_bytes: usize,
    /// Bytes of a state.
    pub state_bytes: usize,
}

/// A node of the plan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExplainedNode {
    /// Its name.
    pub node: String,
    /// Its op.
    pub op: String,
    /// The kernel that serves it, and that kernel's plugin; none for a node that is another's memory.
    pub kernel: Option<(String, String)>,
    /// The kernels that do not serve it, and why; those first that serve it for other shapes.
    pub others: Vec<(String, String)>,
    /// The group of its effect.
    pub effect: Option<String>,
    /// The types of its inputs.
    pub inputs: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<ExplainedOutput>,
    /// Bytes of scratch memory; none where symbols are not bound.
    pub scratch_bytes: Option<usize>,
    /// Bytes that its kernel holds.
    pub held_bytes: usize,
    /// What its kernel says of its choices.
    pub note: String,
}

/// An output of a node of the plan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExplainedOutput {
    /// Its type; with numbers for symbols where they are bound.
    pub tensor: String,
    /// Its bytes; none where symbols are not bound.
    pub bytes: Option<usize>,
    /// Where it is in the arena; none where symbols are not bound, and for memory that is not the arena's.
    pub offset: Option<usize>,
}

/// Explains a program, for one binding of its symbols or for none.
pub(crate) fn explain(program: &Program, isa: Isa, layout: Option<&Layout>) -> Explanation {
    let tensor = |value: usize| {
        let tensor = &program.values[value].tensor;
        match layout {
            Some(layout) => format!("{} {:?}", tensor.element, layout.shape(value)),
            None => tensor.to_string(),
        }
    };
    let output = |value: &usize| ExplainedOutput {
        tensor: tensor(*value),
        bytes: layout.map(|layout| layout.bytes(*value)),
        offset: layout.and_then(|layout| match layout.value(*value).location {
            Location::Arena(offset) => Some(offset),
            _ => None,
        }),
    };
    let nodes = program.notes.iter().map(|note| {
        let chosen = layout.zip(note.step).map_or(0, |(layout, step)| layout.step(step).kernel as usize);
        let kernel = note.kernels.get(chosen);
        ExplainedNode {
            node: note.node.clone(),
            op: note.op.clone(),
            kernel: kernel.map(|kernel| (kernel.name.clone(), kernel.plugin.clone())),
            others: other_kernels(note, chosen, layout.is_some()).chain(note.others.clone()).collect(),
            effect: note.effect.clone(),
            inputs: note.inputs.iter().map(|value| tensor(*value)).collect(),
            outputs: note.outputs.iter().map(output).collect(),
            scratch_bytes: layout.map(|layout| note.step.map_or(0, |step| layout.scratch_bytes(step))),
            held_bytes: note.kernels.iter().map(|kernel| kernel.held_bytes).sum(),
            note: kernel.map(|kernel| kernel.note.clone()).unwrap_or_default(),
        }
    });
    let constants = program.values.iter().map(|value| match &value.place {
        Place::Constant(Some(tensor)) => tensor.bytes().len(),
        _ => 0,
    });
    Explanation {
        nodes: nodes.collect(),
        isa,
        arena_bytes: layout.map(Layout::arena_bytes),
        constant_bytes: constants.sum(),
        held_bytes: program.held_bytes,
        state_bytes: program.states.iter().map(|state| state.bytes).sum(),
    }
}

/// The kernels that a node has for other shapes, and when they serve it.
fn other_kernels(note: &NodeNote, chosen: usize, is_bound: bool) -> impl Iterator<Item = (String, String)> {
    let others = note.kernels.iter().enumerate().filter(move |(index, _)| *index != chosen);
    others.map(move |(index, kernel)| {
        let before = index.checked_sub(1).map_or("", |before| &note.kernels[before].name);
        let when = match is_bound {
            true if index < chosen => "it does not serve these shapes".to_owned(),
            true => "it serves other shapes".to_owned(),
            false => format!("it serves the shapes that `{before}` does not"),
        };
        (format!("{} ({})", kernel.name, kernel.plugin), when)
    })
}

const HEADINGS: [&str; 8] = ["node", "op", "kernel", "inputs", "output", "bytes", "offset", "scratch"];

impl Display for Explanation {
    /// A table of the nodes, each followed by the reasons for its kernel, and the sums.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 8]> = self.nodes.iter().map(ExplainedNode::cells).collect();
        let columns = Columns::new(8, HEADINGS, &rows);
        writeln!(f, "{}", columns.line(&HEADINGS))?;
        for (node, cells) in self.nodes.iter().zip(&rows) {
            writeln!(f, "{}", columns.line(cells))?;
            if !node.note.is_empty() {
                writeln!(f, "    {}", Passage(&node.note))?;
            }
            if let Some(group) = &node.effect {
                writeln!(f, "    effect: {}", Brief(group))?;
            }
            for (kernel, reason) in &node.others {
                writeln!(f, "    not {}: {}", Brief(kernel), Passage(reason))?;
            }
        }
        let arena = self
            .arena_bytes
            .map_or_else(|| "depends on the symbols".to_owned(), |bytes| format!("{bytes} bytes"));
        writeln!(
            f,
            "arena {arena}; constants {} bytes, held by kernels {} bytes, states {} bytes; instruction set {}",
            self.constant_bytes, self.held_bytes, self.state_bytes, self.isa
        )
    }
}

impl ExplainedNode {
    fn cells(&self) -> [String; 8] {
        let number = |value: Option<usize>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let outputs = |cell: &dyn Fn(&ExplainedOutput) -> String| {
            self.outputs.iter().map(cell).collect::<Vec<_>>().join(", ")
        };
        [
            self.node.clone(),
            self.op.clone(),
            self.kernel
                .as_ref()
                .map_or_else(|| "(no copy)".to_owned(), |(kernel, plugin)| format!("{kernel} ({plugin})")),
            self.inputs.join(", "),
            outputs(&|output| output.tensor.clone()),
            outputs(&|output| number(output.bytes)),
            outputs(&|output| number(output.offset)),
            number(self.scratch_bytes),
        ]
    }
}
