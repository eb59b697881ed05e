#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]
//! Build sides tell scans of other stages, on three ranks, which keys they have: whatever the timing and the placement, the
//! answer is the same; and where there is time, rows are dropped where they are scanned.
//!
//! ```text
//!   s0: scan build ──x0 hash──► s2: build, probe ──► kept        s2 ──x2 advice──► s1
//!   s1: scan probe ──x1 hash──►
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bireme_engine::Result;
use bireme_engine::comm::local::LocalCommunicator;
use bireme_engine::control::agree;
use bireme_engine::metrics::RunReport;
use bireme_engine::morsel::{self, Chunk, MorselReader, Scan as MorselScan, ScanRequest};
use bireme_engine::run::{RankContext, run};
use bireme_engine::stage::{
    Exchange, ExchangeId, Feed, LaneSink, Output, Partitioner, Pin, PlacedPlan, Route, Sink as StageSink, Stage,
    StageGraph, StageId, StageInput,
};
use bireme_engine::switchboard::Switchboard;
use bireme_engine::workers::Workers;
use bireme_operators::pipeline::ir::{
    Advice, JoinColumn, JoinKind, JoinSpec, Partner, PartnerKeys, Pipeline, Program, Scan, Sink, SlotId, Source, Step,
};
use bireme_operators::pipeline::run::{Leaf, LeafSource, NativeBody, advice_schema};
use parking_lot::Mutex;

const RANKS: usize = 3;
/// Morsels of each lane.
const MORSELS: usize = 4;
const ADVICE: ExchangeId = ExchangeId(2);

/// A key, and a number that names the row.
type Row = (Option<i64>, i64);

/// What delays a source.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Fast,
    /// It sleeps before each morsel.
    Slow,
    /// From its second morsel on it waits for its predicates: to see that they come while it runs.
    Waits,
}

#[derive(Clone, Debug)]
struct Case {
    build: Vec<Row>,
    probe: Vec<Row>,
    paces: [Pace; 2],
    kind: JoinKind,
    /// Ranks of the lanes of s0, s1, s2.
    lanes: [Vec<usize>; 3],
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true), Field::new("row", DataType::Int64, false)]))
}

/// The rows of each lane.
struct Table {
    lanes: Vec<Vec<Row>>,
    pace: Pace,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl LeafSource for Table {
    fn source(&self, parts: &[usize]) -> Result<Arc<dyn morsel::Source>> {
        let rows = parts.iter().flat_map(|&part| self.lanes[part].clone()).collect();
        Ok(Arc::new(Part { rows, pace: self.pace }))
    }
}

#[derive(Debug)]
struct Part {
    rows: Vec<Row>,
    pace: Pace,
}

impl morsel::Source for Part {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn describe(&self) -> String {
        "part".into()
    }

    fn open(&self, request: ScanRequest) -> Result<Arc<dyn MorselScan>> {
        let each = self.rows.len().div_ceil(MORSELS).max(1);
        let morsels = self.rows.chunks(each).map(<[Row]>::to_vec).collect();
        Ok(Arc::new(Running { morsels, pace: self.pace, request }))
    }
}

#[derive(Debug)]
struct Running {
    morsels: Vec<Vec<Row>>,
    pace: Pace,
    request: ScanRequest,
}

impl MorselScan for Running {
    fn morsels(&self) -> usize {
        self.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let known = || self.request.predicates.iter().all(|predicate| predicate.is_active());
        match self.pace {
            Pace::Fast => {}
            Pace::Slow => std::thread::sleep(Duration::from_millis(15)),
            Pace::Waits => {
                let start = Instant::now();
                while morsel > 0 && !known() {
                    assert!(start.elapsed() < Duration::from_secs(60), "the filter never came");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        let rows = &self.morsels[morsel];
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let names: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
        let mut columns = vec![keys, names];
        for predicate in self.request.predicates.iter().filter(|predicate| predicate.is_active()) {
            let passed = predicate.test(&columns[..1], columns[0].len())?;
            columns = columns.iter().map(|column| filter(column, &passed).unwrap()).collect();
        }
        let rows = columns[0].len();
        Ok(Box::new(One((rows > 0).then(|| Chunk::new(columns, rows)))))
    }
}

struct One(Option<Chunk>);

impl MorselReader for One {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.take())
    }
}

#[derive(Debug)]
struct ByKey;

impl Partitioner for ByKey {
    fn describe(&self) -> String {
        "hash(key)".into()
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        let keys = batch.column(0).as_primitive::<Int64Type>();
        out.extend(keys.iter().map(|key| key.unwrap_or(0).rem_euclid(lanes as i64) as u32));
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<RecordBatch>>>);

impl StageSink for Kept {
    fn describe(&self) -> String {
        "keep".into()
    }

