//! `bitquilt import`

use std::path::PathBuf;

use bitquilt::text::Columns;
use bitquilt_import::{EncodingSize, Import};
use clap::Args;
use miette::IntoDiagnostic;

use crate::rewrite;
use crate::session::SessionArguments;

/// Makes a checkpoint of one that another program has quantized.
///
/// Read are safetensors files of GPTQ, AWQ (gemm), HQQ (axis 1), bitsandbytes (NF4 and FP4), MLX, and compressed-tensors (packed integers, int8
/// and FP8). IN is the directory of a model, with its `config.json`, or one of its files. The tensors of each quantized layer become one weight of the layer's name and
/// `.weight`, of the shape [out, in], in an encoding that OUT declares, so that OUT opens everywhere; all other tensors, and metadata, are
/// carried over bit for bit.
///
/// A weight decodes to exactly the values that the other program's formula gives in f32, with scales and zeros as they are stored. What
/// cannot be held exactly is refused, and so is a weight with values that are NaN or infinite; OUT is as it was then. Where GPTQ has
/// ordered columns by importance (desc_act) they are sorted by group, and NAME.perm, i64 [in], is the column of IN for each: to multiply,
/// gather the activation by it first.
#[derive(Args)]
pub struct ImportArguments {
    /// The directory of a model, or a safetensors file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

impl ImportArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        // The threads that were asked for.
        session.build()?;
        let import = Import::open(&self.input).into_diagnostic()?;
        let progress = rewrite::progress();
        rewrite::begin(&progress, "importing", import.bytes());
        import.write(&self.output, |bytes| progress.inc(bytes)).into_diagnostic()?;
        progress.finish_and_clear();
        rewrite::report(&self.output, format_args!("{}", self.summary(&import)))
    }

    /// What was done: a line, and a table of the encodings.
    fn summary(&self, import: &Import) -> String {
        const HEADINGS: [&str; 4] = ["encoding", "weights", "MB", "bits a value"];
        let sizes = import.encodings();
        let weights: usize = sizes.iter().map(|size| size.weights).sum();
        let rows: Vec<[String; 4]> = sizes.iter().map(row).collect();
        let columns = Columns::new(1, HEADINGS, &rows);
        let mut lines = vec![format!(
            "{}: {} of {}, and {}",
            self.output.display(),
            counted(weights, "weight", "weights"),
            import.method(),
            counted(import.carried(), "tensor as it was", "tensors as they were")
        )];
        lines.push(columns.line(&HEADINGS));
        lines.extend(rows.iter().map(|row| columns.line(row)));
        match import.reordered().count() {
            0 => {}
            count => {
                let what = counted(count, "weight has its columns", "weights have their columns");
                lines.push(format!("{what} in another order: NAME.perm says which"));
            }
        }
        lines.join("\n")
    }
}

fn row(size: &EncodingSize) -> [String; 4] {
    let bits = size.bytes as f64 * 8.0 / size.values.max(1) as f64;
    [
        size.name.clone(),
        size.weights.to_string(),
        format!("{:.2}", size.bytes as f64 / 1e6),
        format!("{bits:.2}"),
    ]
}

/// So many of something.
fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
