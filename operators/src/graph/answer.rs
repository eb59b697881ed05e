//! From a graph on the ranks to the columns of an answer: each rank gives those of its own vertices.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow::compute::filter;
use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::algorithm::{Algorithm, PageRank, Sources, Vertex};
use super::between::{self, Cut};
use super::edges::{Held, Weights};
use super::talk::Talk;
use super::{
    Graph, GraphOnDevice, NONE, betweenness, bfs, communities, components, coreness, default_delta, pagerank,
    personalised_pagerank, sssp, strong_components, triangles,
};
use crate::accelerator::{Accelerator, Moved, Work};

impl Algorithm {
    /// Whether each rank brings all edges together.
    pub(super) fn is_whole_on_each_rank(&self) -> bool {
        matches!(self, Algorithm::StrongComponents | Algorithm::Triangles | Algorithm::Betweenness { .. })
    }

    /// Bytes of a value on its way to copies, and of one on its way back, about, with what says whose they are; `None`
    /// if edges are not cut as costs least.
    pub(super) fn value_bytes(&self) -> Option<[u64; 2]> {
        match self {
            Algorithm::PageRank(_) => Some([8, 8]),
            // That a vertex was reached; a parent.
            Algorithm::Bfs { .. } => Some([1, 5]),
            Algorithm::Sssp { .. } => Some([12, 12]),
            _ => None,
        }
    }

    /// Why it does not run on a device; nothing if it does.
    pub(super) fn why_no_kernel(&self, several_ranks: bool) -> Option<String> {
        match self {
            Algorithm::Triangles => None,
            Algorithm::PageRank(_) | Algorithm::Bfs { .. } | Algorithm::Components if !several_ranks => None,
            Algorithm::PageRank(_) | Algorithm::Bfs { .. } | Algorithm::Components => {
                Some(format!("{} between ranks", self.name()))
            }
            _ => Some(format!("{} has no kernels", self.name())),
        }
    }

    /// How ranks work together, for EXPLAIN.
    pub(super) fn between_ranks(&self) -> &'static str {
        match self {
            Algorithm::PageRank(_)
            | Algorithm::Bfs { .. }
            | Algorithm::Coreness
            | Algorithm::Communities { .. }
            | Algorithm::Iterate(_) => "ranks own vertices, and send each other values that changed",
            Algorithm::Vertices => "ranks own vertices",
            Algorithm::Sssp { .. } => "ranks own vertices, and send each other distances that fell",
            Algorithm::Components => "ranks join their own edges, and send each other the components",
            Algorithm::StrongComponents | Algorithm::Triangles | Algorithm::Betweenness { .. } => {
                "every rank has all edges, and does all of the work"
            }
        }
    }
}

