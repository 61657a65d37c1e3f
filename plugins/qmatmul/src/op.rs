//! `qmatmul`: what it means.

use bitquilt_kernels::{Precision, Preparation, QMATMUL};
use bitquilt_plugin_api::{
    AttributeKind, DType, Dim, Error, InferContext, Op, OpSignature, OutputType, Result, Split, TensorType,
};

use crate::decode::Decode;
use crate::matrix::{check_whole_blocks, matrix_shape};

/// `qmatmul(x, w)`: the product of `x`, f32 `[.., n]`, and the transpose of `w`, encoded `[p, n]`, as f32 `[.., p]`.
///
/// The attribute `precision` says whether a kernel may quantize `x` (`fast`, the default) or must multiply decoded weights with
/// `x` as it is (`exact`). The attribute `decode` says when a weight is decoded whose encoding has no kernels of its own: at `each run`,
/// or once, into `f16` or `f32`; where it is not given, the session's option of this name says it, and else it is each run. The attribute
/// or option `prepare` says whether weights that kernels spread to more bytes than they are encoded in are spread (`fast`, the default),
/// or stay as they are and are unpacked at each run (`compact`). Results are the same bits. Bytes of 256 values:
///
/// | encoding | encoded, and compact | spread |
/// |---|---|---|
/// | `iq1_s` | 50 | 70 |
/// | `iq1_m` | 56 | 82 |
/// | `iq2_xxs` | 66 | 102 |
/// | `iq2_xs` | 74 | 106 |
/// | `iq2_s` | 82 | 106 |
/// | `iq3_xxs` | 98 | 134 |
/// | `iq3_s` | 110 | 134 |
/// | `tq1_0` | 54 | 66 |
/// | `q1_0` | 36 | 48 |
///
/// All others are prepared in about as many bytes as they are encoded in, and have no other form.
pub(crate) struct QMatmul;

impl Op for QMatmul {
    fn signature(&self) -> OpSignature {
        OpSignature::new(QMATMUL)
            .dense("x")
            .encoded("w")
            .optional("precision", "fast")
            .without_default("decode", AttributeKind::Text)
            .without_default("prepare", AttributeKind::Text)
            .contracts("x", "w")
            .split(Split::Rows(1))
            .summary("x [.., n] times the transpose of an encoded w [p, n], f32 [.., p]")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Precision::of(cx)?;
        Decode::of(cx)?;
        Preparation::of(cx)?;
        let (x, w) = (&cx.inputs()[0], &cx.inputs()[1]);
        if x.dtype() != Some(DType::F32) {
            return Err(Error::invalid(format_args!("`x` is {x}; qmatmul multiplies f32 values: cast it")));
        }
        let [p, n] = matrix_shape("w", w)?;
        let Some((columns, outer)) = x.shape.split_last() else {
            return Err(Error::invalid(format_args!(
                "`x` is {x}, a scalar; qmatmul wants rows of {n} values"
            )));
        };
        if *columns != Dim::Fixed(n) {
            return Err(if *columns == Dim::Fixed(p) {
                Error::invalid(format_args!(
                    "`x` is {x} and `w` is {w}, which are the shapes of a full-precision matmul; transpose the weight: \
                     qmatmul wants it as [p, n], here [{n}, {p}]"
                ))
            } else {
                Error::invalid(format_args!(
                    "`x` is {x} and `w` is {w}; the last dimensions must be the same: qmatmul wants `x` as [.., n] and `w` as [p, n]"
                ))
            });
        }
        check_whole_blocks(cx, "w", w, n)?;
        Ok(vec![TensorType::f32(outer.iter().cloned().chain([Dim::Fixed(p)])).into()])
    }
}
