//! From files to a registry.
//!
//! A file is read, probed in a child process where that is asked for, opened, checked, and registers into a staged set, which is
//! committed whole or not at all. Whatever fails is a [`Refusal`]; the registry is then what it was, and the next file is
//! taken. It is opened in the directory that was checked, whatever that directory's path leads to by then. A file that its owner
//! replaces in it between the check and the load is refused; in the moment between the last look at it and its opening its
//! constructors may have run, but nothing of it is registered. A library that was opened stays open until the process ends: layouts
//! that were checked may be referred to for ever.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bitquilt_c_bridge::C_ENTRY_SYMBOL;
use bitquilt_declared::{Declaration, DeclarationError};
use bitquilt_plugin_api::host::{
    self, ENTRY_SYMBOL, LibraryError, PluginLibrary, RegistrarHost, in_default_control,
};

use super::preflight::{self, Entry, FileIdentity, FileReport, HeldFile, PreflightError};
use super::probe::{PluginProbe, ProbeError};
use super::search::{self, DirectoryOrigin, SearchPath};
use crate::file::{self, FileError};
use crate::registry::{Origin, PluginInfo, Registry, RegistryError, Staged};
use crate::text::Passage;

/// A file that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file, or a directory that cannot be listed.
    pub path: PathBuf,
    /// Why.
    pub reason: PluginError,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (path, reason) = (self.path.display().to_string(), self.reason.to_string());
        write!(f, "{}: {}", Passage(&path), Passage(&reason))
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// Why a file's plugin is not in the registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// It is not opened.
    #[error(transparent)]
    File(#[from] PreflightError),
    /// A child process that loaded it did not come to an end, or to a good one.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The system's linker does not take it.
    #[error("the system cannot load it: {reason}")]
    Open {
        /// What the linker says.
        reason: String,
    },
    /// The same file was loaded by another name.
    #[error("it is the same file as {}; remove one of the two", .first.display())]
    SameFile {
        /// The other name.
        first: PathBuf,
    },
    /// It was replaced between the check and the load.
    #[error("it was changed while it was loaded; nothing of it is registered: load it again")]
    Changed,
    /// It was replaced after this process loaded it, and stays loaded as it was.
    #[error("it was changed since this process loaded it, and libraries stay loaded; restart the program")]
    ChangedSince,
    /// It is no plugin for this host.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// It cannot be registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A declaration cannot be read.
    #[error("{0}")]
    Read(String),
    /// A declaration is wrong.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// A directory cannot be listed.
    #[error("the directory cannot be listed: {reason}")]
    Directory {
        /// What the system says.
        reason: String,
    },
}

/// Loads plugins into a registry.
pub struct Loader<'a> {
    registry: &'a mut Registry,
    probe: Option<PluginProbe>,
    loaded: Vec<(FileReport, Arc<PluginInfo>)>,
    refusals: Vec<Refusal>,
}

impl<'a> Loader<'a> {
    /// A loader that probes nothing.
    pub fn new(registry: &'a mut Registry) -> Self {
        Self { registry, probe: None, loaded: Vec::new(), refusals: Vec::new() }
    }

    /// Loads each file in a child process first.
    #[must_use]
    pub fn probe(mut self, probe: PluginProbe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Loads the plugins in each directory of a search path, once where it has several names. Files are taken in the order of their
    /// names; what is refused is in [`Self::refusals`].
    pub fn search(&mut self, path: &SearchPath) {
        let mut searched = BTreeSet::new();
        for directory in &path.directories {
            if std::fs::canonicalize(&directory.path).is_ok_and(|resolved| !searched.insert(resolved)) {
                continue;
            }
            if directory.origin == DirectoryOrigin::Program || directory.path.is_dir() {
                self.directory(&directory.path);
            }
        }
    }

    /// Loads the plugins in a directory: the files with the system's extension for libraries, and declarations of encodings,
    /// `NAME.encoding.toml`, in the order of their names. What is refused is in [`Self::refusals`].
    pub fn directory(&mut self, directory: &Path) {
        match search::plugins(directory) {
            Ok(files) => {
                for file in files {
                    let _ = self.file(&file);
                }
            }
            Err(error) => {
                let reason = PluginError::Directory { reason: error.to_string() };
                self.refusals.push(Refusal { path: directory.to_owned(), reason });
            }
        }
    }

    /// Loads the plugin in a file. A refusal is answered, and is in [`Self::refusals`].
    pub fn file(&mut self, path: &Path) -> Result<Arc<PluginInfo>, Refusal> {
        self.load(path).map_err(|reason| {
            let refusal = Refusal { path: path.to_owned(), reason };
            self.refusals.push(refusal.clone());
            refusal
        })
    }

    /// Every file that was refused so far.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Every file that was loaded so far, and its plugin.
    pub fn loaded(&self) -> impl Iterator<Item = (&FileReport, &PluginInfo)> {
        self.loaded.iter().map(|(report, plugin)| (report, &**plugin))
    }

    /// Every file that was refused.
    pub fn into_refusals(self) -> Vec<Refusal> {
        self.refusals
    }

    fn load(&mut self, path: &Path) -> Result<Arc<PluginInfo>, PluginError> {
        if search::is_declaration(path) {
            return self.declaration(path);
        }
        let report = preflight::preflight(path)?;
        if let Some((first, _)) = self.loaded.iter().find(|(known, _)| is_same_file(known, &report)) {
            return Err(PluginError::SameFile { first: first.path.clone() });
        }
        if let Some(probe) = &self.probe {
            probe.check(&report)?;
        }
        let library = open(&report)?;
        let staged = Staged::default();
        library.register(&staged).map_err(RegistryError::Failed)?;
        let plugin = self.registry.commit(staged, Origin::File(path.to_owned()))?;
        self.loaded.push((report, Arc::clone(&plugin)));
        Ok(plugin)
    }
}

impl Loader<'_> {
    /// Registers the encoding that a file declares.
    fn declaration(&mut self, path: &Path) -> Result<Arc<PluginInfo>, PluginError> {
        let text = file::read_text(path, Declaration::MAX_TEXT as u64)
            .map_err(|error: FileError| PluginError::Read(error.to_string()))?;
        let declaration = Declaration::parse(&text)?;
        Ok(self.registry.declare(declaration, Origin::File(path.to_owned()))?)
    }
}

