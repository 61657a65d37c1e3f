//! What is known of a node beside what a run needs.

/// A node of the plan, with the kernel that was chosen for it.
#[derive(Clone, Default)]
pub(crate) struct NodeNote {
    pub(crate) node: String,
    pub(crate) op: String,
    /// The kernel that was chosen, and those that it leaves shapes to; none for a node that is another's memory.
    pub(crate) kernels: Vec<KernelNote>,
    /// The kernels that do not serve it, and why.
    pub(crate) others: Vec<(String, String)>,
    /// The group of the node's effect.
    pub(crate) effect: Option<String>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) step: Option<usize>,
}

/// A kernel of a node.
#[derive(Clone)]
pub(crate) struct KernelNote {
    pub(crate) name: String,
    pub(crate) plugin: String,
    pub(crate) held_bytes: usize,
    /// What it says of its choices.
    pub(crate) note: String,
}

impl NodeNote {
    /// The step and its kernels, for a node that has some.
    pub(super) fn step_kernel(&self) -> Option<(usize, String)> {
        let names: Vec<&str> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        self.step.filter(|_| !names.is_empty()).map(|step| (step, names.join(" or ")))
    }

    /// The node and its op, if it yields this value.
    pub(super) fn yields(&self, value: usize) -> Option<(&str, &str)> {
        self.outputs.contains(&value).then_some((&self.node, &self.op))
    }
}
