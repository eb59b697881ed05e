//! Kernels give what the host's own steps give.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "what did not run says so")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, Int64Array};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme_engine::device::Device;
use bireme_engine::morsel::{Chunk, to_logical};

use super::code::Writer;
use super::run::{DeviceCursor, Made, Running};
use super::{Cut, Joins};
use crate::accelerator::{Accelerator, devices};
use crate::aggregate::Aggregator;
use crate::expr::tests::random::{self, Random};
use crate::expr::{Evaluator, Filter};
use crate::hash_join::{JoinBuilder, JoinTable, Residual};
use crate::pipeline::Resources;
use crate::pipeline::ir::*;

fn accelerators() -> impl Iterator<Item = Accelerator> {
    devices().into_iter().map(Accelerator::new)
}

/// Steps, and a sink, as one segment that takes all of them.
#[track_caller]
fn running(
    device: &Accelerator,
    steps: &[Step],
    sink: Option<(&Sink, &[DataType])>,
    joins: &Joins,
    tables: &[Arc<JoinTable>],
) -> Arc<Running> {
    let mut cut = Cut::of(steps, sink, joins);
    assert!(cut.segments.len() == 1 && cut.on_host.is_empty(), "{:?}", cut.on_host);
    Arc::new(Running::new(cut.segments.remove(0), tables.to_vec(), device.clone(), Arc::default()))
}

/// What comes of chunks in one batch; the reason if the device leaves them to the host.
fn made(running: &Arc<Running>, chunks: &[Chunk]) -> Result<Vec<Made>, String> {
    let mut cursor = DeviceCursor::new(running);
    for chunk in chunks {
        cursor.push(chunk.clone(), &mut |_, _| {}).unwrap();
    }
    cursor.flush(&mut |_, _| {}).unwrap();
    let made = std::iter::from_fn(|| cursor.pop()).collect::<Vec<_>>();
    if made.iter().any(|made| matches!(made, Made::Again(_))) {
        return Err(running.report().to_string());
    }
    Ok(made)
}

/// Rows as text, in their order.
fn rows(chunks: &[Chunk], types: &[DataType]) -> Vec<String> {
    let mut lines = Vec::new();
    for chunk in chunks {
        let columns = chunk.columns.iter().zip(types).map(|(column, logical)| to_logical(column, logical).unwrap());
        let columns = columns.collect::<Vec<_>>();
        let options = FormatOptions::new().with_null("null");
        let formatters = columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let formatters = formatters.collect::<Vec<_>>();
        for row in 0..chunk.rows {
            lines.push(
                formatters.iter().map(|formatter| formatter.value(row).to_string()).collect::<Vec<_>>().join("|"),
            );
        }
    }
    lines
}

fn chunks_of(made: Vec<Made>) -> Vec<Chunk> {
    let chunk = |made| match made {
        Made::Rows(chunk) | Made::Groups(_, chunk) => Some(chunk),
        Made::Again(_) => None,
    };
    made.into_iter().filter_map(chunk).collect()
}

/// A table in two chunks, the second one with its texts as codes.
fn table(random: &mut Random, calm: bool) -> Vec<Chunk> {
    let chunk = |random: &mut Random, rows: usize, dictionaries: &[usize]| {
        random::chunk(&random::columns(rows, random, calm), rows, dictionaries)
    };
    vec![chunk(random, 150, &[]), chunk(random, 77, &[7, 8])]
}

fn has_kernel(expr: &Expr) -> bool {
    let items = (0..random::types().len()).map(|place| super::code::Item::Stored(super::code::Origin::Rows, place));
    super::expr::write(&mut Writer::new(None), expr, &items.collect::<Vec<_>>(), "true").is_ok()
}

