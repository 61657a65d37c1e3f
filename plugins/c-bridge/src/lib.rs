//! Plugins written in C, as bitquilt plugins.
//!
//! `include/bitquilt.h` is what an author in C sees: structs that describe encodings, ops and kernels. [`plugin`] reads such a
//! description, refuses what makes no sense with a sentence that names the field, and makes a [`Plugin`] of it that calls the
//! functions. Nothing of a host but [`bitquilt_plugin_api`] is used here.
//!
//! | file | what |
//! |---|---|
//! | `header.rs` | the header's structs and numbers in Rust |
//! | `read.rs` | reading pointers, texts and arrays of a library |
//! | `call.rs` | statuses and texts to results, and back |
//! | `encoding.rs`, `op.rs`, `kernel.rs`, `run.rs` | the author's traits over the header's functions |
//! | `node.rs`, `value.rs` | what C is told of a node: types, inputs, attributes |
//! | `host.rs` | what the host does for C: tasks, and decoding |

mod call;
mod encoding;
mod header;
mod host;
mod kernel;
mod node;
mod op;
mod read;
mod run;
mod value;

use std::ffi::c_void;

use bitquilt_plugin_api::{Error, Plugin, Result};

use encoding::AnyEncoding;
use header::{C_API, LEAST_PLUGIN, MAGIC, RawPlugin};
use kernel::CProvider;
use op::COp;

/// The symbol that a library in C exports: a `bitquilt_plugin`.
pub const C_ENTRY_SYMBOL: &str = "bitquilt_c_plugin";

/// Bytes of the part of a `bitquilt_plugin` that every version of the header has: magic, version and size.
pub const C_ENTRY_HEAD: usize = 16;

/// Encodings, ops and kernels of a plugin, at most of each.
const MAX_ITEMS: usize = 1024;

/// The version of `bitquilt.h` that the first bytes of a `bitquilt_plugin` say it was written against; none if they are no such.
pub fn api_of_head(head: &[u8]) -> Option<u32> {
    let (magic, rest) = head.split_first_chunk::<8>()?;
    let api = rest.first_chunk::<4>()?;
    (u64::from_ne_bytes(*magic) == MAGIC).then(|| u32::from_ne_bytes(*api))
}

/// The plugin that a library describes. An error names the field that makes no sense, and says what is expected there.
///
/// # Safety
/// `symbol` is the address of [`C_ENTRY_SYMBOL`] in a library that stays loaded until the process ends, at least
/// [`C_ENTRY_HEAD`] bytes of data. If its magic is that of `bitquilt.h`, all it points to is as the header says.
pub unsafe fn plugin(symbol: *const c_void) -> Result<Plugin> {
    let raw = symbol.cast::<RawPlugin>();
    let wrong = |what: std::fmt::Arguments<'_>| {
        Error::invalid(format_args!("what stands at `{C_ENTRY_SYMBOL}` {what}"))
    };
    if raw.is_null() || !raw.is_aligned() {
        return Err(wrong(format_args!("is at {raw:?}, where no struct can be")));
    }
    // SAFETY: it has a head, as the caller promises.
    let (magic, api, size) = unsafe { ((*raw).magic, (*raw).api, (*raw).size) };
    if magic != MAGIC {
        return Err(wrong(format_args!(
            "is no `bitquilt_plugin`: its magic is {magic:#018x}, BITQUILT_MAGIC is expected"
        )));
    }
    if api != C_API {
        return Err(wrong(format_args!(
            "was written against version {api} of bitquilt.h, this host takes {C_API}; build it with this host's header"
        )));
    }
    if !read::is_size(size as usize, LEAST_PLUGIN, size_of::<RawPlugin>()) {
        return Err(wrong(format_args!(
            "has the size {size}, {LEAST_PLUGIN} bytes or a later header's more are expected; set `size` to its sizeof"
        )));
    }
    // SAFETY: its size says that so many bytes are there. What they point to is as the header says, as the caller promises.
    let raw = unsafe { read::copy(raw, size as usize) };
    let mut plugin = Plugin::new(raw.name.read("plugin->name")?, raw.version.read("plugin->version")?);
    for (index, encoding) in raw.encodings.read("plugin->encodings", MAX_ITEMS)?.iter().enumerate() {
        plugin = match AnyEncoding::read(&format!("plugin->encodings[{index}]"), encoding)? {
            AnyEncoding::Coded(encoding) => plugin.encoding(encoding),
            AnyEncoding::Declared(encoding) => plugin.encoding(encoding),
        };
    }
    let ops = raw.ops.read("plugin->ops", MAX_ITEMS)?.iter().enumerate();
    let ops = ops.map(|(index, op)| COp::read(&format!("plugin->ops[{index}]"), op));
    let ops: Vec<COp> = ops.collect::<Result<_>>()?;
    let kernels = raw.kernels.read("plugin->kernels", MAX_ITEMS)?.iter().enumerate();
    let kernels =
        kernels.map(|(index, kernel)| CProvider::read(&format!("plugin->kernels[{index}]"), kernel, &ops));
    let kernels: Vec<CProvider> = kernels.collect::<Result<_>>()?;
    for (index, op) in ops.into_iter().enumerate() {
        let name = op.name();
        match op.own_kernel() {
            Some(own) => plugin = plugin.op(op).kernel(own),
            None if kernels.iter().any(|kernel| kernel.op() == name) => plugin = plugin.op(op),
            None => {
                return Err(Error::invalid(format_args!(
                    "plugin->ops[{index}]->run is NULL, and none of plugin->kernels is for `{name}`; a function is expected"
                )));
            }
        }
    }
    Ok(kernels.into_iter().fold(plugin, Plugin::kernel))
}
