//! Values by key, of the type that a program needs.

use std::fmt::{self, Display, Formatter};

use super::{Array, Metadata, Value};
use crate::text::Brief;

/// Why the metadata does not say what was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// There is no such key.
    #[error("the metadata has no `{key}`; {expected} was expected")]
    Missing {
        /// The key.
        key: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The value is of another type.
    #[error("the metadata `{key}` is {found}; {expected} was expected")]
    Type {
        /// The key.
        key: String,
        /// What was expected.
        expected: &'static str,
        /// The value's type, and the value if it is no array.
        found: String,
    },
}

/// A type that values of the metadata can be taken as.
pub trait FromValue<'a>: Sized {
    /// What is expected, for messages: "a text".
    const EXPECTED: &'static str;
    /// The value, if it is of this type.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl Metadata {
    /// The value of this key, if there is one; an error if it is of another type.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, MetadataError> {
        let take = |value| {
            T::from_value(value).ok_or_else(|| MetadataError::Type {
                key: key.to_owned(),
                expected: T::EXPECTED,
                found: Found(value).to_string(),
            })
        };
        self.get(key).map(take).transpose()
    }

    /// The value of this key; an error if it is missing or of another type.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, MetadataError> {
        self.find(key)?.ok_or_else(|| MetadataError::Missing { key: key.to_owned(), expected: T::EXPECTED })
    }
}

impl<'a> FromValue<'a> for usize {
    const EXPECTED: &'static str = "a whole number that is not negative";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl<'a> FromValue<'a> for u32 {
    const EXPECTED: &'static str = "a whole number of 32 bits";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl<'a> FromValue<'a> for f64 {
    const EXPECTED: &'static str = "a floating-point number";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_f64()
    }
}

impl<'a> FromValue<'a> for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_bool()
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a text";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_str()
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const EXPECTED: &'static str = "an array of texts";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_array()?.as_strings()
    }
}

impl<'a> FromValue<'a> for Vec<f64> {
    const EXPECTED: &'static str = "an array of floating-point numbers";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_array()?.to_floats()
    }
}

impl<'a> FromValue<'a> for Vec<i64> {
    const EXPECTED: &'static str = "an array of integers";
    fn from_value(value: &'a Value) -> Option<Self> {
        value.as_array()?.to_integers()
    }
}

/// A value in a message.
struct Found<'a>(&'a Value);

impl Display for Found<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "the text \"{}\"", Brief(text)),
            Value::Bytes(_) => write!(f, "the text \"{}\", which is no UTF-8", Brief(&self.0.to_string())),
            Value::Array(Array::Bytes(texts)) => {
                write!(f, "an array of {} string, not all of which are UTF-8", texts.len())
            }
            Value::Array(array) => write!(f, "an array of {} {}", array.len(), array.type_name()),
            scalar => scalar.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_the_type_that_is_asked_for() {
        let mut metadata: Metadata = [
            ("count", Value::U32(7)),
            ("negative", Value::I64(-7)),
            ("eps", Value::F32(0.5)),
            ("name", Value::String("a".repeat(200))),
            ("bytes", Value::Bytes(vec![b'a', 0x80])),
            ("tokens", Array::String(vec!["a".to_owned()]).into()),
            ("byte tokens", Array::Bytes(vec![vec![0x80]]).into()),
            ("scores", Array::F32(vec![0.5]).into()),
            ("more scores", Array::F64(vec![0.5]).into()),
            ("large", Array::U64(vec![u64::MAX]).into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(metadata.require("count"), Ok(7usize));
        assert_eq!(metadata.find("count"), Ok(Some(7u32)));
        assert_eq!(metadata.find::<usize>("other"), Ok(None));
        assert_eq!(metadata.require("eps"), Ok(0.5f64));
        assert_eq!(metadata.require("tokens"), Ok(&["a".to_owned()][..]));
        assert_eq!(metadata.require("scores"), Ok(vec![0.5f64]));
        assert_eq!(metadata.require("more scores"), Ok(vec![0.5f64]));
        for (key, array) in [
            ("u8", Array::U8(vec![1, 3])),
            ("i8", Array::I8(vec![1, 3])),
            ("u16", Array::U16(vec![1, 3])),
            ("i16", Array::I16(vec![1, 3])),
            ("u32", Array::U32(vec![1, 3])),
            ("i32", Array::I32(vec![1, 3])),
            ("u64", Array::U64(vec![1, 3])),
            ("i64", Array::I64(vec![1, 3])),
        ] {
            metadata.insert(key, array);
            assert_eq!(metadata.require(key), Ok(vec![1i64, 3]), "{key}");
        }
        let sentence = |error: MetadataError| error.to_string();
        assert_eq!(
            metadata.require::<f64>("other").map_err(sentence),
            Err("the metadata has no `other`; a floating-point number was expected".to_owned())
        );
        for (key, found) in [
            ("negative", "-7".to_owned()),
            ("eps", "0.5".to_owned()),
            ("name", format!("the text \"{}… (200 characters)\"", "a".repeat(120))),
            ("tokens", "an array of 1 string".to_owned()),
            ("bytes", "the text \"a\\x80\", which is no UTF-8".to_owned()),
            ("byte tokens", "an array of 1 string, not all of which are UTF-8".to_owned()),
            ("large", "an array of 1 u64".to_owned()),
        ] {
            let expected = "a whole number that is not negative was expected";
            assert_eq!(
                metadata.find::<usize>(key).map_err(sentence),
                Err(format!("the metadata `{key}` is {found}; {expected}"))
            );
        }
        assert_eq!(metadata.remove("count"), Some(Value::U32(7)));
        assert!(!metadata.contains("count"));
    }
}
