//! Actions: plan on every rank, agree, run, deliver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use bireme_engine::error::{Error, Result};
use bireme_engine::metrics::RunReport;
use bireme_engine::stage::Sink;
use bireme_planner::plan::Discard;
use bireme_planner::{Delivery, Goal, Planned, explain};
use datafusion::logical_expr::LogicalPlan;

use super::Session;
use super::analyze;
use super::collected::Collected;
use super::rank::{Acted, Action};

impl Session {
    pub(crate) fn collect(&self, program: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        // With local ranks `main` runs once: the root's copy is the only one anybody can look at.
        let delivery = if self.inner.ranks.len() == self.ranks() { Delivery::Root } else { Delivery::Replicated };
        let rows = Collected::default();
        self.act(program, delivery, |_| Arc::new(rows.clone()))?;
        Ok(rows.take())
    }

    pub(crate) fn collect_root(&self, program: &LogicalPlan) -> Result<Option<Vec<RecordBatch>>> {
        let rows = Collected::default();
        self.act(program, Delivery::Root, |_| Arc::new(rows.clone()))?;
        Ok(self.is_root().then(|| rows.take()))
    }

    pub(crate) fn collect_local(&self, program: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        let rows = Collected::default();
        self.act(program, Delivery::Lanes, |_| Arc::new(rows.clone()))?;
        Ok(rows.take())
    }

    pub(crate) fn discard(&self, program: &LogicalPlan) -> Result<()> {
        self.act(program, Delivery::Lanes, |_| Arc::new(Discard)).map(drop)
    }

    pub(crate) fn explain(&self, program: &LogicalPlan) -> Result<String> {
        Ok(explain::text(&self.plan(program)?))
    }

    pub(crate) fn explain_analyze(&self, program: &LogicalPlan) -> Result<String> {
        let (planned, reports) = self.analyze(program)?;
        Ok(format!("{}\n== run ==\n{}", explain::text(&planned), analyze::text(&planned, &reports)))
    }

    /// Plans without running; every rank plans for itself and comes to the same text.
    pub(crate) fn plan(&self, program: &LogicalPlan) -> Result<Planned> {
        let clock = self.clock()?;
        let goal = Goal { delivery: Delivery::Root, sink: Arc::new(Collected::default()) };
        self.inner.ranks[0].plan(self.inner.context.state(), program, goal, clock)
    }

    /// Runs, throws the rows away, and brings the reports of all ranks together.
    pub(super) fn analyze(&self, program: &LogicalPlan) -> Result<(Planned, Vec<RunReport>)> {
        let mut acted = self.act(program, Delivery::Root, |_| Arc::new(Discard))?;
        let mut reports = acted.iter().map(|acted| acted.report.clone()).collect::<Vec<_>>();
        if let [rank] = self.inner.ranks.as_slice() {
            reports = rank.control.all_gather_values("run reports", &reports[0])?;
        }
        Ok((acted.swap_remove(0).planned, reports))
    }

    /// Runs an action on the ranks of this process; `sink` makes each rank's part of the sink.
    pub(crate) fn act(
        &self,
        program: &LogicalPlan,
        delivery: Delivery,
        sink: impl Fn(usize) -> Arc<dyn Sink> + Sync,
    ) -> Result<Vec<Acted>> {
        if self.inner.only_plans {
            return Err(Error::user(
                "this session plans for a machine that is not here: queries can be explained, not run",
            ));
        }
        let mut number = self.inner.actions.lock();
        *number += 1;
        let action = Action { number: *number, program, delivery, clock: self.clock()? };
        self.inner.bytes_total.store(super::read::bytes_of(program), Ordering::Relaxed);
        tracing::debug!(action = action.number, ?delivery, "action");
        let state = self.inner.context.state();
        if let [rank] = self.inner.ranks.as_slice() {
            let acted = vec![rank.act(state, &action, sink(rank.number))?];
            self.count(&acted);
            return Ok(acted);
        }
        let acted = std::thread::scope(|scope| {
            let (action, sink) = (&action, &sink);
            let running = self.inner.ranks.iter().map(|rank| {
                let state = state.clone();
                let name = format!("bireme-rank-{}", rank.number);
                let thread = std::thread::Builder::new().name(name);
                thread.spawn_scoped(scope, move || rank.act(state, action, sink(rank.number)))
            });
            let running = running.collect::<Vec<_>>();
            let ended = running.into_iter().map(|thread| match thread.map(|thread| thread.join()) {
                Ok(Ok(acted)) => acted,
                Ok(Err(_)) => Err(Error::internal("a rank panicked")),
                Err(error) => Err(Error::from(error).context("starting a rank's thread")),
            });
            // Collected first: all ranks end before the error of one is reported.
            ended.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>>>()
        })?;
        self.count(&acted);
        Ok(acted)
    }

    /// Counts bytes that went to other ranks.
    pub(crate) fn count_sent(&self, bytes: u64) {
        self.inner.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A number for a graph that stays, alike on all ranks.
    pub(crate) fn next_graph(&self) -> u64 {
        self.inner.graphs.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts bytes of arrays' elements that went to other ranks.
    pub(crate) fn count_elements(&self, bytes: u64) {
        self.inner.array_bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what the ranks of this process did.
    fn count(&self, acted: &[Acted]) {
        self.planned_in(acted.first().map_or(Duration::ZERO, |acted| acted.planning));
        let exchanges = acted.iter().flat_map(|acted| &acted.report.exchanges);
        let stages = acted.iter().flat_map(|acted| &acted.report.stages);
        let rounds = stages.filter_map(|stage| stage.extras.get("round_bytes")).sum::<u64>();
        let sent = exchanges.map(|exchange| exchange.remote_bytes).sum::<u64>() + rounds;
        self.inner.bytes_sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// The time of an action: rank 0's, on every rank.
    fn clock(&self) -> Result<i64> {
        self.decide_on_root("clock", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
        })
    }
}
