//! Whether a library lays out the interface as this one does.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::type_layout::TypeLayout;

use super::module::PluginModuleRef;

/// A difference: its innermost place in a line, and all that abi_stable says, in both directions.
pub(crate) struct Mismatch {
    pub(crate) summary: String,
    pub(crate) report: String,
}

/// The layout of the library that has more than this one and than all others: libraries meet each other's objects, too.
static WIDEST: Mutex<Option<&'static TypeLayout>> = Mutex::new(None);

/// Accepts a library whose interface is this one's, or an extension of it, or that this one is an extension of; and so for every
/// library that was accepted before.
pub(crate) fn check(theirs: &'static TypeLayout) -> Result<(), Mismatch> {
    let ours = <PluginModuleRef as StableAbi>::LAYOUT;
    let mut widest = WIDEST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_wider = compare(widest.unwrap_or(ours), theirs)?;
    if widest.is_some() {
        compare(ours, theirs)?;
    }
    // Alike in both directions, they are equal.
    if is_wider && !compare(theirs, widest.unwrap_or(ours))? {
        *widest = Some(theirs);
    }
    Ok(())
}

/// Whether `theirs` has all that `known` has; else `known` has all that `theirs` has, or they do not fit.
fn compare(known: &'static TypeLayout, theirs: &'static TypeLayout) -> Result<bool, Mismatch> {
    // abi_stable's own globals mix up what an older and a newer library have taught them.
    let fits = |interface, implementation| {
        check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
    };
    let Err(newer) = fits(known, theirs) else { return Ok(true) };
    let Err(older) = fits(theirs, known) else { return Ok(false) };
    let mut report = String::new();
    let _ = write!(report, "{newer}\n\nthe other way round:\n\n{older}");
    Err(Mismatch { summary: summary(&newer), report })
}

/// The innermost difference.
fn summary(errors: &AbiInstabilityErrors) -> String {
    let Some(innermost) = errors.errors.iter().max_by_key(|error| error.stack_trace.len()) else {
        return "it does not say how".to_owned();
    };
    let place = innermost.stack_trace.last().map(|place| place.expected.to_string()).unwrap_or_default();
    let place = place.split_once("type:").map_or(&*place, |(_, name)| name);
    let text = innermost.to_string();
    let difference = text.split("Error:").nth(1).unwrap_or_default();
    let words = place.split_whitespace().take(1).chain([":"]).chain(difference.split_whitespace());
    words.collect::<Vec<_>>().join(" ").replacen(" :", ":", 1).chars().take(200).collect()
}
