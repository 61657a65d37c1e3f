//! Floats in JSON: texts, since JSON's numbers are not all floats, and not each is read as the same one by everybody.

use crate::text::Brief;

/// A float that is written as text: the shortest decimal that is read as the same number, or, of NaN, the bits.
pub(super) trait Float: Copy {
    /// The text.
    fn write(self) -> String;
    /// The float of a text, if it is one.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! float {
    ($type:ty, $bits:ty) => {
        impl Float for $type {
            fn write(self) -> String {
                if self.is_nan() { format!("{:#x}", self.to_bits()) } else { format!("{self:?}") }
            }
            fn read(text: &str) -> Option<Self> {
                match text.strip_prefix("0x") {
                    Some(bits) => <$bits>::from_str_radix(bits, 16).ok().map(Self::from_bits),
                    None => text.parse().ok(),
                }
            }
        }
    };
}
float!(f32, u32);
float!(f64, u64);

/// A float, for serde.
pub(super) mod one {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Brief, Float};

    pub fn serialize<T: Float, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.write().serialize(serializer)
    }

    pub fn deserialize<'de, T: Float, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).ok_or_else(|| D::Error::custom(format_args!("\"{}\" is no number", Brief(&text))))
    }
}

/// Floats, for serde.
pub(super) mod list {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Float;

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct One<T: Float>(#[serde(with = "super::one")] T);

    pub fn serialize<T: Float, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.write()))
    }

    pub fn deserialize<'de, T: Float, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<One<T>>::deserialize(deserializer)?.into_iter().map(|One(value)| value).collect())
    }
}
