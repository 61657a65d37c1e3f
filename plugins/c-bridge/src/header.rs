//! `bitquilt.h` in Rust: its structs, field for field, and its numbers. The documentation stands there.
//!
//! What a library says of itself lives as long as the program, and is as the header says: [`crate::plugin`]'s caller answers for that.
//! Fields that point somewhere are of types whose one way to what is there checks all that can be checked ([`crate::read`]).

use std::ffi::{c_char, c_void};

use bitquilt_plugin_api::DType;

use crate::read::{Item, List, Record, Text};

pub(crate) const C_API: u32 = 1;
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"bitquilt");
pub(crate) const MAX_RANK: usize = 8;
pub(crate) const MAX_INPUTS: usize = 16;
pub(crate) const MAX_OUTPUTS: usize = 8;
pub(crate) const MAX_ATTRIBUTES: usize = 16;

pub(crate) const OK: i32 = 0;
pub(crate) const INVALID: i32 = 1;
pub(crate) const UNSUPPORTED: i32 = 2;
pub(crate) const FAILED: i32 = 3;

pub(crate) const VALUE_NONE: u32 = 0;
pub(crate) const VALUE_INT: u32 = 1;
pub(crate) const VALUE_FLOAT: u32 = 2;
pub(crate) const VALUE_BOOL: u32 = 3;
pub(crate) const VALUE_TEXT: u32 = 4;
pub(crate) const VALUE_INTS: u32 = 5;
pub(crate) const VALUE_SHAPE: u32 = 6;
pub(crate) const VALUE_FLOATS: u32 = 7;
pub(crate) const VALUE_TEXTS: u32 = 8;

pub(crate) const FOR_DENSE: u32 = 1;
pub(crate) const FOR_ENCODING: u32 = 2;
pub(crate) const FOR_ANY_ENCODING: u32 = 3;

/// `BITQUILT_NONE`.
pub(crate) const NONE: usize = usize::MAX;

/// `BITQUILT_ENCODED`.
pub(crate) const ENCODED: u32 = 0;

/// The dtypes in the order of their numbers, from 1.
const DTYPES: [DType; 15] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::BOOL,
    DType::F8_E4M3,
    DType::F8_E5M2,
];

/// The number of a dtype; none for one that the header does not know.
pub(crate) fn dtype_code(dtype: DType) -> Option<u32> {
    DTYPES.iter().position(|known| *known == dtype).map(|index| index as u32 + 1)
}

/// The dtype of a number.
pub(crate) fn dtype_of(code: u32) -> Option<DType> {
    DTYPES.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
}

#[repr(C)]
pub(crate) struct RawError {
    pub(crate) size: usize,
    pub(crate) capacity: usize,
    pub(crate) text: *mut c_char,
}

pub(crate) type QuantizeFn =
    unsafe extern "C" fn(*mut c_void, *const f32, usize, usize, *const f32, *mut u8, *mut RawError) -> i32;
pub(crate) type DequantizeFn =
    unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut f32, *mut RawError) -> i32;
pub(crate) type UnpackFn =
    unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut u8, *mut f32, *mut f32, *mut RawError) -> i32;

