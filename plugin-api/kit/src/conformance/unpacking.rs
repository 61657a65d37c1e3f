//! Whether what an encoding unpacks to says what its `dequantize` does.

use bitquilt_plugin_api::{Error, Result, Unpacked};

use super::encoding::{Called, Probe};
use super::finding::Verdict;
use super::layout::hex;
use super::values::{Random, normal};
use crate::memory::{Buffer, Memory};

/// Blocks of random bytes that are compared.
const RANDOM_BLOCKS: usize = 64;

/// What a call of `unpack` has done; empty where an encoding has none.
struct Unpacking {
    result: Result<()>,
    codes: Buffer,
    scales: Buffer,
    mins: Buffer,
    /// What was written beside a buffer.
    trespass: Option<String>,
    is_changed: bool,
}

impl Unpacking {
    /// All that was written.
    fn bytes(&self) -> [&[u8]; 3] {
        [&self.codes, &self.scales, &self.mins].map(Buffer::as_ref)
    }
}

impl Probe<'_> {
    /// Unpacks whole blocks, if the encoding does: into what, the other checks do not ask.
    pub(super) fn unpack(&self, blocks: &[u8], memory: Memory) -> Result<Called> {
        let Unpacking { result, codes, trespass, .. } = self.unpacked(blocks, memory)?;
        Ok(Called { result: result.map(|()| codes), trespass, changed: None })
    }

    fn unpacked(&self, blocks: &[u8], memory: Memory) -> Result<Unpacking> {
        let source = Buffer::copy_of(blocks, 1, memory.placement)?;
        let values = blocks.len() / self.spec.block_bytes * self.spec.block_len;
        let sane = self.spec.unpacking.filter(|it| it.problem(self.spec.block_len).is_none());
        let groups = sane.map_or(0, |it| values / it.group_len);
        let floats = |count: usize| Buffer::new(count * size_of::<f32>(), align_of::<f32>(), memory);
        let mut codes = Buffer::new(if sane.is_some() { values } else { 0 }, 1, memory)?;
        let mut scales = floats(groups)?;
        let mut mins = floats(if sane.is_some_and(|it| it.has_min) { groups } else { 0 })?;
        let mut result = Ok(());
        if sane.is_some() {
            let (codes, scales) = (codes.as_mut(), scales.values_mut());
            let mut unpacked = Unpacked { codes, scales, mins: mins.values_mut() };
            result = self.handle.encoding().unpack(source.as_ref(), &mut unpacked);
        }
        let beside = |what: &str, buffer: &Buffer| buffer.trespass().map(|at| format!("`{what}`: {at}"));
        let trespass = beside("codes", &codes)
            .or_else(|| beside("scales", &scales))
            .or_else(|| beside("minima", &mins))
            .or_else(|| beside("blocks", &source));
        let is_changed = source.as_ref() != blocks;
        Ok(Unpacking { result, codes, scales, mins, trespass, is_changed })
    }

    /// Blocks that `quantize` writes, and of random bytes.
    pub(super) fn blocks_to_compare(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut random = Random::new(21);
        let encoded = self.encode(&normal(2 * self.row_len, 20))?;
        let written = encoded.chunks_exact(self.spec.block_bytes).map(<[u8]>::to_vec);
        let any = (0..RANDOM_BLOCKS).map(|_| {
            let bytes = (0..self.spec.block_bytes).map(|_| random.bits() as u8);
            bytes.collect::<Vec<u8>>()
        });
        Ok(written.collect::<Vec<_>>().into_iter().chain(any).collect())
    }

    pub(super) fn unpacking(&self) -> Verdict {
        match self.spec.unpacking.map(|unpacking| unpacking.problem(self.spec.block_len)) {
            None => Verdict::Passed("the spec has none".to_owned()),
            Some(Some(problem)) => Verdict::Failed(problem),
            Some(None) => self.unpacks().into(),
        }
    }

    fn unpacks(&self) -> Result<String, String> {
        let text = |error: Error| error.to_string();
        let values = normal(3 * self.row_len, 22);
        let blocks = self.encode(&values)?;
        (self.at)("unpack, over two patterns");
        let fills = [0xA5, 0x5A].map(|fill| Memory { fill, ..Memory::default() });
        let [first, second] = fills.map(|memory| self.unpacked(&blocks, memory));
        let (first, second) = (first.map_err(text)?, second.map_err(text)?);
        if first.is_changed {
            return Err("`unpack` changes `blocks`".to_owned());
        }
        match (&first.result, &second.result) {
            // What is not written may be no code or scale, and is another over another pattern: that is said below.
            (Err(error), Err(again)) if error.message() == again.message() => return Err(error.to_string()),
            _ => {}
        }
        for (what, (first, second)) in
            ["code", "scale", "minimum"].iter().zip(first.bytes().into_iter().zip(second.bytes()))
        {
            if let Some(byte) = first.iter().zip(second).position(|(a, b)| a != b) {
                let index = if *what == "code" { byte } else { byte / size_of::<f32>() };
                return Err(format!(
                    "`unpack` does not write {what} {index}, or reads what was there before"
                ));
            }
        }
        first.result.map_err(text)?;
        second.result.map_err(text)?;
        self.unpacked_agrees()
    }

    fn unpacked_agrees(&self) -> Result<String, String> {
        let Some(unpacking) = self.spec.unpacking else { return Err("nothing is unpacked".to_owned()) };
        let mut compared = 0;
        for (number, block) in self.blocks_to_compare()?.iter().enumerate() {
            (self.at)(&format!("unpack and dequantize, block {number}"));
            let unpacked = self.unpacked(block, Memory::default()).map_err(|error| error.to_string())?;
            // Blocks that no encoder writes may be refused, by either; those with scales that are not finite are.
            let (Ok(decoded), Ok(())) = (self.decode(block), &unpacked.result) else { continue };
            compared += 1;
            let (scales, mins) = (unpacked.scales.values::<f32>(), unpacked.mins.values::<f32>());
            for (index, (code, decoded)) in unpacked.codes.as_ref().iter().zip(decoded).enumerate() {
                let group = index / unpacking.group_len;
                let (scale, min) = (scales[group], mins.get(group).copied().unwrap_or_default());
                if !unpacking.agrees(*code, scale, min, decoded) {
                    return Err(format!(
                        "value {index} of the block {} is {} by `unpack`, and `dequantize` makes it {decoded}",
                        hex(block),
                        unpacking.value(*code, scale, min)
                    ));
                }
            }
        }
        match compared {
            0 => Err("every block is refused, by `unpack` or by `dequantize`".to_owned()),
            _ => Ok(format!("agrees with `dequantize` on {compared} blocks")),
        }
    }
}
