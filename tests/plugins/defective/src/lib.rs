//! A plugin that loads, with an encoding or an op for each promise that it breaks. What each is called says which.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bitquilt_plugin_api::{
    AttributeKind, EncodingSpec, Error, ErrorBound, Executor, InferContext, InputTransform, Kernel,
    KernelKey, KernelProvider, Op, OpSignature, OutputType, Plugin, PrepareContext, Prepared,
    QuantizationEncoding, Result, RowPart, Rows, RunContext, Scratch, Selector, Shapes, TensorType,
    TensorView, bytemuck, export_plugin,
};

/// Values in a block.
const BLOCK_LEN: usize = 32;
/// Bytes of a block: f32 as they are.
const BLOCK_BYTES: usize = 4 * BLOCK_LEN;

/// An encoding that stores f32 as it is, but for its defect.
struct Encoding(&'static str);

/// What is different each time.
static CALLS: AtomicU8 = AtomicU8::new(0);

fn next_call() -> u8 {
    CALLS.fetch_add(1, Ordering::Relaxed)
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Writes a byte beside a slice.
fn write_beside(slice: &mut [u8], offset: isize) {
    // SAFETY: none: this is the defect.
    unsafe { slice.as_mut_ptr().offset(offset).write_volatile(1) };
}

/// Changes a byte of a slice that is only lent.
fn change(slice: &[u8]) {
    // SAFETY: none: this is the defect.
    unsafe { slice.as_ptr().cast_mut().write_volatile(slice[0] ^ 1) };
}

impl QuantizationEncoding for Encoding {
    fn spec(&self) -> EncodingSpec {
        let spec = EncodingSpec::new(format!("defective.{}", self.0), BLOCK_LEN, BLOCK_BYTES);
        match self.0 {
            "claims_too_much" => spec.error_bound(ErrorBound::new(1e-3, 1e-6, 1e30)),
            _ => spec,
        }
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let mut value_of_before = 0.0;
        for (index, (value, bytes)) in rows.values().iter().zip(dst.chunks_exact_mut(4)).enumerate() {
            let stored = match self.0 {
                "round_trip" => -value,
                "claims_too_much" => value * 1.0015,
                "rows" => value + value_of_before,
                _ => *value,
            };
            value_of_before = *value;
            if self.0 != "unwritten" || index % BLOCK_LEN != 5 {
                bytes.copy_from_slice(&stored.to_le_bytes());
            }
        }
        let len = dst.len() as isize;
        match self.0 {
            "writes_after" => write_beside(dst, len),
            "writes_before" => write_beside(dst, -1),
            "changes_rows" => change(bytemuck::cast_slice(rows.values())),
            "nondeterministic" => dst[0] = next_call(),
            "panics_on_huge" => {
                assert!(rows.values().iter().all(|value| value.abs() < 1e35), "too large for me")
            }
            _ => {}
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        // The wrong arithmetic: 31 values a block.
        let skipped = if self.0 == "arithmetic" { 4 } else { 0 };
        let mut at = 0;
        for values in dst.chunks_exact_mut(BLOCK_LEN) {
            for value in values {
                if let Some(bytes) = blocks.get(at..at + 4) {
                    *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                at += 4;
            }
            at -= skipped;
        }
        match self.0 {
            "fails" => return Err(Error::failed("no values today")),
            "nan" => dst[0] = f32::NAN,
            "changes_blocks" => change(blocks),
            "panics_on_ones" => assert!(blocks.iter().any(|byte| *byte != 0xff), "what is that?"),
            "hangs_on_zeros" if blocks.iter().all(|byte| *byte == 0) => hang(),
            "exits_on_zeros" if blocks.iter().all(|byte| *byte == 0) => std::process::exit(0),
            "aborts_on_zeros" if blocks.iter().all(|byte| *byte == 0) => std::process::abort(),
            "eats_memory_on_zeros" if blocks.iter().all(|byte| *byte == 0) => {
                std::hint::black_box(vec![1u8; 1 << 40]);
            }
            "reads_far" => {
                // SAFETY: none: this is the defect.
                dst[0] += 0.0 * f32::from(unsafe { blocks.as_ptr().add(blocks.len()).read_volatile() });
            }
            _ => {}
        }
        Ok(())
    }
}

/// An op that copies its one f32 input, but for its defect.
struct Copy(&'static str);

impl Op for Copy {
    fn signature(&self) -> OpSignature {
        let signature = OpSignature::new(format!("defective.op_{}", self.0)).dense("x");
        match self.0 {
            "no_inputs" => signature.required("password", AttributeKind::Text),
            _ => signature,
        }
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = &cx.inputs()[0];
        match self.0 {
            "no_inputs" => return Err(Error::invalid("that is not the password")),
            "infer_panics" => assert!(x.rank() < 9, "so many dimensions"),
            "infer_changes_its_mind" => return Ok(vec![TensorType::f32([usize::from(next_call())]).into()]),
            "no_output" => return Ok(vec![]),
            "unknown_encoding" => return Ok(vec![TensorType::encoded("nobody.knows", [32]).into()]),
            "symbols_disagree" if x.fixed_shape().is_none() => return Ok(vec![TensorType::f32([7]).into()]),
            _ => {}
        }
        match x.dtype() {
            Some(bitquilt_plugin_api::DType::F32) if x.rank() > 0 => Ok(vec![x.clone().into()]),
            _ => Err(Error::invalid(format_args!("`x` is {x}; f32 [n, ..] is expected"))),
        }
    }
}

impl Kernel for Copy {
    fn scratch(&self, _: &Shapes<'_>) -> Scratch {
        Scratch { shared: 8, per_worker: 8 }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let x: TensorView<'_> = cx.input(0)?;
        let output = cx.output(0)?.into_bytes();
        if output.len() != x.bytes().len() {
            // The types are the defect.
            output.fill(0);
            return Ok(());
        }
        output.copy_from_slice(x.bytes());
        if output.is_empty() {
            assert_ne!(self.0, "panics_on_nothing", "there is nothing to do");
            return Ok(());
        }
        let len = output.len() as isize;
        match self.0 {
            "unwritten" => {
                // What was there before is put back.
                output[0] = cx.shared_scratch()[0];
            }
            "writes_after" => write_beside(output, len),
            "writes_before" => write_beside(output, -1),
            "scratch_overrun" => {
                let scratch = cx.worker_scratch();
                // SAFETY: one slice, and no tasks run.
                write_beside(unsafe { scratch.worker(0) }, 9);
            }
            "changes_input" => change(x.bytes()),
            "threads" => output[0] = cx.executor().workers() as u8,
            "nondeterministic" => output[0] = next_call(),
            "hangs" => hang(),
            "segfaults_on_nan"
                if f32::from_le_bytes([output[0], output[1], output[2], output[3]]).is_nan() =>
            {
                // SAFETY: none: this is the defect.
                unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
            }
            "fails" => return Err(Error::failed("no result today")),
            _ => {}
        }
        Ok(())
    }
}

/// A provider for [`Copy`] with a defect of what only providers have.
struct Provider(&'static str, i32);

impl KernelProvider for Provider {
    fn key(&self) -> KernelKey {
        KernelKey::new(format!("defective.op_{}", self.0), Selector::Dense, format!("at{}", self.1))
            .priority(self.1)
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let prepared = Prepared::new(Fickle);
        Ok(match (self.0, cx.next()) {
            ("joins", _) => prepared.transform(0, "as it is", Halves),
            (_, Some(next)) => prepared.or_next(next),
            _ => prepared,
        })
    }
}

/// A kernel that copies, and serves shapes one time and not the next.
struct Fickle;

impl Kernel for Fickle {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(0)?.into_bytes().copy_from_slice(cx.input(0)?.bytes());
        Ok(())
    }

    fn serves(&self, _: &Shapes<'_>) -> bool {
        next_call().is_multiple_of(2)
    }
}

/// A transform that joins parts in the wrong order.
struct Halves;

impl InputTransform for Halves {
    fn bytes(&self, shape: &[usize]) -> usize {
        shape.iter().product::<usize>() * size_of::<f32>()
    }

    fn run(&self, input: TensorView<'_>, dst: &mut [u8], _: Executor<'_>) -> Result<()> {
        dst.copy_from_slice(input.bytes());
        Ok(())
    }

    fn unit(&self) -> Option<usize> {
        Some(1)
    }

    fn join(&self, _: &[usize], parts: &[RowPart<'_>], dst: &mut [u8]) -> Result<()> {
        let mut rest = dst;
        for part in parts.iter().rev() {
            let (to, after) = rest.split_at_mut(part.bytes.len());
            to.copy_from_slice(part.bytes);
            rest = after;
        }
        Ok(())
    }
}

fn plugin() -> Plugin {
    let mut plugin = Plugin::new("fixture-defective", env!("CARGO_PKG_VERSION"));
    for defect in [
        "none",
        "arithmetic",
        "rows",
        "round_trip",
        "claims_too_much",
        "nan",
        "fails",
        "unwritten",
        "nondeterministic",
        "changes_rows",
        "changes_blocks",
        "panics_on_ones",
        "panics_on_huge",
        "hangs_on_zeros",
        "exits_on_zeros",
        "aborts_on_zeros",
        "eats_memory_on_zeros",
        "writes_after",
        "writes_before",
        "reads_far",
    ] {
        plugin = plugin.encoding(Encoding(defect));
    }
    for defect in [
        "none",
        "no_inputs",
        "infer_panics",
        "infer_changes_its_mind",
        "no_output",
        "unknown_encoding",
        "symbols_disagree",
        "unwritten",
        "nondeterministic",
        "threads",
        "changes_input",
        "panics_on_nothing",
        "segfaults_on_nan",
        "hangs",
        "fails",
        "writes_after",
        "writes_before",
        "scratch_overrun",
    ] {
        plugin = plugin.simple_op(Copy(defect));
    }
    let providers = [Provider("joins", 0), Provider("serves", 0), Provider("serves", 1)];
    let plugin = plugin.op(Copy("joins")).op(Copy("serves"));
    providers.into_iter().fold(plugin, Plugin::kernel)
}

export_plugin!(plugin);
