//! `logits`

use std::path::PathBuf;

use bitquilt::checkpoint::npy;
use bitquilt::{DType, Tensor, file};
use bitquilt_models::arguments::{RecipeArguments, RunArguments};
use bitquilt_models::runner::FeedError;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, apply, check_not_read, load, warn};

/// The arguments of `logits`.
#[derive(Args)]
pub struct LogitsArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    /// The tokens: a NumPy array of integers, [tokens].
    #[arg(long, value_name = "T.npy")]
    tokens: PathBuf,
    /// The file that is written: f32 [tokens, vocabulary].
    #[arg(long, value_name = "L.npy")]
    output: PathBuf,
}

/// Writes the logits after each of the tokens.
pub fn logits(arguments: &LogitsArguments) -> Done {
    let tokens = tokens(&npy::read(&arguments.tokens)?)
        .map_err(|problem| format!("{}: {problem}", arguments.tokens.display()))?;
    file::check_writable(&arguments.output)?;
    let tokens_file = arguments.tokens.as_path();
    let sources = arguments.model.files().chain(arguments.recipe.file()).chain([tokens_file]);
    check_not_read(&arguments.output, sources)?;
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    if let Some(recipe) = arguments.recipe.recipe()? {
        eprintln!("{}", apply(&recipe, &mut model, &session)?);
    }
    let options = arguments.run.options(&model, tokens.len(), warn);
    let mut runner = load(&model, &session, &options)?;
    let vocabulary = model.config.vocabulary;
    drop(model);
    let mut logits = Vec::new();
    let room = tokens.len().checked_mul(vocabulary).and_then(|len| logits.try_reserve_exact(len).ok());
    room.ok_or_else(|| {
        let (path, tokens) = (arguments.tokens.display(), tokens.len());
        format!("{path}: logits of {tokens} tokens, {vocabulary} each, are more than this machine's memory holds; give fewer")
    })?;
    let fed = runner.feed_all(&tokens, |rows| {
        logits.extend_from_slice(rows);
        Ok::<(), FeedError>(())
    });
    fed.map_err(|error| format!("{}: {error}", arguments.tokens.display()))?;
    npy::write(&Tensor::new([tokens.len(), vocabulary], logits)?, &arguments.output)?;
    Ok(())
}

/// The values of an array of integers, of which every token is an i32.
fn tokens(array: &Tensor) -> Result<Vec<i32>, String> {
    if array.shape().len() != 1 {
        return Err(format!("tokens are a list of integers, [tokens]; it is {}", array.tensor_type()));
    }
    fn narrowed<T: bitquilt::Scalar + TryInto<i32>>(array: &Tensor) -> Result<Vec<i32>, String> {
        let values = array.values::<T>().map_err(|error| error.to_string())?;
        let narrow = |(index, value): (usize, &T)| {
            (*value).try_into().map_err(|_| format!("token {index} is larger than any vocabulary"))
        };
        values.iter().enumerate().map(narrow).collect()
    }
    match array.dtype() {
        Some(DType::I32) => narrowed::<i32>(array),
        Some(DType::I64) => narrowed::<i64>(array),
        Some(DType::U32) => narrowed::<u32>(array),
        Some(DType::U64) => narrowed::<u64>(array),
        Some(DType::U16) => narrowed::<u16>(array),
        Some(DType::I16) => narrowed::<i16>(array),
        _ => Err(format!("tokens are integers; it is {}", array.tensor_type())),
    }
}
