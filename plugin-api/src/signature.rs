//! The rules of a signature: which inputs and attributes a node of its op may have, and which providers are for it.

use std::cmp::Reverse;

use crate::attributes::{AttributeKind, Attributes};
use crate::kernel::{KernelKey, Selector};
use crate::op::{Arity, InputKind, InputSpec, OpSignature};
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
    /// An input that the op does not have, or not by name.
    #[error("it has no input `{}` to be given by name; it has {}", Brief(.input), if .known.is_empty() { "none".to_owned() } else { List(.known).to_string() })]
    UnknownInput {
        /// The input.
        input: String,
        /// Those it has that may be left out.
        known: Vec<String>,
    },
    /// An input that was given by its place and by name, or twice by name.
    #[error("the input `{}` was given twice", Brief(.input))]
    InputTwice {
        /// The input.
        input: String,
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
    /// The inputs of a node that is given some by their places, and then some by name, which may be left out: for each, in the order
    /// of the signature, its index there and its index among those that are given.
    pub fn arrange(
        &self,
        by_place: usize,
        by_name: &[impl AsRef<str>],
    ) -> Result<Vec<(usize, usize)>, SignatureError> {
        let wrong_count = || SignatureError::InputCount { expected: self.describe_inputs(), found: by_place };
        let least = self.inputs.iter().filter(|input| input.arity != Arity::Optional).count();
        let is_many = self.inputs.last().is_some_and(|input| input.arity == Arity::Many);
        if by_place < least || (by_place > self.inputs.len() && !is_many) {
            return Err(wrong_count());
        }
        let last = self.inputs.len().saturating_sub(1);
        let mut arranged: Vec<(usize, usize)> = (0..by_place).map(|given| (given.min(last), given)).collect();
        for (index, name) in by_name.iter().enumerate() {
            let input = name.as_ref().to_owned();
            let is_it = |spec: &InputSpec| spec.arity == Arity::Optional && spec.name == input;
            let Some(place) = self.inputs.iter().position(is_it) else {
                let optional = self.inputs.iter().filter(|spec| spec.arity == Arity::Optional);
                let known = optional.map(|spec| spec.name.clone()).collect();
                return Err(SignatureError::UnknownInput { input, known });
            };
            if arranged.iter().any(|(known, _)| *known == place) {
                return Err(SignatureError::InputTwice { input });
            }
            arranged.push((place, by_place + index));
        }
        arranged.sort_unstable();
        Ok(arranged)
    }

    /// Whether an input, by its index in the signature, is a state, which the op writes.
    pub fn is_state(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|input| input.kind == InputKind::State)
    }

    /// Whether a node has nothing to compute, since each of its outputs is the bytes of an input in another shape. `places` are the
    /// indices in the signature of the node's inputs.
    pub fn is_view(&self, places: &[usize], aliases: impl IntoIterator<Item = Option<usize>>) -> bool {
        let of_value = |input: usize| places.get(input).is_some_and(|place| !self.is_state(*place));
        self.effect.is_none() && aliases.into_iter().all(|alias| alias.is_some_and(of_value))
    }

    /// The attributes of a node: those that are `given`, each as the kind that the op takes, and the defaults of the others, where they
    /// have one.
    pub fn complete(&self, given: &Attributes) -> Result<Attributes, SignatureError> {
        let is_known = |name: &str| self.attributes.iter().any(|spec| spec.name == name);
        if let Some((attribute, _)) = given.iter().find(|(name, _)| !is_known(name)) {
            let known = self.attributes.iter().map(|spec| spec.name.clone()).collect();
            return Err(SignatureError::UnknownAttribute { attribute: attribute.to_owned(), known });
        }
        let complete = self.attributes.iter().map(|spec| {
            let (attribute, kind) = (spec.name.clone(), spec.kind);
            let value = given.get(&spec.name).or(spec.default.as_ref());
            match value.map(|value| (value, value.clone().into_kind(kind))) {
                Some((_, Some(value))) => Ok(Some((attribute, value))),
                Some((value, None)) => {
                    Err(SignatureError::AttributeKind { attribute, kind, found: value.to_string() })
                }
                None if spec.required => Err(SignatureError::MissingAttribute { attribute, kind }),
                None => Ok(None),
            }
        });
        complete.filter_map(Result::transpose).collect()
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
        let says = |inputs: &[TensorType]| -> Result<(), String> {
            let arranged = signature.arrange(inputs.len(), &[""; 0]).map_err(|error| error.to_string())?;
            let check = |(place, given): (usize, usize)| signature.inputs[place].check(&inputs[given]);
            arranged.into_iter().try_for_each(check).map_err(|error| error.to_string())
        };
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
        assert!(signature.is_state(2) && !signature.is_state(1));
        assert!(signature.is_view(&[0, 1, 2], [Some(0)]) && !signature.is_view(&[0, 1, 2], [Some(0), None]));
        assert!(
            !signature.is_view(&[0, 1, 2], [Some(2)])
                && !signature.clone().effect("e").is_view(&[0], [Some(0)])
        );
    }

    #[test]
    fn inputs_that_may_be_left_out_are_given_by_name() {
        let optional =
            |signature: OpSignature, name| signature.input(name, InputKind::Dense, Arity::Optional);
        let signature = optional(optional(OpSignature::new("o").dense("x"), "y"), "z");
        let says =
            |by_place, names: &[&str]| signature.arrange(by_place, names).map_err(|error| error.to_string());
        assert_eq!(says(1, &[]), Ok(vec![(0, 0)]));
        assert_eq!(says(3, &[]), Ok(vec![(0, 0), (1, 1), (2, 2)]));
        assert_eq!(says(1, &["z"]), Ok(vec![(0, 0), (2, 1)]));
        assert_eq!(says(1, &["z", "y"]), Ok(vec![(0, 0), (1, 2), (2, 1)]));
        for (by_place, names, sentence) in [
            (0, &["y"][..], "it takes the inputs (x, [y], [z]), 0 were given"),
            (4, &[], "4 were given"),
            (2, &["y"], "the input `y` was given twice"),
            (1, &["z", "z"], "the input `z` was given twice"),
            (1, &["x"], "it has no input `x` to be given by name; it has y, z"),
        ] {
            let error = says(by_place, names).unwrap_err();
            assert!(error.contains(sentence), "{error}");
        }
    }

    #[test]
    fn attributes_are_completed() {
        let signature = OpSignature::new("o")
            .required("axis", AttributeKind::Int)
            .optional("eps", 0.5)
            .without_default("end", AttributeKind::Int);
        let says = |given: Attributes| signature.complete(&given).map_err(|error| error.to_string());
        let complete = Attributes::new().with("axis", 1).with("eps", 0.5);
        assert_eq!(says(Attributes::new().with("axis", 1)), Ok(complete));
        let whole = says(Attributes::new().with("axis", 1).with("eps", 2)).unwrap();
        assert_eq!(whole.get("eps"), Some(&Attribute::Float(2.0)));
        assert_eq!(whole.get("end"), None);
        let given = says(Attributes::new().with("axis", 1).with("end", 7)).unwrap();
        assert_eq!(given.given("end", Attributes::int), Ok(Some(7)));
        for (given, sentence) in [
            (Attributes::new(), "the attribute `axis` is missing; give a whole number"),
            (Attributes::new().with("axis", "x"), "the attribute `axis` takes a whole number, not \"x\""),
            (Attributes::new().with("axes", 1), "it has no attribute `axes`; it has axis, eps, end"),
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
