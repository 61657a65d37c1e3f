//! Plugins: where they come from, and what they registered.

#[cfg(feature = "plugin-check")]
mod check;
mod child;
mod children;
mod loader;
mod preflight;
mod probe;
mod search;
mod verdicts;

#[cfg(feature = "plugin-check")]
pub use check::{CheckError, CheckFinding, CheckReport, CheckVerdict, PluginCheck};
pub use child::End;
pub use children::child_main;
pub use loader::{Loader, PluginError, Refusal};
pub use preflight::{Entry, FileIdentity, FileReport, PreflightError, inspect};
pub use probe::{PluginProbe, ProbeError};
pub use search::{DECLARATION_SUFFIX, DirectoryOrigin, PATH_VARIABLE, SearchDirectory, SearchPath};
