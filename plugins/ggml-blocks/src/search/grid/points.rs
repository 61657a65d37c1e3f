//! The points of the grids: they define the formats, and come from the tables of ggml 0.25 (`ggml-quants.c`).
//!
//! Point `n` of a grid is its `n`-th code: the levels of the point, from the low bits up, 2 bits each in the grids of 8
//! dimensions (`iq1`, `iq2`) and 3 bits each in those of 4 (`iq3`).

mod iq1;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;

pub(crate) use iq1::IQ1;
pub(crate) use iq2_s::IQ2_S;
pub(crate) use iq2_xs::IQ2_XS;
pub(crate) use iq2_xxs::IQ2_XXS;
pub(crate) use iq3_s::IQ3_S;
pub(crate) use iq3_xxs::IQ3_XXS;

/// The values of every point of a grid of 8 dimensions, for decoding: level `l` stands for `values[l]`.
pub(crate) const fn values_8<const P: usize>(points: &[u16; P], values: [i8; 3]) -> [[i8; 8]; P] {
    let mut decoded = [[0; 8]; P];
    let mut at = 0;
    while at < P * 8 {
        decoded[at / 8][at % 8] = values[(points[at / 8] >> (2 * (at % 8)) & 3) as usize];
        at += 1;
    }
    decoded
}

/// The values of every point of a grid of 4 dimensions, for decoding: level `l` stands for `values[l]`.
pub(crate) const fn values_4<const P: usize>(points: &[u16; P], values: [i8; 8]) -> [[i8; 4]; P] {
    let mut decoded = [[0; 4]; P];
    let mut at = 0;
    while at < P * 4 {
        decoded[at / 4][at % 4] = values[(points[at / 4] >> (3 * (at % 4)) & 7) as usize];
        at += 1;
    }
    decoded
}
