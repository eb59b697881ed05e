//! `HashJoinExec`, `NestedLoopJoinExec`, `CrossJoinExec`.
//!
//! DataFusion builds on the left; so do we, but for `NOT IN`, whose answer needs all of the right side first.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;
use bireme_operators::pipeline::ir::{Expr, JoinColumn, JoinKind, JoinSpec, Sink, SlotId, Step};
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};

use super::Fused;
use super::expr::lower;
use super::layout::RowLayout;

/// A join node in one form.
pub struct Join<'a> {
    pub left: &'a Arc<dyn ExecutionPlan>,
    pub right: &'a Arc<dyn ExecutionPlan>,
    kind: JoinType,
    on: &'a [(PhysicalExprRef, PhysicalExprRef)],
    filter: Option<&'a JoinFilter>,
    nulls_match: bool,
    null_aware: bool,
    projection: Option<Vec<usize>>,
    /// Whether every rank needs all rows of the left side.
    pub collected: bool,
    schema: SchemaRef,
}

impl<'a> Join<'a> {
    /// The node as a join, if it is one that has a native form.
    pub fn of(node: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let schema = node.schema();
        let join = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            Self {
                left: join.left(),
                right: join.right(),
                kind: *join.join_type(),
                on: join.on(),
                filter: join.filter(),
                nulls_match: join.null_equality() == NullEquality::NullEqualsNull,
                null_aware: join.null_aware,
                projection: join.projection.as_ref().map(|columns| columns.to_vec()),
                collected: *join.partition_mode() == PartitionMode::CollectLeft,
                schema,
            }
        } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            Self {
                left: join.left(),
                right: join.right(),
                kind: *join.join_type(),
                on: &[],
                filter: join.filter(),
                nulls_match: false,
                null_aware: false,
                projection: join.projection().as_ref().map(|columns| columns.to_vec()),
                collected: true,
                schema,
            }
        } else {
            let join = node.downcast_ref::<CrossJoinExec>()?;
            Self {
                left: join.left(),
                right: join.right(),
                kind: JoinType::Inner,
                on: &[],
                filter: None,
                nulls_match: false,
                null_aware: false,
                projection: None,
                collected: true,
                schema,
            }
        };
        join.is_supported().then_some(join)
    }

    fn is_supported(&self) -> bool {
        let key = |expr: &Arc<dyn PhysicalExpr>, schema: &Schema| {
            expr.data_type(schema)
                .ok()
                .filter(|key| !key.is_nested() && !is_volatile(expr))
                .map(|key| carried_type(&key))
        };
        let (left, right) = (self.left.schema(), self.right.schema());
        let keys = self.on.iter().all(|(a, b)| key(a, &left).is_some_and(|a| key(b, &right) == Some(a)));
        let null_aware =
            !self.null_aware || (self.kind == JoinType::LeftAnti && self.on.len() == 1 && self.filter.is_none());
        keys && null_aware && self.filter.is_none_or(|filter| !is_volatile(filter.expression()))
    }

    /// Whether several ranks may run it, each with all rows of a collected left side.
    pub fn replicates(&self) -> bool {
        !self.null_aware && crate::stage::replicates_collected_side(self.kind)
    }

    /// Whether its rows are made of those of one side one by one: of no row, one, or some.
    pub fn keeps(&self, side: JoinSide) -> bool {
        !self.null_aware && self.probing(side).is_some()
    }

    /// What it is if the rows of one side look for partners on the other.
    fn probing(&self, side: JoinSide) -> Option<JoinKind> {
        match (self.kind, side) {
            (JoinType::Inner, _) => Some(JoinKind::Inner),
            (JoinType::Left, JoinSide::Left) | (JoinType::Right, JoinSide::Right) => Some(JoinKind::ProbeOuter),
            (JoinType::LeftSemi, JoinSide::Left) | (JoinType::RightSemi, JoinSide::Right) => Some(JoinKind::ProbeSemi),
            (JoinType::LeftAnti, JoinSide::Left) | (JoinType::RightAnti, JoinSide::Right) => Some(JoinKind::ProbeAnti),
            (JoinType::LeftMark, JoinSide::Left) | (JoinType::RightMark, JoinSide::Right) => Some(JoinKind::ProbeMark),
            _ => None,
        }
    }

    /// Joins two fragments, of which `probe` is that of this side ([`Join::keeps`]).
    pub fn fuse_probing(&self, side: JoinSide, build: Fused, probe: Fused, slot: SlotId) -> Result<Fused> {
        let kind = self.probing(side).ok_or_else(|| Error::internal("a join that does not keep the rows of a side"))?;
        match side {
            JoinSide::Left => self.fuse_as(kind, false, probe, build, slot),
            _ => self.fuse_as(kind, true, build, probe, slot),
        }
    }

    /// Joins two fragments.
    pub fn fuse(&self, left: Fused, right: Fused, slot: SlotId) -> Result<Fused> {
        let (kind, build_is_left) = match self.kind {
            JoinType::LeftAnti if self.null_aware => (JoinKind::ProbeAntiNullAware, false),
            JoinType::Inner => (JoinKind::Inner, true),
            JoinType::Left => (JoinKind::BuildOuter, true),
            JoinType::Right => (JoinKind::ProbeOuter, true),
            JoinType::Full => (JoinKind::FullOuter, true),
            JoinType::LeftSemi => (JoinKind::BuildSemi, true),
            JoinType::RightSemi => (JoinKind::ProbeSemi, true),
            JoinType::LeftAnti => (JoinKind::BuildAnti, true),
            JoinType::RightAnti => (JoinKind::ProbeAnti, true),
            JoinType::LeftMark => (JoinKind::BuildMark, true),
            JoinType::RightMark => (JoinKind::ProbeMark, true),
        };
        self.fuse_as(kind, build_is_left, left, right, slot)
    }

    fn fuse_as(&self, kind: JoinKind, build_is_left: bool, left: Fused, right: Fused, slot: SlotId) -> Result<Fused> {
        let (left_columns, right_columns) = (left.types.len(), right.types.len());
        let (mut build, mut probe) = if build_is_left { (left, right) } else { (right, left) };
        let (left_keys, right_keys) = self.keys()?;
        let (build_keys, probe_keys) = if build_is_left { (left_keys, right_keys) } else { (right_keys, left_keys) };
        let build_keys = build.places(build_keys);
        let probe_keys = probe.places(probe_keys);

        let side = |is_left: bool, place: usize| {
            if is_left == build_is_left { JoinColumn::Build(place) } else { JoinColumn::Probe(place) }
        };
        let left_side = (0..left_columns).map(|place| side(true, place));
        let right_side = (0..right_columns).map(|place| side(false, place));
        let mut output: Vec<JoinColumn> = match self.kind {
            JoinType::LeftSemi | JoinType::LeftAnti => left_side.collect(),
            JoinType::RightSemi | JoinType::RightAnti => right_side.collect(),
            JoinType::LeftMark => left_side.chain([JoinColumn::Mark]).collect(),
            JoinType::RightMark => right_side.chain([JoinColumn::Mark]).collect(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                left_side.chain(right_side).collect()
            }
        };
        if let Some(columns) = &self.projection {
            output = columns.iter().map(|&place| output[place]).collect();
        }
        let probe_columns = probe.types.len();
        let residual = self.filter.map(|filter| self.residual(filter, probe_columns, build_is_left)).transpose()?;
        probe.expressions.extend(self.filter.map(|filter| Arc::clone(filter.expression())));
        probe.expressions.extend(self.on.iter().flat_map(|(a, b)| [Arc::clone(a), Arc::clone(b)]));

        let layout = meeting(kind, (&build, &build_keys), (&probe, &probe_keys), &output);
        let spec = JoinSpec { kind, build_keys, probe_keys, nulls_match: self.nulls_match, residual, output };
        build.end(Sink::Build(slot, spec.clone(), probe.types.clone()));
        probe.after(build);
        probe.steps.push(Step::Probe(slot, spec));
        probe.types = super::fragment::types_of(&self.schema);
        probe.schema = Arc::clone(&self.schema);
        probe.sorted = false;
        probe.layout = layout;
        Ok(probe)
    }

    /// How many pairs of keys it has.
    pub fn key_count(&self) -> usize {
        self.on.len()
    }

    /// One of its keys.
    pub fn key(&self, place: usize, of_left: bool) -> Arc<dyn PhysicalExpr> {
        let (left, right) = &self.on[place];
        Arc::clone(if of_left { left } else { right })
    }

    /// What it joins on, for people.
    pub fn describe(&self) -> String {
        let name = |key: &Arc<dyn PhysicalExpr>| match key.downcast_ref::<Column>() {
            Some(column) => column.name().to_owned(),
            None => key.to_string(),
        };
        let pairs = self.on.iter().map(|(left, right)| format!("{} = {}", name(left), name(right)));
        let pairs = pairs.collect::<Vec<_>>().join(" and ");
        if pairs.is_empty() { "join without keys".into() } else { format!("join on {pairs}") }
    }

    /// Its keys of the left and of the right side.
    pub fn key_exprs(&self) -> Result<[Vec<Expr>; 2]> {
        let (left, right) = self.keys()?;
        Ok([left, right])
    }

    /// Whether rows that are equal in its keys have to meet: it has keys, and needs no side whole.
    pub fn meets(&self) -> bool {
        !self.on.is_empty() && !self.null_aware
    }

    fn keys(&self) -> Result<(Vec<Expr>, Vec<Expr>)> {
        let (left, right) = (self.left.schema(), self.right.schema());
        let mut keys = (Vec::new(), Vec::new());
        for (a, b) in self.on {
            keys.0.push(lower(a, &left)?);
            keys.1.push(lower(b, &right)?);
        }
        Ok(keys)
    }

    /// The filter over the probe side's columns, then the build side's.
    fn residual(&self, filter: &JoinFilter, probe_columns: usize, build_is_left: bool) -> Result<Expr> {
        let expr = lower(filter.expression(), filter.schema())?;
        let mut places = Vec::new();
        for column in filter.column_indices() {
            let is_build = match column.side {
                JoinSide::Left => build_is_left,
                JoinSide::Right => !build_is_left,
                JoinSide::None => return Err(Error::internal("a join's filter reads a mark")),
            };
            places.push(column.index + if is_build { probe_columns } else { 0 });
        }
        Ok(expr.with_columns(&|column| places[column]))
    }
}

