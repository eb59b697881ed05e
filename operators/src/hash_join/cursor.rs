//! Probing: from a chunk of the probe side to chunks of the result.
//!
//! ```text
//!   chunk ─keys─► words ─index─► candidates (row, start, len)
//!                                    │ a step: up to CHUNK_ROWS pairs (row, row), keys compared, residual tested
//!                                    ▼
//!                   pairs ──► output chunks        rows found ──► semi, anti, mark        marks on build rows
//! ```
//!
//! A cursor stops at any pair and goes on there, so a chunk with millions of matches takes no more memory than one with
//! few. Where only the existence of a partner matters, a row's candidates are tried few at first and then more, and none
//! once one has matched. The common case, exact keys that each have one row and no residual, is one pass; and if all
//! rows of the chunk match, its columns come out as they came in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, NullArray};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_engine::{Error, Result};

use super::gather::{NONE, boolean, gather};
use super::index::{Candidates, Index};
use super::keys::{Key, keep_equal};
use super::plan::Work;
use super::{JoinTable, Residual};
use crate::pipeline::ir::{JoinColumn, JoinKind};

/// Pairs of a row that are tried first where one is enough, and how many times more in each round after it.
const FIRST_ROUND: u32 = 2;
const MORE: u32 = 8;

/// The results of one chunk, in chunks.
pub struct ProbeCursor {
    table: Arc<JoinTable>,
    residual: Option<Arc<dyn Residual>>,
    chunk: Chunk,
    /// Keys of the chunk, where pairs must be compared.
    keys: Vec<Key>,
    candidates: Candidates,
    /// The candidate that is next.
    at: usize,
    /// Pairs of one candidate in a round.
    cap: u32,
    /// Pairs that come out; those before `sent` have.
    probe: Vec<u32>,
    build: Vec<u32>,
    sent: usize,
    /// `probe` is 0, 1, 2, … of all rows.
    whole: bool,
    /// Rows that have a partner, where that matters.
    found: Option<Vec<bool>>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Pairs are found.
    Matching,
    /// Rows without a partner, or those that are marked, come out, from this one on.
    Alone(usize),
    Done,
}

impl ProbeCursor {
    pub(super) fn new(table: Arc<JoinTable>, residual: Option<Arc<dyn Residual>>, chunk: Chunk) -> Result<Self> {
        let plan = &table.plan;
        if plan.has_residual() && residual.is_none() {
            return Err(Error::internal("a join with a residual is probed without it"));
        }
        let residual = residual.filter(|_| plan.has_residual());
        let kept = plan.probe.kept_of(&chunk)?;
        let keys = plan.probe.keys_of(&kept)?;
        let words = table.built.words(plan, &keys, chunk.rows);
        let candidates = table.built.index.lookup(&words, chunk.rows);
        let found = (plan.work() == Work::Found || plan.keeps_lone_probe_rows()).then(|| vec![false; chunk.rows]);
        let cap = if plan.work() == Work::Found { FIRST_ROUND } else { u32::MAX };
        let stage = Stage::Matching;
        let (probe, build) = (Vec::new(), Vec::new());
        let mut cursor = Self {
            table,
            residual,
            chunk,
            keys,
            candidates,
            at: 0,
            cap,
            probe,
            build,
            sent: 0,
            whole: false,
            found,
            stage,
        };
        if cursor.residual.is_none() {
            if cursor.table.built.exact() {
                cursor.match_exactly();
            } else if cursor.table.built.pure && cursor.table.plan.work() == Work::Marks {
                cursor.keep_true_groups();
                cursor.mark_groups();
            }
        }
        Ok(cursor)
    }

