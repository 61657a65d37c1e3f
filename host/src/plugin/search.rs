//! Where plugins are looked for.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use crate::file::is_elevated;
use crate::text::Passage;

/// The environment variable that lists directories of plugins, separated as in `PATH`.
pub const PATH_VARIABLE: &str = "BITQUILT_PLUGIN_PATH";

/// The directories that plugins are looked for in, in order. The current directory is never one by itself.
///
/// First those that the program names, then those of [`PATH_VARIABLE`], then `bitquilt/plugins` in the user's data directory:
/// `$XDG_DATA_HOME` or `~/.local/share`, on macOS `~/Library/Application Support`, on Windows `%APPDATA%`. A process that runs
/// with more rights than its user (setuid, for instance) heeds the first alone, since the user chooses the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// The directories.
    pub directories: Vec<SearchDirectory>,
    /// What was passed over, a sentence each.
    pub notes: Vec<String>,
}

/// A directory that plugins are looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Who named it.
    pub origin: DirectoryOrigin,
}

/// Who named a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryOrigin {
    /// The program. It has to exist.
    Program,
    /// The environment variable.
    Environment,
    /// The user's data directory.
    User,
}

impl Display for DirectoryOrigin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "named by the program",
            Self::Environment => PATH_VARIABLE,
            Self::User => "user data directory",
        })
    }
}

/// What a process is told by whoever started it.
struct Environment<'a> {
    /// Whether the process has more rights than its user.
    elevated: bool,
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl SearchPath {
    /// The directories that the program names, and no others.
    pub fn program(directories: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let origin = DirectoryOrigin::Program;
        let directories = directories.into_iter();
        let directories = directories.map(|path| SearchDirectory { path: path.into(), origin }).collect();
        Self { directories, notes: Vec::new() }
    }

    /// The directories that the program names, and those of the environment.
    pub fn with_environment(directories: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let environment = Environment { elevated: is_elevated(), variable: &variable };
        let mut path = Self::program(directories);
        path.add(&environment);
        path
    }

    fn add(&mut self, environment: &Environment<'_>) {
        let listed = (environment.variable)(PATH_VARIABLE).filter(|list| !list.is_empty());
        if environment.elevated {
            let what = listed.map_or("the user's data directory is".to_owned(), |_| {
                format!("{PATH_VARIABLE} and the user's data directory are")
            });
            self.notes.push(format!("{what} ignored: this process has more rights than its user"));
            return;
        }
        for path in listed.iter().flat_map(std::env::split_paths) {
            if path.as_os_str().is_empty() {
                self.notes.push(format!("{PATH_VARIABLE} has an empty entry; it is ignored"));
            } else if path.is_relative() {
                let path = path.display().to_string();
                let path = Passage(&path);
                self.notes.push(format!(
                    "{PATH_VARIABLE} has the relative entry `{path}`; it is ignored: write the whole path"
                ));
            } else {
                self.push(path, DirectoryOrigin::Environment);
            }
        }
        if let Some(data) = data_directory(environment) {
            self.push(data.join("bitquilt").join("plugins"), DirectoryOrigin::User);
        }
    }

    fn push(&mut self, path: PathBuf, origin: DirectoryOrigin) {
        if !self.directories.iter().any(|known| known.path == path) {
            self.directories.push(SearchDirectory { path, origin });
        }
    }
}

fn data_directory(environment: &Environment<'_>) -> Option<PathBuf> {
    let absolute =
        |name: &str| (environment.variable)(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        absolute("APPDATA")
    } else if cfg!(target_vendor = "apple") {
        absolute("HOME").map(|home| home.join("Library").join("Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")))
    }
}

/// How the name of a file ends that declares an encoding.
pub const DECLARATION_SUFFIX: &str = ".encoding.toml";

/// Whether a file declares an encoding.
pub(super) fn is_declaration(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(DECLARATION_SUFFIX))
}

/// The libraries in a directory and the declarations of encodings, sorted by name.
pub(super) fn plugins(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_library =
            path.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION);
        if is_library || is_declaration(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(all(test, unix, not(target_vendor = "apple")))]
mod tests {
    use super::*;

    #[test]
    fn directories_come_in_order_and_only_whole_paths_count() {
        use DirectoryOrigin::{Environment as Env, Program, User};
        struct Case {
            elevated: bool,
            variables: &'static [(&'static str, &'static str)],
            directories: &'static [(&'static str, DirectoryOrigin)],
            notes: &'static [&'static str],
        }
        let cases = [
            Case { elevated: false, variables: &[], directories: &[("mine", Program)], notes: &[] },
            Case {
                elevated: false,
                variables: &[(PATH_VARIABLE, "/a::b:./c:/d:/a"), ("HOME", "/home/u")],
                directories: &[
                    ("mine", Program),
                    ("/a", Env),
                    ("/d", Env),
                    ("/home/u/.local/share/bitquilt/plugins", User),
                ],
                notes: &["empty entry", "relative entry `b`", "relative entry `./c`"],
            },
            Case {
                elevated: false,
                variables: &[(PATH_VARIABLE, ""), ("HOME", "/home/u"), ("XDG_DATA_HOME", "/data")],
                directories: &[("mine", Program), ("/data/bitquilt/plugins", User)],
                notes: &[],
            },
            Case {
                elevated: false,
                variables: &[("HOME", "home"), ("XDG_DATA_HOME", "data")],
                directories: &[("mine", Program)],
                notes: &[],
            },
            Case {
                elevated: true,
                variables: &[(PATH_VARIABLE, "/a"), ("HOME", "/home/u")],
                directories: &[("mine", Program)],
                notes: &["more rights than its user"],
            },
        ];
        for case in cases {
            let variable = |name: &str| {
                case.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            let mut path = SearchPath::program(["mine"]);
            path.add(&Environment { elevated: case.elevated, variable: &variable });
            let found = path.directories.iter().map(|it| (it.path.to_str().unwrap(), it.origin));
            assert_eq!(found.collect::<Vec<_>>(), case.directories);
            assert_eq!(path.notes.len(), case.notes.len(), "{:?}", path.notes);
            for (note, part) in path.notes.iter().zip(case.notes) {
                assert!(note.contains(part), "{note}");
            }
        }
    }
}
