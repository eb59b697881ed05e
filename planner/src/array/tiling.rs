//! Where an array lies that does not lie by rows: as a user distributed it, or as a schedule left it.

use std::fmt;

use bireme_engine::error::{Error, Result};
use bireme_engine::layout::{Axis, Grid, IndexSet, Layout, Placement, Spread};
use bireme_operators::array::Region;

/// Which elements of an array lie on each rank; regions may overlap where ranks have copies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tiling {
    text: String,
    regions: Vec<Region>,
}

impl Tiling {
    /// A layout of an array of some shape on a grid of ranks; ranks outside of the grid have nothing.
    ///
    /// # Errors
    /// A user's error if the layout does not fit the shape or the grid, or the grid has more ranks than there are; not supported if
    /// a dimension is cyclic (tiles of arrays are boxes) or the array would lie in summands.
    pub fn new(layout: &Layout, shape: &[usize], grid: &Grid, ranks: usize) -> Result<Self> {
        if grid.ranks() > ranks {
            return Err(Error::user(format!("a grid of {grid} is {} ranks, and there are {ranks}", grid.ranks())));
        }
        if let Some(cyclic) = layout.dimensions.iter().find(|dimension| dimension.spread != Spread::Blocks) {
            let name = &cyclic.name;
            return Err(Error::unsupported(format!(
                "`{layout}`: tiles of arrays are boxes, so `{name}` cannot be cyclic"
            )));
        }
        if layout.axes.contains(&Axis::Summands) {
            return Err(Error::unsupported(format!("`{layout}`: an array that is there does not lie in summands")));
        }
        let placement = Placement::new(layout.clone(), shape.to_vec(), grid.clone())?;
        let region = |rank: usize| match rank < grid.ranks() {
            true => box_of(&placement.wanted(rank)),
            false => Region::empty(shape.len()),
        };
        Ok(Self { text: format!("{layout} on {grid}"), regions: (0..ranks).map(region).collect() })
    }

    /// Regions that somebody else has chosen, one a rank; `text` is what people are told of them.
    pub fn of_regions(text: impl Into<String>, regions: Vec<Region>) -> Self {
        Self { text: text.into(), regions }
    }

    /// The elements on each rank.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
}

fn box_of(sets: &[IndexSet]) -> Region {
    if sets.iter().any(IndexSet::is_empty) {
        return Region::empty(sets.len());
    }
    // Blocks are one run, widened by a halo or not.
    Region::new(sets.iter().map(|set| set.runs()[0].clone()).collect::<Vec<_>>())
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
