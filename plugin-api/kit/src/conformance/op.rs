//! The checks of what an op says of its types.

use bitquilt_plugin_api::{
    Attribute, AttributeKind, Attributes, Bindings, ContractedAxis, Contraction, DType, Dim, Element,
    ErrorKind, OpSignature, OutputType, TensorType,
};

use super::finding::{At, Check, Verdict};
use super::node::Node;
use super::search::{Found, legal_nodes};
use super::setup::Setup;

pub(super) fn check(setup: &Setup, signature: &OpSignature, check: Check, at: At<'_>) -> Verdict {
    at("infer, candidates");
    let found = legal_nodes(setup, signature, None);
    match check {
        Check::Types | Check::Control if found.nodes.is_empty() => nothing_found(signature, &found),
        Check::Types | Check::Control => types(setup, signature, &found, at).into(),
        Check::Panics => panics(setup, signature, &found, at).into(),
        _ => Verdict::Skipped("an op has no such check".to_owned()),
    }
}

/// No inputs were found; an op that panics is to blame for it itself.
pub(super) fn nothing_found(signature: &OpSignature, found: &Found) -> Verdict {
    let (op, offers, refusal) = (&signature.name, found.offers, &found.refusal);
    let reason = if offers == 0 {
        format!(
            "no inputs found: `{op}` takes encodings that are not here; load the plugin that has them, too"
        )
    } else {
        format!(
            "no inputs found: `{op}` took none of {offers} (`Conformance::example` gives it some); of {refusal}"
        )
    };
    if refusal.contains("panicked") { Verdict::Failed(reason) } else { Verdict::Skipped(reason) }
}

fn types(setup: &Setup, signature: &OpSignature, found: &Found, at: At<'_>) -> Result<String, String> {
    let host = &setup.host;
    let mut seen = Vec::new();
    let mut symbolic = 0;
    for node in &found.nodes {
        let said = node.describe();
        at(&format!("infer, {said}"));
        let infer = |types: &[TensorType]| {
            Node { types: types.to_vec(), ..node.clone() }.infer(host, &signature.name)
        };
        let wrong = |what: String| Err(format!("of {said}: {what}"));
        let outputs =
            infer(&node.types).map_err(|error| format!("of {said}: {error}, after it took them once"))?;
        for _ in 0..3 {
            if infer(&node.types).as_ref() != Ok(&outputs) {
                return wrong("the answer is another when it is asked again".to_owned());
            }
        }
        if outputs.is_empty() {
            return wrong("there is no output; an op has at least one".to_owned());
        }
        if let Some(problem) = contractions_disagree(signature, node) {
            return wrong(problem);
        }
        for (index, output) in outputs.iter().enumerate() {
            if let Some(problem) = problem_of(setup, node, output) {
                return wrong(format!("output {index} {problem}"));
            }
        }
        at(&format!("infer, {said} with symbols"));
        if let Some(differs) = symbols_disagree(node, &outputs, infer)? {
            return wrong(differs);
        }
        symbolic += usize::from(infer(&with_symbols(node).0).is_ok());
        let gives: Vec<String> = outputs.iter().map(|output| output.tensor.to_string()).collect();
        seen.push(format!("{said} -> {}", gives.join(", ")));
    }
    let dimensions = if symbolic > 0 { "; dimensions may have symbols" } else { "" };
    Ok(format!("{}{dimensions}", seen.join("; ")))
}

/// How a node that an op takes is not what its signature says of weights and activations.
fn contractions_disagree(signature: &OpSignature, node: &Node) -> Option<String> {
    let last = |input: usize, behind: usize| {
        let shape = &node.types.get(input)?.shape;
        shape.get(shape.len().checked_sub(1 + behind)?)?.fixed()
    };
    signature.contractions.iter().find_map(|Contraction { activation, weight, axis, .. }| {
        let (Some(activation_spec), Some(weight_spec)) =
            (signature.inputs.get(*activation), signature.inputs.get(*weight))
        else {
            return Some("the signature contracts inputs that there are not".to_owned());
        };
        let (behind, which) = match axis {
            ContractedAxis::Last => (0, "last"),
            _ => (1, "last but one"),
        };
        let (found, expected) = (last(*weight, behind), last(*activation, 0));
        let shown = |dimension: Option<usize>| dimension.map_or("none".to_owned(), |it| it.to_string());
        (found != expected).then(|| {
            format!(
                "the signature says that the columns of `{}` are multiplied with `{}`; its {which} dimension is {}, and the last of that {}",
                weight_spec.name,
                activation_spec.name,
                shown(found),
                shown(expected)
            )
        })
    })
}

