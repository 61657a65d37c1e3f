//! `bitquilt chat`

use std::io::{self, BufRead, IsTerminal, Read, Write};

use bitquilt_models::arguments::{RunArguments, TalkArguments};
use bitquilt_models::conversation::{Conversation, Talker};
use bitquilt_models::runner::Runner;
use bitquilt_models::sampler::Sampler;
use bitquilt_models::tokenizer::{Tokenizer, unknown_pieces};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::model::{ModelArguments, warn};
use crate::output::print_line;
use crate::session::SessionArguments;

/// Talks with a language model: each line of standard input is answered, until it ends.
///
/// Answers are written as they come, and the model is told all that was said before, for as long as its context has room for it. A model without
/// a chat template, or with --raw, continues each line by itself. Special tokens that are written out in a line, such as <|im_end|>, become
/// themselves.
#[derive(Args)]
pub struct ChatArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    run: RunArguments,
    /// Answers this alone, and reads nothing.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    talk: TalkArguments,
}

/// The most bytes of a line.
const LONGEST_LINE: u64 = 1 << 20;

impl ChatArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = self.model.session(session)?;
        let mut model = self.model.open(&session)?;
        let at_model = |error: &dyn std::fmt::Display| miette!("{}: {error}", self.model.path().display());
        let vocabulary = model.take_vocabulary().map_err(|error| at_model(&error))?;
        let mut conversation = self.talk.conversation(&vocabulary).map_err(|error| at_model(&error))?;
        let tokenizer = Tokenizer::new(&vocabulary).map_err(|error| at_model(&error))?;
        let options = self.run.options(&model, 0, warn);
        let mut runner = Runner::load(&session, &model, &options, |_, _| {}).into_diagnostic()?;
        let mut sampler = Sampler::new(self.talk.sampling.sampling(), model.config.vocabulary);
        drop(model);
        let mut talker = Talker { runner: &mut runner, tokenizer: &tokenizer, sampler: &mut sampler };
        match &self.prompt {
            Some(prompt) => self.say(&mut conversation, &mut talker, prompt),
            None => self.talk(&mut conversation, &mut talker),
        }
    }

    /// Answers every line of standard input.
    fn talk(&self, conversation: &mut Conversation<'_>, talker: &mut Talker<'_>) -> miette::Result<()> {
        let input = io::stdin().lock();
        // What is typed stands after a sign; what is piped in needs none.
        let asks = input.is_terminal();
        let mut input = input;
        loop {
            if asks {
                write!(io::stderr(), "> ").into_diagnostic()?;
            }
            let Some(line) = read_line(&mut input)? else { return Ok(()) };
            if !line.trim().is_empty() {
                self.say(conversation, talker, &line)?;
            }
        }
    }

    /// Answers a text.
    fn say(
        &self,
        conversation: &mut Conversation<'_>,
        talker: &mut Talker<'_>,
        text: &str,
    ) -> miette::Result<()> {
        let most = self.talk.sampling.tokens();
        let answer = conversation.say(text, talker, io::stdout().lock(), most, |_| {}).into_diagnostic()?;
        print_line("")?;
        unknown_pieces(answer.unknown).into_iter().for_each(warn);
        if let Some(reason) = answer.cut(most, talker.runner.context()) {
            warn(reason);
        }
        Ok(())
    }
}

/// The next line, without its end; none at the end of the input.
fn read_line(input: &mut impl BufRead) -> miette::Result<Option<String>> {
    let mut line = Vec::new();
    let read = input.take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
    read.map_err(|error| miette!("standard input: {error}"))?;
    if line.len() as u64 > LONGEST_LINE {
        return Err(miette!("standard input: a line has more than {LONGEST_LINE} bytes; give a shorter one"));
    }
    if line.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8(line);
    let line = line.map_err(|_| miette!("standard input: a line is no text in UTF-8"))?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}
