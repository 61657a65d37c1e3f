//! Models that are split into several files.
//!
//! Which files make a model is said by their names (`NAME-00001-of-00003.gguf`), as llama.cpp and Hugging Face have them, by the index
//! beside safetensors shards (`model.safetensors.index.json`: `weight_map` has the file of each tensor), and by the metadata of GGUF
//! shards (`split.no`, `split.count`, `split.tensors.count`), which is compared with the names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::container::Contents;
use super::error::Fault;
use super::formats;
use super::mapped::MappedFile;
use super::unique::UniqueMap;
use super::{CheckpointError, Metadata};
use crate::file::FileError;
use crate::text::Brief;

/// The name of the index that lies beside shards.
const INDEX: &str = "model.safetensors.index.json";

/// What a GGUF file says of being a shard.
pub(super) const SPLIT_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// Opens a file, and all that belong with it.
pub(super) fn open(path: &Path) -> Result<(Vec<MappedFile>, Contents), CheckpointError> {
    let file = MappedFile::open(path)?;
    if is_index(&file.map) {
        return Index::read(&file)?.open(path);
    }
    if let Some(name) = ShardName::of(path) {
        return name.open(path);
    }
    if let Some(index) = Index::beside(path) {
        return index.open(path);
    }
    let mut contents = formats::read(&file)?;
    Split::of(&contents.metadata).and_then(Split::check_whole).map_err(|problem| at(path, problem))?;
    forget_split(&mut contents.metadata);
    Ok((vec![file], contents))
}

fn at(path: &Path, problem: String) -> CheckpointError {
    Fault::File(problem).at(path)
}

/// The last part of a path, for messages.
fn short(path: &Path) -> String {
    Brief(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()).to_string()
}

/// Opens the files of a set, and puts together what they have. `opened` is the file that the set is known by.
fn open_all(
    opened: &Path,
    paths: Vec<PathBuf>,
    check: impl Fn(usize, &Contents) -> Result<(), String>,
) -> Result<(Vec<MappedFile>, Contents), CheckpointError> {
    let of = paths.len();
    let mut files = Vec::new();
    let mut whole: Option<Contents> = None;
    for (index, path) in paths.into_iter().enumerate() {
        let file = MappedFile::open(&path).map_err(|error| match error {
            CheckpointError::File(FileError::Io { error, .. })
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                CheckpointError::MissingShard { path: opened.to_owned(), missing: path.clone(), of }
            }
            error => error,
        })?;
        let part = formats::read(&file)?;
        check(index, &part).map_err(|problem| at(&path, problem))?;
        whole = Some(match whole {
            None => part,
            Some(whole) => join(whole, part, index, &files, &path)?,
        });
        files.push(file);
    }
    let Some(mut whole) = whole else { return Err(at(opened, "it names no files".to_owned())) };
    let announced = Split::of(&whole.metadata).map_err(|problem| at(opened, problem))?.tensors;
    if let Some(expected) = announced.filter(|count| *count != whole.tensors.len()) {
        let found = whole.tensors.len();
        let problem = format!("its {of} shards have {found} tensors, and `{}` is {expected}", SPLIT_KEYS[2]);
        return Err(at(opened, problem));
    }
    forget_split(&mut whole.metadata);
    Ok((files, whole))
}

/// A checkpoint with one more shard, whose place among the files is `index`.
fn join(
    mut whole: Contents,
    part: Contents,
    index: usize,
    files: &[MappedFile],
    path: &Path,
) -> Result<Contents, CheckpointError> {
    if part.format != whole.format {
        let first = files.first().map_or_else(String::new, |file| short(&file.path));
        let problem = format!("it is {}, and {first} of the same model is {}", part.format, whole.format);
        return Err(at(path, problem));
    }
    for (name, tensor) in part.tensors {
        if whole.tensors.contains_key(&name) {
            return Err(at(path, format!("the tensor `{}` is in another shard as well", Brief(&name))));
        }
        whole.tensors.insert(name, tensor.in_file(index));
    }
    whole.metadata.complete(part.metadata);
    Ok(whole)
}

/// What the metadata of a GGUF file says of being a shard.
#[derive(Clone, Copy)]
struct Split {
    /// From 0.
    number: Option<usize>,
    /// How many shards there are; 1 if nothing is said.
    count: usize,
    /// Tensors of all shards.
    tensors: Option<usize>,
}