/// What is wrong with an output.
fn problem_of(setup: &Setup, node: &Node, output: &OutputType) -> Option<String> {
    if let Some(input) = output.alias.filter(|input| *input >= node.types.len()) {
        return Some(format!("aliases input {input}; there are {}", node.types.len()));
    }
    let Some(shape) = output.tensor.fixed_shape() else {
        return Some(format!("is {}, with symbols that no input has", output.tensor));
    };
    match &output.tensor.element {
        Element::Dense(dtype) if dtype.size().is_none() => {
            Some(format!("has the dtype {dtype}, which is none"))
        }
        Element::Dense(_) => None,
        Element::Encoded(name) => match setup.host.find_encoding(name) {
            None => Some(format!("has the encoding `{name}`, which is not registered")),
            Some(handle) => {
                handle.spec().byte_shape(&shape).err().map(|error| format!("is no tensor: {error}"))
            }
        },
    }
}

/// The node with symbols for the dimensions of dense inputs that no encoded input has, and their values.
fn with_symbols(node: &Node) -> (Vec<TensorType>, Bindings) {
    let encoded = node.types.iter().filter(|tensor| tensor.encoding().is_some());
    let kept: Vec<usize> = encoded.flat_map(|tensor| tensor.fixed_shape().unwrap_or_default()).collect();
    let mut bindings = Bindings::new();
    let symbol = |dim: &Dim, bindings: &mut Bindings| match dim.fixed() {
        Some(value) if value > 1 && !kept.contains(&value) => {
            let name = format!("s{value}");
            bindings.insert(name.clone(), value);
            Dim::from(name.as_str())
        }
        _ => dim.clone(),
    };
    let types = node.types.iter().map(|tensor| match tensor.dtype() {
        Some(dtype) => TensorType::dense(dtype, tensor.shape.iter().map(|dim| symbol(dim, &mut bindings))),
        None => tensor.clone(),
    });
    (types.collect(), bindings)
}

/// How the answer for symbols, at their values, differs from that for numbers. An op may refuse symbols.
fn symbols_disagree(
    node: &Node,
    outputs: &[OutputType],
    infer: impl Fn(&[TensorType]) -> bitquilt_plugin_api::Result<Vec<OutputType>>,
) -> Result<Option<String>, String> {
    let (types, bindings) = with_symbols(node);
    let answer = match infer(&types) {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::Panicked => return Err(format!("with symbols: {error}")),
        Err(_) => return Ok(None),
    };
    let shapes = |outputs: &[OutputType]| {
        outputs.iter().map(|output| output.tensor.evaluate(&bindings)).collect::<Result<Vec<_>, _>>()
    };
    let (symbolic, fixed) = (shapes(&answer), shapes(outputs));
    let (symbolic, fixed) = match (symbolic, fixed) {
        (Ok(symbolic), Ok(fixed)) => (symbolic, fixed),
        (Err(error), _) | (_, Err(error)) => {
            return Ok(Some(format!("with symbols the outputs have no shape: {error}")));
        }
    };
    Ok((symbolic != fixed).then(|| {
        format!("with symbols the outputs have the shapes {symbolic:?}, with their values {fixed:?}")
    }))
}

