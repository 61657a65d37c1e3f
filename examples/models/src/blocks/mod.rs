//! What architectures are made of, as parts of graphs.
//!
//! | file | what |
//! |---|---|
//! | `weighted.rs` | a graph whose weights are named: products, norms, tables, heads |
//! | `decoder.rs` | the graph of a decoder, which has positions and options beside its weights |
//! | `attention.rs`, `feed_forward.rs` | the halves of a decoder's layer |

pub mod attention;
pub mod decoder;
pub mod feed_forward;
pub mod weighted;
