//! Partitions of any form: for each part, the set of indices that it has.

use super::grid::Grid;
use super::index_set::IndexSet;
use crate::error::{Error, Result};

/// Parts of the indices `0..extent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    extent: usize,
    parts: Vec<IndexSet>,
    promise: Promise,
}

/// What holds of a partition because of how it was made. What is not promised may hold all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Each index is in a part.
    pub complete: bool,
    /// No index is in two parts.
    pub disjoint: bool,
    /// No part has more than its even share and so many indices (or, of weighted ones, so much weight) on top.
    pub spare: Option<u64>,
}

impl Partition {
    /// Runs of nearly equal length.
    ///
    /// ```
    /// # use bireme_engine::layout::Partition;
    /// let thirds = Partition::equal(10, 3);
    /// assert_eq!(thirds.parts()[1].runs(), &[3..6]);
    /// ```
    pub fn equal(extent: usize, parts: usize) -> Self {
        let start = |part: usize| (extent as u128 * part as u128 / parts.max(1) as u128) as usize;
        let promise = Promise { complete: parts > 0 || extent == 0, disjoint: true, spare: Some(1) };
        Self::of_runs(extent, (0..parts).map(|part| start(part)..start(part + 1)), promise)
    }

    /// Runs whose lengths are in proportion to weights of the parts (faster ranks, larger memories).
    ///
    /// # Errors
    /// A weight is negative or not a number, or none is positive.
    pub fn weighted(extent: usize, weights: &[f64]) -> Result<Self> {
        let sum = weights.iter().sum::<f64>();
        if !(sum.is_finite() && sum > 0.0 && weights.iter().all(|&weight| weight >= 0.0)) {
            return Err(Error::user(format!(
                "parts cannot have the weights {weights:?}: at least one must be positive"
            )));
        }
        let mut before = 0.0;
        let end = |weight: &f64| {
            before += weight;
            ((extent as f64 * before / sum).round() as usize).min(extent)
        };
        let mut ends = weights.iter().map(end).collect::<Vec<_>>();
        // Rounding must not lose the last indices.
        let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
        ends[last..].iter_mut().for_each(|end| *end = extent);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let promise = Promise { complete: true, disjoint: true, spare: None };
        Ok(Self::of_runs(extent, starts.zip(ends.iter().copied()).map(|(start, end)| start..end), promise))
    }

    /// Runs that have nearly the same sum of weights of their indices: rows of a sparse matrix by their nonzeros, vertices by
    /// their edges. No part has more than its even share and one index's weight.
    pub fn equal_weight(weights: &[u64], parts: usize) -> Self {
        let sum = weights.iter().map(|&weight| u128::from(weight)).sum::<u128>();
        let (mut index, mut before) = (0, 0_u128);
        let runs = (0..parts).map(|part| {
            let start = index;
            let goal = sum * (part as u128 + 1) / parts as u128;
            while index < weights.len() && (before < goal || part + 1 == parts) {
                before += u128::from(weights[index]);
                index += 1;
            }
            start..index
        });
        let promise = Promise {
            complete: parts > 0 || weights.is_empty(),
            disjoint: true,
            spare: Some(weights.iter().copied().max().unwrap_or(0)),
        };
        Self::of_runs(weights.len(), runs, promise)
    }

    /// The indices of each key.
    ///
    /// # Errors
    /// A key is not below the number of parts.
    pub fn by_key(keys: &[usize], parts: usize) -> Result<Self> {
        let mut sets = vec![Vec::new(); parts];
        for (index, &key) in keys.iter().enumerate() {
            let runs: &mut Vec<std::ops::Range<usize>> =
                sets.get_mut(key).ok_or_else(|| Error::user(format!("index {index} has key {key} of only {parts}")))?;
            match runs.last_mut().filter(|run| run.end == index) {
                Some(run) => run.end += 1,
                None => runs.push(index..index + 1),
            }
        }
        let parts = sets.into_iter().map(IndexSet::of_runs).collect();
        Ok(Self { extent: keys.len(), parts, promise: Promise { complete: true, disjoint: true, spare: None } })
    }

    /// Edges in one dimension: each goes with its source, or whatever vertex is given of it.
    ///
    /// # Errors
    /// An edge's vertex is not below the partition's extent.
    pub fn edges_1d(vertices: &Self, ends: &[usize]) -> Result<Self> {
        vertices.preimage(ends)
    }

