//! Nests of loops: what primitives make of a contraction, and which part of it a rank does in which round.
//!
//! A loop counts pieces or runs through the indices of a letter within a piece. What a rank does in a round is found by giving the
//! distributed loops its place on the grid, the sequential ones the round's number, and following the cuts of each letter from its whole
//! range down. Nothing here depends on which rank asks, so every rank knows what every other one has and needs.

use std::collections::BTreeMap;
use std::ops::Range;

use bireme_engine::error::{Error, Result};
use bireme_engine::layout::Grid;
use bireme_operators::array::Region;
use bireme_operators::contract::{Einsum, Extents};

use super::{Primitive, Recipe};
use crate::array::rounds::Rounds;

/// Rounds of a schedule, at most: each is a stage.
const ROUNDS: usize = 4096;

/// A contraction as loops over ranks and rounds.
#[derive(Clone, Debug)]
pub struct Nest {
    name: String,
    grid: Grid,
    letters: BTreeMap<char, Letter>,
    counts: BTreeMap<String, Count>,
    distributed: Vec<String>,
    /// With how many iterations.
    sequential: Vec<(String, usize)>,
    /// Within how many of the sequential loops each operand is brought.
    brought: Vec<usize>,
    output: Vec<char>,
    /// Dimensions of the grid along which ranks have summands.
    summed: Vec<usize>,
    on_face: bool,
}

/// A letter's indices, and how loops cut them, outermost first.
#[derive(Clone, Debug)]
struct Letter {
    extent: usize,
    cuts: Vec<(String, Piece)>,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    /// One of so many.
    Of(usize),
    /// Of a size.
    Size(usize),
}

/// A loop that counts pieces.
#[derive(Clone, Debug)]
struct Count {
    extent: usize,
    made: Made,
}

/// How the value of a counting loop is known.
#[derive(Clone, Debug)]
enum Made {
    /// It is a loop.
    Loop,
    /// It was divided: outer · extent of inner + inner.
    Pair(String, String),
    /// It begins elsewhere: the loop that runs, and what is added.
    Rotated(String, Vec<String>),
}

/// A rank's place and a round, as values of loops.
type Values<'a> = BTreeMap<&'a str, usize>;

/// A nest while primitives are applied.
struct Builder<'a> {
    name: &'a str,
    letters: BTreeMap<char, Letter>,
    /// Which letter's innermost loop has this name.
    inner: BTreeMap<String, char>,
    counts: BTreeMap<String, Count>,
    order: Vec<String>,
    distributed: Vec<String>,
    communicated: Vec<Option<String>>,
}

impl Nest {
    pub(super) fn new(name: String, einsum: &Einsum, extents: &Extents, recipe: &Recipe) -> Result<Self> {
        let all = einsum.letters();
        let letter = |&letter: &char| (letter, Letter { extent: extents.of(letter), cuts: Vec::new() });
        let mut builder = Builder {
            name: &name,
            letters: all.iter().map(letter).collect(),
            inner: all.iter().map(|letter| (letter.to_string(), *letter)).collect(),
            counts: BTreeMap::new(),
            order: all.iter().map(ToString::to_string).collect(),
            distributed: Vec::new(),
            communicated: vec![None; einsum.operands().len()],
        };
        recipe.primitives.iter().try_for_each(|primitive| builder.apply(primitive))?;
        builder.finish(einsum, recipe.on_face)
    }

    /// The ranks, as the distributed loops.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The values of the distributed loops on a rank, and of the first `depth` sequential ones in a round.
    fn values(&self, rank: usize, round: usize, depth: usize) -> Values<'_> {
        let place = self.grid.place(rank);
        let mut values = self.distributed.iter().map(String::as_str).zip(place).collect::<Values<'_>>();
        let mut rest = round;
        let mut iterations = vec![0; self.sequential.len()];
        for (at, (_, extent)) in iterations.iter_mut().zip(&self.sequential).rev() {
            (*at, rest) = (rest % extent, rest / extent);
        }
        values.extend(self.sequential.iter().map(|(name, _)| name.as_str()).zip(iterations).take(depth));
        values
    }

    fn value(&self, count: &str, values: &Values<'_>) -> Option<usize> {
        value(&self.counts, count, values)
    }

    fn range(&self, letter: char, values: &Values<'_>) -> Range<usize> {
        let Some(letter) = self.letters.get(&letter) else { return 0..1 };
        let mut range = 0..letter.extent;
        for (count, piece) in &letter.cuts {
            let Some(at) = self.value(count, values) else { break };
            range = piece.within(&range, at);
        }
        range
    }

    fn region(&self, letters: &[char], rank: usize, round: usize, depth: usize) -> Region {
        if rank >= self.grid.ranks() {
            return Region::empty(letters.len());
        }
        let values = self.values(rank, round, depth);
        Region::new(letters.iter().map(|&letter| self.range(letter, &values)).collect::<Vec<_>>())
    }
}

