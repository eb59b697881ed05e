//! Finds the cheapest tree over a join graph.
//!
//! Dynamic programming over connected subgraphs looks at each pair of disjoint connected sets with an edge between them
//! once, smaller sets first, and keeps the cheapest tree of each set. Pairs grow from n³/6 (chain) to 3ⁿ/2 (clique);
//! beyond [`MOST_PAIRS`] the greedy search takes over, which joins the pair with the fewest rows until one tree is
//! left.

use std::collections::BTreeMap;

use datafusion::common::{JoinType, Result, internal_datafusion_err};

use super::cost::{HashJoin, nested_loops};
use super::graph::{JoinGraph, ReducerEdge, Set, contains, members};

/// Relations up to which dynamic programming is tried.
const MOST_RELATIONS: usize = 12;
/// Pairs after which it gives up; about two milliseconds.
const MOST_PAIRS: usize = 12_000;

/// A join tree; left is the build side.
#[derive(Debug)]
pub(super) enum Tree {
    Relation(usize),
    Join(Box<Tree>, Box<Tree>),
}

/// The best that is known of a set.
#[derive(Clone, Copy, Debug)]
struct Entry {
    cost: f64,
    rows: f64,
    /// The sides of its last join; both empty for a single relation.
    build: Set,
    probe: Set,
    /// The relation whose scan the rows of its probe pipeline come from.
    pipe: Option<usize>,
}

/// The cheapest tree over all relations.
pub(super) fn cheapest(graph: &JoinGraph) -> Result<Tree> {
    let entries = match graph.relations.len() {
        0..=MOST_RELATIONS => Pairs::run(graph),
        _ => None,
    };
    let entries = entries.unwrap_or_else(|| greedy(graph));
    tree(&entries, graph.all())
}

fn tree(entries: &BTreeMap<Set, Entry>, set: Set) -> Result<Tree> {
    let entry = entries.get(&set).ok_or_else(|| internal_datafusion_err!("no join tree over the relations {set:b}"))?;
    if entry.build == 0 {
        return Ok(Tree::Relation(set.trailing_zeros() as usize));
    }
    Ok(Tree::Join(Box::new(tree(entries, entry.build)?), Box::new(tree(entries, entry.probe)?)))
}

fn single(graph: &JoinGraph, number: usize) -> Entry {
    let relation = &graph.relations[number];
    let pipe = (relation.scans && relation.reducer.is_none()).then_some(number);
    Entry { cost: 0.0, rows: relation.rows, build: 0, probe: 0, pipe }
}

/// The reducer that a set is, if it is one alone.
fn reducer(graph: &JoinGraph, set: Set) -> Option<&ReducerEdge> {
    let alone = set.count_ones() == 1;
    alone.then(|| graph.relations[set.trailing_zeros() as usize].reducer.as_ref()).flatten()
}

/// The cheaper of the ways to join two sets, which must be sound together.
fn join(graph: &JoinGraph, (one, left): (Set, Entry), (other, right): (Set, Entry), rows: f64) -> Entry {
    let first = directed(graph, (one, left), (other, right), rows);
    let second = directed(graph, (other, right), (one, left), rows);
    match (first, second) {
        (Some(first), Some(second)) if second.cost < first.cost => second,
        (Some(first), _) => first,
        (None, Some(second)) => second,
        // Each join has a way: only null-aware anti joins have no more than one.
        (None, None) => Entry { cost: f64::INFINITY, rows, build: one, probe: other, pipe: None },
    }
}

/// Joins two sets with the first as build side.
fn directed(graph: &JoinGraph, (build, left): (Set, Entry), (probe, right): (Set, Entry), out: f64) -> Option<Entry> {
    let own = match (reducer(graph, build), reducer(graph, probe)) {
        (Some(edge), _) => reducer_builds(edge, left.rows, right, out)?,
        (None, Some(edge)) => {
            let scans = graph.relations[probe.trailing_zeros() as usize].scans;
            reducer_probes(edge, left.rows, right.rows, scans, out)
        }
        (None, None) => match graph.keys(build, probe, right.pipe) {
            (false, _) => nested_loops(left.rows, right.rows, out),
            (true, filters_scan) => {
                HashJoin { build: left.rows, probe: right.rows, hits: out, out, filters_scan }.cost()
            }
        },
    };
    // What was preserved on the build side comes out of its hash table, not down the pipeline.
    let pipe = right.pipe.filter(|_| reducer(graph, probe).is_none());
    Some(Entry { cost: left.cost + right.cost + own, rows: out, build, probe, pipe })
}

/// A hash table of the reducer, probed by the rows that it reduces.
fn reducer_builds(edge: &ReducerEdge, build: f64, probe: Entry, out: f64) -> Option<f64> {
    if edge.join.null_aware {
        return None;
    }
    if edge.join.on.is_empty() {
        return Some(nested_loops(build, probe.rows, out));
    }
    let semi = edge.join.join_type == JoinType::LeftSemi;
    let filters_scan = semi && probe.pipe.is_some_and(|relation| contains(edge.needs, relation));
    Some(HashJoin { build, probe: probe.rows, hits: probe.rows * edge.hits, out, filters_scan }.cost())
}

