//! Shapes.

use bireme_engine::error::{Error, Result};

/// The shape to which both are broadcast, as in NumPy: axes are matched from the last on, and extents of 1 are stretched.
///
/// # Errors
/// A user's error if extents differ; it names both shapes.
pub fn broadcast(one: &[usize], other: &[usize]) -> Result<Vec<usize>> {
    let axes = one.len().max(other.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(axes).map_or(1, |at| shape[at]);
    let fit = |axis: usize| match (extent(one, axis), extent(other, axis)) {
        (a, b) if a == b => Some(a),
        (1, b) => Some(b),
        (a, 1) => Some(a),
        _ => None,
    };
    (0..axes).map(fit).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::user(format!("arrays of shapes {one:?} and {other:?} do not go together: extents must be equal or 1"))
    })
}

/// The shape to which all are broadcast.
///
/// # Errors
/// As [`broadcast`].
pub fn broadcast_all<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Result<Vec<usize>> {
    shapes.into_iter().try_fold(Vec::new(), |so_far, shape| broadcast(&so_far, shape))
}

/// How many elements an array has.
///
/// # Errors
/// A user's error if that is too much to address.
pub fn elements(shape: &[usize]) -> Result<usize> {
    let product =
        shape.iter().filter(|&&extent| extent != 0).try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match product.filter(|&product| product <= isize::MAX as usize / 8) {
        Some(product) => Ok(if shape.contains(&0) { 0 } else { product }),
        None => Err(Error::user(format!("an array of shape {shape:?} is too large to address"))),
    }
}

/// An axis that may be counted from the end.
///
/// # Errors
/// A user's error if the array has no such axis.
pub fn normal_axis(axis: isize, shape: &[usize]) -> Result<usize> {
    let axes = shape.len() as isize;
    let normal = if axis < 0 { axis + axes } else { axis };
    if (0..axes).contains(&normal) {
        return Ok(normal as usize);
    }
    Err(Error::user(format!("an array of shape {shape:?} has no axis {axis}")))
}
