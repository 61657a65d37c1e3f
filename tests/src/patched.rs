//! Builds packages from patched copies of this workspace: other versions of the plugin interface, and other profiles.
//!
//! The copies lie in cargo's folder for tests' files, share a target folder there and the workspace's lock file, and cost nothing
//! when nothing has changed. They are not optimized: nobody measures them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of a part of the workspace.
pub struct PatchedCopy {
    root: PathBuf,
    target: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl PatchedCopy {
    /// A copy named `name` with these packages of the workspace, each a folder. `temporary` is the test's `CARGO_TARGET_TMPDIR`.
    ///
    /// # Panics
    /// If the workspace cannot be read.
    pub fn new(temporary: &str, name: &str, members: &[&str]) -> Self {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace");
        let temporary = Path::new(temporary);
        let mut files = BTreeMap::new();
        for member in members {
            collect(workspace, Path::new(member), &mut files);
        }
        for file in ["Cargo.toml", "Cargo.lock"] {
            files.insert(file.into(), fs::read(workspace.join(file)).expect("the workspace is readable"));
        }
        let root = temporary.join("patched");
        let mut copy = Self { target: root.join("target"), root: root.join(name), files };
        let manifest = copy.text("Cargo.toml");
        let (head, rest) = manifest.split_once("members = [").expect("the manifest lists its members");
        let package = "[workspace.package]\n";
        let (_, tail) =
            rest.split_once(package).expect("what packages share comes after the lists of members");
        let members: String = members.iter().map(|member| format!("{member:?}, ")).collect();
        let (tail, _) = tail.split_once("[profile.dev]\n").expect("the manifest ends with its profiles");
        let profile = "[profile.dev]\ndebug = false\n";
        copy.files.insert(
            "Cargo.toml".into(),
            format!("{head}members = [{members}]\n{package}{tail}{profile}").into(),
        );
        copy
    }

    fn text(&self, file: &str) -> String {
        let bytes = self.files.get(Path::new(file)).unwrap_or_else(|| panic!("the copy has no {file}"));
        String::from_utf8(bytes.clone()).unwrap_or_else(|_| panic!("{file} is no text"))
    }

    /// Puts `to` in place of the one `from` in a file.
    ///
    /// # Panics
    /// If there is none, or several.
    #[must_use]
    pub fn replace(mut self, file: &str, from: &str, to: &str) -> Self {
        let text = self.text(file);
        assert_eq!(text.matches(from).count(), 1, "{file} does not have this once:\n{from}");
        self.files.insert(file.into(), text.replace(from, to).into());
        self
    }

    /// Puts `more` after the one `anchor` in a file.
    ///
    /// # Panics
    /// If there is none, or several.
    #[must_use]
    pub fn after(self, file: &str, anchor: &str, more: &str) -> Self {
        self.replace(file, anchor, &format!("{anchor}{more}"))
    }

    /// Drops what follows `mark` in a file.
    ///
    /// # Panics
    /// If there is no such mark.
    #[must_use]
    pub fn cut(mut self, file: &str, mark: &str) -> Self {
        let text = self.text(file);
        let (kept, _) = text.split_once(mark).unwrap_or_else(|| panic!("{file} has no {mark}"));
        self.files.insert(file.into(), kept.into());
        self
    }

    /// Builds a target of a package; its file.
    ///
    /// # Panics
    /// If it does not build.
    pub fn build(&self, package: &str, target: &str) -> PathBuf {
        self.write();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&self.root).args(["build", "--quiet", "--offline", "--package", package]);
        cargo.arg("--message-format=json-render-diagnostics").arg("--target-dir").arg(&self.target);
        let output = cargo.output().expect("cargo starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{package} does not build:\n{errors}");
        let messages = String::from_utf8_lossy(&output.stdout);
        let messages =
            messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let built = messages.filter(|message| message["target"]["name"] == target);
        let mut file =
            built.filter_map(|message| Some(message["filenames"].as_array()?.first()?.as_str()?.into()));
        file.next_back().unwrap_or_else(|| panic!("cargo built no {target}"))
    }

    /// Writes what differs from what is there.
    fn write(&self) {
        let mut there = BTreeMap::new();
        if self.root.is_dir() {
            collect(&self.root, Path::new(""), &mut there);
        }
        for path in there.keys().filter(|path| !self.files.contains_key(*path)) {
            fs::remove_file(self.root.join(path)).expect("the copy is writable");
        }
        for (path, bytes) in self.files.iter().filter(|(path, bytes)| there.get(*path) != Some(bytes)) {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the copy is writable");
            fs::write(path, bytes).expect("the copy is writable");
        }
    }
}

/// Reads all files below a folder of `root`.
fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let entries =
        fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("the folder is readable");
        let path = folder.join(entry.file_name());
        if entry.file_type().expect("the entry has a type").is_dir() {
            if entry.file_name() != "target" {
                collect(root, &path, files);
            }
        } else {
            files.insert(path.clone(), fs::read(root.join(&path)).expect("the file is readable"));
        }
    }
}
