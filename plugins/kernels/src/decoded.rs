//! Encodings that no integers stand for: their weights are decoded when they are prepared, and multiplied as bfloat16.

use std::borrow::Cow;
use std::sync::Arc;

use bitquilt_simd::Isa;
use half::bf16;
use half::slice::HalfFloatSliceExt;

use crate::activation::ActivationFormat;
use crate::arch::AnyDot;
use crate::drive::{Kernels, Part};
use crate::kernels::{EncodingKernels, Sets};

/// Decodes whole blocks; any bytes become some values.
type Decode = dyn Fn(&[u8], &mut [f32]) + Send + Sync;

impl EncodingKernels {
    /// Kernels for an encoding with blocks of so many values and bytes, which `decode` decodes: any number of blocks of any bytes. Values
    /// are rounded to bfloat16 when a weight is prepared.
    pub fn decoded(
        encoding: impl Into<Cow<'static, str>>,
        block: (usize, usize),
        decode: impl Fn(&[u8], &mut [f32]) + Send + Sync + 'static,
    ) -> Self {
        Self::of(encoding, Rounded { block, decode: Arc::new(decode), bf16: Self::bf16("bf16") })
    }
}

struct Rounded {
    block: (usize, usize),
    decode: Arc<Decode>,
    bf16: EncodingKernels,
}

impl Sets for Rounded {
    fn has_own(&self, isa: Isa) -> bool {
        self.bf16.has_own(isa)
    }

    fn rounds_weights(&self) -> bool {
        true
    }

    fn on(&self, isa: AnyDot) -> Arc<dyn Kernels> {
        Arc::new(Decoded { block: self.block, decode: Arc::clone(&self.decode), bf16: self.bf16.on_set(isa) })
    }
}

/// Kernels for bfloat16, for which rows are decoded.
struct Decoded {
    block: (usize, usize),
    decode: Arc<Decode>,
    bf16: Arc<dyn Kernels>,
}

impl Kernels for Decoded {
    fn block(&self) -> (usize, usize) {
        self.block
    }

    fn row_step(&self) -> usize {
        let (a, b) = (self.bf16.row_step(), self.block.0);
        let (mut divisor, mut rest) = (a, b);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        a / divisor * b
    }

    fn lanes(&self) -> usize {
        self.bf16.lanes()
    }

    fn tile_groups(&self) -> usize {
        self.bf16.tile_groups()
    }

    fn streamed_tiles(&self) -> usize {
        self.bf16.streamed_tiles()
    }

    fn band_tiles(&self, tile_bytes: usize) -> usize {
        self.bf16.band_tiles(tile_bytes)
    }

    fn group_bytes(&self, n: usize) -> usize {
        self.bf16.group_bytes(n)
    }

    fn activations(&self) -> ActivationFormat {
        self.bf16.activations()
    }

    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]) {
        let (block_len, block_bytes) = self.block;
        let mut values = vec![0.0; rows.len() / block_bytes * block_len];
        (self.decode)(rows, &mut values);
        let mut rounded = vec![bf16::ZERO; values.len()];
        rounded.convert_from_f32_slice(&values);
        let bytes: Vec<u8> = rounded.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bf16.pack_group(n, &bytes, dst);
    }

    fn stream(&self, part: Part<'_>) {
        self.bf16.stream(part);
    }

    fn tiles(&self, part: Part<'_>) {
        self.bf16.tiles(part);
    }
}
