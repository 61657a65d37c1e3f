//! `bitquilt bench qmatmul`

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use bitquilt::plugin_api::Importance;
use bitquilt::registry::Registry;
use bitquilt::{Graph, InferenceSession, State, Tensor, TensorType};
use bitquilt_kernels::{ActivationFormat, Isa};
use clap::{Args, ValueEnum};
use miette::{IntoDiagnostic, miette};

use super::report::{Cell, Column, Format, Report};
use super::roofline;
use crate::session::SessionArguments;

/// Times products `x [m, k]` times the transpose of a weight `[n, k]`, as a session runs them: the quantization of `x` included.
///
/// A row for each combination: the median and the smallest time of a product, the rates that follow from the median, and how large a
/// part that is of the roofline. The roofline is measured in the same run, for the same number of threads: the rate at which that
/// many bytes of memory are read over and over on large pages, and the rate of dot products (of bfloat16 where activations are rounded
/// to it, of fused multiplications and additions where they stay floats) on registers. GB/s are those of the encoded bytes. Products of
/// less than 4 million weight bytes (times m) run 64 in a graph, each with an input and a weight of its own.
#[derive(Args)]
pub struct QmatmulArguments {
    /// Encodings of the weight, built in or a plugin's; `f32` is the dense `matmul` with a constant weight.
    #[arg(long, value_delimiter = ',', default_value = "q4_0,q8_0,q4_k,q6_k")]
    encoding: Vec<String>,
    /// Rows of `x`.
    #[arg(long, value_delimiter = ',', default_value = "1,512", value_parser = positive)]
    m: Vec<usize>,
    /// Rows of the weight.
    #[arg(long, value_delimiter = ',', default_value = "4096", value_parser = positive)]
    n: Vec<usize>,
    /// Values of a row of `x` and of the weight.
    #[arg(long, value_delimiter = ',', default_value = "4096", value_parser = positive)]
    k: Vec<usize>,
    /// Whether `x` may be quantized.
    #[arg(long, value_delimiter = ',', default_value = "fast")]
    precision: Vec<Precision>,
    /// Rotates over this many megabytes (of 2^20 bytes) of distinct weights, so that they come from memory and not from a cache.
    #[arg(long, value_name = "MB", default_value_t = 0)]
    cold_mb: usize,
    /// The least time that a row's products are run for.
    #[arg(long, default_value_t = 0.4, value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    /// `x` may be quantized.
    Fast,
    /// `x` is multiplied as it is.
    Exact,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Exact => "exact",
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "write numbers above 0".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let fits = |seconds: &f64| (0.0..=3600.0).contains(seconds);
    text.parse().ok().filter(fits).ok_or_else(|| "write a number from 0 to 3600".to_owned())
}

const COLUMNS: &[Column] = &[
    ("encoding", 8),
    ("precision", 9),
    ("m", 4),
    ("n", 6),
    ("k", 6),
    ("threads", 7),
    ("median_us", 10),
    ("min_us", 10),
    ("gflops", 8),
    ("gb_s", 7),
    ("roofline_share", 14),
    ("read_gb_s", 9),
    ("peak_gflops", 11),
    ("weight_bytes", 12),
    ("prepared_bytes", 14),
    ("kernel", 10),
];

/// Encoded rows that are distinct; the others are the same again.
const DISTINCT_ROWS: usize = 64;

/// Weight bytes times `m` below which a graph has [`SMALL_PRODUCTS`] products.
const SMALL: usize = 4 << 20;

/// Products of a graph whose products are small.
const SMALL_PRODUCTS: usize = 64;

/// The most graphs that are loaded at a time.
const MAX_GRAPHS: usize = 4096;

/// Runs whose times a median is taken of, at least.
const RUNS: usize = 7;

