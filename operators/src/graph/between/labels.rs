//! Labels of vertices that fall round by round: components, cores, communities.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::feedback::sum_of;
use rayon::prelude::*;

use super::mirrors::{Mirrors, Named};
use crate::graph::Csr;
use crate::graph::build::{BuildOptions, By};
use crate::graph::communities::{Ballot, next_label};
use crate::graph::edges::Held;
use crate::graph::talk::{Talk, numbers};

/// The smallest vertex of each own vertex's component. Each rank joins what its own edges join, and tells all others which
/// smaller vertex each vertex is joined to; then all know all. All ranks call it.
pub(in crate::graph) async fn components(held: &Arc<Held>, talk: &mut Talk) -> Result<Vec<u32>> {
    let work = Arc::clone(held);
    let (mut forest, told) = talk
        .run(move || {
            let mut forest = Forest::new(work.vertices());
            work.edges.from.iter().zip(&work.edges.to).for_each(|(from, to)| forest.join(*from, *to));
            let joined = (0..work.vertices() as u32).filter_map(|vertex| {
                let root = forest.root(vertex);
                (root != vertex).then_some([vertex, root])
            });
            let told = joined.flatten().collect::<Vec<_>>();
            Ok((forest, told))
        })
        .await?;
    let letters = talk.tell_all(&[], arrow::buffer::Buffer::from_vec(told)).await?;
    let (place, own) = (talk.place(), held.own());
    talk.run(move || {
        for (_, letter) in letters.iter().enumerate().filter(|(other, _)| *other != place) {
            let mut ends = numbers::<u32>(&letter.bytes);
            while let (Some(vertex), Some(root)) = (ends.next(), ends.next()) {
                forest.join(vertex, root);
            }
        }
        Ok(own.map(|vertex| forest.root(vertex as u32)).collect())
    })
    .await
}

/// Trees of vertices, whose roots are the smallest of each (R. Tarjan, JACM 22, 1975; paths are halved).
struct Forest(Vec<u32>);

impl Forest {
    fn new(vertices: usize) -> Self {
        Self((0..vertices as u32).collect())
    }

    fn root(&mut self, vertex: u32) -> u32 {
        let mut at = vertex as usize;
        while self.0[at] as usize != at {
            self.0[at] = self.0[self.0[at] as usize];
            at = self.0[at] as usize;
        }
        at as u32
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other) as usize] = one.min(other);
    }
}

/// The coreness of own vertices: starting with degrees, each takes the largest h such that h neighbours have at least h, until
/// nothing changes (L. Lü, T. Zhou, Q.-M. Zhang, H. E. Stanley: The H-index of a network node and its relation to degree and
/// coreness, Nature Communications 7, 2016). All ranks call it.
pub(in crate::graph) async fn coreness(held: &Arc<Held>, talk: &mut Talk) -> Result<Vec<u32>> {
    let rows = Arc::new(held.rows(By::Both, BuildOptions::simple(), talk).await?.0);
    let degree = |row: usize| (rows.offsets()[row + 1] - rows.offsets()[row]) as u32;
    let own = held.own();
    let mut values = vec![0; held.vertices()];
    own.clone().for_each(|vertex| values[vertex] = degree(vertex - own.start));
    let step = |_: u64, _: u32, core: u32, near: &mut Vec<u32>, (): &mut ()| h_index(near, core);
    until_stable(held, rows, values, u64::MAX, 1, step, talk).await
}

/// The largest h, at most `limit`, such that h of the numbers are at least h.
fn h_index(numbers: &mut [u32], limit: u32) -> u32 {
    let mut at_least = vec![0_u32; limit as usize + 1];
    numbers.iter().for_each(|&number| at_least[number.min(limit) as usize] += 1);
    let mut count = 0;
    (0..=limit)
        .rev()
        .find(|&h| {
            count += at_least[h as usize];
            count >= h
        })
        .unwrap_or(0)
}

/// Label propagation by the rule of [`next_label`]. All ranks call it.
pub(in crate::graph) async fn communities(held: &Arc<Held>, max_rounds: usize, talk: &mut Talk) -> Result<Vec<u32>> {
    let rows = Arc::new(held.rows(By::Both, BuildOptions::simple(), talk).await?.0);
    let values = (0..held.vertices() as u32).collect();
    let step = |round: u64, vertex: u32, own: u32, near: &mut Vec<u32>, ballot: &mut Ballot| {
        next_label(round as usize, vertex, own, near.iter().copied(), ballot)
    };
    // A vertex has its turn once in every two rounds that begin with an even one: at the latest in the third after a change.
    until_stable(held, rows, values, max_rounds as u64, 3, step, talk).await
}

/// Runs rounds in which each own vertex takes `step(round, vertex, its value, its neighbours' values)`, until `still` rounds in
/// turn change nothing, or `most` are over. `values` are those of all vertices, of which own ones are right at first.
async fn until_stable<S: Default>(
    held: &Arc<Held>,
    rows: Arc<Csr>,
    mut values: Vec<u32>,
    most: u64,
    still: u64,
    step: impl Fn(u64, u32, u32, &mut Vec<u32>, &mut S) -> u32 + Copy + Send + Sync + 'static,
    talk: &mut Talk,
) -> Result<Vec<u32>> {
    let own = held.own();
    let mirrors = Mirrors::meet(held, &rows, talk).await?;
    let named = Arc::new(Named::new(&rows, own.start, held.vertices()));
    mirrors.share(&vec![true; own.len()], &mut values, &[], talk).await?;
    // A vertex is looked at once more in each of `still` rounds after a neighbour changed.
    let mut due = vec![0_u64; own.len()];
    let mut quiet = 0;
    for round in 0..most {
        let looked = (0..own.len()).filter(|row| due[*row] + still > round).collect::<Vec<_>>();
        let (of_own, rows) = (own.clone(), Arc::clone(&rows));
        let changed;
        (values, changed) = talk
            .run(move || {
                let next =
                    looked.into_par_iter().map_init(Default::default, |(near, scratch): &mut (Vec<u32>, S), row| {
                        near.clear();
                        near.extend(rows.neighbours(row as u32).iter().map(|other| values[*other as usize]));
                        (row, step(round, (of_own.start + row) as u32, values[of_own.start + row], near, scratch))
                    });
                let changed = next.filter(|(row, next)| values[of_own.start + row] != *next).collect::<Vec<_>>();
                changed.iter().for_each(|(row, next)| values[of_own.start + row] = *next);
                Ok((values, changed))
            })
            .await?;
        let mut is_new = vec![false; own.len()];
        changed.iter().for_each(|(row, _)| is_new[*row] = true);
        let arrived = mirrors.share(&is_new, &mut values, &[changed.len() as u64], talk).await?;
        let news = changed.iter().map(|(row, _)| (own.start + row) as u32).chain(arrived.vertices.iter().copied());
        for vertex in news {
            named.by(vertex).iter().for_each(|row| due[*row as usize - own.start] = round + 1);
        }
        changed.iter().for_each(|(row, _)| due[*row] = round + 1);
        quiet = if sum_of(&arrived.letters, 0) == 0 { quiet + 1 } else { 0 };
        if quiet == still {
            break;
        }
    }
    Ok(values[own].to_vec())
}
