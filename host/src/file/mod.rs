//! Files, read with bounds and written whole.
//!
//! [`read`] and [`read_text`] take regular files of a bounded size alone: none of them waits for a pipe, or reads a device without
//! end. [`replace`] is how everything of this crate is written, checkpoints, graphs, arrays and traces alike, and is there for programs.

mod destination;
mod error;
mod read;
mod replace;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod user;

pub use destination::{is_replaced, is_same};
pub use error::FileError;
pub(crate) use error::irregular;
pub use read::{open, read, read_text};
pub(crate) use replace::{Staged, stage};
pub use replace::{check_writable, check_written, replace};
pub use user::cache_directory;
pub(crate) use user::is_elevated;