/// Where the rows of a join lie, whose sides' rows met where they lay.
fn meeting(kind: JoinKind, build: (&Fused, &[usize]), probe: (&Fused, &[usize]), output: &[JoinColumn]) -> RowLayout {
    let (build, build_keys) = build;
    let (probe, probe_keys) = probe;
    let columns = |fused: &Fused, keys: &[usize]| {
        keys.iter().map(|&key| Expr::column(key, fused.types[key].clone())).collect::<Vec<_>>()
    };
    // Rows without a partner have NULLs in the other side's columns, which lie elsewhere.
    let keeps_build = matches!(
        kind,
        JoinKind::Inner | JoinKind::BuildOuter | JoinKind::BuildSemi | JoinKind::BuildAnti | JoinKind::BuildMark
    );
    let keeps_probe = matches!(
        kind,
        JoinKind::Inner
            | JoinKind::ProbeOuter
            | JoinKind::ProbeSemi
            | JoinKind::ProbeAnti
            | JoinKind::ProbeMark
            | JoinKind::ProbeAntiNullAware
    );
    let shown = |layout: &RowLayout, side: fn(usize) -> JoinColumn| {
        layout.mapped(|column| output.iter().position(|shown| *shown == side(column)))
    };
    let mut layout = RowLayout::default();
    if keeps_build {
        layout = layout.and(shown(&build.layout, JoinColumn::Build));
    }
    if keeps_probe {
        layout = layout.and(shown(&probe.layout, JoinColumn::Probe));
    }
    if kind == JoinKind::Inner {
        // Partners have equal keys, so where one lies by its key the other's key says the same.
        let (ours, theirs) = (columns(build, build_keys), columns(probe, probe_keys));
        layout = layout.and(shown(&build.layout.translated(&ours, &theirs), JoinColumn::Probe));
        layout = layout.and(shown(&probe.layout.translated(&theirs, &ours), JoinColumn::Build));
    }
    layout
}