    fn open(&self, _: usize, _: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(self.clone()))
    }
}

impl LaneSink for Kept {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.0.lock().push(batch);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Case {
    fn spec(&self) -> JoinSpec {
        let output = match self.kind {
            JoinKind::Inner | JoinKind::BuildOuter => vec![JoinColumn::Probe(1), JoinColumn::Build(1)],
            JoinKind::ProbeSemi => vec![JoinColumn::Probe(1)],
            _ => vec![JoinColumn::Build(1)],
        };
        JoinSpec {
            kind: self.kind,
            build_keys: vec![0],
            probe_keys: vec![0],
            nulls_match: false,
            residual: None,
            output,
        }
    }

    fn joined(&self) -> Program {
        let types = vec![DataType::Int64; 2];
        let lanes = self.lanes[2].len();
        let spec = self.spec();
        let columns = (0..spec.output.len()).map(|place| Field::new(format!("c{place}"), DataType::Int64, true));
        let build = Pipeline {
            source: Source::Exchange(ExchangeId(0)),
            steps: vec![],
            sink: Sink::Build(SlotId(0), spec.clone(), types.clone()),
            types,
            advice: vec![Advice { key: 0, exchange: ADVICE, lanes }],
        };
        let probe = Pipeline {
            source: Source::Exchange(ExchangeId(1)),
            steps: vec![Step::Probe(SlotId(0), spec.clone())],
            sink: Sink::Output,
            types: vec![DataType::Int64; spec.output.len()],
            advice: vec![],
        };
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        Program { pipelines: vec![build, probe], slots: 1, schema }
    }

    fn plan(&self, workers: &Arc<Workers>, kept: &Kept) -> PlacedPlan {
        let pins = |stage: usize| vec![Pin::Free; self.lanes[stage].len()];
        let scanning = |stage: usize, rows: &[Row], pace: Pace, partners: Vec<Partner>| {
            let lanes = self.lanes[stage].len();
            let of = |lane: usize| rows.iter().copied().skip(lane).step_by(lanes).collect::<Vec<_>>();
            let table = Table { lanes: (0..lanes).map(of).collect(), pace };
            let leaf = Leaf { source: Arc::new(table), lanes: (0..lanes).collect() };
            let name = format!("table {stage}");
            let scan = Scan { leaf: 0, name, projection: vec![0, 1], predicates: vec![], prunes: vec![], partners };
            let pipeline = Pipeline {
                source: Source::Scan(scan),
                steps: vec![],
                sink: Sink::Output,
                types: vec![DataType::Int64; 2],
                advice: vec![],
            };
            let program = Program { pipelines: vec![pipeline], slots: 0, schema: schema() };
            Stage {
                id: StageId(stage as u32),
                body: Arc::new(NativeBody::new(program, BTreeMap::from([(0, leaf)]), Arc::clone(workers))),
                lanes: pins(stage),
                inputs: vec![],
                outputs: vec![Output::Exchange(ExchangeId(stage as u32))],
                advice: vec![],
                after: vec![],
            }
        };
        let keys = PartnerKeys::Advice { exchange: ADVICE, lanes: self.lanes[2].len(), data_type: DataType::Int64 };
        let build = scanning(0, &self.build, self.paces[0], vec![]);
        let mut probe = scanning(1, &self.probe, self.paces[1], vec![Partner { column: 0, keys }]);
        probe.inputs = vec![StageInput { exchange: ADVICE, feed: Feed::EveryRank }];
        let each = || Feed::Lanes((0..self.lanes[2].len()).collect());
        let join = Stage {
            id: StageId(2),
            body: Arc::new(NativeBody::new(self.joined(), BTreeMap::new(), Arc::clone(workers))),
            lanes: pins(2),
            inputs: (0..2).map(|id| StageInput { exchange: ExchangeId(id), feed: each() }).collect(),
            outputs: vec![Output::Sink(Arc::new(kept.clone()))],
            advice: vec![ADVICE],
            after: vec![],
        };
        let exchange = |id: u32, producer: u32, consumer: u32, advice: bool| Exchange {
            id: ExchangeId(id),
            producer: StageId(producer),
            consumer: StageId(consumer),
            route: if advice { Route::Broadcast } else { Route::Hash(Arc::new(ByKey)) },
            schema: if advice { advice_schema() } else { schema() },
            fetch: None,
            spooled: false,
            advice,
        };
        let exchanges = vec![exchange(0, 0, 2, false), exchange(1, 1, 2, false), exchange(2, 2, 1, true)];
        let graph = StageGraph { stages: vec![build, probe, join], exchanges, notes: vec![] };
        PlacedPlan::new(graph, RANKS, self.lanes.to_vec()).unwrap()
    }

