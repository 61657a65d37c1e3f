//! What a search has found, as JSON.

use serde_json::{Value, json};

use super::allocation::{Allocation, WeightAllocation};
use super::choices::Choice;
use super::subject::Measure;

/// What an [`Allocation`] is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The model's file, or what it is called.
    pub model: String,
    /// What the loss was measured on: a text, a directory of inputs, or what stands for it.
    pub source: String,
    /// The tokens, or the sets of inputs.
    pub count: usize,
}

impl Allocation {
    /// All of it, as `bitquilt plan --json` prints it.
    pub fn to_json(&self, origin: &Origin) -> Value {
        let kind = match self.measure {
            Measure::Divergence { .. } => "kl",
            Measure::RelativeError => "outputs",
        };
        let values = self.values();
        let bits = |bytes: u64| 8.0 * bytes as f64 / values.max(1) as f64;
        let frontier = self.frontier.iter().map(|point| {
            json!({ "bytes": point.bytes, "bits": bits(point.bytes), "predicted_loss": point.predicted })
        });
        let candidates = self.candidates.iter().map(|it| {
            let (bytes, name) = (it.bytes, &it.name);
            json!({ "name": name, "bytes": bytes, "bits": bits(bytes), "predicted_loss": it.predicted, "loss": it.loss })
        });
        json!({
            "file": origin.model,
            "measure": { "kind": kind, "source": origin.source, "tokens": origin.count },
            "target": { "bytes": self.budget },
            "total": {
                "bytes": self.bytes(), "values": values, "bits": self.bits(),
                "predicted_loss": self.predicted, "loss": self.loss,
            },
            "weights": self.weights.iter().map(weight).collect::<Vec<Value>>(),
            "frontier": frontier.collect::<Vec<Value>>(),
            "candidates": candidates.collect::<Vec<Value>>(),
        })
    }
}

fn weight(weight: &WeightAllocation) -> Value {
    let of = |choice: &Choice| {
        json!({
            "encoding": choice.target.to_string(), "bits": weight.bits(choice), "bytes": choice.bytes,
            "rel_error": choice.error, "loss": weight.loss(choice),
        })
    };
    let mut json = of(weight.choice());
    json["name"] = weight.name.clone().into();
    json["shape"] = weight.shape.clone().into();
    json["values"] = weight.values.into();
    json["reason"] = weight.reason().into();
    json["sensitivity"] = weight.sensitivity.into();
    json["alternatives"] = weight.choices.iter().map(of).collect::<Vec<Value>>().into();
    json
}
