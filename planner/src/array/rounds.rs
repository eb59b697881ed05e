//! A product as rounds: what each rank reads, does and keeps in each of them.

use bireme_operators::array::{Region, Slot};

/// What ranks do of a product, round by round.
///
/// Law: the parts of all ranks and rounds are each combination of indices once; a part's operands are within what was brought for it, and
/// what it makes is within what its rank makes; what ranks keep of what others made is the result, once.
pub trait Rounds: std::fmt::Debug {
    /// How many rounds there are.
    fn count(&self) -> usize;

    /// What a rank has of an operand with these letters in a round.
    fn brought(&self, operand: usize, letters: &[char], rank: usize, round: usize) -> Region;

    /// The indices of these letters of which a rank makes products in a round.
    fn part(&self, letters: &[char], rank: usize, round: usize) -> Region;

    /// The part of the result that a rank makes, in all rounds together.
    fn made(&self, rank: usize) -> Region;

    /// The part of the result that it has in the end.
    fn kept(&self, rank: usize) -> Region;

    /// Whether several ranks make summands of the same elements.
    fn is_summed(&self) -> bool;

    /// How far apart two ranks are, to choose the nearest of several that have what is needed.
    fn distance(&self, from: usize, to: usize) -> usize;

    /// What people are told.
    fn describe(&self) -> String;
}

/// Where elements come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From which rank.
    pub rank: usize,
    /// From which of its slots.
    pub slot: Slot,
    /// Which elements.
    pub region: Region,
}

/// From whom a rank gets what it wants: parts that do not overlap, from itself what it has, and the rest from the nearest rank that has all
/// of it, or else from several. `sources` are slots with what each rank has in them. `None` if some elements are nowhere.
pub fn parts(
    sources: &[(Slot, &[Region])],
    wants: &Region,
    rank: usize,
    distance: impl Fn(usize, usize) -> usize,
) -> Option<Vec<Part>> {
    let mut left = if wants.is_empty() { Vec::new() } else { vec![wants.clone()] };
    let mut found = Vec::new();
    let mut take = |left: &mut Vec<Region>, from: usize| {
        for (slot, regions) in sources {
            let mut rest = Vec::new();
            for lacking in left.drain(..) {
                let common = lacking.intersection(&regions[from]);
                if common.is_empty() {
                    rest.push(lacking);
                    continue;
                }
                rest.extend(lacking.minus(&common));
                found.push(Part { rank: from, slot: *slot, region: common });
            }
            *left = rest;
        }
    };
    take(&mut left, rank);
    if left.is_empty() {
        return Some(found);
    }
    let ranks = sources.first().map_or(0, |source| source.1.len());
    let has_all = |other: &usize| {
        sources.iter().any(|(_, regions)| left.iter().all(|lacking| lacking.is_within(&regions[*other])))
    };
    let mut others = (0..ranks).filter(|&other| other != rank).collect::<Vec<_>>();
    others.sort_by_key(|&other| distance(other, rank));
    if let Some(&nearest) = others.iter().find(|other| has_all(other)) {
        take(&mut left, nearest);
    }
    for other in others {
        if left.is_empty() {
            break;
        }
        take(&mut left, other);
    }
    left.is_empty().then_some(found)
}

/// How far the ranks before this one are, on a ring.
pub fn on_a_ring(ranks: usize) -> impl Fn(usize, usize) -> usize {
    move |from, to| (to + ranks - from) % ranks.max(1)
}
