//! Elements from elsewhere: by index, by mask, side by side, in the place of others.

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};

use super::dtype::{DType, Native, with_native};
use super::operand::Operand;
use super::tile::{Region, Tile, strides};

/// The slices of a tile along an axis that `indices` name; negative ones count from the end of the `extent`.
///
/// # Errors
/// A user's error if an index is outside of the axis.
pub fn take(tile: &Tile, axis: usize, extent: usize, indices: &[i64]) -> Result<Buffer> {
    let shape = tile.indices.shape();
    let (before, behind) = (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product::<usize>());
    let first = tile.indices.ranges()[axis].start;
    let mut places = Vec::with_capacity(indices.len());
    for &index in indices {
        let place = if index < 0 { index + extent as i64 } else { index };
        let place = usize::try_from(place).ok().filter(|&place| place < extent);
        let place =
            place.ok_or_else(|| Error::user(format!("index {index} is outside of axis {axis}, which has {extent}")))?;
        let here = place.checked_sub(first).filter(|&place| place < shape[axis]);
        places.push(here.ok_or_else(|| Error::internal(format!("index {index} of axis {axis} is on another rank")))?);
    }
    let bytes = tile.dtype.bytes();
    let data = tile.data.as_slice();
    let mut out = MutableBuffer::with_capacity(before * places.len() * behind * bytes);
    for row in 0..before {
        for &place in &places {
            let from = (row * shape[axis] + place) * behind * bytes;
            out.extend_from_slice(&data[from..from + behind * bytes]);
        }
    }
    Ok(out.into())
}

/// The elements for which the mask is true, in order.
pub fn compress(dtype: DType, data: &Buffer, mask: &[u8]) -> Buffer {
    with_native!(dtype, T => {
        let values = data.typed_data::<T>().iter().zip(mask).filter(|(_, mask)| **mask != 0);
        Buffer::from_vec(values.map(|(value, _)| *value).collect::<Vec<T>>())
    })
}

/// Copies elements into a region of a larger array: those of `operand`, a view of the region's shape.
///
/// # Errors
/// The region is not within the target: always a bug of ours.
pub fn put(dtype: DType, out: &mut MutableBuffer, target: &Region, region: &Region, operand: &Operand) -> Result<()> {
    if !region.is_within(target) {
        return Err(Error::internal(format!("{region} is not within {target}")));
    }
    let shape = region.shape();
    let steps = strides(&target.shape());
    let first = region.ranges().iter().zip(target.ranges()).zip(&steps);
    let first = first.map(|((part, whole), step)| (part.start - whole.start) as isize * step).sum::<isize>();
    with_native!(dtype, T => scatter(out.typed_data_mut::<T>(), &shape, &steps, first, operand));
    Ok(())
}

/// Writes the elements of `operand`, a view of `shape`, to `first + Σ index · step`.
pub fn scatter<T: Native>(out: &mut [T], shape: &[usize], steps: &[isize], first: isize, operand: &Operand) {
    let Some((&inner, outer)) = shape.split_last() else {
        let mut one = [T::default()];
        operand.read(&mut one, 0);
        out[first as usize] = one[0];
        return;
    };
    let (step, lines) = (steps[shape.len() - 1], outer.iter().product::<usize>());
    if inner == 0 {
        return;
    }
    let mut line = vec![T::default(); inner];
    for number in 0..lines {
        let (mut rest, mut at) = (number, first);
        for (&extent, &step) in outer.iter().zip(steps).rev() {
            at += (rest % extent) as isize * step;
            rest /= extent;
        }
        operand.read(&mut line, number * inner);
        if step == 1 {
            out[at as usize..at as usize + inner].copy_from_slice(&line);
            continue;
        }
        for &value in &line {
            out[at as usize] = value;
            at += step;
        }
    }
}
