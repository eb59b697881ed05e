//! The product of two strided arrays, into a contiguous tile.
//!
//! ```text
//!   left "iij", right "jk" ──► diagonals: one index with the sum of its strides
//!                          ──► an index of one operand alone that is not kept is summed first, in a pass of its own
//!                          ──► classes of indices (groups), neighbours fused
//!                          ──► the kernel for these classes
//! ```
//!
//! Nothing is moved on this way. Kernels that need an array in another order of axes copy it (`pack`), and say so.
//!
//! D. A. Matthews: High-performance tensor contraction without transposition, SIAM J. Sci. Comput. 40 (2018), for the classes and
//! what can be fused; P. Springer, P. Bientinesi: Design of a high-performance GEMM-like tensor–tensor multiplication, ACM TOMS
//! 44 (2018), for when to loop over GEMMs and when to transpose.

use bireme_engine::error::{Error, Result};

use super::element::{Element, Epilogue};
use super::groups::{Axis, Groups, Job, Kernel, Place, fuse};
use super::view::row_major;
use super::{Einsum, View, mttkrp};

/// `out = alpha · einsum(left, right) + beta · out`, on the rayon pool that it is called in.
///
/// `out` is the row-major array of the output's shape.
///
/// ```
/// use bireme_operators::contract::{Einsum, Epilogue, View, contract_pair};
///
/// let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 1.0, 1.0]);
/// let (a, b) = (View::contiguous(&a, &[2, 2])?, View::contiguous(&b, &[2, 2])?);
/// let mut c = [0.0; 4];
/// contract_pair(&Einsum::parse("ij,jk->ik")?, &a, &b, Epilogue::REPLACE, &mut c)?;
/// assert_eq!(c, [3.0, 2.0, 7.0, 4.0]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// A user's error if there are not two operands, shapes do not fit, `out` has not as many elements as the output's shape, or a
/// sum of integers does not fit its type.
///
/// Source: Matthews (2018), Springer and Bientinesi (2018).
pub fn contract_pair<T: Element>(
    einsum: &Einsum,
    left: &View<'_, T>,
    right: &View<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [T],
) -> Result<()> {
    let [left_letters, right_letters] = einsum.operands() else {
        return Err(Error::user(format!("einsum \"{einsum}\" is no product of two")));
    };
    check_output(einsum, &[left.shape(), right.shape()], out.len())?;
    let (left, right) = (Named::new(left_letters, left), Named::new(right_letters, right));
    named_pair(&left, &right, einsum.output(), epilogue, out)
}

/// `out = alpha · einsum(operand) + beta · out` for a single operand: transposition, diagonals, sums.
pub(super) fn contract_one<T: Element>(
    einsum: &Einsum,
    operand: &View<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [T],
) -> Result<()> {
    let [letters] = einsum.operands() else {
        return Err(Error::internal(format!("einsum \"{einsum}\" has not one operand")));
    };
    check_output(einsum, &[operand.shape()], out.len())?;
    named_one(&Named::new(letters, operand), einsum.output(), epilogue, out)
}

/// Which kernel computes a contraction of one or two operands, or an MTTKRP; `None` if it is several products.
///
/// # Errors
///
/// A user's error if shapes do not fit.
///
/// ```
/// use bireme_operators::contract::{Einsum, Kernel, kernel};
///
/// let extents = |text: &str, shapes: &[&[usize]]| kernel(&Einsum::parse(text)?, shapes);
/// assert_eq!(extents("ijk,kl->ijl", &[&[4, 5, 6], &[6, 7]])?, Some(Kernel::Gemm));
/// assert_eq!(extents("ijk,kl->ijl", &[&[4, 5, 6], &[6, 1]])?, Some(Kernel::Ttv));
/// assert_eq!(extents("ijk,jl,kl->il", &[&[4, 5, 6], &[5, 3], &[6, 3]])?, Some(Kernel::Mttkrp));
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
pub fn kernel(einsum: &Einsum, shapes: &[&[usize]]) -> Result<Option<Kernel>> {
    let extents = einsum.extents(shapes)?;
    let (left, right) = match einsum.operands() {
        // A sum is a product with ones.
        [one] => (one.clone(), one.iter().copied().filter(|letter| !einsum.output().contains(letter)).collect()),
        [left, right] => (left.clone(), right.clone()),
        _ => return Ok(mttkrp::recognise(einsum).map(|_| Kernel::Mttkrp)),
    };
    let mut groups = Groups::default();
    for letter in einsum.letters() {
        let axis = Axis { extent: extents.of(letter), left: 0, right: 0, out: 0 };
        if axis.extent == 1 {
            continue;
        }
        match (left.contains(&letter), right.contains(&letter), einsum.output().contains(&letter)) {
            (true, true, true) => groups.batch.push(axis),
            (true, false, true) => groups.rows.push(axis),
            (false, true, true) => groups.columns.push(axis),
            (true, true, false) => groups.inner.push(axis),
            // Summed beforehand.
            _ => {}
        }
    }
    Ok(Some(groups.kernel()))
}

