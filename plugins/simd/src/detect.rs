//! Who made the processor.

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

/// Whether the processor is AMD's, which differ from Intel's in what is quick with 512 bits.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn is_amd() -> bool {
    static AMD: LazyLock<bool> = LazyLock::new(|| {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
    });
    *AMD
}

/// Whether the processor is AMD's.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn is_amd() -> bool {
    false
}