#[test]
fn projections_are_those_of_the_host() {
    for device in accelerators() {
        let mut random = Random::new(17);
        let (mut agreed, mut refused, mut without) = (0, 0, 0);
        for round in 0..24 {
            let chunks = table(&mut random, round % 4 != 0);
            let exprs = (0..12).map(|_| {
                let data_type = random.pick(&random::types());
                random::expr(&data_type, 1 + round % 4, &mut random)
            });
            let (exprs, others): (Vec<_>, Vec<_>) = exprs.collect::<Vec<_>>().into_iter().partition(has_kernel);
            without += others.len();
            // Those that fail somewhere are alone: the device leaves the whole batch to the host.
            let evaluated = |expr: &Expr| {
                let evaluator = Evaluator::new(expr)?;
                chunks.iter().map(|chunk| evaluator.evaluate(chunk)).collect::<Result<Vec<_>, _>>()
            };
            let (fine, failing): (Vec<_>, Vec<_>) = exprs.into_iter().partition(|expr| evaluated(expr).is_ok());
            for expr in &failing {
                if let Some(Ok(_)) = ran(&device, std::slice::from_ref(expr), &chunks) {
                    panic!("{expr} fails on the host only");
                }
            }
            let together = ran(&device, &fine, &chunks).is_none_or(|ran| ran.is_ok());
            let parts = if together { vec![fine.as_slice()] } else { fine.chunks(1).collect() };
            for part in parts {
                let Some(got) = ran(&device, part, &chunks) else { continue };
                match got {
                    Ok(got) => {
                        let types = part.iter().map(|expr| expr.data_type.clone()).collect::<Vec<_>>();
                        let columns = part.iter().map(|expr| evaluated(expr).unwrap()).collect::<Vec<_>>();
                        let wanted = chunks.iter().enumerate().map(|(number, chunk)| {
                            let columns = columns.iter().map(|column| Arc::clone(&column[number])).collect();
                            Chunk::new(columns, chunk.rows)
                        });
                        let (got, wanted) = (rows(&got, &types), rows(&wanted.collect::<Vec<_>>(), &types));
                        for (row, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                            assert_eq!(got, wanted, "row {row} of {part:?}");
                        }
                        assert_eq!(got.len(), wanted.len());
                        agreed += part.len();
                    }
                    Err(_) => refused += part.len(),
                }
            }
        }
        assert!(agreed > 120 && refused < agreed / 8 && without < agreed / 2, "{agreed} {refused} {without}");
    }
}

/// The expressions on a device; nothing if there is nothing to compute.
fn ran(device: &Accelerator, exprs: &[Expr], chunks: &[Chunk]) -> Option<Result<Vec<Chunk>, String>> {
    let steps = [Step::Project(exprs.to_vec())];
    let cut = Cut::of(&steps, None, &Joins::new());
    if cut.segments.is_empty() {
        return None;
    }
    let running = running(device, &steps, None, &Joins::new(), &[]);
    Some(made(&running, chunks).map(chunks_of))
}

#[test]
fn filters_are_those_of_the_host() {
    for device in accelerators() {
        let mut random = Random::new(5);
        let mut agreed = 0;
        for round in 0..40 {
            let chunks = table(&mut random, true);
            let condition = random::expr(&DataType::Boolean, 1 + round % 4, &mut random);
            let Ok(filter) = Filter::new(&condition) else { continue };
            let wanted = chunks.iter().map(|chunk| filter.apply(chunk.clone())).collect::<Result<Vec<_>, _>>();
            let Ok(wanted) = wanted else { continue };
            if !has_kernel(&condition) {
                continue;
            }
            let steps = [Step::Filter(condition.clone())];
            let Ok(got) = made(&running(&device, &steps, None, &Joins::new(), &[]), &chunks) else { continue };
            let wanted = wanted.into_iter().flatten().collect::<Vec<_>>();
            assert_eq!(rows(&chunks_of(got), &random::types()), rows(&wanted, &random::types()), "{condition}");
            agreed += 1;
        }
        assert!(agreed > 25, "{agreed}");
    }
}

fn call(function: AggregateFunction, column: Option<usize>, data_type: DataType) -> AggregateCall {
    let arguments = column.map(|column| (column, random::types()[column].clone()));
    AggregateCall { function, arguments: arguments.into_iter().collect(), filter: None, distinct: false, data_type }
}

/// Calls of everything that has kernels.
fn calls() -> Vec<AggregateCall> {
    use AggregateFunction::{Avg, Count, Max, Min, Sum};
    let filtered = |call| AggregateCall { filter: Some(9), ..call };
    vec![
        call(Count, None, DataType::Int64),
        call(Count, Some(7), DataType::Int64),
        call(Sum, Some(0), DataType::Int64),
        call(Sum, Some(4), DataType::Decimal128(25, 2)),
        call(Sum, Some(6), DataType::Decimal128(38, 6)),
        call(Avg, Some(5), DataType::Decimal128(16, 8)),
        call(Min, Some(1), DataType::Int64),
        call(Max, Some(1), DataType::Int64),
        call(Min, Some(2), DataType::Date32),
        call(Max, Some(4), DataType::Decimal128(15, 2)),
        call(Min, Some(3), DataType::Float64),
        call(Max, Some(3), DataType::Float64),
        call(Max, Some(9), DataType::Boolean),
        call(Min, Some(7), DataType::Utf8View),
        call(Max, Some(8), DataType::Utf8View),
        call(Max, Some(6), DataType::Decimal128(38, 6)),
        filtered(call(Sum, Some(10), DataType::Decimal128(15, 2))),
        filtered(call(Count, None, DataType::Int64)),
    ]
}

