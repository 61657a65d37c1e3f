//! Integration tests of bitquilt: see `tests/`.