    /// The next rows, never none and at most [`CHUNK_ROWS`]; `None` at the end.
    ///
    /// # Errors
    /// The residual fails on a pair, or the query was cancelled.
    #[allow(clippy::should_implement_trait, reason = "it fails, as readers of morsels do")]
    pub fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            match self.stage {
                Stage::Matching => match self.next_pairs()? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => self.stage = if self.found.is_some() { Stage::Alone(0) } else { Stage::Done },
                },
                Stage::Alone(from) => match self.alone(from)? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => self.stage = Stage::Done,
                },
                Stage::Done => return Ok(None),
            }
        }
    }

    /// Wants to know which rows have a partner, even if that does not matter for what comes out.
    pub(super) fn track(&mut self) {
        if self.found.is_none() {
            let mut found = vec![false; self.chunk.rows];
            self.probe.iter().for_each(|&row| found[row as usize] = true);
            self.found = Some(found);
        }
    }

    /// Which rows have a partner, once all pairs have come out.
    pub(super) fn take_found(&mut self) -> Vec<bool> {
        self.found.take().unwrap_or_default()
    }

    /// The next pairs, and nothing else.
    pub(super) fn next_pairs(&mut self) -> Result<Option<Chunk>> {
        while self.probe.len() - self.sent < CHUNK_ROWS && self.at < self.candidates.probe.len() {
            self.step()?;
        }
        let (from, to) = (self.sent, self.probe.len().min(self.sent + CHUNK_ROWS));
        if from == to {
            return Ok(None);
        }
        self.sent = to;
        self.pairs(from, to).map(Some)
    }

    /// All candidates are partners: nothing needs to be tested.
    fn match_exactly(&mut self) {
        let plan = &self.table.plan;
        match plan.work() {
            Work::Found => {
                let found = self.found.get_or_insert_default();
                self.candidates.probe.iter().for_each(|&row| found[row as usize] = true);
                self.candidates = Candidates::default();
            }
            Work::Marks => self.mark_groups(),
            Work::Pairs if self.candidates.len.is_none() => {
                let Candidates { probe, start, .. } = std::mem::take(&mut self.candidates);
                if let Some(marks) = &self.table.built.marks {
                    start.iter().for_each(|&row| marks.set(row));
                }
                self.whole = probe.len() == self.chunk.rows;
                (self.probe, self.build) = (probe, start);
                if plan.keeps_lone_probe_rows() {
                    if !self.whole {
                        let mut build = vec![NONE; self.chunk.rows];
                        self.probe.iter().zip(&self.build).for_each(|(&row, &partner)| build[row as usize] = partner);
                        (self.probe, self.build) = ((0..self.chunk.rows as u32).collect(), build);
                    }
                    (self.whole, self.found) = (true, None);
                }
            }
            Work::Pairs => {}
        }
    }

    /// Keeps those candidates whose first row has the probe row's key; the others of the group have the same.
    fn keep_true_groups(&mut self) {
        let built = &self.table.built;
        let Some(keys) = &built.keys else { return };
        let Candidates { probe, start, len } = std::mem::take(&mut self.candidates);
        let row_of = |&start: &u32| if len.is_some() { built.index.row(start) } else { start };
        let (mut rows, mut firsts) = (probe.clone(), start.iter().map(row_of).collect());
        keep_equal(&self.keys, keys, &mut rows, &mut firsts);
        // Candidates are ascending, and so are those that are left.
        let mut left = rows.iter().peekable();
        let mut keep = Vec::with_capacity(rows.len());
        for (place, row) in probe.iter().enumerate() {
            if left.next_if_eq(&row).is_some() {
                keep.push(place);
            }
        }
        let pick = |values: &[u32]| keep.iter().map(|&place| values[place]).collect::<Vec<_>>();
        self.candidates = Candidates { probe: pick(&probe), start: pick(&start), len: len.as_deref().map(pick) };
    }

    /// Marks all rows of each candidate, unless its first one is: then another row with the same key has done, or does so
    /// before its probe ends. A heavy key that is probed often costs its rows once.
    fn mark_groups(&mut self) {
        let built = &self.table.built;
        let Some(marks) = &built.marks else { return };
        let Candidates { start, len, .. } = std::mem::take(&mut self.candidates);
        let Some(len) = len else { return start.iter().for_each(|&row| marks.set(row)) };
        for (&start, &len) in start.iter().zip(&len) {
            if !marks.get(built.index.row(start)) {
                (start..start + len).for_each(|place| marks.set(built.index.row(place)));
            }
        }
    }

    /// Finds up to [`CHUNK_ROWS`] pairs, tests them, and notes those that pass.
    fn step(&mut self) -> Result<()> {
        let table = Arc::clone(&self.table);
        table.resources.cancel.check()?;
        let work = table.plan.work();
        let (mut probe, mut build) = (Vec::with_capacity(CHUNK_ROWS), Vec::with_capacity(CHUNK_ROWS));
        self.draw(&mut probe, &mut build);
        let marks = table.built.marks.as_ref();
        if let Some(marks) = marks.filter(|_| work == Work::Marks) {
            // Nothing new can be learnt of these.
            retain(&mut probe, &mut build, |_, row| !marks.get(row));
        }
        if let Some(keys) = &table.built.keys {
            keep_equal(&self.keys, keys, &mut probe, &mut build);
        }
        if let Some(residual) = &self.residual
            && !probe.is_empty()
        {
            let passes = residual.test(&self.residual_chunk(&probe, &build)?)?;
            if passes.len() != probe.len() {
                return Err(Error::internal("a residual has another number of rows than its chunk"));
            }
            if passes.null_count() > 0 || passes.true_count() < passes.len() {
                let mut place = 0;
                retain(&mut probe, &mut build, |_, _| {
                    place += 1;
                    passes.is_valid(place - 1) && passes.value(place - 1)
                });
            }
        }
        if let Some(found) = &mut self.found {
            probe.iter().for_each(|&row| found[row as usize] = true);
        }
        if let Some(marks) = marks {
            build.iter().for_each(|&row| marks.set(row));
        }
        if work == Work::Found && self.at == self.candidates.probe.len() {
            self.next_round();
        }
        if work == Work::Pairs {
            if self.sent > 0 {
                self.probe.drain(..self.sent);
                self.build.drain(..self.sent);
                self.sent = 0;
            }
            if self.probe.is_empty() {
                (self.probe, self.build) = (probe, build);
            } else {
                self.probe.append(&mut probe);
                self.build.append(&mut build);
            }
        }
        Ok(())
    }

    /// The next pairs to be tested.
    fn draw(&mut self, probe: &mut Vec<u32>, build: &mut Vec<u32>) {
        let table = Arc::clone(&self.table);
        match &table.built.index {
            Index::Groups { rows, .. } => self.draw_by(probe, build, |place| rows[place as usize]),
            Index::Directory(directory) => self.draw_by(probe, build, |place| directory.row(place)),
            Index::All(_) | Index::Bits(_) | Index::Slots(_) => self.draw_by(probe, build, |place| place),
        }
    }

    #[inline(always)]
    fn draw_by(&mut self, probe: &mut Vec<u32>, build: &mut Vec<u32>, row_at: impl Fn(u32) -> u32) {
        let Candidates { probe: rows, start, len } = &mut self.candidates;
        let Some(len) = len else {
            let to = rows.len().min(self.at + CHUNK_ROWS);
            probe.extend_from_slice(&rows[self.at..to]);
            build.extend_from_slice(&start[self.at..to]);
            self.at = to;
            return;
        };
        let rounds = self.cap != u32::MAX;
        let mut room = CHUNK_ROWS as u32;
        while self.at < rows.len() && room > 0 {
            let (at, row, first) = (self.at, rows[self.at], start[self.at]);
            let take = len[at].min(self.cap).min(room);
            for place in first..first + take {
                probe.push(row);
                build.push(row_at(place));
            }
            room -= take;
            start[at] += take;
            len[at] -= take;
            self.at += usize::from(rounds || len[at] == 0);
        }
    }

    /// Where one partner is enough: goes back to the rows that have none yet and have pairs left.
    fn next_round(&mut self) {
        let Candidates { probe, start, len: Some(len) } = &mut self.candidates else { return };
        let found = self.found.as_deref().unwrap_or_default();
        let mut kept = 0;
        for place in 0..probe.len() {
            if len[place] > 0 && !found.get(probe[place] as usize).copied().unwrap_or(false) {
                (probe[kept], start[kept], len[kept]) = (probe[place], start[place], len[place]);
                kept += 1;
            }
        }
        probe.truncate(kept);
        start.truncate(kept);
        len.truncate(kept);
        self.at = 0;
        self.cap = self.cap.saturating_mul(MORE).min(CHUNK_ROWS as u32);
    }

    /// What the residual sees of pairs.
    fn residual_chunk(&self, probe: &[u32], build: &[u32]) -> Result<Chunk> {
        let (plan, rows) = (&self.table.plan, probe.len());
        let nothing: ArrayRef = Arc::new(NullArray::new(rows));
        let width = plan.probe.types.len();
        let mut columns = vec![nothing; width + plan.build.types.len()];
        for &place in &plan.residual_probe {
            columns[place] = gather(&self.chunk.columns[place], probe, false)?;
        }
        for &place in &plan.residual_build {
            columns[width + place] = gather(self.table.build_column(place)?, build, false)?;
        }
        Ok(Chunk::new(columns, rows))
    }

    /// The output of some pairs.
    fn pairs(&self, from: usize, to: usize) -> Result<Chunk> {
        let (probe, build) = (&self.probe[from..to], &self.build[from..to]);
        let outer = self.table.plan.keeps_lone_probe_rows();
        let column = |column: &JoinColumn| match *column {
            JoinColumn::Probe(place) if self.whole => Ok(part_of(&self.chunk.columns[place], from, to)),
            JoinColumn::Probe(place) => gather(&self.chunk.columns[place], probe, false),
            JoinColumn::Build(place) => gather(self.table.build_column(place)?, build, outer),
            JoinColumn::Mark => Err(Error::internal("pairs of a join have no mark")),
        };
        let columns = self.table.plan.spec.output.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Chunk::new(columns, to - from))
    }

    /// The next rows of the probe side that come out by themselves.
    fn alone(&mut self, from: usize) -> Result<Option<Chunk>> {
        let Some(found) = &self.found else { return Ok(None) };
        let (mut chunk, mut next) = (None, from);
        while chunk.is_none() && next < self.chunk.rows {
            (chunk, next) = lone_rows(&self.table, &self.chunk, found, next)?;
        }
        self.stage = Stage::Alone(next);
        Ok(chunk)
    }
}