/// Calls over different values.
fn distinct_calls() -> Vec<AggregateCall> {
    use AggregateFunction::{Count, Sum};
    let both = [1, 8].map(|column| (column, random::types()[column].clone())).to_vec();
    let calls = [
        call(Count, Some(7), DataType::Int64),
        call(Sum, Some(0), DataType::Int64),
        call(Count, Some(3), DataType::Int64),
        call(Count, Some(6), DataType::Int64),
        AggregateCall { filter: Some(9), ..call(Count, Some(7), DataType::Int64) },
        AggregateCall { arguments: both, ..call(Count, None, DataType::Int64) },
    ];
    calls.into_iter().map(|call| AggregateCall { distinct: true, ..call }).collect()
}

fn check_groups(device: &Accelerator, keys: &[usize], chunks: &[Chunk]) {
    let types = random::types();
    let kinds = [
        (AggregateMode::Single, calls()),
        (AggregateMode::Partial, calls()),
        (AggregateMode::Single, [calls(), distinct_calls()].concat()),
        (AggregateMode::Single, distinct_calls()),
    ];
    for (mode, calls) in kinds {
        let spec = AggregateSpec { keys: keys.to_vec(), calls, mode, limit: None };
        let sink = Sink::Aggregate(SlotId(0), spec.clone());
        let running = running(device, &[], Some((&sink, &types)), &Joins::new(), &[]);
        let groups = made(&running, chunks).unwrap();
        let aggregate = |feed: &dyn Fn(&mut crate::aggregate::LocalAggregate)| {
            let aggregator = Aggregator::new(spec.clone(), types.clone(), Resources::for_tests()).unwrap();
            let mut local = aggregator.local().unwrap();
            feed(&mut local);
            let scan = aggregator.finish(vec![local]).unwrap();
            let mut all = Vec::new();
            for morsel in 0..scan.morsels() {
                let mut reader = scan.read(morsel).unwrap();
                while let Some(chunk) = reader.next().unwrap() {
                    all.push(chunk);
                }
            }
            let mut rows = rows(&all, &aggregator.output_types());
            rows.sort();
            rows
        };
        let got = aggregate(&|local| {
            for made in &groups {
                let Made::Groups(load, groups) = made else { panic!("rows for an aggregation") };
                local.consume_groups(*load, groups).unwrap();
            }
        });
        let wanted = aggregate(&|local| chunks.iter().for_each(|chunk| local.consume(chunk).unwrap()));
        assert_eq!(got, wanted, "by {keys:?}");
    }
}

#[test]
fn groups_are_those_of_the_host() {
    for device in accelerators() {
        let mut random = Random::new(3);
        for keys in [&[][..], &[0], &[7], &[8, 9], &[3], &[6], &[2, 4, 8], &[1, 5, 10, 7]] {
            let chunks = table(&mut random, true);
            check_groups(&device, keys, &chunks);
        }
    }
}

#[test]
fn a_table_of_groups_grows() {
    for device in accelerators() {
        let mut random = Random::new(8);
        let rows = 9000;
        let mut columns = random::columns(rows, &mut random, true);
        columns[1] = Arc::new(arrow::array::Int64Array::from_iter_values((0..rows as i64).map(|row| row * 7 % 8191)));
        check_groups(&device, &[1], &[random::chunk(&columns, rows, &[])]);
    }
}

/// A join's condition beside its keys.
struct Condition(Evaluator);

impl Residual for Condition {
    fn test(&self, chunk: &Chunk) -> bireme_engine::Result<arrow::array::BooleanArray> {
        Ok(arrow::array::AsArray::as_boolean(&self.0.evaluate(chunk)?).clone())
    }
}

