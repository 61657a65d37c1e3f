//! Encodings and ops that are written in Python.
//!
//! They are registered as any others. Each call takes the interpreter's lock, and is given copies: an author may keep them.

mod encoding;
mod op;
pub mod raised;
pub mod testing;

use bitquilt::SessionBuilder;
use bitquilt::declared::DeclaredEncoding;
use bitquilt::text::Brief;
use pyo3::prelude::*;

use crate::declared::Declaration;
use crate::error::exception;

pub use encoding::PythonEncoding;
pub use op::{PythonOp, Session};

/// What a session is given to register.
pub enum Registration {
    Declared(DeclaredEncoding),
    Encoding(PythonEncoding),
    Op(PythonOp),
}

impl Registration {
    /// A declaration, an encoding, or an op that `bitquilt.op` has made.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(declaration) = object.cast::<Declaration>() {
            return Ok(Self::Declared(DeclaredEncoding::new(declaration.get().declaration.clone())));
        }
        if object.hasattr("infer")? && object.hasattr("body")? {
            return PythonOp::of(object).map(Self::Op);
        }
        if object.hasattr("quantize")? && object.hasattr("dequantize")? {
            return PythonEncoding::of(object).map(Self::Encoding);
        }
        let kind = object.get_type().name()?.to_string();
        Err(exception(
            "SessionError",
            format!(
                "`{}` cannot be registered: an encoding (with name, block_len, block_bytes, quantize and dequantize), an op that \
                 `bitquilt.op` has made, or a declaration was expected",
                Brief(&kind)
            ),
        ))
    }

    /// Has a builder register it. Ops are to be told the session when it is built.
    pub fn register(self, builder: SessionBuilder, ops: &mut Vec<Session>) -> SessionBuilder {
        match self {
            Self::Declared(encoding) => builder.encoding(encoding),
            Self::Encoding(encoding) => builder.encoding(encoding),
            Self::Op(op) => {
                ops.push(op.session().clone());
                let kernel = op.kernel();
                builder.op(op).kernel(kernel)
            }
        }
    }
}

/// A part of what an author gives, and what it has to be.
fn part<'py, T>(object: &Bound<'py, PyAny>, name: &str, expected: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let kind = object.get_type().name()?.to_string();
    let value = object.getattr(name).map_err(|_| {
        exception("SessionError", format!("`{}` has no `{name}`; {expected} was expected", Brief(&kind)))
    })?;
    value.extract().map_err(|_| {
        let shown = value.repr().map_or_else(|_| "this value".to_owned(), |repr| repr.to_string());
        exception(
            "SessionError",
            format!("`{}.{name}` is {}; {expected} was expected", Brief(&kind), Brief(&shown)),
        )
    })
}
