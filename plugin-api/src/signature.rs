//! The rules of a signature: which inputs and attributes a node of its op may have, and which providers are for it.

use std::cmp::Reverse;

use crate::attributes::{AttributeKind, Attributes};
use crate::kernel::{KernelKey, Selector};
use crate::op::{Arity, InputKind, InputSpec, OpSignature, OutputType};
use crate::tensor::TensorType;
use crate::text::{Brief, List, Passage};

/// How a node does not fit its op's signature.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Too few or too many inputs.
    #[error("it takes {expected}, {found} were given")]
    InputCount {
        /// What the signature says.
        expected: String,
        /// How many there were.
        found: usize,
    },
    /// Encoded data for an op that wants values.
    #[error("input `{input}` is encoded as {}, and this op takes decoded values only", Brief(.encoding))]
    EncodedInput {
        /// The input.
        input: String,
        /// The encoding.
        encoding: String,
    },
    /// Values for an op that wants encoded data.
    #[error(
        "input `{input}` is {}, and this op takes encoded data; quantize it with `Graph::quantize`, or use the op's dense counterpart",
        Brief(&.found.to_string())
    )]
    DenseInput {
        /// The input.
        input: String,
        /// Its type.
        found: TensorType,
    },
    /// Data of another encoding than the op takes.
    #[error("input `{input}` is encoded as {}, this op takes {}", Brief(.encoding), Passage(&.expected.join(" or ")))]
    OtherEncoding {
        /// The input.
        input: String,
        /// Its encoding.
        encoding: String,
        /// What the op takes.
        expected: Vec<String>,
    },
    /// An attribute that the op does not have.
    #[error("it has no attribute `{}`; it has {}", Brief(.attribute), if .known.is_empty() { "none".to_owned() } else { List(.known).to_string() })]
    UnknownAttribute {
        /// The attribute.
        attribute: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// An attribute that must be given.
    #[error("the attribute `{attribute}` is missing; give {kind}")]
    MissingAttribute {
        /// The attribute.
        attribute: String,
        /// What it takes.
        kind: AttributeKind,
    },
    /// An attribute of another kind.
    #[error("the attribute `{attribute}` takes {kind}, not {}", Brief(.found))]
    AttributeKind {
        /// The attribute.
        attribute: String,
        /// What it takes.
        kind: AttributeKind,
        /// What was given.
        found: String,
    },
}

impl OpSignature {
    /// The spec of the input at a position: the last one stands for all that follow, if it is many.
    pub fn input_at(&self, index: usize) -> Option<&InputSpec> {
        self.inputs.get(index).or_else(|| self.inputs.last().filter(|input| input.arity == Arity::Many))
    }

    /// Whether the input at a position is a state, which the op writes.
    pub fn is_state(&self, index: usize) -> bool {
        self.input_at(index).is_some_and(|input| input.kind == InputKind::State)
    }

    /// Whether an output is an input's bytes in another shape, so that there is nothing to compute.
    pub fn is_view(&self, output: &OutputType) -> bool {
        output.alias.is_some_and(|input| !self.is_state(input))
    }

    /// Checks the number of inputs.
    pub fn check_input_count(&self, found: usize) -> Result<(), SignatureError> {
        let least = self.inputs.iter().filter(|input| input.arity != Arity::Optional).count();
        let most = match self.inputs.last().map(|input| input.arity) {
            Some(Arity::Many) => usize::MAX,
            _ => self.inputs.len(),
        };
        match (least..=most).contains(&found) {
            true => Ok(()),
            false => Err(SignatureError::InputCount { expected: self.describe_inputs(), found }),
        }
    }

    /// Checks the number and the kinds of the inputs.
    pub fn check_inputs(&self, inputs: &[TensorType]) -> Result<(), SignatureError> {
        self.check_input_count(inputs.len())?;
        let specs = (0..).map_while(|index| self.input_at(index));
        specs.zip(inputs).try_for_each(|(spec, input)| spec.check(input))
    }

