//! All that knows abi_stable: what crosses between a host and a shared library, and the adapters on both sides.
//!
//! - [`types`]: what is described by value. Frozen in 1.x; most records end in `extra`.
//! - [`lent`]: threads and memory that a host lends for a call. Frozen in 1.x; most structures end in reserved words.
//! - [`traits`]: the vtables. They grow at their end: a method added in 1.1 gets a default body, which a library built with
//!   1.0 runs.
//! - [`author`]: an author's traits as vtables, each call under the panic guard.
//! - [`host`]: the host's services as vtables, and in an author's library as the plain traits again, which its contexts call.
//! - [`handle`], [`foreign`]: an author's objects, as the host holds and calls them.
//! - [`registrar`], [`library`]: how they get there.
//! - [`module`], [`export`]: what a library exports.
//! - [`layout`]: whether a library was built with an interface that fits this one.
//! - `golden`: a test that the layout of all this is the one in `abi.txt`; `ABI.md` beside it says how it may change.
//!
//! Outside of this folder nothing names abi_stable or a type of it: authors and hosts see plain Rust.

pub(crate) mod author;
pub mod export;
pub(crate) mod foreign;
#[cfg(test)]
mod golden;
pub(crate) mod handle;
pub(crate) mod host;
pub(crate) mod layout;
pub(crate) mod lent;
pub(crate) mod library;
pub(crate) mod module;
pub(crate) mod registrar;
#[allow(
    missing_docs,
    non_local_definitions,
    non_camel_case_types,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod traits;
pub(crate) mod types;
