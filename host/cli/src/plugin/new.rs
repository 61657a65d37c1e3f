//! `bitquilt plugin new`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitquilt::file;
use bitquilt::plugin_api::host::API_VERSION;
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::output::print_line;

/// The files of a new crate; what stands in double braces is filled in.
static FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n"),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("src/encoding.rs", include_str!("template/encoding.rs.in")),
    ("src/row_norms.rs", include_str!("template/row_norms.rs.in")),
];
/// The file of --kernel.
static KERNEL_FILE: (&str, &str) = ("src/kernel.rs", include_str!("template/kernel.rs.in"));
/// A plugin's name leaves room for what the names of its ops add to it.
const MAX_NAME: usize = 48;
/// Names that no crate can have: Rust's words, and crates that come with it.
const TAKEN: [&str; 58] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Writes a crate of a plugin to begin with: an encoding, an op, a test and a README.
///
/// It builds as it stands, and `bitquilt plugin check` finds nothing wrong with it.
#[derive(Args)]
pub struct NewArguments {
    /// The directory to make; it may exist if it is empty.
    dir: PathBuf,
    /// The plugin's and the crate's name, such as acme-int3: what stands before the first - is the namespace of its encodings and
    /// ops. The directory's name, if it is not given.
    #[arg(long)]
    name: Option<String>,
    /// The directory of the crate bitquilt-plugin-api that the plugin depends on: the folder plugin-api of a checkout of bitquilt. By
    /// default the one that this command was built with.
    #[arg(long, value_name = "PATH")]
    plugin_api: Option<PathBuf>,
    /// Adds kernels that make `qmatmul` with the encoding quick: how a block unpacks, over the kernel kit of the same checkout.
    #[arg(long)]
    kernel: bool,
}

impl NewArguments {
    /// Does it.
    pub fn execute(&self) -> miette::Result<()> {
        let name = self.plugin_name()?;
        let plugin_api = self.plugin_api()?;
        let dependency = format!("version = \"{API_VERSION}\", path = {}", quoted(&plugin_api)?);
        let kit = format!("path = {}", quoted(&plugin_api.join("kit"))?);
        let kernels = plugin_api.join("../plugins/kernels");
        let kernels = fs::canonicalize(&kernels).map_err(|error| {
            miette!("the kernel kit, {}: {error}; name a whole checkout with --plugin-api", kernels.display())
        });
        let only_with_kernel = |text: String| if self.kernel { text } else { String::new() };
        let kernels = match self.kernel {
            true => format!("bitquilt-kernels = {{ path = {} }}\n", quoted(&kernels?)?),
            false => String::new(),
        };
        let encoding = name.replacen('-', ".", 1).replace('-', "_");
        let library = name.replace('-', "_");
        let providers = format!("        .kernels(bitquilt_kernels::qmatmul::<Int4>(\"{encoding}\"))\n");
        let fill = |text: &str| {
            text.replace("{{name}}", &name)
                .replace("{{encoding}}", &encoding)
                .replace("{{library}}", &library)
                .replace("{{dependency}}", &dependency)
                .replace("{{kit}}", &kit)
                .replace("{{kernels}}", &kernels)
                .replace("{{kernel_module}}", &only_with_kernel("mod kernel;\n".to_owned()))
                .replace("{{kernel_providers}}", &only_with_kernel(providers.clone()))
                .replace(
                    "{{kernel_row}}",
                    &only_with_kernel(
                        "| `src/kernel.rs` | how a block unpacks, for fast products |\n".to_owned(),
                    ),
                )
        };
        check_empty(&self.dir)?;
        let files = FILES.iter().chain(self.kernel.then_some(&KERNEL_FILE));
        write_crate(&self.dir, files, &fill)
            .map_err(|error| miette!("the crate cannot be written to {}: {error}", self.dir.display()))?;
        let (directory, library) = (self.dir.display(), library_file(&library));
        print_line(format_args!("wrote the plugin {name} to {directory}; next:"))?;
        print_line(format_args!("  cd {directory}"))?;
        print_line("  cargo test")?;
        print_line("  cargo build --release")?;
        print_line(format_args!("  bitquilt plugin check target/release/{library}"))
    }