impl Rounds for Nest {
    fn count(&self) -> usize {
        self.sequential.iter().map(|(_, extent)| extent).product()
    }

    fn brought(&self, operand: usize, letters: &[char], rank: usize, round: usize) -> Region {
        self.region(letters, rank, round, self.brought[operand])
    }

    fn part(&self, letters: &[char], rank: usize, round: usize) -> Region {
        self.region(letters, rank, round, self.sequential.len())
    }

    fn made(&self, rank: usize) -> Region {
        self.region(&self.output, rank, 0, 0)
    }

    fn kept(&self, rank: usize) -> Region {
        let made = self.made(rank);
        if self.summed.is_empty() || rank >= self.grid.ranks() {
            return made;
        }
        let place = self.grid.place(rank);
        let (count, number) = self.summed.iter().fold((1, 0), |(count, number), &dimension| {
            let extent = self.grid.extents()[dimension];
            (count * extent, number * extent + place[dimension])
        });
        match made.ranges().first() {
            Some(first) if !self.on_face => {
                let mut ranges = made.ranges().to_vec();
                ranges[0] = Piece::Of(count).within(first, number);
                Region::new(ranges)
            }
            _ if number == 0 => made,
            _ => Region::empty(self.output.len()),
        }
    }

    fn is_summed(&self) -> bool {
        !self.summed.is_empty()
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        let ranks = self.grid.ranks();
        if from >= ranks || to >= ranks {
            return ranks + from.abs_diff(to);
        }
        // Steps on a torus.
        let (one, other) = (self.grid.place(from), self.grid.place(to));
        let along = |((a, b), extent): ((&usize, &usize), &usize)| a.abs_diff(*b).min(extent - a.abs_diff(*b));
        one.iter().zip(&other).zip(self.grid.extents()).map(along).sum()
    }

    fn describe(&self) -> String {
        format!("{} on {}", self.name, self.grid)
    }
}

impl Piece {
    /// The piece of a range with this number.
    fn within(self, range: &Range<usize>, number: usize) -> Range<usize> {
        match self {
            Self::Of(parts) => {
                let share = |number: usize| (range.len() as u128 * number as u128 / parts as u128) as usize;
                range.start + share(number)..range.start + share(number + 1)
            }
            Self::Size(size) => {
                let start = (range.start + number * size).min(range.end);
                start..(start + size).min(range.end)
            }
        }
    }
}

fn value(counts: &BTreeMap<String, Count>, count: &str, values: &Values<'_>) -> Option<usize> {
    let one = counts.get(count)?;
    match &one.made {
        Made::Loop => values.get(count).copied(),
        Made::Pair(outer, inner) => {
            Some(value(counts, outer, values)? * counts.get(inner)?.extent + value(counts, inner, values)?)
        }
        Made::Rotated(to, by) => {
            let mut sum = value(counts, to, values)?;
            for other in by {
                sum += value(counts, other, values)?;
            }
            Some(sum % one.extent)
        }
    }
}

