//! What is described by value: errors, attributes, encodings, ops and kernels, and their conversions.

use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RResult, RString, RVec};

use crate::attributes::{Attribute, AttributeKind, Attributes};
use crate::dim::Dim;
use crate::encoding::{EncodingSpec, ErrorBound, Importance};
use crate::kernel::{KernelKey, Selector};
use crate::op::{
    Arity, AttributeSpec, ContractedAxis, Contraction, InputKind, InputSpec, OpSignature, OutputType, Split,
};
use crate::tensor::{DType, Element, TensorType};
use crate::text::Passage;
use crate::unpacking::Unpacking;
use crate::{Error, ErrorKind, Result};

pub(crate) type AbiResult<T> = RResult<T, AbiError>;

/// An error. The text is bytes, since another library's promise that they are UTF-8 is not enough.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiError {
    kind: u32,
    message: RVec<u8>,
    extra: RVec<AbiAttribute>,
}

impl From<Error> for AbiError {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Invalid => 1,
            ErrorKind::Unsupported => 2,
            ErrorKind::Failed => 3,
            ErrorKind::Panicked => 4,
        };
        Self { kind, message: error.message().as_bytes().to_vec().into(), extra: RVec::new() }
    }
}

impl From<AbiError> for Error {
    fn from(error: AbiError) -> Self {
        let kind = match error.kind {
            1 => ErrorKind::Invalid,
            2 => ErrorKind::Unsupported,
            4 => ErrorKind::Panicked,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, Passage::of_bytes(&error.message))
    }
}

pub(crate) fn to_abi<T, U: From<T>>(result: Result<T>) -> AbiResult<U> {
    match result {
        Ok(value) => RResult::ROk(value.into()),
        Err(error) => RResult::RErr(error.into()),
    }
}

pub(crate) fn from_abi<T, U: From<T>>(result: AbiResult<T>) -> Result<U> {
    match result {
        RResult::ROk(value) => Ok(value.into()),
        RResult::RErr(error) => Err(error.into()),
    }
}

/// A tensor's type.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiTensorType {
    dtype: u32,
    encoding: RString,
    /// Numbers; `u64::MAX` where `symbolic` has the next expression.
    fixed: RVec<u64>,
    symbolic: RVec<RString>,
    extra: RVec<AbiAttribute>,
}

impl From<&TensorType> for AbiTensorType {
    fn from(tensor: &TensorType) -> Self {
        let (dtype, encoding) = match &tensor.element {
            Element::Dense(dtype) => (dtype.0, RString::new()),
            Element::Encoded(name) => (0, name.as_str().into()),
        };
        let (fixed, symbolic) = shape_to_abi(&tensor.shape);
        Self { dtype, encoding, fixed, symbolic, extra: RVec::new() }
    }
}

impl AbiTensorType {
    pub(crate) fn to_type(&self) -> Result<TensorType> {
        let element = match self.dtype {
            0 => Element::Encoded(self.encoding.to_string()),
            code => Element::Dense(DType(code)),
        };
        Ok(TensorType { element, shape: shape_from_abi(&self.fixed, &self.symbolic)? })
    }
}

fn shape_to_abi(shape: &[Dim]) -> (RVec<u64>, RVec<RString>) {
    let fixed = shape.iter().map(|dim| dim.fixed().map_or(u64::MAX, |value| value as u64)).collect();
    let symbolic =
        shape.iter().filter(|dim| dim.fixed().is_none()).map(|dim| dim.to_string().into()).collect();
    (fixed, symbolic)
}

fn shape_from_abi(fixed: &[u64], symbolic: &[RString]) -> Result<Vec<Dim>> {
    let mut symbolic = symbolic.iter();
    let dims = fixed.iter().map(|value| match *value {
        u64::MAX => symbolic.next().map_or_else(|| Err(malformed("a shape")), |text| text.parse()),
        value => usize::try_from(value).map(Dim::Fixed).map_err(|_| malformed("a dimension")),
    });
    dims.collect()
}