    /// The attributes of a node: those that are `given`, each as the kind that the op takes, and the defaults of the others.
    pub fn complete(&self, given: &Attributes) -> Result<Attributes, SignatureError> {
        let is_known = |name: &str| self.attributes.iter().any(|spec| spec.name == name);
        if let Some((attribute, _)) = given.iter().find(|(name, _)| !is_known(name)) {
            let known = self.attributes.iter().map(|spec| spec.name.clone()).collect();
            return Err(SignatureError::UnknownAttribute { attribute: attribute.to_owned(), known });
        }
        let complete = self.attributes.iter().map(|spec| {
            let (attribute, kind) = (spec.name.clone(), spec.kind);
            let value = given.get(&spec.name).or(spec.default.as_ref());
            let Some(value) = value else { return Err(SignatureError::MissingAttribute { attribute, kind }) };
            match value.clone().into_kind(kind) {
                Some(value) => Ok((attribute, value)),
                None => Err(SignatureError::AttributeKind { attribute, kind, found: value.to_string() }),
            }
        });
        complete.collect()
    }

    /// The encoding that selects the kernel of a node with these inputs; none for a dense op.
    pub fn kernel_encoding<'a>(&self, inputs: &'a [TensorType]) -> Option<&'a str> {
        inputs.get(self.kernel_input?)?.encoding()
    }

    fn describe_inputs(&self) -> String {
        let names = self.inputs.iter().map(|input| match input.arity {
            Arity::Optional => format!("[{}]", input.name),
            Arity::Many => format!("{}..", input.name),
            Arity::One => input.name.clone(),
        });
        format!("the inputs ({})", names.collect::<Vec<_>>().join(", "))
    }
}

impl InputSpec {
    /// Whether it takes blocks of an encoding.
    pub fn takes(&self, encoding: &str) -> bool {
        self.kind == InputKind::Encoded
            && (self.encodings.is_empty() || self.encodings.iter().any(|name| name == encoding))
    }

    /// Checks that a tensor is of this kind.
    pub fn check(&self, tensor: &TensorType) -> Result<(), SignatureError> {
        let input = self.name.clone();
        match (self.kind, tensor.encoding()) {
            (InputKind::Dense | InputKind::State, None) => Ok(()),
            (InputKind::Dense | InputKind::State, Some(encoding)) => {
                Err(SignatureError::EncodedInput { input, encoding: encoding.to_owned() })
            }
            (InputKind::Encoded, None) => Err(SignatureError::DenseInput { input, found: tensor.clone() }),
            (InputKind::Encoded, Some(encoding)) if self.takes(encoding) => Ok(()),
            (InputKind::Encoded, Some(encoding)) => {
                let (encoding, expected) = (encoding.to_owned(), self.encodings.clone());
                Err(SignatureError::OtherEncoding { input, encoding, expected })
            }
        }
    }
}

impl KernelKey {
    /// The key, of priority 0, of a provider for all nodes of an op.
    pub fn for_every(signature: &OpSignature, name: impl Into<String>) -> Self {
        let selector = if signature.kernel_input.is_some() { Selector::AnyEncoding } else { Selector::Dense };
        Self::new(signature.name.as_str(), selector, name)
    }

    /// Of providers of one op, those for a node whose kernel is selected by `encoding`, or by none: best first. Those for the encoding
    /// itself go before those for any, the higher priority before the lower, and the one that was registered first before its equals.
    pub fn in_order<T>(
        providers: impl IntoIterator<Item = T>,
        encoding: Option<&str>,
        key: impl Fn(&T) -> &Self,
    ) -> Vec<T> {
        let is_candidate = |provider: &T| match (&key(provider).selector, encoding) {
            (Selector::Dense, None) | (Selector::AnyEncoding, Some(_)) => true,
            (Selector::Encoding(name), Some(encoding)) => name == encoding,
            _ => false,
        };
        let mut candidates: Vec<T> = providers.into_iter().filter(is_candidate).collect();
        candidates.sort_by_key(|provider| {
            let Self { selector, priority, .. } = key(provider);
            (*selector == Selector::AnyEncoding, Reverse(*priority))
        });
        candidates
    }
}

