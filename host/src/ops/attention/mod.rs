//! `attention`: scaled dot products of queries and keys, and the values they choose.

mod part;
mod problem;
mod sums;
#[cfg(test)]
mod tests;
mod tile;

use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::{
    Arity, AttributeKind, Attributes, DType, Dim, ElementView, Error, Executor, InferContext, InputKind,
    Kernel, KernelKey, KernelProvider, NodeView, Op, OpSignature, OutputType, Plugin, PrepareContext,
    Prepared, Result, RunContext, Scratch, Selector, ShapeDisplay, Shapes, Split, TensorType, TensorView,
    Tiles, WorkerScratch, bytemuck,
};

use super::check::{Input, broadcast_dims, chosen_simd};
use super::parallel::for_each_piece;
use super::positions::Positions;
use super::walk::Walk;
use bitquilt_simd::AnySimd;
use part::{CHUNK, Sizes};
use problem::{Dims, Element, Mask, Problem, Visible};

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(AttentionOp).kernel(AttentionOp)
}

/// `attention(q, k, v, positions, mask)`: for each query the mean of the values, weighted by `softmax(scale * q . k + mask)`.
/// Vaswani et al., "Attention Is All You Need", 2017; with grouped heads, Ainslie et al., "GQA", 2023.
///
/// `q` is f32 `[.., seq, heads, n]`, `k` `[.., keys, kv_heads, n]` and `v` `[.., keys, kv_heads, m]`, both f32 or both f16, dense
/// tensors or states; the output is f32 `[.., seq, heads, m]`. Each `heads / kv_heads` heads in a row share a head of keys.
///
/// With `causal`, a query at position `p` sees keys `0 ..= p`: `positions`, i64 or i32, a scalar that is the first query's or
/// `[seq]`, that of each; without it the last query sees all keys. So `k` and `v` may be states of a whole context, of which only
/// what is written is read. `mask` broadcasts to `[.., heads, seq, keys]`: f32 is added, bool says which keys are seen. A query
/// that sees none gives zeros. `scale` is `1 / sqrt(n)`, unless it is given.
///
/// A row's sums have one order whatever rows are beside it: in blocks of keys, by the online softmax of Milakov and Gimelshein
/// (2018), and chunks of blocks apart.
pub(super) struct AttentionOp;