fn malformed(what: &str) -> Error {
    Error::failed(format_args!("{what} arrived malformed over the plugin interface"))
}

/// A named value. Also what later versions of 1.x add to a record's `extra`; unknown names are passed over.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiAttribute {
    name: RString,
    kind: u32,
    ints: RVec<i64>,
    floats: RVec<f64>,
    text: RVec<RString>,
}

fn kind_code(kind: AttributeKind) -> u32 {
    match kind {
        AttributeKind::Int => 1,
        AttributeKind::Float => 2,
        AttributeKind::Bool => 3,
        AttributeKind::Text => 4,
        AttributeKind::Ints => 5,
        AttributeKind::Shape => 6,
        AttributeKind::Floats => 7,
        AttributeKind::Texts => 8,
    }
}

fn kind_from_code(code: u32) -> Option<AttributeKind> {
    use AttributeKind::{Bool, Float, Floats, Int, Ints, Shape, Text, Texts};
    [Int, Float, Bool, Text, Ints, Shape, Floats, Texts].into_iter().find(|kind| kind_code(*kind) == code)
}

/// The value of this name among those of a record's `extra` that this version can read.
fn extra(records: &[AbiAttribute], name: &str) -> Option<Attribute> {
    records.iter().find(|record| record.name == name)?.value().ok()
}

/// The name of an encoding's error bound among the `extra` of its spec: fraction, least and greatest magnitude.
const ERROR_BOUND: &str = "error_bound";
/// The name of the text of an encoding's layout among the `extra` of its spec.
const LAYOUT: &str = "layout";
/// The name of what an encoding's blocks unpack to among the `extra` of its spec: values of a group, bits of a code, what is taken from
/// each, and 1 where there are minima.
const UNPACKING: &str = "unpacking";
/// The names of what an op means among the `extra` of its signature. There is a record for each contraction: the activation, the weight, and
/// the axis where it is not the last one. The first versions read the first record, of two numbers, alone.
const CONTRACTION: &str = "contraction";
const SPLIT: &str = "split";

impl AbiAttribute {
    fn new(name: &str, value: &Attribute) -> Self {
        let (mut ints, mut floats, mut text) = (RVec::new(), RVec::new(), RVec::new());
        match value {
            Attribute::Int(value) => ints.push(*value),
            Attribute::Float(value) => floats.push(*value),
            Attribute::Bool(value) => ints.push((*value).into()),
            Attribute::Text(value) => text.push(value.as_str().into()),
            Attribute::Ints(values) => ints.extend(values.iter().copied()),
            Attribute::Shape(dims) => text.extend(dims.iter().map(|dim| dim.to_string().into())),
            Attribute::Floats(values) => floats.extend(values.iter().copied()),
            Attribute::Texts(values) => text.extend(values.iter().map(|value| value.as_str().into())),
        }
        Self { name: name.into(), kind: kind_code(value.kind()), ints, floats, text }
    }

    fn value(&self) -> Result<Attribute> {
        let wrong = || malformed(&format!("the attribute `{}`", self.name));
        Ok(match kind_from_code(self.kind).ok_or_else(wrong)? {
            AttributeKind::Int => Attribute::Int(*self.ints.first().ok_or_else(wrong)?),
            AttributeKind::Float => Attribute::Float(*self.floats.first().ok_or_else(wrong)?),
            AttributeKind::Bool => Attribute::Bool(*self.ints.first().ok_or_else(wrong)? != 0),
            AttributeKind::Text => Attribute::Text(self.text.first().ok_or_else(wrong)?.to_string()),
            AttributeKind::Ints => Attribute::Ints(self.ints.to_vec()),
            AttributeKind::Shape => {
                Attribute::Shape(self.text.iter().map(|dim| dim.parse()).collect::<Result<_>>()?)
            }
            AttributeKind::Floats => Attribute::Floats(self.floats.to_vec()),
            AttributeKind::Texts => Attribute::Texts(self.text.iter().map(ToString::to_string).collect()),
        })
    }
}