    /// Edges in two dimensions: on a grid of two dimensions, the edge from `s` to `d` is at (block of `s`, block of `d`), so
    /// that its source is needed along a line of ranks only, and its destination along a column.
    ///
    /// # Errors
    /// The grid has not two dimensions, there are not as many sources as destinations, or an edge has a vertex that is not
    /// below `vertices`.
    pub fn edges_2d(vertices: usize, edges: (&[usize], &[usize]), grid: &Grid) -> Result<Self> {
        let &[lines, columns] = grid.extents() else {
            return Err(Error::user(format!("edges are cut on a grid of two dimensions, not on {grid} ranks")));
        };
        if edges.0.len() != edges.1.len() {
            return Err(Error::user("edges have as many sources as destinations"));
        }
        let block = |vertex: usize, blocks: usize| match vertex < vertices {
            // The inverse of `equal`: the last block that begins at the vertex or before it.
            true => Ok(((vertex as u128 + 1) * blocks as u128).div_ceil(vertices as u128) as usize - 1),
            false => Err(Error::user(format!("an edge has vertex {vertex} of only {vertices}"))),
        };
        let pairs = edges.0.iter().zip(edges.1);
        let keys = pairs.map(|(&source, &to)| Ok(block(source, lines)? * columns + block(to, columns)?));
        Self::by_key(&keys.collect::<Result<Vec<_>>>()?, grid.ranks())
    }

    /// How many indices there are.
    pub fn extent(&self) -> usize {
        self.extent
    }

    /// The parts.
    pub fn parts(&self) -> &[IndexSet] {
        &self.parts
    }

    /// What holds of it for certain.
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// Where each part points to: part `p` of the result has `f(i)` for all `i` of part `p`. Indices of `f` that are `None` point
    /// nowhere.
    ///
    /// # Errors
    /// `f` has another length than this has indices, or points outside of `0..extent`.
    pub fn image(&self, f: &[Option<usize>], extent: usize) -> Result<Self> {
        self.is_over(f.len())?;
        if let Some(far) = f.iter().flatten().find(|&&to| to >= extent) {
            return Err(Error::user(format!("an image of only {extent} indices has no index {far}")));
        }
        let image = |part: &IndexSet| IndexSet::of(part.iter().filter_map(|index| f[index]));
        Ok(Self { extent, parts: self.parts.iter().map(image).collect(), promise: Promise::default() })
    }

    /// What points to each part: part `p` of the result has all `i` with `f(i)` in part `p`.
    ///
    /// # Errors
    /// `f` points outside of this.
    pub fn preimage(&self, f: &[usize]) -> Result<Self> {
        if let Some(far) = f.iter().find(|&&to| to >= self.extent) {
            return Err(Error::user(format!("a partition of only {} indices has no index {far}", self.extent)));
        }
        let points_into = |part: &IndexSet| IndexSet::of((0..f.len()).filter(|&index| part.contains(f[index])));
        let promise = Promise { spare: None, ..self.promise };
        Ok(Self { extent: f.len(), parts: self.parts.iter().map(points_into).collect(), promise })
    }

    /// Part by part, the indices of either.
    ///
    /// # Errors
    /// The two have other indices, or another number of parts.
    pub fn union(&self, other: &Self) -> Result<Self> {
        let promise = Promise { complete: self.promise.complete || other.promise.complete, ..Promise::default() };
        self.with(other, IndexSet::union, promise)
    }

    /// Part by part, the indices of both.
    ///
    /// # Errors
    /// As [`Partition::union`].
    pub fn intersection(&self, other: &Self) -> Result<Self> {
        let promise = Promise { disjoint: self.promise.disjoint || other.promise.disjoint, ..Promise::default() };
        self.with(other, IndexSet::intersection, promise)
    }

    /// Part by part, the indices that the other one does not have.
    ///
    /// # Errors
    /// As [`Partition::union`].
    pub fn difference(&self, other: &Self) -> Result<Self> {
        let promise = Promise { disjoint: self.promise.disjoint, ..Promise::default() };
        self.with(other, IndexSet::difference, promise)
    }

    fn with(&self, other: &Self, f: fn(&IndexSet, &IndexSet) -> IndexSet, promise: Promise) -> Result<Self> {
        self.is_over(other.extent)?;
        if self.parts.len() != other.parts.len() {
            let (has, wants) = (other.parts.len(), self.parts.len());
            return Err(Error::user(format!("a partition of {wants} parts does not go with one of {has}")));
        }
        let parts = self.parts.iter().zip(&other.parts).map(|(one, another)| f(one, another)).collect();
        Ok(Self { extent: self.extent, parts, promise })
    }

    fn is_over(&self, extent: usize) -> Result<()> {
        if self.extent == extent {
            return Ok(());
        }
        Err(Error::user(format!("a partition of {} indices does not go with {extent}", self.extent)))
    }

