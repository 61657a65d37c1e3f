//! Relocations, constructors and destructors.

use object::Endianness;
use object::elf::*;
use object::read::elf::{FileHeader, Rel, Rela, RelrIterator};

use super::image::{Dynamic, Image, MAX_ADDRESS};

/// What relocations write must be the library's own data, and what they name must be there.
pub(super) fn check_targets<Elf>(
    image: &Image<'_, Elf>,
    dynamic: &Dynamic,
    symbols: usize,
) -> Result<(), String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let (endian, word) = (image.endian, image.word_len());
    let target = |offset: u64, symbol: u32| {
        if !image.is_writable(offset, word) && dynamic.get(DT_TEXTREL).is_none() {
            return Err(format!("a relocation writes to {offset:#x}, which is no data of its own"));
        }
        if symbol as usize >= symbols {
            return Err(format!("a relocation names the symbol {symbol}; there are {symbols}"));
        }
        Ok(())
    };
    let mut tables = Vec::new();
    tables.extend(dynamic.range(DT_RELA, DT_RELASZ, "table of relocations")?);
    let by_rela = dynamic.get(DT_PLTREL).is_none_or(|kind| kind == DT_RELA.0 as u64);
    let calls = dynamic.range(DT_JMPREL, DT_PLTRELSZ, "table of calls")?;
    tables.extend(calls.filter(|_| by_rela));
    for (address, len) in tables {
        let count = len / size_of::<Elf::Rela>() as u64;
        for entry in image.table::<Elf::Rela>("table of relocations", address, count)? {
            target(entry.r_offset(endian).into(), entry.r_sym(endian, false))?;
            let addend: i64 = entry.r_addend(endian).into();
            let relative = Some(entry.r_type(endian, false)) == image.relative();
            if relative && !u64::try_from(addend).is_ok_and(|value| value <= MAX_ADDRESS) {
                return Err("a relocation points outside the library".to_owned());
            }
        }
    }
    let mut tables = Vec::new();
    tables.extend(dynamic.range(DT_REL, DT_RELSZ, "table of relocations")?);
    tables.extend(calls.filter(|_| !by_rela));
    for (address, len) in tables {
        let count = len / size_of::<Elf::Rel>() as u64;
        for entry in image.table::<Elf::Rel>("table of relocations", address, count)? {
            target(entry.r_offset(endian).into(), entry.r_sym(endian))?;
        }
    }
    let Some((address, len)) = dynamic.range(DT_RELR, DT_RELRSZ, "table of relative relocations")? else {
        return Ok(());
    };
    let table: &[Elf::Relr] = image.table("table of relative relocations", address, len / word)?;
    RelrIterator::<Elf>::new(endian, table).try_for_each(|offset| target(offset.into(), 0))
}

/// What the linker calls must be code.
pub(super) fn check_functions<Elf>(image: &Image<'_, Elf>, dynamic: &Dynamic) -> Result<(), String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let no_code =
        |address: u64| format!("its constructor or destructor at {address:#x} is no code of its own");
    for address in [DT_INIT, DT_FINI].into_iter().filter_map(|tag| dynamic.get(tag)) {
        if !image.is_code(address) {
            return Err(no_code(address));
        }
    }
    let mut lists = Vec::new();
    for (list, len) in [(DT_INIT_ARRAY, DT_INIT_ARRAYSZ), (DT_FINI_ARRAY, DT_FINI_ARRAYSZ)] {
        if let Some((address, len)) = dynamic.range(list, len, "list of constructors")? {
            image.exactly("list of constructors", address, len)?;
            lists.push(address..address + len);
        }
    }
    let Some((address, len)) = dynamic.range(DT_RELA, DT_RELASZ, "table of relocations")? else {
        return Ok(());
    };
    let count = len / size_of::<Elf::Rela>() as u64;
    for entry in image.table::<Elf::Rela>("table of relocations", address, count)? {
        let offset: u64 = entry.r_offset(image.endian).into();
        let addend: i64 = entry.r_addend(image.endian).into();
        let relative = Some(entry.r_type(image.endian, false)) == image.relative();
        if relative && lists.iter().any(|list| list.contains(&offset)) && !image.is_code(addend as u64) {
            return Err(no_code(addend as u64));
        }
    }
    Ok(())
}