impl From<SignatureError> for crate::Error {
    fn from(error: SignatureError) -> Self {
        Self::invalid(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attribute;
    use crate::tensor::DType;

    #[test]
    fn inputs_are_counted_and_of_their_kinds() {
        let signature = OpSignature::new("o").dense("x").encoded_as("w", ["a", "b"]).input(
            "more",
            InputKind::State,
            Arity::Many,
        );
        let (x, w) = (TensorType::f32([2usize]), |name: &str| TensorType::encoded(name, [2usize]));
        let says = |inputs: &[TensorType]| signature.check_inputs(inputs).map_err(|error| error.to_string());
        assert_eq!(says(&[x.clone(), w("b"), x.clone()]), Ok(()));
        assert_eq!(says(&[x.clone(), w("a"), x.clone(), x.clone()]), Ok(()));
        for (inputs, sentence) in [
            (vec![x.clone(), w("a")], "it takes the inputs (x, w, more..), 2 were given"),
            (vec![w("a"), w("a"), x.clone()], "input `x` is encoded as a"),
            (vec![x.clone(), x.clone(), x.clone()], "input `w` is f32 [2]"),
            (vec![x.clone(), w("c"), x.clone()], "input `w` is encoded as c, this op takes a or b"),
            (vec![x.clone(), w("a"), x.clone(), w("a")], "input `more` is encoded as a"),
        ] {
            let error = says(&inputs).unwrap_err();
            assert!(error.contains(sentence), "{error}");
        }
        assert_eq!(signature.kernel_encoding(&[x.clone(), w("b"), x]), Some("b"));
        assert!(signature.is_state(7) && !signature.is_state(1));
        let optional = OpSignature::new("o").dense("x").input("y", InputKind::Dense, Arity::Optional);
        assert!(optional.check_input_count(1).is_ok() && optional.check_input_count(2).is_ok());
        assert!(optional.check_input_count(0).is_err() && optional.check_input_count(3).is_err());
    }

    #[test]
    fn attributes_are_completed() {
        let signature = OpSignature::new("o").required("axis", AttributeKind::Int).optional("eps", 0.5);
        let says = |given: Attributes| signature.complete(&given).map_err(|error| error.to_string());
        let complete = Attributes::new().with("axis", 1).with("eps", 0.5);
        assert_eq!(says(Attributes::new().with("axis", 1)), Ok(complete));
        let whole = says(Attributes::new().with("axis", 1).with("eps", 2)).unwrap();
        assert_eq!(whole.get("eps"), Some(&Attribute::Float(2.0)));
        for (given, sentence) in [
            (Attributes::new(), "the attribute `axis` is missing; give a whole number"),
            (Attributes::new().with("axis", "x"), "the attribute `axis` takes a whole number, not \"x\""),
            (Attributes::new().with("axes", 1), "it has no attribute `axes`; it has axis, eps"),
        ] {
            assert_eq!(says(given), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn providers_are_ranked() {
        let own = || Selector::Encoding("a".to_owned());
        let other = || Selector::Encoding("b".to_owned());
        let key = |selector, name, priority| KernelKey::new("o", selector, name).priority(priority);
        let keys = [
            key(Selector::AnyEncoding, "any", 9),
            key(own(), "low", -1),
            key(Selector::Dense, "dense", 3),
            key(own(), "high", 2),
            key(other(), "other", 7),
            key(own(), "as high", 2),
        ];
        let names = |encoding| {
            let order = KernelKey::in_order(&keys, encoding, |key| key);
            order.into_iter().map(|key| key.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("a")), ["high", "as high", "low", "any"]);
        assert_eq!(names(Some("c")), ["any"]);
        assert_eq!(names(None), ["dense"]);
        let dense = OpSignature::new("o").dense("x");
        assert_eq!(KernelKey::for_every(&dense, "plain").selector, Selector::Dense);
        assert_eq!(dense.kernel_encoding(&[TensorType::dense(DType::I8, [1usize])]), None);
        assert_eq!(KernelKey::for_every(&dense.encoded("w"), "plain").selector, Selector::AnyEncoding);
    }
}
