//! Attributes: how C describes them, and their values as C reads them.

use std::ffi::CString;

use bitquilt_plugin_api::{Attribute, AttributeKind, AttributeSpec, Attributes, Error, OpSignature, Result};

use crate::header::{MAX_ATTRIBUTES, RawAttribute, RawValue, VALUE_BOOL, VALUE_FLOAT, VALUE_INT, VALUE_TEXT};
use crate::read::{Item, Text};

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
        code => {
            return Err(Error::invalid(format_args!(
                "{what}->kind is {code}; BITQUILT_VALUE_INT, _FLOAT, _BOOL or _TEXT is expected"
            )));
        }
    };
    if !raw.initial.is_some() {
        return Ok(signature.required(name, kind));
    }
    let initial = format!("{what}->initial");
    let value = raw.initial.read(&initial)?;
    if value.kind != raw.kind {
        return Err(Error::invalid(format_args!(
            "{initial}->kind is {}, that of the attribute is {}; both must be the same",
            value.kind, raw.kind
        )));
    }
    Ok(match kind {
        AttributeKind::Int => signature.optional(name, value.integer),
        AttributeKind::Float => signature.optional(name, value.number),
        AttributeKind::Bool => signature.optional(name, value.integer != 0),
        _ => signature.optional(name, value.text.read(&format!("{initial}->text"))?),
    })
}

/// The values of an op's attributes, in its order.
pub(crate) struct Values(Vec<Value>);

enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(CString),
}

impl Values {
    /// Those of a node.
    pub(crate) fn new(signature: &OpSignature, attributes: &Attributes) -> Result<Self> {
        let value = |spec: &AttributeSpec| match attributes.get(&spec.name) {
            Some(Attribute::Int(given)) => Ok(Value::Int(*given)),
            Some(Attribute::Float(given)) => Ok(Value::Float(*given)),
            Some(Attribute::Bool(given)) => Ok(Value::Bool(*given)),
            Some(Attribute::Text(given)) => CString::new(given.as_str())
                .map(Value::Text)
                .map_err(|_| Error::invalid(format_args!("`{}` has a zero in its text", spec.name))),
            _ => Err(Error::invalid(format_args!("`{}` has no value of its kind", spec.name))),
        };
        signature.attributes.iter().map(value).collect::<Result<_>>().map(Self)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// They, as C reads them; there is room for more than there are.
    pub(crate) fn lend(&self) -> [RawValue<'_>; MAX_ATTRIBUTES] {
        let (size, text) = (size_of::<RawValue<'_>>(), Text::NULL);
        let mut raw =
            [RawValue { size, kind: 0, reserved: 0, integer: 0, number: 0.0, text }; MAX_ATTRIBUTES];
        for (raw, value) in raw.iter_mut().zip(&self.0) {
            match value {
                Value::Int(value) => (raw.kind, raw.integer) = (VALUE_INT, *value),
                Value::Float(value) => (raw.kind, raw.number) = (VALUE_FLOAT, *value),
                Value::Bool(value) => (raw.kind, raw.integer) = (VALUE_BOOL, (*value).into()),
                Value::Text(value) => (raw.kind, raw.text) = (VALUE_TEXT, Text::lend(Some(value))),
            }
        }
        raw
    }
}
