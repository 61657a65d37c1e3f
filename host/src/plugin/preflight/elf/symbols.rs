//! The dynamic symbols, their hash tables, and their versions.

use object::Endianness;
use object::elf::*;
use object::read::elf::{FileHeader, Sym};

use super::image::{Dynamic, Image, Strings};
use crate::plugin::preflight::library::Export;

/// The dynamic symbol table.
pub(super) struct Symbols<'data, Elf: FileHeader> {
    pub(super) table: &'data [Elf::Sym],
}

impl<'data, Elf: FileHeader<Endian = Endianness>> Symbols<'data, Elf> {
    pub(super) fn read(
        image: &Image<'data, Elf>,
        dynamic: &Dynamic,
        strings: &Strings<'_>,
    ) -> Result<Self, String> {
        let address = dynamic.require(DT_SYMTAB, "symbol table")?;
        if dynamic.require(DT_SYMENT, "size of a symbol")? != size_of::<Elf::Sym>() as u64 {
            return Err("its symbols have an impossible size".to_owned());
        }
        let mut count = None;
        if let Some(hash) = dynamic.get(DT_HASH) {
            count = Some(sysv_symbol_count(image, hash)?);
        }
        if let Some(hash) = dynamic.get(DT_GNU_HASH) {
            let hashed = gnu_symbol_count(image, hash)?;
            count = Some(count.map_or(hashed, |count: u64| count.min(hashed)));
        }
        let count = count.ok_or("its dynamic segment names no hash table")?;
        let table: &[Elf::Sym] = image.table("symbol table", address, count)?;
        for symbol in table {
            strings.at(symbol.st_name(image.endian).into())?;
            let address: u64 = symbol.st_value(image.endian).into();
            let placed = !symbol.is_undefined(image.endian)
                && symbol.st_shndx(image.endian) != SHN_ABS
                && symbol.st_type() != STT_TLS;
            // An address may be that of the end of a segment.
            if placed && !image.holds(address.saturating_sub(1), 1) && !image.holds(address, 1) {
                return Err(format!("one of its symbols has the address {address:#x}, which is not its own"));
            }
            if symbol.st_type() == STT_GNU_IFUNC && !image.is_code(address) {
                return Err("one of its symbols is to be resolved by code that is none".to_owned());
            }
        }
        Ok(Self { table })
    }

    /// Those of the symbols it defines that are among `names`.
    pub(super) fn exports(
        &self,
        image: &Image<'_, Elf>,
        strings: &Strings<'_>,
        names: &[&str],
    ) -> Result<Vec<Export>, String> {
        let mut exports = Vec::new();
        for symbol in self.table {
            let rest = strings.at(symbol.st_name(image.endian).into())?;
            let is_there = |name: &&&str| rest.strip_prefix(name.as_bytes()).is_some_and(|end| end[0] == 0);
            let Some(name) = names.iter().find(is_there) else { continue };
            if symbol.is_undefined(image.endian) || symbol.st_bind() == STB_LOCAL {
                continue;
            }
            let (address, len) = (symbol.st_value(image.endian).into(), symbol.st_size(image.endian).into());
            let bytes = image.bytes(address, 64).unwrap_or_default();
            let is_data = symbol.st_type() == STT_OBJECT && image.holds(address, len);
            exports.push(Export {
                name: (*name).to_owned(),
                data_len: is_data.then_some(len),
                bytes: bytes.to_vec(),
            });
        }
        Ok(exports)
    }
}

fn sysv_symbol_count<Elf>(image: &Image<'_, Elf>, address: u64) -> Result<u64, String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let what = "hash table";
    let header: &[object::U32<Endianness>] = image.table(what, address, 2)?;
    let [buckets, symbols] = [0, 1].map(|index| u64::from(header[index].get(image.endian)));
    let entries: &[object::U32<Endianness>] = image.table(what, address + 8, buckets + symbols)?;
    if buckets == 0 || entries.iter().any(|entry| u64::from(entry.get(image.endian)) >= symbols) {
        return Err("its hash table has no buckets, or names symbols that there are not".to_owned());
    }
    Ok(symbols)
}

