//! Ranks as a grid.

use std::fmt;

use crate::error::{Error, Result};

/// The ranks of a job along any number of dimensions, numbered row-major: the last dimension varies fastest.
///
/// ```
/// # use bireme_engine::layout::Grid;
/// let grid = Grid::new([2, 3])?;
/// assert_eq!((grid.ranks(), grid.place(5)), (6, vec![1, 2]));
/// assert_eq!(grid.rank(&[1, 0]), Some(3));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    extents: Vec<usize>,
}

impl Grid {
    /// A grid of so many ranks along each dimension.
    ///
    /// # Errors
    /// There is no dimension, one of them has no ranks, or all together have more than can be counted.
    pub fn new(extents: impl Into<Vec<usize>>) -> Result<Self> {
        let extents = extents.into();
        let ranks = extents.iter().try_fold(1_usize, |ranks, &extent| ranks.checked_mul(extent));
        if extents.is_empty() || ranks.is_none_or(|ranks| ranks == 0) {
            return Err(Error::user(format!("a grid of {extents:?} ranks: each dimension needs at least one")));
        }
        Ok(Self { extents })
    }

    /// The ranks along each dimension.
    pub fn extents(&self) -> &[usize] {
        &self.extents
    }

    /// All ranks.
    pub fn ranks(&self) -> usize {
        self.extents.iter().product()
    }

    /// The rank at a place; `None` outside the grid.
    pub fn rank(&self, place: &[usize]) -> Option<usize> {
        let inside =
            place.len() == self.extents.len() && place.iter().zip(&self.extents).all(|(at, extent)| at < extent);
        inside.then(|| place.iter().zip(&self.extents).fold(0, |rank, (at, extent)| rank * extent + at))
    }

    /// The place of a rank.
    pub fn place(&self, rank: usize) -> Vec<usize> {
        let mut left = rank;
        let mut place = vec![0; self.extents.len()];
        for (at, &extent) in place.iter_mut().zip(&self.extents).rev() {
            (*at, left) = (left % extent, left / extent);
        }
        place
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents = self.extents.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.write_str(&extents.join(" x "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_places_are_one_to_one() {
        for extents in [vec![1], vec![7], vec![2, 3], vec![3, 1, 4], vec![2, 2, 2, 2]] {
            let grid = Grid::new(extents).unwrap();
            let ranks = (0..grid.ranks()).map(|rank| grid.rank(&grid.place(rank)).unwrap());
            assert_eq!(ranks.collect::<Vec<_>>(), (0..grid.ranks()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for extents in [vec![], vec![2, 0], vec![usize::MAX, 3]] {
            assert!(Grid::new(extents).is_err());
        }
        let grid = Grid::new([2, 3]).unwrap();
        assert_eq!((grid.rank(&[2, 0]), grid.rank(&[1])), (None, None));
    }
}
