//! The command `bitquilt`. Data goes to standard output, everything else to standard error.

mod model;
mod output;
mod rewrite;
mod session;

use std::io::{IsTerminal, Write};
use std::process::{ExitCode, Termination};

use bitquilt::text::Passage;
use bitquilt_models::budget::Budgeted;
use clap::{Parser, Subcommand};
use tracing::Level;

/// A chat template gets no more memory than it may have.
#[global_allocator]
static ALLOCATOR: Budgeted = Budgeted;

/// Quantizes weights, looks into models, graphs and plugins, and runs graphs whose weights may each have a different encoding.
///
/// Plugins are loaded from each --plugin-dir, then from the directories in BITQUILT_PLUGIN_PATH, then from `bitquilt/plugins` in
/// the user's data directory; never from the current directory. Each file is tried in a child process first. A file that is refused
/// is reported on standard error, and the others are loaded.
///
/// Exit codes: 0 done, 1 the command failed (one sentence on standard error says why) or `plugin check` found something, 2 the command line is wrong.
#[derive(Parser)]
#[command(name = "bitquilt", version)]
struct Arguments {
    #[command(flatten)]
    session: session::SessionArguments,
    /// Says more on standard error; twice, even more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = session::GLOBAL)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// Takes in the files of subcommands, and lists them.
macro_rules! commands {
    ($($(#[$attribute:meta])* $command:ident = $file:ident::$arguments:ident),* $(,)?) => {
        $(mod $file;)*

        #[derive(Subcommand)]
        enum Command {
            $($(#[$attribute])* $command($file::$arguments)),*
        }

        impl Command {
            fn execute(&self, session: &session::SessionArguments) -> miette::Result<ExitCode> {
                match self {
                    $(Self::$command(arguments) => arguments.execute(session).map(Termination::report)),*
                }
            }
        }
    };
}

commands! {
    #[command(subcommand)] Plugin = plugin::PluginCommand,
    #[command(subcommand)] Encoding = encoding::EncodingCommand,
    Inspect = inspect::InspectArguments,
    Quantize = quantize::QuantizeArguments,
    Dequantize = dequantize::DequantizeArguments,
    Convert = convert::ConvertArguments,
    Import = import::ImportArguments,
    Compare = compare::CompareArguments,
    Importance = importance::ImportanceArguments,
    Plan = plan::PlanArguments,
    Explain = explain::ExplainArguments,
    Run = run::RunArguments,
    Chat = chat::ChatArguments,
    Perplexity = perplexity::PerplexityArguments,
    #[command(subcommand)] Bench = bench::BenchCommand,
}

fn main() -> ExitCode {
    // A child that tries a plugin is this program, too.
    bitquilt::plugin::child_main();
    end_with_the_reader();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let level = [Level::WARN, Level::INFO, Level::DEBUG][usize::from(arguments.verbose.min(2))];
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .log_internal_errors(false)
        .init();
    // A sentence that no terminal shows stays on its line, where it can be searched for. It names its causes itself.
    let wrap = std::io::stderr().is_terminal();
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(wrap).without_cause_chain().build())
    }));
    match arguments.command.execute(&arguments.session) {
        Ok(code) => code,
        Err(report) => {
            let report = miette::miette!("{}", Passage(&report.to_string()));
            // Where standard error is gone, too, the exit code is left.
            let _ = writeln!(std::io::stderr(), "{report:?}");
            ExitCode::FAILURE
        }
    }
}

/// Prints help, or what is wrong with the command line, which quotes from it.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let shown = Passage(&text).to_string();
    if !error.use_stderr() || shown == text {
        error.exit();
    }
    let _ = writeln!(std::io::stderr(), "{shown}");
    ExitCode::from(2)
}

/// Has a write to a pipe that nobody reads any more end the command quietly, as `| head` expects; Rust's default is an error.
fn end_with_the_reader() {
    #[cfg(unix)]
    // SAFETY: no other thread runs yet, and the default action is no handler that could be called.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
