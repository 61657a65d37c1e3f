//! An ELF file as it will stand in memory, with the tables that its dynamic segment names.

use object::elf::*;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, Pod, ReadRef};

use crate::plugin::preflight::source::Part;

/// Pages of this size or larger are mapped; offsets and addresses of a segment agree modulo it.
pub(super) const PAGE: u64 = 4096;
/// The most segments of a library; a linker makes six or so.
pub(super) const MAX_SEGMENTS: usize = 64;
/// Addresses of a library end below this.
pub(super) const MAX_ADDRESS: u64 = 1 << 46;

pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) memory_len: u64,
    pub(super) offset: u64,
    pub(super) file_len: u64,
    pub(super) writable: bool,
    pub(super) executable: bool,
}

impl Segment {
    pub(super) fn holds(&self, address: u64, len: u64) -> bool {
        let end = address.checked_add(len);
        address >= self.address && end.is_some_and(|end| end <= self.address + self.memory_len)
    }
}

/// The file as it will stand in memory.
pub(super) struct Image<'data, Elf: FileHeader> {
    pub(super) data: Part<'data>,
    pub(super) len: u64,
    pub(super) endian: Endianness,
    pub(super) header: &'data Elf,
    pub(super) headers: &'data [Elf::ProgramHeader],
    pub(super) segments: Vec<Segment>,
}

impl<'data, Elf: FileHeader<Endian = Endianness>> Image<'data, Elf> {
    pub(super) fn read(data: Part<'data>) -> Result<Self, String> {
        let len = data.len().unwrap_or(0);
        let header = Elf::parse(data).map_err(|error| format!("its header cannot be read: {error}"))?;
        let endian = header.endian().map_err(|error| error.to_string())?;
        if header.e_type(endian) != ET_DYN {
            return Err("it is an ELF file, but no shared library".to_owned());
        }
        let headers = header
            .program_headers(endian, data)
            .map_err(|_| format!("its program headers lie outside its {len} bytes; the file may be cut"))?;
        let mut image = Self { data, len, endian, header, headers, segments: Vec::new() };
        for (index, header) in headers.iter().enumerate() {
            image.check_program_header(index, header)?;
        }
        if image.segments.is_empty() {
            return Err("it has no segment to load".to_owned());
        }
        for header in headers.iter().filter(|header| header.p_type(endian) == PT_GNU_RELRO) {
            let (address, len) = (header.p_vaddr(endian).into(), header.p_memsz(endian).into());
            if !image.segments.iter().any(|segment| segment.writable && segment.holds(address, len)) {
                return Err(
                    "the part it wants to be read-only after relocation is no data of its own".to_owned()
                );
            }
        }
        Ok(image)
    }

    pub(super) fn check_program_header(
        &mut self,
        index: usize,
        header: &Elf::ProgramHeader,
    ) -> Result<(), String> {
        let endian = self.endian;
        let kind = header.p_type(endian);
        let (offset, file_len): (u64, u64) = (header.p_offset(endian).into(), header.p_filesz(endian).into());
        let (address, memory_len): (u64, u64) =
            (header.p_vaddr(endian).into(), header.p_memsz(endian).into());
        let size = self.len;
        let mapped = matches!(kind, PT_LOAD | PT_DYNAMIC | PT_TLS | PT_NOTE | PT_GNU_PROPERTY);
        if mapped && offset.checked_add(file_len).is_none_or(|end| end > size) {
            return Err(format!(
                "its segment {index} has {file_len} bytes at offset {offset}, the file has {size}; it may be cut"
            ));
        }
        if kind == PT_TLS {
            let align: u64 = header.p_align(endian).into();
            if file_len > memory_len || memory_len > MAX_ADDRESS || (align > 1 && !align.is_power_of_two()) {
                return Err("its thread-local segment has an impossible size or alignment".to_owned());
            }
        }
        let flags = header.p_flags(endian).0;
        if kind == PT_GNU_STACK && flags & PF_X.0 != 0 {
            return Err("it wants the whole program's stack to be executable".to_owned());
        }
        if kind != PT_LOAD {
            return Ok(());
        }
        let begin = self.segments.last().map_or(0, |last| last.address + last.memory_len);
        let end = address.checked_add(memory_len).filter(|end| *end <= MAX_ADDRESS);
        let align: u64 = header.p_align(endian).into();
        let aligned = align <= 1 || (align.is_power_of_two() && align <= MAX_ADDRESS);
        if file_len > memory_len || address < begin || end.is_none() {
            return Err(format!(
                "its segment {index} overlaps another, or is longer in the file than in memory"
            ));
        }
        if !aligned || address % PAGE != offset % PAGE {
            return Err(format!("its segment {index} is not aligned to a page"));
        }
        if self.segments.len() == MAX_SEGMENTS {
            return Err(format!("it has more than {MAX_SEGMENTS} segments to load"));
        }
        let (writable, executable) = (flags & PF_W.0 != 0, flags & PF_X.0 != 0);
        if flags & PF_R.0 == 0 {
            return Err(format!("its segment {index} is not readable"));
        }
        // Memory beyond the file is zeros; in a part that nobody writes to there is no use for them.
        if !writable && file_len != memory_len {
            return Err(format!("its segment {index} has fewer bytes in the file than in memory"));
        }
        self.segments.push(Segment { address, memory_len, offset, file_len, writable, executable });
        Ok(())
    }

    /// Where the byte at `address` stands in the file, and how many bytes of its segment follow there, it included.
    pub(super) fn place(&self, address: u64) -> Option<(u64, u64)> {
        let segment = self.segments.iter().find(|segment| segment.holds(address, 1))?;
        let skip = address - segment.address;
        Some((segment.offset + skip, segment.file_len.checked_sub(skip)?))
    }