#[repr(C)]
pub(crate) struct RawEncoding {
    pub(crate) size: usize,
    pub(crate) name: Text<'static>,
    pub(crate) summary: Text<'static>,
    pub(crate) version: u32,
    pub(crate) importance: u32,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
    pub(crate) user: *mut c_void,
    pub(crate) quantize: Option<QuantizeFn>,
    pub(crate) dequantize: Option<DequantizeFn>,
    pub(crate) layout: Text<'static>,
    pub(crate) unpack: Option<UnpackFn>,
    pub(crate) group_len: usize,
    pub(crate) code_bits: u32,
    pub(crate) code_offset: u32,
    pub(crate) has_minima: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
pub(crate) struct RawInput {
    pub(crate) size: usize,
    pub(crate) name: Text<'static>,
    pub(crate) kind: u32,
    pub(crate) arity: u32,
    pub(crate) encodings: List<Text<'static>>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawValue<'a> {
    pub(crate) size: usize,
    pub(crate) kind: u32,
    pub(crate) reserved: u32,
    pub(crate) integer: i64,
    pub(crate) number: f64,
    pub(crate) text: Text<'a>,
    pub(crate) count: usize,
    pub(crate) integers: *const i64,
    pub(crate) numbers: *const f64,
    pub(crate) texts: *const Text<'a>,
    pub(crate) name: Text<'a>,
}

/// A value that a library says of itself.
pub(crate) type RawInitial = RawValue<'static>;

#[repr(C)]
pub(crate) struct RawAttribute {
    pub(crate) size: usize,
    pub(crate) name: Text<'static>,
    pub(crate) kind: u32,
    pub(crate) optional: u32,
    pub(crate) initial: Item<RawInitial>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawType<'a> {
    pub(crate) size: usize,
    pub(crate) dtype: u32,
    pub(crate) rank: u32,
    pub(crate) shape: [i64; MAX_RANK],
    pub(crate) encoding: Text<'a>,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
    pub(crate) alias: usize,
    pub(crate) constant: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawTensor<'a> {
    pub(crate) size: usize,
    pub(crate) dtype: u32,
    pub(crate) rank: u32,
    pub(crate) shape: *const usize,
    pub(crate) encoding: Text<'a>,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
    pub(crate) bytes: usize,
    pub(crate) data: *const c_void,
    pub(crate) output: *mut c_void,
}

pub(crate) type TaskFn = unsafe extern "C" fn(*mut c_void, usize, usize, *mut RawError) -> i32;

/// A node may be null, and so may an error.
pub(crate) type PositionFn = unsafe extern "C" fn(Option<&RawNode<'_>>, Text<'_>) -> usize;
pub(crate) type OptionFn = unsafe extern "C" fn(Option<&RawNode<'_>>, Text<'_>) -> *const c_char;
pub(crate) type NodeParForFn =
    unsafe extern "C" fn(Option<&RawNode<'_>>, usize, Option<TaskFn>, *mut c_void, Option<&RawError>) -> i32;
pub(crate) type NodeDecodeFn =
    unsafe extern "C" fn(Option<&RawNode<'_>>, usize, *const u8, usize, *mut f32, Option<&RawError>) -> i32;
pub(crate) type MemoryFn =
    unsafe extern "C" fn(Option<&RawNode<'_>>, usize, *mut *mut c_void, Option<&RawError>) -> i32;

#[repr(C)]
pub(crate) struct RawNode<'a> {
    pub(crate) size: usize,
    /// The bridge's own, which C passes on and does not read.
    pub(crate) host: *const c_void,
    pub(crate) op: Text<'a>,
    pub(crate) input_count: usize,
    pub(crate) inputs: *const *const RawType<'a>,
    pub(crate) output_count: usize,
    pub(crate) outputs: *const *const RawType<'a>,
    pub(crate) attribute_count: usize,
    pub(crate) attributes: *const *const RawValue<'a>,
    pub(crate) position_count: usize,
    pub(crate) positions: *const usize,
    pub(crate) position: PositionFn,
    pub(crate) option: OptionFn,
    pub(crate) constants: *const *const RawTensor<'a>,
    pub(crate) next: Text<'a>,
    pub(crate) workers: usize,
    pub(crate) par_for: NodeParForFn,
    pub(crate) decode: NodeDecodeFn,
    pub(crate) memory: MemoryFn,
}

/// A run may be null, and so may an error.
pub(crate) type ParForFn =
    unsafe extern "C" fn(Option<&RawRun<'_>>, usize, Option<TaskFn>, *mut c_void, Option<&RawError>) -> i32;
pub(crate) type DecodeFn =
    unsafe extern "C" fn(Option<&RawRun<'_>>, usize, *const u8, usize, *mut f32, Option<&RawError>) -> i32;

#[repr(C)]
pub(crate) struct RawRun<'a> {
    pub(crate) size: usize,
    /// As in a node; null while there is nothing to run.
    pub(crate) host: *const c_void,
    pub(crate) input_count: usize,
    pub(crate) inputs: *const *const RawTensor<'a>,
    pub(crate) output_count: usize,
    pub(crate) outputs: *const *const RawTensor<'a>,
    pub(crate) attribute_count: usize,
    pub(crate) attributes: *const *const RawValue<'a>,
    pub(crate) workers: usize,
    pub(crate) shared: *mut u8,
    pub(crate) shared_bytes: usize,
    pub(crate) per_worker: *mut u8,
    pub(crate) worker_bytes: usize,
    pub(crate) worker_stride: usize,
    pub(crate) par_for: ParForFn,
    pub(crate) decode: DecodeFn,
    pub(crate) position_count: usize,
    pub(crate) positions: *const usize,
    pub(crate) prepared: *mut c_void,
}

#[repr(C)]
pub(crate) struct RawScratch {
    pub(crate) size: usize,
    pub(crate) shared: usize,
    pub(crate) per_worker: usize,
}

#[repr(C)]
pub(crate) struct RawContraction {
    pub(crate) size: usize,
    pub(crate) dense: usize,
    pub(crate) encoded: usize,
}

#[repr(C)]
pub(crate) struct RawPrepared<'a> {
    pub(crate) size: usize,
    pub(crate) data: *mut c_void,
    pub(crate) note: Text<'a>,
    pub(crate) or_next: u32,
    pub(crate) reserved: u32,
    pub(crate) releases: [u8; MAX_INPUTS],
}

pub(crate) type InferFn =
    unsafe extern "C" fn(*mut c_void, *const RawNode<'_>, *const *mut RawType<'_>, *mut RawError) -> i32;
pub(crate) type ScratchFn = unsafe extern "C" fn(*mut c_void, *const RawRun<'_>, *mut RawScratch);
pub(crate) type RunFn = unsafe extern "C" fn(*mut c_void, *const RawRun<'_>, *mut RawError) -> i32;
pub(crate) type SupportsFn = unsafe extern "C" fn(*mut c_void, *const RawNode<'_>, *mut RawError) -> i32;
pub(crate) type PrepareFn =
    unsafe extern "C" fn(*mut c_void, *const RawNode<'_>, *mut RawPrepared<'_>, *mut RawError) -> i32;
pub(crate) type ServesFn = unsafe extern "C" fn(*mut c_void, *const RawRun<'_>) -> i32;
pub(crate) type DestroyFn = unsafe extern "C" fn(*mut c_void, *mut c_void);

#[repr(C)]
pub(crate) struct RawOp {
    pub(crate) size: usize,
    pub(crate) name: Text<'static>,
    pub(crate) summary: Text<'static>,
    pub(crate) inputs: List<Item<RawInput>>,
    pub(crate) attributes: List<Item<RawAttribute>>,
    pub(crate) output_count: usize,
    pub(crate) user: *mut c_void,
    pub(crate) infer: Option<InferFn>,
    pub(crate) scratch: Option<ScratchFn>,
    pub(crate) run: Option<RunFn>,
    pub(crate) effect: Text<'static>,
    pub(crate) impure: u32,
    pub(crate) split: u32,
    pub(crate) split_input: usize,
    pub(crate) contraction: Item<RawContraction>,
}

#[repr(C)]
pub(crate) struct RawKernel {
    pub(crate) size: usize,
    pub(crate) name: Text<'static>,
    pub(crate) op: Text<'static>,
    pub(crate) selector: u32,
    pub(crate) priority: i32,
    pub(crate) encoding: Text<'static>,
    pub(crate) space: u32,
    pub(crate) reserved: u32,
    pub(crate) user: *mut c_void,
    pub(crate) supports: Option<SupportsFn>,
    pub(crate) prepare: Option<PrepareFn>,
    pub(crate) serves: Option<ServesFn>,
    pub(crate) scratch: Option<ScratchFn>,
    pub(crate) run: Option<RunFn>,
    pub(crate) destroy: Option<DestroyFn>,
}

#[repr(C)]
pub(crate) struct RawPlugin {
    pub(crate) magic: u64,
    pub(crate) api: u32,
    pub(crate) size: u32,
    pub(crate) name: Text<'static>,
    pub(crate) version: Text<'static>,
    pub(crate) encodings: List<Item<RawEncoding>>,
    pub(crate) ops: List<Item<RawOp>>,
    pub(crate) kernels: List<Item<RawKernel>>,
}

/// The bytes of a `bitquilt_plugin` that every version of the header has.
pub(crate) const LEAST_PLUGIN: usize = std::mem::offset_of!(RawPlugin, kernels);

/// Structs of a library, and the bytes of each that every version of the header has.
macro_rules! records {
    ($($name:ident = $least:expr),* $(,)?) => { $(
        const _: () = assert!(std::mem::offset_of!($name, size) == 0 && size_of::<$name>() % 8 == 0);
        // SAFETY: `repr(C)`; the first field is its size, as is asserted above; all others may be zero.
        unsafe impl Record for $name {
            const LEAST: usize = $least;
        }
    )* };
}
records!(
    RawEncoding = std::mem::offset_of!(RawEncoding, layout),
    RawInput = std::mem::offset_of!(RawInput, encodings),
    RawInitial = std::mem::offset_of!(RawInitial, count),
    RawAttribute = size_of::<RawAttribute>(),
    RawOp = std::mem::offset_of!(RawOp, effect),
    RawContraction = size_of::<RawContraction>(),
    RawKernel = size_of::<RawKernel>(),
);

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::mem::offset_of;
    use std::process::Command;

    use super::*;

    const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

    /// Lines of C that print the layout of a struct, and the lines that they should print.
    macro_rules! layout {
        ($program:ident, $expected:ident, $rust:ident = $c:ident { $($field:ident),* $(,)? }) => {
            writeln!($program, "printf(\"{0} %zu\\n\", sizeof({0}));", stringify!($c)).unwrap();
            writeln!($expected, "{} {}", stringify!($c), size_of::<$rust>()).unwrap();
            $(
                writeln!($program, "printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", stringify!($c), stringify!($field))
                    .unwrap();
                writeln!($expected, "{}.{} {}", stringify!($c), stringify!($field), offset_of!($rust, $field)).unwrap();
            )*
        };
    }

    /// The same of arrays, whose number stands before them.
    macro_rules! lists {
        ($program:ident, $expected:ident, $rust:ident = $c:ident { $($field:ident = $count:ident),* }) => { $(
            writeln!($program, "printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", stringify!($c), stringify!($count)).unwrap();
            writeln!($program, "printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", stringify!($c), stringify!($field)).unwrap();
            let (count, items) = (offset_of!($rust, $field.count), offset_of!($rust, $field.items));
            writeln!($expected, "{0}.{1} {count}\n{0}.{2} {items}", stringify!($c), stringify!($count), stringify!($field))
                .unwrap();
        )* };
    }

    #[test]
    fn structs_and_numbers_are_those_of_the_header() {
        let (mut program, mut expected) = (String::new(), String::new());
        layout!(program, expected, RawError = bitquilt_error { size, capacity, text });
        layout!(
            program,
            expected,
            RawEncoding = bitquilt_encoding {
                size,
                name,
                summary,
                version,
                importance,
                block_len,
                block_bytes,
                user,
                quantize,
                dequantize,
                layout,
                unpack,
                group_len,
                code_bits,
                code_offset,
                has_minima,
                reserved,
            }
        );
        layout!(program, expected, RawInput = bitquilt_input { size, name, kind, arity });
        lists!(program, expected, RawInput = bitquilt_input { encodings = encoding_count });
        layout!(
            program,
            expected,
            RawValue = bitquilt_value {
                size,
                kind,
                reserved,
                integer,
                number,
                text,
                count,
                integers,
                numbers,
                texts,
                name,
            }
        );
        layout!(program, expected, RawAttribute = bitquilt_attribute { size, name, kind, optional, initial });
        layout!(
            program,
            expected,
            RawType = bitquilt_type {
                size,
                dtype,
                rank,
                shape,
                encoding,
                block_len,
                block_bytes,
                alias,
                constant,
                reserved,
            }
        );
        layout!(
            program,
            expected,
            RawNode = bitquilt_node {
                size,
                host,
                op,
                input_count,
                inputs,
                output_count,
                outputs,
                attribute_count,
                attributes,
                position_count,
                positions,
                position,
                option,
                constants,
                next,
                workers,
                par_for,
                decode,
                memory,
            }
        );
        layout!(
            program,
            expected,
            RawTensor = bitquilt_tensor {
                size,
                dtype,
                rank,
                shape,
                encoding,
                block_len,
                block_bytes,
                bytes,
                data,
                output,
            }
        );
        layout!(
            program,
            expected,
            RawRun = bitquilt_run {
                size,
                host,
                input_count,
                inputs,
                output_count,
                outputs,
                attribute_count,
                attributes,
                workers,
                shared,
                shared_bytes,
                per_worker,
                worker_bytes,
                worker_stride,
                par_for,
                decode,
                position_count,
                positions,
                prepared,
            }
        );
        layout!(program, expected, RawScratch = bitquilt_scratch { size, shared, per_worker });
        layout!(program, expected, RawContraction = bitquilt_contraction { size, dense, encoded });
        layout!(
            program,
            expected,
            RawPrepared = bitquilt_prepared { size, data, note, or_next, reserved, releases }
        );
        layout!(
            program,
            expected,
            RawOp = bitquilt_op {
                size,
                name,
                summary,
                output_count,
                user,
                infer,
                scratch,
                run,
                effect,
                impure,
                split,
                split_input,
                contraction,
            }
        );
        layout!(
            program,
            expected,
            RawKernel = bitquilt_kernel {
                size,
                name,
                op,
                selector,
                priority,
                encoding,
                space,
                reserved,
                user,
                supports,
                prepare,
                serves,
                scratch,
                run,
                destroy,
            }
        );
        lists!(program, expected, RawOp = bitquilt_op { inputs = input_count, attributes = attribute_count });
        layout!(program, expected, RawPlugin = bitquilt_plugin { magic, api, size, name, version });
        lists!(
            program,
            expected,
            RawPlugin = bitquilt_plugin { encodings = encoding_count, ops = op_count, kernels = kernel_count }
        );
        let numbers: [(&str, u64); 23] = [
            ("BITQUILT_C_API", C_API.into()),
            ("BITQUILT_MAGIC", MAGIC),
            ("BITQUILT_MAX_RANK", MAX_RANK as u64),
            ("BITQUILT_MAX_INPUTS", MAX_INPUTS as u64),
            ("BITQUILT_MAX_OUTPUTS", MAX_OUTPUTS as u64),
            ("BITQUILT_MAX_ATTRIBUTES", MAX_ATTRIBUTES as u64),
            ("BITQUILT_INVALID", INVALID as u64),
            ("BITQUILT_UNSUPPORTED", UNSUPPORTED as u64),
            ("BITQUILT_FAILED", FAILED as u64),
            ("BITQUILT_NONE", NONE as u64),
            ("BITQUILT_VALUE_NONE", VALUE_NONE.into()),
            ("BITQUILT_VALUE_INT", VALUE_INT.into()),
            ("BITQUILT_VALUE_FLOAT", VALUE_FLOAT.into()),
            ("BITQUILT_VALUE_BOOL", VALUE_BOOL.into()),
            ("BITQUILT_VALUE_TEXT", VALUE_TEXT.into()),
            ("BITQUILT_VALUE_INTS", VALUE_INTS.into()),
            ("BITQUILT_VALUE_SHAPE", VALUE_SHAPE.into()),
            ("BITQUILT_VALUE_FLOATS", VALUE_FLOATS.into()),
            ("BITQUILT_VALUE_TEXTS", VALUE_TEXTS.into()),
            ("BITQUILT_FOR_DENSE", FOR_DENSE.into()),
            ("BITQUILT_FOR_ENCODING", FOR_ENCODING.into()),
            ("BITQUILT_FOR_ANY_ENCODING", FOR_ANY_ENCODING.into()),
            ("BITQUILT_ENCODED", ENCODED.into()),
        ];
        let dtypes = DType::all().map(|dtype| {
            let name = format!("BITQUILT_{}", dtype.to_string().to_uppercase());
            (name, u64::from(dtype_code(dtype).unwrap()))
        });
        let numbers = numbers.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in numbers.chain(dtypes) {
            writeln!(program, "printf(\"{name} %llu\\n\", (unsigned long long){name});").unwrap();
            writeln!(expected, "{name} {value}").unwrap();
        }

        let directory = tempfile::tempdir().unwrap();
        let (source, binary) = (directory.path().join("layout.c"), directory.path().join("layout"));
        let program = format!("#include \"bitquilt.h\"\nint main(void) {{\n{program}return 0;\n}}\n");
        std::fs::write(&source, program).unwrap();
        let mut compilers = vec![("cc", "c", ["c99", "c11", "c17"].as_slice())];
        match Command::new("c++").arg("--version").output() {
            Ok(_) => compilers.push(("c++", "c++", &["c++11", "c++17", "c++20"])),
            Err(error) => println!("skipped: the header in C++, since there is no `c++` here ({error})"),
        }
        for (compiler, language, standards) in compilers {
            for standard in standards {
                let mut command = Command::new(compiler);
                command.args([&format!("-std={standard}"), "-x", language, "-I", INCLUDE]);
                command
                    .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"])
                    .arg(&source)
                    .arg("-o")
                    .arg(&binary);
                assert!(command.status().unwrap().success(), "{standard}");
                let output = Command::new(&binary).output().unwrap();
                assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{standard}");
            }
        }
    }

    #[test]
    fn dtypes_and_their_numbers_go_both_ways() {
        for dtype in DType::all() {
            assert_eq!(dtype_of(dtype_code(dtype).unwrap()), Some(dtype));
        }
        assert_eq!((dtype_of(0), dtype_of(16), dtype_of(u32::MAX)), (None, None, None));
    }
}