/// A hash table of the rows to reduce, probed by the reducer.
fn reducer_probes(edge: &ReducerEdge, build: f64, probe: f64, scans: bool, out: f64) -> f64 {
    if edge.join.on.is_empty() {
        return nested_loops(build, probe, out);
    }
    HashJoin { build, probe, hits: build * edge.hits, out, filters_scan: scans }.cost()
}

/// Dynamic programming over the pairs of connected sets.
struct Pairs<'a> {
    graph: &'a JoinGraph,
    best: Vec<Option<Entry>>,
    left: usize,
}

impl<'a> Pairs<'a> {
    /// The best of every set, or nothing if there are too many pairs.
    fn run(graph: &'a JoinGraph) -> Option<BTreeMap<Set, Entry>> {
        let count = graph.relations.len();
        let mut pairs = Self { graph, best: vec![None; 1 << count], left: MOST_PAIRS };
        for number in 0..count {
            pairs.best[1 << number] = Some(single(graph, number));
        }
        for number in (0..count).rev() {
            pairs.partners(1 << number)?;
            pairs.grow(1 << number, up_to(number))?;
        }
        let found = pairs.best.into_iter().enumerate();
        let entries: BTreeMap<Set, Entry> = found.filter_map(|(set, entry)| Some((set as Set, entry?))).collect();
        entries.contains_key(&graph.all()).then_some(entries)
    }

    /// Visits all connected sets that contain a set and nothing that is excluded.
    fn grow(&mut self, set: Set, excluded: Set) -> Option<()> {
        let around = self.graph.neighbours(set) & !excluded;
        for more in subsets(around) {
            self.partners(set | more)?;
        }
        for more in subsets(around) {
            self.grow(set | more, excluded | around)?;
        }
        Some(())
    }

    /// Visits all connected sets that a connected set can be joined with, each pair once.
    fn partners(&mut self, set: Set) -> Option<()> {
        let excluded = set | up_to(set.trailing_zeros() as usize);
        let around = self.graph.neighbours(set) & !excluded;
        let mut descending: Vec<usize> = members(around).collect();
        descending.reverse();
        for number in descending {
            self.pair(set, 1 << number)?;
            self.grow_partner(set, 1 << number, excluded | (up_to(number) & around))?;
        }
        Some(())
    }

    fn grow_partner(&mut self, set: Set, partner: Set, excluded: Set) -> Option<()> {
        let around = self.graph.neighbours(partner) & !excluded;
        for more in subsets(around) {
            self.pair(set, partner | more)?;
        }
        for more in subsets(around) {
            self.grow_partner(set, partner | more, excluded | around)?;
        }
        Some(())
    }

    /// Weighs a pair.
    fn pair(&mut self, one: Set, other: Set) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let both = one | other;
        let (Some(left), Some(right)) = (self.best[one as usize], self.best[other as usize]) else { return Some(()) };
        let known = self.best[both as usize];
        if known.is_none() && !self.graph.sound(both) {
            return Some(());
        }
        let rows = known.map_or_else(|| self.graph.rows(both), |entry| entry.rows);
        let entry = join(self.graph, (one, left), (other, right), rows);
        if known.is_none_or(|known| entry.cost < known.cost) {
            self.best[both as usize] = Some(entry);
        }
        Some(())
    }
}

/// The relations with numbers up to this one.
fn up_to(number: usize) -> Set {
    Set::MAX >> (Set::BITS as usize - 1 - number)
}

/// All subsets but the empty one, each after its own subsets.
fn subsets(set: Set) -> impl Iterator<Item = Set> {
    let mut last: Set = 0;
    std::iter::from_fn(move || {
        last = last.wrapping_sub(set) & set;
        (last != 0).then_some(last)
    })
}

/// Joins the pair with the fewest rows, again and again.
fn greedy(graph: &JoinGraph) -> BTreeMap<Set, Entry> {
    let mut entries: BTreeMap<Set, Entry> = BTreeMap::new();
    let mut trees: Vec<(Set, Entry)> = (0..graph.relations.len()).map(|at| (1 << at, single(graph, at))).collect();
    entries.extend(trees.iter().copied());
    while trees.len() > 1 {
        let mut best: Option<(usize, usize, Entry)> = None;
        for (first, &one) in trees.iter().enumerate() {
            let around = graph.neighbours(one.0);
            for (second, &other) in trees.iter().enumerate().skip(first + 1) {
                let both = one.0 | other.0;
                if around & other.0 == 0 || !graph.sound(both) {
                    continue;
                }
                let rows = graph.rows(both);
                if best.is_some_and(|(_, _, best)| best.rows <= rows) {
                    continue;
                }
                best = Some((first, second, join(graph, one, other, rows)));
            }
        }
        let Some((first, second, entry)) = best else { break };
        let both = trees[first].0 | trees[second].0;
        trees.swap_remove(second);
        trees[first] = (both, entry);
        entries.insert(both, entry);
    }
    entries
}