/// How an operand lies whose axes have letters, each letter once.
#[derive(Clone, Debug)]
pub(super) struct Lettered {
    pub offset: usize,
    /// Letter, extent, stride.
    pub axes: Vec<(char, usize, isize)>,
}

impl Lettered {
    /// A letter that stands twice becomes one axis along the diagonal.
    pub fn new(letters: &[char], shape: &[usize], strides: &[isize], offset: usize) -> Self {
        let mut axes: Vec<(char, usize, isize)> = Vec::new();
        for ((&letter, &extent), &stride) in letters.iter().zip(shape).zip(strides) {
            match axes.iter_mut().find(|axis| axis.0 == letter) {
                Some(axis) => axis.2 += stride,
                None => axes.push((letter, extent, stride)),
            }
        }
        Self { offset, axes }
    }

    /// A row-major array of these axes' extents that fills its buffer.
    fn contiguous(axes: impl Iterator<Item = (char, usize)>) -> Self {
        let axes = axes.collect::<Vec<_>>();
        let strides = row_major(&axes.iter().map(|axis| axis.1).collect::<Vec<_>>());
        Self { offset: 0, axes: axes.into_iter().zip(strides).map(|(axis, stride)| (axis.0, axis.1, stride)).collect() }
    }

    /// One element in place of a row-major array, stepped over with strides of 0: what sums of this over all but `kept` are products with.
    pub fn one(&self, kept: &[char]) -> Self {
        let summed = self.axes.iter().filter(|axis| !kept.contains(&axis.0));
        Self { offset: 0, axes: summed.map(|axis| (axis.0, axis.1, 0)).collect() }
    }

    fn stride(&self, letter: char) -> Option<isize> {
        self.axes.iter().find(|axis| axis.0 == letter).map(|axis| axis.2)
    }

    /// The view without indices of extent 1.
    pub fn squeezed(mut self) -> Self {
        self.axes.retain(|axis| axis.1 != 1);
        self
    }

    pub fn has_nothing(&self) -> bool {
        self.axes.iter().any(|axis| axis.1 == 0)
    }

    pub fn elements(&self) -> usize {
        self.axes.iter().map(|axis| axis.1).product()
    }

    pub fn letters(&self) -> Vec<char> {
        self.axes.iter().map(|axis| axis.0).collect()
    }

    /// What is left when those indices are summed that neither the other operand nor the output has; `None` if there are none.
    pub fn without_lonely(&self, other: &Self, output: &[char]) -> Option<Self> {
        let kept = |axis: &&(char, usize, isize)| output.contains(&axis.0) || other.stride(axis.0).is_some();
        let left = self.axes.iter().filter(kept).map(|axis| (axis.0, axis.1)).collect::<Vec<_>>();
        (left.len() < self.axes.len()).then(|| Self::contiguous(left.into_iter()))
    }
}

/// An operand that lies in a buffer.
#[derive(Clone, Debug)]
struct Named<'a, T> {
    data: &'a [T],
    lies: Lettered,
}

impl<'a, T: Copy> Named<'a, T> {
    fn new(letters: &[char], view: &View<'a, T>) -> Self {
        let lies = Lettered::new(letters, view.shape(), view.strides(), view.offset());
        Self { data: view.data(), lies }
    }
}