/// Joins on a device and on the host; both must find the same rows, and leave the same ones.
fn check_join(device: &Accelerator, spec: &JoinSpec, build: &[Chunk], probe: &[Chunk]) {
    let types = random::types();
    let table = || {
        let resources = Resources::for_tests();
        let builder = JoinBuilder::new(spec.clone(), types.clone(), types.clone(), resources).unwrap().keeping_keys();
        let mut local = builder.local().unwrap();
        build.iter().for_each(|chunk| local.consume(chunk).unwrap());
        builder.finish(vec![local]).unwrap()
    };
    let residual = || {
        let evaluator = spec.residual.as_ref().map(|residual| Evaluator::new(residual).unwrap());
        evaluator.map(|evaluator| Arc::new(Condition(evaluator)) as Arc<dyn Residual>)
    };
    let rest = |table: &Arc<JoinTable>, all: &mut Vec<Chunk>| {
        let Some(scan) = table.rest(residual().as_ref()).unwrap() else { return };
        for morsel in 0..scan.morsels() {
            let mut reader = scan.read(morsel).unwrap();
            while let Some(chunk) = reader.next().unwrap() {
                all.push(chunk);
            }
        }
    };
    let host = table();
    let mut wanted = Vec::new();
    for chunk in probe {
        let mut cursor = host.probe(residual().as_ref(), chunk.clone()).unwrap();
        while let Some(chunk) = cursor.next().unwrap() {
            wanted.push(chunk);
        }
    }
    rest(&host, &mut wanted);
    let on_device = table();
    let joins = Joins::from([(SlotId(0), (types.clone(), types.clone()))]);
    let steps = [Step::Probe(SlotId(0), spec.clone())];
    let running = running(device, &steps, None, &joins, &[Arc::clone(&on_device)]);
    let mut got = chunks_of(made(&running, probe).unwrap());
    rest(&on_device, &mut got);
    let outputs = host.output_types();
    let [mut got, mut wanted] = [got, wanted].map(|chunks| rows(&chunks, &outputs));
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted, "{spec}");
}

#[test]
fn joins_are_those_of_the_host() {
    use JoinKind::*;
    for device in accelerators() {
        let mut random = Random::new(29);
        let keys = [vec![0], vec![7], vec![4, 9], vec![3], vec![6], vec![2, 8], vec![]];
        let kinds = [
            Inner,
            ProbeOuter,
            BuildOuter,
            FullOuter,
            ProbeSemi,
            ProbeAnti,
            ProbeAntiNullAware,
            BuildSemi,
            BuildAnti,
            ProbeMark,
            BuildMark,
        ];
        for (number, kind) in kinds.iter().enumerate() {
            for (turn, keys) in [&keys[number % 7], &keys[(number + 3) % 7]].into_iter().enumerate() {
                let keys = if *kind == ProbeAntiNullAware { vec![turn] } else { keys.clone() };
                let (build, probe) = (JoinColumn::Build, JoinColumn::Probe);
                let output = match kind {
                    ProbeSemi | ProbeAnti | ProbeAntiNullAware => vec![probe(0), probe(7), probe(6)],
                    BuildSemi | BuildAnti => vec![build(8), build(1)],
                    ProbeMark => vec![probe(1), JoinColumn::Mark],
                    BuildMark => vec![build(1), JoinColumn::Mark],
                    _ => vec![probe(0), build(0), probe(8), build(7), build(6), probe(3), build(9)],
                };
                let width = random::types().len();
                let less = Expr::boolean(ExprKind::Compare(
                    CompareOp::Less,
                    Box::new(Expr::column(1, DataType::Int64)),
                    Box::new(Expr::column(width + 1, DataType::Int64)),
                ));
                let residual = (turn == 1 && *kind != ProbeAntiNullAware).then_some(less);
                let spec = JoinSpec {
                    kind: *kind,
                    build_keys: keys.clone(),
                    probe_keys: keys,
                    nulls_match: number % 3 == 1 && *kind != ProbeAntiNullAware,
                    residual,
                    output,
                };
                let (build, probe) = (table(&mut random, true), table(&mut random, true));
                check_join(&device, &spec, &build, &probe);
                check_join(&device, &spec, &[build[0].slice(0, 0)], &probe);
            }
        }
    }
}