pub(crate) fn attributes_to_abi(attributes: &Attributes) -> RVec<AbiAttribute> {
    attributes.iter().map(|(name, value)| AbiAttribute::new(name, value)).collect()
}

pub(crate) fn attributes_from_abi(attributes: &[AbiAttribute]) -> Result<Attributes> {
    attributes.iter().map(|attribute| Ok((attribute.name.to_string(), attribute.value()?))).collect()
}

/// What an encoding is.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiEncodingSpec {
    name: RString,
    summary: RString,
    version: u32,
    importance: u32,
    block_len: usize,
    block_bytes: usize,
    extra: RVec<AbiAttribute>,
}

impl From<&EncodingSpec> for AbiEncodingSpec {
    fn from(spec: &EncodingSpec) -> Self {
        let bound = spec.error_bound.map(|bound| {
            let floats = [bound.fraction, bound.least, bound.greatest].map(f64::from);
            AbiAttribute::new(ERROR_BOUND, &Attribute::Floats(floats.to_vec()))
        });
        let layout = spec.layout.clone().map(|text| AbiAttribute::new(LAYOUT, &Attribute::Text(text)));
        Self {
            name: spec.name.as_str().into(),
            summary: spec.summary.as_str().into(),
            version: spec.version,
            importance: match spec.importance {
                Importance::Ignored => 0,
                Importance::Optional => 1,
                Importance::Required => 2,
            },
            block_len: spec.block_len,
            block_bytes: spec.block_bytes,
            extra: bound.into_iter().chain(layout).chain(unpacking_to_abi(spec.unpacking)).collect(),
        }
    }
}

impl From<AbiEncodingSpec> for EncodingSpec {
    fn from(spec: AbiEncodingSpec) -> Self {
        let importance = match spec.importance {
            0 => Importance::Ignored,
            1 => Importance::Optional,
            _ => Importance::Required,
        };
        let error_bound = match extra(&spec.extra, ERROR_BOUND) {
            Some(Attribute::Floats(floats)) => match floats[..] {
                [fraction, least, greatest] => {
                    Some(ErrorBound::new(fraction as f32, least as f32, greatest as f32))
                }
                _ => None,
            },
            _ => None,
        };
        let layout = match extra(&spec.extra, LAYOUT) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        };
        let new = Self::new(spec.name, spec.block_len, spec.block_bytes)
            .version(spec.version)
            .importance(importance)
            .summary(Passage::of_bytes(spec.summary.as_bytes()));
        Self { error_bound, layout, unpacking: unpacking_from_abi(&spec.extra), ..new }
    }
}

fn unpacking_to_abi(unpacking: Option<Unpacking>) -> Option<AbiAttribute> {
    let Unpacking { group_len, code_bits, code_offset, has_min } = unpacking?;
    // What does not fit makes no sense either way, and is refused as what it becomes.
    let group_len = i64::try_from(group_len).unwrap_or(i64::MAX);
    let ints = vec![group_len, code_bits.into(), code_offset.into(), has_min.into()];
    Some(AbiAttribute::new(UNPACKING, &Attribute::Ints(ints)))
}

/// None where there is none, or where a newer version has another.
fn unpacking_from_abi(records: &[AbiAttribute]) -> Option<Unpacking> {
    let Some(Attribute::Ints(ints)) = extra(records, UNPACKING) else { return None };
    let [group_len, code_bits, code_offset, min @ (0 | 1)] = ints[..] else { return None };
    Some(Unpacking {
        group_len: usize::try_from(group_len).ok()?,
        code_bits: u32::try_from(code_bits).ok()?,
        code_offset: u32::try_from(code_offset).ok()?,
        has_min: min == 1,
    })
}

/// Values and bytes of a block.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiBlock {
    pub(crate) len: usize,
    pub(crate) bytes: usize,
}

/// What an op takes.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiSignature {
    name: RString,
    summary: RString,
    inputs: RVec<AbiInput>,
    attributes: RVec<AbiAttributeSpec>,
    /// Negative for none.
    kernel_input: i64,
    /// The group of its effect.
    effect: ROption<RString>,
    pure: bool,
    extra: RVec<AbiAttribute>,
}

