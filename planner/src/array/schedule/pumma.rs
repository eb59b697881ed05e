//! PUMMA: J. Choi, J. Dongarra, D. Walker: PUMMA, parallel universal matrix multiplication algorithms on distributed memory concurrent computers,
//! Concurrency 6 (1994), after Fox's algorithm.
//!
//! On q × q ranks each keeps a tile of the result. In round t all ranks of row x multiply A(x, s) with s = (t + x) mod q, which its owner gives to
//! the row, and B(s, y), which rolls upwards: the rank below needed it in the round before.
//!
//! Received, all ranks together: (q − 1) · (m · K + K · n), as in Cannon's algorithm; the senders differ.

use bireme_engine::error::Result;

use super::cannon::{rotated, square};
use super::{Product, Recipe, Setting};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product) -> Result<Recipe> {
    let edge = square("PUMMA", setting)?;
    Ok(rotated(setting, product, edge, &["io"]))
}
