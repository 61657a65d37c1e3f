//! Attributes: how C describes them, and their values as C reads them.

use std::ffi::{CStr, CString};
use std::ptr::null;

use bitquilt_plugin_api::{Attribute, AttributeKind, Attributes, Dim, Error, NodeView, OpSignature, Result};

use crate::header::{
    MAX_ATTRIBUTES, MAX_RANK, RawAttribute, RawInitial, RawValue, VALUE_BOOL, VALUE_FLOAT, VALUE_FLOATS,
    VALUE_INT, VALUE_INTS, VALUE_NONE, VALUE_SHAPE, VALUE_TEXT, VALUE_TEXTS,
};
use crate::read::{self, Item, Text};

/// Items of an initial value that is a list, at most.
const MAX_LIST: usize = 1024;

/// Adds an attribute to a signature; `what` names it in errors.
pub(crate) fn add_attribute(
    signature: OpSignature,
    what: &str,
    raw: &Item<RawAttribute>,
) -> Result<OpSignature> {
    let raw = raw.read(what)?;
    let name = raw.name.read(&format!("{what}->name"))?;
    let kind = match raw.kind {
        VALUE_INT => AttributeKind::Int,
        VALUE_FLOAT => AttributeKind::Float,
        VALUE_BOOL => AttributeKind::Bool,
        VALUE_TEXT => AttributeKind::Text,
        VALUE_INTS => AttributeKind::Ints,
        VALUE_SHAPE => AttributeKind::Shape,
        VALUE_FLOATS => AttributeKind::Floats,
        VALUE_TEXTS => AttributeKind::Texts,
        code => {
            return Err(Error::invalid(format_args!(
                "{what}->kind is {code}; BITQUILT_VALUE_INT, _FLOAT, _BOOL, _TEXT, _INTS, _SHAPE, _FLOATS or _TEXTS is expected"
            )));
        }
    };
    let optional = read::switch(&format!("{what}->optional"), raw.optional)?;
    if !raw.initial.is_some() {
        return Ok(match optional {
            true => signature.without_default(name, kind),
            false => signature.required(name, kind),
        });
    }
    let initial = format!("{what}->initial");
    let value = raw.initial.read(&initial)?;
    if value.kind != raw.kind {
        return Err(Error::invalid(format_args!(
            "{initial}->kind is {}, that of the attribute is {}; both must be the same",
            value.kind, raw.kind
        )));
    }
    read::reserved(&format!("{initial}->reserved"), value.reserved)?;
    Ok(signature.optional(name, initial_value(&initial, kind, &value)?))
}

/// The value that C says an attribute has where none is given.
fn initial_value(what: &str, kind: AttributeKind, raw: &RawInitial) -> Result<Attribute> {
    let integers = |most: usize| {
        // SAFETY: the library's, and as the header says.
        unsafe { read::array(&format!("{what}->integers"), "numbers", raw.count, raw.integers, most) }
    };
    Ok(match kind {
        AttributeKind::Int => raw.integer.into(),
        AttributeKind::Float => raw.number.into(),
        AttributeKind::Bool => read::switch(&format!("{what}->integer"), raw.integer.cast_unsigned())?.into(),
        AttributeKind::Ints => integers(MAX_LIST)?.to_vec().into(),
        AttributeKind::Shape => {
            let ints = Attribute::Ints(integers(MAX_RANK)?.to_vec());
            let said = ints.to_string();
            ints.into_kind(AttributeKind::Shape).ok_or_else(|| {
                Error::invalid(format_args!(
                    "{what}->integers are {said}; a dimension is a number from 0, or -1 for the one that follows from the others"
                ))
            })?
        }
        AttributeKind::Floats => {
            let what = format!("{what}->numbers");
            // SAFETY: as above.
            unsafe { read::array(&what, "numbers", raw.count, raw.numbers, MAX_LIST)? }.to_vec().into()
        }
        AttributeKind::Texts => {
            let what = format!("{what}->texts");
            // SAFETY: as above.
            let texts = unsafe { read::array(&what, "pointers", raw.count, raw.texts, MAX_LIST)? };
            let texts = texts.iter().enumerate().map(|(index, text)| text.read(&format!("{what}[{index}]")));
            texts.collect::<Result<Vec<String>>>()?.into()
        }
        _ => raw.text.read(&format!("{what}->text"))?.into(),
    })
}

/// The dimensions of a node that are no numbers. The first of them is -1 for C, the next -2.
pub(crate) struct Unknown(Vec<Dim>);

impl Unknown {
    /// The one that follows from others, in an attribute.
    pub(crate) fn new() -> Self {
        Self(vec![Dim::from("_")])
    }

    /// A dimension as C reads it.
    pub(crate) fn number(&mut self, dim: &Dim) -> Result<i64> {
        if let Some(number) = dim.fixed() {
            return i64::try_from(number)
                .map_err(|_| Error::invalid(format_args!("the dimension {number} is too large")));
        }
        let known = self.0.iter().position(|known| known == dim);
        Ok(-1
            - known.unwrap_or_else(|| {
                self.0.push(dim.clone());
                self.0.len() - 1
            }) as i64)
    }

