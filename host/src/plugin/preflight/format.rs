//! What stands in a library's file: machine, dependencies, entry symbol.

use bitquilt_c_bridge::{C_ENTRY_HEAD, C_ENTRY_SYMBOL, api_of_head};
use bitquilt_plugin_api::host::{API_VERSION_SYMBOL, ENTRY_SYMBOL, ENTRY_SYMBOL_LEN};
use object::read::NameOrOrdinal;
use object::{Endianness, FileKind, Object, ObjectSegment, ReadRef};

use super::elf;
use super::error::PreflightError;
use super::library::{Contents, Entry, Export, Library};
use super::source::{MAX_READ, Part, Source};

const fn host_format() -> &'static str {
    if cfg!(windows) {
        "a Windows DLL"
    } else if cfg!(target_vendor = "apple") {
        "a Mach-O library"
    } else {
        "an ELF shared library"
    }
}

fn recognize(data: Part<'_>) -> Result<FileKind, PreflightError> {
    let foreign = |found: String| PreflightError::Format { found, expected: host_format() };
    match FileKind::parse(data) {
        Ok(
            kind @ (FileKind::Elf32
            | FileKind::Elf64
            | FileKind::MachO32
            | FileKind::MachO64
            | FileKind::MachOFat32
            | FileKind::MachOFat64
            | FileKind::Pe32
            | FileKind::Pe64),
        ) => Ok(kind),
        _ => Err(foreign(describe(data))),
    }
}

/// What a file seems to be.
pub(super) fn describe(data: Part<'_>) -> String {
    let head = data.len().and_then(|len| data.read_bytes_at(0, len.min(64))).unwrap_or_default();
    let name = match FileKind::parse(data) {
        Ok(FileKind::Elf32) => "32-bit ELF",
        Ok(FileKind::Elf64) => "64-bit ELF",
        Ok(FileKind::MachO32) => "32-bit Mach-O",
        Ok(FileKind::MachO64) => "64-bit Mach-O",
        Ok(FileKind::MachOFat32 | FileKind::MachOFat64) => "Mach-O for several machines",
        Ok(FileKind::Pe32) => "32-bit PE",
        Ok(FileKind::Pe64) => "64-bit PE",
        Ok(FileKind::Archive) => "an archive",
        _ if is_text(head) => "text",
        _ => "a file of unknown format",
    };
    name.to_owned()
}

/// Whether the first bytes of a file are those of a text, whose last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || c.is_whitespace())
}

/// Reads what stands in a library's file about it. An error if it is none; whether it is a plugin for this host is in the answer.
pub(super) fn read(source: &Source) -> Result<Contents, PreflightError> {
    let data = source.whole();
    let contents = match recognize(data)? {
        kind @ (FileKind::MachOFat32 | FileKind::MachOFat64) => {
            own_part(kind, data).and_then(|part| read_one(part, kind))
        }
        kind => read_one(data, kind),
    };
    // Whatever was wrong, it was that.
    let too_much = || {
        let what = format!("its tables are longer than {} MiB", MAX_READ >> 20);
        PreflightError::Damaged { what }
    };
    match contents {
        Ok(contents) if source.is_exhausted() => {
            Ok(Contents { refusal: contents.refusal.map(|_| too_much()), ..contents })
        }
        Err(_) if source.is_exhausted() => Err(too_much()),
        contents => contents,
    }
}