/// Walks every chain, as a lookup may.
fn gnu_symbol_count<Elf>(image: &Image<'_, Elf>, address: u64) -> Result<u64, String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let what = "GNU hash table";
    let header: &[object::U32<Endianness>] = image.table(what, address, 4)?;
    let [buckets, base, blooms, shift] = [0, 1, 2, 3].map(|index| u64::from(header[index].get(image.endian)));
    if buckets == 0 || !blooms.is_power_of_two() || shift >= 64 {
        return Err(format!("its {what} has no buckets, or an impossible filter"));
    }
    let filter_len = blooms * image.word_len();
    image.exactly(what, address + 16, filter_len)?;
    let bucket_address = address + 16 + filter_len;
    let heads: &[object::U32<Endianness>] = image.table(what, bucket_address, buckets)?;
    let mut heads: Vec<u64> = heads.iter().map(|head| head.get(image.endian).into()).collect();
    heads.sort_unstable();
    let mut chains = Chains { image, address: bucket_address + 4 * buckets, piece: (0, &[]) };
    let mut count = base;
    for head in heads.into_iter().filter(|head| *head != 0) {
        head.checked_sub(base).ok_or("its GNU hash table has a bucket below its first symbol")?;
        // A chain that begins inside another ends where that one does.
        if head < count {
            continue;
        }
        count = head;
        while !chains.ends_at(count - base).ok_or("its GNU hash table has a chain without end")? {
            count += 1;
        }
        count += 1;
    }
    Ok(count)
}

/// The words of a GNU hash table's chains, whose number is nowhere written, read a piece at a time.
struct Chains<'a, 'data, Elf: FileHeader> {
    image: &'a Image<'data, Elf>,
    address: u64,
    /// The piece that was read last, and its number, from 1.
    piece: (u64, &'data [u8]),
}

impl<Elf: FileHeader<Endian = Endianness>> Chains<'_, '_, Elf> {
    /// Whether a word is the last of its chain; none where the words end.
    fn ends_at(&mut self, word: u64) -> Option<bool> {
        const WORDS: u64 = 1 << 14;
        let piece = word / WORDS + 1;
        if self.piece.0 != piece {
            let begin = self.address.checked_add((piece - 1) * WORDS * 4)?;
            self.piece = (piece, self.image.bytes(begin, WORDS * 4)?);
        }
        let at = (word % WORDS * 4) as usize;
        match (self.image.endian, self.piece.1.get(at..at + 4)?) {
            (Endianness::Little, bytes) => Some(bytes[0] & 1 == 1),
            (Endianness::Big, bytes) => Some(bytes[3] & 1 == 1),
        }
    }
}

/// The linker looks up each symbol's version by its number, unchecked.
pub(super) fn check_versions<Elf>(
    image: &Image<'_, Elf>,
    dynamic: &Dynamic,
    strings: &Strings<'_>,
    symbols: usize,
) -> Result<(), String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let endian = image.endian;
    let Some(address) = dynamic.get(DT_VERSYM) else { return Ok(()) };
    let versions: &[object::U16<Endianness>] = image.table("symbol versions", address, symbols as u64)?;
    let mut highest = 1;
    let mut next = dynamic.get(DT_VERNEED);
    for _ in 0..dynamic.get(DT_VERNEEDNUM).unwrap_or(0) {
        let Some(address) = next else { return Err("its needed versions end early".to_owned()) };
        let need = &image.table::<Verneed<Endianness>>("needed versions", address, 1)?[0];
        strings.at(need.vn_file.get(endian).into())?;
        let mut at = address + u64::from(need.vn_aux.get(endian));
        for _ in 0..need.vn_cnt.get(endian) {
            let version = &image.table::<Vernaux<Endianness>>("needed versions", at, 1)?[0];
            strings.at(version.vna_name.get(endian).into())?;
            highest = highest.max(version.vna_other.get(endian).0 & 0x7fff);
            at += u64::from(version.vna_next.get(endian));
        }
        let step = u64::from(need.vn_next.get(endian));
        next = (step != 0).then(|| address + step);
    }
    let mut next = dynamic.get(DT_VERDEF);
    for _ in 0..dynamic.get(DT_VERDEFNUM).unwrap_or(0) {
        let Some(address) = next else { return Err("its defined versions end early".to_owned()) };
        let def = &image.table::<Verdef<Endianness>>("defined versions", address, 1)?[0];
        let name = address + u64::from(def.vd_aux.get(endian));
        let name = &image.table::<Verdaux<Endianness>>("defined versions", name, 1)?[0];
        strings.at(name.vda_name.get(endian).into())?;
        highest = highest.max(def.vd_ndx.get(endian).0 & 0x7fff);
        let step = u64::from(def.vd_next.get(endian));
        next = (step != 0).then(|| address + step);
    }
    match versions.iter().map(|version| version.get(endian) & 0x7fff).max() {
        Some(version) if version > highest => Err("a symbol has a version that there is not".to_owned()),
        _ => Ok(()),
    }
}
