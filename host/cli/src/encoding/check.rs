//! `bitquilt encoding check`

use std::path::{Path, PathBuf};

use bitquilt::declared::Declaration;
use bitquilt::file;
use bitquilt::registry::{Origin, Registry};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::output::{print, print_line};

/// Says what a declaration is: its bits a value, what each byte of a block holds, and how it is multiplied.
#[derive(Args)]
pub struct CheckArguments {
    /// The declaration.
    #[arg(value_name = "FILE.encoding.toml")]
    file: PathBuf,
}

impl CheckArguments {
    /// Does it.
    pub fn execute(&self) -> miette::Result<()> {
        let declaration = read(&self.file)?;
        let kernels = bitquilt_qmatmul::declared(&declaration);
        print(declaration.describe())?;
        print_line(format_args!(
            "qmatmul  {}; rows of a multiple of {} values",
            kernels.note(),
            kernels.row_step()
        ))
    }
}

/// Reads a declaration, which a session could register.
fn read(path: &Path) -> miette::Result<Declaration> {
    let text = file::read_text(path, Declaration::MAX_TEXT as u64).into_diagnostic()?;
    let refused = |error: &dyn std::fmt::Display| miette!("{}: {error}", path.display());
    let declaration = Declaration::parse(&text).map_err(|error| refused(&error))?;
    let registered = Registry::default().declare(declaration.clone(), Origin::File(path.to_owned()));
    registered.map(|_| declaration).map_err(|error| refused(&error))
}
