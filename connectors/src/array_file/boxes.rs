//! Boxes of indices for tests of readers: all that an array has, and the slow way to cut one out.

use std::ops::Range;

/// Every box of an array of this shape, empty ones included.
pub(super) fn all(shape: &[usize]) -> Vec<Vec<Range<usize>>> {
    shape.iter().fold(vec![Vec::new()], |before, &length| {
        let ranges = (0..=length).flat_map(|start| (start..=length).map(move |end| start..end)).collect::<Vec<_>>();
        before
            .iter()
            .flat_map(|axes| ranges.iter().map(|range| [axes.as_slice(), std::slice::from_ref(range)].concat()))
            .collect()
    })
}

/// The bytes of a box, element by element.
pub(super) fn cut(bytes: &[u8], size: usize, shape: &[usize], ranges: &[Range<usize>]) -> Vec<u8> {
    let places = ranges.iter().zip(shape).fold(vec![0], |places, (range, length)| {
        places.iter().flat_map(|place| range.clone().map(move |index| place * length + index)).collect()
    });
    places.into_iter().flat_map(|place| bytes[place * size..(place + 1) * size].iter().copied()).collect()
}
