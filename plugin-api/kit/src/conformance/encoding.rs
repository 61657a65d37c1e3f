//! The checks of an encoding.

use std::thread;

use bitquilt_plugin_api::host::EncodingHandle;
use bitquilt_plugin_api::{EncodingSpec, Error, ErrorKind, Importance, Result, Rows};

use super::finding::{At, Check, Verdict};
use super::values::{DISTRIBUTIONS, Draw, EDGES, Random, draw, normal};
use crate::TestHost;
use crate::memory::{Buffer, Memory, Placement};

/// The relative error of storing nothing is 1; a coarse encoding may be a little worse where it is at its worst.
const MAX_ERROR: f64 = 1.25;

pub(super) fn check(host: &TestHost, handle: &EncodingHandle, check: Check, at: At<'_>) -> Verdict {
    let spec = handle.spec();
    if !spec.has_sane_block() {
        return Verdict::Failed(format!(
            "a block has {} values in {} bytes; both must be from 1 to {}",
            spec.block_len,
            spec.block_bytes,
            EncodingSpec::MAX_BLOCK
        ));
    }
    let probe = Probe::new(handle, at);
    match check {
        Check::Blocks => probe.blocks().into(),
        Check::RoundTrip => probe.round_trip().into(),
        // What is called to see whether outputs are written is what is watched for changes of the control.
        Check::Written => probe.written().into(),
        Check::Control => probe.control().into(),
        Check::Determinism => probe.determinism().into(),
        Check::Inputs => probe.inputs().into(),
        Check::Panics => probe.panics().into(),
        Check::Layout => probe.layout(),
        Check::Unpacking => probe.unpacking(),
        Check::Qmatmul => probe.qmatmul(host),
        Check::Bounds => probe.bounds().into(),
        Check::Types | Check::Joins => Verdict::Skipped("an encoding has no such check".to_owned()),
    }
}

/// An encoding, and the rows it is tried with.
pub(super) struct Probe<'a> {
    pub(super) handle: &'a EncodingHandle,
    pub(super) spec: &'a EncodingSpec,
    pub(super) row_len: usize,
    /// A weight for each column, if the encoding takes some.
    importance: Option<Vec<f32>>,
    pub(super) at: At<'a>,
}

/// What a call has done.
pub(super) struct Called {
    pub(super) result: Result<Buffer>,
    /// What was written beside a buffer.
    pub(super) trespass: Option<String>,
    /// The input that is not what it was.
    pub(super) changed: Option<&'static str>,
}

impl<'a> Probe<'a> {
    fn new(handle: &'a EncodingHandle, at: At<'a>) -> Self {
        let spec = handle.spec();
        let row_len = spec.block_len * (128 / spec.block_len).clamp(2, 64);
        let takes = spec.importance != Importance::Ignored;
        let importance = takes.then(|| draw(|random, _| 0.25 + random.uniform(), row_len, 3));
        Self { handle, spec, row_len, importance, at }
    }

    fn bytes_of(&self, values: usize) -> usize {
        values / self.spec.block_len * self.spec.block_bytes
    }

    /// Encodes rows of `row_len` values.
    pub(super) fn quantize(
        &self,
        values: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        memory: Memory,
    ) -> Result<Called> {
        let copy = |values: &[f32]| Buffer::copy_of(bytemuck::cast_slice(values), 4, memory.placement);
        let source = copy(values)?;
        let weights = importance.map(copy).transpose()?;
        let mut dst = Buffer::new(self.bytes_of(values.len()), 1, memory)?;
        let result = self.handle.encoding().quantize(
            Rows::new(source.values(), row_len)?,
            weights.as_ref().map(Buffer::values),
            dst.as_mut(),
        );
        let beside = |what: &str, buffer: &Buffer| buffer.trespass().map(|at| format!("`{what}`: {at}"));
        let trespass = beside("dst", &dst)
            .or_else(|| beside("rows", &source))
            .or_else(|| beside("importance", weights.as_ref()?));
        let changed = if source.as_ref() != bytemuck::cast_slice::<f32, u8>(values) {
            Some("rows")
        } else if weights.as_ref().map(Buffer::as_ref) != importance.map(bytemuck::cast_slice) {
            Some("importance")
        } else {
            None
        };
        Ok(Called { result: result.map(|()| dst), trespass, changed })
    }

