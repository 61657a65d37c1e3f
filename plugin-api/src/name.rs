//! The names of plugins, and of encodings, ops, inputs, attributes and kernels.

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;

/// What is wrong with a name, after it in a sentence: one has 1 to [`MAX_NAME`] of `a-z A-Z 0-9 _ - .`, and begins with a letter.
///
/// ```
/// use bitquilt_plugin_api::name_problem;
///
/// assert_eq!(name_problem("acme.int3"), None);
/// assert_eq!(name_problem("3int"), Some("does not begin with a letter"));
/// ```
pub fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > MAX_NAME {
        Some("is too long")
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        Some("does not begin with a letter")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        Some("has other characters")
    } else {
        None
    }
}