    fn plugin_name(&self) -> miette::Result<String> {
        let of_directory = || Some(self.dir.file_name()?.to_string_lossy().into_owned());
        let name = self.name.clone().or_else(of_directory);
        let name = name.ok_or_else(|| miette!("{} has no name; give one with --name", self.dir.display()))?;
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() > MAX_NAME {
            "is too long"
        } else if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            "does not begin with a letter of a-z"
        } else if !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        {
            "has other characters"
        } else if name.ends_with(['-', '_']) || name.contains("--") {
            "has a - or _ with nothing after it"
        } else if TAKEN.contains(&name.as_str()) {
            "is a word of Rust's"
        } else if name.starts_with("bitquilt") {
            "is bitquilt's own"
        } else {
            return Ok(name);
        };
        Err(miette!(
            "the name {name:?} {problem}; a plugin's has 1 to {MAX_NAME} of a-z 0-9 - _, such as acme-int3: give one with --name"
        ))
    }

    /// The folder of the crate that the plugin depends on.
    fn plugin_api(&self) -> miette::Result<PathBuf> {
        match &self.plugin_api {
            Some(path) => plugin_api(path).map_err(|problem| miette!("--plugin-api {}: {problem}", path.display())),
            None => plugin_api(Path::new(BUILT_WITH)).map_err(|problem| {
                miette!(
                    "this command was built with the crate bitquilt-plugin-api in {BUILT_WITH}, and a plugin cannot depend on that: \
                     {problem}; name the folder plugin-api of a checkout of bitquilt with --plugin-api"
                )
            }),
        }
    }
}

/// A path as the manifest says it.
fn quoted(path: &Path) -> miette::Result<String> {
    let path = path.to_str().ok_or_else(|| miette!("{} is no UTF-8", path.display()))?;
    // A JSON string is a TOML string.
    serde_json::to_string(path).into_diagnostic()
}

/// The crate of plugin-api that this command was built with.
const BUILT_WITH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-api");

/// The most bytes of a manifest.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// The absolute path of a directory with the crate bitquilt-plugin-api, or what is wrong with it.
fn plugin_api(directory: &Path) -> Result<PathBuf, String> {
    let manifest = directory.join("Cargo.toml");
    let text = file::read_text(&manifest, MANIFEST_LIMIT).map_err(|error| error.to_string())?;
    if !text.lines().any(|line| line.trim() == "name = \"bitquilt-plugin-api\"") {
        return Err("the crate there is not bitquilt-plugin-api".to_owned());
    }
    fs::canonicalize(directory).map_err(|error| error.to_string())
}

/// The name of a library of this system.
fn library_file(library: &str) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{library}{DLL_SUFFIX}")
}

/// Nothing that is there is written over.
fn check_empty(directory: &Path) -> miette::Result<()> {
    let shown = directory.display();
    match fs::read_dir(directory).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => {
            Err(miette!("{shown} is not empty; name a directory that is, or one that does not exist yet"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(miette!("{shown}: {error}; name a directory that is empty or does not exist yet")),
    }
}

/// Writes the crate into a folder of the directory, and moves it out when it is whole.
fn write_crate(
    directory: &Path,
    files: impl Iterator<Item = &'static (&'static str, &'static str)>,
    fill: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    let is_new = !directory.exists();
    let partial = directory.join(".partial");
    let written = write_files(&partial, files, fill).and_then(|()| {
        for entry in fs::read_dir(&partial)? {
            let entry = entry?;
            fs::rename(entry.path(), directory.join(entry.file_name()))?;
        }
        fs::remove_dir(&partial)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(&partial);
        if is_new {
            let _ = fs::remove_dir(directory);
        }
    }
    written
}

fn write_files(
    directory: &Path,
    files: impl Iterator<Item = &'static (&'static str, &'static str)>,
    fill: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    for (path, text) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, fill(text))?;
    }
    Ok(())
}
