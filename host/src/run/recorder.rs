//! The importance of weights' columns, summed during runs.

use bitquilt_plugin_api::{DType, ElementView, Error, Executor, TensorView, WorkerScratch};
use half::{bf16, f16};

use super::observe::{Observer, Values};
use crate::plan::{Layout, Program, RunError};

/// Columns whose sums are in registers while the rows pass by.
const LANES: usize = 16;

/// Values that are worth another thread.
const TASK_VALUES: usize = 32 * 1024;

/// The sums of the squares of each activation's columns, over a state's runs so far. Its memory is allocated when it is made.
///
/// Sums are in f64, of each column by itself and in the order of the rows: they are the same bits for any number of threads.
pub(crate) struct Recorder {
    activations: Vec<Sums>,
}

/// What is known of an activation.
#[derive(Clone)]
struct Sums {
    squares: Vec<f64>,
    rows: u64,
}

/// The sums of a weight's columns.
pub(crate) struct RecordedWeight<'p> {
    pub(crate) name: &'p str,
    pub(crate) squares: Vec<f64>,
    pub(crate) rows: u64,
}

impl Recorder {
    pub(crate) fn new(program: &Program) -> Self {
        let sums = |columns: usize| Sums { squares: vec![0.0; columns], rows: 0 };
        Self { activations: program.activations.iter().map(|it| sums(it.columns)).collect() }
    }

    /// What is known so far of each weight, in the order of the graph. One that several nodes take has the sum of what they multiply it
    /// with.
    pub(crate) fn weights<'p>(&self, program: &'p Program) -> Vec<RecordedWeight<'p>> {
        let weight = |(name, uses): (&'p String, &Vec<usize>)| {
            let mut sum: Option<Sums> = None;
            for sums in uses.iter().map(|index| &self.activations[*index]) {
                match &mut sum {
                    None => sum = Some(sums.clone()),
                    Some(sum) => {
                        sum.squares.iter_mut().zip(&sums.squares).for_each(|(sum, more)| *sum += more);
                        sum.rows += sums.rows;
                    }
                }
            }
            let Sums { squares, rows } = sum?;
            Some(RecordedWeight { name, squares, rows })
        };
        program.weights.iter().filter_map(|it| weight((&it.name, &it.activations))).collect()
    }
}

impl Observer for Recorder {
    type Mark = ();

    fn begin(&self) {}

    fn inputs(&mut self, step: usize, run: &impl Values) -> Result<(), RunError> {
        let program = run.program();
        for index in program.steps[step].records.clone() {
            let value = program.activations[index].value;
            let sums = &mut self.activations[index];
            let added = match run.value(value) {
                Some(view) => sums.add(&view, run.executor()),
                None => Err(Error::failed("the activation was released; that is a fault of a kernel")),
            };
            added.map_err(|source| program.steps[step].failed(source))?;
        }
        Ok(())
    }

    fn step(&mut self, _: usize, (): (), _: &Program, _: &Layout) {}
    fn transform(&mut self, _: usize, (): (), _: &Program, _: &Layout) {}
}

impl Sums {
    /// Adds the rows of an activation.
    fn add(&mut self, view: &TensorView<'_>, executor: Executor<'_>) -> Result<(), Error> {
        let columns = self.squares.len();
        if view.shape().last() != Some(&columns) {
            return Err(Error::failed(format_args!(
                "the op says that an activation of shape {:?} is multiplied with the {columns} columns of a weight",
                view.shape()
            )));
        }
        match view.element() {
            ElementView::Dense(DType::F32) => self.add_rows(view.values::<f32>()?, executor, |x| *x),
            ElementView::Dense(DType::F16) => self.add_rows(view.values::<f16>()?, executor, |x| x.to_f32()),
            ElementView::Dense(DType::BF16) => {
                self.add_rows(view.values::<bf16>()?, executor, |x| x.to_f32())
            }
            _ => Err(Error::unsupported(
                "importance is recorded of activations in f32, f16 and bf16, and this one holds other values",
            )),
        }
    }

    fn add_rows<T: Sync>(
        &mut self,
        values: &[T],
        executor: Executor<'_>,
        widen: impl Fn(&T) -> f32 + Sync,
    ) -> Result<(), Error> {
        let columns = self.squares.len();
        if values.is_empty() {
            return Ok(());
        }
        let rows = values.len() / columns;
        let piece = TASK_VALUES.div_ceil(rows).next_multiple_of(LANES);
        executor.par_chunks_mut(&mut self.squares, piece, WorkerScratch::none(), |index, sums, _| {
            for (tile, sums) in sums.chunks_mut(LANES).enumerate() {
                let first = index * piece + tile * LANES;
                add_columns(sums, values, columns, first, &widen);
            }
        });
        self.rows += rows as u64;
        // Squares of f32 values have no infinite sum in f64.
        if self.squares.iter().all(|sum| sum.is_finite()) {
            return Ok(());
        }
        let at = values.iter().position(|x| !widen(x).is_finite()).unwrap_or_default();
        Err(Error::failed(format_args!(
            "its activation is {} at row {}, column {}; importance is recorded of finite values",
            widen(&values[at]),
            at / columns,
            at % columns
        )))
    }
}

/// Adds the squares of a few columns, from `first` on, to their sums.
#[inline(always)]
fn add_columns<T>(sums: &mut [f64], values: &[T], columns: usize, first: usize, widen: &impl Fn(&T) -> f32) {
    if let Ok(sums) = <&mut [f64; LANES]>::try_from(&mut *sums) {
        let mut lanes = *sums;
        for row in values.chunks_exact(columns) {
            for (sum, x) in lanes.iter_mut().zip(&row[first..first + LANES]) {
                let x = f64::from(widen(x));
                *sum += x * x;
            }
        }
        *sums = lanes;
        return;
    }
    for row in values.chunks_exact(columns) {
        for (sum, x) in sums.iter_mut().zip(&row[first..]) {
            let x = f64::from(widen(x));
            *sum += x * x;
        }
    }
}