/// Types that no op should be surprised by.
fn odd_types(setup: &Setup) -> Vec<TensorType> {
    let mut odd = Vec::new();
    for dtype in [DType::F32, DType::I64, DType::BOOL, DType::from_code(9999)] {
        odd.push(TensorType::dense(dtype, [0usize; 0]));
        odd.push(TensorType::dense(dtype, [0usize]));
        odd.push(TensorType::dense(dtype, [0usize, 7]));
        odd.push(TensorType::dense(dtype, [1usize, 1, 1]));
        odd.push(TensorType::dense(dtype, [usize::MAX]));
        odd.push(TensorType::dense(dtype, [1usize << 40, 1 << 40]));
        odd.push(TensorType::dense(dtype, [2usize; 12]));
        odd.push(TensorType::dense(dtype, [Dim::from("a"), Dim::from("b")]));
    }
    for handle in &setup.host.encodings {
        let (name, len) = (&handle.spec().name, handle.spec().block_len);
        odd.push(TensorType::encoded(name.as_str(), [len]));
        odd.push(TensorType::encoded(name.as_str(), [0, len]));
        odd.push(TensorType::encoded(name.as_str(), [1, 2, 3, len]));
        odd.push(TensorType::encoded(name.as_str(), [1 << 40, len]));
        odd.push(TensorType::encoded(name.as_str(), [3, 0usize]));
        if odd.len() > 64 {
            break;
        }
    }
    odd
}

fn odd_values(kind: AttributeKind) -> Vec<Attribute> {
    match kind {
        AttributeKind::Int => [i64::MIN, -1, 0, i64::MAX].map(Attribute::Int).into(),
        AttributeKind::Float => [f64::NAN, f64::INFINITY, -1.0, 0.0].map(Attribute::Float).into(),
        AttributeKind::Bool => [false, true].map(Attribute::Bool).into(),
        AttributeKind::Text => {
            ["", "nonsense", "\u{1f9ee}"].map(|text| Attribute::Text(text.to_owned())).into()
        }
        AttributeKind::Ints => {
            [&[][..], &[-1], &[i64::MAX, i64::MIN], &[0, 0]].map(|ints| Attribute::Ints(ints.to_vec())).into()
        }
        AttributeKind::Shape => [&[][..], &[0], &[usize::MAX, usize::MAX]]
            .map(|shape| Attribute::Shape(shape.iter().map(|dim| Dim::Fixed(*dim)).collect()))
            .into(),
        AttributeKind::Floats => [&[][..], &[f64::NAN], &[f64::INFINITY, -0.0], &[1e300; 70]]
            .map(|floats| Attribute::Floats(floats.to_vec()))
            .into(),
        AttributeKind::Texts => [&[][..], &[""], &["nonsense"; 70]]
            .map(|texts| Attribute::Texts(texts.iter().map(|text| (*text).to_owned()).collect()))
            .into(),
        _ => Vec::new(),
    }
}

fn panics(setup: &Setup, signature: &OpSignature, found: &Found, at: At<'_>) -> Result<String, String> {
    if found.refusal.contains("panicked") {
        return Err(format!("infer of {}", found.refusal));
    }
    let mut calls = 0;
    let mut survives = |node: &Node| {
        calls += 1;
        let said = format!("infer, {}", node.describe());
        at(&said);
        match node.infer(&setup.host, &signature.name) {
            Err(error) if error.kind() == ErrorKind::Panicked => Err(format!("{said}: {error}")),
            _ => Ok(()),
        }
    };
    let odd = odd_types(setup);
    // Where no inputs were found, those that are odd take their place.
    let types = vec![odd[0].clone(); signature.inputs.len()];
    let bare = Node { types, named: Vec::new(), attributes: Attributes::new() };
    let nodes = if found.nodes.is_empty() { std::slice::from_ref(&bare) } else { &found.nodes };
    for node in nodes {
        for index in 0..node.types.len() {
            for tensor in &odd {
                let mut node = node.clone();
                node.types[index] = tensor.clone();
                survives(&node)?;
            }
        }
        for tensor in &odd {
            survives(&Node { types: vec![tensor.clone(); node.types.len()], ..node.clone() })?;
        }
        for attribute in &signature.attributes {
            for value in odd_values(attribute.kind) {
                let mut node = node.clone();
                node.attributes.insert(attribute.name.as_str(), value);
                survives(&node)?;
            }
        }
    }
    Ok(format!("none in {calls} calls with odd types and attributes"))
}
