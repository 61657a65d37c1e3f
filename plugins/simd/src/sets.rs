//! What there is to say of each instruction set.

/// Calls a macro with a row for each instruction set: its type and its name; but for the first, the set that it adds to, the
/// architecture, and its features, those of the sets that it includes among them.
macro_rules! with_instruction_sets {
    ($macro:ident) => {
        $macro! {
            /// Plain Rust, compiled for what every machine of the target has. The other sets are tested against it.
            Scalar = "scalar";
            /// AVX2 with FMA and F16C: x86-64-v3.
            Avx2 = "avx2", on Scalar, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt"];
            /// The same with AVX-VNNI, whose one instruction multiplies and adds bytes.
            AvxVnni = "avxvnni", on Avx2, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avxvnni"];
            /// AVX-512 F, BW, CD, DQ and VL: x86-64-v4.
            Avx512 = "avx512", on Avx2, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"];
            /// The same with AVX-512 VNNI.
            Avx512Vnni = "avx512vnni", on Avx512, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni"];
            /// The same with AVX-512 BF16, which multiplies pairs of bfloat16.
            Avx512Bf16 = "avx512bf16", on Avx512Vnni, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16"];
            /// NEON.
            Neon = "neon", on Scalar, "aarch64" ["neon"];
            /// The same with the products of bytes of Armv8.2.
            NeonDotprod = "neondotprod", on Neon, "aarch64" ["neon" "dotprod"];
        }
    };
}

pub(crate) use with_instruction_sets;
