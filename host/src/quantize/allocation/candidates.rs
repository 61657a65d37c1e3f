//! Simple mixes of encodings that a search is compared with.

use super::knapsack::{self, Cost};
use super::options::Covered;
use crate::quantize::recipe::Target;

/// A mix of encodings: a choice for each weight.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mix {
    /// What it is called.
    pub(super) name: String,
    /// For each weight, the index of its choice.
    pub(super) chosen: Vec<usize>,
}

/// The uniform encodings that fit into the budget, the ones of the least predicted loss, `most` at most. A weight that an encoding does
/// not fit, or for which another one is better in bytes and error, has the choice of the nearest size.
pub(super) fn uniform(weights: &[Covered], costs: &[Vec<Cost>], budget: u64, most: usize) -> Vec<Mix> {
    let mut targets: Vec<&Target> = Vec::new();
    for target in weights.iter().flat_map(|weight| &weight.choices).map(|choice| &choice.target) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let mixes = targets.into_iter().filter_map(|target| {
        let fits = weights.iter().filter(|weight| !weight.is_fixed);
        let bits =
            fits.filter_map(|weight| Some(weight.bits(&weight.choices[weight.position(target)?]))).next()?;
        let choose = |weight: &Covered| weight.position(target).unwrap_or_else(|| weight.nearest_to(bits));
        let chosen: Vec<usize> = weights.iter().map(choose).collect();
        let sum = knapsack::sum(costs, &chosen);
        (sum.bytes <= budget).then(|| (sum.loss, Mix { name: format!("{target} everywhere"), chosen }))
    });
    let mut mixes: Vec<(f64, Mix)> = mixes.collect();
    mixes.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
    mixes.into_iter().map(|(_, mix)| mix).take(most).collect()
}

/// The mix that llama.cpp calls Q4_K_M, as far as a model's weights have the names of GGUF files: q4_k, but q6_k for the output (or the
/// embedding, where that is the output, too), and for half of the value projections and of the down projections: those of the first and
/// last eighth of the layers, and every third between. Where a row is no multiple of 256, q5_0 and q8_0. None if no weight has such a name.
pub(super) fn q4_k_m(weights: &[Covered]) -> Option<Mix> {
    let layers = weights.iter().filter_map(|weight| Some(layer(&weight.name)?.0 + 1)).max()?;
    let is_untied = weights.iter().any(|weight| weight.name == "output.weight");
    let more = |index: usize| index < layers / 8 || index >= 7 * layers / 8 || (index - layers / 8) % 3 == 2;
    let chosen = weights.iter().map(|weight| {
        let is_large = match (layer(&weight.name), &weight.name[..]) {
            (Some((index, "attn_v.weight" | "ffn_down.weight")), _) => more(index),
            (None, "output.weight") => true,
            (None, "token_embd.weight") => !is_untied,
            _ => false,
        };
        let (name, bits) = match (is_large, weight.row_len().is_multiple_of(256)) {
            (false, true) => ("q4_k", 4.5),
            (true, true) => ("q6_k", 6.5625),
            (false, false) => ("q5_0", 5.5),
            (true, false) => ("q8_0", 8.5),
        };
        weight.position(&Target::of(name)).unwrap_or_else(|| weight.nearest_to(bits))
    });
    let chosen = chosen.collect();
    Some(Mix { name: "a mix as Q4_K_M".to_owned(), chosen })
}

/// The layer of a weight of a GGUF file, and what the weight is called in it.
fn layer(name: &str) -> Option<(usize, &str)> {
    let (index, part) = name.strip_prefix("blk.")?.split_once('.')?;
    // No model has more layers than a u16 counts.
    Some((index.parse::<u16>().ok()?.into(), part))
}
