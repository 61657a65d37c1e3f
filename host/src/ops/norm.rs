//! What the ops that normalize rows share.

use bitquilt_plugin_api::{Error, InferContext, OutputType, Result, TensorType};

use super::check::Input;

/// The output of `op(x, ..)` with the attribute `eps`: as `x`, f32 `[.., n]`. The other inputs that a node has, by these names and in
/// this order, are f32 `[n]`.
pub(super) fn infer(cx: &InferContext<'_>, parameters: &[&'static str]) -> Result<Vec<OutputType>> {
    let x = Input::of(cx, 0, "x")?.f32()?;
    let n = x.shape().last().ok_or_else(|| x.refuse("a tensor with rows"))?;
    for (index, name) in (1..cx.inputs().len()).zip(parameters) {
        let input = Input::of(cx, index, name)?.f32()?;
        if input.shape() != std::slice::from_ref(n) {
            return Err(input.refuse(format_args!("f32 [{n}], one for each column of `x` {}", x.tensor)));
        }
    }
    let eps = cx.attributes().float("eps")?;
    if !(eps >= 0.0 && eps.is_finite()) {
        return Err(Error::invalid(format_args!(
            "`eps` is {eps}; expected a finite number that is not negative"
        )));
    }
    Ok(vec![TensorType::f32(x.shape()).into()])
}
