//! One operand stays: G. Ballard, N. Knight, K. Rouse: Communication lower bounds for matricized tensor times Khatri-Rao product, IPDPS 2018
//! (its stationary-tensor algorithm, for MTTKRP); DISTAL's schedules of TTV, TTM and inner products are of the kind.
//!
//! The operand is cut along all of its indices over a grid with a dimension for each. Of the other operands each rank gets what its tile meets;
//! where the tile's indices are summed over, the results are summands. For a tensor of I × J × K on a × b × c ranks, and rank R:
//!
//! ```text
//!   MTTKRP  ijk,jr,kr->ir   factors, each in as many parts as there are ranks that share it:
//!                           (ac − 1) · J · R + (ab − 1) · K · R      and sums  (bc − 1) · I · R
//!   TTV     ijk,k->ij       (ab − 1) · K                             and sums  (c − 1) · I · J
//! ```
//!
//! Of all grids the one is taken that moves least: its tiles have the shape of the tensor.

use bireme_engine::error::{Error, Result};
use bireme_operators::contract::{Einsum, Extents};

use super::{Primitive, Recipe, Setting, communicate, divide, layout};

pub(super) fn recipe(setting: &Setting<'_>, operand: usize) -> Result<Recipe> {
    let operands = setting.einsum.operands();
    let letters = operands.get(operand).ok_or_else(|| {
        Error::user(format!("\"{}\" has no operand {operand}: they are counted from 0", setting.einsum))
    })?;
    let mut cut = letters.clone();
    cut.dedup();
    if cut.is_empty() || cut.iter().enumerate().any(|(at, letter)| cut[..at].contains(letter)) {
        return Err(Error::user(format!(
            "operand {operand} of \"{}\" cannot stay: it has no indices, or one twice",
            setting.einsum
        )));
    }
    let grid = match setting.grid {
        Some(grid) if grid.len() == cut.len() => grid.to_vec(),
        Some(grid) => {
            let (has, wants) = (grid.len(), cut.len());
            return Err(Error::user(format!("an operand of {wants} indices stays on {wants} dimensions, not {has}")));
        }
        None => cheapest(setting.einsum, setting.extents, &cut, setting.ranks),
    };
    let names = (0..cut.len()).map(|at| format!("p{at}")).collect::<Vec<_>>();
    let mut primitives = Vec::new();
    for ((&letter, name), &extent) in cut.iter().zip(&names).zip(&grid) {
        primitives.push(divide(letter, name, extent));
    }
    primitives.push(Primitive::Distribute(names.clone()));
    if let Some(last) = names.last() {
        primitives.extend(communicate(&(0..operands.len()).collect::<Vec<_>>(), last));
    }
    // Others lie along the dimensions that cut them, and on the face of the rest.
    let of = |letters: &[char]| {
        let axis = |letter: &char| if letters.contains(letter) { letter.to_string() } else { "0".to_owned() };
        cut.iter().map(axis).collect::<Vec<_>>()
    };
    let layouts = (0..operands.len()).map(|at| layout("A", &operands[at], &of(&operands[at]))).collect::<Vec<_>>();
    Ok(Recipe { primitives, on_face: false, layouts })
}

fn cheapest(einsum: &Einsum, extents: &Extents, cut: &[char], ranks: usize) -> Vec<usize> {
    let mut best = (u128::MAX, Vec::new());
    let mut grid = vec![1; cut.len()];
    search(&mut grid, 0, ranks, &mut |grid| {
        // Each operand, and the result, is needed by as many ranks as the dimensions have that do not cut it.
        let all = einsum.operands().iter().map(Vec::as_slice).chain([einsum.output()]);
        let moved = all.map(|letters| {
            let elements = letters.iter().map(|&letter| extents.of(letter) as u128).product::<u128>();
            let others = cut.iter().zip(grid).filter(|(letter, _)| !letters.contains(letter));
            elements * (others.map(|(_, &extent)| extent as u128).product::<u128>() - 1)
        });
        let moved = moved.sum();
        if moved < best.0 {
            best = (moved, grid.to_vec());
        }
    });
    best.1
}

fn search(grid: &mut Vec<usize>, at: usize, left: usize, look: &mut impl FnMut(&[usize])) {
    if at + 1 == grid.len() {
        grid[at] = left;
        return look(grid);
    }
    for extent in (1..=left).filter(|extent| left.is_multiple_of(*extent)) {
        grid[at] = extent;
        search(grid, at + 1, left / extent, look);
    }
}
