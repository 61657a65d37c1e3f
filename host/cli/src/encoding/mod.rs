//! `bitquilt encoding`

mod check;
mod fit;

use clap::Subcommand;

use crate::session::SessionArguments;

/// Works with declared encodings: text files NAME.encoding.toml, which plugin directories may hold.
#[derive(Subcommand)]
pub enum EncodingCommand {
    Check(check::CheckArguments),
    Fit(fit::FitArguments),
}

impl EncodingCommand {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        match self {
            Self::Check(arguments) => arguments.execute(),
            Self::Fit(arguments) => arguments.execute(session),
        }
    }
}
