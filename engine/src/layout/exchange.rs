//! What must move so that one placement becomes another.
//!
//! Each dimension of the grid is looked at by itself, as in the collectives of MPI along its lines of ranks:
//!
//! ```text
//!   have \ want    along i        along j       *            face        +
//!   along i        –, or tiles    all-to-all    all-gather   gather      –
//!   *              slice          slice         –            –           –
//!   face           scatter        scatter       broadcast    point       –
//!   +              reduce-scatter reduce-scatter all-reduce   reduce      –
//! ```
//!
//! Where no more than ghost cells are missing, neighbours send them to each other (tiles). What a rank receives is exact: all
//! that it wants and does not have. Between grids of different extents the lines do not match, and everything is tiles.

use super::notation::Axis;
use super::placement::{Placement, size};

/// How the ranks along a dimension of the grid talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collective {
    /// Each drops what it need not hold; nothing is sent.
    Slice,
    /// Some pairs of ranks, in messages of their own: ghost cells, tiles of another size.
    Tiles,
    /// One sends each of the others its part.
    Scatter,
    /// Each sends its part to one.
    Gather,
    /// One sends all of it to all others.
    Broadcast,
    /// Each sends its part to all others.
    AllGather,
    /// Each sends a part of its part to each of the others.
    AllToAll,
    /// The sum goes to one.
    Reduce,
    /// Each gets its part of the sum.
    ReduceScatter,
    /// All get all of the sum.
    AllReduce,
}

/// What must move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// For each dimension of the grid along which something is to be done, what; in the order in which it is done. For grids of
    /// different extents one entry, of no dimension.
    pub steps: Vec<(Option<usize>, Collective)>,
    /// Elements that each rank receives, at the most; of sums, the elements of one summand.
    pub most_received: u64,
    /// Elements that all ranks receive together.
    pub received: u64,
}

impl Exchange {
    /// Whether no rank sends anything.
    pub fn is_free(&self) -> bool {
        self.received == 0
    }
}

impl Placement {
    /// The cheapest way from this placement to another one of the same collection on as many ranks; `None` if they are not.
    ///
    /// ```
    /// # use bireme_engine::layout::{Collective, Grid, Layout, Placement};
    /// let on = |layout: &str| Placement::new(Layout::parse(layout)?, vec![8, 8], Grid::new([2, 2])?);
    /// let moved = on("A(i,j) -> M(i,j)")?.exchange(&on("A(i,j) -> M(i,*)")?).unwrap();
    /// assert_eq!(moved.steps, [(Some(1), Collective::AllGather)]);      // along the lines, each rank gets the other half
    /// assert_eq!(moved.most_received, 16);
    /// # Ok::<(), bireme_engine::Error>(())
    /// ```
    pub fn exchange(&self, want: &Self) -> Option<Exchange> {
        if self.shape() != want.shape() || self.grid().ranks() != want.grid().ranks() {
            return None;
        }
        let sums = self.has_summands() && self.layout().axes != want.layout().axes;
        let ranks = 0..self.grid().ranks();
        let each = ranks.map(|rank| if sums { size(&self.owned(rank)) } else { self.missing(want, rank) });
        let each = each.collect::<Vec<_>>();
        let (most_received, received) = (each.iter().copied().max().unwrap_or(0), each.iter().sum());
        let steps = if received == 0 { self.slices(want) } else { self.steps(want) };
        Some(Exchange { steps, most_received, received })
    }

    fn has_summands(&self) -> bool {
        self.layout().axes.contains(&Axis::Summands)
    }

    /// Elements that a rank wants there and does not have here.
    fn missing(&self, want: &Self, rank: usize) -> u64 {
        let (has, wants) = (self.wanted(rank), want.wanted(rank));
        if size(&has) == 0 {
            return size(&wants);
        }
        let both = has.iter().zip(&wants).map(|(has, wants)| has.intersection(wants)).collect::<Vec<_>>();
        size(&wants) - size(&both)
    }

    fn slices(&self, want: &Self) -> Vec<(Option<usize>, Collective)> {
        let differs = (0..self.grid().ranks()).any(|rank| self.wanted(rank) != want.wanted(rank));
        if differs { vec![(None, Collective::Slice)] } else { Vec::new() }
    }

    fn steps(&self, want: &Self) -> Vec<(Option<usize>, Collective)> {
        if self.grid() != want.grid() {
            return vec![(None, Collective::Tiles)];
        }
        let axes = self.layout().axes.iter().zip(&want.layout().axes).enumerate();
        let mut steps = axes.filter(|(axis, _)| self.grid().extents()[*axis] > 1).collect::<Vec<_>>();
        // Sums first: they make the rest smaller, or are all there is.
        steps.sort_by_key(|(_, (have, _))| **have != Axis::Summands);
        let steps = steps
            .into_iter()
            .filter_map(|(axis, (have, want_axis))| Some((Some(axis), self.collective(want, *have, *want_axis)?)));
        let steps = steps.collect::<Vec<_>>();
        // Something moves: where each axis by itself drops only, they do not do so together.
        let moves = steps.iter().any(|(_, step)| *step != Collective::Slice);
        if moves { steps } else { vec![(None, Collective::Tiles)] }
    }

