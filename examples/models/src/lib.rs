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
//! | [`conversation`] | a conversation, turn by turn |
//! | [`perplexity`], [`scores`] | how well a model predicts a text, and how far it is from another |
//! | [`loss`] | what one model has lost to another on a text |
//! | [`mod@subject`] | a model as what the best encodings are searched for |
//! | [`text`] | the tokens that a model is measured on |
//! | [`importance`] | how much each column of a model's weights matters, recorded on a text |
//! | [`bench`](mod@bench) | how fast a model is |
//! | `arguments` | with the feature `clap`: the arguments of commands that do all this |
//! | [`sentence`] | sentence encoders: a sentence in, its embedding out |
//!
//! Which weight gets which encoding is the caller's to say: a model's weights are a [`TensorDict`](bitquilt::TensorDict).
//!
//! ```no_run
//! use bitquilt::{DType, InferenceSession};
//! use bitquilt_models::blocks::decoder::Options;
//! use bitquilt_models::model::DecoderModel;
//! use bitquilt_models::runner::Runner;
//! use bitquilt_models::tokenizer::Tokenizer;
//!
//! let session = InferenceSession::builder().build()?;
//! let mut model = DecoderModel::open("model.gguf".as_ref(), None, session.registry())?;
//! let tokenizer = Tokenizer::new(&model.take_vocabulary()?)?;
//! let options = Options { context: 512, cache: DType::F16, precision: "fast".to_owned() };
//! let mut runner = Runner::load(&session, &model, &options, |_, _| {})?;
//! let tokens = tokenizer.encode_for_model("Once upon a time", true, |warning| eprintln!("{warning}"))?;
//! let logits = runner.feed(&tokens)?;
//! println!("{} logits of what follows", logits.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arch;
pub mod architecture;
#[cfg(feature = "clap")]
pub mod arguments;
pub mod bench;
pub mod blocks;
pub mod budget;
pub mod chat;
pub mod config;
pub mod conversation;
pub mod files;
pub mod generate;
pub mod graph;
pub mod importance;
pub mod loss;
pub mod model;
pub mod perplexity;
pub mod runner;
pub mod sampler;
pub mod scores;
pub mod sentence;
pub mod stream;
pub mod subject;
pub mod text;
pub mod tokenizer;
pub mod vocabulary;
pub mod yarn;
