//! `bitquilt plugin`

#[cfg(feature = "plugin-check")]
mod check;
mod inspect;
mod list;
mod new;

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::print_line;
use crate::session::SessionArguments;

/// Shows, checks and begins plugins.
#[derive(Subcommand)]
pub enum PluginCommand {
    /// Lists the plugins that are loaded, what each registers, and the files that were refused.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the directories that plugins are looked for in, in order.
    Paths,
    /// Shows what a file is without running any of its code: format, machine, entry symbol, plugin-api version, dependencies.
    Inspect(inspect::InspectArguments),
    /// Runs every encoding, op and kernel of a plugin in child processes, and says which promises to the host it keeps.
    #[cfg(feature = "plugin-check")]
    Check(check::CheckArguments),
    /// Writes a crate of a plugin to begin with: an encoding, an op, a test and a README.
    New(new::NewArguments),
}

impl PluginCommand {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<ExitCode> {
        match self {
            Self::List { json } => list::list(session, *json)?,
            Self::Paths => paths(session)?,
            Self::Inspect(arguments) => arguments.execute(session)?,
            #[cfg(feature = "plugin-check")]
            Self::Check(arguments) => return arguments.execute(),
            Self::New(arguments) => arguments.execute()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn paths(session: &SessionArguments) -> miette::Result<()> {
    let path = session.search_path();
    for directory in &path.directories {
        let missing = if directory.path.is_dir() { "" } else { ", does not exist" };
        print_line(format_args!("{} ({}{missing})", directory.path.display(), directory.origin))?;
    }
    for note in &path.notes {
        tracing::warn!("{note}");
    }
    Ok(())
}