    /// Rows of the answer, and what each rank did.
    fn run(&self) -> (Vec<Vec<Option<i64>>>, Vec<RunReport>) {
        let contexts = LocalCommunicator::group(RANKS).into_iter().map(|rank| RankContext {
            batch_rows: 16,
            window_bytes: 2048,
            ..RankContext::new(Switchboard::new(rank))
        });
        let one = |context: RankContext| {
            let workers = Workers::start(context.switchboard.rank(), 8, &std::env::temp_dir()).unwrap();
            let kept = Kept::default();
            let plan = self.plan(&Arc::new(workers), &kept);
            agree(&context.control(), 1, Ok(plan.hash())).unwrap();
            let report = run(&plan, 1, &context).unwrap();
            let rows = kept.0.lock().iter().flat_map(rows_of).collect::<Vec<_>>();
            (rows, report)
        };
        let ran = std::thread::scope(|scope| {
            let ranks = contexts.map(|context| scope.spawn(|| one(context))).collect::<Vec<_>>();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
        });
        let (rows, reports): (Vec<_>, Vec<_>) = ran.into_iter().unzip();
        let mut rows = rows.concat();
        rows.sort();
        (rows, reports)
    }

    fn reference(&self) -> Vec<Vec<Option<i64>>> {
        let pairs = |one: &Row, other: &Row| one.0.is_some() && one.0 == other.0;
        let mut rows = Vec::new();
        for probe in &self.probe {
            let partners = self.build.iter().filter(|build| pairs(probe, build)).collect::<Vec<_>>();
            match self.kind {
                JoinKind::ProbeSemi => rows.extend((!partners.is_empty()).then(|| vec![Some(probe.1)])),
                JoinKind::Inner | JoinKind::BuildOuter => {
                    rows.extend(partners.iter().map(|build| vec![Some(probe.1), Some(build.1)]));
                }
                _ => {}
            }
        }
        for build in &self.build {
            let alone = !self.probe.iter().any(|probe| pairs(probe, build));
            match self.kind {
                JoinKind::BuildOuter if alone => rows.push(vec![None, Some(build.1)]),
                JoinKind::BuildAnti if alone => rows.push(vec![Some(build.1)]),
                _ => {}
            }
        }
        rows.sort();
        rows
    }