/// The columns of [`Algorithm::schema`] for the vertices of this rank. All ranks call it, with the same cut.
pub(super) async fn answer(
    algorithm: &Algorithm,
    held: &Arc<Held>,
    cut: Cut,
    talk: &mut Talk,
    accelerator: Option<Accelerator>,
) -> Result<Vec<ArrayRef>> {
    algorithm.check()?;
    let several = talk.ranks() > 1;
    if let (Some(accelerator), Some(why)) = (&accelerator, algorithm.why_no_kernel(several)) {
        accelerator.count_on_cpu(Work::Graphs, why);
    }
    match algorithm {
        Algorithm::Vertices => Ok(vec![names(held, talk).await?]),
        Algorithm::PageRank(options) => {
            let sources = found_all(held, &options.sources)?;
            let ranks = if several {
                between::pagerank(held, options, &sources, cut, talk).await?
            } else {
                let options = options.clone();
                on_one(held, talk, move |held| ranks_of(held, &options, &sources, accelerator.as_ref())).await?
            };
            Ok(vec![names(held, talk).await?, Arc::new(Float64Array::from(ranks))])
        }
        Algorithm::Bfs { source } => {
            let source = found(held, source)?;
            let (parents, depths) = if several {
                between::bfs(held, source, cut, talk).await?
            } else {
                on_one(held, talk, move |held| {
                    let graph = held.directed()?;
                    let on_host = || {
                        let parents = bfs(graph, source);
                        let depths = depths_of(&parents);
                        (parents, depths)
                    };
                    either(accelerator.as_ref(), graph, |device| device.bfs_with_depths(source), on_host)
                })
                .await?
            };
            on_one(held, talk, move |held| reached(held, parents, depths)).await
        }
        Algorithm::Sssp { source } => {
            let source = found(held, source)?;
            held.edges.lengths_fit(held.vertices())?;
            match &held.edges.weights {
                Weights::Floats(_) => {
                    let distances = if several {
                        between::sssp::<f64>(held, source, cut, talk).await?
                    } else {
                        on_one(held, talk, move |held| {
                            let graph = held.with_floats()?;
                            Ok(sssp(graph, source, default_delta(graph)))
                        })
                        .await?
                    };
                    let is_there = distances.iter().map(|distance| distance.is_finite()).collect();
                    only(is_there, vec![names(held, talk).await?, Arc::new(Float64Array::from(distances))])
                }
                _ => {
                    let distances = if several {
                        between::sssp::<i64>(held, source, cut, talk).await?
                    } else {
                        on_one(held, talk, move |held| {
                            let graph = held.with_integers()?;
                            Ok(sssp(graph, source, default_delta(graph)))
                        })
                        .await?
                    };
                    let is_there = distances.iter().map(|distance| *distance != i64::MAX).collect();
                    only(is_there, vec![names(held, talk).await?, Arc::new(Int64Array::from(distances))])
                }
            }
        }
        Algorithm::Components => {
            let labels = if several {
                between::components(held, talk).await?
            } else {
                on_one(held, talk, move |held| {
                    let graph = held.directed()?;
                    either(accelerator.as_ref(), graph, GraphOnDevice::components, || components(graph))
                })
                .await?
            };
            on_one(held, talk, move |held| Ok(labelled(held, labels))).await
        }
        Algorithm::StrongComponents => {
            let labels = everywhere(held, talk, |held| Ok(strong_components(held.directed()?))).await?;
            on_one(held, talk, move |held| Ok(labelled(held, labels))).await
        }
        Algorithm::Triangles => {
            let counts = everywhere(held, talk, move |held| {
                let graph = held.simple()?;
                either(accelerator.as_ref(), graph, GraphOnDevice::triangles, || triangles(graph))
            })
            .await?;
            Ok(vec![
                names(held, talk).await?,
                Arc::new(Int64Array::from_iter_values(counts.into_iter().map(|count| count as i64))),
            ])
        }
        Algorithm::Coreness => {
            let cores = if several {
                between::coreness(held, talk).await?
            } else {
                on_one(held, talk, |held| Ok(coreness(held.simple()?))).await?
            };
            Ok(vec![names(held, talk).await?, Arc::new(Int64Array::from_iter_values(cores.into_iter().map(i64::from)))])
        }
        Algorithm::Betweenness { sources } => {
            let (sources, scale) = drawn(held, sources)?;
            let scores = everywhere(held, talk, move |held| {
                let mut scores = betweenness(held.once()?, &sources);
                scores.par_iter_mut().for_each(|score| *score *= scale);
                Ok(scores)
            })
            .await?;
            Ok(vec![names(held, talk).await?, Arc::new(Float64Array::from(scores))])
        }
        Algorithm::Iterate(iteration) => Ok(vec![names(held, talk).await?, iteration.run(held, talk).await?]),
        Algorithm::Communities { max_rounds } => {
            let max_rounds = *max_rounds;
            let labels = if several {
                between::communities(held, max_rounds, talk).await?
            } else {
                on_one(held, talk, move |held| Ok(communities(held.simple()?, max_rounds).0)).await?
            };
            on_one(held, talk, move |held| Ok(labelled(held, labels))).await
        }
    }
}

/// Work on this rank, in its pool.
async fn on_one<T: Send + 'static>(
    held: &Arc<Held>,
    talk: &Talk,
    work: impl FnOnce(&Held) -> Result<T> + Send + 'static,
) -> Result<T> {
    let held = Arc::clone(held);
    talk.run(move || work(&held)).await
}

/// Work that each rank does whole; its own part of it.
async fn everywhere<T: Send + 'static>(
    held: &Arc<Held>,
    talk: &mut Talk,
    work: impl FnOnce(&Held) -> Result<Vec<T>> + Send + 'static,
) -> Result<Vec<T>> {
    held.gather(talk).await?;
    let mut all = on_one(held, talk, work).await?;
    let own = held.own();
    all.truncate(own.end);
    Ok(all.split_off(own.start))
}

fn ranks_of(held: &Held, options: &PageRank, sources: &[u32], accelerator: Option<&Accelerator>) -> Result<Vec<f64>> {
    let graph = held.directed()?;
    let kernel = options.kernel();
    let on_device = |device: &GraphOnDevice| match sources {
        [] => device.pagerank(&kernel),
        sources => device.personalised_pagerank(sources, &kernel),
    };
    let on_host = || match sources {
        [] => pagerank(graph, &kernel),
        sources => personalised_pagerank(graph, sources, &kernel),
    };
    Ok(either(accelerator, graph, on_device, on_host)?.ranks)
}

