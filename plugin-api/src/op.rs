//! Ops: what a node means.

use crate::Result;
use crate::attributes::{Attribute, AttributeKind};
use crate::context::InferContext;
use crate::tensor::{DType, TensorType};

/// What an operation means: its signature, and types in, types out. How it is run is a [`Kernel`](crate::Kernel)'s matter.
pub trait Op: Send + Sync + 'static {
    /// Name, inputs and attributes. Read once, when the op is registered. `[load-thread]`
    fn signature(&self) -> OpSignature;

    /// The types of the outputs, or an error that says what is wrong with the inputs and what was expected. `[any-thread]`
    ///
    /// Called when a node is built, with inputs and attributes that fit the signature. The same inputs give the same
    /// answer each time. An op has at least one output.
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>>;
}

/// The name, the inputs and the attributes of an op.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpSignature {
    /// The op's name, with an optional namespace: `qmatmul`, `acme.scale_rows`.
    pub name: String,
    /// One line for listings.
    pub summary: String,
    /// Its inputs, in order.
    pub inputs: Vec<InputSpec>,
    /// Its attributes.
    pub attributes: Vec<AttributeSpec>,
    /// Index of the input whose encoding selects the kernel; none for a dense op.
    pub kernel_input: Option<usize>,
    /// The group of its effect; none for an op that does nothing but compute its outputs.
    pub effect: Option<String>,
    /// Whether the same inputs and attributes give the same outputs each time.
    pub pure: bool,
    /// The weights among its inputs, each with the activation that is multiplied with its columns.
    pub contractions: Vec<Contraction>,
    /// How the work of a node may be divided among ranks.
    pub split: Split,
}

/// Two inputs of an op of which one's values are multiplied with the other's columns, and summed: the product of an activation
/// `[.., n]` and a weight `[p, n]`. How much a column of the weight matters is recorded at the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contraction {
    /// Index of the activation, which is dense.
    pub activation: usize,
    /// Index of the weight, dense or encoded.
    pub weight: usize,
    /// The dimension of the weight that is as long as the activation's last one.
    pub axis: ContractedAxis,
}

/// The dimension of a weight over which its products with an activation are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContractedAxis {
    /// The last: the weight is `[.., p, n]`, as encodings have their rows.
    #[default]
    Last,
    /// The last but one: the weight is `[.., n, p]`, and dense.
    LastButOne,
}

/// How a node may be divided, so that each rank computes a part of the outputs from a part of the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Split {
    /// Not at all.
    #[default]
    No,
    /// Each element of an output depends on the elements of the inputs at its place alone.
    Elementwise,
    /// The rows of this input make the last dimension of the outputs: those of a part of the rows are that part of it.
    Rows(usize),
    /// By the last dimension but one of each input, which counts heads, and of each output.
    Heads,
}

/// One input of an op.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InputSpec {
    /// Its name in messages: `x`, `weight`.
    pub name: String,
    /// What it takes.
    pub kind: InputKind,
    /// How many of it there are.
    pub arity: Arity,
    /// The encodings it takes, if it is encoded and takes not every one.
    pub encodings: Vec<String>,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputKind {
    /// A tensor of a dtype.
    Dense,
    /// Blocks of an encoding.
    Encoded,
    /// A state, which the op writes: one of its outputs aliases it and is the state's next version.
    State,
}

/// How many tensors an input stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none. Those that follow are of this kind, too; which of them a node has, it says by name.
    Optional,
    /// One or more; only at the end.
    Many,
}

/// One attribute of an op.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttributeSpec {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: AttributeKind,
    /// Whether a node must give it.
    pub required: bool,
    /// Its value where none is given. An attribute that is not required and has no default may be absent.
    pub default: Option<Attribute>,
}

