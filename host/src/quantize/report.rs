//! What became of a checkpoint's tensors, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::Element;

use super::plan::Plan;
use super::weight::is_weight;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::encoding::SquaredError;
use crate::text::{Brief, Columns};

/// What becomes, or became, of the tensors of a checkpoint. Displayed, it is a table with a row for each encoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The weights, by name.
    pub weights: Vec<WeightReport>,
    /// The number of all other tensors, which are carried over or cast.
    pub other_tensors: usize,
    /// Their bytes, once they are written.
    pub other_bytes: u64,
}

/// What becomes of a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightReport {
    /// The name.
    pub name: String,
    /// The logical shape.
    pub shape: Vec<usize>,
    /// The dtype or encoding that it had.
    pub from: Element,
    /// The one that it gets.
    pub to: Element,
    /// The encoding that was wanted where it gets the fallback.
    pub instead_of: Option<String>,
    /// The bytes that it had.
    pub bytes_before: u64,
    /// The bytes that it gets.
    pub bytes_after: u64,
    /// How far its values are off, once it was written: zero if they are what they were.
    pub error: SquaredError,
}

impl Report {
    /// What a plan makes of a file, of which a writer knows the types.
    pub(super) fn of(file: &Checkpoint, writer: &CheckpointWriter, plan: &Plan) -> Self {
        let instead: BTreeMap<&str, String> = plan
            .conversions
            .iter()
            .filter_map(|conversion| {
                Some((conversion.weight.as_str(), conversion.instead_of.as_ref()?.to_string()))
            })
            .collect();
        let mut report = Self::default();
        for (name, stored) in file.tensors() {
            let Some((to, bytes_after)) = writer.announced(name) else { continue };
            if !is_weight(&stored.element(), stored.shape()) {
                report.other_tensors += 1;
                report.other_bytes += bytes_after;
                continue;
            }
            report.weights.push(WeightReport {
                name: name.to_owned(),
                shape: stored.shape().to_vec(),
                from: stored.element(),
                to,
                instead_of: instead.get(name).cloned(),
                bytes_before: stored.byte_range().len() as u64,
                bytes_after,
                error: SquaredError::default(),
            });
        }
        report
    }

    /// Sets the error of a weight.
    pub(super) fn measured(&mut self, name: &str, error: SquaredError) {
        if let Ok(index) = self.weights.binary_search_by(|weight| weight.name.as_str().cmp(name)) {
            self.weights[index].error = error;
        }
    }
}

impl WeightReport {
    /// The number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|dim| *dim as u64).product()
    }

    /// What becomes of it, in short: the encoding, and why it is that.
    fn kind(&self) -> String {
        let to = Brief(&self.to.to_string()).to_string();
        match &self.instead_of {
            Some(wanted) => format!("{to} instead of {}", Brief(wanted)),
            None if self.from == self.to => format!("{to}, as before"),
            None => to,
        }
    }
}

/// Sums over weights.
#[derive(Default)]
struct Sums {
    weights: usize,
    values: u64,
    bytes_before: u64,
    bytes_after: u64,
    error: SquaredError,
}

impl Sums {
    fn add(&mut self, weight: &WeightReport) {
        self.weights += 1;
        self.values += weight.values();
        self.bytes_before += weight.bytes_before;
        self.bytes_after += weight.bytes_after;
        self.error += weight.error;
    }

    fn row(&self, kind: &str) -> [String; 6] {
        let megabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
        let bits = 8.0 * self.bytes_after as f64 / self.values.max(1) as f64;
        let error = match self.error {
            SquaredError { norm: 0.0, .. } => "-".to_owned(),
            error => format!("{:.3}%", 100.0 * error.relative_rms()),
        };
        let (before, after) = (megabytes(self.bytes_before), megabytes(self.bytes_after));
        [kind.to_owned(), self.weights.to_string(), before, after, format!("{bits:.3}"), error]
    }
}

impl Display for Report {
    /// A row for each encoding: weights, MB (10^6 bytes) before and after, bits a value, and the error: the root mean square of the
    /// differences as a part of that of the values that were encoded.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const HEADINGS: [&str; 6] =
            ["weights are", "number", "MB before", "MB after", "bits a value", "error"];
        let mut kinds: BTreeMap<String, Sums> = BTreeMap::new();
        let mut all = Sums::default();
        for weight in &self.weights {
            kinds.entry(weight.kind()).or_default().add(weight);
            all.add(weight);
        }
        let rows = kinds.iter().map(|(kind, sums)| sums.row(kind));
        let rows: Vec<_> = rows.chain([all.row("all weights")]).collect();
        let columns = Columns::new(1, HEADINGS, &rows);
        f.write_str(&columns.line(&HEADINGS))?;
        rows.iter().try_for_each(|row| write!(f, "\n{}", columns.line(row)))?;
        match self.other_tensors {
            0 => Ok(()),
            1 => write!(f, "\nand 1 other tensor of {:.2} MB", self.other_bytes as f64 / 1e6),
            count => write!(f, "\nand {count} other tensors of {:.2} MB", self.other_bytes as f64 / 1e6),
        }
    }
}
