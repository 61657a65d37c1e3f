//! What this machine's processor has.

use std::sync::LazyLock;

use crate::Isa;

/// For each of [`Isa::ALL`], whether the machine has it. Asked once: some of the questions are slow in virtual machines.
pub(crate) fn machine() -> &'static [bool; Isa::ALL.len()] {
    static MACHINE: LazyLock<[bool; Isa::ALL.len()]> =
        LazyLock::new(|| Isa::ALL.map(|isa| isa.descend().all(adds)));
    &MACHINE
}

/// Whether the machine has what an instruction set adds to its [base](Isa::base).
#[cfg(target_arch = "x86_64")]
fn adds(isa: Isa) -> bool {
    match isa {
        Isa::Scalar => true,
        Isa::Avx2 => {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("movbe")
                && is_x86_feature_detected!("popcnt")
        }
        Isa::AvxVnni => is_x86_feature_detected!("avxvnni"),
        Isa::Avx512 => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        }
        Isa::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
        Isa::Avx512Bf16 => is_x86_feature_detected!("avx512bf16"),
        Isa::Neon | Isa::NeonDotprod => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn adds(isa: Isa) -> bool {
    match isa {
        Isa::Scalar => true,
        Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        Isa::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn adds(isa: Isa) -> bool {
    isa == Isa::Scalar
}

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
