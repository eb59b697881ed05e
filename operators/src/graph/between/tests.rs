//! Ranks as threads: whatever the grid, they find what one rank finds, and say as much as their cut is said to cost.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use bireme_engine::comm::local::LocalCommunicator;
use bireme_engine::control::agree;
use bireme_engine::error::{Error, Result};
use bireme_engine::run::{RankContext, StageTask, run};
use bireme_engine::stage::{Body, LaneSink, Output, Pin, PlacedPlan, Sink, Stage, StageGraph, StageId};
use bireme_engine::switchboard::Switchboard;
use bireme_engine::workers::Workers;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::cut::{Choice, Cut, Cutting};
use crate::graph::algorithm::{Algorithm, PageRank};
use crate::graph::answer::answer;
use crate::graph::edges::{EdgeColumns, Held};
use crate::graph::generate;
use crate::graph::talk::Talk;

type Pairs = Vec<(i64, i64)>;

/// What is asked of a graph, on which grid.
type Ask = (Algorithm, Wanted);

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Grid(Cut),
    Way(Cutting),
}

/// What all ranks say together.
#[derive(Debug)]
struct Answer {
    columns: Vec<ArrayRef>,
    choice: Choice,
    /// Sent in rounds, and how many there were.
    bytes: u64,
    rounds: u64,
}

fn pairs((from, to): (Vec<u32>, Vec<u32>)) -> Pairs {
    from.into_iter().zip(to).map(|(from, to)| (i64::from(from), i64::from(to))).collect()
}

/// Graphs over several ranks, and such as leave ranks without a vertex; with a vertex to search from.
fn graphs() -> Vec<(&'static str, i64, Pairs)> {
    let kron = pairs(generate::kron(13, 8, 3).unwrap());
    let uniform = pairs(generate::uniform(12, 2, 5).unwrap());
    let doubled = uniform.iter().enumerate().filter(|(at, _)| at % 5 == 0).map(|(_, pair)| *pair);
    let loops = uniform.iter().enumerate().filter(|(at, _)| at % 7 == 0).map(|(_, pair)| (pair.0, pair.0));
    let multi = uniform.iter().copied().chain(doubled).chain(loops).collect::<Vec<_>>();
    // Steps lead anywhere, so that a few hundred of them meet all ranks.
    let step = |at: i64| at * 2477 % 7001;
    vec![
        ("a loop", 5, vec![(5, 5)]),
        ("a path", 0, (0..300).map(|at| (at, at + 1)).collect()),
        ("a scattered path", step(6800), (0..7000).map(|at| (step(at), step(at + 1))).collect()),
        ("star", 3500, (0..7000).map(|leaf| (3500, leaf)).collect()),
        ("star inwards", 6000, (0..7000).map(|leaf| (leaf, 3500)).collect()),
        ("kron", kron[0].0, kron),
        ("multigraph", multi[0].0, multi),
    ]
}

fn pagerank(max_iterations: usize) -> Algorithm {
    Algorithm::PageRank(PageRank { tolerance: 0.0, max_iterations, ..PageRank::default() })
}

fn grids(ranks: usize) -> impl Iterator<Item = Wanted> {
    Cut::all(ranks).map(Wanted::Grid)
}

/// Every answer but PageRank's has the bits of one rank; those have them where each vertex's edges are on one rank.
fn check(name: &str, edges: &[(i64, i64)], floats: bool, algorithms: &[Algorithm]) {
    let one = |algorithm: &Algorithm| (algorithm.clone(), Wanted::Grid(Cut::by_target(1)));
    let expected = ask(1, edges, floats, algorithms.iter().map(one).collect());
    for ranks in [2, 3, 4, 6] {
        for grid in grids(ranks) {
            let asks = algorithms.iter().map(|algorithm| (algorithm.clone(), grid)).collect();
            for ((found, expected), algorithm) in ask(ranks, edges, floats, asks).iter().zip(&expected).zip(algorithms)
            {
                let what = format!("{algorithm} of {name}, {}", found.choice.cut);
                assert_eq!(&found.columns[0], &expected.columns[0], "{what}");
                if matches!(algorithm, Algorithm::PageRank(_)) && found.choice.cut.columns > 1 {
                    let [found, expected] =
                        [found, expected].map(|answer| answer.columns[1].as_primitive::<Float64Type>().values());
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() <= 1e-12 * expected, "{what}: {found}, not {expected}");
                    }
                } else {
                    assert_eq!(found.columns, expected.columns, "{what}");
                }
            }
        }
    }
}

