//! What was found, as tables or JSON.

use std::path::Path;

use bitquilt::file;
use bitquilt::quantize::compare::{Comparison, Difference, Histogram, Histograms, Unlike};
use bitquilt::text::{Brief, Columns};
use bitquilt_models::loss::TextLoss;
use miette::IntoDiagnostic;
use serde_json::{Map, Value, json};

use crate::output::{print, print_json};

/// What A is compared with: B, or A in an encoding.
pub struct Candidate {
    name: String,
    comparison: Comparison,
    text: Option<TextLoss>,
    outputs: Option<OutputLoss>,
}

/// The differences of a graph's outputs.
pub struct OutputLoss {
    /// By name.
    pub outputs: Vec<(String, Difference)>,
    /// Over all.
    pub total: Difference,
}

impl Candidate {
    /// A candidate of whose weights this was found.
    pub fn new(name: String, comparison: Comparison) -> Self {
        Self { name, comparison, text: None, outputs: None }
    }
}

/// A part of the JSON, of one candidate.
type Part = fn(&Candidate) -> Option<Value>;

/// All candidates.
pub struct Report {
    candidates: Vec<Candidate>,
}

const HEADINGS: [&str; 8] = ["weight", "shape", "encoding", "bits", "rel RMS", "max abs", "SNR dB", "cosine"];

impl Report {
    /// Of weights alone.
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { candidates }
    }

    /// Adds what each candidate has lost on a text.
    pub fn set_texts(&mut self, losses: Vec<TextLoss>) {
        self.candidates.iter_mut().zip(losses).for_each(|(candidate, loss)| candidate.text = Some(loss));
    }

    /// Adds what each candidate has lost in its outputs.
    pub fn set_outputs(&mut self, losses: Vec<OutputLoss>) {
        self.candidates.iter_mut().zip(losses).for_each(|(candidate, loss)| candidate.outputs = Some(loss));
    }

    /// The weights that A and B do not share.
    pub fn unlike(&self) -> Option<&Unlike> {
        self.candidates.iter().find_map(|candidate| candidate.comparison.unlike.as_ref())
    }

    fn is_empty(&self) -> bool {
        self.candidates.iter().all(|it| it.comparison.weights.is_empty() && it.outputs.is_none())
    }

    /// Writes it as a page, unless nothing was compared; `a` and `b` are what was.
    pub fn write_page(&self, page: &Path, a: &Path, b: Option<&Path>) -> miette::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let mut json = self.json();
        json["a"] = a.display().to_string().into();
        json["b"] = b.map(|path| path.display().to_string()).into();
        let text = bitquilt_page::compare(&json);
        file::replace(page, |out| out.write_all(text.as_bytes())).into_diagnostic()
    }

    /// Prints it, unless nothing was compared.
    pub fn print(&self, json: bool) -> miette::Result<()> {
        match json {
            _ if self.is_empty() => Ok(()),
            true => print_json(&self.json()),
            false => self.candidates.iter().try_for_each(|candidate| print(candidate.table())),
        }
    }

    fn json(&self) -> Value {
        let weights: Vec<Value> = self.candidates.iter().flat_map(Candidate::weights).collect();
        let mut json = Map::new();
        json.insert("weights".to_owned(), weights.into());
        let parts: [(&str, Part); 5] = [
            ("total", |it| Some(it.total())),
            ("kl", |it| it.text.map(|text| kl(&text))),
            ("top1", |it| it.text.map(|text| json!(text.top1))),
            ("perplexity", |it| it.text.map(|text| perplexity(&text))),
            ("outputs", |it| it.outputs.as_ref().map(OutputLoss::json)),
        ];
        for (key, of) in parts {
            let values = self.candidates.iter().filter_map(|it| Some((it.name.clone(), of(it)?)));
            let values: Vec<(String, Value)> = values.collect();
            match &values[..] {
                [] => {}
                [(_, value)] => drop(json.insert(key.to_owned(), value.clone())),
                _ => drop(json.insert(key.to_owned(), values.into_iter().collect::<Map<_, _>>().into())),
            }
        }
        json.into()
    }
}

