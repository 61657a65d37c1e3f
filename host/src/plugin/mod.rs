//! Plugins: where they come from, and what they registered.

mod check;
mod child;
mod elf;
mod format;
mod held;
mod loader;
mod ownership;
mod preflight;
mod probe;
mod search;
mod source;
mod verdicts;

pub use check::{CheckError, CheckFinding, CheckReport, CheckVerdict, PluginCheck};
pub use child::End;
pub use loader::{Loader, PluginError, Refusal};
pub use preflight::{Entry, FileError, FileIdentity, FileReport, inspect};
pub use probe::{PluginProbe, ProbeError, child_main};
pub use search::{DirectoryOrigin, PATH_VARIABLE, SearchDirectory, SearchPath};
