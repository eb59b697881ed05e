#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
//! Pipelines before and after, as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_operators::pipeline::ir::{
    AggregateCall, AggregateFunction, AggregateMode, AggregateSpec, CompareOp, Expr, ExprKind, JoinColumn, JoinKind,
    JoinSpec, Scan, Sink, SlotId, Source, Step,
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
    let scan = Scan { leaf: 0, name: name.into(), projection: columns.to_vec(), predicates: vec![], partners: vec![] };
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
