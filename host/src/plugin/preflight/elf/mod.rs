//! Checks what the dynamic linker will read of an ELF file, before it reads it.
//!
//! The linker trusts its files: an offset beyond the end, a symbol index out of range or a write to a read-only page ends the
//! process. It reads the program headers and what the dynamic segment points to, and no section; so does this module.
//! Formats: System V ABI, chapters 4 and 5; the GNU hash table, symbol versions and relative relocations as glibc reads them.

mod image;
mod relocations;
mod symbols;

use object::Endianness;
use object::elf::*;
use object::read::elf::FileHeader;

use self::image::{Dynamic, Image, Strings};
use self::symbols::Symbols;
use super::library::Library;
use super::source::Part;

/// The library in `data`, with those of its exports that are among `names`; else what is wrong with it.
pub(super) fn read<Elf>(data: Part<'_>, names: &[&str]) -> Result<Library, String>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let image = Image::<Elf>::read(data)?;
    let dynamic = Dynamic::read(&image)?;
    let strings = Strings::read(&image, &dynamic)?;
    let symbols = Symbols::read(&image, &dynamic, &strings)?;
    symbols::check_versions(&image, &dynamic, &strings, symbols.table.len())?;
    relocations::check_targets(&image, &dynamic, symbols.table.len())?;
    relocations::check_functions(&image, &dynamic)?;
    let needed = dynamic.all(DT_NEEDED).map(|offset| strings.get(offset)).collect::<Result<_, _>>()?;
    for tag in [DT_SONAME, DT_RPATH, DT_RUNPATH] {
        dynamic.all(tag).try_for_each(|offset| strings.get(offset).map(drop))?;
    }
    Ok(Library { needed, exports: symbols.exports(&image, &strings, names)? })
}
