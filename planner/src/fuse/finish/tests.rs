#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
//! Pipelines before and after, as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_operators::pipeline::ir::{
    AggregateCall, AggregateFunction, AggregateMode, AggregateSpec, CompareOp, Expr, ExprKind, JoinColumn, JoinKind,
    JoinSpec, Scan, Sink, SlotId, SortKey, SortSpec, Source, Step, WindowCall, WindowFrame, WindowFunction, WindowSpec,
};

use super::super::Fused;

fn number(place: usize) -> Expr {
    Expr::column(place, DataType::Int64)
}

fn above(place: usize, least: i64) -> Expr {
    let least: ArrayRef = Arc::new(Int64Array::from(vec![least]));
    Expr::boolean(ExprKind::Compare(CompareOp::Greater, Box::new(number(place)), Box::new(Expr::literal(least))))
}

fn schema(columns: usize) -> Arc<Schema> {
    let field = |place| Field::new(format!("c{place}"), DataType::Int64, true);
    Arc::new(Schema::new((0..columns).map(field).collect::<Vec<_>>()))
}

fn scan(name: &str, columns: &[usize]) -> Fused {
    let scan = Scan {
        leaf: 0,
        name: name.into(),
        projection: columns.to_vec(),
        predicates: vec![],
        prunes: vec![],
        partners: vec![],
    };
    Fused::reading(Source::Scan(scan), schema(columns.len()), vec![])
}

fn lines(fused: Fused) -> String {
    fused.finish().program.lines().join("\n")
}

/// small (10, 11, 12) joined with large (20, 21, 22, 23): large's first column with small's second.
fn joined(kind: JoinKind, output: Vec<JoinColumn>) -> Fused {
    let mut build = scan("small", &[10, 11, 12]);
    let mut probe = scan("large", &[20, 21, 22, 23]);
    let spec = JoinSpec {
        kind,
        build_keys: vec![1],
        probe_keys: vec![0],
        nulls_match: false,
        residual: Some(Expr::boolean(ExprKind::Compare(CompareOp::Less, Box::new(number(2)), Box::new(number(4 + 2))))),
        output,
    };
    build.end(Sink::Build(SlotId(7), spec.clone(), probe.types.clone()));
    probe.after(build);
    probe.types = vec![DataType::Int64; spec.output.len()];
    probe.schema = schema(spec.output.len());
    probe.steps.push(Step::Probe(SlotId(7), spec));
    probe
}

#[test]
fn columns_that_nobody_reads_are_not_decoded() {
    let mut fused = scan("t", &[4, 5, 6]);
    fused.steps.push(Step::Filter(above(2, 1)));
    fused.project(vec![number(0)], schema(1));
    assert_eq!(lines(fused), "pipeline 0: scan [#4, #6] of t\n  filter (#1 > 1)\n  project [#0]\n  output");
}

#[test]
fn for_a_device_conditions_are_tested_behind_scans() {
    let mut fused = scan("t", &[4, 5, 6]);
    fused.keep(above(2, 1));
    fused.project(vec![number(0)], schema(1));
    let text = fused.finish_on_device().program.lines().join("\n");
    let scanned = "pipeline 0: scan [#4, #6] of t pruned by [(#6 > 1)]";
    assert_eq!(text, format!("{scanned}\n  filter (#1 > 1)\n  project [#0]\n  output"));
}

