//! Quantized safetensors checkpoints of other programs, as checkpoints of bitquilt.
//!
//! A linear layer that another program has quantized is several tensors: packed codes, scales, zeros, and what else its format needs.
//! [`Import`] makes one tensor of them, of the layer's name and `.weight`, of the shape `[out, in]`, in an encoding that is declared
//! ([`bitquilt::declared`]) and carried by the file that is written. All other tensors are carried over bit for bit.
//!
//! ```no_run
//! use bitquilt_import::Import;
//!
//! let import = Import::open("models/some-model-gptq")?;
//! import.write("some-model.safetensors", |_bytes| {})?;
//! for encoding in import.encodings() {
//!     println!("{}: {} weights", encoding.name, encoding.weights);
//! }
//! # Ok::<(), bitquilt_import::ImportError>(())
//! ```
//!
//! # What is read
//!
//! `q` is a code, `s` a scale, `z` a zero, `b` a bias; each operation is rounded to f32.
//!
//! | method | tensors of a layer | value |
//! |---|---|---|
//! | GPTQ, 2, 3, 4 and 8 bits | `qweight`, `qzeros`, `scales`, `g_idx` | `(q - z) * s`, with zeros stored less one in the format `gptq` |
//! | AWQ, 4 bits | `qweight`, `qzeros`, `scales` | `(q - z) * s` |
//! | HQQ, 1 to 6 and 8 bits, axis 1 | `W_q`, `scale`, `zero`, `shape`, `nbits`, .. | `(q - z) * s`, with a floating `z` |
//! | bitsandbytes, NF4 and FP4 | `weight`, `weight.absmax`, `weight.quant_map`, `weight.quant_state.*`, .. | `quant_map[q] * absmax` |
//! | MLX, affine 2, 3, 4, 5, 6 and 8 bits, mxfp4, mxfp8 and nvfp4 | `weight`, `scales`, `biases` | `q * s + b`, `q * s` |
//! | compressed-tensors, packed integers of 1, 2, 4 and 8 bits | `weight_packed`, `weight_scale`, `weight_zero_point`, `weight_shape` | `(q - z) * s` |
//! | compressed-tensors, int8 and FP8 | `weight`, `weight_scale`, `weight_zero_point` | `(q - z) * s`, `q * s` |
//!
//! # What is promised
//!
//! - Values are exactly those of the source's formula in f32, with scales, zeros and biases as they are stored. What an encoding cannot
//!   hold exactly is refused by name, and so are weights that would decode to NaN or infinity.
//! - Every number of the files is checked before it is used. What is wrong is an [`ImportError`] of one sentence.
//! - The model is never in memory as a whole, and the output is written whole or not at all.
//!
//! # Columns in another order
//!
//! GPTQ with act-order gives neighbouring columns different groups. The columns of such a weight are sorted by group, and the tensor
//! `NAME.perm`, i64 `[in]` beside the weight `NAME`, has the column of the source for each: `y = x[perm] W^T`, a `gather` of the
//! activation along its last axis before `qmatmul`.
//!
//! # The modules
//!
//! - `source`: the files and tensors that are read; `config`: what `config.json` says of the quantization.
//! - `methods`: a file for each format, which makes a `weight::Weight` of a layer's tensors.
//! - `layout`: the declared encoding of a weight; `encode`: its blocks; `import`: all of it, from files to a file.

mod config;
mod encode;
mod error;
mod import;
mod layout;
mod methods;
mod numbers;
mod problem;
mod source;
mod weight;

pub use error::ImportError;
pub use import::{EncodingSize, Import};
pub use problem::{ConfigProblem, Problem};
