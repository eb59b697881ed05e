//! MTTKRP of a sparse tensor: times a matrix for each of its axes but one, the step that decompositions of tensors repeat.
//!
//! ```text
//!   out[i,r] = Σ_j Σ_k  x[i,j,k] · b[j,r] · c[k,r]              for all r at a time
//!
//!   level 0 (i)     out[i,:] += sum                             the axis of `out` at the root
//!   level 1 (j)     sum += b[j,:] ∘ fibre                        once a fibre
//!   level 2 (k)     fibre += x · c[k,:]                          once an entry
//! ```
//!
//! The tree ([`Csf`]) is walked fibre by fibre. Sums of the levels below the output's axis go up when a node's last child is done;
//! products of the matrices' rows above it come down when a node begins:
//!
//! - *the axis at the root:* each row of the output is a node; work is divided as for products of matrices
//!   ([`partition`](super::partition)), with fibres for entries, and a heavy row is cut;
//! - *below the root:* nodes of many roots go to one row. Fibres are cut into pieces with outputs of their own, which are added up in
//!   order. If that would take much more memory than the tensor, the tree is made anew with the axis at the root.
//!
//! All of it for [`LANES`] columns of the matrices at a time, which are copied side by side first (filled up with zeros), so that
//! sums are in registers. A fibre is never cut. How work is cut depends on the tensor and the rank alone.
//!
//! S. Smith, N. Ravindran, N. D. Sidiropoulos, G. Karypis: SPLATT: efficient and parallel sparse tensor-matrix multiplication, IPDPS
//! 2015, and Smith and Karypis (2015) for the axes below the root.

mod walk;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::Csf;
use super::number::{Number, overflow, zeros};
use super::partition::for_parts;
use crate::contract::View;
use crate::expr::simd::vectorized;
use walk::{Tree, Walk};

/// Columns at a time.
const LANES: usize = 16;

/// Fibres and rows of a task.
const STEPS: usize = 1 << 11;

/// Pieces of the fibres if the output's axis is below the root: more than most hosts have cores.
const PIECES: usize = 32;

/// Elements of all pieces' outputs for each entry of the tensor.
const ELEMENTS_AN_ENTRY: usize = 4;

/// With so few pieces the tree is made anew, if there are [`MANY`] entries.
const FEW_PIECES: usize = 8;
const MANY: usize = 1 << 16;

const WHAT: &str = "an MTTKRP of a sparse tensor";

