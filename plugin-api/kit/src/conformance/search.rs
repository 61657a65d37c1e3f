//! Looks for inputs that an op takes, by offering it candidates in order of how common they are.

use bitquilt_plugin_api::{
    Arity, Attribute, AttributeKind, Attributes, DType, Dim, ErrorKind, InputKind, InputSpec, OpSignature,
    TensorType,
};

use super::node::Node;
use super::setup::Setup;
use super::values::PLAIN;
use crate::TestHost;

/// Offers, at most.
const MAX_OFFERS: usize = 30_000;
/// Offers after the first that was taken: others may show other sides of the op.
const MORE_OFFERS: usize = 3_000;
/// Nodes that are enough.
const ENOUGH: usize = 4;
/// The cost of the least common combination that is offered.
const MAX_COST: usize = 60;
/// Rows of matrices.
const M: usize = 3;
/// Rows of encoded matrices.
const K: usize = 5;

/// What was found.
pub(super) struct Found {
    /// Nodes of different elements and ranks.
    pub(super) nodes: Vec<Node>,
    /// Nodes that were offered.
    pub(super) offers: usize,
    /// What the op said of the first offer.
    pub(super) refusal: String,
}

/// The encodings that an input is tried with; `wanted` alone if it selects a kernel for one.
fn encodings_for(setup: &Setup, input: &InputSpec, wanted: Option<&str>) -> Vec<String> {
    let host = &setup.host;
    let known = |name: &&str| host.find_encoding(name).is_some();
    let names: Vec<&str> = match wanted {
        Some(name) => vec![name],
        None if !input.encodings.is_empty() => input.encodings.iter().map(String::as_str).collect(),
        None => setup.own_encodings().chain([PLAIN]).collect(),
    };
    names.into_iter().filter(known).take(2).map(str::to_owned).collect()
}

/// Dtypes, and what each adds to the cost of an offer.
const DTYPES: [(DType, usize); 13] = [
    (DType::F32, 0),
    (DType::I64, 2),
    (DType::I32, 3),
    (DType::F16, 4),
    (DType::BF16, 5),
    (DType::U8, 6),
    (DType::BOOL, 6),
    (DType::I8, 7),
    (DType::F64, 8),
    (DType::U32, 8),
    (DType::U64, 9),
    (DType::I16, 9),
    (DType::U16, 9),
];

/// Types of a dense input, the common first; `n` is the length of a row.
fn dense_candidates(n: usize) -> Vec<(usize, TensorType)> {
    let shapes: [&[usize]; 16] = [
        &[M, n],
        &[n],
        &[M],
        &[K, n],
        &[2, M, n],
        &[M, 4],
        &[n, n],
        &[n, K],
        &[1],
        &[],
        &[K],
        &[M, 1],
        &[2, 2, M, n],
        &[2, M],
        &[1, M, n],
        &[M, n, n],
    ];
    let mut candidates = Vec::new();
    for (dtype, first) in DTYPES {
        for (index, shape) in shapes.iter().enumerate() {
            candidates.push((first + index, TensorType::dense(dtype, shape.iter().copied())));
        }
    }
    candidates.sort_by_key(|(cost, _)| *cost);
    candidates
}

fn encoded_candidates(encodings: &[String], n: usize) -> Vec<(usize, TensorType)> {
    let shapes: [&[usize]; 5] = [&[K, n], &[n, n], &[M, n], &[n], &[2, K, n]];
    let mut candidates = Vec::new();
    for (first, name) in encodings.iter().enumerate() {
        for (index, shape) in shapes.iter().enumerate() {
            candidates.push((first + 2 * index, TensorType::encoded(name.as_str(), shape.iter().copied())));
        }
    }
    candidates.sort_by_key(|(cost, _)| *cost);
    candidates
}

