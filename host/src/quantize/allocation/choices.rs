//! What each encoding would make of each weight: its bytes, and its error.

use bitquilt_plugin_api::{DType, Importance};

use super::cache::{self, Cache};
use super::error::AllocationError;
use crate::checkpoint::TensorDict;
use crate::encoding::{Decoder, QuantizeError};
use crate::quantize::plan::Conversion;
use crate::quantize::recipe::Target;
use crate::registry::Registry;
use crate::tensor::{Tensor, TensorElement};

/// What a weight may become.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it becomes.
    pub target: Target,
    /// The bytes that it then takes.
    pub bytes: u64,
    /// The squared error of its values, as a part of their squares.
    pub error: f64,
}

/// Values of the sample that decides which encodings are not worth measuring on all values.
const SAMPLE: usize = 1 << 16;
/// Groups of rows that a sample is of.
const SAMPLE_GROUPS: usize = 8;
/// An encoding is left out if another one of no more bytes has an error below this part of its own in the sample.
const CLEARLY_LESS: f64 = 0.9;

/// The encodings that are tried where none are named: all that need no importance.
pub(super) fn all_targets(registry: &Registry) -> Vec<Target> {
    let optional = registry.encodings().filter(|encoding| encoding.spec().importance != Importance::Required);
    optional.map(|encoding| Target::of(&encoding.spec().name)).collect()
}

/// Measures errors, with a cache.
pub(super) struct Measuring<'a> {
    pub(super) registry: &'a Registry,
    pub(super) importance: &'a TensorDict,
}

impl Measuring<'_> {
    /// The choices for a weight whose hash is `hash`: to stay as it is, and each of `targets` that fits its rows and that no other
    /// surpasses in bytes and error. They are in the order of their bytes, then errors.
    pub(super) fn choices(
        &self,
        name: &str,
        weight: &Tensor,
        hash: u128,
        targets: &[Target],
        cache: &mut Cache,
    ) -> Result<Vec<Choice>, AllocationError> {
        let failed = |source| AllocationError::Weight { weight: name.to_owned(), source };
        let mut choices =
            vec![Choice { target: Target::Keep, bytes: weight.bytes().len() as u64, error: 0.0 }];
        let fitting = targets.iter().filter(|target| !target.is(&weight.element()));
        let fitting: Vec<(Target, u64)> =
            fitting.filter_map(|target| Some((target.clone(), self.bytes(weight, target)?))).collect();
        let candidates = self.promising(name, weight, hash, fitting, cache)?;
        for (target, bytes) in candidates {
            let error = cache.get(self.key(name, hash, &target, "all"), || {
                self.error(name, weight, &target).map_err(failed)
            })?;
            if error.is_finite() {
                choices.push(Choice { target, bytes, error });
            }
        }
        Ok(undominated(choices))
    }

    /// The one choice for a weight that is to become a target.
    pub(super) fn choice(
        &self,
        name: &str,
        weight: &Tensor,
        hash: u128,
        target: &Target,
        cache: &mut Cache,
    ) -> Result<Choice, AllocationError> {
        let failed = |source| AllocationError::Weight { weight: name.to_owned(), source };
        let error = match target.is(&weight.element()) {
            true => 0.0,
            false => cache.get(self.key(name, hash, target, "all"), || {
                Ok(self.convert(name, weight, target).map_err(failed)?.1)
            })?,
        };
        // What is converted has the bytes of its target.
        let bytes = self.bytes(weight, target).unwrap_or(weight.bytes().len() as u64);
        Ok(Choice { target: target.clone(), bytes, error })
    }

    /// The bytes of a weight that becomes a target; none if its rows do not fit.
    fn bytes(&self, weight: &Tensor, target: &Target) -> Option<u64> {
        let (values, row_len) = (weight.len() as u64, *weight.shape().last()?);
        match target {
            Target::Keep => Some(weight.bytes().len() as u64),
            Target::Dense(dtype) => Some(values * dtype.size()? as u64),
            Target::Encoding(name) => {
                let spec = self.registry.encoding(name)?.spec();
                let fits = row_len.is_multiple_of(spec.block_len);
                fits.then(|| values / spec.block_len as u64 * spec.block_bytes as u64)
            }
        }
    }

    /// Those that are not surpassed in a sample of the weight's rows.
    fn promising(
        &self,
        name: &str,
        weight: &Tensor,
        hash: u128,
        targets: Vec<(Target, u64)>,
        cache: &mut Cache,
    ) -> Result<Vec<(Target, u64)>, AllocationError> {
        // The importance of several matrices is that of all their columns, which a sample of rows does not have.
        let is_of_matrices = weight.shape().len() > 2 && self.importance.contains(name);
        if weight.len() < 4 * SAMPLE || is_of_matrices {
            return Ok(targets);
        }
        let failed = |source| AllocationError::Weight { weight: name.to_owned(), source };
        let mut rows = None;
        let mut measured = Vec::with_capacity(targets.len());
        for (target, bytes) in targets {
            let error = cache.get(self.key(name, hash, &target, "sample"), || {
                if rows.is_none() {
                    rows = Some(self.sample(weight).map_err(failed)?);
                }
                rows.as_ref().map_or(Ok(0.0), |rows| self.error(name, rows, &target).map_err(failed))
            })?;
            measured.push((target, bytes, error));
        }
        let surpassed = |(_, bytes, error): &(Target, u64, f64)| {
            measured.iter().any(|(_, others, less)| others <= bytes && *less < CLEARLY_LESS * error)
        };
        let left = measured.iter().filter(|candidate| !surpassed(candidate));
        Ok(left.map(|(target, bytes, _)| (target.clone(), *bytes)).collect())
    }

    /// Some rows of a weight, from all over it.
    fn sample(&self, weight: &Tensor) -> Result<Tensor, QuantizeError> {
        let row_len = weight.shape().last().copied().unwrap_or(1).max(1);
        let rows = weight.len() / row_len;
        let group = (SAMPLE / SAMPLE_GROUPS).div_ceil(row_len).clamp(1, rows.max(1));
        let groups = SAMPLE_GROUPS.min(rows / group).max(1);
        let decoder = Decoder::of(weight, self.registry)?;
        let shape = vec![groups * group, row_len];
        let mut memory = TensorElement::Dense(DType::F32).memory(&shape)?;
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut memory);
        for (index, values) in values.chunks_mut(group * row_len).enumerate() {
            let first = (rows - group) * index / (groups - 1).max(1);
            let part = decoder.rows(first * row_len..(first + group) * row_len, row_len)?;
            values.copy_from_slice(part.values::<f32>()?);
        }
        weight.forget_pages();
        Ok(Tensor::from_memory(DType::F32, shape, memory)?)
    }

    /// The squared error of a target, as a part of the squares; infinite where it does not hold the values.
    fn error(&self, name: &str, weight: &Tensor, target: &Target) -> Result<f64, QuantizeError> {
        match self.convert(name, weight, target) {
            Ok((_, error)) => Ok(error),
            Err(QuantizeError::NotDecodable { .. }) => Ok(f64::INFINITY),
            Err(error) => Err(error),
        }
    }

    /// A weight as it would be, and its squared error as a part of its squares.
    pub(super) fn convert(
        &self,
        name: &str,
        weight: &Tensor,
        target: &Target,
    ) -> Result<(Tensor, f64), QuantizeError> {
        let importance = self.importance.get(name).map(Tensor::values::<f32>).transpose()?;
        let conversion = Conversion { weight: name.to_owned(), target: target.clone(), instead_of: None };
        let (quantized, error) = conversion.convert_measured(weight, self.registry, importance)?;
        Ok((quantized.tensor, error.relative_rms().powi(2)))
    }

    /// What the error of a target follows from.
    fn key(&self, name: &str, hash: u128, target: &Target, what: &str) -> u128 {
        let spec = match target {
            Target::Encoding(name) => {
                self.registry.encoding(name).map(|encoding| format!("{:?}", encoding.spec()))
            }
            Target::Keep | Target::Dense(_) => None,
        };
        let importance = self.importance.get(name).map(cache::hash_of);
        cache::key(format_args!("error of {what} {hash:x} {target} {spec:?} {importance:x?}"))
    }
}

