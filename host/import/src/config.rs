//! What `config.json` says of a quantization.

use std::path::{Path, PathBuf};

use bitquilt::file;
use serde_json::{Map, Value};

use crate::error::ImportError;
use crate::problem::ConfigProblem;

/// The largest configuration, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The largest number of values in a group that is taken seriously.
pub(crate) const MAX_GROUP: i64 = 1 << 30;

/// Where a quantization is described: a file, and the keys of objects in it, the first that is there. Without keys it is the whole file.
const PLACES: [(&str, &[&str]); 2] = [
    ("config.json", &["quantization_config", "quantization", "compression_config"]),
    ("quantize_config.json", &[]),
];

/// The description of a quantization; empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    path: PathBuf,
    /// What keys are beneath, for messages.
    prefix: String,
    object: Option<Map<String, Value>>,
}

impl Config {
    /// The description in the configuration of a directory.
    pub(crate) fn beside(directory: &Path) -> Result<Self, ImportError> {
        for (file_name, keys) in PLACES {
            let path = directory.join(file_name);
            if !path.is_file() {
                continue;
            }
            let whole = Self::read(path)?;
            if keys.is_empty() {
                return Ok(whole);
            }
            for key in keys {
                if let Some(object) = whole.object(key)? {
                    return Ok(object);
                }
            }
        }
        Ok(Self::default())
    }

    fn read(path: PathBuf) -> Result<Self, ImportError> {
        let bytes = file::read(&path, MAX_BYTES)?;
        match serde_json::from_slice(&bytes) {
            Ok(object) => Ok(Self { path, prefix: String::new(), object: Some(object) }),
            Err(error) => {
                let problem = ConfigProblem::Json { said: error.to_string() };
                Err(ImportError::Config { path, problem })
            }
        }
    }

    /// Whether there is a description.
    pub(crate) fn is_there(&self) -> bool {
        self.object.is_some()
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.object.as_ref()?.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, problem: ConfigProblem) -> ImportError {
        ImportError::Config { path: self.path.clone(), problem }
    }

    /// The whole name of a key.
    fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    fn other_type(&self, key: &str, value: &Value, expected: &'static str) -> ImportError {
        self.wrong(ConfigProblem::Type { key: self.name(key), found: value.to_string(), expected })
    }

    /// The object of a key.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, ImportError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self {
                path: self.path.clone(),
                prefix: self.name(key),
                object: Some(object.clone()),
            })),
            Some(value) => Err(self.other_type(key, value, "an object")),
        }
    }

    /// The objects of an object, by their order.
    pub(crate) fn objects(&self) -> Result<Vec<Self>, ImportError> {
        let keys = self.object.iter().flat_map(Map::keys);
        keys.filter_map(|key| self.object(key).transpose()).collect()
    }

    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ImportError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.other_type(key, value, "a text")),
        }
    }

    /// The flag of a key.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ImportError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.other_type(key, value, "true or false")),
        }
    }

    /// The whole number of a key, which `is_allowed`; `allowed` says what is.
    pub(crate) fn number(
        &self,
        key: &str,
        is_allowed: impl Fn(i64) -> bool,
        allowed: impl Into<String>,
    ) -> Result<Option<i64>, ImportError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let Value::Number(number) = value else { return Err(self.other_type(key, value, "a whole number")) };
        match number.as_i64() {
            Some(number) if is_allowed(number) => Ok(Some(number)),
            _ => {
                let (key, found) = (self.name(key), number.to_string());
                Err(self.wrong(ConfigProblem::Number { key, found, allowed: allowed.into() }))
            }
        }
    }

    /// The bits of a code, one of `allowed`.
    pub(crate) fn bits(&self, key: &str, allowed: &[u32]) -> Result<Option<u32>, ImportError> {
        let words: Vec<String> = allowed.iter().map(u32::to_string).collect();
        let is_allowed = |number: i64| allowed.iter().any(|bits| i64::from(*bits) == number);
        let number = self.number(key, is_allowed, format!("one of {}", words.join(", ")))?;
        Ok(number.map(|number| number as u32))
    }

    /// The values in a group of rows of `columns` values: those of a row for -1.
    pub(crate) fn group(&self, key: &str, columns: usize) -> Result<Option<usize>, ImportError> {
        let is_allowed = |number: i64| number == -1 || (1..=MAX_GROUP).contains(&number);
        let number = self.number(key, is_allowed, format!("-1, or from 1 to {MAX_GROUP}"))?;
        Ok(number.map(|number| usize::try_from(number).unwrap_or(columns).min(columns)))
    }

    /// The error of a text that is none of those that are known.
    pub(crate) fn unknown_word(&self, key: &str, found: &str, known: impl Into<String>) -> ImportError {
        let (key, found, known) = (self.name(key), found.to_owned(), known.into());
        self.wrong(ConfigProblem::Word { key, found, known })
    }

    /// Two numbers of an array, each at least 1.
    pub(crate) fn pair(&self, key: &str) -> Result<Option<[usize; 2]>, ImportError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = |value: &Value| {
            value.as_i64().filter(|number| (1..=MAX_GROUP).contains(number)).map(|number| number as usize)
        };
        match value.as_array().map(Vec::as_slice) {
            Some([first, second]) => match (number(first), number(second)) {
                (Some(first), Some(second)) => Ok(Some([first, second])),
                _ => Err(self.other_type(key, value, "an array of two whole numbers from 1 to 1073741824")),
            },
            _ => Err(self.other_type(key, value, "an array of two whole numbers")),
        }
    }
}