    fn of_runs(extent: usize, runs: impl Iterator<Item = std::ops::Range<usize>>, promise: Promise) -> Self {
        Self { extent, parts: runs.map(IndexSet::run).collect(), promise }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    /// Whether what is promised holds.
    fn keeps(partition: &Partition, weight: &dyn Fn(usize) -> u64) {
        let mut times = vec![0; partition.extent()];
        let mut weights = Vec::new();
        for part in partition.parts() {
            part.iter().for_each(|index| times[index] += 1);
            weights.push(part.iter().map(weight).sum::<u64>());
        }
        let Promise { complete, disjoint, spare } = partition.promise();
        assert!(!complete || times.iter().all(|&times| times > 0), "{partition:?} is not complete");
        assert!(!disjoint || times.iter().all(|&times| times < 2), "{partition:?} is not disjoint");
        if let Some(spare) = spare {
            let even = (0..partition.extent()).map(weight).sum::<u64>() as f64 / weights.len().max(1) as f64;
            let most = weights.iter().copied().max().unwrap_or(0);
            assert!(most as f64 <= even + spare as f64, "{partition:?}: {most} of {even} and {spare}");
        }
    }

    fn random(seed: usize) -> usize {
        let mut mixed = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) >> 20) as usize
    }

    #[test]
    fn promises_are_kept() {
        for seed in 0..200 {
            let (extent, parts) = (random(seed) % 40, 1 + random(seed + 1000) % 7);
            let other = 1 + random(seed + 2000) % 30;
            let one = |_| 1;
            let weights = (0..extent).map(|index| (random(seed * 64 + index) % 9) as u64).collect::<Vec<_>>();
            let keys = (0..extent).map(|index| random(seed * 96 + index) % parts).collect::<Vec<_>>();
            let f = (0..extent).map(|index| random(seed * 128 + index) % other).collect::<Vec<_>>();
            let equal = Partition::equal(extent, parts);
            let by_weight = Partition::equal_weight(&weights, parts);
            let by_key = Partition::by_key(&keys, parts).unwrap();
            let sizes = (0..parts).map(|part| (random(seed + 31 * part) % 5) as f64).collect::<Vec<_>>();
            keeps(&equal, &one);
            keeps(&by_weight, &|index| weights[index]);
            keeps(&by_key, &one);
            match Partition::weighted(extent, &sizes) {
                Ok(weighted) => keeps(&weighted, &one),
                Err(_) => assert!(sizes.iter().all(|&size| size == 0.0)),
            }
            keeps(&equal.union(&by_key).unwrap(), &one);
            keeps(&equal.intersection(&by_key).unwrap(), &one);
            keeps(&equal.difference(&by_key).unwrap(), &one);

            let over = Partition::equal(other, parts);
            let preimage = over.preimage(&f).unwrap();
            keeps(&preimage, &one);
            let image = preimage.image(&f.iter().copied().map(Some).collect::<Vec<_>>(), other).unwrap();
            keeps(&image, &one);
            // An image of a preimage has nothing new.
            assert!(image.parts().iter().zip(over.parts()).all(|(image, part)| image.is_subset(part)));
        }
    }

    #[test]
    fn edges_lie_where_their_vertices_do() {
        let (vertices, count) = (23, 200);
        let ends = |shift: usize| (0..count).map(|edge| random(edge * 2 + shift) % vertices).collect::<Vec<_>>();
        let (sources, targets) = (ends(0), ends(1));
        let owners = Partition::equal(vertices, 4);
        let lines = Partition::edges_1d(&owners, &sources).unwrap();
        keeps(&lines, &|_| 1);
        for (part, edges) in lines.parts().iter().enumerate() {
            assert!(edges.iter().all(|edge| owners.parts()[part].contains(sources[edge])));
        }
        let grid = Grid::new([3, 2]).unwrap();
        let tiles = Partition::edges_2d(vertices, (&sources, &targets), &grid).unwrap();
        keeps(&tiles, &|_| 1);
        let (of_sources, of_targets) = (Partition::equal(vertices, 3), Partition::equal(vertices, 2));
        for (rank, edges) in tiles.parts().iter().enumerate() {
            let place = grid.place(rank);
            for edge in edges.iter() {
                assert!(of_sources.parts()[place[0]].contains(sources[edge]));
                assert!(of_targets.parts()[place[1]].contains(targets[edge]));
            }
        }
        // Ghosts: what a part's edges point to and the part does not own.
        let to = targets.iter().copied().map(Some).collect::<Vec<_>>();
        let ghosts = lines.image(&to, vertices).unwrap().difference(&owners).unwrap();
        for (ghosts, own) in ghosts.parts().iter().zip(owners.parts()) {
            assert!(ghosts.intersection(own).is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let halves = Partition::equal(10, 2);
        assert!(halves.union(&Partition::equal(10, 3)).is_err() && halves.union(&Partition::equal(9, 2)).is_err());
        assert!(halves.preimage(&[10]).is_err() && halves.image(&[Some(1); 9], 5).is_err());
        assert!(halves.image(&[Some(5); 10], 5).is_err() && Partition::by_key(&[0, 2], 2).is_err());
        assert!(Partition::weighted(4, &[0.0, 0.0]).is_err() && Partition::weighted(4, &[1.0, f64::NAN]).is_err());
        assert!(Partition::edges_2d(3, (&[0], &[3]), &Grid::new([1, 1]).unwrap()).is_err());
        assert!(Partition::edges_2d(3, (&[0], &[1]), &Grid::new([4]).unwrap()).is_err());
    }
}
