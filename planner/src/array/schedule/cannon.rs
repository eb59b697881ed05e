//! L. E. Cannon: A cellular computer to implement the Kalman filter algorithm, thesis, Montana State University (1969).
//!
//! On q × q ranks each keeps a tile of the result. In round t the rank at (x, y) multiplies A(x, s) and B(s, y) with s = (t + x + y) mod q, so
//! that no two ranks of a row or a column need the same tile at a time; what one needs, its neighbour needed in the round before:
//!
//! ```text
//!   A(0,0) A(0,1) A(0,2)      A(0,1) A(0,2) A(0,0)       received, all ranks together:
//!   A(1,1) A(1,2) A(1,0)  →   A(1,2) A(1,0) A(1,1)  →       (q − 1) · (m · K + K · n),
//!   A(2,2) A(2,0) A(2,1)      A(2,0) A(2,1) A(2,2)       for a rank needs every tile of its row, and keeps its own
//! ```

use bireme_engine::error::{Error, Result};

use super::grids::edge;
use super::summa::in_tiles;
use super::{Primitive, Product, Recipe, Setting, communicate, divide, inside, names};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product) -> Result<Recipe> {
    let edge = square("Cannon", setting)?;
    Ok(rotated(setting, product, edge, &["io", "jo"]))
}

/// The edge of a square of ranks.
pub(super) fn square(algorithm: &str, setting: &Setting<'_>) -> Result<usize> {
    match setting.grid_of(algorithm)? {
        Some([rows, columns]) if rows != columns => {
            Err(Error::user(format!("{algorithm} is for square grids, and {rows} x {columns} is none")))
        }
        Some([rows, _]) => Ok(rows),
        None => Ok(edge(setting.ranks, 2)),
    }
}

/// A square grid, on which the rounds begin elsewhere along some of its dimensions.
pub(super) fn rotated(setting: &Setting<'_>, product: &Product, edge: usize, by: &[&str]) -> Recipe {
    let mut primitives = vec![
        divide(product.rows, "io", edge),
        divide(product.columns, "jo", edge),
        divide(product.summed, "ko", edge),
        Primitive::Distribute(names(&["io", "jo"])),
        Primitive::Rotate { of: "ko".into(), by: names(by), to: "kos".into() },
        inside(product, &["io", "jo", "kos"]),
    ];
    primitives.extend(communicate(&[0, 1], "kos"));
    Recipe { primitives, on_face: false, layouts: in_tiles(setting, product) }
}
