//! Joins between ranks: the mapper says how their sides meet.
//!
//! DataFusion proposes to collect the left side or to repartition both. Where the rows lie may allow less: two tables that were kept
//! by the key they are joined on meet without moving.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Adaptive, DecisionId, ExchangeId, Feed, Pin, Route, Side};
use bireme_operators::pipeline::ir::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;

use super::aligned::conflicts;
use super::{Builder, Part};
use crate::fuse::{Fused, Join, RowLayout};
use crate::place::cost::row_bytes;
use crate::place::{Decision, JoinInput, JoinSide, JoinWay};

type Node = Arc<dyn ExecutionPlan>;

/// Places of a join's keys by which both of its sides lie, or could.
#[derive(Default)]
struct Meeting {
    in_place: bool,
    /// The keys by which the left side lies, and those by which the right side does.
    left: Option<Vec<usize>>,
    right: Option<Vec<usize>>,
}

/// A join of which the ranks may decide while the plan runs how it meets.
pub(super) struct Open {
    /// The exchanges of its sides.
    build: ExchangeId,
    probe: ExchangeId,
    /// The build side goes to every rank if it has fewer bytes.
    broadcast_below: u64,
    /// Somebody counts on the join's rows lying by the hash of its keys.
    pub relied_on: bool,
}

impl Builder {
    /// A join as a native one; `None` if it belongs to an island.
    pub(super) fn fused_join(&mut self, join: &Join<'_>) -> Result<Option<Part>> {
        if self.ranks > 1 && join.collected && !join.replicates() {
            return Ok(None);
        }
        let (mut left, mut right) = if self.ranks > 1 {
            (self.visit_where_it_lies(uncollected(join))?, self.visit_where_it_lies(join.right)?)
        } else {
            (self.visit_fused(uncollected(join))?, self.visit_fused(join.right)?)
        };
        if self.ranks > 1 {
            (left, right) = self.meet(join, left, right)?;
        }
        let slot = self.slot();
        join.fuse(left, right, slot).map(|fused| Some(fused.into()))
    }

    /// The sides, each partner where the other is.
    fn meet(&mut self, join: &Join<'_>, left: Fused, right: Fused) -> Result<(Fused, Fused)> {
        let [left_keys, right_keys] = join.key_exprs()?;
        let lie = if join.meets() { meeting(&left, &right, &left_keys, &right_keys) } else { Meeting::default() };
        let ways = ways(join, &left, &right, &lie);
        let Some(&first) = ways.first() else { return self.in_one_lane(left, right) };
        let input = JoinInput::new(
            self.joins,
            &self.cluster,
            self.side(&left, uncollected(join)),
            self.side(&right, join.right),
            &ways,
        );
        let decision =
            if ways.len() > 1 { self.mapper.join(&input) } else { crate::place::JoinDecision::new(first, vec![]) };
        self.joins += 1;
        let way = if ways.contains(&decision.way) { decision.way } else { first };
        self.decisions.push(Decision::join(join.describe(), way, decision.costs));
        let below = decision.broadcast_below.filter(|_| way == JoinWay::Shuffle && join.replicates());
        let (left, mut right) = self.go(join, way, &lie, left, right)?;
        if let (Some(broadcast_below), Some(build), Some(probe)) = (below, left.bare_exchange(), right.bare_exchange())
        {
            right.loose.push(self.adaptive.len());
            self.adaptive.push(Open { build, probe, broadcast_below, relied_on: false });
        }
        Ok((left, right))
    }

    /// Joins whose sides both move may decide otherwise while the plan runs, where nobody counts on how they lie.
    pub(super) fn leave_open(&mut self) {
        let open = std::mem::take(&mut self.adaptive).into_iter().filter(|open| !open.relied_on);
        for (number, Open { build, probe, broadcast_below, .. }) in open.enumerate() {
            for (exchange, side) in [(build, Side::Build), (probe, Side::Probe)] {
                let route = &mut self.graph.exchanges[exchange.0 as usize].route;
                if let Route::Hash(partitioner) = route {
                    let (partitioner, decision) = (Arc::clone(partitioner), DecisionId(number as u32));
                    *route = Route::Adaptive(Adaptive { partitioner, decision, side, broadcast_below });
                }
            }
        }
    }

