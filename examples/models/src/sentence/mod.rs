//! Sentence encoders: a sentence in, its embedding out. The graph is [`arch::bert`](crate::arch::bert)'s.

pub mod config;
pub mod encoder;
pub mod error;
pub mod tokenizer;