/// Reads a file, or the part of it, that is for one machine.
fn read_one(data: Part<'_>, kind: FileKind) -> Result<Contents, PreflightError> {
    let damaged = |what: String| PreflightError::Damaged { what };
    let names = [ENTRY_SYMBOL, C_ENTRY_SYMBOL, API_VERSION_SYMBOL];
    let architecture = architecture(data).map_err(damaged)?;
    let library = match FileKind::parse(data) {
        Ok(FileKind::Elf32) => elf::read::<object::elf::FileHeader32<Endianness>>(data, &names),
        Ok(FileKind::Elf64) => elf::read::<object::elf::FileHeader64<Endianness>>(data, &names),
        _ => read_other(data, &names),
    };
    let host = architecture_name(std::env::consts::ARCH, cfg!(target_endian = "little"));
    let is_host_format = match kind {
        FileKind::Elf32 | FileKind::Elf64 => cfg!(all(unix, not(target_vendor = "apple"))),
        FileKind::Pe32 | FileKind::Pe64 => cfg!(windows),
        _ => cfg!(target_vendor = "apple"),
    };
    let mut refusal = if !is_host_format {
        Some(PreflightError::Format { found: describe(data), expected: host_format() })
    } else if architecture != host {
        Some(PreflightError::Machine { found: architecture.clone(), expected: host })
    } else {
        None
    };
    let library = match library {
        Ok(library) => library,
        Err(what) => {
            refusal.get_or_insert(damaged(what));
            Library { needed: Vec::new(), exports: Vec::new() }
        }
    };
    let find = |name: &str| library.exports.iter().find(|export| export.name == name);
    let (rust, c) = (find(ENTRY_SYMBOL), find(C_ENTRY_SYMBOL));
    if refusal.is_none() {
        refusal = match (rust, c) {
            (None, None) => Some(PreflightError::NoEntry),
            (Some(export), _) => check_entry(export).err(),
            (None, Some(export)) => check_c_entry(export).err(),
        };
    }
    let c_version = || Some(format!("{} of bitquilt.h", api_of_head(&c?.bytes)?));
    Ok(Contents {
        architecture,
        entry: rust.map(|_| Entry::Rust).or(c.map(|_| Entry::C)),
        api_version: find(API_VERSION_SYMBOL).and_then(version_text).or_else(c_version),
        needed: library.needed,
        refusal,
    })
}

/// The header is read before it can say what it is, so it must at least be there.
fn check_entry(export: &Export) -> Result<(), PreflightError> {
    let problem = match export.data_len {
        Some(len) if len < ENTRY_SYMBOL_LEN as u64 => {
            format!("it has {len} bytes, a plugin's header has {ENTRY_SYMBOL_LEN}")
        }
        None if cfg!(all(unix, not(target_vendor = "apple"))) => "it is not data".to_owned(),
        _ => return Ok(()),
    };
    Err(PreflightError::Entry { symbol: ENTRY_SYMBOL, problem })
}

/// As [`check_entry`], of a library in C; the magic stands in the file.
fn check_c_entry(export: &Export) -> Result<(), PreflightError> {
    let problem = match export.data_len {
        Some(len) if len < C_ENTRY_HEAD as u64 => {
            format!("it has {len} bytes, a `bitquilt_plugin` begins with {C_ENTRY_HEAD}")
        }
        Some(_) if api_of_head(&export.bytes).is_none() => "it does not begin with BITQUILT_MAGIC".to_owned(),
        None if cfg!(all(unix, not(target_vendor = "apple"))) => "it is not data".to_owned(),
        _ => return Ok(()),
    };
    Err(PreflightError::Entry { symbol: C_ENTRY_SYMBOL, problem })
}

