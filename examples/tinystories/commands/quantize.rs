//! `quantize`

use std::path::PathBuf;

use bitquilt::checkpoint;
use bitquilt_models::arguments::RecipeArguments;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, apply, check_not_read};

/// The arguments of `quantize`.
#[derive(Args)]
pub struct QuantizeArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// The file that is written: a bitquilt checkpoint, which --model takes.
    #[arg(long, value_name = "FILE.safetensors")]
    save: PathBuf,
}

/// Quantizes a model and saves it with its tokenizer.
pub fn quantize(arguments: &QuantizeArguments) -> Done {
    check_target(arguments)?;
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    let recipe = arguments.recipe.recipe()?.ok_or("give --encoding or --recipe")?;
    println!("{}", apply(&recipe, &mut model, &session)?);
    model.save(&arguments.save)?;
    println!(
        "{}: {:.2} MB",
        arguments.save.display(),
        std::fs::metadata(&arguments.save)?.len() as f64 / 1e6
    );
    Ok(())
}

/// Checks that the file can be written, and is none that is read; better now than when all is quantized.
fn check_target(arguments: &QuantizeArguments) -> Done {
    let path = &arguments.save;
    checkpoint::check_target(path).map_err(|error| format!("--save: {error}"))?;
    check_not_read(path, arguments.model.files().chain(arguments.recipe.file()))
}