impl Op for AttentionOp {
    fn signature(&self) -> OpSignature {
        OpSignature::new("attention")
            .dense("q")
            .dense("k")
            .dense("v")
            .input("positions", InputKind::Dense, Arity::Optional)
            .input("mask", InputKind::Dense, Arity::Optional)
            .optional("causal", false)
            .without_default("scale", AttributeKind::Float)
            .split(Split::Heads)
            .summary("softmax(scale * q . k + mask) times v, for grouped heads")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let q = Input::of(cx, 0, "q")?.f32()?;
        let (k, v) = (Input::of(cx, 1, "k")?, Input::of(cx, 2, "v")?);
        let dtype = k.dtype(&[DType::F32, DType::F16])?;
        if v.tensor.dtype() != Some(dtype) {
            return Err(v.refuse(format_args!("{dtype} values, as `k` has")));
        }
        let Some(([lead @ .., seq], [heads, n])) = q.shape().split_last_chunk() else {
            return Err(q.refuse("queries, f32 [.., seq, heads, n]"));
        };
        let (Some(heads_count), Some(_)) = (heads.fixed(), n.fixed()) else {
            return Err(q.refuse("heads whose number and length are numbers"));
        };
        let keys = match k.shape().split_last_chunk() {
            Some(([key_lead @ .., keys], [kv_heads, length])) if key_lead == lead && length == n => {
                Some((keys, kv_heads))
            }
            _ => None,
        };
        let Some((keys, kv_heads)) = keys else {
            let lead: String = lead.iter().map(|dim| format!("{dim}, ")).collect();
            return Err(k.refuse(format_args!("[{lead}keys, kv_heads, {n}], keys for `q` {}", q.tensor)));
        };
        let groups =
            kv_heads.fixed().filter(|kv_heads| *kv_heads > 0 && heads_count.is_multiple_of(*kv_heads));
        if groups.is_none() && heads_count > 0 {
            return Err(
                k.refuse(format_args!("a number of heads that divides the {heads} of `q` {}", q.tensor))
            );
        }
        let values = v.shape().split_last().filter(|(m, rest)| {
            m.fixed().is_some() && k.shape().split_last().is_some_and(|(_, expected)| *rest == expected)
        });
        let Some((m, _)) = values else {
            return Err(v.refuse(format_args!("a value for each key and head of `k` {}", k.tensor)));
        };
        let rows = &q.shape()[..=lead.len()];
        let full: Vec<Dim> = lead.iter().chain([heads, seq, keys]).cloned().collect();
        let extra = Extra::of(cx);
        if let Some(index) = extra.positions {
            let positions = Input::of(cx, index, "positions")?;
            Positions::check(&positions, rows)?;
            if !cx.attributes().bool("causal")? {
                return Err(Error::invalid(
                    "`positions` are given, which say what each query sees; expected `causal` to be true",
                ));
            }
        }
        if let Some(index) = extra.mask {
            let mask = Input::of(cx, index, "mask")?;
            mask.dtype(&[DType::F32, DType::BOOL])?;
            if mask.tensor.rank() > full.len()
                || broadcast_dims(&full, mask.shape()).ok().as_ref() != Some(&full)
            {
                return Err(mask.refuse(format_args!(
                    "a shape that broadcasts to {}, [.., heads, seq, keys]",
                    ShapeDisplay(&full)
                )));
            }
        }
        let scale = cx.attributes().given("scale", Attributes::float)?;
        if let Some(scale) = scale.filter(|scale| !scale.is_finite()) {
            return Err(Error::invalid(format_args!("`scale` is {scale}; expected a finite number")));
        }
        Ok(vec![TensorType::f32(q.shape()[..=lead.len() + 1].iter().chain([m])).into()])
    }
}

/// Where those of the optional inputs are that are there.
#[derive(Clone, Copy)]
struct Extra {
    positions: Option<usize>,
    mask: Option<usize>,
}

impl Extra {
    fn of(node: &NodeView<'_>) -> Self {
        Self { positions: node.position("positions"), mask: node.position("mask") }
    }
}

impl KernelProvider for AttentionOp {
    fn key(&self) -> KernelKey {
        KernelKey::new("attention", Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let n = cx.inputs()[0].shape.last().and_then(Dim::fixed).unwrap_or_default();
        let scale = cx.attributes().given("scale", Attributes::float)?;
        let scale = scale.unwrap_or(1.0 / (n as f64).sqrt());
        let simd = chosen_simd(cx)?;
        let causal = cx.attributes().bool("causal")?;
        let kernel = AttentionKernel { simd, causal, scale: scale as f32, extra: Extra::of(cx) };
        Ok(Prepared::new(kernel).note(simd.isa().name()))
    }
}

struct AttentionKernel {
    simd: AnySimd,
    causal: bool,
    scale: f32,
    extra: Extra,
}

impl Kernel for AttentionKernel {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let dims = Dims::of(shapes.inputs[0], shapes.inputs[1], shapes.inputs[2]);
        let sizes = Sizes::of(&dims);
        let shared = match Parts::of(&dims, dims.keys, shapes.workers) {
            Parts::Whole => 0,
            Parts::Chunks(chunks) => dims.tasks() * chunks * sizes.part() * size_of::<f32>(),
        };
        Scratch { shared, per_worker: sizes.worker() * size_of::<f32>() }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let dims = Dims::of(q.shape(), k.shape(), v.shape());
        let visible = match self.extra.positions {
            Some(index) => Visible::to_positions(Positions::of(cx.input(index)?)?, &dims)?,
            None if self.causal => Visible::to_last(&dims)?,
            None => Visible::All,
        };
        let mask = match self.extra.mask {
            Some(index) => Some(mask(cx.input(index)?, &q.shape()[..q.shape().len() - 3], &dims)?),
            None => None,
        };
        let memory = Memory {
            output: cx.output(0)?.into_values::<f32>()?,
            parts: bytemuck::cast_slice_mut(cx.shared_scratch()),
            workers: cx.worker_scratch(),
        };
        let (q, scale) = (q.values::<f32>()?, self.scale);
        match k.element() {
            ElementView::Dense(DType::F16) => {
                let (k, v) = (k.values::<f16>()?, v.values::<f16>()?);
                attend(self.simd, cx.executor(), &Problem { q, k, v, mask, visible, dims, scale }, memory);
            }
            _ => {
                let (k, v) = (k.values::<f32>()?, v.values::<f32>()?);
                attend(self.simd, cx.executor(), &Problem { q, k, v, mask, visible, dims, scale }, memory);
            }
        }
        Ok(())
    }
}

