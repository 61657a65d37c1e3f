//! A plugin whose functions fail when they are called: an encoding for each fault of an encoding, and an op whose attribute says which
//! fault of an op, provider or kernel it has.

use std::sync::atomic::{AtomicUsize, Ordering};

use bitquilt_plugin_api::{
    EncodingSpec, Error, Executor, InferContext, InputTransform, Kernel, KernelKey, KernelProvider, NodeView,
    Op, OpSignature, OutputType, Plugin, PrepareContext, Prepared, QuantizationEncoding, Result, Rows,
    RunContext, Scratch, Selector, Shapes, Support, TensorType, TensorView, export_plugin,
};

/// A value whose destructor panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor that panics");
    }
}

/// An encoding that stores f32 as it is, but for its fault.
struct Faulty(&'static str, #[allow(dead_code, reason = "it is there to be dropped")] Option<Bomb>);

impl QuantizationEncoding for Faulty {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new(format!("calls.{}", self.0), 4, 16)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        match self.0 {
            "quantize_panics" => panic!("no block today"),
            "payload_panics" => std::panic::panic_any(Bomb),
            "quantize_fails_halfway" => {
                let half = dst.len() / 2;
                dst[..half].fill(0xaa);
                return Err(Error::failed(format_args!("{half} bytes in, something gave way")));
            }
            "long_error" => return Err(Error::failed("no ".repeat(350_000))),
            "invalid_error" => {
                // SAFETY: none: this is the fault. The text is not read here, only handed over as bytes.
                return Err(Error::failed(unsafe { String::from_utf8_unchecked(vec![b'n', 0xff, b'o']) }));
            }
            _ => {}
        }
        for (value, bytes) in rows.values().iter().zip(dst.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        assert_ne!(self.0, "dequantize_panics", "no values today");
        for (bytes, value) in blocks.chunks_exact(4).zip(dst) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    }
}

const OP: &str = "calls.copy";

/// `calls.copy(x; fault)`: a copy of `x`, but for the fault.
struct FaultyOp(AtomicUsize);

fn fault(node: &NodeView<'_>) -> Result<String> {
    Ok(node.attributes().text("fault")?.to_owned())
}

impl Op for FaultyOp {
    fn signature(&self) -> OpSignature {
        OpSignature::new(OP).dense("x").optional("fault", "")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = cx.inputs()[0].clone();
        match fault(cx)?.as_str() {
            "infer panics" => panic!("no type today"),
            "infer fails" => Err(Error::invalid("no type suits me")),
            "no output" => Ok(vec![]),
            "two outputs" => Ok(vec![x.clone().into(), x.into()]),
            "many outputs" => Ok(vec![x.into(); 1000]),
            "larger output" => Ok(vec![TensorType::f32([1usize << 40, 1 << 40]).into()]),
            "foreign symbol" => Ok(vec![TensorType::f32([bitquilt_plugin_api::dim("elsewhere")]).into()]),
            "smaller output" => Ok(vec![TensorType::f32([1]).into()]),
            "negative alias" => Ok(vec![OutputType::alias(x, 7)]),
            "changing mind" => {
                let calls = self.0.fetch_add(1, Ordering::Relaxed);
                Ok(vec![TensorType::f32([calls + 1]).into()])
            }
            _ => Ok(vec![x.into()]),
        }
    }
}

struct Provider;

impl KernelProvider for Provider {
    fn key(&self) -> KernelKey {
        KernelKey::new(OP, Selector::Dense, "faulty")
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        match fault(node).as_deref() {
            Ok("supports panics") => panic!("no support today"),
            Ok("unsupported") => Support::no("it does not feel like it"),
            _ => Support::Yes,
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let fault = fault(cx)?;
        match fault.as_str() {
            "prepare panics" => panic!("no kernel today"),
            "prepare fails" => return Err(Error::failed("no kernel to be had")),
            _ => {}
        }
        let bomb = (fault == "drop panics").then(|| Bomb);
        let prepared = Prepared::new(FaultyKernel { fault: fault.clone(), _bomb: bomb });
        Ok(match fault.as_str() {
            "transform panics" | "transform bytes panics" | "transform fails" => {
                prepared.transform(0, fault.as_str(), Transform(fault.clone(), None))
            }
            "huge transform" => prepared.transform(0, fault.as_str(), Transform(fault.clone(), None)),
            "transform drop panics" => prepared.transform(0, "key", Transform(fault.clone(), Some(Bomb))),
            "releases nonsense" => prepared.releases(99),
            "transforms nonsense" => prepared.transform(99, "key", Transform(String::new(), None)),
            _ => prepared,
        })
    }
}

struct Transform(String, #[allow(dead_code, reason = "it is there to be dropped")] Option<Bomb>);

impl InputTransform for Transform {
    fn bytes(&self, shape: &[usize]) -> usize {
        match self.0.as_str() {
            "transform bytes panics" => panic!("no size today"),
            "huge transform" => 1 << 60,
            _ => shape.iter().product(),
        }
    }
    fn run(&self, _: TensorView<'_>, dst: &mut [u8], _: Executor<'_>) -> Result<()> {
        match self.0.as_str() {
            "transform panics" => panic!("no transform today"),
            "transform fails" => Err(Error::failed("no transform to be had")),
            _ => {
                dst.fill(0);
                Ok(())
            }
        }
    }
}

struct FaultyKernel {
    fault: String,
    _bomb: Option<Bomb>,
}

impl Kernel for FaultyKernel {
    fn scratch(&self, _: &Shapes<'_>) -> Scratch {
        match self.fault.as_str() {
            "scratch panics" => panic!("no scratch today"),
            "huge scratch" => Scratch { shared: 1 << 60, per_worker: 0 },
            "huge worker scratch" => Scratch { shared: 0, per_worker: usize::MAX },
            _ => Scratch::default(),
        }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, mut output) = (cx.input(0)?.bytes(), cx.output(0)?.into_bytes());
        match self.fault.as_str() {
            "run panics" => panic!("no result today"),
            "run fails" => return Err(Error::failed("no result to be had")),
            "long error" => return Err(Error::failed("no ".repeat(350_000))),
            "invalid error" => {
                // SAFETY: none: this is the fault. The text is not read here, only handed over as bytes.
                return Err(Error::failed(unsafe { String::from_utf8_unchecked(vec![b'n', 0xff, b'o']) }));
            }
            "payload panics" => std::panic::panic_any(Bomb),
            "task panics" => cx.executor().par_for(64, |task, _| assert_ne!(task, 17, "task seventeen")),
            "every task panics" => cx.executor().par_for(64, |_, _| std::panic::panic_any(Bomb)),
            "nested" => {
                let (executor, ran) = (cx.executor(), AtomicUsize::new(0));
                executor.par_for(8, |_, _| {
                    executor.par_for(8, |_, _| {
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                });
                if ran.into_inner() != 64 {
                    return Err(Error::failed("nested tasks were lost"));
                }
            }
            "task panics in a task" => {
                let executor = cx.executor();
                executor.par_for(8, |_, _| executor.par_for(8, |task, _| assert_ne!(task, 3, "task three")));
            }
            "output twice" => return cx.output(0).map(drop),
            "no such input" => return cx.input(5).map(drop),
            "foreign thread" => {
                let executor = cx.executor();
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| executor.par_for(4, |_, _| {}));
                    // A panic there is to become one here.
                    other.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
                });
            }
            _ => {}
        }
        let len = x.len().min(output.len());
        output = &mut output[..len];
        output.copy_from_slice(&x[..len]);
        Ok(())
    }
}

/// `calls.back(w)`: decodes `w`, f32 of its shape, and calls the host wherever it can from wherever it is.
struct CallsBack;

impl Op for CallsBack {
    fn signature(&self) -> OpSignature {
        OpSignature::new("calls.back").encoded("w")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        cx.encoding("no.such").err().ok_or_else(|| Error::failed("there is such an encoding"))?;
        let w = &cx.inputs()[0];
        Ok(vec![TensorType::f32(w.shape.clone()).into()])
    }
}

impl Kernel for CallsBack {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (w, decoder, executor) = (cx.input(0)?, cx.decoder(0)?, cx.executor());
        let output = cx.output(0)?.into_values::<f32>()?;
        // Each task decodes a block, asks the host for what it has, and begins a region and a decoding of its own.
        executor.try_par_chunks_mut(
            output,
            decoder.block_len(),
            cx.worker_scratch(),
            |block, values, _| {
                let bytes = &w.bytes()[block * decoder.block_bytes()..][..decoder.block_bytes()];
                if decoder.dequantize(&bytes[1..], values).is_ok() {
                    return Err(Error::failed("a part of a block was decoded"));
                }
                executor.par_for(3, |_, _| {
                    let mut again = vec![0f32; decoder.block_len()];
                    decoder.dequantize(bytes, &mut again).unwrap_or_else(|error| panic!("{error}"));
                });
                let rows = Rows::new(values, values.len())?;
                let mut encoded = vec![0; decoder.block_bytes()];
                decoder.quantize(rows, None, &mut encoded)?;
                decoder.dequantize(bytes, values)
            },
        )?;
        if cx.input_count() == 1 { Ok(()) } else { Err(Error::failed("inputs were lost")) }
    }
}

fn plugin() -> Plugin {
    let mut plugin = Plugin::new("fixture-calls", env!("CARGO_PKG_VERSION"))
        .op(FaultyOp(AtomicUsize::new(0)))
        .kernel(Provider)
        .simple_op(CallsBack);
    for fault in [
        "sound",
        "quantize_panics",
        "payload_panics",
        "quantize_fails_halfway",
        "long_error",
        "invalid_error",
        "dequantize_panics",
    ] {
        plugin = plugin.encoding(Faulty(fault, None));
    }
    plugin.encoding(Faulty("drop_panics", Some(Bomb)))
}

export_plugin!(plugin);
