//! A strided view: an array that lies in somebody's buffer, in any order of axes.

use bireme_engine::error::{Error, Result};

/// Elements of a buffer, addressed by `offset + Σ index · stride`.
///
/// Strides count elements and may be negative or 0. Whatever index is within the shape is within the buffer: the constructor
/// checks it once, and kernels rely on it.
///
/// ```
/// use bireme_operators::contract::View;
///
/// let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let rows = View::contiguous(&data, &[2, 3])?;                    // 1 2 3 / 4 5 6
/// let columns = View::new(&data, &[3, 2], &[1, 3], 0)?;            // its transpose: 1 4 / 2 5 / 3 6
/// assert_eq!(rows.at(&[0, 2]), columns.at(&[2, 0]));
/// assert!(View::new(&data, &[3, 2], &[3, 1], 0).is_err());
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct View<'a, T> {
    data: &'a [T],
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
}

impl<'a, T: Copy> View<'a, T> {
    /// A view of `data` with one stride (in elements) an axis; `offset` is where the element of all indices 0 lies.
    ///
    /// # Errors
    ///
    /// A user's error if there is not one stride an axis, or some index would lie outside of `data`.
    pub fn new(data: &'a [T], shape: &[usize], strides: &[isize], offset: usize) -> Result<Self> {
        if shape.len() != strides.len() {
            return Err(Error::user(format!(
                "a view of shape {shape:?} needs one stride an axis, but has strides {strides:?}"
            )));
        }
        let outside = || {
            Error::user(format!(
                "a view of shape {shape:?} with strides {strides:?} from element {offset} does not fit into a buffer of {} elements",
                data.len()
            ))
        };
        let (mut first, mut last) = (offset as i128, offset as i128);
        for (&extent, &stride) in shape.iter().zip(strides) {
            // Below 2^64 times 2^63: what one axis adds fits, and sums of so few axes do not wrap but saturate.
            let reach = (extent.max(1) as i128 - 1) * stride as i128;
            if reach < 0 { first = first.saturating_add(reach) } else { last = last.saturating_add(reach) }
        }
        if !shape.contains(&0) && (first < 0 || last >= data.len() as i128) {
            return Err(outside());
        }
        Ok(Self { data, shape: shape.to_vec(), strides: strides.to_vec(), offset })
    }

    /// A view of a row-major array that fills `data`.
    ///
    /// # Errors
    ///
    /// A user's error if the shape does not have as many elements as `data`.
    pub fn contiguous(data: &'a [T], shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if !shape.contains(&0) && elements != Some(data.len()) || shape.contains(&0) && !data.is_empty() {
            return Err(Error::user(format!(
                "an array of shape {shape:?} cannot lie in a buffer of {} elements",
                data.len()
            )));
        }
        Ok(Self { data, shape: shape.to_vec(), strides: row_major(shape), offset: 0 })
    }

    /// The extents of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements of the buffer lie between neighbours along each axis.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// One element; `None` if an index is outside of the shape or there is not one index an axis.
    pub fn at(&self, index: &[usize]) -> Option<T> {
        if index.len() != self.shape.len() || index.iter().zip(&self.shape).any(|(index, extent)| index >= extent) {
            return None;
        }
        let mut place = self.offset as isize;
        for (&index, &stride) in index.iter().zip(&self.strides) {
            place += index as isize * stride;
        }
        self.data.get(place as usize).copied()
    }

    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

/// The strides of a row-major array. Extents of 0 and 1 count as 1: nothing is ever stepped over along them.
pub(super) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1_isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1) as isize);
    }
    strides
}
