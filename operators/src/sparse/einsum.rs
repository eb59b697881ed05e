//! Products in einsum notation with sparse operands: which kernel they are.
//!
//! ```text
//!   one sparse operand
//!     alone, or with a dense one      ──► rows of entries times a matrix (times_dense), whatever the axes' order
//!     ijk,jr,kr->ir                   ──► MTTKRP
//!     ij,ik,kj->ij                    ──► a sampled product
//!     with other dense ones           ──► entry by entry (general): right, and slow
//!   two sparse operands               ──► rows of entries times rows of entries (times_sparse)
//!   more                              ──► not supported: take them two by two
//! ```
//!
//! **When the result is sparse** ([`is_sparse`]):
//!
//! 1. two sparse operands make a sparse result, if it has an index at all;
//! 2. one sparse operand makes a sparse result if the result has the operand's indices and no others: nothing of it is summed away,
//!    and nothing is spread out. `ij,j->ij`, `ij->ji` and the sampled product are of this kind. It has the operand's pattern;
//! 3. all other results are dense.

use bireme_engine::error::{Error, Result};

use super::number::{Number, zeros};
use super::operand::{Entries, Operand, Output, Sparse};
use super::{Csf, general, mttkrp, sddmm, times_dense, times_sparse};
use crate::contract::{Einsum, Epilogue, Extents, View, contract};

/// Whether a product has a sparse result, given which of its operands are sparse.
///
/// ```
/// use bireme_operators::contract::Einsum;
/// use bireme_operators::sparse::is_sparse;
///
/// assert!(is_sparse(&Einsum::parse("ij,jk->ik")?, &[true, true]));
/// assert!(!is_sparse(&Einsum::parse("ij,jk->ik")?, &[true, false]));
/// assert!(is_sparse(&Einsum::parse("ij,ik,kj->ij")?, &[true, false, false]));
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
pub fn is_sparse(einsum: &Einsum, sparse: &[bool]) -> bool {
    let output = einsum.output();
    let operands: Vec<&Vec<char>> =
        einsum.operands().iter().zip(sparse).filter(|(_, sparse)| **sparse).map(|(letters, _)| letters).collect();
    match &operands[..] {
        [] => false,
        [one] => output.iter().all(|letter| one.contains(letter)) && one.iter().all(|letter| output.contains(letter)),
        _ => !output.is_empty(),
    }
}

/// The product of operands of which any may be sparse, on the rayon pool that it is called in.
///
/// ```
/// use bireme_operators::contract::{Einsum, View};
/// use bireme_operators::sparse::{Coordinates, Output, contract_sparse};
///
/// let a = Coordinates::new(&[2, 3], vec![vec![0, 1], vec![2, 0]], vec![5.0, 1.0])?;
/// let x = [1.0, 2.0, 3.0];
/// let product = contract_sparse(&Einsum::parse("ij,j->i")?, &[(&a).into(), View::contiguous(&x, &[3])?.into()])?;
/// assert_eq!(product, Output::Dense(vec![2], vec![15.0, 1.0]));
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// A user's error if shapes do not fit or an integer does not fit its type; not supported if there are three sparse operands or
/// more, or two and a dense one, or flattened axes have more than 2³² indices; out of resources if there is no memory for the result.
///
/// Source: see the kernels.
pub fn contract_sparse<T: Number>(einsum: &Einsum, operands: &[Operand<'_, T>]) -> Result<Output<T>> {
    let shapes: Vec<Vec<usize>> = operands.iter().map(Operand::shape).collect();
    let extents = einsum.extents(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let (mut sparse, mut dense) = (Vec::new(), Vec::new());
    for (operand, letters) in operands.iter().zip(einsum.operands()) {
        match operand {
            Operand::Dense(view) => dense.push(Named { letters, view: view.clone() }),
            Operand::Sparse(tensor) => sparse.push((*tensor, letters)),
        }
    }
    let output = einsum.output();
    match (&sparse[..], &dense[..]) {
        ([], _) => all_dense(einsum, &dense, &extents),
        (&[(tensor, letters)], []) => {
            let one = [T::ONE];
            let one = Named { letters: &[], view: View::contiguous(&one, &[])? };
            times_dense::run(Entries::new(tensor, letters)?, &one, output, &extents)
        }
        (&[(tensor, letters)], [one]) => times_dense::run(Entries::new(tensor, letters)?, one, output, &extents),
        (&[(tensor, letters)], _) => one_sparse(tensor, letters, &dense, output, &extents),
        (&[(left, left_letters), (right, right_letters)], []) => {
            let (left, right) = (Entries::new(left, left_letters)?, Entries::new(right, right_letters)?);
            times_sparse::run(left, right, output, &extents)
        }
        _ => Err(Error::unsupported(format!(
            "einsum \"{einsum}\" with {} sparse and {} dense operands; two sparse operands, or one with any number of dense ones, make \
             a product: take the operands two by two",
            sparse.len(),
            dense.len()
        ))),
    }
}

/// A dense operand and its letters.
#[derive(Clone, Debug)]
pub(super) struct Named<'a, T> {
    pub letters: &'a [char],
    pub view: View<'a, T>,
}

impl<T: Number> Named<'_, T> {
    /// The array with these letters, summed over its others: row-major.
    pub fn arranged(&self, letters: &[char], extents: &Extents) -> Result<Vec<T>> {
        let mut made = zeros(extents.elements(letters)?, "a copy of an array")?;
        let einsum = Einsum::new(vec![self.letters.to_vec()], letters.to_vec())?;
        contract(&einsum, std::slice::from_ref(&self.view), Epilogue::REPLACE, &mut made)?;
        Ok(made)
    }
}

