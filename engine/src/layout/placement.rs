//! Layouts with sizes: which rank owns which indices.
//!
//! Everything a rank owns is a product of one [`IndexSet`] for each dimension of the collection, because each dimension of the
//! grid cuts one dimension at most. So sizes are products of lengths, and one placement holds what another wants if it does so
//! dimension by dimension; nothing here looks at single elements.

use super::grid::Grid;
use super::index_set::IndexSet;
use super::notation::{Axis, Layout, Spread};
use crate::error::{Error, Result};

/// A layout of a collection of some shape on a grid of some extents.
///
/// Laws, for layouts without summands: the ranks together own every index (*complete*); no two ranks with different places on
/// dimensions of the grid that are not replicated own the same index (*disjoint*); of two ranks that own something, along each
/// dimension one owns at most one run more than the other (*balanced*; with blocks, a run is one index).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    layout: Layout,
    shape: Vec<usize>,
    grid: Grid,
}

impl Placement {
    /// Puts a layout, a shape and a grid together.
    ///
    /// ```
    /// # use bireme_engine::layout::{Grid, Layout, Placement};
    /// let placement = Placement::new(Layout::parse("A(i,j) -> M(i,*)")?, vec![10, 4], Grid::new([3, 2])?)?;
    /// let rows = placement.owned(2);                    // the rank at (1, 0)
    /// assert_eq!((rows[0].runs(), rows[1].len()), (&[3..6][..], 4));
    /// assert_eq!(placement.owners(&[5, 0]), [2, 3]);
    /// # Ok::<(), bireme_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// They have different numbers of dimensions, or a face is outside of the grid.
    pub fn new(layout: Layout, shape: Vec<usize>, grid: Grid) -> Result<Self> {
        if layout.dimensions.len() != shape.len() {
            let (has, dimensions) = (shape.len(), layout.dimensions.len());
            return Err(Error::user(format!("`{layout}` is for {dimensions} dimensions, the collection has {has}")));
        }
        if layout.axes.len() != grid.extents().len() {
            let wants = layout.axes.len();
            return Err(Error::user(format!("`{layout}` is for a grid of {wants} dimensions, not for {grid} ranks")));
        }
        for (axis, &extent) in layout.axes.iter().zip(grid.extents()) {
            if let Axis::Face(face) = axis
                && *face >= extent
            {
                return Err(Error::user(format!("`{layout}`: a grid of {grid} ranks has no coordinate {face} there")));
            }
        }
        Ok(Self { layout, shape, grid })
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Indices along each dimension of the collection.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What a rank owns, along each dimension; empty along all of them on a rank that owns nothing.
    pub fn owned(&self, rank: usize) -> Vec<IndexSet> {
        let place = self.grid.place(rank);
        let away = |(axis, at): (&Axis, &usize)| matches!(axis, Axis::Face(face) if face != at);
        if self.layout.axes.iter().zip(&place).any(away) {
            return vec![IndexSet::empty(); self.shape.len()];
        }
        (0..self.shape.len()).map(|dimension| self.part(dimension, &place)).collect()
    }

    /// What a rank wants to hold: what it owns, and the halo around it.
    pub fn wanted(&self, rank: usize) -> Vec<IndexSet> {
        let widened = |(dimension, owned): (usize, IndexSet)| {
            let (halo, end) = (self.layout.dimensions[dimension].halo, self.shape[dimension]);
            let wide = owned.runs().iter().map(|run| run.start.saturating_sub(halo)..(run.end + halo).min(end));
            IndexSet::of_runs(wide)
        };
        self.owned(rank).into_iter().enumerate().map(widened).collect()
    }

    /// The ranks that own an element, ascending; none outside the shape.
    pub fn owners(&self, index: &[usize]) -> Vec<usize> {
        let owns = |rank: &usize| self.owned(*rank).iter().zip(index).all(|(set, &at)| set.contains(at));
        (0..self.grid.ranks()).filter(owns).collect()
    }

    /// Whether each rank has in this placement all that it wants in another one, of the same collection on as many ranks.
    pub fn satisfies(&self, want: &Self) -> bool {
        let sums =
            |placement: &Self| placement.layout.axes.iter().map(|axis| *axis == Axis::Summands).collect::<Vec<_>>();
        self.shape == want.shape
            && self.grid.ranks() == want.grid.ranks()
            && (self.layout.axes == want.layout.axes || !sums(self).contains(&true) && !sums(want).contains(&true))
            && (0..self.grid.ranks()).all(|rank| is_within(&want.wanted(rank), &self.wanted(rank)))
    }

    /// The part of a dimension at a place of the grid.
    fn part(&self, dimension: usize, place: &[usize]) -> IndexSet {
        let (extent, spread) = (self.shape[dimension], self.layout.dimensions[dimension].spread);
        let Some(axis) = self.layout.axes.iter().position(|axis| *axis == Axis::Along(dimension)) else {
            return IndexSet::run(0..extent);
        };
        let (at, parts) = (place[axis], self.grid.extents()[axis]);
        match spread {
            Spread::Blocks => {
                let run = share(extent, at, parts)..share(extent, at + 1, parts);
                let again = self.layout.axes.iter().position(|axis| *axis == Axis::Within(dimension));
                let (at, parts) = again.map_or((0, 1), |axis| (place[axis], self.grid.extents()[axis]));
                IndexSet::run(run.start + share(run.len(), at, parts)..run.start + share(run.len(), at + 1, parts))
            }
            Spread::Cyclic(run) => {
                let starts = (at.saturating_mul(run)..extent).step_by(parts.saturating_mul(run));
                IndexSet::of_runs(starts.map(|start| start..(start + run).min(extent)))
            }
        }
    }
}

/// Where the run of a part begins, of `parts` runs of nearly equal length.
fn share(extent: usize, part: usize, parts: usize) -> usize {
    (extent as u128 * part as u128 / parts as u128) as usize
}

/// How many elements a product of sets has.
pub(super) fn size(sets: &[IndexSet]) -> u64 {
    sets.iter().map(|set| set.len() as u64).product()
}

/// Whether a product of sets is within another.
fn is_within(part: &[IndexSet], whole: &[IndexSet]) -> bool {
    size(part) == 0 || part.iter().zip(whole).all(|(part, whole)| part.is_subset(whole))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
pub(super) mod tests {
    use super::*;

    pub fn placement(layout: &str, shape: &[usize], grid: &[usize]) -> Placement {
        Placement::new(Layout::parse(layout).unwrap(), shape.to_vec(), Grid::new(grid).unwrap()).unwrap()
    }

    /// Layouts on a grid of two dimensions.
    pub const LAYOUTS: [&str; 14] = [
        "A(i,j) -> M(i,j)",
        "A(i,j) -> M(j,i)",
        "A(i,j) -> M(i,*)",
        "A(i,j) -> M(*,i)",
        "A(i,j) -> M(*,j)",
        "A(i,j) -> M(*,*)",
        "A(i,j) -> M(i,0)",
        "A(i,j) -> M(1,j)",
        "A(i,j) -> M(1,0)",
        "A(i cyclic(2),j) -> M(i,j)",
        "A(i cyclic,j cyclic(3)) -> M(i,j)",
        "A(i halo(1),j) -> M(i,j)",
        "A(i,j) -> M(i,i')",
        "A(i,j) -> M(j',j)",
    ];

    #[test]
    fn placements_are_complete_disjoint_and_balanced() {
        for layout in LAYOUTS {
            for (shape, grid) in
                [([7, 5], [2, 3]), ([1, 1], [2, 2]), ([0, 4], [3, 1]), ([6, 6], [2, 2]), ([5, 13], [4, 2])]
            {
                let placement = placement(layout, &shape, &grid);
                let copies = placement.layout.axes.iter().zip(&grid);
                let copies = copies.filter(|(axis, _)| **axis == Axis::Replicated).map(|(_, extent)| extent);
                let copies = copies.product::<usize>();
                for i in 0..shape[0] {
                    for j in 0..shape[1] {
                        let owners = placement.owners(&[i, j]);
                        assert_eq!(owners.len(), copies, "{layout} of {shape:?} on {grid:?}: {i}, {j}");
                    }
                }
                let owned = (0..placement.grid.ranks()).map(|rank| placement.owned(rank)).collect::<Vec<_>>();
                for (dimension, described) in placement.layout.dimensions.iter().enumerate() {
                    let some = owned.iter().filter(|sets| placement.layout.axes.len() == sets.len());
                    let lengths =
                        some.map(|sets| sets[dimension].len()).filter(|&length| length > 0).collect::<Vec<_>>();
                    let run = if let Spread::Cyclic(run) = described.spread { run } else { 1 };
                    let (least, most) = (lengths.iter().min().unwrap_or(&0), lengths.iter().max().unwrap_or(&0));
                    assert!(most - least <= run, "{layout} of {shape:?} on {grid:?}: {lengths:?}");
                }
            }
        }
    }

    /// Element by element.
    fn holds_slowly(have: &Placement, want: &Placement) -> bool {
        let elements = |sets: &[IndexSet]| {
            let (rows, columns) = (sets[0].clone(), sets[1].clone());
            rows.iter().flat_map(|i| columns.iter().map(move |j| (i, j)).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        (0..have.grid.ranks()).all(|rank| {
            let has = elements(&have.wanted(rank));
            elements(&want.wanted(rank)).iter().all(|element| has.contains(element))
        })
    }

    #[test]
    fn satisfies_is_what_the_elements_say() {
        for have in LAYOUTS {
            for want in LAYOUTS {
                for shape in [[7, 5], [2, 2], [4, 6]] {
                    let (have, want) = (placement(have, &shape, &[2, 3]), placement(want, &shape, &[2, 3]));
                    let (fast, slow) = (have.satisfies(&want), holds_slowly(&have, &want));
                    assert_eq!(fast, slow, "{} has what {} wants of {shape:?}", have.layout, want.layout);
                }
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let layout = |text: &str| Layout::parse(text).unwrap();
        let grid = |extents: &[usize]| Grid::new(extents).unwrap();
        assert!(Placement::new(layout("A(i) -> M(i)"), vec![3, 3], grid(&[2])).is_err());
        assert!(Placement::new(layout("A(i) -> M(i)"), vec![3], grid(&[2, 2])).is_err());
        assert!(Placement::new(layout("A(i) -> M(i,2)"), vec![3], grid(&[2, 2])).is_err());
    }
}