#[test]
fn grids_change_no_answer() {
    for (name, source, edges) in graphs() {
        let personal = PageRank { sources: vec![source.into()], max_iterations: 9, ..PageRank::default() };
        let algorithms = [
            pagerank(12),
            Algorithm::PageRank(PageRank::default()),
            Algorithm::PageRank(personal),
            Algorithm::Bfs { source: source.into() },
            Algorithm::Sssp { source: source.into() },
        ];
        check(name, &edges, false, &algorithms);
        check(name, &edges, true, &algorithms[4..]);
    }
    check("nothing", &[], false, &[pagerank(3)]);
}

/// Sums of parts are taken in the order of the ranks.
#[test]
fn the_same_ranks_find_the_same_bits() {
    let edges = pairs(generate::kron(12, 8, 1).unwrap());
    let asks = || grids(6).map(|grid| (pagerank(20), grid)).collect();
    let [one, other] = [(); 2].map(|()| ask(6, &edges, false, asks()));
    assert!(one.iter().zip(&other).all(|(one, other)| one.columns == other.columns));
}

/// Bytes that all ranks send in an iteration of PageRank in which all values change.
fn bytes_of_an_iteration(ranks: usize, edges: &[(i64, i64)]) -> Vec<(Cut, u64)> {
    let asks = grids(ranks).flat_map(|grid| [5, 15].map(|iterations| (pagerank(iterations), grid)));
    let answers = ask(ranks, edges, false, asks.collect());
    let pairs = answers.as_chunks::<2>().0.iter();
    pairs.map(|[few, many]| (few.choice.cut, (many.bytes - few.bytes) / 10)).collect()
}

fn choice(ranks: usize, edges: &[(i64, i64)], algorithm: Algorithm, way: Cutting) -> Choice {
    ask(ranks, edges, false, vec![(algorithm, Wanted::Way(way))])[0].choice
}

#[test]
fn two_dimensions_send_less_of_a_kron() {
    let measured = bytes_of_an_iteration(4, &pairs(generate::kron(14, 16, 1).unwrap()));
    let bytes = |rows: usize| measured.iter().find(|(cut, _)| cut.rows == rows).unwrap().1;
    assert!(bytes(2) * 10 < bytes(4) * 9, "{measured:?}");
}

/// The grid that is taken is the one that sends least, in about the bytes that were expected.
fn check_choice(name: &str, ranks: usize, edges: &[(i64, i64)]) -> Cut {
    let measured = bytes_of_an_iteration(ranks, edges);
    let taken = choice(ranks, edges, pagerank(1), Cutting::Auto);
    let of = |cut: Cut| measured.iter().find(|(other, _)| *other == cut).unwrap().1;
    let least = measured.iter().map(|(_, bytes)| *bytes).min().unwrap();
    // A round is worth some bytes of each rank.
    assert!(of(taken.cut) <= least + (ranks as u64) * 1024, "{name}: {taken:?} of {measured:?}");
    for (expected, cut) in taken.expected.unwrap().into_iter().zip([taken.cut, Cut::by_target(ranks)]) {
        let (expected, sent) = (expected as f64, of(cut) as f64);
        assert!((expected - sent).abs() <= 0.1 * sent + 64.0, "{name}, {cut}: {expected} expected, {sent} sent");
    }
    taken.cut
}

