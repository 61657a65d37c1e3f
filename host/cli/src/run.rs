//! `bitquilt run`

use std::path::PathBuf;

use bitquilt::checkpoint::npy;
use bitquilt::text::{Brief, List};
use bitquilt::{Graph, Tensor, file};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::output::{print, print_line};
use crate::session::SessionArguments;

/// Runs a saved graph on NumPy arrays.
#[derive(Args)]
pub struct RunArguments {
    /// A saved graph.
    file: PathBuf,
    /// An input and the NumPy array for it, such as `x=x.npy`; once for each input.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = port)]
    input: Vec<(String, PathBuf)>,
    /// An output and the file that is written, such as `y=y.npy`. It may be an input's file, and a pipe. Outputs that are not named are
    /// printed in brief.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = port)]
    output: Vec<(String, PathBuf)>,
    /// Shows where the time went, by op.
    #[arg(long)]
    profile: bool,
    /// Writes when each node ran, for `chrome://tracing` or Perfetto.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Runs it this many times, which makes a profile steadier. States go on from run to run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

fn port(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("write NAME=FILE.npy".to_owned()),
    }
}

impl RunArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        self.check_files()?;
        let session = session.build_for(&[&self.file])?;
        let graph = Graph::load(&self.file, session.registry()).into_diagnostic()?;
        let model = session.load(&graph).into_diagnostic()?;
        let read = |(name, file): &(String, PathBuf)| Ok((name.clone(), npy::read(file)?));
        let inputs = self.input.iter().map(read).collect::<Result<Vec<(String, Tensor)>, bitquilt::Error>>();
        let inputs = inputs.into_diagnostic()?;
        if let Some((name, _)) =
            self.output.iter().find(|(name, _)| model.outputs().all(|(known, _)| known != name))
        {
            let known: Vec<_> = model.outputs().map(|(known, _)| format!("`{known}`")).collect();
            return Err(miette!("the graph has no output `{}`; it has {}", Brief(name), List(&known)));
        }
        let mut state = model.new_state().into_diagnostic()?;
        state.set_profile(self.profile || self.trace.is_some());
        let inputs = || inputs.iter().map(|(name, tensor)| (name.as_str(), tensor));
        for _ in 1..self.repeat {
            state.run(inputs()).into_diagnostic()?;
        }
        let results = state.run(inputs()).and_then(|results| results.to_owned()).into_diagnostic()?;
        for (name, file) in &self.output {
            npy::write(results.tensor(name).into_diagnostic()?, file).into_diagnostic()?;
        }
        for (name, tensor) in
            results.iter().filter(|(name, _)| !self.output.iter().any(|(output, _)| output == name))
        {
            print_line(format_args!("{}: {}{}", Brief(name), tensor.tensor_type(), brief(tensor)))?;
        }
        if let Some(profile) = state.profile() {
            if self.profile {
                print(&profile)?;
            }
            if let Some(file) = &self.trace {
                profile.write_trace(file).into_diagnostic()?;
            }
        }
        Ok(())
    }

    /// Whether all that is written can be, and takes the place of nothing else that is read or written; before anything is run.
    fn check_files(&self) -> miette::Result<()> {
        let outputs = self.output.iter().map(|(name, file)| (format!("--output {}", Brief(name)), file));
        let trace = self.trace.iter().map(|file| ("--trace".to_owned(), file));
        let inputs = self.input.iter().map(|(name, file)| (format!("the input `{}`", Brief(name)), file));
        let written: Vec<(String, &PathBuf)> = outputs.chain(trace).collect();
        let graph = ("the graph".to_owned(), &self.file);
        for (index, (what, path)) in written.iter().enumerate() {
            file::check_writable(path).into_diagnostic()?;
            // An output may follow on its input: what is read is read by then. A trace is no array.
            let inputs = inputs.clone().filter(|_| what == "--trace");
            let others = written[..index].iter().cloned().chain([graph.clone()]).chain(inputs);
            if let Some((other, _)) = others.into_iter().find(|(_, other)| file::is_same(path, other)) {
                let path = path.display();
                return Err(miette!(
                    "{what}: {path} is the file of {other}, which would be lost; name another"
                ));
            }
        }
        Ok(())
    }
}

/// The first values of a tensor of floats.
fn brief(tensor: &Tensor) -> String {
    const MOST: usize = 8;
    match tensor.values::<f32>() {
        Ok(values) if values.len() > MOST => format!(" {:?}...", &values[..MOST]),
        Ok(values) => format!(" {values:?}"),
        Err(_) => String::new(),
    }
}
