//! How a product runs on several ranks: along one index as an operand lies, or by a schedule.
//!
//! Each way is costed by what it does here: the elements that the rank with most to receive lacks in each round, given where the operands are
//! now and where the result has to go, the messages, and the longest product. The cheapest wins; a schedule that was asked for is not judged.

use std::ops::Range;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::array::Region;
use bireme_operators::contract::{Einsum, Extents};

use super::Lowering;
use crate::array::rounds::Rounds;
use crate::array::schedule::{Product, Schedule, least_received};

/// Products of fewer multiplications are not worth a search.
const SMALL: u128 = 1 << 24;

/// How a product runs.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub rounds: Arc<dyn Rounds>,
    /// What people are told beside the product: what is moved, and what else was thought of.
    pub lines: Vec<String>,
}

/// What a way costs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Bytes that one rank receives, at the most, and all together.
    most: u64,
    all: u64,
    seconds: f64,
}

impl Lowering<'_> {
    pub(super) fn choose(&self, number: usize, einsum: &Einsum) -> Result<Chosen> {
        let entry = self.entry(number);
        let shapes = entry.operands.iter().map(|&operand| self.entry(operand).shape.as_slice()).collect::<Vec<_>>();
        let extents = einsum.extents(&shapes)?;
        if let crate::array::Op::Contract(_, Some(schedule)) = &entry.op {
            let rounds: Arc<dyn Rounds> = Arc::new(schedule.nest(einsum, &extents, self.places.ranks)?);
            let cost = self.cost(number, einsum, rounds.as_ref());
            let lines = self.told(number, einsum, &extents, rounds.as_ref(), cost);
            return Ok(Chosen { rounds, lines: vec![format!("{lines}, as asked")] });
        }
        if let Some(way) = self.with_sparse(number, einsum)? {
            let rounds: Arc<dyn Rounds> = Arc::new(way);
            let cost = self.cost(number, einsum, rounds.as_ref());
            let told = self.told(number, einsum, &extents, rounds.as_ref(), cost);
            let lines = if self.places.ranks > 1 { vec![told] } else { Vec::new() };
            return Ok(Chosen { rounds, lines });
        }
        let ways = self.ways(number, einsum);
        let mut all = ways.into_iter().map(|way| Arc::new(way) as Arc<dyn Rounds>).collect::<Vec<_>>();
        let products = einsum.letters().iter().map(|&letter| extents.of(letter) as u128).product::<u128>();
        let spread = |&operand: &usize| {
            let seen = self.seen(operand).entry;
            self.tilings[seen].is_some() || self.places.cuts(&self.entry(seen).shape)
        };
        if self.places.ranks > 1 && products >= SMALL && entry.operands.iter().any(spread) {
            all.extend(self.schedules(einsum, &extents));
        }
        let costs = all.iter().map(|rounds| self.cost(number, einsum, rounds.as_ref())).collect::<Vec<_>>();
        let mut order = (0..all.len()).collect::<Vec<_>>();
        // Stable: of equal ones the first.
        order.sort_by(|&one, &other| costs[one].seconds.total_cmp(&costs[other].seconds));
        let best = order[0];
        let mut lines = Vec::new();
        if self.places.ranks > 1 {
            lines.push(self.told(number, einsum, &extents, all[best].as_ref(), costs[best]));
            for &other in order.iter().skip(1).take(3) {
                let more = 100.0 * (costs[other].seconds / costs[best].seconds.max(f64::MIN_POSITIVE) - 1.0);
                let most = costs[other].most;
                lines.push(format!(
                    "rejected: {}, a rank receives {most} B, {more:.0} % more time",
                    all[other].describe()
                ));
            }
        }
        Ok(Chosen { rounds: Arc::clone(&all[best]), lines })
    }

    fn told(&self, number: usize, einsum: &Einsum, extents: &Extents, rounds: &dyn Rounds, cost: Cost) -> String {
        let bound = Product::of(einsum, extents, "").ok().map(|product| {
            let bytes = self.entry(number).dtype.bytes();
            let least = least_received(product.extents, self.places.ranks) * bytes as f64;
            format!(", lower bound {least:.0} B from one copy of each operand")
        });
        let turns = match rounds.count() {
            1 => String::new(),
            count => format!(" in {count} rounds"),
        };
        let (by, Cost { most, all, .. }) = (rounds.describe(), cost);
        format!("by {by}{turns}: a rank receives {most} B at most{}, all together {all} B", bound.unwrap_or_default())
    }

    /// The algorithms of the literature that use all ranks.
    fn schedules(&self, einsum: &Einsum, extents: &Extents) -> Vec<Arc<dyn Rounds>> {
        let named =
            [Schedule::summa(), Schedule::cosma(), Schedule::cannon(), Schedule::johnson(), Schedule::solomonik(None)];
        let stationary = (0..einsum.operands().len()).map(Schedule::stationary);
        let all = named.into_iter().chain(stationary);
        let nests = all.filter_map(|schedule| schedule.nest(einsum, extents, self.places.ranks).ok());
        nests
            .filter(|nest| nest.grid().ranks() == self.places.ranks)
            .map(|nest| Arc::new(nest) as Arc<dyn Rounds>)
            .collect()
    }

    /// What ranks lack, round by round, and what it takes to bring it.
    fn cost(&self, number: usize, einsum: &Einsum, rounds: &dyn Rounds) -> Cost {
        let entry = self.entry(number);
        let bytes = entry.dtype.bytes() as u64;
        let ranks = self.places.ranks;
        let mut received = vec![0_u64; ranks];
        for (at, (&operand, letters)) in entry.operands.iter().zip(einsum.operands()).enumerate() {
            let seen = self.seen(operand);
            let has = self.has(seen.entry);
            for (rank, received) in received.iter_mut().enumerate() {
                let mut before: Option<Region> = None;
                for round in 0..rounds.count() {
                    let part = rounds.brought(at, letters, rank, round);
                    let reads = Region::new(seen.affine.reads(part.ranges()));
                    if before.as_ref() != Some(&reads) {
                        *received += (reads.len() - reads.intersection(&has[rank]).len()) as u64;
                    }
                    before = Some(reads);
                }
            }
        }
        let kept = (0..ranks).map(|rank| rounds.kept(rank)).collect::<Vec<_>>();
        let mut moves = u64::from(received.iter().any(|&elements| elements > 0)) * rounds.count() as u64;
        if rounds.is_summed() {
            let made = (0..ranks).map(|rank| rounds.made(rank)).collect::<Vec<_>>();
            for (rank, received) in received.iter_mut().enumerate() {
                let others = made.iter().enumerate().filter(|(other, _)| *other != rank);
                *received += others.map(|(_, made)| made.intersection(&kept[rank]).len() as u64).sum::<u64>();
            }
            moves += 1;
        }
        // By rows, if nobody has said where it goes.
        if self.tilings[number].is_none() && !matches!(entry.op, crate::array::Op::Contract(_, Some(_))) {
            for ((received, home), kept) in received.iter_mut().zip(self.home(number)).zip(&kept) {
                *received += (home.len() - home.intersection(kept).len()) as u64;
            }
        }
        let longest = (0..ranks).map(|rank| {
            let letters = einsum.letters();
            let of_round = |round| rounds.part(&letters, rank, round).len() as f64;
            (0..rounds.count()).map(of_round).sum::<f64>()
        });
        let longest = longest.fold(0.0, f64::max);
        let most = received.iter().copied().max().unwrap_or(0) * bytes;
        let all = received.iter().sum::<u64>() * bytes;
        let link = self.places.link;
        let seconds = most as f64 / link.bandwidth
            + moves as f64 * link.latency * ranks as f64
            + 2.0 * longest / self.places.flops;
        Cost { most, all, seconds }
    }

    /// With a sparse operand: its rows are multiplied where they lie.
    fn with_sparse(&self, number: usize, einsum: &Einsum) -> Result<Option<Way>> {
        let entry = self.entry(number);
        let mut all = entry.operands.iter().zip(einsum.operands()).filter(|(operand, _)| self.entry(**operand).sparse);
        let Some((&operand, letters)) = all.next() else { return Ok(None) };
        if all.next().is_some() {
            return Err(Error::internal(format!("\"{einsum}\" of two sparse operands in a program of dense arrays")));
        }
        let rows = |region: &Region| region.ranges().first().cloned().unwrap_or(0..1);
        let ranges = self.has(operand).iter().map(rows).collect();
        // A row index that stands twice is cut like any other.
        Ok(Some(self.way(number, einsum, letters.first().copied(), ranges)))
    }

    /// Along which indices a product can be cut as its operands or its result lie; whole if nothing is cut.
    fn ways(&self, number: usize, einsum: &Einsum) -> Vec<Way> {
        let entry = self.entry(number);
        let ranks = 0..self.places.ranks;
        let way = |letter: Option<char>, ranges: Vec<Range<usize>>| self.way(number, einsum, letter, ranges);
        let mut ways = Vec::new();
        if self.places.cuts(&entry.shape)
            && let Some(&letter) = einsum.output().first()
        {
            ways.push(way(Some(letter), ranks.clone().map(|rank| self.places.rows(&entry.shape, rank)).collect()));
        }
        for (&operand, letters) in entry.operands.iter().zip(einsum.operands()) {
            let seen = self.seen(operand);
            let Some((axis, start, 1)) = seen.affine.along_first() else { continue };
            let has = self.has(seen.entry);
            if self.places.ranks < 2 || !are_rows(&has, &self.entry(seen.entry).shape) {
                continue;
            }
            let extent = self.entry(operand).shape[axis];
            let range = |rank: usize| {
                let rows = &has[rank].ranges()[0];
                let shift = |row: usize| (row as isize - start).clamp(0, extent as isize) as usize;
                shift(rows.start)..shift(rows.end)
            };
            ways.push(way(Some(letters[axis]), ranks.clone().map(range).collect()));
        }
        if ways.is_empty() {
            ways.push(way(None, Vec::new()));
        }
        ways
    }
}