impl QmatmulArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let cold = self.cold_mb.checked_mul(1 << 20);
        drop(reserve::<u8>(cold, format_args!("--cold-mb {}", self.cold_mb))?);
        let mut report = Report::new(&self.format, COLUMNS);
        let mut limits = Limits { isa: session.isa(), known: BTreeMap::new() };
        for threads in session.thread_counts() {
            let session = session.build_with(|builder| builder.threads(threads))?;
            for encoding in &self.encoding {
                for (&n, &k) in self.n.iter().flat_map(|n| self.k.iter().map(move |k| (n, k))) {
                    let weight = weight(session.registry(), encoding, n, k)?;
                    // Dense weights are multiplied in one way.
                    let precisions =
                        if encoding == "f32" { &[Precision::Exact] } else { &self.precision[..] };
                    for &precision in precisions {
                        for &m in &self.m {
                            let case = Case { encoding, precision, m, n, k, threads };
                            self.measure(&case, &session, &weight, &mut limits, &mut report)?;
                        }
                    }
                }
            }
        }
        report.finish()
    }

    fn measure(
        &self,
        case: &Case<'_>,
        session: &InferenceSession,
        weight: &Tensor,
        limits: &mut Limits,
        report: &mut Report<'_>,
    ) -> miette::Result<()> {
        let &Case { encoding, precision, m, n, k, threads } = case;
        let bytes = weight.bytes().len();
        let products = if bytes.saturating_mul(m) < SMALL { SMALL_PRODUCTS } else { 1 };
        let graphs = match self.cold_mb << 20 {
            0 => 1,
            cold => cold.div_ceil(bytes * products).max(2),
        };
        if graphs > MAX_GRAPHS {
            let cold = self.cold_mb;
            return Err(miette!(
                "--cold-mb {cold} takes {graphs} graphs with a weight [{n}, {k}], at most {MAX_GRAPHS} are made; choose larger weights, or less"
            ));
        }
        let names: Vec<String> = (0..products).map(|product| format!("x{product}")).collect();
        let mut states = Vec::with_capacity(graphs);
        for _ in 0..graphs {
            states.push(state(session, weight, case, &names)?);
        }
        let plan = states[0].model().explain().into_diagnostic()?;
        let prepared = (plan.held_bytes + plan.constant_bytes) / products;
        let kernel = plan.nodes.first().and_then(|node| node.kernel.clone()).unwrap_or_default().0;

        let x = Tensor::new([m, k], noise([m, k])?).into_diagnostic()?;
        let mut run = |index: usize| -> miette::Result<Duration> {
            let inputs = names.iter().map(|name| (name.as_str(), &x));
            let start = Instant::now();
            states[index % graphs].run(inputs).into_diagnostic()?;
            Ok(start.elapsed())
        };
        for index in 0..graphs.max(2) {
            run(index)?;
        }
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < RUNS || start.elapsed().as_secs_f64() < self.seconds {
            times.push(run(times.len())?.as_secs_f64() / products as f64);
        }
        times.sort_by(f64::total_cmp);
        let (median, min) = (times[times.len() / 2], times[0]);

        let fast = matches!(precision, Precision::Fast)
            && kernel == bitquilt_qmatmul::serving(encoding, limits.isa).name();
        let format = bitquilt_qmatmul::activations(encoding, limits.isa).ok().filter(|_| fast);
        let peak = limits.peak(format, threads)?;
        let read = limits.read(bytes * products * graphs, threads)?;
        let gflops = 2.0 * m as f64 * n as f64 * k as f64 / median / 1e9;
        let rate = bytes as f64 / median / 1e9;
        report.row(&[
            Cell::Text(encoding.to_owned()),
            Cell::Text(precision.name().to_owned()),
            Cell::Count(m),
            Cell::Count(n),
            Cell::Count(k),
            Cell::Count(threads),
            Cell::Measure(median * 1e6, 1),
            Cell::Measure(min * 1e6, 1),
            Cell::Measure(gflops, 1),
            Cell::Measure(rate, 2),
            // A product takes as long as the slower of its two parts at least.
            Cell::Measure((rate / read).max(gflops / peak), 2),
            Cell::Measure(read, 1),
            Cell::Measure(peak, 1),
            Cell::Count(bytes),
            Cell::Count(prepared),
            Cell::Text(kernel),
        ])
    }
}

/// One product.
struct Case<'a> {
    encoding: &'a str,
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    threads: usize,
}