    fn dequantize(&self, blocks: &[u8], memory: Memory) -> Result<Called> {
        let source = Buffer::copy_of(blocks, 1, memory.placement)?;
        let values = blocks.len() / self.spec.block_bytes * self.spec.block_len;
        let mut dst = Buffer::new(values * size_of::<f32>(), 4, memory)?;
        let result = self.handle.encoding().dequantize(source.as_ref(), dst.values_mut());
        let beside = |what: &str, buffer: &Buffer| buffer.trespass().map(|at| format!("`{what}`: {at}"));
        let trespass = beside("dst", &dst).or_else(|| beside("blocks", &source));
        let changed = (source.as_ref() != blocks).then_some("blocks");
        Ok(Called { result: result.map(|()| dst), trespass, changed })
    }

    /// Encodes whole rows, where a failure is a sentence.
    pub(super) fn encode(&self, values: &[f32]) -> Result<Vec<u8>, String> {
        let called = self.quantize(values, self.row_len, self.importance.as_deref(), Memory::default());
        let dst = called.and_then(|called| called.result).map_err(|error| format!("`quantize`: {error}"))?;
        Ok(dst.as_ref().to_vec())
    }

    /// Decodes blocks, where a failure is a sentence.
    pub(super) fn decode(&self, blocks: &[u8]) -> Result<Vec<f32>, String> {
        let called = self.dequantize(blocks, Memory::default());
        let dst =
            called.and_then(|called| called.result).map_err(|error| format!("`dequantize`: {error}"))?;
        Ok(dst.values().to_vec())
    }

    fn blocks(&self) -> Result<String, String> {
        let (rows, row_bytes) = (3, self.bytes_of(self.row_len));
        let values = normal(rows * self.row_len, 1);
        (self.at)("quantize, rows together and each alone");
        let together = self.encode(&values)?;
        for (row, values) in values.chunks_exact(self.row_len).enumerate() {
            let alone = self.encode(values)?;
            if let Some(byte) = first_difference(&alone, &together[row * row_bytes..][..row_bytes]) {
                return Err(format!(
                    "row {row} encoded alone differs from the same row encoded with others, first at its byte {byte}: rows must \
                     not depend on each other, and each takes {row_bytes} bytes"
                ));
            }
        }
        (self.at)("dequantize, blocks together and each alone");
        let decoded = self.decode(&together)?;
        let blocks =
            together.chunks_exact(self.spec.block_bytes).zip(decoded.chunks_exact(self.spec.block_len));
        for (index, (block, expected)) in blocks.enumerate() {
            let alone = self.decode(block)?;
            if let Some(value) = first_difference(&bits(&alone), &bits(expected)) {
                return Err(format!(
                    "block {index} decoded alone differs from the same block decoded with others, first at its value {value} ({} \
                     and {}): a block must be {} values in {} bytes and stand for itself",
                    alone[value], expected[value], self.spec.block_len, self.spec.block_bytes
                ));
            }
        }
        Ok(format!(
            "{} values in {} bytes, {} bits a value",
            self.spec.block_len,
            self.spec.block_bytes,
            self.spec.bits_per_value()
        ))
    }

    fn round_trip(&self) -> Result<String, String> {
        let rows = (2048 / self.row_len).clamp(1, 8);
        let mut said = Vec::new();
        for (name, distribution) in DISTRIBUTIONS {
            let error = self.error_of(name, distribution, rows)?;
            match error {
                Some(error) if error <= MAX_ERROR => said.push(format!("{name} {error:.4}")),
                Some(error) => {
                    return Err(format!(
                        "{name} values come back with a relative error of {error:.3}; storing nothing has 1"
                    ));
                }
                None => return Err(format!("{name} values are decoded to values that are not finite")),
            }
        }
        for (name, distribution) in EDGES {
            let error = match self.error_of(name, distribution, 1) {
                Ok(Some(error)) => format!("{error:.2e}"),
                Ok(None) => "not finite".to_owned(),
                Err(refusal) if refusal.contains("panicked") => return Err(format!("{name}: {refusal}")),
                Err(_) => "refused".to_owned(),
            };
            said.push(format!("{name} {error}"));
        }
        self.error_bound()?;
        Ok(format!("relative errors: {}", said.join(", ")))
    }

