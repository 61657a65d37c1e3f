//! All that knows abi_stable: what crosses between a host and a shared library, and the adapters on both sides.
//!
//! - [`types`]: what is described by value. Frozen in 1.x; records end in `extra`.
//! - [`lent`]: threads and memory that a host lends for a call. Frozen in 1.x; structures end in reserved words.
//! - [`traits`]: the vtables. They grow at their end: a method added in 1.1 gets a default body, which a library built with
//!   1.0 runs.
//! - [`author`]: an author's traits as vtables, each call under the panic guard.
//! - [`host`]: the host's services as vtables, and how author-side contexts call them.
//! - [`layout`]: whether a library was built with an interface that fits this one.
//! - [`guard`]: what keeps a panic inside the library it happened in.

pub(crate) mod author;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod layout;
pub(crate) mod lent;
pub(crate) mod module;
#[allow(
    missing_docs,
    non_local_definitions,
    non_camel_case_types,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod traits;
pub(crate) mod types;

pub(crate) use host::{AbiNodeRef, AbiRunRef};
pub(crate) use lent::{AbiExecutor, AbiTask};