fn all_dense<T: Number>(einsum: &Einsum, dense: &[Named<'_, T>], extents: &Extents) -> Result<Output<T>> {
    let views: Vec<View<'_, T>> = dense.iter().map(|one| one.view.clone()).collect();
    let mut out = zeros(extents.elements(einsum.output())?, "the result of a product")?;
    contract(einsum, &views, Epilogue::REPLACE, &mut out)?;
    Ok(Output::Dense(extents.shape(einsum.output()), out))
}

/// One sparse operand and two dense ones, or more.
fn one_sparse<T: Number>(
    tensor: Sparse<'_, T>,
    letters: &[char],
    dense: &[Named<'_, T>],
    output: &[char],
    extents: &Extents,
) -> Result<Output<T>> {
    if let Some((axis, rank, factors)) = as_mttkrp(letters, dense, output)? {
        let mut out = zeros(extents.elements(output)?, "the result of an MTTKRP")?;
        match tensor {
            Sparse::Csf(tree) => mttkrp(tree, axis, &factors, &mut out)?,
            // Its axes in the order they have: then it need not be sorted.
            Sparse::Coordinates(tensor) => {
                let order: Vec<usize> = (0..letters.len()).collect();
                mttkrp(&Csf::new(tensor, &order)?, axis, &factors, &mut out)?;
            }
            Sparse::Csr(matrix) => {
                mttkrp(&Csf::new(&matrix.clone().into_coordinates()?, &[0, 1])?, axis, &factors, &mut out)?;
            }
        }
        let made = [letters[axis], rank];
        return Ok(Output::Dense(extents.shape(output), times_dense::in_order(out, &made, output, extents)?));
    }
    let entries = Entries::new(tensor, letters)?;
    if let [a, b] = dense
        && let Some(sampled) = sddmm::einsum(&entries, a, b, output, extents)?
    {
        return Ok(Output::Sparse(sampled));
    }
    general::run(&entries, dense, output, extents)
}

/// The tensor's axis that is kept, the rank's letter, and the matrices in the order of the other axes, if it is an MTTKRP.
#[allow(clippy::type_complexity, reason = "three things that are found together")]
fn as_mttkrp<'a, T: Number>(
    letters: &[char],
    dense: &[Named<'a, T>],
    output: &[char],
) -> Result<Option<(usize, char, Vec<View<'a, T>>)>> {
    let &[one, other] = output else { return Ok(None) };
    let (kept, rank) = if letters.contains(&one) { (one, other) } else { (other, one) };
    let distinct = letters.iter().enumerate().all(|(at, letter)| !letters[..at].contains(letter));
    let Some(axis) = letters.iter().position(|&letter| letter == kept) else { return Ok(None) };
    if !distinct || letters.contains(&rank) || dense.len() + 1 != letters.len() {
        return Ok(None);
    }
    let mut factors = Vec::with_capacity(dense.len());
    for &letter in letters.iter().filter(|&&letter| letter != kept) {
        let found = dense.iter().find_map(|named| match *named.letters {
            [row, column] if (row, column) == (letter, rank) => Some(Ok(named.view.clone())),
            [column, row] if (row, column) == (letter, rank) => Some(transposed(&named.view)),
            _ => None,
        });
        match found {
            Some(view) => factors.push(view?),
            None => return Ok(None),
        }
    }
    Ok(Some((axis, rank, factors)))
}

/// The view with its axes the other way round.
pub(super) fn transposed<'a, T: Copy>(view: &View<'a, T>) -> Result<View<'a, T>> {
    let reversed = |axes: &[usize]| axes.iter().rev().copied().collect::<Vec<_>>();
    let strides: Vec<isize> = view.strides().iter().rev().copied().collect();
    View::new(view.data(), &reversed(view.shape()), &strides, view.offset())
}
