//! Buffers that end, or begin, at a page that may not be touched; and what has to hold for any bytes.
//!
//! Shared by the tests and by the fuzzer, which finds the bytes.

use bitquilt_ggml_blocks::{FORMATS, Format, Importance, Isa};

/// Memory between two pages that nobody may touch.
pub struct Guarded {
    mapping: *mut u8,
    mapped: usize,
    page: usize,
}

/// At which end of it a buffer touches the guard.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Front,
    Back,
}

impl Guarded {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        // SAFETY: a new private mapping; its first and last pages become untouchable, which are whole pages of it.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let mapped = bytes.next_multiple_of(page) + 2 * page;
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let mapping = libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            let mapping = mapping.cast::<u8>();
            for guard in [mapping, mapping.add(mapped - page)] {
                assert_eq!(libc::mprotect(guard.cast(), page, libc::PROT_NONE), 0);
            }
            Self { mapping, mapped, page }
        }
    }

    /// `count` values of `T` at one end.
    pub fn slice<T: bytemuck::Pod>(&mut self, side: Side, count: usize) -> &mut [T] {
        let bytes = count * size_of::<T>();
        assert!(bytes <= self.mapped - 2 * self.page);
        let at = match side {
            Side::Front => self.page,
            Side::Back => self.mapped - self.page - bytes,
        };
        // SAFETY: these bytes are within the pages that may be touched, and borrowed from here alone.
        bytemuck::cast_slice_mut(unsafe { std::slice::from_raw_parts_mut(self.mapping.add(at), bytes) })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is of this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.mapping.cast(), self.mapped) };
    }
}

/// Decodes blocks of the format that the first byte selects: with every instruction set alike, and nothing outside.
pub fn decode(data: &[u8]) {
    let Some((format, data)) = select(data) else { return };
    let blocks = data.len() / format.block_bytes;
    let mut bytes = Guarded::new(blocks * format.block_bytes);
    let mut values = Guarded::new(blocks * format.block_len * size_of::<f32>());
    for side in [Side::Front, Side::Back] {
        let bytes = bytes.slice(side, blocks * format.block_bytes);
        bytes.copy_from_slice(&data[..bytes.len()]);
        let mut expected = vec![0.0; blocks * format.block_len];
        format.dequantize_with(Isa::Scalar, bytes, &mut expected);
        for isa in Isa::available() {
            let values = values.slice::<f32>(side, blocks * format.block_len);
            format.dequantize_with(isa, bytes, values);
            // Which NaN comes out of an operation is not defined.
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(values.iter().zip(&expected).all(same), "{} {isa:?}", format.name);
        }
    }
}

/// Quantizes a row to the format that the first byte selects, the second half of the bytes being its importance where they
/// are an odd number: with every instruction set alike, and nothing outside.
pub fn quantize(data: &[u8]) {
    let Some((format, data)) = select(data) else { return };
    let mut numbers: Vec<f32> =
        data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    for x in &mut numbers {
        *x = if x.is_finite() { *x } else { 1.0 };
    }
    let weighted = format.importance == Importance::Required || data.len() % 2 == 1;
    let blocks = numbers.len() / if weighted { 2 } else { 1 } / format.block_len;
    let len = blocks * format.block_len;
    if blocks == 0 {
        return;
    }
    let (x, weights) = numbers.split_at(len);
    let weights: Vec<f32> = weights.iter().take(len).map(|weight| weight.abs()).collect();
    let mut row = Guarded::new(len * size_of::<f32>());
    let mut importance = Guarded::new(len * size_of::<f32>());
    let mut bytes = Guarded::new(blocks * format.block_bytes);
    for side in [Side::Front, Side::Back] {
        let row = row.slice(side, len);
        row.copy_from_slice(x);
        let importance = weighted.then(|| {
            let importance = importance.slice(side, len);
            importance.copy_from_slice(&weights);
            &*importance
        });
        let mut expected = vec![0; blocks * format.block_bytes];
        format.quantize_with(Isa::Scalar, row, len, importance, &mut expected);
        for isa in Isa::available() {
            let bytes = bytes.slice(side, blocks * format.block_bytes);
            format.quantize_with(isa, row, len, importance, bytes);
            assert!(*bytes == expected, "{} {isa:?}", format.name);
        }
    }
}

fn select(data: &[u8]) -> Option<(&'static Format, &[u8])> {
    let (format, data) = data.split_first()?;
    Some((&FORMATS[usize::from(*format) % FORMATS.len()], data))
}
