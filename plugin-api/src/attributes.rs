//! The named parameters of an op.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use crate::dim::Dim;
use crate::tensor::ShapeDisplay;
use crate::{Error, Result};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text, such as the name of a dtype or a mode.
    Text(String),
    /// Whole numbers, such as the order of axes.
    Ints(Vec<i64>),
    /// A shape, which may have symbols.
    Shape(Vec<Dim>),
    /// Numbers, such as a factor for each scale.
    Floats(Vec<f64>),
    /// Texts, such as the names of modes.
    Texts(Vec<String>),
}

/// The kinds of attribute an op can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeKind {
    /// [`Attribute::Int`].
    Int,
    /// [`Attribute::Float`]; a whole number is taken, too.
    Float,
    /// [`Attribute::Bool`].
    Bool,
    /// [`Attribute::Text`].
    Text,
    /// [`Attribute::Ints`].
    Ints,
    /// [`Attribute::Shape`]; whole numbers are taken, too, and -1 stands for the dimension `_`.
    Shape,
    /// [`Attribute::Floats`]; whole numbers are taken, too.
    Floats,
    /// [`Attribute::Texts`].
    Texts,
}

impl Attribute {
    /// The kind of this value.
    pub fn kind(&self) -> AttributeKind {
        match self {
            Self::Int(_) => AttributeKind::Int,
            Self::Float(_) => AttributeKind::Float,
            Self::Bool(_) => AttributeKind::Bool,
            Self::Text(_) => AttributeKind::Text,
            Self::Ints(_) => AttributeKind::Ints,
            Self::Shape(_) => AttributeKind::Shape,
            Self::Floats(_) => AttributeKind::Floats,
            Self::Texts(_) => AttributeKind::Texts,
        }
    }

    /// This value as one of `kind`, where nothing is lost by it.
    pub fn into_kind(self, kind: AttributeKind) -> Option<Self> {
        match (self, kind) {
            (Self::Int(value), AttributeKind::Float) => Some(Self::Float(value as f64)),
            (Self::Ints(values), AttributeKind::Shape) => {
                let dims = values.into_iter().map(|value| match value {
                    -1 => Some(Dim::from("_")),
                    _ => usize::try_from(value).ok().map(Dim::Fixed),
                });
                dims.collect::<Option<_>>().map(Self::Shape)
            }
            (Self::Ints(values), AttributeKind::Floats) => {
                Some(Self::Floats(values.into_iter().map(|value| value as f64).collect()))
            }
            (value, kind) => (value.kind() == kind).then_some(value),
        }
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Ints(values) => ShapeDisplay(values).fmt(f),
            Self::Shape(dims) => ShapeDisplay(dims).fmt(f),
            Self::Floats(values) => f.debug_list().entries(values).finish(),
            Self::Texts(values) => f.debug_list().entries(values).finish(),
        }
    }
}

impl Display for AttributeKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::Text => "a text",
            Self::Ints => "a list of whole numbers",
            Self::Shape => "a shape",
            Self::Floats => "a list of numbers",
            Self::Texts => "a list of texts",
        })
    }
}

macro_rules! attribute_from {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(impl From<$type> for Attribute { fn from(value: $type) -> Self { Self::$variant(value.into()) } })*
    };
}
attribute_from!(i64 => Int, i32 => Int, f64 => Float, f32 => Float, bool => Bool, &str => Text, String => Text,
    Vec<i64> => Ints, Vec<Dim> => Shape, Vec<f64> => Floats, Vec<String> => Texts);

/// The attributes of a node: those it was given, and the defaults of the others that have one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, or replaces it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds one, or replaces it.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Attribute>) {
        self.0.insert(name.into(), value.into());
    }

    /// What `read`, one of the methods below, answers for this name; none where the attribute was left out.
    ///
    /// ```
    /// # use bitquilt_plugin_api::Attributes;
    /// let attributes = Attributes::new().with("end", 3);
    /// assert_eq!(attributes.given("end", Attributes::int)?, Some(3));
    /// assert_eq!(attributes.given("start", Attributes::int)?, None);
    /// # Ok::<(), bitquilt_plugin_api::Error>(())
    /// ```
    pub fn given<'a, T>(
        &'a self,
        name: &str,
        read: impl FnOnce(&'a Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        self.get(name).is_some().then(|| read(self, name)).transpose()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.get(name) {
            Some(Attribute::Int(value)) => Ok(*value),
            other => Err(missing(name, AttributeKind::Int, other)),
        }
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<f64> {
        match self.get(name) {
            Some(Attribute::Float(value)) => Ok(*value),
            Some(Attribute::Int(value)) => Ok(*value as f64),
            other => Err(missing(name, AttributeKind::Float, other)),
        }
    }

    /// True or false.
    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            Some(Attribute::Bool(value)) => Ok(*value),
            other => Err(missing(name, AttributeKind::Bool, other)),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.get(name) {
            Some(Attribute::Text(value)) => Ok(value),
            other => Err(missing(name, AttributeKind::Text, other)),
        }
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Result<&[i64]> {
        match self.get(name) {
            Some(Attribute::Ints(values)) => Ok(values),
            other => Err(missing(name, AttributeKind::Ints, other)),
        }
    }

    /// A shape.
    pub fn shape(&self, name: &str) -> Result<&[Dim]> {
        match self.get(name) {
            Some(Attribute::Shape(dims)) => Ok(dims),
            other => Err(missing(name, AttributeKind::Shape, other)),
        }
    }

    /// Numbers.
    pub fn floats(&self, name: &str) -> Result<&[f64]> {
        match self.get(name) {
            Some(Attribute::Floats(values)) => Ok(values),
            other => Err(missing(name, AttributeKind::Floats, other)),
        }
    }

    /// Texts.
    pub fn texts(&self, name: &str) -> Result<&[String]> {
        match self.get(name) {
            Some(Attribute::Texts(values)) => Ok(values),
            other => Err(missing(name, AttributeKind::Texts, other)),
        }
    }
}

impl<N: Into<String>, V: Into<Attribute>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Display for Attributes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

fn missing(name: &str, kind: AttributeKind, found: Option<&Attribute>) -> Error {
    match found {
        Some(found) => Error::invalid(format_args!("the attribute `{name}` wants {kind}, not {found}")),
        None => Error::invalid(format_args!("the attribute `{name}` is missing; give {kind}")),
    }
}