fn attribute_candidates(kind: AttributeKind, n: usize) -> Vec<(usize, Attribute)> {
    let values: Vec<Attribute> = match kind {
        AttributeKind::Int => [1, 0, 2, -1, 4, M as i64, n as i64].map(Attribute::Int).into(),
        AttributeKind::Float => [1.0, 1e-5, 0.5, 10_000.0].map(Attribute::Float).into(),
        AttributeKind::Bool => [false, true].map(Attribute::Bool).into(),
        AttributeKind::Text => {
            ["f32", "f16", "i32", "none", ""].map(|text| Attribute::Text(text.to_owned())).into()
        }
        AttributeKind::Ints => [&[0][..], &[1, 0], &[0, 1], &[], &[1], &[0, 2, 1], &[1, 1]]
            .map(|ints| Attribute::Ints(ints.to_vec()))
            .into(),
        AttributeKind::Shape => [&[M * n][..], &[n, M], &[M, n], &[1, n], &[]]
            .map(|shape| Attribute::Shape(shape.iter().map(|dim| Dim::Fixed(*dim)).collect()))
            .into(),
        AttributeKind::Floats => {
            [&[1.0][..], &[], &[0.5, 2.0], &[1.0; 8]].map(|floats| Attribute::Floats(floats.to_vec())).into()
        }
        AttributeKind::Texts => [&["f32"][..], &[], &["none", ""]]
            .map(|texts| Attribute::Texts(texts.iter().map(|text| (*text).to_owned()).collect()))
            .into(),
        _ => Vec::new(),
    };
    values.into_iter().enumerate().collect()
}

/// One thing to choose for a node.
enum Choice {
    Input(Vec<(usize, TensorType)>),
    Attribute(String, Vec<(usize, Attribute)>),
}

impl Choice {
    fn costs(&self) -> Vec<usize> {
        match self {
            Self::Input(candidates) => candidates.iter().map(|(cost, _)| *cost).collect(),
            Self::Attribute(_, candidates) => candidates.iter().map(|(cost, _)| *cost).collect(),
        }
    }
}

/// Nodes that an op takes. With `wanted`, the input that selects the kernel has that encoding.
pub(super) fn legal_nodes(setup: &Setup, signature: &OpSignature, wanted: Option<&str>) -> Found {
    let host = &setup.host;
    let wanted_for = |index: usize| wanted.filter(|_| signature.kernel_input == Some(index));
    let encodings: Vec<Vec<String>> = signature
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| match input.kind {
            InputKind::Encoded => encodings_for(setup, input, wanted_for(index)),
            _ => Vec::new(),
        })
        .collect();
    let lengths =
        encodings.iter().flatten().filter_map(|name| Some(host.find_encoding(name)?.spec().block_len));
    let n = match lengths.reduce(lcm) {
        None => 8,
        Some(block) => block * 64usize.div_ceil(block),
    };
    let mut found = Found { nodes: Vec::new(), offers: 0, refusal: String::new() };
    let kernel_encoding =
        |node: &Node| node.types.get(signature.kernel_input?)?.encoding().map(str::to_owned);
    for (_, node) in setup.examples.iter().filter(|(op, _)| *op == signature.name) {
        if wanted.is_some() && kernel_encoding(node).as_deref() != wanted {
            continue;
        }
        offer(host, &signature.name, node.clone(), &mut found);
    }
    for places in input_places(signature) {
        let choice = |place: &usize| match signature.inputs[*place].kind {
            InputKind::Encoded => Choice::Input(encoded_candidates(&encodings[*place], n)),
            _ => Choice::Input(dense_candidates(n)),
        };
        let mut choices: Vec<Choice> = places.iter().map(choice).collect();
        for attribute in signature.attributes.iter().filter(|attribute| attribute.required) {
            choices.push(Choice::Attribute(attribute.name.clone(), attribute_candidates(attribute.kind, n)));
        }
        let given = places.iter().map(|place| &signature.inputs[*place]);
        let named = given.filter(|input| input.arity == Arity::Optional).map(|input| input.name.clone());
        offer_all(host, &signature.name, &choices, &named.collect::<Vec<_>>(), &mut found);
    }
    found
}

