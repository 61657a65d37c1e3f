//! `bitquilt bench`

mod model;
mod qmatmul;
mod report;
mod roofline;

use clap::Subcommand;

use crate::session::SessionArguments;

/// Times kernels, against what this machine can do at most, and whole models.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Times products with quantized weights, against what this machine can do at most.
    Qmatmul(qmatmul::QmatmulArguments),
    Model(model::ModelBenchArguments),
}

impl BenchCommand {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        match self {
            Self::Qmatmul(arguments) => arguments.execute(session),
            Self::Model(arguments) => arguments.execute(session),
        }
    }
}
