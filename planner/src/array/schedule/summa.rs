//! SUMMA: R. van de Geijn, J. Watts: SUMMA, scalable universal matrix multiplication algorithm, Concurrency 9 (1997).
//!
//! On r × c ranks each keeps a tile of the result. In rounds along the summed index, the owners of a panel of A give it to their row of the
//! grid, those of a panel of B to their column:
//!
//! ```text
//!   A(i,k)  ko=0   1          B(k,j)   ┌──┬──┐ ko=0        received, all ranks together, for m × K times K × n:
//!          ┌──┬──┐                     ├──┼──┤                (c − 1) · m · K  of A
//!          │▒▒│  │ → its row           └──┴──┘ 1              (r − 1) · K · n  of B
//!          └──┴──┘                       ↓ its column
//! ```
//!
//! Any grid will do; of all with so many ranks, the one that moves least is taken.

use bireme_engine::error::Result;

use super::grids::factorizations;
use super::{Primitive, Product, Recipe, Setting, communicate, divide, inside, layout, names};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product) -> Result<Recipe> {
    let [m, n, _] = product.extents;
    let moved = |&[rows, columns]: &[usize; 2]| m * (columns - 1) + n * (rows - 1);
    let best = || factorizations::<2>(setting.ranks).into_iter().min_by_key(moved).unwrap_or([1, 1]);
    let [rows, columns] = setting.grid_of("SUMMA")?.unwrap_or_else(best);
    // So that a round is not within two owners' parts.
    let steps = setting.steps.unwrap_or_else(|| lcm(rows, columns));
    let mut primitives = vec![
        divide(product.rows, "io", rows),
        divide(product.columns, "jo", columns),
        divide(product.summed, "ko", steps),
        Primitive::Distribute(names(&["io", "jo"])),
        inside(product, &["io", "jo", "ko"]),
    ];
    primitives.extend(communicate(&[0, 1], "ko"));
    Ok(Recipe { primitives, on_face: false, layouts: in_tiles(setting, product) })
}

/// All three in tiles on a grid of two dimensions.
pub(super) fn in_tiles(setting: &Setting<'_>, product: &Product) -> Vec<String> {
    let [i, j, k] = [product.rows, product.columns, product.summed].map(|letter| letter.to_string());
    let operands = setting.einsum.operands();
    vec![
        layout("A", &operands[0], &[i.clone(), k.clone()]),
        layout("B", &operands[1], &[k, j.clone()]),
        layout("C", setting.einsum.output(), &[i, j]),
    ]
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a.max(1), b.max(1));
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
