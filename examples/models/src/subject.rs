//! A decoder as what encodings are chosen for.

use bitquilt::quantize::allocation::{Measure, Subject};
use bitquilt::quantize::is_weight;
use bitquilt::{DType, InferenceSession, Tensor, TensorDict, TensorError};

use crate::blocks::decoder::Options;
use crate::blocks::weighted::{POSITIONS, TOKENS};
use crate::graph::{LOGITS, ROWS, build};
use crate::model::DecoderModel;
use crate::perplexity::windows;

/// The most tokens of a run: as many rows of logits are held.
const BATCH: usize = 128;

/// A model, and the windows of a text on which the loss is measured: the divergence of what it predicts after each token.
///
/// # Errors
/// If a tensor of the inputs cannot be had.
pub fn subject<'a>(
    name: impl Into<String>,
    model: &'a DecoderModel,
    session: &'a InferenceSession,
    tokens: &[i32],
    window: usize,
    most: usize,
) -> Result<Subject<'a>, TensorError> {
    let options = Options { context: window, cache: DType::F32, precision: "exact".to_owned() };
    // A build copies the model: what it does not need is left out.
    let bare = DecoderModel { vocabulary: None, ..model.clone() };
    let weights = model.weights.iter().filter(|(_, tensor)| is_weight(&tensor.element(), tensor.shape()));
    Ok(Subject {
        name: name.into(),
        weights: weights.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect(),
        build: Box::new(move |others| {
            let mut model = bare.clone();
            model.weights.extend(others.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())));
            build(session.registry(), &model, &options)
        }),
        passages: windows(tokens, window, most).map(passage).collect::<Result<_, _>>()?,
        measure: Measure::Divergence { output: LOGITS.to_owned() },
    })
}

/// The inputs of the runs over a window.
fn passage(window: &[i32]) -> Result<Vec<TensorDict>, TensorError> {
    // A context is counted by an i32.
    let ints = |range: std::ops::Range<usize>| range.map(|value| value as i32).collect::<Vec<i32>>();
    let run = |(index, tokens): (usize, &[i32])| {
        let (count, first) = (tokens.len(), index * BATCH);
        Ok(TensorDict::from_iter([
            (TOKENS, Tensor::new([count], tokens)?),
            (POSITIONS, Tensor::new([count], ints(first..first + count))?),
            (ROWS, Tensor::new([count], ints(0..count))?),
        ]))
    };
    window.chunks(BATCH).enumerate().map(run).collect()
}