/// One input of an op.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiInput {
    name: RString,
    kind: u32,
    arity: u32,
    encodings: RVec<RString>,
    extra: RVec<AbiAttribute>,
}

/// One attribute of an op; `default` has none or one.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiAttributeSpec {
    name: RString,
    kind: u32,
    required: bool,
    default: RVec<AbiAttribute>,
    extra: RVec<AbiAttribute>,
}

impl From<&OpSignature> for AbiSignature {
    fn from(signature: &OpSignature) -> Self {
        let inputs = signature.inputs.iter().map(|input| AbiInput {
            name: input.name.as_str().into(),
            kind: match input.kind {
                InputKind::Dense => 1,
                InputKind::Encoded => 2,
                InputKind::State => 3,
            },
            arity: match input.arity {
                Arity::One => 1,
                Arity::Optional => 2,
                Arity::Many => 3,
            },
            encodings: input.encodings.iter().map(|name| name.as_str().into()).collect(),
            extra: RVec::new(),
        });
        let attributes = signature.attributes.iter().map(|attribute| AbiAttributeSpec {
            name: attribute.name.as_str().into(),
            kind: kind_code(attribute.kind),
            required: attribute.required,
            default: attribute
                .default
                .iter()
                .map(|value| AbiAttribute::new(&attribute.name, value))
                .collect(),
            extra: RVec::new(),
        });
        Self {
            name: signature.name.as_str().into(),
            summary: signature.summary.as_str().into(),
            inputs: inputs.collect(),
            attributes: attributes.collect(),
            kernel_input: signature.kernel_input.map_or(-1, |index| index as i64),
            effect: signature.effect.as_deref().map(RString::from).into(),
            pure: signature.pure,
            extra: meaning_to_abi(signature),
        }
    }
}

impl AbiSignature {
    pub(crate) fn to_signature(&self) -> Result<OpSignature> {
        let input = |input: &AbiInput| {
            Ok(InputSpec {
                name: input.name.to_string(),
                kind: match input.kind {
                    1 => InputKind::Dense,
                    2 => InputKind::Encoded,
                    3 => InputKind::State,
                    code => return Err(newer("kind of input", code)),
                },
                arity: match input.arity {
                    1 => Arity::One,
                    2 => Arity::Optional,
                    3 => Arity::Many,
                    code => return Err(newer("arity", code)),
                },
                encodings: input.encodings.iter().map(ToString::to_string).collect(),
            })
        };
        let attribute = |attribute: &AbiAttributeSpec| {
            Ok(AttributeSpec {
                name: attribute.name.to_string(),
                kind: kind_from_code(attribute.kind)
                    .ok_or_else(|| newer("kind of attribute", attribute.kind))?,
                required: attribute.required,
                default: attribute.default.first().map(AbiAttribute::value).transpose()?,
            })
        };
        Ok(OpSignature {
            name: self.name.to_string(),
            summary: Passage::of_bytes(self.summary.as_bytes()),
            inputs: self.inputs.iter().map(input).collect::<Result<_>>()?,
            attributes: self.attributes.iter().map(attribute).collect::<Result<_>>()?,
            kernel_input: usize::try_from(self.kernel_input).ok(),
            effect: self.effect.as_ref().into_option().map(ToString::to_string),
            pure: self.pure,
            contractions: self.extra.iter().filter_map(contraction_from_abi).collect(),
            split: split_from_abi(&self.extra),
        })
    }
}

/// What an op means to tools; what later versions say more is passed over.
fn meaning_to_abi(signature: &OpSignature) -> RVec<AbiAttribute> {
    let ints = |name: &str, ints: Vec<i64>| AbiAttribute::new(name, &Attribute::Ints(ints));
    let contraction = |&Contraction { activation, weight, axis }: &Contraction| {
        let index = |input: usize| i64::try_from(input).unwrap_or(i64::MAX);
        let mut numbers = vec![index(activation), index(weight)];
        match axis {
            ContractedAxis::Last => {}
            ContractedAxis::LastButOne => numbers.push(1),
        }
        ints(CONTRACTION, numbers)
    };
    let split = match signature.split {
        Split::No => None,
        Split::Elementwise => Some(vec![1]),
        Split::Rows(input) => Some(vec![2, i64::try_from(input).unwrap_or(i64::MAX)]),
        Split::Heads => Some(vec![3]),
    };
    signature.contractions.iter().map(contraction).chain(split.map(|code| ints(SPLIT, code))).collect()
}

