//! A kernel above the one that it displaces.

use bitquilt_plugin_api::{
    Error, Kernel, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared, PreparedMemory, Result,
    RunContext, Selector, Shapes, Support, bytemuck,
};

/// The rows of the weight that a task takes.
const ROWS: usize = 8;

/// `qmatmul` with few rows of `x` and a weight in `q8_0`, which is decoded when the graph is loaded: f64 sums in order. More rows are the
/// next kernel's.
pub struct Gemv;

impl KernelProvider for Gemv {
    fn key(&self) -> KernelKey {
        KernelKey::new("qmatmul", Selector::Encoding("q8_0".to_owned()), "wide-gemv").priority(1000)
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        match node.is_constant(1) {
            true => Support::Yes,
            false => Support::no("the weight is not a constant"),
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let weight = cx.constant(1).ok_or_else(|| Error::failed("the weight is not a constant"))?;
        let [p, n] = weight.shape() else { return Err(Error::failed("the weight is no matrix")) };
        let mut decoded = cx.memory(p * n * size_of::<f32>())?;
        cx.decoder("q8_0")?.dequantize(weight.bytes(), bytemuck::cast_slice_mut(&mut decoded))?;
        let next = cx.next().ok_or_else(|| Error::unsupported("there is no kernel for more rows"))?;
        let note = format!("up to {MOST} rows of x; more are left to {}", next.name());
        Ok(Prepared::new(Multiply { decoded, p: *p, n: *n }).releases(1).or_next(next).note(note))
    }
}

/// The rows of `x` that are served.
const MOST: usize = 2;

struct Multiply {
    decoded: PreparedMemory,
    p: usize,
    n: usize,
}

impl Kernel for Multiply {
    fn serves(&self, shapes: &Shapes<'_>) -> bool {
        shapes.inputs[0].iter().rev().skip(1).product::<usize>() <= MOST
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, weight) = (cx.input(0)?.values::<f32>()?, bytemuck::cast_slice::<u8, f32>(&self.decoded));
        let output = cx.output(0)?.into_values::<f32>()?;
        // A task has some rows of the weight, which are columns of the output.
        let size = [usize::MAX, ROWS];
        cx.executor().try_par_tiles_mut(output, self.p, size, cx.worker_scratch(), |mut tile, _| {
            for row in tile.rows() {
                let (x, of_weight) = (&x[row * self.n..][..self.n], tile.columns());
                for (value, column) in tile.row(row).iter_mut().zip(of_weight) {
                    let weight = &weight[column * self.n..][..self.n];
                    let products = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    *value = products.sum::<f64>() as f32;
                }
            }
            Ok(())
        })
    }
}
