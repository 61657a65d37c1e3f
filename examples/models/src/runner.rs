//! A loaded model at work: tokens in, logits out.

use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::{Error, InferenceSession, Model, Profile, RunError, State, TensorView};

use crate::blocks::decoder::Options;
use crate::blocks::weighted::{POSITIONS, TOKENS};
use crate::graph::{self, LOGITS, ROWS};
use crate::model::DecoderModel;

/// The most tokens of a run. Longer texts are fed in pieces, so that memory does not grow with them.
const BATCH: usize = 512;
/// The most rows of logits of a run.
const LOGIT_ROWS: usize = 128;

/// Runs a model over a text, token by token or many at once. The keys and values of the tokens that it was fed are in its state.
///
/// Feeding one token at a time, or texts of lengths that were fed before, allocates nothing.
pub struct Runner {
    state: State,
    context: usize,
    vocabulary: usize,
    /// The tokens that were fed.
    fed: Vec<i32>,
    /// The positions of a run's tokens, and the rows whose logits are wanted.
    positions: Vec<i32>,
    rows: Vec<i32>,
}

/// Why tokens could not be fed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// There is no room for more.
    #[error(
        "the text has {} tokens, more than the context of {context}; choose a longer one with --context",
        .position + .tokens
    )]
    Full {
        /// The number of tokens to be fed.
        tokens: usize,
        /// The number of tokens that were fed before.
        position: usize,
        /// The number of tokens that fit.
        context: usize,
    },
    /// A token that is none.
    #[error("token {index} is {token}; the model knows 0 to {}", .vocabulary - 1)]
    Token {
        /// Its index among those to be fed.
        index: usize,
        /// The token.
        token: i64,
        /// The number of tokens that the model knows.
        vocabulary: usize,
    },
    /// Nothing was to be fed.
    #[error("there are no tokens")]
    Empty,
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Runner {
    /// A runner of a model's graph. `progress` is told, again and again, how many bytes of the weights are prepared, and of how many.
    pub fn load(
        session: &InferenceSession,
        model: &DecoderModel,
        options: &Options,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let graph = graph::build(session.registry(), model, options)?;
        let loaded = session.load_with_progress(&graph, progress)?;
        Ok(Self::new(&loaded, options.context, model.config.vocabulary)?)
    }

    /// A runner of a model whose graph was built for `context` tokens, at the beginning of a text.
    pub fn new(model: &Model, context: usize, vocabulary: usize) -> Result<Self, RunError> {
        Ok(Self {
            state: model.new_state()?,
            context,
            vocabulary,
            fed: Vec::with_capacity(context),
            positions: Vec::with_capacity(BATCH),
            rows: Vec::with_capacity(LOGIT_ROWS),
        })
    }

    /// The number of tokens that were fed.
    pub fn position(&self) -> usize {
        self.fed.len()
    }

    /// The number of tokens that fit.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Begins to note how long each node takes, or stops and forgets.
    pub fn set_profile(&mut self, on: bool) {
        self.state.set_profile(on);
    }

    /// The time that each node took in the runs since [`Self::set_profile`].
    pub fn profile(&self) -> Option<Profile> {
        self.state.profile()
    }

    /// Begins to record the importance of the weights' columns, or stops and forgets.
    pub fn set_record_importance(&mut self, on: bool) {
        self.state.set_record_importance(on);
    }

    /// What the runs since [`Self::set_record_importance`] have multiplied the weights with, by the weights' names.
    pub fn importance(&self) -> Option<ImportanceMatrix> {
        self.state.importance()
    }

    /// Begins a new text. What the caches hold need not be cleared: nothing behind the position is looked at.
    pub fn restart(&mut self) {
        self.fed.clear();
    }

    /// Goes back to where the tokens that were fed begin to differ from these, or to the one before the last of these: the number of
    /// tokens that need not be fed again.
    pub fn resume(&mut self, tokens: &[i32]) -> usize {
        let same = self.fed.iter().zip(tokens).take_while(|(fed, token)| fed == token).count();
        self.fed.truncate(same.min(tokens.len().saturating_sub(1)));
        self.fed.len()
    }

    /// Feeds tokens; the logits of what follows the last of them, `[vocabulary]`.
    pub fn feed(&mut self, tokens: &[i32]) -> Result<&[f32], FeedError> {
        self.check(tokens)?;
        let last = tokens.len().div_ceil(BATCH) - 1;
        for piece in tokens.chunks(BATCH).take(last) {
            self.run(piece, piece.len() - 1..piece.len())?;
        }
        let piece = &tokens[last * BATCH..];
        self.run(piece, piece.len() - 1..piece.len())
    }

    /// Feeds tokens; `each` gets the logits of what follows some of them, `[rows, vocabulary]`, in order.
    pub fn feed_all<E: From<FeedError>>(
        &mut self,
        tokens: &[i32],
        mut each: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(tokens)?;
        tokens.chunks(LOGIT_ROWS).try_for_each(|piece| each(self.run(piece, 0..piece.len())?))
    }

    fn check(&self, tokens: &[i32]) -> Result<(), FeedError> {
        if tokens.is_empty() {
            return Err(FeedError::Empty);
        }
        let (position, &Self { context, vocabulary, .. }) = (self.fed.len(), self);
        if tokens.len() > context - position {
            return Err(FeedError::Full { tokens: tokens.len(), position, context });
        }
        let known = |token: &i32| usize::try_from(*token).is_ok_and(|token| token < vocabulary);
        match tokens.iter().position(|token| !known(token)) {
            Some(index) => Err(FeedError::Token { index, token: tokens[index].into(), vocabulary }),
            None => Ok(()),
        }
    }

    /// One run; the logits of these rows.
    fn run(&mut self, tokens: &[i32], rows: std::ops::Range<usize>) -> Result<&[f32], FeedError> {
        // The graph was built with a context that an i32 counts.
        let ints = |range: std::ops::Range<usize>| range.map(|value| value as i32);
        self.positions.clear();
        self.positions.extend(ints(self.fed.len()..self.fed.len() + tokens.len()));
        self.rows.clear();
        self.rows.extend(ints(rows));
        let shapes = ([tokens.len()], [self.rows.len()]);
        let results = self.state.run([
            (TOKENS, TensorView::dense(&shapes.0, tokens)),
            (POSITIONS, TensorView::dense(&shapes.0, &self.positions)),
            (ROWS, TensorView::dense(&shapes.1, &self.rows)),
        ])?;
        self.fed.extend_from_slice(tokens);
        Ok(results.get(LOGITS)?)
    }
}