#[test]
fn the_least_cost_is_taken() {
    let kron = pairs(generate::kron(14, 16, 1).unwrap());
    let plane = pairs(generate::grid(13).unwrap());
    let path = (0..7000).map(|at| (at, at + 1)).collect::<Vec<_>>();
    let inwards = (1..7000).map(|leaf| (leaf, 0)).collect::<Vec<_>>();
    let cases = [("kron", 4, &kron, 2), ("kron", 6, &kron, 3), ("plane", 4, &plane, 4), ("path", 4, &path, 4)];
    for (name, ranks, edges, rows) in cases.into_iter().chain([("star inwards", 4, &inwards, 1)]) {
        assert_eq!(check_choice(name, ranks, edges).rows, rows, "{name}");
    }
}

/// A cycle over four blocks of vertices with loops, each block on a rank of its own: the others own and change nothing.
#[test]
fn there_may_be_more_ranks_than_a_word_has_bits() {
    let step = |at: i64| at * 2477 % 4096;
    let edges = (0..4096).flat_map(|at| [(step(at), step(at + 1)), (at, at)]).collect::<Vec<_>>();
    let by_target = |ranks: usize| choice(ranks, &edges, pagerank(1), Cutting::Auto).expected.unwrap()[1];
    // Each vertex has an edge to another block.
    assert_eq!([by_target(4), by_target(100)], [4096 * 8; 2]);
}

/// Ranks of leaves stay as they are, for nothing leads there, and so does what they bring.
#[test]
fn what_stays_is_not_sent() {
    let edges = (0..7000).map(|leaf| (leaf, 3500)).collect::<Vec<_>>();
    let measured = bytes_of_an_iteration(6, &edges);
    assert!(measured.iter().all(|(_, bytes)| *bytes == 0), "{measured:?}");
}

#[test]
fn wishes_are_granted() {
    let edges = pairs(generate::kron(12, 8, 1).unwrap());
    let search = Algorithm::Bfs { source: edges[0].0.into() };
    for (ranks, rows) in [(1, 1), (3, 3), (4, 2), (6, 3)] {
        assert_eq!(choice(ranks, &edges, search.clone(), Cutting::TwoD).cut.rows, rows);
        assert_eq!(choice(ranks, &edges, search.clone(), Cutting::OneD).cut, Cut::by_target(ranks));
    }
    assert_eq!(choice(4, &edges, search, Cutting::Auto).cut, Cut::by_target(4));
}

/// One dimension takes a round for each iteration, two take two.
#[test]
fn rounds_are_as_few_as_said() {
    let edges = pairs(generate::kron(12, 8, 1).unwrap());
    let asks = grids(4).flat_map(|grid| [5, 15].map(|iterations| (pagerank(iterations), grid)));
    let answers = ask(4, &edges, false, asks.collect());
    let pairs = answers.as_chunks::<2>().0.iter();
    let rounds = pairs.map(|[few, many]| many.rounds - few.rounds).collect::<Vec<_>>();
    assert_eq!(rounds, [10, 20, 20]);
}

// ---- ranks ----

/// Asks a graph whose edges are dealt out to ranks, one after the other.
fn ask(ranks: usize, edges: &[(i64, i64)], floats: bool, asks: Vec<Ask>) -> Vec<Answer> {
    let asks = Arc::new(asks);
    let one = |context: RankContext| {
        let rank = context.switchboard.rank();
        let body = Asks {
            edges: batch(edges, rank, ranks, floats),
            asks: Arc::clone(&asks),
            workers: Arc::new(Workers::start(rank, 2, &std::env::temp_dir()).unwrap()),
            said: Arc::default(),
        };
        let said = Arc::clone(&body.said);
        let stage = Stage {
            id: StageId(0),
            body: Arc::new(body),
            lanes: (0..ranks).map(Pin::Rank).collect(),
            inputs: vec![],
            outputs: vec![Output::Sink(Arc::new(Nowhere))],
            advice: vec![],
            after: vec![],
        };
        let graph = StageGraph { stages: vec![stage], exchanges: vec![], notes: vec![] };
        let plan = PlacedPlan::new(graph, ranks, vec![(0..ranks).collect()]).unwrap();
        agree(&context.control(), 1, Ok(plan.hash())).unwrap();
        run(&plan, 1, &context).unwrap();
        std::mem::take(&mut *said.lock())
    };
    let contexts = LocalCommunicator::group(ranks).into_iter().map(|rank| RankContext::new(Switchboard::new(rank)));
    let said = std::thread::scope(|scope| {
        let ranks = contexts.map(|context| scope.spawn(|| one(context))).collect::<Vec<_>>();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
    });
    let answer = |at: usize| {
        let parts = said.iter().map(|said| &said[at]).collect::<Vec<_>>();
        let column = |column: usize| {
            let parts = parts.iter().map(|part| &*part.columns[column]).collect::<Vec<_>>();
            concat(&parts).unwrap()
        };
        Answer {
            columns: (0..parts[0].columns.len()).map(column).collect(),
            choice: parts[0].choice,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            rounds: parts[0].rounds,
        }
    };
    (0..asks.len()).map(answer).collect()
}