/// A state of a graph with a product for each name, which is that of its input.
fn state(
    session: &InferenceSession,
    weight: &Tensor,
    case: &Case<'_>,
    names: &[String],
) -> miette::Result<State> {
    let mut graph = Graph::new(session.registry(), []).into_diagnostic()?;
    for name in names {
        let x = graph.add_input(name, TensorType::f32([case.m, case.k])).into_diagnostic()?;
        // A tensor of its own: kernels prepare the same tensor once.
        let weight = match weight.encoding() {
            Some(spec) => Tensor::from_encoded(spec, weight.shape(), weight.bytes()),
            None => Tensor::new(weight.shape(), weight.values::<f32>().into_diagnostic()?),
        };
        let weight = graph.constant(&weight.into_diagnostic()?).into_diagnostic()?;
        let product = match case.encoding {
            "f32" => graph.matmul(x, weight),
            _ => graph.node("qmatmul", [x, weight]).attribute("precision", case.precision.name()).value(),
        };
        graph.output(product.into_diagnostic()?).into_diagnostic()?;
    }
    session.load(&graph).into_diagnostic()?.new_state().into_diagnostic()
}

/// A weight of `n` rows of `k` values; transposed where it is dense.
fn weight(registry: &Registry, encoding: &str, n: usize, k: usize) -> miette::Result<Tensor> {
    if encoding == "f32" {
        return Tensor::new([k, n], noise([k, n])?).into_diagnostic();
    }
    let encoding = registry.require_encoding(encoding).into_diagnostic()?;
    let distinct = n.min(DISTINCT_ROWS);
    let rows = Tensor::new([distinct, k], noise([distinct, k])?).into_diagnostic()?;
    let encoded = match encoding.spec().importance {
        Importance::Required => encoding.quantize_with_importance(&rows, &vec![1.0; k]),
        _ => encoding.quantize(&rows),
    };
    let encoded = encoded.into_diagnostic()?.tensor;
    let row_bytes = encoded.bytes().len() / distinct;
    let bytes = row_bytes.checked_mul(n);
    let mut all = reserve::<u8>(bytes, format_args!("a weight [{n}, {k}]"))?;
    all.extend(encoded.bytes().iter().cycle().take(bytes.unwrap_or_default()));
    Tensor::from_encoded(encoding.spec(), [n, k], &all).into_diagnostic()
}

/// Values that are roughly normal, the same on each run.
fn noise([rows, columns]: [usize; 2]) -> miette::Result<Vec<f32>> {
    let mut values = reserve(rows.checked_mul(columns), format_args!("f32 [{rows}, {columns}]"))?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    values.extend((0..rows * columns).map(|_| (0..4).map(|_| uniform()).sum::<f32>()));
    Ok(values)
}

/// An empty vector with room for `len` values, which were not too many to be counted; an error if there is not so much memory.
fn reserve<T>(len: Option<usize>, what: impl Display) -> miette::Result<Vec<T>> {
    let mut values = Vec::new();
    let reserved = len.and_then(|len| values.try_reserve_exact(len).ok());
    reserved
        .ok_or_else(|| miette!("{what} is more than this machine's memory holds; choose a smaller one"))?;
    Ok(values)
}

/// What the machine can do, measured when it is first asked for.
struct Limits {
    isa: Isa,
    /// By what is measured: the rate's kind, bytes, and threads.
    known: BTreeMap<(&'static str, usize, usize), f64>,
}

impl Limits {
    /// Of products with activations of this format; floats, where it is none.
    fn peak(&mut self, format: Option<ActivationFormat>, threads: usize) -> miette::Result<f64> {
        let isa = self.isa;
        match format {
            Some(format) if format.is_quantized() => {
                self.rate(("dot", 0, threads), || roofline::dot_rate(isa, threads))
            }
            Some(format) if format.is_rounded() => {
                self.rate(("bf16", 0, threads), || roofline::bf16_rate(isa, threads))
            }
            _ => self.rate(("fma", 0, threads), || roofline::fma_rate(isa, threads)),
        }
    }

    fn read(&mut self, bytes: usize, threads: usize) -> miette::Result<f64> {
        let isa = self.isa;
        self.rate(("read", bytes, threads), || roofline::read_rate(isa, bytes, threads))
    }

    fn rate(
        &mut self,
        key: (&'static str, usize, usize),
        measure: impl FnOnce() -> Result<f64, bitquilt_kernels::KernelError>,
    ) -> miette::Result<f64> {
        if let Some(rate) = self.known.get(&key) {
            return Ok(*rate);
        }
        let rate = measure().into_diagnostic()?;
        self.known.insert(key, rate);
        Ok(rate)
    }
}
