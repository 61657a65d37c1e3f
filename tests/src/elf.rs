//! Damaging shared libraries where it matters.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, elf};

use crate::fixture;

/// A fixture's file without what no loader reads (sections and debug information), and where its parts are.
#[derive(Clone)]
pub struct Library {
    /// The file.
    pub bytes: Vec<u8>,
    /// The file header, the program headers, and the dynamic segment.
    pub headers: Vec<Range<usize>>,
    /// What the dynamic linker reads besides: symbols, strings, hash tables, versions and relocations.
    pub tables: Vec<Range<usize>>,
    strings: Range<usize>,
    symbols: BTreeMap<String, Range<usize>>,
}

impl Library {
    /// The library of the fixture `name`.
    ///
    /// # Panics
    /// If it is no 64-bit ELF file.
    pub fn fixture(name: &str) -> Self {
        Self::new(fs::read(fixture(name)).expect("the fixture is readable"))
    }

    /// The library in a file's bytes.
    ///
    /// # Panics
    /// If it is no 64-bit ELF file.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let file = ElfFile64::<Endianness>::parse(&*bytes).expect("an ELF library");
        let (endian, header) = (file.endian(), file.elf_header());
        let place = |offset: u64, len: u64| offset as usize..(offset + len) as usize;
        let segments = file.elf_program_headers();
        let mut headers = vec![
            place(0, header.e_ehsize(endian).into()),
            place(
                header.e_phoff(endian),
                u64::from(header.e_phentsize(endian)) * u64::from(header.e_phnum(endian)),
            ),
        ];
        let dynamic = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
        let dynamic = dynamic.expect("a dynamic segment");
        headers.push(place(dynamic.p_offset(endian), dynamic.p_filesz(endian)));
        let loaded = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        let end = loaded.map(|segment| segment.p_offset(endian) + segment.p_filesz(endian)).max();
        let end = end.expect("a segment to load") as usize;
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            section.file_range().map(|(offset, len)| place(offset, len))
        };
        let tables =
            [".dynsym", ".dynstr", ".gnu.hash", ".gnu.version", ".gnu.version_r", ".rela.dyn", ".rela.plt"];
        let tables = tables.into_iter().filter_map(section).collect();
        let symbols = file.dynamic_symbols().filter(|symbol| symbol.is_definition()).filter_map(|symbol| {
            let segment = segments.iter().find(|segment| {
                let begin = segment.p_vaddr(endian);
                segment.p_type(endian) == elf::PT_LOAD
                    && (begin..begin + segment.p_filesz(endian)).contains(&symbol.address())
            })?;
            let offset = symbol.address() - segment.p_vaddr(endian) + segment.p_offset(endian);
            Some((symbol.name().ok()?.to_owned(), place(offset, symbol.size())))
        });
        let symbols = symbols.collect();
        let strings = section(".dynstr").expect("a string table");
        bytes.truncate(end);
        // Where the section headers were, and how many.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        Self { bytes, headers, tables, strings, symbols }
    }

    /// Gives a name in the dynamic string table another of its length, wherever it is used.
    ///
    /// # Panics
    /// If there is no such name.
    pub fn rename(&mut self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let strings = &mut self.bytes[self.strings.clone()];
        let whole = format!("\0{from}\0");
        let at = strings.windows(whole.len()).position(|window| window == whole.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no dynamic string {from}")) + 1;
        strings[at..at + to.len()].copy_from_slice(to.as_bytes());
    }

    /// The names in the dynamic string table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let strings = &self.bytes[self.strings.clone()];
        strings.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// What stands behind a symbol.
    ///
    /// # Panics
    /// If there is no such symbol.
    pub fn symbol(&mut self, name: &str) -> &mut [u8] {
        let place = self.symbols.get(name).unwrap_or_else(|| panic!("no symbol {name}"));
        &mut self.bytes[place.clone()]
    }
}
