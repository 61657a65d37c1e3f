//! What there is to say of each instruction set.

/// Calls a macro with a row for each instruction set: its type, its name, and what it is; but for the first, the set that it adds to,
/// the architecture, and its features, those of the sets that it includes among them.
macro_rules! with_instruction_sets {
    ($macro:ident) => {
        $macro! {
            Scalar = "scalar": "Plain Rust, compiled for what every machine of the target has. The other sets are tested against it.";
            Avx2 = "avx2": "AVX2 with FMA and F16C: x86-64-v3.", on Scalar, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt"];
            AvxVnni = "avxvnni": "AVX-VNNI, whose one instruction multiplies and adds bytes.", on Avx2, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avxvnni"];
            Avx512 = "avx512": "AVX-512 F, BW, CD, DQ and VL: x86-64-v4.", on Avx2, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"];
            Avx512Vnni = "avx512vnni": "AVX-512 VNNI.", on Avx512, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni"];
            Avx512Bf16 = "avx512bf16": "AVX-512 BF16, which multiplies pairs of bfloat16.", on Avx512Vnni, "x86_64" ["avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16"];
            Neon = "neon": "NEON.", on Scalar, "aarch64" ["neon"];
            NeonDotprod = "neondotprod": "The products of bytes of Armv8.2.", on Neon, "aarch64" ["neon" "dotprod"];
        }
    };
}

pub(crate) use with_instruction_sets;
