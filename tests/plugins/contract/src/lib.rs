//! A plugin that breaks the contract while it is loaded. How is a text in its file, which a test patches in a copy.

use bitquilt_plugin_api::{
    EncodingSpec, Error, InferContext, Kernel, KernelKey, KernelProvider, NodeView, Op, OpSignature,
    OutputType, Plugin, PrepareContext, Prepared, QuantizationEncoding, Result, Rows, RunContext, Selector,
    Support, export_plugin,
};

/// The mark that a test looks for, and 32 bytes for the mode.
#[used]
static MODE: [u8; 64] =
    *b"bitquilt-fixture-mode==========>sound\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn mode() -> String {
    // SAFETY: a reference to a static; volatile, since the file is patched after the compiler has seen its value.
    let bytes = unsafe { (&raw const MODE).read_volatile() };
    bytes[32..].iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

/// Called by the linker when the library is opened.
#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    match mode().as_str() {
        "constructor aborts" => std::process::abort(),
        "constructor exits" => std::process::exit(0),
        "constructor hangs" => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        // SAFETY: none: this is the fault.
        "constructor segfaults" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        _ => {}
    }
}

/// An encoding that copies; its spec is the fault.
struct Encoding {
    name: String,
    block_len: usize,
    block_bytes: usize,
    panics: bool,
}

impl Encoding {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), block_len: 1, block_bytes: 4, panics: false }
    }
}

impl QuantizationEncoding for Encoding {
    fn spec(&self) -> EncodingSpec {
        assert!(!self.panics, "a spec that panics");
        EncodingSpec::new(self.name.as_str(), self.block_len, self.block_bytes)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (value, bytes) in rows.values().iter().zip(dst.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        for (bytes, value) in blocks.chunks_exact(4).zip(dst) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    }
}

/// An encoding whose destructor panics.
struct Bomb(Encoding);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor that panics");
    }
}

impl QuantizationEncoding for Bomb {
    fn spec(&self) -> EncodingSpec {
        self.0.spec()
    }
    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        self.0.quantize(rows, importance, dst)
    }
    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        self.0.dequantize(blocks, dst)
    }
}

/// An op that copies its input.
struct Copy(&'static str);

impl Op for Copy {
    fn signature(&self) -> OpSignature {
        assert_ne!(self.0, "signature panics", "a signature that panics");
        OpSignature::new(self.0).dense("x")
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![cx.inputs()[0].clone().into()])
    }
}

impl Kernel for Copy {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(0)?.into_bytes().copy_from_slice(cx.input(0)?.bytes());
        Ok(())
    }
}

/// An op whose signature contradicts itself.
struct TwiceTheSameInput;

impl Op for TwiceTheSameInput {
    fn signature(&self) -> OpSignature {
        OpSignature::new("contract.twice").dense("x").dense("x")
    }
    fn infer(&self, _: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![])
    }
}

/// An op and a kernel provider whose destructors panic.
struct BombOp(Copy);

impl Drop for BombOp {
    fn drop(&mut self) {
        panic!("a destructor that panics");
    }
}

impl Op for BombOp {
    fn signature(&self) -> OpSignature {
        self.0.signature()
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        self.0.infer(cx)
    }
}

impl KernelProvider for BombOp {
    fn key(&self) -> KernelKey {
        KernelKey::new("contract.bomb", Selector::Dense, "bomb")
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(Copy("contract.bomb")))
    }
}

/// A kernel that would take the place of the host's.
struct PlainMatmul;

impl KernelProvider for PlainMatmul {
    fn key(&self) -> KernelKey {
        KernelKey::new("matmul", Selector::Dense, "plain")
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Err(Error::failed("no kernel to be had"))
    }
}

/// A kernel for memory that is not the host's.
struct Elsewhere;

impl KernelProvider for Elsewhere {
    fn key(&self) -> KernelKey {
        KernelKey::new("matmul", Selector::Dense, "elsewhere").priority(9).space(1)
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Err(Error::failed("no kernel to be had"))
    }
}

/// A kernel provider that does not know what it serves.
struct NoKey;

impl KernelProvider for NoKey {
    fn key(&self) -> KernelKey {
        panic!("a key that panics")
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Err(Error::failed("no kernel to be had"))
    }
}

/// A faster kernel for a machine that nobody has.
struct OtherMachine;