    /// The bytes of the file from `address` on, as many as its segment has, `most` at most.
    pub(super) fn bytes(&self, address: u64, most: u64) -> Option<&'data [u8]> {
        let (offset, len) = self.place(address)?;
        self.data.read_bytes_at(offset, len.min(most)).ok()
    }

    /// The `len` bytes at `address`, all in the file.
    pub(super) fn exactly(&self, what: &str, address: u64, len: u64) -> Result<&'data [u8], String> {
        if len == 0 {
            return Ok(&[]);
        }
        let place = self.place(address).filter(|(_, there)| len <= *there);
        let bytes = place.and_then(|(offset, _)| self.data.read_bytes_at(offset, len).ok());
        bytes.ok_or_else(|| format!("its {what} ({len} bytes at address {address:#x}) lies outside the file"))
    }

    /// A table of `count` entries at `address`.
    pub(super) fn table<T: Pod>(&self, what: &str, address: u64, count: u64) -> Result<&'data [T], String> {
        let len =
            count.checked_mul(size_of::<T>() as u64).ok_or_else(|| format!("its {what} is too long"))?;
        if !address.is_multiple_of(align_of::<T>() as u64) {
            return Err(format!("its {what} is misaligned"));
        }
        let bytes = self.exactly(what, address, len)?;
        let table = object::pod::slice_from_bytes(bytes, count as usize);
        table.map(|(table, _)| table).map_err(|()| format!("its {what} is misaligned"))
    }

    pub(super) fn holds(&self, address: u64, len: u64) -> bool {
        self.segments.iter().any(|segment| segment.holds(address, len))
    }

    pub(super) fn is_writable(&self, address: u64, len: u64) -> bool {
        self.segments.iter().any(|segment| segment.writable && segment.holds(address, len))
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| segment.executable && segment.holds(address, 1))
    }

    pub(super) fn word_len(&self) -> u64 {
        if self.header.is_class_64() { 8 } else { 4 }
    }

    /// The type of relocation that adds the load address to a value.
    pub(super) fn relative(&self) -> Option<RelocationType> {
        match self.header.e_machine(self.endian) {
            EM_X86_64 => Some(R_X86_64_RELATIVE),
            EM_AARCH64 => Some(R_AARCH64_RELATIVE),
            EM_RISCV => Some(R_RISCV_RELATIVE),
            _ => None,
        }
    }
}

/// The dynamic segment's entries.
pub(super) struct Dynamic(Vec<(DynamicTag, u64)>);

impl Dynamic {
    pub(super) fn read<Elf: FileHeader<Endian = Endianness>>(image: &Image<'_, Elf>) -> Result<Self, String> {
        let endian = image.endian;
        let mut headers = image.headers.iter().filter(|header| header.p_type(endian) == PT_DYNAMIC);
        let (Some(header), None) = (headers.next(), headers.next()) else {
            return Err("it has no dynamic segment, or several".to_owned());
        };
        let (address, len) = (header.p_vaddr(endian).into(), header.p_memsz(endian).into());
        let count = len / size_of::<Elf::Dyn>() as u64;
        let table: &[Elf::Dyn] = image.table("dynamic segment", address, count)?;
        if !image.is_writable(address, len) {
            return Err("its dynamic segment is not writable".to_owned());
        }
        let entries = table.iter().map(|entry| (entry.tag(endian), entry.val(endian)));
        let entries: Vec<_> = entries.take_while(|(tag, _)| *tag != DT_NULL).collect();
        if entries.len() == table.len() {
            return Err("its dynamic segment has no end".to_owned());
        }
        Ok(Self(entries))
    }

    pub(super) fn all(&self, tag: DynamicTag) -> impl Iterator<Item = u64> {
        self.0.iter().filter(move |(other, _)| *other == tag).map(|(_, value)| *value)
    }

    /// The last value, which is the one that the linker uses.
    pub(super) fn get(&self, tag: DynamicTag) -> Option<u64> {
        self.all(tag).last()
    }

    pub(super) fn require(&self, tag: DynamicTag, what: &str) -> Result<u64, String> {
        self.get(tag).ok_or_else(|| format!("its dynamic segment names no {what}"))
    }

    /// Address and length in bytes of a table; none if there is none.
    pub(super) fn range(
        &self,
        address: DynamicTag,
        len: DynamicTag,
        what: &str,
    ) -> Result<Option<(u64, u64)>, String> {
        match (self.get(address), self.get(len)) {
            (None, None | Some(0)) => Ok(None),
            (Some(address), Some(len)) => Ok(Some((address, len))),
            _ => Err(format!("its {what} has no address or no length")),
        }
    }
}

/// The dynamic string table.
pub(super) struct Strings<'data>(&'data [u8]);

impl<'data> Strings<'data> {
    pub(super) fn read<Elf>(image: &Image<'data, Elf>, dynamic: &Dynamic) -> Result<Self, String>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        let address = dynamic.require(DT_STRTAB, "string table")?;
        let len = dynamic.require(DT_STRSZ, "length of its string table")?;
        let bytes = image.exactly("string table", address, len)?;
        match bytes {
            [0, .., 0] | [0] => Ok(Self(bytes)),
            _ => Err("its string table does not begin and end with a zero".to_owned()),
        }
    }

    /// The bytes from a name to the end of the table, where there is a zero.
    pub(super) fn at(&self, offset: u64) -> Result<&'data [u8], String> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        Ok(rest.filter(|rest| !rest.is_empty()).ok_or("one of its names lies outside its string table")?)
    }

    pub(super) fn get(&self, offset: u64) -> Result<String, String> {
        let rest = self.at(offset)?;
        Ok(String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
    }
}
