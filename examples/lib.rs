//! Examples of bitquilt, one idea each: `cargo run --release --example NAME`.
//!
//! - `quickstart`: the same product in full precision and quantized, side by side.
//! - `checkpoint`: saving and loading tensors, quantized ones included.
//! - `own-encoding`: an encoding and an op inside one's own program.
//! - `custom-encoding` (a crate of its own): the same as a shared library to drop into a directory.
//! - `mixed`: a transformer's feed-forward block with three encodings, one from that library.
//! - `tinystories`: a language model from a GGUF file or a llama2.c checkpoint, its weights quantized one by one, tells a story.
//! - `minilm`: a sentence encoder in full precision and quantized by a recipe, compared.
//!
//! The models of the last two are of the crate `bitquilt-models`, in `models`. This library has what the examples share.

/// Has a write to a pipe that nobody reads any more end the program quietly, as `| head` expects; Rust's default is a panic. To be called
/// at the beginning of `main`.
pub fn end_with_the_reader() {
    #[cfg(unix)]
    // SAFETY: the default action is no handler that could be called.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