    /// The relative error of what comes back; the largest value where nothing was stored. None if that is not finite.
    fn error_of(&self, name: &str, distribution: Draw, rows: usize) -> Result<Option<f64>, String> {
        (self.at)(&format!("quantize and dequantize, {name} values"));
        let values = draw(distribution, rows * self.row_len, 7);
        let decoded = self.decode(&self.encode(&values)?)?;
        if decoded.iter().any(|value| !value.is_finite()) {
            return Ok(None);
        }
        let square = |value: f64| value * value;
        let size: f64 = values.iter().map(|value| square(f64::from(*value))).sum();
        let error: f64 = values
            .iter()
            .zip(&decoded)
            .map(|(value, back)| square(f64::from(*value) - f64::from(*back)))
            .sum();
        Ok(Some(if size > 0.0 { (error / size).sqrt() } else { error.sqrt() }))
    }

    /// Calls each of its functions.
    fn control(&self) -> Result<String, String> {
        let said = self.written()?;
        match self.unpacking() {
            Verdict::Failed(reason) => Err(reason),
            _ => Ok(said),
        }
    }

    fn written(&self) -> Result<String, String> {
        let values = normal(3 * self.row_len, 2);
        let fills = [0xA5, 0x5A].map(|fill| Memory { fill, ..Memory::default() });
        let text = |error: Error| error.to_string();
        (self.at)("quantize, over two patterns");
        let encode = |memory| self.quantize(&values, self.row_len, self.importance.as_deref(), memory);
        let [first, second] = fills.map(|memory| encode(memory)?.result);
        let (first, second) = (first.map_err(text)?, second.map_err(text)?);
        if let Some(byte) = first_difference(first.as_ref(), second.as_ref()) {
            let (block, byte) = (byte / self.spec.block_bytes, byte % self.spec.block_bytes);
            return Err(format!(
                "`quantize` does not write byte {byte} of block {block}, or reads what was there before"
            ));
        }
        (self.at)("dequantize, over two patterns");
        let [values, others] = fills.map(|memory| self.dequantize(first.as_ref(), memory)?.result);
        let (values, others) = (values.map_err(text)?, others.map_err(text)?);
        if let Some(index) = first_difference(values.values::<u32>(), others.values::<u32>()) {
            let (block, value) = (index / self.spec.block_len, index % self.spec.block_len);
            return Err(format!(
                "`dequantize` does not write value {value} of block {block}, or reads what was there before"
            ));
        }
        Ok(format!("{} bytes and {} values", first.as_ref().len(), values.values::<u32>().len()))
    }

