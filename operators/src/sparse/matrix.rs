//! Dense matrices as kernels read them: rows that are contiguous.

use std::borrow::Cow;

use bireme_engine::error::Result;

use super::number::zeros;
use crate::contract::{Einsum, Element, Epilogue, View, contract};

/// A matrix whose rows are contiguous, `stride` elements apart.
#[derive(Clone, Debug)]
pub(super) struct Matrix<'a, T: Clone> {
    data: Cow<'a, [T]>,
    offset: isize,
    stride: isize,
    pub columns: usize,
}

impl<'a, T: Element> Matrix<'a, T> {
    /// A view of two axes, or its copy if neighbours in a row are not neighbours in memory.
    pub fn new(view: &View<'a, T>) -> Result<Self> {
        let (&[rows, columns], &[stride, step]) = (view.shape(), view.strides()) else {
            return Ok(Self { data: Cow::Borrowed(&[]), offset: 0, stride: 0, columns: 0 });
        };
        if step == 1 || columns < 2 {
            return Ok(Self { data: Cow::Borrowed(view.data()), offset: view.offset() as isize, stride, columns });
        }
        let mut copy = zeros(rows * columns, "a copy of a matrix")?;
        contract(&Einsum::parse("ij->ij")?, std::slice::from_ref(view), Epilogue::REPLACE, &mut copy)?;
        Ok(Self { data: Cow::Owned(copy), offset: 0, stride: columns as isize, columns })
    }

    /// `N` neighbours of a row.
    #[inline(always)]
    pub fn block<const N: usize>(&self, row: usize, column: usize) -> Option<&[T; N]> {
        let place = (self.offset + row as isize * self.stride) as usize + column;
        self.data.get(place..)?.first_chunk()
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[T] {
        if self.columns == 0 {
            return &[];
        }
        let place = (self.offset + row as isize * self.stride) as usize;
        &self.data[place..][..self.columns]
    }
}