impl Candidate {
    fn weights(&self) -> impl Iterator<Item = Value> {
        self.comparison.weights.iter().map(|weight| {
            let mut json = json!({
                "name": weight.name, "shape": weight.shape, "encoding": weight.encoding, "bits": weight.bits(),
            });
            add_figures(&mut json, &weight.difference);
            if let Some(Histograms { values, error }) = &weight.histograms {
                json["histograms"] = json!({ "values": histogram(values), "error": histogram(error) });
            }
            json
        })
    }

    fn total(&self) -> Value {
        let mut json = json!({ "bits": self.comparison.bits(), "bytes": self.comparison.bytes() });
        add_figures(&mut json, &self.comparison.total());
        json
    }

    fn table(&self) -> String {
        let mut rows: Vec<[String; 8]> = Vec::new();
        for weight in &self.comparison.weights {
            let shape = format!("{:?}", weight.shape);
            let what = [Brief(&weight.name).to_string(), shape, Brief(&weight.encoding).to_string()];
            rows.push(row(what, weight.bits(), &weight.difference));
        }
        let all = format!("all {}, {:.2} MB", rows.len(), self.comparison.bytes() as f64 / 1e6);
        let what = [all, String::new(), String::new()];
        if !rows.is_empty() {
            rows.push(row(what, self.comparison.bits(), &self.comparison.total()));
        }
        let columns = Columns::new(1, HEADINGS, &rows);
        let mut lines = vec![columns.line(&HEADINGS)];
        lines.extend(rows.iter().map(|row| columns.line(row)));
        if let Some(TextLoss { kl, top1, reference_perplexity, perplexity }) = &self.text {
            lines.push(format!(
                "{}: KL divergence {:.6} nats on average, median {:.6}, 99 % up to {:.6}, at most {:.6}; the same best token {:.2} % of \
                 the time; perplexity {reference_perplexity:.4}, then {perplexity:.4}",
                Brief(&self.name),
                kl.mean,
                kl.median,
                kl.p99,
                kl.max,
                100.0 * top1
            ));
        }
        for (name, difference) in self.outputs.iter().flat_map(OutputLoss::rows) {
            let (rel_rms, cosine) = (difference.rel_rms(), difference.cosine());
            lines.push(format!("{}: {name}: rel RMS {rel_rms:.6}, cosine {cosine:.6}", Brief(&self.name)));
        }
        lines.join("\n") + "\n"
    }
}

impl OutputLoss {
    fn json(&self) -> Value {
        let figures = |it: &Difference| json!({ "rel_rms": it.rel_rms(), "cosine": it.cosine() });
        let mut json = figures(&self.total);
        let by_name: Map<String, Value> =
            self.outputs.iter().map(|(name, difference)| (name.clone(), figures(difference))).collect();
        json["by_name"] = by_name.into();
        json
    }

    /// What each is called, and it; the whole where there are several.
    fn rows(&self) -> Vec<(String, &Difference)> {
        let output = |(name, difference)| (format!("output `{}`", Brief(name)), difference);
        let mut rows: Vec<_> = self.outputs.iter().map(|(name, it)| output((name, it))).collect();
        if rows.len() > 1 {
            rows.push(("all outputs".to_owned(), &self.total));
        }
        rows
    }
}

fn add_figures(json: &mut Value, difference: &Difference) {
    json["rel_rms"] = json!(difference.rel_rms());
    json["max_abs"] = json!(difference.max_abs());
    json["snr_db"] = json!(difference.snr_db());
    json["cosine"] = json!(difference.cosine());
}

fn histogram(histogram: &Histogram) -> Value {
    json!({ "width": histogram.width, "counts": histogram.counts })
}

fn kl(text: &TextLoss) -> Value {
    let kl = &text.kl;
    json!({ "mean": kl.mean, "median": kl.median, "p99": kl.p99, "max": kl.max })
}

fn perplexity(text: &TextLoss) -> Value {
    json!({ "a": text.reference_perplexity, "b": text.perplexity })
}

fn row([name, shape, encoding]: [String; 3], bits: f64, difference: &Difference) -> [String; 8] {
    let snr = difference.snr_db().map_or_else(|| "exact".to_owned(), |snr| format!("{snr:.2}"));
    let (rel_rms, max_abs) = (format!("{:.6}", difference.rel_rms()), format!("{:.6}", difference.max_abs()));
    [
        name,
        shape,
        encoding,
        format!("{bits:.2}"),
        rel_rms,
        max_abs,
        snr,
        format!("{:.6}", difference.cosine()),
    ]
}