    fn go(
        &mut self,
        join: &Join<'_>,
        way: JoinWay,
        lie: &Meeting,
        mut left: Fused,
        mut right: Fused,
    ) -> Result<(Fused, Fused)> {
        let keys = |places: &Option<Vec<usize>>, of_left: bool| -> Vec<Arc<dyn PhysicalExpr>> {
            let all = (0..join.key_count()).collect();
            let places = places.as_ref().unwrap_or(&all);
            places.iter().map(|&place| join.key(place, of_left)).collect()
        };
        match way {
            JoinWay::InPlace => {
                self.rely(&left);
                self.rely(&right);
            }
            JoinWay::MoveBuild => {
                self.rely(&right);
                let lanes = right.lanes.clone();
                left = self.by_hash(left, &keys(&lie.right, true), lanes)?;
            }
            JoinWay::MoveProbe => {
                self.rely(&left);
                let lanes = left.lanes.clone();
                right = self.by_hash(right, &keys(&lie.left, false), lanes)?;
            }
            JoinWay::Shuffle => {
                let lanes = || vec![Pin::Free; self.ranks];
                let (left_lanes, right_lanes) = (lanes(), lanes());
                left = self.by_hash(left, &keys(&None, true), left_lanes)?;
                right = self.by_hash(right, &keys(&None, false), right_lanes)?;
            }
            JoinWay::Broadcast => {
                // Every rank that runs the join has all of the left side.
                let lanes = right.lanes.clone();
                left = self.exchanged(left, Route::Broadcast, lanes, Feed::EveryRank)?;
            }
        }
        align(&mut left, &mut right);
        Ok((left, right))
    }

    /// What cannot meet otherwise meets in one lane.
    fn in_one_lane(&mut self, left: Fused, right: Fused) -> Result<(Fused, Fused)> {
        let (mut left, mut right) = (self.gathered(left)?, self.gathered(right)?);
        if conflicts(left.lanes[0], right.lanes[0]) {
            left = self.exchanged(left, Route::Gather, vec![Pin::Free], Feed::Lanes(vec![0]))?;
        }
        align(&mut left, &mut right);
        Ok((left, right))
    }

    fn side(&self, fused: &Fused, node: &Node) -> JoinSide {
        JoinSide::new(self.expected(node), row_bytes(&fused.types), fused.lanes.len())
    }
}

/// The left side of a join, without the gather that DataFusion proposes for a collected one: every rank can collect by itself.
fn uncollected<'a>(join: &Join<'a>) -> &'a Node {
    match join.left.downcast_ref::<CoalescePartitionsExec>() {
        Some(gather) if join.collected && gather.fetch().is_none() => gather.input(),
        _ => join.left,
    }
}

/// By which keys the sides lie.
fn meeting(left: &Fused, right: &Fused, left_keys: &[Expr], right_keys: &[Expr]) -> Meeting {
    let [left_lists, right_lists] = [(&left.layout, left_keys), (&right.layout, right_keys)]
        .map(|(layout, keys): (&RowLayout, _)| layout.within(keys));
    let both = left_lists.iter().find(|list| right_lists.contains(list)).cloned();
    let apart = left.lanes.iter().zip(&right.lanes).any(|(left, right)| conflicts(*left, *right));
    let in_place = both.is_some() && left.lanes.len() == right.lanes.len() && !apart;
    Meeting { in_place, left: left_lists.into_iter().next(), right: right_lists.into_iter().next() }
}

/// The ways that give the right answer; first the one to take if nothing is known of the rows.
fn ways(join: &Join<'_>, left: &Fused, right: &Fused, lie: &Meeting) -> Vec<JoinWay> {
    let mut ways = Vec::new();
    let one_lane = left.lanes.len() == 1 && right.lanes.len() == 1 && !conflicts(left.lanes[0], right.lanes[0]);
    if lie.in_place || one_lane {
        ways.push(JoinWay::InPlace);
    }
    let broadcast = join.replicates();
    if join.collected && broadcast {
        ways.push(JoinWay::Broadcast);
    }
    if join.meets() {
        ways.extend(lie.right.as_ref().map(|_| JoinWay::MoveBuild));
        ways.extend(lie.left.as_ref().map(|_| JoinWay::MoveProbe));
        ways.push(JoinWay::Shuffle);
    }
    if broadcast && !join.collected {
        ways.push(JoinWay::Broadcast);
    }
    ways
}

/// Lanes of two sides that run together: pinned where one of them is.
fn align(left: &mut Fused, right: &mut Fused) {
    if left.lanes.len() == right.lanes.len() {
        for (left, right) in left.lanes.iter_mut().zip(&mut right.lanes) {
            let pin = if *left == Pin::Free { *right } else { *left };
            (*left, *right) = (pin, pin);
        }
    }
}
