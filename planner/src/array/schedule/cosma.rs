//! COSMA: G. Kwasniewski, M. Kabić, M. Besta, J. VandeVondele, R. Solcà, T. Hoefler: Red-blue pebbling revisited, near optimal parallel
//! matrix-matrix multiplication, SC 2019.
//!
//! The cube of products is cut into pm × pn × pk boxes as close to cubes as the extents allow, one a rank. Each operand and the result lie
//! once among the ranks, their tiles shared by the ranks that need them; so each rank gathers the tiles of its box, makes one product, and
//! keeps its share of the sum:
//!
//! ```text
//!   A(i,k) -> M(i,i',k)   all-gather along y          received, all ranks together:
//!   B(k,j) -> M(j',j,k)   all-gather along x             (pn − 1) · m · K + (pm − 1) · K · n + (pk − 1) · m · n
//!   C(i,j) -> M(i,j,i')   reduce-scatter along z
//! ```
//!
//! Of all grids of all ranks the one is taken of which a rank receives least. The paper takes rounds where tiles would not fit into
//! memory: [`Schedule::in_steps`](super::Schedule::in_steps) does so along the summed index.

use bireme_engine::error::Result;

use super::grids::factorizations;
use super::{Primitive, Product, Recipe, Setting, communicate, divide, inside, layout, names};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product) -> Result<Recipe> {
    let received = |&[rows, columns, summed]: &[usize; 3]| {
        let [m, n, k] = product.extents.map(|extent| extent as u128);
        let (pm, pn, pk) = (rows as u128, columns as u128, summed as u128);
        // Of an average rank, times all of them: the grid's longest tile decides between equals.
        let tile = m.div_ceil(pm).max(n.div_ceil(pn)).max(k.div_ceil(pk));
        (m * k * (pn - 1) + k * n * (pm - 1) + m * n * (pk - 1), tile)
    };
    let best = || factorizations::<3>(setting.ranks).into_iter().min_by_key(received).unwrap_or([1; 3]);
    let [rows, columns, summed] = setting.grid_of("COSMA")?.unwrap_or_else(best);
    let mut primitives = vec![
        divide(product.rows, "io", rows),
        divide(product.columns, "jo", columns),
        Primitive::Divide { of: product.summed.into(), outer: "ko".into(), inner: "kl".into(), parts: summed },
        Primitive::Divide {
            of: "kl".into(),
            outer: "k1".into(),
            inner: format!("{}'", product.summed),
            parts: setting.steps.unwrap_or(1),
        },
        Primitive::Distribute(names(&["io", "jo", "ko"])),
        inside(product, &["io", "jo", "ko", "k1"]),
    ];
    primitives.extend(communicate(&[0, 1], "k1"));
    let [i, j, k] = [product.rows, product.columns, product.summed].map(|letter| letter.to_string());
    let within = |letter: char| format!("{letter}'");
    let output = setting.einsum.output();
    let operands = setting.einsum.operands();
    // Sums are shared along the result's first index.
    let shared = output.first().copied().unwrap_or(product.rows);
    let layouts = vec![
        layout("A", &operands[0], &[i.clone(), within(product.rows), k.clone()]),
        layout("B", &operands[1], &[within(product.columns), j.clone(), k]),
        layout("C", output, &[i, j, within(shared)]),
    ];
    Ok(Recipe { primitives, on_face: false, layouts })
}