/// Of rows of the probe side, of which some have `found` a partner, those that come out by themselves, from a row on; and
/// the row after the last one that was looked at.
pub(super) fn lone_rows(
    table: &JoinTable,
    chunk: &Chunk,
    found: &[bool],
    from: usize,
) -> Result<(Option<Chunk>, usize)> {
    let kind = table.plan.kind;
    let output = &table.plan.spec.output;
    if kind == JoinKind::ProbeMark {
        let to = chunk.rows.min(from + CHUNK_ROWS);
        let column = |column: &JoinColumn| match *column {
            JoinColumn::Probe(place) => Ok(part_of(&chunk.columns[place], from, to)),
            JoinColumn::Mark => {
                Ok(Arc::new(BooleanArray::new(boolean(to - from, |row| found[from + row]), None)) as ArrayRef)
            }
            JoinColumn::Build(_) => Err(Error::internal("a marked row has no partner's columns")),
        };
        let columns = output.iter().map(column).collect::<Result<Vec<_>>>()?;
        return Ok(((from < to).then(|| Chunk::new(columns, to - from)), to));
    }
    let wanted = kind == JoinKind::ProbeSemi;
    let to = chunk.rows.min(from + CHUNK_ROWS);
    let rows = places(&found[from..to], wanted, from as u32);
    if rows.is_empty() {
        return Ok((None, to));
    }
    let whole = rows.len() == chunk.rows;
    let nobody =
        vec![NONE; if output.iter().any(|column| matches!(column, JoinColumn::Build(_))) { rows.len() } else { 0 }];
    let column = |column: &JoinColumn| match *column {
        JoinColumn::Probe(place) if whole => Ok(Arc::clone(&chunk.columns[place])),
        JoinColumn::Probe(place) => gather(&chunk.columns[place], &rows, false),
        JoinColumn::Build(place) => gather(table.build_column(place)?, &nobody, true),
        JoinColumn::Mark => Err(Error::internal("this kind of join has no mark")),
    };
    let columns = output.iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok((Some(Chunk::new(columns, rows.len())), to))
}

/// Where flags are as wanted. No branch that the data decides: every place is written, and the next one over it if it is not
/// one of them.
fn places(flags: &[bool], wanted: bool, first: u32) -> Vec<u32> {
    let (mut places, mut count) = (vec![0; flags.len()], 0);
    for (place, &flag) in (first..).zip(flags) {
        places[count] = place;
        count += usize::from(flag == wanted);
    }
    places.truncate(count);
    places
}

/// Some rows of a column, which is most often all of them.
fn part_of(column: &ArrayRef, from: usize, to: usize) -> ArrayRef {
    if to - from == column.len() { Arc::clone(column) } else { column.slice(from, to - from) }
}

fn retain(probe: &mut Vec<u32>, build: &mut Vec<u32>, mut keep: impl FnMut(u32, u32) -> bool) {
    let mut kept = 0;
    for place in 0..probe.len() {
        let (left, right) = (probe[place], build[place]);
        (probe[kept], build[kept]) = (left, right);
        kept += usize::from(keep(left, right));
    }
    probe.truncate(kept);
    build.truncate(kept);
}
