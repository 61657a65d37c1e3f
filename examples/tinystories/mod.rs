//! A Llama model that tells a story, its weights quantized one by one: the modules of the example `tinystories`.
//!
//! | file | what |
//! |---|---|
//! | `graph.rs` | **the graph**, with bitquilt's public API alone: begin here |
//! | `config.rs`, `yarn.rs` | the hyper-parameters, and which weights follow from them; a stretched context |
//! | `model.rs` | a model as files hold it; `gguf.rs`, `llama2c.rs` and `saved.rs` read one format each |
//! | `vocabulary.rs`, `tokenizer.rs` | tokens: as files hold them, from and to text |
//! | `chat.rs`, `budget.rs` | the templates of conversations, and memory that a thread may have |
//! | `runner.rs` | a loaded model at work: tokens in, logits out |
//! | `sampler.rs`, `stream.rs` | choosing a token by its logits, and writing text as it comes |
//! | `scores.rs` | perplexity and Kullback-Leibler divergence |
//! | `main.rs`, `commands/` | the command line |
//!
//! Which weight gets which encoding is [`recipe`](crate::recipe)'s, which `minilm` uses, too.

pub mod budget;
pub mod chat;
pub mod config;
pub mod gguf;
pub mod graph;
mod llama2c;
pub mod model;
pub mod runner;
pub mod sampler;
mod saved;
pub mod scores;
pub mod stream;
pub mod tokenizer;
pub mod vocabulary;
pub mod yarn;
