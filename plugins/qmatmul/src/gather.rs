//! `qgather`: rows of an encoded table.

use bitquilt_plugin_api::{
    DType, Dim, ElementView, Error, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext,
    ShapeDisplay, TensorType, TensorView, WorkerScratch,
};

use crate::matrix::{check_whole_blocks, matrix_shape};

/// `qgather(table, ids)`: for each of `ids`, i32 or i64 `[..]`, that row of `table`, encoded `[rows, n]`, decoded: f32 `[.., n]`.
///
/// An id below 0 or not below `rows` is an error of the run.
pub(crate) struct QGather;

impl Op for QGather {
    fn signature(&self) -> OpSignature {
        OpSignature::new("qgather")
            .encoded("table")
            .dense("ids")
            .summary("the rows of an encoded table [rows, n] that ids [..] name, f32 [.., n]")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let (table, ids) = (&cx.inputs()[0], &cx.inputs()[1]);
        if ![Some(DType::I32), Some(DType::I64)].contains(&ids.dtype()) {
            return Err(Error::invalid(format_args!(
                "`ids` is {ids}; qgather takes i32 or i64 row numbers: cast it"
            )));
        }
        let [_, n] = matrix_shape("table", table)?;
        check_whole_blocks(cx, "table", table, n)?;
        Ok(vec![TensorType::f32(ids.shape.iter().cloned().chain([Dim::Fixed(n)])).into()])
    }
}

impl Kernel for QGather {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (table, ids, decoder) = (cx.input(0)?, cx.input(1)?, cx.decoder(0)?);
        let [rows, n] = *table.shape() else {
            return Err(Error::failed(format_args!("the table has the shape {:?}", table.shape())));
        };
        let ids_shape = ids.shape();
        let ids = Ids::of(&ids)?;
        ids.check(rows, ids_shape)?;
        let out = cx.output(0)?.into_values::<f32>()?;
        if out.is_empty() {
            return Ok(());
        }
        let row_bytes = table.bytes().len() / rows;
        cx.executor().try_par_chunks_mut(out, n, WorkerScratch::none(), |index, values, _| {
            // Checked above: it is a row's number.
            let row = ids.get(index) as usize;
            decoder.dequantize(&table.bytes()[row * row_bytes..][..row_bytes], values)
        })
    }
}

/// Row numbers of either dtype.
enum Ids<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Ids<'a> {
    fn of(ids: &TensorView<'a>) -> Result<Self> {
        match ids.element() {
            ElementView::Dense(DType::I32) => ids.values().map(Self::I32),
            _ => ids.values().map(Self::I64),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::I32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    fn get(&self, index: usize) -> i64 {
        match self {
            Self::I32(ids) => i64::from(ids[index]),
            Self::I64(ids) => ids[index],
        }
    }

    /// An error that names the first id that is no row of a table of `rows`.
    fn check(&self, rows: usize, shape: &[usize]) -> Result<()> {
        let is_row = |id: i64| usize::try_from(id).is_ok_and(|id| id < rows);
        match (0..self.len()).find(|index| !is_row(self.get(*index))) {
            None => Ok(()),
            Some(index) => Err(Error::invalid(format_args!(
                "the id {} at {} of `ids` is no row of the table, which has {rows}",
                self.get(index),
                ShapeDisplay(&position(index, shape))
            ))),
        }
    }
}

/// The indices, outermost first, of element `index` of a tensor.
fn position(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for (slot, dim) in indices.iter_mut().zip(shape).rev() {
        (*slot, index) = (index % dim, index / dim);
    }
    indices
}
