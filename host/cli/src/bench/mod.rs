//! `bitquilt bench`

mod qmatmul;
mod report;
mod roofline;

use clap::Subcommand;

use crate::session::SessionArguments;

/// Times kernels, against what this machine can do at most.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Times products with quantized weights, against what this machine can do at most.
    Qmatmul(qmatmul::QmatmulArguments),
}

impl BenchCommand {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        match self {
            Self::Qmatmul(arguments) => arguments.execute(session),
        }
    }
}
