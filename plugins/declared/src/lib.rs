//! Quantization encodings that are declared as data: where the codes, scales and minima of a block lie, and what they mean.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bitquilt_declared::{Declaration, DeclaredEncoding};
//!
//! let declaration = Declaration::parse(
//!     r#"
//!     name = "my.int4"
//!     block_len = 64
//!     block_bytes = 34
//!     codes = { at = 2, bits = 4 }
//!     offset = 8
//!     scale = { at = 0, dtype = "f16" }
//!     "#,
//! )?;
//! assert_eq!((declaration.bits(), declaration.group_len()), (4, 64));
//! let plugin = bitquilt_plugin_api::Plugin::new("my", "1.0.0").encoding(DeclaredEncoding::new(declaration));
//! # Ok(())
//! # }
//! ```
//!
//! `FORMAT.md` beside this crate's manifest defines the format and its values to the bit. By module:
//!
//! - `parse`: a file's text becomes a draft, with the line of each key; `draft`: the same by a builder.
//! - `check`: a draft becomes a [`Declaration`], or one sentence that says why not; `text`, `describe`: how it is written.
//! - `float`, `field`: the small floats, and where the entries of a block lie; `decode`: blocks to values.
//! - `encode`: rows to blocks, by the scales that `search` finds; `nearest`, `measure`: the codes of a scale, and what they leave.
//! - `fit`: a table of levels that is learned from weights.

mod check;
mod declaration;
mod decode;
mod describe;
mod draft;
mod encode;
mod encoding;
mod error;
mod field;
mod fit;
mod float;
mod measure;
mod nearest;
mod parse;
mod search;
mod text;

pub use declaration::{Declaration, Factors, StoredFactors};
pub use draft::Builder;
pub use encoding::DeclaredEncoding;
pub use error::{DeclarationError, Problem};
pub use field::Order;
pub use fit::{FitError, fit};
pub use float::{CodeDType, ScaleDType};
