//! Weights of two checkpoints that cannot be compared with each other.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use bitquilt_plugin_api::ShapeDisplay;

use crate::text::Brief;

/// Why a weight of one checkpoint is not compared with that of the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// The other checkpoint does not have it.
    NotInOther {
        /// Its name.
        name: String,
        /// Names there that are almost the same.
        similar: Vec<String>,
    },
    /// The reference does not have it.
    NotInReference {
        /// Its name.
        name: String,
        /// Names there that are almost the same.
        similar: Vec<String>,
    },
    /// Its shapes differ.
    Shape {
        /// Its name.
        name: String,
        /// In the reference.
        reference: Vec<usize>,
        /// In the other checkpoint.
        other: Vec<usize>,
    },
    /// The tensor of this name holds no floats in the other checkpoint.
    Type {
        /// Its name.
        name: String,
        /// Its type there.
        found: String,
    },
}

/// The weights that two checkpoints do not share. Its text is one sentence, with some of each kind.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Unlike {
    /// The file of the reference.
    pub reference: PathBuf,
    /// The other file.
    pub other: PathBuf,
    /// The weights.
    pub mismatches: Vec<Mismatch>,
}

/// The most weights of a kind that are named.
const NAMED: usize = 3;

impl Display for Unlike {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (a, b) = (self.reference.display().to_string(), self.other.display().to_string());
        let lacking = |of_other: bool| {
            let names = self.mismatches.iter().filter_map(move |mismatch| match mismatch {
                Mismatch::NotInOther { name, similar } if of_other => Some(named(name, similar)),
                Mismatch::NotInReference { name, similar } if !of_other => Some(named(name, similar)),
                _ => None,
            });
            some(names.collect())
        };
        let shapes = self.mismatches.iter().filter_map(|mismatch| match mismatch {
            Mismatch::Shape { name, reference, other } => {
                let (reference, other) = (ShapeDisplay(reference), ShapeDisplay(other));
                Some(format!("`{}` ({reference} and {other})", Brief(name)))
            }
            _ => None,
        });
        let types = self.mismatches.iter().filter_map(|mismatch| match mismatch {
            Mismatch::Type { name, found } => Some(format!("`{}` ({})", Brief(name), Brief(found))),
            _ => None,
        });
        let parts = [
            lacking(true).map(|names| format!("{b} lacks {names}")),
            lacking(false).map(|names| format!("{a} lacks {names}")),
            some(shapes.collect()).map(|names| format!("the shapes of {names} differ")),
            some(types.collect()).map(|names| format!("{b} has no floats in {names}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "{a} and {b} have not the same weights: {}", parts.join("; "))
    }
}

/// A name, and what may have been meant.
fn named(name: &str, similar: &[String]) -> String {
    match similar.first() {
        Some(similar) => format!("`{}` (is it `{}` there?)", Brief(name), Brief(similar)),
        None => format!("`{}`", Brief(name)),
    }
}

/// The first of some descriptions, and how many more there are; none if there are none.
fn some(all: Vec<String>) -> Option<String> {
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => None,
        1..=NAMED => Some(shown),
        count => Some(format!("{shown} and {} more", count - NAMED)),
    }
}