    fn collective(&self, want: &Self, have: Axis, wants: Axis) -> Option<Collective> {
        use Axis::{Along, Face, Replicated, Summands, Within};
        Some(match (have, wants) {
            (Along(one), Along(other)) if one == other => {
                let [has, wants] = [self, want].map(|placement| &placement.layout().dimensions[one]);
                match (has.spread, wants.spread) {
                    (one, other) if one == other && has.halo >= wants.halo => return None,
                    (one, other) if one == other => Collective::Tiles,
                    _ => Collective::AllToAll,
                }
            }
            (Within(one), Within(other)) if one == other => return None,
            (Along(_) | Within(_), Along(_) | Within(_)) => Collective::AllToAll,
            (Along(_) | Within(_), Replicated) => Collective::AllGather,
            (Along(_) | Within(_), Face(_)) => Collective::Gather,
            (Replicated, Along(_) | Within(_)) => Collective::Slice,
            (Face(_), Along(_) | Within(_)) => Collective::Scatter,
            (Face(_), Replicated) => Collective::Broadcast,
            (Face(one), Face(other)) if one != other => Collective::Tiles,
            (Summands, Along(_) | Within(_)) => Collective::ReduceScatter,
            (Summands, Replicated) => Collective::AllReduce,
            (Summands, Face(_)) => Collective::Reduce,
            (Replicated | Face(_), _) | (Summands, Summands) | (Along(_) | Within(_), Summands) => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::super::placement::tests::{LAYOUTS, placement};
    use super::*;

    fn check(have: &str, want: &str, steps: &[(Option<usize>, Collective)], most_received: u64) {
        let (have, want) = (placement(have, &[12, 12], &[2, 3]), placement(want, &[12, 12], &[2, 3]));
        let exchange = have.exchange(&want).unwrap();
        let both = format!("{} to {}", have.layout(), want.layout());
        assert_eq!((exchange.steps.as_slice(), exchange.most_received), (steps, most_received), "{both}");
    }

    #[test]
    fn the_table_holds() {
        use Collective::*;
        check("A(i,j) -> M(i,j)", "A(i,j) -> M(i,j)", &[], 0);
        check("A(i,j) -> M(i,j)", "A(i,j) -> M(i,*)", &[(Some(1), AllGather)], 48);
        check("A(i,j) -> M(i,j)", "A(i,j) -> M(*,j)", &[(Some(0), AllGather)], 24);
        check("A(i,j) -> M(i,j)", "A(i,j) -> M(*,*)", &[(Some(0), AllGather), (Some(1), AllGather)], 120);
        check("A(i,j) -> M(i,*)", "A(i,j) -> M(i,j)", &[(None, Slice)], 0);
        check("A(i,j) -> M(i,0)", "A(i,j) -> M(i,*)", &[(Some(1), Broadcast)], 72);
        check("A(i,j) -> M(i,0)", "A(i,j) -> M(i,j)", &[(Some(1), Scatter)], 24);
        check("A(i,j) -> M(i,j)", "A(i,j) -> M(i,0)", &[(Some(1), Gather)], 48);
        check("A(i,j) -> M(i,*)", "A(i,j) -> M(j,*)", &[(Some(0), AllToAll)], 36);
        check("A(i,j) -> M(i,j)", "A(i halo(1),j) -> M(i,j)", &[(Some(0), Tiles)], 4);
        check("A(i,j) -> M(i,j)", "A(i cyclic(2),j) -> M(i,j)", &[(Some(0), AllToAll)], 8);
        check("A(i,j) -> M(i,+)", "A(i,j) -> M(i,j)", &[(Some(1), ReduceScatter)], 72);
        check("A(i,j) -> M(i,+)", "A(i,j) -> M(i,*)", &[(Some(1), AllReduce)], 72);
        check("A(i,j) -> M(i,+)", "A(i,j) -> M(i,1)", &[(Some(1), Reduce)], 72);
        check("A(i,j) -> M(i,+)", "A(i,j) -> M(i,+)", &[], 0);
        check("A(i,j) -> M(i,i')", "A(i,j) -> M(i,*)", &[(Some(1), AllGather)], 48);
        check("A(i,j) -> M(i,*)", "A(i,j) -> M(i,i')", &[(None, Slice)], 0);
    }

    #[test]
    fn nothing_moves_if_and_only_if_the_placement_satisfies() {
        for have in LAYOUTS {
            for want in LAYOUTS {
                let (have, want) = (placement(have, &[7, 5], &[2, 3]), placement(want, &[7, 5], &[2, 3]));
                let exchange = have.exchange(&want).unwrap();
                assert_eq!(exchange.is_free(), have.satisfies(&want), "{} to {}", have.layout(), want.layout());
                assert_eq!(exchange.is_free(), exchange.steps.iter().all(|(_, step)| *step == Collective::Slice));
                assert!(exchange.most_received <= 35 && exchange.received <= 6 * exchange.most_received);
            }
        }
    }

    #[test]
    fn other_grids_exchange_tiles() {
        let (have, want) = (placement("A(i) -> M(i)", &[12], &[6]), placement("A(i) -> M(i,*)", &[12], &[2, 3]));
        let exchange = have.exchange(&want).unwrap();
        assert_eq!((exchange.steps, exchange.most_received), (vec![(None, Collective::Tiles)], 4));
        assert_eq!(have.exchange(&placement("A(i) -> M(i)", &[12], &[4])), None);
    }
}
