//! Where arrays lie: layouts that a user asks for, schedules of products, and tiles that an MPI code has or wants.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use bireme_engine::error::{Error, Result};
use bireme_engine::layout::{Axis, Grid, Layout};
use bireme_operators::array::{Native, Region, Tile};
use bireme_planner::array::{Op, Schedule, Tiling};

use super::node::{Node, Ready, State};
use super::{Array, Element, Number};
use crate::session::Session;

impl<T: Element> Array<T> {
    /// The array in a layout: which part of it lies on each rank of a grid. What is made of it element by element stays there, and so does
    /// what a product makes of it where its schedule leaves it.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::builder().local_ranks(4).build()?;
    /// let machine = session.machine().grid([2, 2])?;
    /// let a = session.random::<f64>([64, 64], 1).distribute("A(i,k) -> M(i,k)", &machine)?;
    /// let b = session.random::<f64>([64, 64], 2).distribute("B(k,j) -> M(k,j)", &machine)?;
    /// let c = einsum("ik,kj->ij", [&a, &b])?.schedule(Schedule::cannon())?;
    /// assert!(c.explain()?.contains("by Cannon on 2 x 2 in 2 rounds"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The text is no layout (the message shows where), it does not fit the array or the grid, the grid has more ranks than the job, or a
    /// dimension is cyclic: tiles of arrays are boxes.
    pub fn distribute(&self, layout: &str, grid: &Grid) -> Result<Self> {
        self.check()?;
        let session = self.session();
        let tiling = Tiling::new(&Layout::parse(layout)?, self.shape(), grid, session.ranks())?;
        let op = Op::Distribute(Arc::new(tiling));
        Ok(Self::make(session, op, self.shape().to_vec(), vec![Arc::clone(&self.node)], Vec::new()))
    }

    /// An array of the tiles that the ranks of an MPI code hold, in a layout; nothing is copied or moved. Every rank calls it, with its own
    /// tile; they tell each other where their tiles lie. A session with several ranks in one process is given as many tiles.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// // This rank's part of a field: rows 0 to 2 of three columns.
    /// let tile = LocalTile::new(vec![1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0], [0..2, 0..3])?;
    /// let field = Array::from_local(tile, Layout::parse("A(x,y) -> M(x)")?, &session)?;
    /// assert_eq!(field.sum().item()?, 21.0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Tiles do not make an array together: some elements are nowhere, or on two ranks where the layout does not say so, or a tile has a
    /// part of a dimension that the layout does not cut. They do not fit into a rank's memory limit.
    pub fn from_local(tiles: impl IntoLocalTiles<T>, layout: Layout, session: &Session) -> Result<Self> {
        let tiles = tiles.into_tiles();
        let ranks = session.local_ranks();
        let mut reserved = Vec::new();
        let mut refused = None;
        for (rank, tile) in ranks.iter().zip(&tiles) {
            let memory = rank.context.budget.reserve("arrays");
            match memory.try_grow(tile.tile.bytes()) {
                Ok(()) => reserved.push(memory),
                Err(error) => refused = Some(error.context("taking a tile")),
            }
        }
        if tiles.len() != ranks.len() {
            refused = Some(Error::user(format!("{} tiles for the {} ranks of this process", tiles.len(), ranks.len())));
        }
        // Errors of one rank are told to all before anybody goes on.
        let ranges = |tile: &LocalTile<T>| {
            tile.ranges().iter().map(|range| (range.start as u64, range.end as u64)).collect::<Vec<_>>()
        };
        let ours = (refused.as_ref().map(ToString::to_string), tiles.iter().map(ranges).collect::<Vec<_>>());
        let all = session.on_all_ranks("tiles of an array", &ours)?;
        if let Some(error) = refused {
            return Err(error);
        }
        if let Some((rank, text)) = all.iter().enumerate().find_map(|(rank, (text, _))| Some((rank, text.as_ref()?))) {
            return Err(Error::user(format!("rank {rank} has no tile to give: {text}")));
        }
        let region = |ranges: &Vec<(u64, u64)>| {
            Region::new(ranges.iter().map(|range| range.0 as usize..range.1 as usize).collect::<Vec<_>>())
        };
        let regions = all.iter().flat_map(|(_, tiles)| tiles.iter().map(region)).collect::<Vec<_>>();
        let shape = checked_shape(&layout, &regions)?;
        bireme_planner::array::elements(&shape)?;
        let tiling = Tiling::of_regions(layout.to_string(), regions);
        let tiles = tiles.into_iter().map(|tile| tile.tile).collect();
        let hold = Arc::new(());
        let ready = Ready::new(tiles, Some(Arc::new(tiling)), reserved);
        let node = Node::ready(session, &hold, T::DTYPE, shape, ready);
        Ok(Self { node, hold, element: std::marker::PhantomData })
    }

    /// Computes the array; the parts of it on the ranks of this process, one a rank, without a copy.
    ///
    /// # Errors
    /// As [`Array::compute`].
    pub fn local_tiles(&self) -> Result<Vec<LocalTile<T>>> {
        self.compute()?;
        let tiles = self.node.tiles().ok_or_else(|| Error::internal("an array that is not there"))?;
        Ok(tiles.into_iter().map(|tile| LocalTile { tile, element: std::marker::PhantomData }).collect())
    }
}

