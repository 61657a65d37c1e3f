//! The subcommands, a file each.

mod bench;
mod generate;
mod load;
mod logits;
mod perplexity;
mod quantize;

pub use bench::{BenchArguments, bench};
pub use generate::{GenerateArguments, generate};
pub use logits::{LogitsArguments, logits};
pub use perplexity::{PerplexityArguments, perplexity};
pub use quantize::{QuantizeArguments, quantize};

/// The result of a command.
pub type Done = Result<(), Box<dyn std::error::Error>>;