    fn check(&self) -> Vec<RunReport> {
        let (rows, reports) = self.run();
        assert!(rows == self.reference(), "{} rows, wanted {}: {self:?}", rows.len(), self.reference().len());
        reports
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<Option<i64>>> {
    let columns = batch.columns().iter().map(|column| cast(column, &DataType::Int64).unwrap()).collect::<Vec<_>>();
    let value = |column: &ArrayRef, row: usize| {
        let column = column.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| value(column, row)).collect()).collect()
}

/// Rows with these keys; every tenth has none.
fn rows(keys: impl Iterator<Item = i64>) -> Vec<Row> {
    keys.zip(0..).map(|(key, row)| ((row % 10 != 9).then_some(key), row)).collect()
}

/// One lane a rank everywhere.
fn spread() -> [Vec<usize>; 3] {
    [vec![0, 1, 2], vec![0, 1, 2], vec![0, 1, 2]]
}

fn mix(word: u64) -> u64 {
    let word = (word.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

#[test]
fn rows_without_a_partner_on_any_rank_are_dropped_where_they_are_scanned() {
    let case = Case {
        build: rows((0..60).map(|key| key * 50)),
        probe: rows((0..6000).map(|row| row % 3000)),
        paces: [Pace::Fast, Pace::Waits],
        kind: JoinKind::Inner,
        lanes: spread(),
    };
    for report in case.check() {
        let scan = report.stage(StageId(1)).unwrap();
        // A quarter of its rows may have gone by before the filter came; of the others one of fifty has a partner.
        let missing = scan.extras["partners_missing"];
        assert!((1400..2000).contains(&missing), "{scan:?}");
        assert_eq!(scan.lines[0].rows, 2000 - missing, "{scan:?}");
        assert!(!scan.extras.contains_key("partners_unknown"), "{scan:?}");
        assert_eq!(scan.rows_in, 0, "advice is no row");
        assert!(report.exchange(ADVICE).unwrap().remote_bytes > 0);
    }
}

#[test]
fn a_rank_whose_build_side_is_empty_hides_no_partners_of_others() {
    for build in [rows((0..100).map(|key| key * 3)), rows((0..1).map(|_| 7)), vec![]] {
        for pace in [Pace::Fast, Pace::Waits] {
            for kind in [JoinKind::Inner, JoinKind::BuildOuter, JoinKind::ProbeSemi, JoinKind::BuildAnti] {
                let probe = rows((0..900).map(|row| row % 450));
                let paces = [Pace::Fast, pace];
                Case { build: build.clone(), probe, paces, kind, lanes: spread() }.check();
            }
        }
    }
}

#[test]
fn timing_and_placement_change_no_answer() {
    for seed in 0..24_u64 {
        let dice = |salt: u64, sides: u64| (mix(seed * 977 + salt) >> 20) % sides;
        let lanes = |stage: u64| {
            let count = 1 + dice(stage, 4);
            (0..count).map(|lane| dice(100 + stage * 10 + lane, RANKS as u64) as usize).collect::<Vec<_>>()
        };
        let pace = |salt: u64, paces: [Pace; 2]| paces[dice(salt, 2) as usize];
        let keys = |salt: u64, count: u64| (0..count).map(move |row| (mix(seed * 31 + salt + row) % 1500) as i64);
        let case = Case {
            build: rows(keys(1, dice(7, 80))),
            probe: rows(keys(100_000, 1 + dice(8, 1500))),
            paces: [pace(9, [Pace::Fast, Pace::Slow]), pace(10, [Pace::Fast, Pace::Slow])],
            kind: [JoinKind::Inner, JoinKind::BuildOuter, JoinKind::ProbeSemi, JoinKind::BuildAnti]
                [dice(11, 4) as usize],
            lanes: [lanes(0), lanes(1), lanes(2)],
        };
        case.check();
    }
}

#[test]
fn a_scan_that_ends_before_the_build_side_waits_for_nobody() {
    let case = Case {
        build: rows(0..40),
        probe: rows(0..30),
        paces: [Pace::Slow, Pace::Fast],
        kind: JoinKind::Inner,
        lanes: spread(),
    };
    case.check();
}

#[test]
fn plans_show_who_tells_whom() {
    let workers = Arc::new(Workers::start(0, 1, &std::env::temp_dir()).unwrap());
    let case = Case { build: vec![], probe: vec![], paces: [Pace::Fast; 2], kind: JoinKind::Inner, lanes: spread() };
    let text = case.plan(&workers, &Kept::default()).graph().text();
    let expected = "\
stage s0: 3 lanes -> x0 hash(key) to s2
  pipeline 0: scan [#0, #1] of table 0
    output
stage s1: 3 lanes -> x1 hash(key) to s2
  pipeline 0: scan [#0, #1] of table 1 partners [#0 in x2 of 3 lanes]
    output
stage s2: 3 lanes -> keep; x2 advice to s1
  pipeline 0: exchange x0
    build slot 0 on [#0] telling key 0 to x2
  pipeline 1: exchange x1
    probe slot 0 Inner on [#0] = [#0] -> [p1, b1]
    output
";
    assert_eq!(text, expected);
}