    /// The dimension of a number that C wrote; none if it stands for none.
    pub(crate) fn dim(&self, number: i64) -> Option<Dim> {
        match usize::try_from(number) {
            Ok(number) => Some(Dim::Fixed(number)),
            Err(_) => self.0.get(usize::try_from(-1 - number).ok()?).cloned(),
        }
    }
}

/// The values of a node's attributes: those of an op of this plugin in its order, those of another's by name.
pub(crate) struct Values(Vec<(CString, Value)>);

enum Value {
    Absent,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(CString),
    Ints(Vec<i64>),
    Shape(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Texts),
}

/// Texts, and an array of pointers to them.
struct Texts {
    pointers: Vec<Text<'static>>,
    /// Not moved or changed while there are pointers to them.
    _texts: Vec<CString>,
}

// SAFETY: the pointers are to what is owned, and are only read.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

impl Texts {
    fn new(texts: Vec<CString>) -> Self {
        // SAFETY: the texts live as long as the pointers, which are lent no longer than `self`.
        let lend = |text: &CString| Text::lend(Some(unsafe { &*std::ptr::from_ref::<CStr>(text) }));
        Self { pointers: texts.iter().map(lend).collect(), _texts: texts }
    }
}

impl Values {
    /// Those of a node. `signature` is that of its op, if it is this plugin's.
    pub(crate) fn new(
        signature: Option<&OpSignature>,
        node: &NodeView<'_>,
        unknown: &mut Unknown,
    ) -> Result<Self> {
        let given = node.attributes();
        let names: Vec<&str> = match signature {
            Some(signature) => signature.attributes.iter().map(|spec| &*spec.name).collect(),
            None => given.iter().map(|(name, _)| name).collect(),
        };
        if names.len() > MAX_ATTRIBUTES {
            return Err(Error::unsupported(format_args!(
                "`{}` has {} attributes; a kernel in C takes {MAX_ATTRIBUTES} at most",
                node.op(),
                names.len()
            )));
        }
        let values = names.into_iter().map(|name| Ok((text(name, name)?, value(given, name, unknown)?)));
        values.collect::<Result<_>>().map(Self)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// They, as C reads them; there is room for more than there are.
    pub(crate) fn lend(&self) -> [RawValue<'_>; MAX_ATTRIBUTES] {
        let mut all = [BLANK; MAX_ATTRIBUTES];
        for (raw, (name, value)) in all.iter_mut().zip(&self.0) {
            raw.name = Text::lend(Some(name));
            match value {
                Value::Absent => {}
                Value::Int(value) => (raw.kind, raw.integer) = (VALUE_INT, *value),
                Value::Float(value) => (raw.kind, raw.number) = (VALUE_FLOAT, *value),
                Value::Bool(value) => (raw.kind, raw.integer) = (VALUE_BOOL, (*value).into()),
                Value::Text(value) => (raw.kind, raw.text) = (VALUE_TEXT, Text::lend(Some(value))),
                Value::Ints(list) => {
                    (raw.kind, raw.count, raw.integers) = (VALUE_INTS, list.len(), list.as_ptr());
                }
                Value::Shape(list) => {
                    (raw.kind, raw.count, raw.integers) = (VALUE_SHAPE, list.len(), list.as_ptr());
                }
                Value::Floats(list) => {
                    (raw.kind, raw.count, raw.numbers) = (VALUE_FLOATS, list.len(), list.as_ptr());
                }
                Value::Texts(Texts { pointers, .. }) => {
                    (raw.kind, raw.count, raw.texts) = (VALUE_TEXTS, pointers.len(), pointers.as_ptr());
                }
            }
        }
        all
    }
}

const BLANK: RawValue<'static> = RawValue {
    size: size_of::<RawValue<'_>>(),
    kind: VALUE_NONE,
    reserved: 0,
    integer: 0,
    number: 0.0,
    text: Text::NULL,
    count: 0,
    integers: null(),
    numbers: null(),
    texts: null(),
    name: Text::NULL,
};

fn value(given: &Attributes, name: &str, unknown: &mut Unknown) -> Result<Value> {
    Ok(match given.get(name) {
        None => Value::Absent,
        Some(Attribute::Int(value)) => Value::Int(*value),
        Some(Attribute::Float(value)) => Value::Float(*value),
        Some(Attribute::Bool(value)) => Value::Bool(*value),
        Some(Attribute::Text(value)) => Value::Text(text(name, value)?),
        Some(Attribute::Ints(values)) => Value::Ints(values.clone()),
        Some(Attribute::Shape(dims)) => {
            Value::Shape(dims.iter().map(|dim| unknown.number(dim)).collect::<Result<_>>()?)
        }
        Some(Attribute::Floats(values)) => Value::Floats(values.clone()),
        Some(Attribute::Texts(values)) => {
            let texts = values.iter().map(|value| text(name, value)).collect::<Result<_>>()?;
            Value::Texts(Texts::new(texts))
        }
        Some(_) => {
            return Err(Error::unsupported(format_args!(
                "`{name}` has a value of a kind that bitquilt.h does not know"
            )));
        }
    })
}

/// A text of an attribute, as C reads it.
fn text(name: &str, value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::invalid(format_args!("`{name}` has a zero in its text")))
}