impl Builder<'_> {
    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::user(format!("the schedule {}: {what}", self.name))
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.order
            .iter()
            .position(|other| other == name)
            .ok_or_else(|| self.wrong(format!("there is no loop `{name}`, only {}", self.order.join(", "))))
    }

    fn fresh(&self, name: &str) -> Result<()> {
        let known = self.order.iter().any(|other| other == name) || self.counts.contains_key(name);
        if known { Err(self.wrong(format!("there is a loop `{name}` already"))) } else { Ok(()) }
    }

    fn apply(&mut self, primitive: &Primitive) -> Result<()> {
        match primitive {
            Primitive::Divide { of, outer, inner, parts } => self.cut(of, outer, inner, Piece::Of(*parts)),
            Primitive::Split { of, outer, inner, size } => self.cut(of, outer, inner, Piece::Size(*size)),
            Primitive::Reorder(names) => self.reorder(names),
            Primitive::Distribute(names) => self.distribute(names),
            Primitive::Communicate { operand, at } => {
                self.place(at)?;
                let operands = self.communicated.len();
                match self.communicated.get_mut(*operand) {
                    Some(place) => *place = Some(at.clone()),
                    None => return Err(self.wrong(format!("there is no operand {operand}, only {operands}"))),
                }
                Ok(())
            }
            Primitive::Rotate { of, by, to } => self.rotate(of, by, to),
        }
    }

    fn cut(&mut self, of: &str, outer: &str, inner: &str, piece: Piece) -> Result<()> {
        let at = self.place(of)?;
        self.fresh(outer)?;
        self.fresh(inner)?;
        if outer == inner || matches!(piece, Piece::Of(0) | Piece::Size(0)) {
            return Err(self.wrong(format!("loop `{of}` cannot be cut so: two new names, and at least one piece")));
        }
        let count = |extent| Count { extent, made: Made::Loop };
        if let Some(letter) = self.inner.remove(of) {
            let Some(cuts) = self.letters.get_mut(&letter) else { return Ok(()) };
            // The longest range that is left within the cuts so far.
            let longest = cuts.cuts.iter().fold(cuts.extent, |longest, (_, piece)| match piece {
                Piece::Of(parts) => longest.div_ceil(*parts),
                Piece::Size(size) => longest.min(*size),
            });
            cuts.cuts.push((outer.to_owned(), piece));
            self.inner.insert(inner.to_owned(), letter);
            let extent = match piece {
                Piece::Of(parts) => parts,
                Piece::Size(size) => longest.div_ceil(size).max(1),
            };
            self.counts.insert(outer.to_owned(), count(extent));
        } else {
            // A loop that counts: pieces of equal size only, so that its number is made of both.
            let extent = self.counts.get(of).map_or(1, |count| count.extent);
            let [outermost, innermost] = match piece {
                Piece::Of(parts) => [parts, extent / parts],
                Piece::Size(size) => [extent / size, size],
            };
            if outermost * innermost != extent {
                return Err(self.wrong(format!("loop `{of}` counts {extent} pieces, which cannot be cut evenly so")));
            }
            self.counts.insert(outer.to_owned(), count(outermost));
            self.counts.insert(inner.to_owned(), count(innermost));
            if let Some(count) = self.counts.get_mut(of) {
                count.made = Made::Pair(outer.to_owned(), inner.to_owned());
            }
        }
        self.order.splice(at..=at, [outer.to_owned(), inner.to_owned()]);
        Ok(())
    }

    fn reorder(&mut self, names: &[String]) -> Result<()> {
        let mut places = names.iter().map(|name| self.place(name)).collect::<Result<Vec<_>>>()?;
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.wrong(format!("the order {} names a loop twice", names.join(", "))));
        }
        places.into_iter().zip(names).for_each(|(place, name)| self.order[place].clone_from(name));
        Ok(())
    }

    fn distribute(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            self.place(name)?;
            if !self.counts.contains_key(name) {
                return Err(
                    self.wrong(format!("loop `{name}` does not count pieces: divide it before it is distributed"))
                );
            }
            if self.distributed.contains(name) {
                return Err(self.wrong(format!("loop `{name}` is distributed twice")));
            }
            self.distributed.push(name.clone());
        }
        // They are outside of all others.
        self.order.retain(|name| !self.distributed.contains(name));
        self.order.splice(0..0, self.distributed.iter().cloned());
        Ok(())
    }

    fn rotate(&mut self, of: &str, by: &[String], to: &str) -> Result<()> {
        let at = self.place(of)?;
        self.fresh(to)?;
        let extent = match self.counts.get(of) {
            Some(count) if !self.distributed.iter().any(|name| name == of) => count.extent,
            _ => {
                return Err(self.wrong(format!("loop `{of}` cannot begin elsewhere: it does not count pieces in time")));
            }
        };
        if let Some(other) = by.iter().find(|name| !self.distributed.contains(name)) {
            return Err(self.wrong(format!("`{of}` can be rotated by distributed loops, and `{other}` is none")));
        }
        self.counts.insert(to.to_owned(), Count { extent, made: Made::Loop });
        if let Some(count) = self.counts.get_mut(of) {
            count.made = Made::Rotated(to.to_owned(), by.to_vec());
        }
        self.order[at] = to.to_owned();
        Ok(())
    }

    fn finish(self, einsum: &Einsum, on_face: bool) -> Result<Nest> {
        if self.distributed.is_empty() {
            return Err(self.wrong("no loop is distributed"));
        }
        let first = self.distributed.len();
        let innermost = self.communicated.iter().flatten().map(|name| self.place(name)).collect::<Result<Vec<_>>>()?;
        let end = innermost.into_iter().max().map_or(first, |at| (at + 1).max(first));
        let mut sequential = Vec::new();
        for name in &self.order[first..end] {
            let extent = self.counts.get(name).map(|count| count.extent).ok_or_else(|| {
                self.wrong(format!("`{name}` does not count pieces: an operand cannot be brought at or within it"))
            })?;
            sequential.push((name.clone(), extent));
        }
        let rounds = sequential.iter().map(|(_, extent)| *extent).try_fold(1_usize, usize::checked_mul);
        if rounds.is_none_or(|rounds| rounds > ROUNDS) {
            return Err(self.wrong(format!("more than {ROUNDS} rounds: bring operands at an outer loop")));
        }
        let at_depth = |name: &Option<String>| match name {
            Some(name) => self.place(name).map(|at| (at + 1).saturating_sub(first)),
            None => Ok(0),
        };
        let brought = self.communicated.iter().map(at_depth).collect::<Result<Vec<_>>>()?;
        self.check_cuts(&sequential)?;
        let summed = (0..first).filter(|&at| self.cuts_a_summed_letter(&self.distributed[at], einsum.output()));
        let summed = summed.collect();
        let extents = self.distributed.iter().map(|name| self.counts.get(name).map_or(1, |count| count.extent));
        Ok(Nest {
            name: self.name.to_owned(),
            grid: Grid::new(extents.collect::<Vec<_>>())?,
            letters: self.letters,
            counts: self.counts,
            distributed: self.distributed,
            sequential,
            brought,
            output: einsum.output().to_vec(),
            summed,
            on_face,
        })
    }

    /// Wherever some of the loops have values, those that cut a letter first must have theirs before those that cut it later.
    fn check_cuts(&self, sequential: &[(String, usize)]) -> Result<()> {
        let sequential = sequential.iter().map(|(name, _)| name);
        let mut values = self.distributed.iter().map(|name| (name.as_str(), 0)).collect::<Values<'_>>();
        for next in std::iter::once(None).chain(sequential.map(Some)) {
            if let Some(name) = next {
                values.insert(name, 0);
            }
            for (letter, cuts) in &self.letters {
                let known = cuts.cuts.iter().map(|(count, _)| value(&self.counts, count, &values).is_some());
                let known = known.collect::<Vec<_>>();
                if known.windows(2).any(|pair| !pair[0] && pair[1]) {
                    return Err(self
                        .wrong(format!("a loop within a piece of `{letter}` is outside of the loop over its pieces")));
                }
            }
        }
        Ok(())
    }

    /// Whether a distributed loop chooses among the pieces of a letter that the result lacks.
    fn cuts_a_summed_letter(&self, name: &str, output: &[char]) -> bool {
        let letters = self.letters.iter().filter(|(letter, _)| !output.contains(letter));
        let cuts = letters.flat_map(|(_, letter)| &letter.cuts);
        cuts.into_iter().any(|(count, _)| self.is_made_of(count, name))
    }

    fn is_made_of(&self, count: &str, name: &str) -> bool {
        match self.counts.get(count).map(|count| &count.made) {
            _ if count == name => true,
            Some(Made::Pair(outer, inner)) => self.is_made_of(outer, name) || self.is_made_of(inner, name),
            Some(Made::Rotated(to, _)) => self.is_made_of(to, name),
            _ => false,
        }
    }
}
