//! `reshape`: the same values under another shape.

use bitquilt_plugin_api::{
    AttributeKind, Dim, Error, InferContext, Op, OpSignature, OutputType, Plugin, Result, ShapeDisplay,
    TensorType,
};

use super::check::Input;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.op(Reshape)
}

/// `reshape(x)` to the attribute `shape`, in which one dimension may be `_` (or -1): what the others leave. No value moves, so
/// the output is the input's memory, and there is no kernel.
pub(super) struct Reshape;

/// The dimension that is to be inferred.
const INFERRED: &str = "_";

impl Op for Reshape {
    fn signature(&self) -> OpSignature {
        OpSignature::new("reshape")
            .dense("x")
            .required("shape", AttributeKind::Shape)
            .summary("the same values under another shape")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        let x = Input::of(cx, 0, "x")?;
        let Some(dtype) = x.tensor.dtype() else { return Err(x.refuse("values of a dtype")) };
        let shape = complete(cx.attributes().shape("shape")?, x.tensor)?;
        Ok(vec![OutputType::alias(TensorType::dense(dtype, shape), 0)])
    }
}

/// `shape` with its `_`, if it has one, replaced by what makes it hold the values of `x`.
fn complete(shape: &[Dim], x: &TensorType) -> Result<Vec<Dim>> {
    let (inferred, given): (Vec<_>, Vec<_>) = shape.iter().partition(|dim| dim.symbols().contains(&INFERRED));
    let refuse = |problem: std::fmt::Arguments<'_>| match Dim::product(&x.shape) {
        Ok(total) => Error::invalid(format_args!(
            "`x` is {x} and has {total} values; expected a `shape` that holds them, got {}, {problem}",
            ShapeDisplay(shape)
        )),
        Err(error) => error,
    };
    match inferred[..] {
        [] if Dim::same_count(shape, &x.shape)? => Ok(shape.to_vec()),
        [] => Err(refuse(format_args!("which holds {}", Dim::product(given)?))),
        [dim] if dim.as_symbol() == Some(INFERRED) => {
            let Some(rest) = Dim::count_ratio(&x.shape, given.iter().copied())? else {
                let (total, given) = (Dim::product(&x.shape)?, Dim::product(given)?);
                return Err(refuse(format_args!("but {total} is no whole multiple of {given}")));
            };
            Ok(shape.iter().map(|other| if other == dim { rest.clone() } else { other.clone() }).collect())
        }
        _ => Err(refuse(format_args!("where at most one dimension can be `{INFERRED}`, alone"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Ops, check_inference, noise, none};
    use crate::{Attribute, Attributes};

    fn shape(dims: &[&str]) -> Attributes {
        Attributes::new().with("shape", dims.iter().map(|dim| dim.parse().unwrap()).collect::<Vec<Dim>>())
    }

    #[test]
    fn a_shape_with_the_same_values_is_an_alias() {
        check_inference(
            "reshape",
            &[
                (shape(&["6"]), &["f32 [2, 3]"], "f32 [6] = input 0"),
                (shape(&[]), &["i8 [1, 1]"], "i8 [] = input 0"),
                (shape(&["1"]), &["f32 []"], "f32 [1] = input 0"),
                (shape(&["_", "4"]), &["f32 [2, 6]"], "f32 [3, 4] = input 0"),
                (shape(&["_"]), &["f32 []"], "f32 [1] = input 0"),
                (shape(&["_", "9", "64"]), &["f32 [seq, 576]"], "f32 [seq, 9, 64] = input 0"),
                (shape(&["_", "64"]), &["f32 [batch, seq, 2, 32]"], "f32 [batch*seq, 64] = input 0"),
                (shape(&["seq", "_"]), &["f32 [batch*seq, 5]"], "f32 [seq, 5*batch] = input 0"),
                (shape(&["_", "4"]), &["f32 [0, 3]"], "f32 [0, 4] = input 0"),
                (shape(&["past + seq", "_"]), &["f32 [past + seq, 8, 4]"], "f32 [past + seq, 32] = input 0"),
                (none().with("shape", vec![-1i64, 2]), &["f32 [6]"], "f32 [3, 2] = input 0"),
            ],
        );
    }

    #[test]
    fn what_does_not_hold_the_values_is_refused() {
        let prefix =
            "error: `x` is f32 [2, seq] and has 2*seq values; expected a `shape` that holds them, got";
        for (dims, rest) in [
            (&["3", "seq"][..], "[3, seq], which holds 3*seq"),
            (&["_", "4"], "[_, 4], but 2*seq is no whole multiple of 4"),
            (&["_", "_"], "[_, _], where at most one dimension can be `_`, alone"),
            (&["2*_", "seq"], "[2*_, seq], where at most one dimension can be `_`, alone"),
            (&["0", "_"], "[0, _], but 2*seq is no whole multiple of 0"),
        ] {
            check_inference("reshape", &[(shape(dims), &["f32 [2, seq]"], &format!("{prefix} {rest}"))]);
        }
        assert!(Attribute::from(vec![-2i64]).into_kind(AttributeKind::Shape).is_none());
    }

    #[test]
    fn the_values_stay_in_their_order() {
        let x = noise(&[2, 3, 4], 9);
        let output = Ops::standard().run("reshape", &shape(&["4", "_"]), std::slice::from_ref(&x)).unwrap();
        assert_eq!((output.shape(), output.bytes()), (&[4, 6][..], x.bytes()));
    }
}