impl Split {
    fn of(metadata: &Metadata) -> Result<Self, String> {
        let find = |key: &str| match metadata.text(key) {
            // Not a shard of llama.cpp's: safetensors files have texts alone.
            Some(_) => Ok(None),
            None => metadata.find::<usize>(key).map_err(|error| error.to_string()),
        };
        let [number, count, tensors] = SPLIT_KEYS;
        Ok(Self { number: find(number)?, count: find(count)?.unwrap_or(1), tensors: find(tensors)? })
    }

    /// Whether a file whose name says nothing of shards is a whole model.
    fn check_whole(self) -> Result<(), String> {
        if self.count <= 1 {
            return Ok(());
        }
        let count = self.count;
        let number = self
            .number
            .map_or_else(|| "a shard".to_owned(), |number| format!("shard {}", number.saturating_add(1)));
        Err(format!(
            "it is {number} of the {count} that make a model, and its name does not say which the others are; name them \
             NAME-00001-of-{count:05}.gguf and so on"
        ))
    }

    /// Whether a file of this name is the shard that it says it is.
    fn check_name(self, name: &ShardName) -> Result<(), String> {
        if self.count > 1 && self.count != name.count {
            let [_, key, _] = SPLIT_KEYS;
            return Err(format!(
                "its name says that there are {} shards, and `{key}` is {}",
                name.count, self.count
            ));
        }
        match self.number {
            Some(number) if self.count > 1 && number.saturating_add(1) != name.position => {
                let [key, ..] = SPLIT_KEYS;
                Err(format!(
                    "its name says that it is shard {}, and `{key}`, which counts from 0, is {number}",
                    name.position
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What is put together is no shard.
fn forget_split(metadata: &mut Metadata) {
    for key in SPLIT_KEYS {
        if metadata.text(key).is_none() {
            metadata.remove(key);
        }
    }
}

/// The paths of so many shards that are named after `path`.
pub(super) fn paths(path: &Path, count: usize) -> Vec<PathBuf> {
    let name = ShardName::first(path, count);
    (1..=count).map(|position| name.at(position, path)).collect()
}

/// A name of the form `NAME-00001-of-00003.gguf`.
#[derive(Clone, Debug, PartialEq)]
struct ShardName {
    name: String,
    /// From 1.
    position: usize,
    count: usize,
    /// With its dot.
    extension: String,
}

impl ShardName {
    /// The name of the first of so many files that are named after `path`.
    fn first(path: &Path, count: usize) -> Self {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let (name, extension) = file_name.split_at(file_name.rfind('.').unwrap_or(file_name.len()));
        Self { name: name.to_owned(), position: 1, count, extension: extension.to_owned() }
    }

    /// The name of a file that is one of several.
    fn of(path: &Path) -> Option<Self> {
        let file_name = path.file_name()?.to_str()?;
        let (stem, extension) = file_name.split_at(file_name.rfind('.').unwrap_or(file_name.len()));
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (name, position) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let all = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| all)
        };
        let (position, count) = (number(position)?, number(count)?);
        let several = count > 1 && (1..=count).contains(&position);
        several.then(|| Self { name: name.to_owned(), position, count, extension: extension.to_owned() })
    }

    /// The path of the shard at a position, beside `path`.
    fn at(&self, position: usize, path: &Path) -> PathBuf {
        let Self { name, count, extension, .. } = self;
        path.with_file_name(format!("{name}-{position:05}-of-{count:05}{extension}"))
    }

    fn open(&self, path: &Path) -> Result<(Vec<MappedFile>, Contents), CheckpointError> {
        let paths = (1..=self.count).map(|position| self.at(position, path)).collect();
        open_all(path, paths, |index, part| {
            let name = Self { position: index + 1, ..self.clone() };
            Split::of(&part.metadata)?.check_name(&name)
        })
    }
}

/// Whether a file is JSON and no safetensors file, whose first 8 bytes are a number that is not that large.
fn is_index(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'{') && !bytes[..bytes.len().min(8)].contains(&0)
}

/// The index of the shards of a model.
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(file: &MappedFile) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Record {
            weight_map: UniqueMap<String>,
        }
        let wrong = |problem: String| at(&file.path, problem);
        let Record { weight_map: UniqueMap(weight_map) } = serde_json::from_slice(&file.map)
            .map_err(|error| wrong(format!("it is no index of shards: {}", Brief(&error.to_string()))))?;
        for (tensor, name) in &weight_map {
            if !is_file_name(name) {
                let (tensor, name) = (Brief(tensor), Brief(name));
                return Err(wrong(format!(
                    "it has the tensor `{tensor}` in `{name}`; the name of a file in the same directory was expected"
                )));
            }
        }
        Ok(Self { weight_map })
    }

    /// The index that lies beside a file, if it names the file.
    fn beside(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let index = path.with_file_name(INDEX);
        if !index.is_file() {
            return None;
        }
        let index = Self::read(&MappedFile::open(&index).ok()?).ok()?;
        index.weight_map.values().any(|file| file == name).then_some(index)
    }

    /// Opens the shards, which lie beside `path`.
    fn open(&self, path: &Path) -> Result<(Vec<MappedFile>, Contents), CheckpointError> {
        let names: BTreeSet<&str> = self.weight_map.values().map(String::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let mut counts = names.iter().filter_map(|name| Some((name, ShardName::of(Path::new(name))?.count)));
        if let Some((name, count)) = counts.find(|(_, count)| *count != names.len()) {
            let (found, name) = (names.len(), Brief(name));
            let problem =
                format!("it names {found} files, one of which, `{name}`, says that there are {count}");
            return Err(at(path, problem));
        }
        let paths = names.iter().map(|name| path.with_file_name(name)).collect();
        let (files, whole) = open_all(path, paths, |index, part| self.check(names[index], part))?;
        let mut said = self.weight_map.iter();
        if let Some((tensor, name)) = said.find(|(tensor, _)| !whole.tensors.contains_key(*tensor)) {
            let (tensor, name) = (Brief(tensor), Brief(name));
            return Err(at(
                path,
                format!("it has the tensor `{tensor}` in `{name}`, which has no such tensor"),
            ));
        }
        Ok((files, whole))
    }

    /// Whether a file's tensors are all where the index has them.
    fn check(&self, name: &str, part: &Contents) -> Result<(), String> {
        match part.tensors.keys().find(|tensor| self.weight_map.get(*tensor).is_none_or(|file| file != name))
        {
            Some(tensor) => {
                Err(format!("it has the tensor `{}`, of which the index says otherwise", Brief(tensor)))
            }
            None => Ok(()),
        }
    }
}

/// Whether a text names a file and no way to another directory.
fn is_file_name(name: &str) -> bool {
    let path = Path::new(name);
    let mut components = path.components();
    matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == OsStr::new(name))
        && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards() {
        let of = |name: &str| ShardName::of(Path::new(name)).map(|shard| (shard.position, shard.count));
        for (name, expected) in [
            ("a/model-00002-of-00003.safetensors", Some((2, 3))),
            ("b-00001-of-00002-00002-of-00002.gguf", Some((2, 2))),
            ("m-00001-of-00002", Some((1, 2))),
            ("model-00001-of-00001.gguf", None),
            ("model-00000-of-00003.gguf", None),
            ("model-00004-of-00003.gguf", None),
            ("model-1-of-3.gguf", None),
            ("model-+0001-of-00003.gguf", None),
            ("model.gguf", None),
            ("00001-of-00002.gguf", None),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
        let shard = ShardName::of(Path::new("x/m-00001-of-00002.gguf")).unwrap();
        assert_eq!(shard.at(2, Path::new("x/m-00001-of-00002.gguf")), Path::new("x/m-00002-of-00002.gguf"));
    }

    #[test]
    fn names_of_files_lead_nowhere_else() {
        for (name, expected) in [
            ("model-00001-of-00002.safetensors", true),
            ("..", false),
            (".", false),
            ("", false),
            ("../a", false),
            ("a/../b", false),
            ("a/b", false),
            ("a/", false),
            ("./a", false),
            ("/etc/passwd", false),
            ("a\\b", false),
            ("a\0", false),
        ] {
            assert_eq!(is_file_name(name), expected, "{name:?}");
        }
    }
}
