//! Shared libraries, as they are read before one is opened.

use bitquilt::plugin::inspect;

use super::checkpoint::say;
use crate::Scratch;

/// A plugin in C, and the beginnings of libraries of other systems.
pub(super) fn corpus(scratch: &Scratch) -> Vec<Vec<u8>> {
    let library = bitquilt_tests::c::build(&scratch.path(""), "acme", "examples/c-plugin/acme.c", &["-s"]);
    vec![std::fs::read(library).expect("it was built"), mach_o(), pe()]
}

/// A Mach-O library with one segment and a symbol table of one symbol.
fn mach_o() -> Vec<u8> {
    const SYMBOLS: u32 = 32 + 72 + 24;
    let mut file = Vec::new();
    let words =
        |file: &mut Vec<u8>, words: &[u32]| file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    // Magic, x86_64, all of it, a library, two commands of so many bytes, flags, reserved.
    words(&mut file, &[0xfeed_facf, 0x0100_0007, 3, 6, 2, 72 + 24, 0, 0]);
    // LC_SEGMENT_64 with the whole file.
    words(&mut file, &[0x19, 72]);
    file.extend(b"__TEXT\0\0\0\0\0\0\0\0\0\0");
    for word in [0u64, 4096, 0, 256] {
        file.extend(word.to_le_bytes());
    }
    words(&mut file, &[5, 5, 0, 0]);
    // LC_SYMTAB: one symbol, and the names behind it.
    words(&mut file, &[2, 24, SYMBOLS, 1, SYMBOLS + 16, 32]);
    // Its name at 1, external and in section 1, at address 0.
    words(&mut file, &[1, 0x0000_010f, 0, 0]);
    file.extend(b"\0_bitquilt_c_plugin\0");
    file.resize(256, 0);
    file
}

/// A PE library for x86-64 with one section, and an export directory of one name in it.
fn pe() -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &64u32.to_le_bytes());
    put(64, b"PE\0\0\x64\x86\x01\0");
    put(64 + 20, &240u16.to_le_bytes());
    put(64 + 22, &0x2022u16.to_le_bytes());
    let optional = 64 + 24;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 32, &4096u32.to_le_bytes());
    put(optional + 36, &512u32.to_le_bytes());
    put(optional + 56, &8192u32.to_le_bytes());
    put(optional + 60, &512u32.to_le_bytes());
    put(optional + 108, &16u32.to_le_bytes());
    put(optional + 112, &[4096u32.to_le_bytes(), 200u32.to_le_bytes()].concat());
    let section = optional + 240;
    put(section, b".edata\0\0");
    put(section + 8, &[512u32, 4096, 512, 512].map(u32::to_le_bytes).concat());
    let exports = 512;
    // The library's name, ordinals from 1, one function and one name, and where the three tables are.
    put(
        exports + 12,
        &[4096u32 + 64, 1, 1, 1, 4096 + 40, 4096 + 44, 4096 + 48].map(u32::to_le_bytes).concat(),
    );
    put(exports + 40, &[4096u32 + 100, 4096 + 72, 0].map(u32::to_le_bytes).concat());
    put(exports + 64, b"acme\0");
    put(exports + 72, b"bitquilt_c_plugin\0");
    file
}

/// A file is read, and never opened.
pub(super) fn read(scratch: &Scratch, bytes: &[u8]) {
    match inspect(&scratch.file("input.so", bytes)) {
        Ok(report) => {
            assert!(report.needed.iter().map(String::len).sum::<usize>() <= 16 * bytes.len());
            if let Some(error) = report.refusal {
                say(&error);
            }
        }
        Err(error) => say(&error),
    }
}
