//! Johnson's algorithm: R. C. Agarwal, S. M. Balle, F. G. Gustavson, M. Joshi, P. Palkar: A three-dimensional approach to parallel matrix
//! multiplication, IBM J. Res. Dev. 39 (1995); the name is DISTAL's.
//!
//! A cube of q × q × q ranks, over rows, columns and the summed index; operands and result lie on one face each:
//!
//! ```text
//!   A(i,k) on (x, 0, z) ─ to all y      each rank: one product      C(i,j) summed over z to (x, y, 0)
//!   B(k,j) on (0, y, z) ─ to all x
//! ```
//!
//! Received, all ranks together: (q − 1) · (m · K + K · n + m · n), in one round.

use bireme_engine::error::{Error, Result};

use super::grids::edge;
use super::{Primitive, Product, Recipe, Setting, communicate, divide, layout, names};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product) -> Result<Recipe> {
    let edge = match setting.grid_of("Johnson")? {
        Some([a, b, c]) if a != b || b != c => {
            return Err(Error::user(format!("Johnson is for cubes of ranks, and {a} x {b} x {c} is none")));
        }
        Some([a, ..]) => a,
        None => edge(setting.ranks, 3),
    };
    let mut primitives = vec![
        divide(product.rows, "io", edge),
        divide(product.columns, "jo", edge),
        divide(product.summed, "ko", edge),
        Primitive::Distribute(names(&["io", "jo", "ko"])),
    ];
    primitives.extend(communicate(&[0, 1], "ko"));
    let [i, j, k] = [product.rows, product.columns, product.summed].map(|letter| letter.to_string());
    let (operands, zero) = (setting.einsum.operands(), "0".to_owned());
    let layouts = vec![
        layout("A", &operands[0], &[i.clone(), zero.clone(), k.clone()]),
        layout("B", &operands[1], &[zero.clone(), j.clone(), k]),
        layout("C", setting.einsum.output(), &[i, j, zero]),
    ];
    Ok(Recipe { primitives, on_face: true, layouts })
}