/// `out[i,r] = Σ x[…,i,…] · Π factors[j,r]`, on the rayon pool that it is called in.
///
/// `factors` has a matrix of equally many columns for each axis of the tensor but `axis`, in the axes' order; `out` is the row-major
/// matrix of the axis' extent and the factors' columns. Integers are summed exactly, but a fibre's sum and a product of factors, which
/// are intermediate results, must fit their type as well.
///
/// ```
/// use bireme_operators::contract::View;
/// use bireme_operators::sparse::{Coordinates, Csf, mttkrp};
///
/// let x = Coordinates::new(&[2, 2, 2], vec![vec![0, 1], vec![1, 0], vec![1, 1]], vec![2.0, 3.0])?;
/// let (b, c) = ([1.0, 10.0], [5.0, 7.0]);
/// let mut out = [0.0; 2];
/// let factors = [View::contiguous(&b, &[2, 1])?, View::contiguous(&c, &[2, 1])?];
/// mttkrp(&Csf::new(&x, &[0, 1, 2])?, 0, &factors, &mut out)?;
/// assert_eq!(out, [2.0 * 10.0 * 7.0, 3.0 * 1.0 * 7.0]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// A user's error if the tensor has fewer than two axes or not this one, matrices are not as said, `out` has another number of
/// elements, or an integer does not fit; out of resources if there is no memory for copies.
///
/// Source: Smith and Karypis (2015).
pub fn mttkrp<T: Number>(x: &Csf<T>, axis: usize, factors: &[View<'_, T>], out: &mut [T]) -> Result<()> {
    let rank = check(x, axis, factors, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let level = x.order().iter().position(|&one| one == axis).unwrap_or(0);
    let extent = x.shape()[axis];
    let pieces = (ELEMENTS_AN_ENTRY * x.values().len() / (extent * rank)).clamp(1, PIECES);
    if level > 0 && pieces < FEW_PIECES && x.values().len() >= MANY {
        let mut order = vec![axis];
        order.extend(x.order().iter().filter(|&&one| one != axis));
        return mttkrp(&Csf::new(&x.to_coordinates()?, &order)?, axis, factors, out);
    }
    let mut packed = Vec::with_capacity(x.order().len());
    for &one in x.order() {
        packed.push(match factors.get(if one < axis { one } else { one.wrapping_sub(1) }) {
            Some(factor) if one != axis => pack(factor, rank)?,
            _ => Vec::new(),
        });
    }
    let extents: Vec<usize> = x.order().iter().map(|&one| x.shape()[one]).collect();
    let tree = Tree { levels: x.levels(), values: x.values(), factors: &packed, extents: &extents };
    if level == 0 { at_root(&tree, extent, rank, out) } else { below(&tree, level, pieces, extent, rank, out) }
}

fn check<T: Number>(x: &Csf<T>, axis: usize, factors: &[View<'_, T>], out: usize) -> Result<usize> {
    let shape = x.shape();
    let others: Vec<usize> =
        shape.iter().enumerate().filter(|(one, _)| *one != axis).map(|(_, &extent)| extent).collect();
    let rank = factors.first().and_then(|factor| factor.shape().get(1)).copied().unwrap_or(0);
    let fits = factors.len() == others.len()
        && factors.iter().zip(&others).all(|(factor, &extent)| factor.shape() == [extent, rank]);
    if shape.len() < 2 || axis >= shape.len() || !fits || shape[axis].checked_mul(rank) != Some(out) {
        let factors: Vec<&[usize]> = factors.iter().map(View::shape).collect();
        return Err(Error::user(format!(
            "a tensor of shape {shape:?} cannot be multiplied by matrices of shapes {factors:?} for all axes but {axis}, into {out} \
             elements: one matrix is needed for each other axis, all with equally many columns"
        )));
    }
    Ok(rank)
}

/// The matrix in blocks of `LANES` columns: all rows of a block, then those of the next.
fn pack<T: Number>(factor: &View<'_, T>, rank: usize) -> Result<Vec<[T; LANES]>> {
    let rows = factor.shape()[0];
    let mut packed = Vec::new();
    let length = rows * rank.div_ceil(LANES);
    packed.try_reserve_exact(length).map_err(|cause| {
        Error::resources(format!("a copy of a matrix of shape [{rows}, {rank}] cannot be allocated: {cause}"))
    })?;
    packed.resize(length, [T::ZERO; LANES]);
    let [down, along] = [factor.strides()[0], factor.strides()[1]];
    for (number, block) in packed.chunks_mut(rows.max(1)).enumerate() {
        let first = number * LANES;
        let columns = LANES.min(rank - first);
        block.par_iter_mut().with_min_len(1 << 10).enumerate().for_each(|(row, slots)| {
            let place = factor.offset() as isize + row as isize * down + first as isize * along;
            for (column, slot) in slots[..columns].iter_mut().enumerate() {
                *slot = factor.data()[(place + column as isize * along) as usize];
            }
        });
    }
    Ok(packed)
}

fn at_root<T: Number>(tree: &Tree<'_, T>, extent: usize, rank: usize, out: &mut [T]) -> Result<()> {
    // Each index' first fibre, also of indices without any.
    let mut starts = zeros::<usize>(extent + 1, "the starts of rows")?;
    let (mut done, mut ended) = (0, 0);
    for (node, &index) in tree.levels[0].indices.iter().enumerate() {
        starts[done..=index as usize].fill(ended);
        (done, ended) = (index as usize + 1, tree.first_fibre(0, node + 1));
    }
    starts[done..].fill(ended);
    for_parts(&starts, STEPS, rank, out, WHAT, |part, rows, seam| {
        vectorized(
            #[inline(always)]
            || {
                for first in (0..rank).step_by(LANES) {
                    let columns = first..rank.min(first + LANES);
                    let mut walk = Walk::new(tree, 0, first / LANES, part.entries.start);
                    let mut from = part.entries.start;
                    for at in 0..part.rows.len() {
                        let to = starts[part.rows.start + at + 1];
                        let sums = walk.row(from..to)?;
                        if at == 0 {
                            seam.first[columns.clone()].copy_from_slice(&sums[..columns.len()]);
                        } else {
                            let slots = &mut rows[at * rank..][columns.clone()];
                            for (slot, sum) in slots.iter_mut().zip(sums) {
                                *slot = T::finish(sum)?;
                            }
                        }
                        from = to;
                    }
                    let sums = walk.row(from..part.entries.end)?;
                    seam.last[columns.clone()].copy_from_slice(&sums[..columns.len()]);
                }
                Some(())
            },
        )
    })
}

fn below<T: Number>(
    tree: &Tree<'_, T>,
    level: usize,
    pieces: usize,
    extent: usize,
    rank: usize,
    out: &mut [T],
) -> Result<()> {
    let fibres = tree.fibres();
    let of_a_piece = fibres.div_ceil(pieces).max(1);
    let blocks = rank.div_ceil(LANES);
    let size = extent * blocks;
    let mut sums = Vec::new();
    sums.try_reserve_exact(size * pieces).map_err(|cause| {
        Error::resources(format!("{pieces} outputs of shape [{extent}, {rank}] cannot be allocated: {cause}"))
    })?;
    sums.resize(size * pieces, [T::Sum::default(); LANES]);
    let piece = |(number, sums): (usize, &mut [[T::Sum; LANES]])| {
        let range = (number * of_a_piece).min(fibres)..((number + 1) * of_a_piece).min(fibres);
        vectorized(
            #[inline(always)]
            || {
                for (block, sums) in sums.chunks_mut(extent).enumerate() {
                    Walk::new(tree, level, block, range.start).scatter(range.clone(), sums)?;
                }
                Some(())
            },
        )
    };
    let done: Option<()> = sums.par_chunks_mut(size).enumerate().map(piece).collect();
    done.ok_or_else(|| overflow::<T>(WHAT))?;
    let row = |(row, slots): (usize, &mut [T])| {
        for (column, slot) in slots.iter_mut().enumerate() {
            let place = column / LANES * extent + row;
            let mut sum = T::Sum::default();
            (0..pieces).for_each(|piece| T::add(&mut sum, sums[piece * size + place][column % LANES]));
            *slot = T::finish(sum)?;
        }
        Some(())
    };
    let rows = out.par_chunks_mut(rank).with_min_len(1 << 8).enumerate();
    rows.map(row).collect::<Option<()>>().ok_or_else(|| overflow::<T>(WHAT))
}
