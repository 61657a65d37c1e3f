//! `bitquilt bench model`

use std::time::Instant;

use bitquilt::quantize::Sizes;
use bitquilt_models::arguments::{BenchArguments, RunArguments};
use bitquilt_models::bench::{Times, decode, peak_resident, prefill};
use bitquilt_models::runner::Runner;
use clap::Args;
use miette::IntoDiagnostic;

use super::report::{Cell, Column, Format, Report};
use crate::model::{ModelArguments, warn};
use crate::session::SessionArguments;

/// Times a language model: how long it takes to load, and how many tokens of a prompt, and of a text, it takes in a second.
///
/// A row for each number of threads. Rates are medians of the repetitions, beside the lowest and the highest. The weights' bytes are those
/// of the file; peak_bytes is the most memory that the process had until then, where the system says it, mapped pages of the file included.
#[derive(Args)]
pub struct ModelBenchArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    bench: BenchArguments,
    #[command(flatten)]
    format: Format,
}

const COLUMNS: &[Column] = &[
    ("threads", 7),
    ("isa", 10),
    ("load_s", 7),
    ("weight_bytes", 12),
    ("prefill_tokens", 14),
    ("prefill_tokens_s", 16),
    ("prefill_min", 11),
    ("prefill_max", 11),
    ("decode_tokens", 13),
    ("decode_tokens_s", 15),
    ("decode_min", 10),
    ("decode_max", 10),
    ("peak_bytes", 12),
];

impl ModelBenchArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let mut report = Report::new(&self.format, COLUMNS);
        let BenchArguments { prompt, tokens, repetitions } = self.bench;
        for threads in session.thread_counts() {
            let session = session.build_for_threads(&[self.model.path()], threads)?;
            let begin = Instant::now();
            let model = self.model.open(&session)?;
            let options = self.run.options(&model, prompt.max(tokens), warn);
            let mut runner = Runner::load(&session, &model, &options, |_, _| {}).into_diagnostic()?;
            let load = begin.elapsed().as_secs_f64();
            let (bytes, vocabulary) = (Sizes::of(&model.weights).bytes(), model.config.vocabulary);
            drop(model);
            let prefill = prefill(&mut runner, vocabulary, prompt, repetitions).into_diagnostic()?;
            let decode = decode(&mut runner, vocabulary, tokens, repetitions).into_diagnostic()?;
            let mut row = vec![
                Cell::Count(threads),
                Cell::Text(session.isa().name().to_owned()),
                Cell::Measure(load, 3),
                Cell::Count(bytes),
            ];
            row.extend(rates(&prefill));
            row.extend(rates(&decode));
            let peak = peak_resident().and_then(|bytes| usize::try_from(bytes).ok());
            row.push(peak.map_or(Cell::Unknown, Cell::Count));
            report.row(&row)?;
        }
        report.finish()
    }
}

/// The number of tokens and the rates: median, lowest, highest.
fn rates(times: &Times) -> [Cell; 4] {
    let [median, low, high] = match times.rates() {
        Some(rates) => rates.map(|rate| Cell::Measure(rate, 1)),
        None => [Cell::Unknown, Cell::Unknown, Cell::Unknown],
    };
    [Cell::Count(times.tokens()), median, low, high]
}
