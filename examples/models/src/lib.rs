//! Language models and sentence encoders on [bitquilt], each weight in an encoding of its own.
//!
//! | module | what |
//! |---|---|
//! | [`graph`] | **the graph of a decoder**, with bitquilt's public API alone: begin here |
//! | [`arch`], [`architecture`] | the architectures, a file each; what makes one |
//! | [`blocks`] | what they are made of: products, norms, attention, feed-forward blocks |
//! | [`config`], [`yarn`] | the hyper-parameters; a stretched context |
//! | [`model`], [`files`] | a model, and the files that hold one, a format each |
//! | [`vocabulary`], [`tokenizer`] | tokens: as files hold them, from and to text |
//! | [`chat`], [`budget`] | the templates of conversations, and memory that a thread may have |
//! | [`runner`] | a loaded model at work: tokens in, logits out |
//! | [`generate`], [`sampler`], [`stream`] | continuing a text: choosing a token by its logits, and writing text as it comes |
//! | [`perplexity`], [`scores`] | how well a model predicts a text, and how far it is from another |
//! | [`sentence`] | sentence encoders: a sentence in, its embedding out |
//!
//! Which weight gets which encoding is the caller's to say: a model's weights are a [`TensorDict`](bitquilt::TensorDict).

pub mod arch;
pub mod architecture;
pub mod blocks;
pub mod budget;
pub mod chat;
pub mod config;
pub mod files;
pub mod generate;
pub mod graph;
pub mod model;
pub mod perplexity;
pub mod runner;
pub mod sampler;
pub mod scores;
pub mod sentence;
pub mod stream;
pub mod tokenizer;
pub mod vocabulary;
pub mod yarn;