fn mask<'a>(mask: TensorView<'a>, lead: &[usize], dims: &Dims) -> Result<Mask<'a>> {
    let mut shape = [1; super::walk::MAX_RANK];
    let rank = lead.len() + 3;
    shape[..lead.len()].copy_from_slice(lead);
    shape[lead.len()..rank].copy_from_slice(&[dims.heads, dims.seq, dims.keys]);
    let walk = Walk::broadcast(&shape[..rank], [mask.shape()]);
    let one_for_all = mask.shape().last().is_none_or(|keys| *keys == 1);
    Ok(match mask.element() {
        ElementView::Dense(DType::BOOL) => Mask::Seen { walk, one_for_all, values: mask.bytes() },
        _ => Mask::Added { walk, one_for_all, values: mask.values()? },
    })
}

/// Where a kernel writes.
struct Memory<'a> {
    output: &'a mut [f32],
    parts: &'a mut [f32],
    workers: WorkerScratch<'a>,
}

/// How the work of a task is divided further.
enum Parts {
    /// It is not.
    Whole,
    /// A part for each of so many chunks of keys.
    Chunks(usize),
}

impl Parts {
    /// For `keys` keys that are seen: few tasks are divided, so that each worker has some.
    fn of(dims: &Dims, keys: usize, workers: usize) -> Self {
        let chunks = keys.div_ceil(CHUNK);
        if workers > 1 && chunks > 1 && dims.tasks() < 2 * workers {
            Self::Chunks(chunks)
        } else {
            Self::Whole
        }
    }
}

/// Computes all tasks.
fn attend<K: Element>(simd: AnySimd, executor: Executor<'_>, problem: &Problem<'_, K>, memory: Memory<'_>) {
    let dims = &problem.dims;
    if memory.output.is_empty() {
        return;
    }
    let (sizes, tasks, output) = (Sizes::of(dims), dims.tasks(), Tiles::new(memory.output, dims.m));
    // The last queries see the most keys: their tasks begin first.
    let task = |index| problem.task(tasks - 1 - index, executor.workers());
    let Parts::Chunks(chunks) = Parts::of(dims, problem.most_visible(), executor.workers()) else {
        let workers = &memory.workers;
        executor.par_for(tasks, |index, worker| {
            // SAFETY: tasks of one worker run one after the other.
            let scratch = bytemuck::cast_slice_mut(unsafe { workers.worker(worker) });
            simd.run(sums::Whole { problem, task: task(index), sizes, scratch, output: &output });
        });
        return;
    };
    let len = sizes.part();
    let parts = &mut memory.parts[..tasks * chunks * len];
    executor.par_chunks_mut(parts, len, memory.workers, |index, part, scratch| {
        let (task, chunk) = (task(index / chunks), index % chunks);
        let scratch = bytemuck::cast_slice_mut(scratch);
        simd.run(sums::OneChunk { problem, task, chunk, sizes, scratch, part });
    });
    for_each_piece(executor, parts, chunks * len, 1, |first, parts| {
        for (index, parts) in parts.chunks_exact_mut(chunks * len).enumerate() {
            let task = task(first / (chunks * len) + index);
            simd.run(sums::Merge { problem, task, sizes, parts, output: &output });
        }
    });
}