impl Lowering<'_> {
    /// A product that is cut along a letter, at these places.
    fn way(&self, number: usize, einsum: &Einsum, letter: Option<char>, ranges: Vec<Range<usize>>) -> Way {
        let entry = self.entry(number);
        let extents = entry.operands.iter().zip(einsum.operands());
        let extents = extents.flat_map(|(&operand, letters)| {
            letters.iter().copied().zip(self.entry(operand).shape.iter().copied()).collect::<Vec<_>>()
        });
        Way {
            is_summed: letter.is_some_and(|letter| !einsum.output().contains(&letter)),
            letter,
            ranges,
            extents: extents.collect(),
            output: einsum.output().to_vec(),
            home: self.places.regions(&entry.shape),
        }
    }
}

/// Whether ranks have rows of an array, one behind the other and all of them.
fn are_rows(has: &[Region], shape: &[usize]) -> bool {
    let mut next = 0;
    for region in has {
        let Some((rows, rest)) = region.ranges().split_first() else { return false };
        if rows.is_empty() {
            continue;
        }
        if rows.start != next || rest.iter().zip(&shape[1..]).any(|(range, &extent)| *range != (0..extent)) {
            return false;
        }
        next = rows.end;
    }
    next == shape[0]
}

/// A product that is cut along one index.
#[derive(Debug)]
struct Way {
    letter: Option<char>,
    ranges: Vec<Range<usize>>,
    extents: Vec<(char, usize)>,
    output: Vec<char>,
    is_summed: bool,
    /// Where sums go.
    home: Vec<Region>,
}

impl Rounds for Way {
    fn count(&self) -> usize {
        1
    }

    fn brought(&self, _operand: usize, letters: &[char], rank: usize, round: usize) -> Region {
        self.part(letters, rank, round)
    }

    fn part(&self, letters: &[char], rank: usize, _round: usize) -> Region {
        let range = |letter: &char| match (self.letter, self.ranges.get(rank)) {
            (Some(cut), Some(range)) if cut == *letter => range.clone(),
            _ => 0..self.extents.iter().find(|one| one.0 == *letter).map_or(1, |one| one.1),
        };
        Region::new(letters.iter().map(range).collect::<Vec<_>>())
    }

    fn made(&self, rank: usize) -> Region {
        self.part(&self.output, rank, 0)
    }

    fn kept(&self, rank: usize) -> Region {
        if self.is_summed { self.home[rank].clone() } else { self.made(rank) }
    }

    fn is_summed(&self) -> bool {
        self.is_summed
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        crate::array::rounds::on_a_ring(self.home.len())(from, to)
    }

    fn describe(&self) -> String {
        self.letter.map_or_else(|| "every rank".to_owned(), |letter| format!("ranks that cut {letter}"))
    }
}