impl KernelProvider for OtherMachine {
    fn key(&self) -> KernelKey {
        KernelKey::new("contract.copy", Selector::Dense, "avx4096").priority(9)
    }
    fn supports(&self, _: &NodeView<'_>) -> Support {
        Support::no("this machine has no AVX-4096")
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Err(Error::failed("a kernel that was not chosen is prepared"))
    }
}

fn plugin() -> Result<Plugin> {
    let mode = mode();
    let sound = Plugin::new("fixture-contract", "0.1.0").encoding(Encoding::named("contract.sound"));
    let named = |name: &str| Plugin::new("fixture-contract", "0.1.0").encoding(Encoding::named(name));
    Ok(match mode.as_str() {
        "nothing" => Plugin::new("fixture-contract", "0.1.0"),
        "constructor function panics" => panic!("no plugin today"),
        "constructor function fails" => return Err(Error::failed("no plugin today")),
        "long error" => return Err(Error::failed("no ".repeat(350_000))),
        "invalid error" => {
            // SAFETY: none: this is the fault. The text is not read here, only handed over as bytes.
            return Err(Error::failed(unsafe { String::from_utf8_unchecked(vec![b'n', 0xff, b'o']) }));
        }
        "half, then a panic" => {
            sound.encoding(Encoding { panics: true, ..Encoding::named("contract.second") })
        }
        "half, then bombs" => sound
            .encoding(Encoding { panics: true, ..Encoding::named("contract.second") })
            .encoding(Bomb(Encoding::named("contract.third")))
            .encoding(Bomb(Encoding::named("contract.fourth"))),
        "empty encoding name" => named(""),
        "long encoding name" => named(&"n".repeat(65)),
        "foreign encoding name" => named("na\u{ef}ve"),
        "long plugin name" => {
            Plugin::new("n".repeat(65), "0.1.0").encoding(Encoding::named("contract.sound"))
        }
        "foreign plugin name" => {
            Plugin::new("na\u{ef}ve", "0.1.0").encoding(Encoding::named("contract.sound"))
        }
        "empty op name" => sound.simple_op(Copy("")),
        "foreign op name" => sound.simple_op(Copy("contract\u{b7}copy")),
        "spaced op name" => sound.simple_op(Copy("contract copy\n")),
        "half, then a bad signature" => sound.op(TwiceTheSameInput),
        "half, then a failing op" => sound.simple_op(Copy("signature panics")),
        "half, then a failing kernel" => sound.kernel(NoKey),
        "bombs" => {
            let bomb = || BombOp(Copy("contract.bomb"));
            sound.encoding(Bomb(Encoding::named("contract.bomb"))).op(bomb()).kernel(bomb())
        }
        "empty plugin name" => Plugin::new("", "0.1.0").encoding(Encoding::named("contract.sound")),
        "no values a block" => {
            sound.encoding(Encoding { block_len: 0, ..Encoding::named("contract.second") })
        }
        "no bytes a block" => {
            sound.encoding(Encoding { block_bytes: 0, ..Encoding::named("contract.second") })
        }
        "huge blocks" => sound.encoding(Encoding {
            block_len: usize::MAX,
            block_bytes: usize::MAX,
            ..Encoding::named("contract.second")
        }),
        "twice the same encoding" => sound.encoding(Encoding::named("contract.sound")),
        "taken encoding" => sound.encoding(Encoding::named("good.int8")),
        "taken op" => sound.simple_op(Copy("good.row_sums")),
        "taken built-in encoding" => sound.encoding(Encoding::named("q4_0")),
        "taken built-in op" => sound.simple_op(Copy("matmul")),
        "taken built-in kernel" => sound.kernel(PlainMatmul),
        "half, then another memory space" => sound.kernel(Elsewhere),
        "reserved encoding name" => named("keep"),
        "taken built-in plugin name" => {
            Plugin::new("qmatmul", "0.1.0").encoding(Encoding::named("contract.sound"))
        }
        "replaced built-in encoding" => sound.replacing_encoding(Encoding::named("q4_0")),
        "taken plugin name" => {
            Plugin::new("fixture-good", "0.1.0").encoding(Encoding::named("contract.sound"))
        }
        "replaced encoding" => sound.replacing_encoding(Encoding::named("good.int8")),
        "absent machine" => sound.simple_op(Copy("contract.copy")).kernel(OtherMachine),
        _ => sound,
    })
}

export_plugin!(plugin);
