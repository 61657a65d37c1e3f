//! What a search has found.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::choices::Choice;
use super::subject::Measure;
use crate::quantize::pattern::LONGEST;
use crate::quantize::recipe::MAX_RULES;

/// The encodings that lose least in a size, and what is known of them.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// The weights, in the order of their names.
    pub weights: Vec<WeightAllocation>,
    /// The bytes that all of them may take.
    pub budget: u64,
    /// The loss that the sensitivities predict.
    pub predicted: f64,
    /// The loss that was measured.
    pub loss: f64,
    /// What the loss is.
    pub measure: Measure,
    /// The mixes that were run, at the target or below.
    pub candidates: Vec<CandidateLoss>,
    /// The index of the one that was chosen.
    pub best: usize,
    /// The least predicted loss over the size.
    pub frontier: Vec<FrontierPoint>,
}

/// A weight, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightAllocation {
    /// Its name.
    pub name: String,
    /// Its logical shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: u64,
    /// What it may become, in the order of the bytes.
    pub choices: Vec<Choice>,
    /// The index of what it becomes.
    pub chosen: usize,
    /// The loss for a relative squared error of 1, if that was small; none where there was nothing to choose.
    pub sensitivity: Option<f64>,
    /// Whether a rule has fixed it.
    pub is_fixed: bool,
}

/// A mix of encodings that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateLoss {
    /// What it is called.
    pub name: String,
    /// The bytes of all weights.
    pub bytes: u64,
    /// The loss that the sensitivities predict.
    pub predicted: f64,
    /// The loss that was measured.
    pub loss: f64,
}

/// A size and the least loss that is predicted for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrontierPoint {
    /// The bytes of all weights.
    pub bytes: u64,
    /// The loss.
    pub predicted: f64,
}

impl WeightAllocation {
    /// What it becomes.
    pub fn choice(&self) -> &Choice {
        &self.choices[self.chosen]
    }

    /// The bits of a value in a choice.
    pub fn bits(&self, choice: &Choice) -> f64 {
        8.0 * choice.bytes as f64 / self.values.max(1) as f64
    }

    /// The loss that is predicted for a choice; none where there was nothing to choose.
    pub fn loss(&self, choice: &Choice) -> Option<f64> {
        self.sensitivity.map(|sensitivity| sensitivity * choice.error)
    }

    /// Why it becomes what it does, in a sentence.
    pub fn reason(&self) -> String {
        let Some(sensitivity) = self.sensitivity.filter(|_| !self.is_fixed) else {
            let why = if self.is_fixed { "a rule of the recipe" } else { "nothing else fits its rows" };
            return why.to_owned();
        };
        let chosen = self.choice();
        let mut text = format!("sensitivity {sensitivity:.3}");
        let saved = |other: &Choice| sensitivity * (chosen.error - other.error);
        if let Some(more) = self.choices.get(self.chosen + 1) {
            let bytes = more.bytes - chosen.bytes;
            let _ =
                write!(text, "; {} would take {bytes} bytes more and save {:.2e}", more.target, saved(more));
        }
        if let Some(less) = self.chosen.checked_sub(1).map(|index| &self.choices[index]) {
            let bytes = chosen.bytes - less.bytes;
            let _ = write!(text, "; {} would save {bytes} bytes and cost {:.2e}", less.target, -saved(less));
        }
        text
    }
}

impl Allocation {
    /// The bytes of all weights.
    pub fn bytes(&self) -> u64 {
        self.weights.iter().map(|weight| weight.choice().bytes).sum()
    }

    /// The values of all weights.
    pub fn values(&self) -> u64 {
        self.weights.iter().map(|weight| weight.values).sum()
    }

    /// The bits of a value, over all weights.
    pub fn bits(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.values().max(1) as f64
    }

    /// The text of a [`Recipe`](crate::quantize::Recipe) that reproduces it: a rule for each weight, or for several of one encoding where
    /// a recipe has no room for so many.
    pub fn recipe(&self) -> String {
        let mut text = format!(
            "# {} bytes for {} weights, {:.3} bits a value; loss {:.3e} ({:.3e} predicted).\n",
            self.bytes(),
            self.weights.len(),
            self.bits(),
            self.loss,
            self.predicted
        );
        let targets =
            self.weights.iter().map(|weight| (&weight.name[..], weight.choice().target.to_string()));
        for (glob, encoding) in rules(targets.collect()) {
            let (glob, encoding) = (quoted(&glob), quoted(&encoding));
            let _ = write!(text, "\n[[rule]]\nweights = {glob}\nencoding = {encoding}\n");
        }
        text
    }
}

/// The globs and encodings of rules for weights with their encodings.
fn rules(weights: Vec<(&str, String)>) -> Vec<(String, String)> {
    if weights.len() <= MAX_RULES {
        return weights.into_iter().map(|(name, encoding)| (globset::escape(name), encoding)).collect();
    }
    let mut rules: Vec<(String, String)> = Vec::new();
    // The rule of each encoding that further names are added to.
    let mut open: HashMap<String, usize> = HashMap::new();
    for (name, encoding) in weights {
        // A comma would begin another alternative.
        let name = globset::escape(name).replace(',', "[,]");
        match open.get(&encoding) {
            Some(&rule) if rules[rule].0.len() + name.len() + 2 <= LONGEST => {
                rules[rule].0 += ",";
                rules[rule].0 += &name;
            }
            _ => {
                open.insert(encoding.clone(), rules.len());
                rules.push((format!("{{{name}"), encoding));
            }
        }
    }
    for (glob, _) in &mut rules {
        glob.push('}');
    }
    rules
}

/// A text as a basic string of TOML, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::NamePattern;

    #[test]
    fn a_recipe_has_room_for_any_number_of_weights() {
        for count in [3, MAX_RULES, MAX_RULES + 1, 5000] {
            let names: Vec<String> =
                (0..count).map(|index| format!("blk.{index},a{{b*}}[c].weight")).collect();
            let encoding = |index: usize| ["q4_0", "q8_0", "keep"][index % 3].to_owned();
            let weights = names.iter().enumerate().map(|(index, name)| (&name[..], encoding(index)));
            let rules = rules(weights.collect());
            assert!(rules.len() <= MAX_RULES);
            let rules: Vec<(NamePattern, String)> = rules
                .into_iter()
                .map(|(glob, encoding)| (NamePattern::new(&glob).unwrap(), encoding))
                .collect();
            for (index, name) in names.iter().enumerate().step_by(37) {
                let found: Vec<&String> = rules
                    .iter()
                    .filter(|(glob, _)| glob.is_match(name))
                    .map(|(_, encoding)| encoding)
                    .collect();
                assert_eq!(found, [&encoding(index)], "{name}");
            }
        }
    }
}
