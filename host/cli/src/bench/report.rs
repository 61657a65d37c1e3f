//! Rows of figures as a table, as JSON, or as CSV.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::output::{print_json, print_line};

/// How rows are printed; a table for people if nothing is said.
#[derive(Args)]
#[group(multiple = false)]
pub struct Format {
    /// Prints a JSON array with an object for each row.
    #[arg(long)]
    json: bool,
    /// Prints comma-separated values.
    #[arg(long)]
    csv: bool,
}

/// A figure, or what it is about.
pub enum Cell {
    /// Words without a comma.
    Text(String),
    /// A number of things.
    Count(usize),
    /// A measured quantity, with the digits behind the point that a table shows.
    Measure(f64, usize),
    /// What the system does not say: `-`, null, or nothing.
    Unknown,
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Measure(value, digits) => format!("{value:.digits$}"),
            Self::Unknown => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(count) => json!(count),
            Self::Measure(value, _) => json!(value),
            Self::Unknown => Value::Null,
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Measure(value, _) => value.to_string(),
            Self::Unknown => String::new(),
            _ => self.text(),
        }
    }
}

/// A column's name, and its width in a table.
pub type Column = (&'static str, usize);

/// Prints rows as they are measured; JSON when all are.
pub struct Report<'a> {
    format: &'a Format,
    columns: &'static [Column],
    started: bool,
    objects: Vec<Value>,
}

impl<'a> Report<'a> {
    /// No rows yet.
    pub fn new(format: &'a Format, columns: &'static [Column]) -> Self {
        Self { format, columns, started: false, objects: Vec::new() }
    }

    /// Adds a row, a cell for each column. The columns' names go before the first.
    pub fn row(&mut self, cells: &[Cell]) -> miette::Result<()> {
        let names = self.columns.iter().map(|(name, _)| (*name).to_owned());
        if !self.format.json {
            if !std::mem::replace(&mut self.started, true) {
                self.line(&names.map(Cell::Text).collect::<Vec<_>>())?;
            }
            return self.line(cells);
        }
        self.objects.push(names.zip(cells.iter().map(Cell::json)).collect::<Map<_, _>>().into());
        Ok(())
    }

    /// Ends.
    pub fn finish(self) -> miette::Result<()> {
        if self.format.json {
            print_json(&self.objects)?;
        }
        Ok(())
    }

    fn line(&self, cells: &[Cell]) -> miette::Result<()> {
        if self.format.csv {
            return print_line(cells.iter().map(Cell::csv).collect::<Vec<_>>().join(","));
        }
        let padded = cells.iter().zip(self.columns).map(|(cell, (_, width))| match cell {
            Cell::Text(text) if cells.iter().any(|cell| !matches!(cell, Cell::Text(_))) => {
                format!("{text:<width$}")
            }
            cell => format!("{:>width$}", cell.text()),
        });
        print_line(padded.collect::<Vec<_>>().join(" ").trim_end())
    }
}