/// Which inputs of a signature, by their indices, a node may be given: of those that may be left out all, none, and each by itself.
fn input_places(signature: &OpSignature) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..signature.inputs.len()).collect();
    let is_optional = |place: &usize| signature.inputs[*place].arity == Arity::Optional;
    let (optional, required): (Vec<usize>, Vec<usize>) = all.iter().partition(|place| is_optional(place));
    let with = |more: &[usize]| [&required[..], more].concat();
    match (&optional[..], signature.inputs.last().map(|input| input.arity)) {
        ([], Some(Arity::Many)) => {
            let last = all.len() - 1;
            vec![all, with(&[last]), with(&[last, last])]
        }
        ([], _) => vec![all],
        ([_], _) => vec![all, required],
        (several, _) => [all]
            .into_iter()
            .chain(several.iter().map(|one| with(&[*one])))
            .chain([required.clone()])
            .collect(),
    }
}

/// Offers combinations to the op, the cheap first.
fn offer_all(host: &TestHost, op: &str, choices: &[Choice], named: &[String], found: &mut Found) {
    let costs: Vec<Vec<usize>> = choices.iter().map(Choice::costs).collect();
    let (mut offers, mut first, mut panics) = (0usize, None, 0usize);
    // Once there are enough, one more for each other choice of inputs.
    let enough = ENOUGH.max(found.nodes.len() + 1);
    for total in 0..=MAX_COST {
        let mut picks = vec![0; choices.len()];
        let go_on = combinations(&costs, total, 0, &mut picks, &mut |picks| {
            offers += 1;
            match offer(host, op, node_of(choices, named, picks), found) {
                Some(error) => panics += usize::from(error == ErrorKind::Panicked),
                None => first = first.or(Some(offers)),
            }
            let limit = first.map_or(MAX_OFFERS, |first| (first + MORE_OFFERS).min(MAX_OFFERS));
            found.nodes.len() < enough && offers < limit && panics < 10
        });
        if !go_on {
            return;
        }
    }
}

/// Offers a node to the op, keeps it if it is taken and shows another side of it, and answers how it was refused, if it was.
fn offer(host: &TestHost, op: &str, node: Node, found: &mut Found) -> Option<ErrorKind> {
    found.offers += 1;
    match node.infer(host, op) {
        Ok(_) => {
            if found.nodes.iter().all(|known| known.profile() != node.profile()) {
                found.nodes.push(node);
            }
            None
        }
        Err(error) => {
            if found.refusal.is_empty() {
                found.refusal = format!("{}: {error}", node.describe());
            }
            Some(error.kind())
        }
    }
}

fn node_of(choices: &[Choice], named: &[String], picks: &[usize]) -> Node {
    let mut node = Node { types: Vec::new(), named: named.to_vec(), attributes: Attributes::new() };
    for (choice, pick) in choices.iter().zip(picks) {
        match choice {
            Choice::Input(candidates) => node.types.push(candidates[*pick].1.clone()),
            Choice::Attribute(name, candidates) => {
                node.attributes.insert(name.as_str(), candidates[*pick].1.clone());
            }
        }
    }
    node
}

/// Calls `visit` with each choice of candidates that costs exactly `left`, until it answers false.
fn combinations(
    costs: &[Vec<usize>],
    left: usize,
    depth: usize,
    picks: &mut Vec<usize>,
    visit: &mut dyn FnMut(&[usize]) -> bool,
) -> bool {
    let Some(candidates) = costs.get(depth) else {
        return left > 0 || visit(picks);
    };
    let is_last = depth + 1 == costs.len();
    for (index, cost) in candidates.iter().enumerate() {
        if *cost > left {
            break;
        }
        if is_last && *cost != left {
            continue;
        }
        picks[depth] = index;
        if !combinations(costs, left - cost, depth + 1, picks, visit) {
            return false;
        }
    }
    true
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b.max(1));
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a.saturating_mul(b.max(1) / x)
}