impl<T: Number> Array<T> {
    /// The product by a schedule, instead of the one that the planner would choose. Only what [`einsum`](super::einsum), `dot` and
    /// `matmul` make of arrays can have one, before it is computed.
    ///
    /// # Errors
    /// The array is no product, or the schedule does not fit it or the ranks; the message says why.
    pub fn schedule(&self, schedule: Schedule) -> Result<Self> {
        self.check()?;
        let State::Pending(Op::Contract(einsum, _), operands) = self.node.state() else {
            return Err(Error::user(format!(
                "a schedule is for a product that is still to be made, and this array of shape {:?} is none",
                self.shape()
            )));
        };
        let shapes = operands.iter().map(|operand| operand.shape()).collect::<Vec<_>>();
        let session = self.session();
        schedule.nest(&einsum, &einsum.extents(&shapes)?, session.ranks())?;
        let op = Op::Contract(einsum, Some(Arc::new(schedule)));
        Ok(Self::make(session, op, self.shape().to_vec(), operands.clone(), Vec::new()))
    }
}

/// The shape of an array of tiles, if they make one.
fn checked_shape(layout: &Layout, regions: &[Region]) -> Result<Vec<usize>> {
    let axes = layout.dimensions.len();
    if let Some((rank, region)) = regions.iter().enumerate().find(|(_, region)| region.ranges().len() != axes) {
        let has = region.ranges().len();
        return Err(Error::user(format!("`{layout}` is for {axes} dimensions, and the tile of rank {rank} has {has}")));
    }
    if layout.axes.contains(&Axis::Summands) || layout.dimensions.iter().any(|dimension| dimension.halo > 0) {
        return Err(Error::unsupported(format!(
            "`{layout}`: tiles of summands, or with ghost cells, are no array yet"
        )));
    }
    let shape = (0..axes).map(|axis| regions.iter().map(|region| region.ranges()[axis].end).max().unwrap_or(0));
    let shape = shape.collect::<Vec<_>>();
    let has_copies = layout.axes.contains(&Axis::Replicated);
    let mut elements = 0;
    for (rank, region) in regions.iter().enumerate().filter(|(_, region)| !region.is_empty()) {
        for (axis, range) in region.ranges().iter().enumerate() {
            let cut = layout.axes.contains(&Axis::Along(axis));
            if !cut && *range != (0..shape[axis]) {
                let name = &layout.dimensions[axis].name;
                return Err(Error::user(format!(
                    "`{layout}` does not cut `{name}`, and the tile {region} of rank {rank} is not all of its {}",
                    shape[axis]
                )));
            }
        }
        match regions[..rank].iter().position(|other| !other.intersection(region).is_empty()) {
            Some(other) if has_copies && regions[other] == *region => {}
            Some(other) => {
                return Err(Error::user(format!(
                    "the tiles {} of rank {other} and {region} of rank {rank} overlap, and `{layout}` does not say so",
                    regions[other]
                )));
            }
            None => elements += region.len(),
        }
    }
    let all = shape.iter().product::<usize>();
    if elements != all {
        return Err(Error::user(format!(
            "the tiles of all ranks have {elements} elements, and an array of shape {shape:?} {all}"
        )));
    }
    Ok(shape)
}

/// The part of an array on one rank: a box of indices, and its elements, row-major. A clone is the same memory.
#[derive(Clone, Debug)]
pub struct LocalTile<T: Element> {
    tile: Tile,
    element: std::marker::PhantomData<T>,
}

impl<T: Element<Stored = T> + Native> LocalTile<T> {
    /// The numbers with these indices; the vector is taken as it is.
    ///
    /// # Errors
    /// There are not as many elements as indices.
    pub fn new(values: Vec<T>, ranges: impl Into<Vec<Range<usize>>>) -> Result<Self> {
        Self::of_buffer(values.into(), ranges)
    }

    /// As [`LocalTile::new`], of memory that others have as well.
    ///
    /// # Errors
    /// As there.
    pub fn of_buffer(values: ScalarBuffer<T>, ranges: impl Into<Vec<Range<usize>>>) -> Result<Self> {
        let indices = Region::new(ranges);
        if values.len() != indices.len() {
            return Err(Error::user(format!("{} elements are no tile {indices}", values.len())));
        }
        let (dtype, data) = (<T as Element>::DTYPE, values.into_inner());
        Ok(Self { tile: Tile { dtype, indices, data }, element: std::marker::PhantomData })
    }
}

impl<T: Element> LocalTile<T> {
    /// The indices, one range an axis.
    pub fn ranges(&self) -> &[Range<usize>] {
        self.tile.indices.ranges()
    }

    /// The extents.
    pub fn shape(&self) -> Vec<usize> {
        self.tile.indices.shape()
    }

    /// The elements, row-major, where they lie.
    pub fn values(&self) -> &[T::Stored] {
        self.tile.values::<T::Stored>()
    }
}

/// One tile, or one for each rank of the process.
pub trait IntoLocalTiles<T: Element> {
    /// The tiles.
    fn into_tiles(self) -> Vec<LocalTile<T>>;
}

impl<T: Element> IntoLocalTiles<T> for LocalTile<T> {
    fn into_tiles(self) -> Vec<LocalTile<T>> {
        vec![self]
    }
}

impl<T: Element> IntoLocalTiles<T> for Vec<LocalTile<T>> {
    fn into_tiles(self) -> Self {
        self
    }
}