fn is_same_file(a: &FileReport, b: &FileReport) -> bool {
    a.resolved == b.resolved || (a.identity.inode.is_some() && a.identity.inode == b.identity.inode)
}

/// A library of this process. Its file stays open: the linker knows it by a path through its directory's descriptor.
struct Opened {
    path: PathBuf,
    identity: FileIdentity,
    held: HeldFile,
    library: Result<Library, LibraryError>,
}

/// A library that is open, and can register.
#[derive(Clone)]
pub(super) enum Library {
    Rust(Arc<PluginLibrary>),
    C(CLibrary),
}

/// The address of [`C_ENTRY_SYMBOL`] in a library that stays open.
#[derive(Clone, Copy)]
pub(super) struct CLibrary(*const c_void);

// SAFETY: what stands there is not written, and is read by whoever registers it alone.
unsafe impl Send for CLibrary {}
// SAFETY: as above.
unsafe impl Sync for CLibrary {}

impl Library {
    /// Registers all that the library's plugin has.
    pub(super) fn register(&self, registrar: &dyn RegistrarHost) -> bitquilt_plugin_api::Result<()> {
        match self {
            Self::Rust(library) => library.register(registrar),
            // SAFETY: it is the address of the entry symbol, and the preflight has found data and a head there.
            Self::C(library) => host::register(unsafe { bitquilt_c_bridge::plugin(library.0)? }, registrar),
        }
    }
}

/// The linker answers the library it has for a path or inode that it knows, whatever the file holds by now.
static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// Opens a library that passed the preflight; it stays open until the process ends.
pub(super) fn open(report: &FileReport) -> Result<Library, PluginError> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = opened.iter().find(|known| {
        known.path == report.resolved
            || (known.identity.inode.is_some() && known.identity.inode == report.identity.inode)
    });
    match known {
        Some(known) if is_unchanged(known, report) => return Ok(known.library.clone()?),
        Some(_) => return Err(PluginError::ChangedSince),
        None => {}
    }
    // What has replaced it by now does not even run.
    if !preflight::same_file(report) {
        return Err(PluginError::Changed);
    }
    let is_c = report.entry == Some(Entry::C);
    let symbol = open_symbol(&report.held, if is_c { C_ENTRY_SYMBOL } else { ENTRY_SYMBOL })?;
    if !preflight::same_file(report) {
        return Err(PluginError::Changed);
    }
    let library = if is_c {
        Ok(Library::C(CLibrary(symbol)))
    } else {
        // SAFETY: the symbol is the entry symbol of a library that was just opened and is never closed.
        unsafe { PluginLibrary::from_symbol(symbol) }.map(|library| Library::Rust(Arc::new(library)))
    };
    let (path, identity) = (report.resolved.clone(), report.identity.clone());
    opened.push(Opened { path, identity, held: report.held.clone(), library: library.clone() });
    Ok(library?)
}

/// Whether a file is the one that was opened, not written to since, or another of the same bytes.
fn is_unchanged(known: &Opened, report: &FileReport) -> bool {
    let (then, now) = (&known.identity, &report.identity);
    let same_inode = then.inode.is_some() && then.inode == now.inode;
    then.size == now.size
        && if same_inode { then.modified == now.modified } else { known.held.has_bytes_of(&report.held) }
}

/// Opens a library for ever, all its symbols bound, and visible to nobody else.
fn open_symbol(held: &HeldFile, symbol: &str) -> Result<*const c_void, PluginError> {
    #[cfg(unix)]
    use libloading::os::unix as system;
    #[cfg(windows)]
    use libloading::os::windows as system;

    let failed =
        |error: libloading::Error| PluginError::Open { reason: held.restored(&linker_message(&error)) };
    let path = held.path();
    #[cfg(unix)]
    // SAFETY: the library's constructors are trusted code; that is what loading a plugin means.
    let open = || unsafe { system::Library::open(Some(&path), system::RTLD_NOW | system::RTLD_LOCAL) };
    #[cfg(windows)]
    // SAFETY: as above. Its dependencies come from its own directory and the system's, never the current one.
    let open = || unsafe {
        let flags = system::LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | system::LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
        system::Library::load_with_flags(&path, flags)
    };
    let library = in_default_control("a constructor of the library, or of one that it needs,", open);
    let library = library.map_err(failed)?;
    // SAFETY: nothing is read through the symbol here; its address alone is taken.
    let address = unsafe { library.get::<*const c_void>(symbol.as_bytes()) };
    let address = address.map(|symbol| symbol.as_raw_ptr().cast_const()).map_err(failed);
    std::mem::forget(library);
    // No other file may come to have the path that the linker remembers.
    std::mem::forget(held.clone());
    address
}

/// What the linker said, on one line.
fn linker_message(error: &libloading::Error) -> String {
    let text = error.to_string();
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let text = if source.is_empty() || text.contains(&source) { text } else { format!("{text}: {source}") };
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").chars().take(500).collect()
}
