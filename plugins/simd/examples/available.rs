//! Prints the names of the instruction sets that this machine has.

use bitquilt_simd::Isa;

fn main() {
    println!("{}", Isa::available().map(Isa::name).collect::<Vec<_>>().join(" "));
}