pub(super) fn check_output(einsum: &Einsum, shapes: &[&[usize]], elements: usize) -> Result<()> {
    let extents = einsum.extents(shapes)?;
    let expected = extents.elements(einsum.output())?;
    if expected != elements {
        return Err(Error::user(format!(
            "einsum \"{einsum}\" of shapes {shapes:?} makes an array of shape {:?}, but there is room for {elements} elements",
            extents.shape(einsum.output())
        )));
    }
    Ok(())
}

fn named_one<T: Element>(operand: &Named<'_, T>, output: &[char], epilogue: Epilogue<T>, out: &mut [T]) -> Result<()> {
    // A sum is a product with ones.
    let ones = Named { data: &[T::ONE], lies: operand.lies.one(output) };
    named_pair(operand, &ones, output, epilogue, out)
}

fn named_pair<T: Element>(
    left: &Named<'_, T>,
    right: &Named<'_, T>,
    output: &[char],
    epilogue: Epilogue<T>,
    out: &mut [T],
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    if left.lies.has_nothing() || right.lies.has_nothing() {
        return T::scale(epilogue.beta, out);
    }
    let squeezed = |named: &Named<'_, T>| named.lies.clone().squeezed();
    let (left, right) =
        (Named { data: left.data, lies: squeezed(left) }, Named { data: right.data, lies: squeezed(right) });
    let (mut left_sums, mut right_sums) = (Vec::new(), Vec::new());
    let left_only = without_lonely(&left, &right, output, &mut left_sums)?;
    let right_only = without_lonely(&right, &left, output, &mut right_sums)?;
    let groups = classify(&left_only.lies, &right_only.lies, output);
    let origin = Place { left: left_only.lies.offset as isize, right: right_only.lies.offset as isize, out: 0 };
    T::product(&Job { left: left_only.data, right: right_only.data, origin, groups, epilogue }, out)
}

/// The operand with those indices summed that neither the other operand nor the output has.
fn without_lonely<'a, T: Element>(
    operand: &Named<'a, T>,
    other: &Named<'_, T>,
    output: &[char],
    sums: &'a mut Vec<T>,
) -> Result<Named<'a, T>> {
    let Some(lies) = operand.lies.without_lonely(&other.lies, output) else { return Ok(operand.clone()) };
    sums.resize(lies.elements(), T::ZERO);
    named_one(operand, &lies.letters(), Epilogue::REPLACE, sums)?;
    Ok(Named { data: sums, lies })
}

/// The classes of the indices. Those of the output are in its order, those summed in the left operand's.
pub(super) fn classify(left: &Lettered, right: &Lettered, output: &[char]) -> Groups {
    let mut groups = Groups::default();
    let mut kept = Vec::new();
    for &letter in output {
        // An index of extent 1 stands in neither.
        let axis = left.axes.iter().chain(&right.axes).find(|axis| axis.0 == letter);
        kept.extend(axis.map(|axis| (letter, axis.1)));
    }
    let strides = row_major(&kept.iter().map(|one| one.1).collect::<Vec<_>>());
    for (&(letter, extent), out) in kept.iter().zip(strides) {
        let (in_left, in_right) = (left.stride(letter), right.stride(letter));
        let axis = Axis { extent, left: in_left.unwrap_or(0), right: in_right.unwrap_or(0), out };
        match (in_left.is_some(), in_right.is_some()) {
            (true, true) => groups.batch.push(axis),
            (true, false) => groups.rows.push(axis),
            _ => groups.columns.push(axis),
        }
    }
    for &(letter, extent, left) in &left.axes {
        if let (false, Some(right)) = (output.contains(&letter), right.stride(letter)) {
            groups.inner.push(Axis { extent, left, right, out: 0 });
        }
    }
    groups.inner.sort_by_key(|axis| std::cmp::Reverse(axis.left.unsigned_abs()));
    groups.batch = fuse(&groups.batch);
    groups.rows = fuse(&groups.rows);
    groups.columns = fuse(&groups.columns);
    groups.inner = fuse(&groups.inner);
    groups
}
