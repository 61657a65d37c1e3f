//! Attributes: how C describes them, and their values as C reads them.

use std::ffi::{CString, c_char};

use bitquilt_plugin_api::{Attribute, AttributeKind, Attributes, Error, OpSignature, Result};

use crate::header::{MAX_ATTRIBUTES, RawAttribute, RawValue, VALUE_BOOL, VALUE_FLOAT, VALUE_INT, VALUE_TEXT};
use crate::read;

/// Adds an attribute to a signature; `what` names it in errors.
///
/// # Safety
/// As for [`read::record`], and for what it points to as the header says.
pub(crate) unsafe fn add_attribute(
    signature: OpSignature,
    what: &str,
    raw: *const RawAttribute,
) -> Result<OpSignature> {
    // SAFETY: as the caller promises; so below.
    let raw = unsafe { read::record(what, raw)? };
    // SAFETY: as above.
    let name = unsafe { read::text(&format!("{what}->name"), raw.name)? };
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
    if raw.initial.is_null() {
        return Ok(signature.required(name, kind));
    }
    let initial = format!("{what}->initial");
    // SAFETY: as above.
    let value = unsafe { read::record(&initial, raw.initial)? };
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
        // SAFETY: as above.
        _ => signature.optional(name, unsafe { read::text(&format!("{initial}->text"), value.text)? }),
    })
}

/// The values of an op's attributes, in its order, as C reads them.
pub(crate) struct Values {
    raw: Vec<RawValue>,
    /// What the texts of `raw` point into.
    _texts: Vec<CString>,
}

// SAFETY: the pointers are to texts that it owns and that are not written.
unsafe impl Send for Values {}
// SAFETY: as above.
unsafe impl Sync for Values {}

impl Values {
    /// Those of a node.
    pub(crate) fn new(signature: &OpSignature, attributes: &Attributes) -> Result<Self> {
        let (mut raw, mut texts) = (Vec::new(), Vec::new());
        for spec in &signature.attributes {
            let size = size_of::<RawValue>();
            let mut value =
                RawValue { size, kind: 0, reserved: 0, integer: 0, number: 0.0, text: std::ptr::null() };
            match attributes.get(&spec.name) {
                Some(Attribute::Int(given)) => (value.kind, value.integer) = (VALUE_INT, *given),
                Some(Attribute::Float(given)) => (value.kind, value.number) = (VALUE_FLOAT, *given),
                Some(Attribute::Bool(given)) => (value.kind, value.integer) = (VALUE_BOOL, (*given).into()),
                Some(Attribute::Text(given)) => {
                    let text = CString::new(given.as_str()).map_err(|_| {
                        Error::invalid(format_args!("`{}` has a zero in its text", spec.name))
                    })?;
                    (value.kind, value.text) = (VALUE_TEXT, text.as_ptr().cast::<c_char>());
                    texts.push(text);
                }
                _ => {
                    return Err(Error::invalid(format_args!("`{}` has no value of its kind", spec.name)));
                }
            }
            raw.push(value);
        }
        Ok(Self { raw, _texts: texts })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// A pointer to each; the array has room for more than there are.
    pub(crate) fn pointers(&self) -> [*const RawValue; MAX_ATTRIBUTES] {
        let mut pointers = [std::ptr::null(); MAX_ATTRIBUTES];
        pointers.iter_mut().zip(&self.raw).for_each(|(pointer, value)| *pointer = value);
        pointers
    }
}