#[test]
fn batches_that_do_not_fit_go_in_parts_or_to_the_host() {
    let Ok(device) = Device::emulated_with_memory(1 << 20) else {
        return eprintln!("SKIPPED: there is no C++ compiler");
    };
    let device = Accelerator::new(device);
    let numbers =
        |rows: i64| Chunk::new(vec![Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef], rows as usize);
    let twice = Expr {
        kind: ExprKind::Arithmetic(
            ArithmeticOp::Add,
            Box::new(Expr::column(0, DataType::Int64)),
            Box::new(Expr::column(0, DataType::Int64)),
        ),
        data_type: DataType::Int64,
    };
    let running = running(&device, &[Step::Project(vec![twice])], None, &Joins::new(), &[]);
    let mut cursor = DeviceCursor::new(&running);
    for (rows, fits) in [(vec![7000, 80_000, 7000, 7000], false), (vec![30_000, 30_000, 30_000], true)] {
        let chunks = rows.iter().map(|&rows| numbers(rows)).collect::<Vec<_>>();
        cursor.wait_for(usize::MAX);
        chunks.iter().for_each(|chunk| cursor.push(chunk.clone(), &mut |_, _| {}).unwrap());
        cursor.flush(&mut |_, _| {}).unwrap();
        let (mut made, mut again) = (0, 0);
        while let Some(one) = cursor.pop() {
            match one {
                Made::Rows(chunk) => made += chunk.rows,
                Made::Again(chunk) => again += chunk.rows,
                Made::Groups(..) => panic!("groups of a projection"),
            }
        }
        assert_eq!((made + again) as i64, rows.iter().sum::<i64>());
        assert_eq!(again, if fits { 0 } else { 80_000 }, "{}", device.report());
    }
    assert!(device.report().to_string().contains("no memory on the device"), "{}", device.report());
}

/// Extreme values of a type of integers, as decimals that are cast to it.
fn extremes(data_type: &DataType) -> ArrayRef {
    let (low, high): (i128, i128) = match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        _ => (0, u64::MAX.into()),
    };
    let values = Decimal128Array::from(vec![low, -1.max(low), 0, 1, high]).with_precision_and_scale(38, 0).unwrap();
    arrow::compute::cast(&values, data_type).unwrap()
}

/// One expression on a column and on each of its values alone; the device gives what the host does, or leaves it to the host.
fn check_alone(device: &Accelerator, expr: &Expr, column: &ArrayRef) {
    let evaluator = Evaluator::new(expr).unwrap();
    let mut agreed = 0;
    for row in 0..column.len() {
        let chunk = Chunk::new(vec![bireme_engine::morsel::to_carried(&column.slice(row, 1)).unwrap()], 1);
        let Some(got) = ran(device, std::slice::from_ref(expr), std::slice::from_ref(&chunk)) else { return };
        match (got, evaluator.evaluate(&chunk)) {
            (Ok(got), Ok(wanted)) => {
                let types = [expr.data_type.clone()];
                assert_eq!(rows(&got, &types), rows(&[Chunk::new(vec![wanted], 1)], &types), "row {row} of {expr}");
                agreed += 1;
            }
            (Ok(got), Err(error)) => panic!("row {row} of {expr}: {error} on the host, {got:?} on the device"),
            (Err(_), _) => {}
        }
    }
    assert!(agreed > 0, "{expr}");
}

#[test]
fn integers_that_do_not_fit_are_left_to_the_host() {
    let types = [DataType::Int8, DataType::Int32, DataType::Int64, DataType::UInt32, DataType::UInt64];
    for device in accelerators() {
        for from in &types {
            let decimals = [DataType::Decimal128(20, 0), DataType::Decimal128(18, 0), DataType::Decimal128(25, 3)];
            for to in types.iter().chain(&decimals).filter(|to| *to != from) {
                let value = Box::new(Expr::column(0, from.clone()));
                let cast = Expr { kind: ExprKind::Cast { value, or_null: false }, data_type: to.clone() };
                check_alone(&device, &cast, &extremes(from));
            }
        }
        // Of decimals that may be carried in 64 bits or in 128: a list of wider ones is the host's.
        let list = Decimal128Array::from(vec![5_i128 + (1 << 64), 7]).with_precision_and_scale(20, 0).unwrap();
        let value = Box::new(Expr::column(0, DataType::Decimal128(20, 0)));
        let member = Expr::boolean(ExprKind::In { value, list: Arc::new(list), negated: false });
        let chunk = Chunk::new(vec![Arc::new(Int64Array::from(vec![5, 7])) as ArrayRef], 2);
        assert!(ran(&device, std::slice::from_ref(&member), std::slice::from_ref(&chunk)).is_none());
    }
}