/// The edges that a rank reads, each with a weight of its own.
fn batch(edges: &[(i64, i64)], rank: usize, ranks: usize, floats: bool) -> RecordBatch {
    let own = || edges.iter().enumerate().skip(rank).step_by(ranks);
    let weights = own().map(|(at, _)| 1 + (at as i64).wrapping_mul(0x9e37_79b9) % 199).collect::<Int64Array>();
    let weights: ArrayRef = if floats {
        Arc::new(weights.iter().map(|weight| weight.map(|weight| weight as f64 * 0.1)).collect::<Float64Array>())
    } else {
        Arc::new(weights)
    };
    let weights = cast(&weights, &weight_type(floats)).unwrap();
    let end = |end: fn(&(i64, i64)) -> i64| Arc::new(own().map(|(_, pair)| end(pair)).collect::<Int64Array>());
    let fields = [DataType::Int64, DataType::Int64, weight_type(floats)].into_iter().zip(["a", "b", "w"]);
    let fields = fields.map(|(data_type, name)| Field::new(name, data_type, false)).collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![end(|pair| pair.0), end(|pair| pair.1), weights]).unwrap()
}

fn weight_type(floats: bool) -> DataType {
    if floats { DataType::Float64 } else { DataType::Int64 }
}

/// Reads edges, and answers one thing after the other.
struct Asks {
    edges: RecordBatch,
    asks: Arc<Vec<Ask>>,
    workers: Arc<Workers>,
    said: Arc<Mutex<Vec<Answer>>>,
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asks")
    }
}

impl Body for Asks {
    fn lines(&self) -> Vec<String> {
        vec!["asks".into()]
    }

    fn feeds_back(&self) -> bool {
        true
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (edges, asks, said) = (self.edges.clone(), Arc::clone(&self.asks), Arc::clone(&self.said));
        let workers = Arc::clone(&self.workers);
        Box::pin(async move {
            let feedback = task.feedback.take().ok_or_else(|| Error::internal("no rounds"))?;
            let mut talk = Talk::new(feedback, workers, task.cancel.clone());
            let weight = Some(("w".to_owned(), edges.column(2).data_type().clone()));
            let columns = EdgeColumns { ends: ["a".into(), "b".into()], text: false, weight, undirected: false };
            let held = Arc::new(Held::read(vec![edges], &columns, &mut talk).await?);
            for (algorithm, wanted) in asks.iter() {
                let choice = match wanted {
                    Wanted::Grid(cut) => Choice { cut: *cut, expected: None },
                    Wanted::Way(way) => {
                        let bytes = algorithm.value_bytes().ok_or_else(|| Error::internal("nothing to choose"))?;
                        Cut::choose(*way, bytes, &held, &mut talk).await?
                    }
                };
                let count = || ["round_bytes", "rounds"].map(|name| task.metrics.extra(name).unwrap_or(0));
                let before = count();
                let columns = answer(algorithm, &held, choice.cut, &mut talk, None).await?;
                let [bytes, rounds] = count();
                said.lock().push(Answer { columns, choice, bytes: bytes - before[0], rounds: rounds - before[1] });
            }
            for outlet in task.outlets {
                outlet.finish().await?;
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn describe(&self) -> String {
        "nowhere".into()
    }

    fn open(&self, _: usize, _: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(Nowhere))
    }
}

impl LaneSink for Nowhere {
    fn write(&mut self, _: RecordBatch) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