fn version_text(export: &Export) -> Option<String> {
    let text = export.bytes.split(|byte| *byte == 0).next()?;
    let plain = text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    (plain && !text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// The part of a Mach-O file for several machines that is for this one.
fn own_part(kind: FileKind, data: Part<'_>) -> Result<Part<'_>, PreflightError> {
    use object::read::macho::{MachOFatFile32, MachOFatFile64};
    let damaged = |error: object::Error| PreflightError::Damaged { what: error.to_string() };
    let parts = match kind {
        FileKind::MachOFat32 => parts_of(MachOFatFile32::parse(data).map_err(damaged)?.arches()),
        _ => parts_of(MachOFatFile64::parse(data).map_err(damaged)?.arches()),
    };
    let own = parts.iter().find(|(machine, _)| machine == std::env::consts::ARCH);
    let (_, (offset, len)) = own.ok_or_else(|| PreflightError::Machine {
        found: parts.iter().map(|(machine, _)| machine.as_str()).collect::<Vec<_>>().join(" and "),
        expected: std::env::consts::ARCH.to_owned(),
    })?;
    let cut = || PreflightError::Damaged {
        what: format!("its part for {} lies outside it", std::env::consts::ARCH),
    };
    data.part(*offset, *len).ok_or_else(cut)
}

/// The machine of each part, and where the part is.
fn parts_of<Arch: object::read::macho::FatArch>(parts: &[Arch]) -> Vec<(String, (u64, u64))> {
    parts.iter().map(|part| (object_architecture(part.architecture()), part.file_range())).collect()
}

/// A library of a format other than ELF.
fn read_other(data: Part<'_>, names: &[&str]) -> Result<Library, String> {
    let text = |error: object::Error| error.to_string();
    let file = object::File::parse(data).map_err(text)?;
    let len = data.len().unwrap_or(0);
    for segment in file.segments() {
        let (offset, bytes) = segment.file_range();
        if offset.checked_add(bytes).is_none_or(|end| end > len) {
            return Err(format!("a segment ends outside its {len} bytes; it may be cut"));
        }
    }
    let mut exports = Vec::new();
    for export in file.exports().map_err(text)? {
        let export = export.map_err(text)?;
        // Mach-O puts an underscore before the names of C.
        let name = match export.name() {
            NameOrOrdinal::Name(name) => std::str::from_utf8(name).unwrap_or_default(),
            NameOrOrdinal::Ordinal(_) => continue,
        };
        let name = name.strip_prefix('_').filter(|bare| names.contains(bare)).unwrap_or(name);
        if names.contains(&name) {
            exports.push(Export { name: name.to_owned(), data_len: None, bytes: Vec::new() });
        }
    }
    let mut needed = Vec::new();
    for import in file.imports().map_err(text)? {
        let library = String::from_utf8_lossy(import.map_err(text)?.library()).into_owned();
        if !library.is_empty() && !needed.contains(&library) {
            needed.push(library);
        }
    }
    Ok(Library { needed, exports })
}

fn architecture(data: Part<'_>) -> Result<String, String> {
    let head = data.len().and_then(|len| data.read_bytes_at(0, len.min(20))).unwrap_or_default();
    // The byte order, and for ELF the machine, stand in the first bytes: a damaged file says what it is for.
    if let [0x7f, b'E', b'L', b'F', class, order, ..] = head {
        let little = *order != 2;
        let machine = match head.get(18..20) {
            Some([a, b]) if little => u16::from_le_bytes([*a, *b]),
            Some([a, b]) => u16::from_be_bytes([*a, *b]),
            _ => return Err("it ends within its header".to_owned()),
        };
        let name = match (machine, class) {
            (3, _) => "x86".to_owned(),
            (8, _) => "mips".to_owned(),
            (20, _) => "powerpc".to_owned(),
            (21, _) => "powerpc64".to_owned(),
            (22, _) => "s390x".to_owned(),
            (40, _) => "arm".to_owned(),
            (62, 2) => "x86_64".to_owned(),
            (62, _) => "x86_64 with 32-bit pointers".to_owned(),
            (183, 2) => "aarch64".to_owned(),
            (183, _) => "aarch64 with 32-bit pointers".to_owned(),
            (243, 2) => "riscv64".to_owned(),
            (243, _) => "riscv32".to_owned(),
            (258, _) => "loongarch64".to_owned(),
            (code, _) => format!("the machine of ELF number {code}"),
        };
        return Ok(architecture_name(&name, little));
    }
    let file = object::File::parse(data).map_err(|error| error.to_string())?;
    Ok(architecture_name(&object_architecture(file.architecture()), file.is_little_endian()))
}

fn object_architecture(architecture: object::Architecture) -> String {
    match architecture {
        object::Architecture::X86_64 => "x86_64".to_owned(),
        object::Architecture::Aarch64 => "aarch64".to_owned(),
        object::Architecture::I386 => "x86".to_owned(),
        object::Architecture::Arm => "arm".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Machines that come in both byte orders are told apart.
fn architecture_name(name: &str, little: bool) -> String {
    match (name, little) {
        ("powerpc64" | "mips" | "mips64", true) => format!("{name} (little-endian)"),
        ("x86_64" | "aarch64" | "riscv64" | "arm", false) => format!("{name} (big-endian)"),
        _ => name.to_owned(),
    }
}
