//! What is known of a node beside what a run needs.

/// A node of the plan, with the kernel that was chosen for it.
#[derive(Clone, Default)]
pub(crate) struct NodeNote {
    pub(crate) node: String,
    pub(crate) op: String,
    /// Kernel and plugin; none for a node that is another's memory.
    pub(crate) kernel: Option<(String, String)>,
    /// The kernels that do not serve it, and why.
    pub(crate) others: Vec<(String, String)>,
    pub(crate) held_bytes: usize,
    /// What the kernel says of its choices.
    pub(crate) note: String,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) step: Option<usize>,
}

impl NodeNote {
    /// The step and its kernel, for a node that has one.
    pub(super) fn step_kernel(&self) -> Option<(usize, &str)> {
        self.step.zip(self.kernel.as_ref().map(|(kernel, _)| kernel.as_str()))
    }

    /// The node and its op, if it yields this value.
    pub(super) fn yields(&self, value: usize) -> Option<(&str, &str)> {
        self.outputs.contains(&value).then_some((&self.node, &self.op))
    }
}