/// The contraction of a record; none for a record of something else, and for what a later version may say.
fn contraction_from_abi(record: &AbiAttribute) -> Option<Contraction> {
    let Some(Attribute::Ints(numbers)) = (record.name == CONTRACTION).then(|| record.value().ok())? else {
        return None;
    };
    let (activation, weight, axis) = match numbers[..] {
        [activation, weight] => (activation, weight, ContractedAxis::Last),
        [activation, weight, 1] => (activation, weight, ContractedAxis::LastButOne),
        _ => return None,
    };
    Some(Contraction {
        activation: usize::try_from(activation).ok()?,
        weight: usize::try_from(weight).ok()?,
        axis,
    })
}

fn split_from_abi(records: &[AbiAttribute]) -> Split {
    match extra(records, SPLIT) {
        Some(Attribute::Ints(code)) => match code[..] {
            [1] => Split::Elementwise,
            [2, input] => usize::try_from(input).map_or(Split::No, Split::Rows),
            [3] => Split::Heads,
            _ => Split::No,
        },
        _ => Split::No,
    }
}

fn newer(what: &str, code: u32) -> Error {
    Error::unsupported(format_args!("{what} {code} is unknown here; a newer bitquilt may know it"))
}

/// The type of an output.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiOutputType {
    tensor: AbiTensorType,
    /// Negative for none.
    alias: i64,
    extra: RVec<AbiAttribute>,
}

impl From<&OutputType> for AbiOutputType {
    fn from(output: &OutputType) -> Self {
        let alias = output.alias.map_or(-1, |index| index as i64);
        Self { tensor: (&output.tensor).into(), alias, extra: RVec::new() }
    }
}

impl AbiOutputType {
    pub(crate) fn to_output(&self) -> Result<OutputType> {
        Ok(OutputType { tensor: self.tensor.to_type()?, alias: usize::try_from(self.alias).ok() })
    }
}

/// What a kernel provider serves.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiKernelKey {
    op: RString,
    name: RString,
    selector: u32,
    encoding: RString,
    priority: i32,
    /// Of memory.
    space: u32,
    extra: RVec<AbiAttribute>,
}

impl From<&KernelKey> for AbiKernelKey {
    fn from(key: &KernelKey) -> Self {
        let (selector, encoding) = match &key.selector {
            Selector::Dense => (1, ""),
            Selector::Encoding(name) => (2, name.as_str()),
            Selector::AnyEncoding => (3, ""),
        };
        let (op, name, encoding) = (key.op.as_str().into(), key.name.as_str().into(), encoding.into());
        let (priority, space) = (key.priority, key.space);
        Self { op, name, selector, encoding, priority, space, extra: RVec::new() }
    }
}

impl AbiKernelKey {
    pub(crate) fn to_key(&self) -> Result<KernelKey> {
        let selector = match self.selector {
            1 => Selector::Dense,
            2 => Selector::Encoding(self.encoding.to_string()),
            3 => Selector::AnyEncoding,
            code => return Err(newer("selector", code)),
        };
        let key = KernelKey::new(self.op.clone(), selector, self.name.clone());
        Ok(key.priority(self.priority).space(self.space))
    }
}

/// Bytes of scratch memory.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiScratch {
    pub(crate) shared: usize,
    pub(crate) per_worker: usize,
    reserved: [usize; 2],
}

impl AbiScratch {
    pub(crate) fn new(shared: usize, per_worker: usize) -> Self {
        Self { shared, per_worker, reserved: [0; 2] }
    }
}