/// The choices that no other surpasses, in the order of their bytes.
fn undominated(mut choices: Vec<Choice>) -> Vec<Choice> {
    choices.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
    let mut least = f64::INFINITY;
    choices.retain(|choice| {
        let better = choice.error < least;
        least = least.min(choice.error);
        better
    });
    choices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::InferenceSession;

    #[test]
    fn choices_are_those_that_none_surpasses() {
        let session = InferenceSession::builder().build().unwrap();
        let registry = session.registry();
        let importance = TensorDict::new();
        let measuring = Measuring { registry, importance: &importance };
        let values: Vec<f32> = (0..96 * 512).map(|it| ((it as f32).powi(2) * 0.01).sin()).collect();
        let weight = Tensor::new([512, 96], values).unwrap();
        let mut cache = Cache::default();
        let targets = all_targets(registry);
        let found = measuring.choices("w", &weight, 1, &targets, &mut cache).unwrap();
        assert!(found.windows(2).all(|pair| pair[0].bytes < pair[1].bytes && pair[0].error > pair[1].error));
        assert_eq!(found.last().map(|last| (&last.target, last.error)), Some((&Target::Keep, 0.0)));
        // Blocks of 256 do not fit; what fits and is the best of its size is there.
        let names: Vec<String> = found.iter().map(|choice| choice.target.to_string()).collect();
        assert!(
            names.iter().any(|name| name == "q8_0") && !names.iter().any(|name| name == "q4_k"),
            "{names:?}"
        );
        let of = |name: &str| found.iter().find(|choice| choice.target.to_string() == name).unwrap();
        assert_eq!(of("q8_0").bytes, 96 * 512 / 32 * 34);
        let (tensor, error) = measuring.convert("w", &weight, &Target::of("q8_0")).unwrap();
        assert_eq!((tensor.bytes().len() as u64, error), (of("q8_0").bytes, of("q8_0").error));
    }

    #[test]
    fn a_sample_is_of_rows_from_all_over() {
        let session = InferenceSession::builder().build().unwrap();
        let importance = TensorDict::new();
        let measuring = Measuring { registry: session.registry(), importance: &importance };
        let values: Vec<f32> = (0..4096 * 256).map(|it| (it / 256) as f32).collect();
        let weight = Tensor::new([4096, 256], values).unwrap();
        let sample = measuring.sample(&weight).unwrap();
        assert_eq!(sample.shape(), [256, 256]);
        let rows: Vec<f32> = sample.values::<f32>().unwrap().chunks(256).map(|row| row[0]).collect();
        assert_eq!((rows[0], rows[31], rows[255]), (0.0, 31.0, 4095.0));
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
        let few = Tensor::full([3, 1 << 17], 1f32);
        assert_eq!(measuring.sample(&few).unwrap().shape()[0], 3);
    }
}