/// Work on a device, if there is one that has memory for the graph; else on the host.
fn either<T>(
    accelerator: Option<&Accelerator>,
    graph: &Graph,
    on_device: impl FnOnce(&GraphOnDevice) -> Result<T>,
    on_host: impl FnOnce() -> T,
) -> Result<T> {
    let Some(accelerator) = accelerator else { return Ok(on_host()) };
    if let Some(why) = GraphOnDevice::why_not(graph) {
        accelerator.count_on_cpu(Work::Graphs, why);
        return Ok(on_host());
    }
    let answer = GraphOnDevice::new(accelerator.device(), graph).and_then(|graph| on_device(&graph));
    let moved = Moved { up: GraphOnDevice::bytes(graph) as u64, down: 0 };
    match accelerator.counted(Work::Graphs, answer.map(|answer| (answer, moved)))? {
        Some(answer) => Ok(answer),
        None => Ok(on_host()),
    }
}

// ---- vertices ----

fn found(held: &Held, vertex: &Vertex) -> Result<u32> {
    held.numbering.find(vertex).ok_or_else(|| {
        let kind = match (vertex, held.numbering.is_text()) {
            (Vertex::Integer(_), true) => "; its vertices are texts",
            (Vertex::Text(_), false) => "; its vertices are integers",
            _ => "",
        };
        Error::user(format!("vertex {vertex} is in no edge of the graph{kind}"))
    })
}

fn found_all(held: &Held, vertices: &[Vertex]) -> Result<Vec<u32>> {
    vertices.iter().map(|vertex| found(held, vertex)).collect()
}

/// The sources of betweenness, and by what their sum is multiplied.
fn drawn(held: &Held, sources: &Sources) -> Result<(Vec<u32>, f64)> {
    let vertices = held.vertices();
    Ok(match sources {
        Sources::All => ((0..vertices as u32).collect(), 1.0),
        Sources::Of(vertices) => (found_all(held, vertices)?, 1.0),
        Sources::Sample { count, seed } => {
            let mut order = (0..vertices as u32).collect::<Vec<_>>();
            let count = (*count).min(vertices);
            // The first places of a shuffle (Fisher and Yates).
            for place in 0..count {
                let random = scrambled(seed.wrapping_add(place as u64)) as usize % (vertices - place);
                order.swap(place, place + random);
            }
            order.truncate(count);
            (order, if count == 0 { 1.0 } else { vertices as f64 / count as f64 })
        }
    })
}

/// A well mixed word (the finaliser of SplitMix64, G. Steele, D. Lea, C. Flood, OOPSLA 2014).
pub(super) fn scrambled(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// How many steps lead from each vertex to the one that is its own parent; [`NONE`] where it has none.
fn depths_of(parents: &[u32]) -> Vec<u32> {
    let mut depths = vec![NONE; parents.len()];
    let mut path = Vec::new();
    for vertex in 0..parents.len() as u32 {
        let mut at = vertex;
        while depths[at as usize] == NONE && parents[at as usize] != NONE && parents[at as usize] != at {
            path.push(at);
            at = parents[at as usize];
        }
        if parents[at as usize] == at {
            depths[at as usize] = 0;
        }
        let mut depth = depths[at as usize];
        while let Some(below) = path.pop() {
            depth += 1;
            depths[below as usize] = depth;
        }
    }
    depths
}

// ---- columns ----

async fn names(held: &Arc<Held>, talk: &Talk) -> Result<ArrayRef> {
    on_one(held, talk, |held| Ok(held.numbering.names_of(held.own()))).await
}

fn labelled(held: &Held, labels: Vec<u32>) -> Vec<ArrayRef> {
    vec![held.numbering.names_of(held.own()), held.numbering.names(labels.into_par_iter())]
}

/// Parents and depths of the vertices that were reached.
fn reached(held: &Held, parents: Vec<u32>, depths: Vec<u32>) -> Result<Vec<ArrayRef>> {
    let own = held.own();
    let there = (own.start as u32..own.end as u32).zip(&parents).filter(|(_, parent)| **parent != NONE);
    let vertices = there.map(|(vertex, _)| vertex).collect::<Vec<_>>();
    let parents = parents.into_iter().filter(|parent| *parent != NONE).collect::<Vec<_>>();
    let depths = depths.into_iter().filter(|depth| *depth != NONE).map(i64::from);
    Ok(vec![
        held.numbering.names(vertices.into_par_iter()),
        held.numbering.names(parents.into_par_iter()),
        Arc::new(Int64Array::from_iter_values(depths)),
    ])
}

/// The rows for which something holds.
fn only(holds: Vec<bool>, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
    let holds = BooleanArray::from(holds);
    columns.iter().map(|column| Ok(filter(column, &holds)?)).collect()
}
