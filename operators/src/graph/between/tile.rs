//! A rank's edges under a cut, and to whom what it makes of them goes.
//!
//! ```text
//!   owners ─ expand ─► copies of sources ─ edges ─► parts for targets ─ fold ─► owners
//! ```

use std::ops::Range;
use std::sync::Arc;

use bireme_engine::error::Result;

use super::cut::Cut;
use super::mirrors::Mirrors;
use crate::graph::Csr;
use crate::graph::edges::{Held, Weights};
use crate::graph::talk::Talk;

/// What one rank has of a graph.
pub(super) struct Tile {
    /// The vertices that have rows here: those of the ranks in this one's row of the grid.
    pub block: Range<usize>,
    /// Of each of these, the sources of its in edges that are here.
    pub rows: Arc<Csr>,
    pub weights: Weights,
    /// From owners to copies of sources.
    pub expand: Mirrors,
    /// From rows with edges to the owners of the targets, where these are several.
    pub fold: Option<Mirrors>,
}

impl Tile {
    /// All ranks call it.
    pub async fn meet(held: &Held, cut: Cut, talk: &mut Talk) -> Result<Self> {
        let block = held.block(cut);
        let (rows, weights) = held.tile(cut, talk).await?;
        let expand = Mirrors::meet(held, &rows, talk).await?;
        let fold = if cut.columns == 1 {
            None
        } else {
            let with_edges = (0..rows.vertices() as u32).filter(|row| rows.degree(*row) > 0);
            let targets = with_edges.map(|row| block.start as u32 + row).collect::<Vec<_>>();
            Some(Mirrors::to_owners(held, &targets, talk).await?)
        };
        Ok(Self { block, rows: Arc::new(rows), weights, expand, fold })
    }
}
