//! The formats of quantized layers: a file for each, and a line in the table of them.

mod awq;
mod bitsandbytes;
mod compressed;
mod gptq;
mod groups;
mod hqq;
mod mlx;

use bitquilt::checkpoint::StoredTensor;

use crate::error::ImportError;
use crate::problem::Problem;
use crate::source::Source;
use crate::weight::Weight;

/// A format of quantized layers.
pub(crate) struct Method {
    /// Its name, for people.
    pub(crate) name: &'static str,
    /// The values of `quant_method` that mean it.
    configured: &'static [&'static str],
    /// The name of the layer whose codes a tensor has, if it has any of this method.
    mark: for<'a> fn(&Source, &'a str, &StoredTensor) -> Option<&'a str>,
    /// The ends of the names of tensors that are there with codes alone.
    companions: &'static [&'static str],
    /// The weight of a layer. Everything about its tensors is checked but the values.
    pub(crate) read: fn(&Source, &str) -> Result<Weight, ImportError>,
}

/// All of them.
static METHODS: [Method; 6] =
    [gptq::METHOD, awq::METHOD, hqq::METHOD, bitsandbytes::METHOD, mlx::METHOD, compressed::METHOD];

/// The method of a model, and the names of its layers.
pub(crate) fn layers(source: &Source) -> Result<(&'static Method, Vec<String>), ImportError> {
    let configured = match source.config.text("quant_method")? {
        None => None,
        Some(word) => {
            let lower = word.to_ascii_lowercase();
            let method = METHODS.iter().find(|method| method.configured.contains(&lower.as_str()));
            Some(method.ok_or_else(|| source.config.unknown_word("quant_method", word, known_words()))?)
        }
    };
    let mut found: Option<(&'static Method, String)> = None;
    let mut layers = Vec::new();
    for (name, stored) in source.file.tensors() {
        let marked = METHODS.iter().find_map(|method| Some((method, (method.mark)(source, name, stored)?)));
        let Some((method, layer)) = marked else { continue };
        let expected = match (&configured, &found) {
            (Some(configured), _) if configured.name != method.name => {
                Some(format!("the configuration says {}", configured.name))
            }
            (None, Some((first, tensor))) if first.name != method.name => {
                Some(format!("`{}` of {}", bitquilt::text::Brief(tensor), first.name))
            }
            _ => None,
        };
        if let Some(expected) = expected {
            let (path, tensor) = (source.path.clone(), name.to_owned());
            return Err(ImportError::OtherMethod { path, tensor, found: method.name, expected });
        }
        found.get_or_insert_with(|| (method, name.to_owned()));
        layers.push(layer.to_owned());
    }
    match found {
        Some((method, _)) => Ok((method, layers)),
        None => {
            let known: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
            Err(ImportError::NothingQuantized { path: source.path.clone(), known: known.join(", ") })
        }
    }
}

impl Method {
    /// An error for a tensor that is a part of a layer, and was not used by any.
    pub(crate) fn check_left(&self, source: &Source, name: &str) -> Result<(), ImportError> {
        match self.companions.iter().any(|end| name.ends_with(end)) {
            true => Err(source.wrong(name, Problem::Orphan { method: self.name })),
            false => Ok(()),
        }
    }
}

/// The values of `quant_method` that can be imported.
fn known_words() -> String {
    let words = METHODS.iter().flat_map(|method| method.configured).copied();
    words.collect::<Vec<_>>().join(", ")
}
