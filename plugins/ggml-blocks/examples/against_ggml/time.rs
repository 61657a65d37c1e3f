//! How long it takes, this crate and ggml in turn.

use std::ops::Range;
use std::time::Instant;

use bitquilt_ggml_blocks::{Format, Importance};

use crate::ggml::{Ggml, Type};
use crate::rows::{Random, row};

/// Values in a row.
const ROW: usize = 4096;
/// Rows at most.
const ROWS: usize = 512;
/// A sample takes about this long, in seconds.
const SAMPLE: f64 = 0.012;

/// Prints for each format MB of f32 a second with one thread, ours and ggml's and the ratio, and what two threads gain.
/// Each sample is taken in turn; a figure is the median of the samples.
pub fn run(ggml: &Ggml, formats: &[&'static Format], samples: usize) {
    let random = &mut Random::new(1);
    let input: Vec<f32> = (0..ROWS).flat_map(|_| row(random, 0, ROW).into_iter().map(|x| x * 0.02)).collect();
    let importance: Vec<f32> = (0..ROW).map(|_| 0.5 + random.normal().abs()).collect();
    println!("MB of f32 a second: ours / ggml, ratio, two threads to one");
    println!("{:8} {:>30} {:>30} {:>30}", "", "quantize", "with importance", "dequantize");
    for format in formats {
        let case = Case { format, theirs: ggml.format(format), input: &input, samples };
        let (mut without, mut with) = (String::new(), String::new());
        if format.importance != Importance::Required {
            without = case.quantize(None);
        }
        if format.importance != Importance::Ignored {
            with = case.quantize(Some(&importance));
        }
        println!("{:8} {without:>30} {with:>30} {:>30}", format.name, case.dequantize(&importance));
    }
}

struct Case<'a> {
    format: &'static Format,
    theirs: Type,
    input: &'a [f32],
    samples: usize,
}

/// Fills what belongs to a range of rows.
trait Work<T>: Fn(Range<usize>, &mut [T]) + Sync {}
impl<T, F: Fn(Range<usize>, &mut [T]) + Sync> Work<T> for F {}

impl Case<'_> {
    fn quantize(&self, importance: Option<&[f32]>) -> String {
        let (format, theirs, input) = (self.format, self.theirs, self.input);
        let mut bytes = vec![0; ROWS * format.row_bytes(ROW).unwrap()];
        let values = |rows: Range<usize>| &input[rows.start * ROW..rows.end * ROW];
        self.compare(
            &mut bytes,
            |rows: Range<usize>, bytes: &mut [u8]| {
                theirs.quantize(format, values(rows), ROW, importance, bytes)
            },
            |rows: Range<usize>, bytes: &mut [u8]| format.quantize(values(rows), ROW, importance, bytes),
        )
    }

    fn dequantize(&self, importance: &[f32]) -> String {
        let (format, theirs) = (self.format, self.theirs);
        let row_bytes = format.row_bytes(ROW).unwrap();
        let mut bytes = vec![0; ROWS * row_bytes];
        format.quantize(self.input, ROW, Some(importance), &mut bytes);
        let blocks = |rows: Range<usize>| &bytes[rows.start * row_bytes..rows.end * row_bytes];
        self.compare(
            &mut vec![0.0f32; ROWS * ROW],
            |rows: Range<usize>, values: &mut [f32]| theirs.dequantize(blocks(rows), values),
            |rows: Range<usize>, values: &mut [f32]| format.dequantize(blocks(rows), values),
        )
    }

    /// Measures ggml, then this crate with one thread and with two.
    fn compare<T: Send>(&self, dst: &mut [T], theirs: impl Work<T>, ours: impl Work<T>) -> String {
        // Tables are made and pages touched before anything counts.
        ours(0..ROWS, dst);
        let (theirs, ours) = (Timed::new(&theirs, dst), Timed::new(&ours, dst));
        let mut speeds: [Vec<f64>; 3] = Default::default();
        for _ in 0..self.samples {
            speeds[0].push(theirs.one(dst));
            speeds[1].push(ours.one(dst));
            speeds[2].push(ours.two(dst));
        }
        let [ggml, one, two] = speeds.map(|mut speeds| {
            speeds.sort_by(f64::total_cmp);
            speeds[speeds.len() / 2]
        });
        format!("{one:.0} / {ggml:.0} {:.2}x {:.2}", one / ggml, two / one)
    }
}

/// Work, over as many rows and as often as makes a sample long enough.
struct Timed<'a, W> {
    work: &'a W,
    rows: usize,
    passes: usize,
}

impl<'a, W> Timed<'a, W> {
    fn new<T: Send>(work: &'a W, dst: &mut [T]) -> Self
    where
        W: Work<T>,
    {
        let few = Self { work, rows: 2, passes: 1 };
        few.one(dst);
        let rows = (SAMPLE * few.one(dst) * 1e6 / (ROW * size_of::<f32>()) as f64) as usize;
        Self { work, rows: rows.clamp(2, ROWS) & !1, passes: (rows / ROWS).max(1) }
    }

    /// MB of f32 a second.
    fn one<T: Send>(&self, dst: &mut [T]) -> f64
    where
        W: Work<T>,
    {
        let a_row = dst.len() / ROWS;
        self.speed(|| (self.work)(0..self.rows, &mut dst[..self.rows * a_row]))
    }

    /// The same with two threads, which share the rows.
    fn two<T: Send>(&self, dst: &mut [T]) -> f64
    where
        W: Work<T>,
    {
        let a_row = dst.len() / ROWS;
        let half = self.rows / 2;
        let (first, second) = dst[..self.rows * a_row].split_at_mut(half * a_row);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..self.passes).for_each(|_| (self.work)(half..self.rows, second)));
            (0..self.passes).for_each(|_| (self.work)(0..half, first));
        });
        self.megabytes() / start.elapsed().as_secs_f64()
    }

    fn speed(&self, mut pass: impl FnMut()) -> f64 {
        let start = Instant::now();
        (0..self.passes).for_each(|_| pass());
        self.megabytes() / start.elapsed().as_secs_f64()
    }

    fn megabytes(&self) -> f64 {
        (self.rows * self.passes * ROW * size_of::<f32>()) as f64 / 1e6
    }
}
