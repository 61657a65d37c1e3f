//! `quantize`

use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::load::{ModelArguments, RecipeArguments, apply};

/// What `quantize` takes.
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
    check_target(&arguments.save, &arguments.model.model)?;
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

/// Whether a file can be written at `path` that is not the model; better now than when all is quantized.
fn check_target(path: &Path, model: &Path) -> Done {
    let wrong = |problem: String| Err(format!("--save {}: {problem}", path.display()).into());
    if path.is_dir() {
        return wrong("it is a directory; name a file".to_owned());
    }
    if let (Ok(target), Ok(source)) = (path.canonicalize(), model.canonicalize())
        && target == source
    {
        return wrong("it is the model itself, which would be lost; name another file".to_owned());
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match tempfile::tempfile_in(directory) {
        Ok(_) => Ok(()),
        Err(error) => wrong(format!("nothing can be written to {}: {error}", directory.display())),
    }
}