    fn determinism(&self) -> Result<String, String> {
        let values = normal(4 * self.row_len, 4);
        (self.at)("quantize and dequantize, once");
        let blocks = self.encode(&values)?;
        let decoded = bits(&self.decode(&blocks)?);
        let same = |what: &str| {
            if let Some(byte) = first_difference(&self.encode(&values)?, &blocks) {
                return Err(format!("`quantize` gives other bytes {what}, first at byte {byte}"));
            }
            match first_difference(&bits(&self.decode(&blocks)?), &decoded) {
                Some(value) => Err(format!("`dequantize` gives other values {what}, first at value {value}")),
                None => Ok(()),
            }
        };
        (self.at)("quantize and dequantize, again");
        for _ in 0..3 {
            same("when it is called again")?;
        }
        (self.at)("quantize and dequantize, on four threads at once");
        let (values, blocks, decoded) = (&values, &blocks, &decoded);
        let outcomes = thread::scope(|scope| {
            let work = move || {
                for _ in 0..4 {
                    if self.encode(values)? != *blocks || bits(&self.decode(blocks)?) != *decoded {
                        return Err("other threads get other bytes or values".to_owned());
                    }
                }
                Ok(())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<(), String>>| {
                thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
            };
            threads.into_iter().map(join).collect::<Result<Vec<()>, String>>()
        });
        outcomes.map(|_| "the same in 4 calls and on 4 threads".to_owned())
    }

    fn inputs(&self) -> Result<String, String> {
        let values = normal(2 * self.row_len, 5);
        let text = |error: Error| error.to_string();
        (self.at)("quantize");
        let called = self.quantize(&values, self.row_len, self.importance.as_deref(), Memory::default());
        let called = called.map_err(text)?;
        if let Some(what) = called.changed {
            return Err(format!("`quantize` changes `{what}`"));
        }
        (self.at)("dequantize");
        let blocks = called.result.map_err(text)?;
        match self.dequantize(blocks.as_ref(), Memory::default()).map_err(text)?.changed {
            Some(what) => Err(format!("`dequantize` changes `{what}`")),
            None => Ok("rows, importance and blocks are what they were".to_owned()),
        }
    }

    fn panics(&self) -> Result<String, String> {
        let mut calls = 0;
        let mut survives = |what: &str, result: Result<Called>| {
            calls += 1;
            match result.and_then(|called| called.result) {
                Err(error) if error.kind() == ErrorKind::Panicked => Err(format!("{what}: {error}")),
                _ => Ok(()),
            }
        };
        let memory = Memory::default();
        let len = 2 * self.spec.block_bytes;
        for fill in 0..=u8::MAX {
            let what = format!("dequantize, blocks of bytes {fill:#04x}");
            (self.at)(&what);
            survives(&what, self.dequantize(&vec![fill; len], memory))?;
        }
        let mut random = Random::new(11);
        for number in 0..64 {
            let what = format!("dequantize, random blocks {number}");
            (self.at)(&what);
            let blocks: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
            survives(&what, self.dequantize(&blocks, memory))?;
            (self.at)(&format!("unpack, random blocks {number}"));
            survives("unpack", self.unpack(&blocks, memory))?;
        }
        (self.at)("dequantize, no blocks");
        survives("dequantize, no blocks", self.dequantize(&[], memory))?;
        (self.at)("quantize, no rows");
        let weights = self.importance.as_deref();
        survives("quantize, no rows", self.quantize(&[], self.row_len, weights, memory))?;
        for (name, distribution) in EDGES.into_iter().chain(DISTRIBUTIONS) {
            let what = format!("quantize, {name} values");
            (self.at)(&what);
            let values = draw(distribution, self.row_len, 12);
            survives(&what, self.quantize(&values, self.row_len, weights, memory))?;
        }
        let extremes: [(&str, Draw); 4] = [
            ("zero", |_, _| 0.0),
            ("one-sided", |_, index| if index == 0 { 1.0 } else { 0.0 }),
            ("huge", |_, _| f32::MAX),
            ("tiny", |_, _| f32::MIN_POSITIVE),
        ];
        for (name, weights) in extremes.into_iter().filter(|_| self.importance.is_some()) {
            let what = format!("quantize, {name} importance");
            (self.at)(&what);
            let (values, weights) = (normal(self.row_len, 13), draw(weights, self.row_len, 14));
            survives(&what, self.quantize(&values, self.row_len, Some(&weights), memory))?;
        }
        Ok(format!("none in {calls} calls with any blocks, edge values and extreme importance"))
    }

    fn bounds(&self) -> Result<String, String> {
        let text = |error: Error| error.to_string();
        let shapes = [(1, self.spec.block_len), (3, self.row_len)];
        for placement in [Placement::Heap, Placement::AfterGuard, Placement::BeforeGuard] {
            let memory = Memory { placement, ..Memory::default() };
            for (rows, row_len) in shapes {
                let (rows_said, values) = (format!("{rows} x {row_len} values"), normal(rows * row_len, 6));
                (self.at)(&format!("quantize, {rows_said}, {placement}"));
                let weights = self.importance.as_ref().map(|weights| &weights[..row_len]);
                let called = self.quantize(&values, row_len, weights, memory).map_err(text)?;
                if let Some(place) = called.trespass {
                    return Err(format!("`quantize` of {rows_said} writes outside {place}"));
                }
                let blocks = called.result.map_err(text)?;
                (self.at)(&format!("dequantize, {rows_said}, {placement}"));
                if let Some(place) = self.dequantize(blocks.as_ref(), memory).map_err(text)?.trespass {
                    return Err(format!("`dequantize` of {rows_said} writes outside {place}"));
                }
                (self.at)(&format!("unpack, {rows_said}, {placement}"));
                if let Some(place) = self.unpack(blocks.as_ref(), memory).map_err(text)?.trespass {
                    return Err(format!("`unpack` of {rows_said} writes outside {place}"));
                }
            }
        }
        let guarded =
            if cfg!(unix) { "with guard pages on both sides" } else { "with margins on both sides" };
        Ok(format!("every buffer, {guarded}"))
    }
}

fn first_difference<T: PartialEq>(a: &[T], b: &[T]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b).or((a.len() != b.len()).then_some(a.len().min(b.len())))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
