//! The unit tests of modules that need no kernels, so that these are compiled once.

#[path = "../src/declared/grid.rs"]
mod grid;
#[path = "../src/tiling.rs"]
mod tiling;