impl OpSignature {
    /// An op without inputs and attributes; add them in order.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: String::new(),
            inputs: Vec::new(),
            attributes: Vec::new(),
            kernel_input: None,
            effect: None,
            pure: true,
            contractions: Vec::new(),
            split: Split::No,
        }
    }

    /// Sets the line for listings.
    #[must_use]
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a dense input.
    #[must_use]
    pub fn dense(self, name: impl Into<String>) -> Self {
        self.input(name, InputKind::Dense, Arity::One)
    }

    /// Adds an encoded input. The first one selects the kernel.
    #[must_use]
    pub fn encoded(self, name: impl Into<String>) -> Self {
        self.encoded_as(name, [])
    }

    /// Adds an input that takes the named encodings alone. The first encoded input selects the kernel.
    #[must_use]
    pub fn encoded_as(
        mut self,
        name: impl Into<String>,
        encodings: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        self.kernel_input.get_or_insert(self.inputs.len());
        self = self.input(name, InputKind::Encoded, Arity::One);
        if let Some(input) = self.inputs.last_mut() {
            input.encodings = encodings.into_iter().map(str::to_owned).collect();
        }
        self
    }

    /// Adds a state.
    #[must_use]
    pub fn state(self, name: impl Into<String>) -> Self {
        self.input(name, InputKind::State, Arity::One)
    }

    /// Adds an input of any kind and number.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, kind: InputKind, arity: Arity) -> Self {
        self.inputs.push(InputSpec { name: name.into(), kind, arity, encodings: Vec::new() });
        self
    }

    /// Adds an attribute that must be given.
    #[must_use]
    pub fn required(self, name: impl Into<String>, kind: AttributeKind) -> Self {
        self.attribute(name, kind, true, None)
    }

    /// Adds an attribute that may be absent; [`Attributes::given`](crate::Attributes::given) reads it.
    #[must_use]
    pub fn without_default(self, name: impl Into<String>, kind: AttributeKind) -> Self {
        self.attribute(name, kind, false, None)
    }

    /// Adds an attribute with a default.
    #[must_use]
    pub fn optional(self, name: impl Into<String>, default: impl Into<Attribute>) -> Self {
        let default = default.into();
        self.attribute(name, default.kind(), false, Some(default))
    }

    fn attribute(
        mut self,
        name: impl Into<String>,
        kind: AttributeKind,
        required: bool,
        default: Option<Attribute>,
    ) -> Self {
        self.attributes.push(AttributeSpec { name: name.into(), kind, required, default });
        self
    }

    /// Says that the op does something besides computing its outputs: it prints, or sends to another rank.
    ///
    /// Such a node is never left out, nor computed when a graph is loaded. Those of one group run in the order in which they were added
    /// to the graph; of several states of models, in one process, one at a time runs those of a group. An op whose effect is all that
    /// is wanted yields [`OutputType::token`], which others can take as an input.
    #[must_use]
    pub fn effect(mut self, group: impl Into<String>) -> Self {
        (self.effect, self.pure) = (Some(group.into()), false);
        self
    }

    /// Says that the same inputs and attributes need not give the same outputs. Such a node is computed at each run.
    #[must_use]
    pub fn impure(mut self) -> Self {
        self.pure = false;
        self
    }

    /// Says that the values of the dense input `activation`, `[.., n]`, are multiplied with the columns of the input `weight`,
    /// `[.., p, n]`, dense or encoded, and summed.
    ///
    /// An op of several weights says it of each. Where importance is recorded, it is that of these weights' columns.
    #[must_use]
    pub fn contracts(self, activation: &str, weight: &str) -> Self {
        self.contraction(activation, weight, ContractedAxis::Last)
    }

    /// As [`Self::contracts`], for a dense `weight` that is transposed: `[.., n, p]`.
    #[must_use]
    pub fn contracts_transposed(self, activation: &str, weight: &str) -> Self {
        self.contraction(activation, weight, ContractedAxis::LastButOne)
    }

    fn contraction(mut self, activation: &str, weight: &str, axis: ContractedAxis) -> Self {
        let index =
            |name: &str| self.inputs.iter().position(|input| input.name == name).unwrap_or(usize::MAX);
        let contraction = Contraction { activation: index(activation), weight: index(weight), axis };
        self.contractions.push(contraction);
        self
    }

    /// Says how nodes may be divided among ranks.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }
}

/// The type of one output.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutputType {
    /// Element and shape.
    pub tensor: TensorType,
    /// The input whose memory this output is: a state's next version, or the same bytes in another shape.
    pub alias: Option<usize>,
}

impl OutputType {
    /// An output with memory of its own.
    pub fn new(tensor: TensorType) -> Self {
        Self { tensor, alias: None }
    }

    /// An output of no values, for an op with an effect: what takes it runs afterwards.
    pub fn token() -> Self {
        Self::new(TensorType::dense(DType::U8, [0usize]))
    }

    /// An output that is input `input`'s memory. If all outputs alias inputs that are no states, the op runs no kernel.
    pub fn alias(tensor: TensorType, input: usize) -> Self {
        Self { tensor, alias: Some(input) }
    }
}

impl From<TensorType> for OutputType {
    fn from(tensor: TensorType) -> Self {
        Self::new(tensor)
    }
}
