//! The 2.5-D algorithm: E. Solomonik, J. Demmel: Communication-optimal parallel 2.5D matrix multiplication and LU factorization algorithms,
//! Euro-Par 2011.
//!
//! q × q × c ranks, where c divides q; the operands lie in tiles on layer 0. Each layer does q / c of the q rounds of Cannon's algorithm, those
//! along its own part of the summed index, and the layers' summands are added up on layer 0:
//!
//! ```text
//!   layer 0   rounds 0 .. q/c        ┐
//!   layer 1   rounds q/c .. 2q/c     ┼─ + ─►  C(i,j) on layer 0
//!   …                                ┘
//! ```
//!
//! A layer gets from layer 0 the tiles that its rounds need, and no others: copying whole operands to the layers first, as the paper does,
//! would move more. Received, all ranks together, where K₀ is layer 0's part of the summed index (K / c, if that is whole):
//!
//! ```text
//!   of A   q · m · K − m · K₀       a rank needs q/c tiles; those of layer 0 that own one of theirs do not move it
//!   of B   q · K · n − K₀ · n
//!   of C   (c − 1) · m · n
//! ```
//!
//! Copies pay where the network is slow: per rank about 2 · n² / √(c · p) instead of 2 · n² / √p.

use bireme_engine::error::{Error, Result};

use super::{Primitive, Product, Recipe, Setting, communicate, divide, inside, layout, names};

pub(super) fn recipe(setting: &Setting<'_>, product: &Product, copies: Option<usize>) -> Result<Recipe> {
    let [edge, layers] = match setting.grid_of("2.5-D")? {
        Some([rows, columns, layers]) if rows == columns && layers > 0 && rows.is_multiple_of(layers) => [rows, layers],
        Some([a, b, c]) => {
            return Err(Error::user(format!(
                "the 2.5-D algorithm is for q x q x c ranks where c divides q, and {a} x {b} x {c} is not so"
            )));
        }
        None => grid(setting.ranks, copies).ok_or_else(|| {
            Error::user(format!("no grid of q x q x {} ranks fits {} ranks", copies.unwrap_or(1), setting.ranks))
        })?,
    };
    let mut primitives = vec![
        divide(product.rows, "io", edge),
        divide(product.columns, "jo", edge),
        divide(product.summed, "ks", edge),
        Primitive::Divide { of: "ks".into(), outer: "ko".into(), inner: "k1".into(), parts: layers },
        Primitive::Distribute(names(&["io", "jo", "ko"])),
        Primitive::Rotate { of: "k1".into(), by: names(&["io", "jo"]), to: "k1s".into() },
        inside(product, &["io", "jo", "ko", "k1s"]),
    ];
    primitives.extend(communicate(&[0, 1], "k1s"));
    let [i, j, k] = [product.rows, product.columns, product.summed].map(|letter| letter.to_string());
    let (operands, zero) = (setting.einsum.operands(), "0".to_owned());
    let layouts = vec![
        layout("A", &operands[0], &[i.clone(), k.clone(), zero.clone()]),
        layout("B", &operands[1], &[k, j.clone(), zero.clone()]),
        layout("C", setting.einsum.output(), &[i, j, zero]),
    ];
    Ok(Recipe { primitives, on_face: true, layouts })
}

/// The edge and the layers: as many ranks as possible, then as many layers.
fn grid(ranks: usize, copies: Option<usize>) -> Option<[usize; 2]> {
    let edges = (1..=ranks).take_while(|edge| edge * edge <= ranks);
    let all = edges.flat_map(|edge| (1..=edge).map(move |layers| [edge, layers]));
    let fits = |grid: &[usize; 2]| {
        let [edge, layers] = *grid;
        edge * edge * layers <= ranks && edge.is_multiple_of(layers) && copies.is_none_or(|copies| copies == layers)
    };
    all.filter(fits).max_by_key(|&[edge, layers]| (edge * edge * layers, layers))
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn as_many_ranks_and_layers_as_fit() {
        assert_eq!(
            [1, 2, 4, 8, 9, 32].map(|ranks| grid(ranks, None)),
            [Some([1, 1]), Some([1, 1]), Some([2, 1]), Some([2, 2]), Some([3, 1]), Some([4, 2])]
        );
        assert_eq!((grid(8, Some(1)), grid(8, Some(3))), (Some([2, 1]), None));
    }
}
