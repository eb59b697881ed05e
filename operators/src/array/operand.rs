//! Inputs of loops: where their elements lie.

use std::ops::Range;

use arrow::buffer::Buffer;
use bireme_engine::error::{Error, Result};

use super::dtype::{DType, Native, Scalar, with_native};

/// Axes that lie apart, at most: NumPy has no more either.
const AXES: usize = 64;

/// An input of a loop: elements in a buffer, by `offset + Σ index · stride` over the loop's axes.
#[derive(Clone, Debug)]
pub struct Operand {
    data: Buffer,
    offset: isize,
    /// Extents and strides, outermost first, with axes put together over which one may step as over one.
    axes: Vec<(usize, isize)>,
}

impl Operand {
    /// An input of a loop of `shape`, of which the elements with a first index in `rows` are read.
    ///
    /// # Errors
    /// A user's error if there are too many axes. An index lies outside of the buffer: always a bug of ours.
    pub fn new(
        dtype: DType,
        data: Buffer,
        shape: &[usize],
        rows: &Range<usize>,
        steps: &[isize],
        offset: isize,
    ) -> Result<Self> {
        let mut reach = (offset, offset);
        let mut axes: Vec<(usize, isize)> = Vec::with_capacity(shape.len());
        for (axis, (&extent, &stride)) in shape.iter().zip(steps).enumerate() {
            let read = if axis == 0 { rows.clone() } else { 0..extent };
            let ends = [read.start, read.end.max(read.start + 1) - 1].map(|index| index as isize * stride);
            reach = (reach.0 + ends[0].min(ends[1]), reach.1 + ends[0].max(ends[1]));
            if extent == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(before) if before.1 == stride * extent as isize => *before = (before.0 * extent, stride),
                _ => axes.push((extent, stride)),
            }
        }
        if axes.len() > AXES {
            return Err(Error::user(format!("an array with more than {AXES} axes that lie apart")));
        }
        let elements = (data.len() / dtype.bytes()) as isize;
        let any = !rows.is_empty() && shape.iter().skip(1).all(|&extent| extent > 0) || shape.is_empty();
        if any && (reach.0 < 0 || reach.1 >= elements) {
            return Err(Error::internal(format!(
                "a loop over {shape:?} reads elements {}..={} of a buffer of {elements}",
                reach.0, reach.1
            )));
        }
        Ok(Self { data, offset, axes })
    }

    pub(super) fn data(&self) -> &Buffer {
        &self.data
    }

    pub(super) fn offset(&self) -> isize {
        self.offset
    }

    pub(super) fn axes(&self) -> &[(usize, isize)] {
        &self.axes
    }

    /// The element that is the same for all.
    pub(super) fn first(&self, dtype: DType) -> Scalar {
        let at = usize::try_from(self.offset).unwrap_or(0);
        with_native!(dtype, T => self.data.typed_data::<T>().get(at).copied().unwrap_or_default().scalar())
    }

    /// Elements that lie one behind the other.
    pub(super) fn run<T: Native>(&self, start: usize, len: usize) -> &[T] {
        let first = (start as isize + self.offset) as usize;
        &self.data.typed_data::<T>()[first..first + len]
    }

    /// Copies the elements from `start` on, wherever they lie.
    pub(super) fn read<T: Native>(&self, out: &mut [T], start: usize) {
        match self.axes.as_slice() {
            [] => out.fill(T::of(self.first(T::DTYPE))),
            _ => self.gather(out, start),
        }
    }

    /// Copies the elements from `start` on (row-major), which may lie anywhere.
    pub(super) fn gather<T: Native>(&self, out: &mut [T], start: usize) {
        let data = self.data.typed_data::<T>();
        let Some((&(extent, stride), outer)) = self.axes.split_last() else { return };
        // The index along each axis of the first element.
        let mut rest = start / extent.max(1);
        let mut at = self.offset;
        let mut indices = [0_usize; AXES];
        let indices = &mut indices[..outer.len()];
        for (index, &(extent, stride)) in indices.iter_mut().zip(outer).rev() {
            (*index, rest) = (rest % extent.max(1), rest / extent.max(1));
            at += *index as isize * stride;
        }
        // The outermost axis is cut by the caller, and may begin anywhere.
        let mut first = start % extent.max(1);
        let mut done = 0;
        while done < out.len() {
            let len = (extent - first).min(out.len() - done);
            let from = at + first as isize * stride;
            copy(&mut out[done..done + len], data, from, stride);
            (done, first) = (done + len, 0);
            for (index, &(extent, stride)) in indices.iter_mut().zip(outer).rev() {
                (*index, at) = (*index + 1, at + stride);
                if *index < extent {
                    break;
                }
                at -= extent as isize * stride;
                *index = 0;
            }
        }
    }
}

fn copy<T: Native>(out: &mut [T], data: &[T], from: isize, stride: isize) {
    match stride {
        1 => out.copy_from_slice(&data[from as usize..from as usize + out.len()]),
        0 => out.fill(data[from as usize]),
        _ => {
            let mut at = from;
            for slot in out {
                *slot = data[at as usize];
                at += stride;
            }
        }
    }
}