#[test]
fn both_sides_of_a_join_keep_what_is_read_behind_it() {
    use JoinColumn::{Build, Probe};
    let all = vec![Build(0), Build(1), Build(2), Probe(0), Probe(1), Probe(2), Probe(3)];
    let mut fused = joined(JoinKind::Inner, all);
    let spec = AggregateSpec {
        keys: vec![0],
        calls: vec![AggregateCall {
            function: AggregateFunction::Sum,
            arguments: vec![(6, DataType::Int64)],
            filter: None,
            distinct: false,
            data_type: DataType::Int64,
        }],
        mode: AggregateMode::Single,
        limit: None,
    };
    fused.sink(Sink::Aggregate(SlotId(9), spec), SlotId(9), vec![DataType::Int64; 2]);
    fused.schema = schema(2);
    let expected = "\
pipeline 0: scan [#10, #11, #12] of small
  build slot 0 on [#1]
pipeline 1: scan [#20, #22, #23] of large partners [#20 in key 0 of slot 0]
  probe slot 0 Inner on [#0] = [#1] where (#1 < #5) -> [b0, p2]
  aggregate slot 1 Single by [#0] of [sum(#1)]
pipeline 2: slot 1
  output";
    assert_eq!(lines(fused), expected);
}

#[test]
fn a_join_that_keeps_all_rows_of_its_probe_side_asks_for_no_partners() {
    use JoinColumn::Probe;
    let text = lines(joined(JoinKind::ProbeOuter, vec![Probe(0)]));
    assert!(!text.contains("partners"), "{text}");
    let text = lines(joined(JoinKind::ProbeSemi, vec![Probe(0)]));
    assert!(text.contains("partners [#20 in key 0 of slot 0]"), "{text}");
}

#[test]
fn a_limit_counts_rows_that_a_later_join_drops() {
    let mut fused = joined(JoinKind::Inner, vec![JoinColumn::Probe(0)]);
    fused.steps.insert(0, Step::Limit { skip: 0, fetch: Some(3) });
    let text = lines(fused);
    assert!(!text.contains("partners"), "{text}");
}

#[test]
fn neighbouring_projections_become_one_where_no_work_is_done_twice() {
    let sum = |a, b| {
        let op = bireme_operators::pipeline::ir::ArithmeticOp::Add;
        Expr { kind: ExprKind::Arithmetic(op, Box::new(number(a)), Box::new(number(b))), data_type: DataType::Int64 }
    };
    let mut once = scan("t", &[0, 1]);
    once.project(vec![sum(0, 1), number(0)], schema(2));
    once.project(vec![number(1), sum(0, 1)], schema(2));
    assert_eq!(lines(once), "pipeline 0: scan [#0, #1] of t\n  project [#0, ((#0 + #1) + #0)]\n  output");
    let mut twice = scan("t", &[0, 1]);
    twice.project(vec![sum(0, 1)], schema(1));
    twice.project(vec![sum(0, 0)], schema(1));
    let text = lines(twice);
    assert_eq!(text, "pipeline 0: scan [#0, #1] of t\n  project [(#0 + #1)]\n  project [(#0 + #0)]\n  output");
}

/// large (20, 21) grouped by one of its columns, then joined with small, whose table is built before or after that.
fn grouped_then_joined(key: usize, small_first: bool, limit: bool) -> Fused {
    let spec = JoinSpec {
        kind: JoinKind::BuildSemi,
        build_keys: vec![0],
        probe_keys: vec![key],
        nulls_match: false,
        residual: None,
        output: vec![JoinColumn::Build(1)],
    };
    let mut small = scan("small", &[10, 11]);
    let mut groups = scan("large", &[20, 21]);
    small.end(Sink::Build(SlotId(7), spec.clone(), groups.types.clone()));
    if limit {
        groups.steps.push(Step::Limit { skip: 0, fetch: Some(9) });
    }
    let calls = vec![AggregateCall {
        function: AggregateFunction::Max,
        arguments: vec![(0, DataType::Int64)],
        filter: None,
        distinct: false,
        data_type: DataType::Int64,
    }];
    let grouping = AggregateSpec { keys: vec![1], calls, mode: AggregateMode::Single, limit: None };
    if small_first {
        groups.after(small);
        groups.sink(Sink::Aggregate(SlotId(8), grouping), SlotId(8), vec![DataType::Int64; 2]);
    } else {
        groups.sink(Sink::Aggregate(SlotId(8), grouping), SlotId(8), vec![DataType::Int64; 2]);
        groups.pipelines.append(&mut small.pipelines);
    }
    groups.steps.push(Step::Probe(SlotId(7), spec));
    groups.types = vec![DataType::Int64];
    groups.schema = schema(1);
    groups
}

#[test]
fn groups_without_a_partner_are_not_made() {
    let expected = "\
pipeline 0: scan [#10, #11] of small
  build slot 0 on [#0]
pipeline 1: scan [#20, #21] of large partners [#21 in key 0 of slot 0]
  aggregate slot 1 Single by [#1] of [max(#0)]
pipeline 2: slot 1
  probe slot 0 BuildSemi on [#0] = [#0] -> [b1]
  output";
    assert_eq!(lines(grouped_then_joined(0, true, false)), expected);
}

#[test]
fn groups_are_made_of_all_rows_where_partners_are_not_known_or_do_not_decide() {
    let cases = [
        ("the join's key is a maximum", grouped_then_joined(1, true, false)),
        ("the table is built after the groups", grouped_then_joined(0, false, false)),
        ("a limit counts the rows", grouped_then_joined(0, true, true)),
    ];
    for (case, fused) in cases {
        let text = lines(fused);
        assert!(!text.contains("partners"), "{case}: {text}");
    }
}

/// Three columns of a table, sorted by the first two.
fn sorted(name: &str, columns: &[usize; 3]) -> Fused {
    let mut fused = scan(name, columns);
    let key = |column| SortKey { column, descending: false, nulls_first: false };
    let spec = SortSpec { keys: vec![key(0), key(1)], fetch: None };
    fused.sink(Sink::Sort(SlotId(5), spec), SlotId(5), vec![DataType::Int64; 3]);
    fused.sorted = true;
    fused
}

#[test]
fn branches_of_a_union_drop_the_same_columns() {
    let plain = scan("a", &[1, 2, 3]);
    let mut filtered = scan("b", &[4, 5, 6]);
    filtered.steps.push(Step::Filter(above(1, 5)));
    let mut union = Fused::union(vec![plain, filtered, sorted("c", &[7, 8, 9])], schema(3), vec![]);
    union.steps.push(Step::Filter(above(2, 0)));
    union.project(vec![number(0)], schema(1));
    let expected = "\
pipeline 0: scan [#7, #8, #9] of c
  sort slot 0 [#0 asc nulls last, #1 asc nulls last]
pipeline 1: union
  branch 0: scan [#1, #3] of a
  branch 1: scan [#4, #5, #6] of b
    filter (#1 > 5)
    project [#0, #2]
  branch 2: slot 0
    project [#0, #2]
  filter (#1 > 0)
  project [#0]
  output";
    assert_eq!(lines(union), expected);
}

#[test]
fn a_join_asks_for_partners_in_each_branch() {
    let mut build = scan("small", &[10, 11, 12]);
    let mut probe = Fused::union(vec![scan("a", &[20, 21]), scan("b", &[30, 31])], schema(2), vec![]);
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        build_keys: vec![1],
        probe_keys: vec![0],
        nulls_match: false,
        residual: None,
        output: vec![JoinColumn::Probe(1)],
    };
    build.end(Sink::Build(SlotId(7), spec.clone(), probe.types.clone()));
    probe.after(build);
    probe.types = vec![DataType::Int64];
    probe.schema = schema(1);
    probe.steps.push(Step::Probe(SlotId(7), spec));
    let expected = "\
pipeline 0: scan [#11] of small
  build slot 0 on [#0]
pipeline 1: union
  branch 0: scan [#20, #21] of a partners [#20 in key 0 of slot 0]
  branch 1: scan [#30, #31] of b partners [#30 in key 0 of slot 0]
  probe slot 0 Inner on [#0] = [#0] -> [p1]
  output";
    assert_eq!(lines(probe), expected);
}

/// Sorted rows, their columns turned around, with two windows.
fn windows(partition: Vec<usize>) -> Fused {
    let call = |function| WindowCall { function, frame: WindowFrame::Rows, data_type: DataType::Int64 };
    let mut fused = sorted("t", &[1, 2, 3]);
    fused.project(vec![number(2), number(1), number(0)], schema(3));
    fused.steps.push(Step::Filter(above(0, 7)));
    let calls = vec![call(WindowFunction::Sum(0)), call(WindowFunction::RowNumber)];
    let spec = WindowSpec { partition: vec![2], order: vec![], calls };
    fused.steps.push(Step::Window(spec, vec![DataType::Int64; 3]));
    let spec = WindowSpec { partition, order: vec![], calls: vec![call(WindowFunction::Max(1))] };
    fused.steps.push(Step::Window(spec, vec![DataType::Int64; 5]));
    fused.types = vec![DataType::Int64; 6];
    // The row number, the second window, and the partition.
    fused.project(vec![number(4), number(5), number(2)], schema(3));
    fused
}

#[test]
fn window_functions_that_nobody_reads_are_not_computed() {
    let expected = "\
pipeline 0: scan [#1, #2, #3] of t
  sort slot 0 [#0 asc nulls last, #1 asc nulls last]
pipeline 1: slot 0 by [#0]
  project [#2, #1, #0]
  filter (#0 > 7)
  window by [#2] order [] of [row_number()]
  window by [#2, #1] order [] of [max(#1) of rows]
  project [#3, #4, #2]
  output";
    assert_eq!(lines(windows(vec![2, 1])), expected);
}

#[test]
fn windows_share_partitions_unless_somebody_counts_on_the_order() {
    assert!(lines(windows(vec![2])).contains("slot 0 by [#0]"));
    assert!(!lines(windows(vec![1])).contains("slot 0 by"), "no column is common");
    assert!(!lines(windows(vec![])).contains("slot 0 by"), "one partition");
    let mut fused = windows(vec![2]);
    fused.keeps_order = true;
    assert!(!lines(fused).contains("slot 0 by"));
    let limited = windows(vec![2]).limit(0, Some(3), schema(3));
    assert!(!lines(limited).contains("slot 0 by"), "the first rows are wanted");
}
