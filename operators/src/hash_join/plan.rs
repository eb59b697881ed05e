//! What a join's spec means for its parts: which columns are kept where, and which work a kind asks for.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::morsel::{Chunk, carried_type};
use bireme_engine::{Error, Result};

use super::keys::{Key, key_column};
use super::store::plain;
use crate::pipeline::ir::{JoinColumn, JoinKind, JoinSpec};

/// What tests change to force the rare paths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Bits of key hashes that are used: 0 makes all hashes of several keys collide.
    pub hash_mask: u64,
    /// Whether arrays over the range of the keys may be used.
    pub dense: bool,
    /// Bits of a directory place, at most: 0 puts all keys into one slot.
    pub directory_bits: u32,
    /// Partitions on disk, as a power of two.
    pub fan_bits: u32,
    /// How often a partition is cut again.
    pub max_depth: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { hash_mask: u64::MAX, dense: true, directory_bits: 31, fan_bits: 5, max_depth: 4 }
    }
}

/// Which work the pairs of a join are found for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// They come out.
    Pairs,
    /// To know which rows of the probe side have one.
    Found,
    /// To know which rows of the build side have one.
    Marks,
}

/// One side's columns that are looked at again after they came in.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Logical types of all columns of its chunks.
    pub types: Vec<DataType>,
    /// Places of those that are kept, ascending.
    pub kept: Vec<usize>,
    /// Places of the keys.
    pub keys: Vec<usize>,
    /// The kept columns on disk.
    pub schema: SchemaRef,
}

/// A join's spec, checked and resolved.
#[derive(Debug)]
pub(super) struct Plan {
    pub spec: JoinSpec,
    /// The kind, but [`JoinKind::ProbeAnti`] for the null-aware one: the NULLs are settled before a row probes.
    pub kind: JoinKind,
    pub null_aware: bool,
    pub build: Side,
    pub probe: Side,
    /// Columns that the residual reads, as places in their side.
    pub residual_probe: Vec<usize>,
    pub residual_build: Vec<usize>,
    pub tuning: Tuning,
    /// How often the rows were partitioned before.
    pub depth: u32,
    /// Whether a device will ask for the keys of the build side as columns.
    pub keeps_keys: bool,
}

impl Side {
    fn new(types: Vec<DataType>, keys: &[usize], others: impl Iterator<Item = usize>) -> Result<Self> {
        let mut kept = keys.iter().copied().chain(others).collect::<Vec<_>>();
        kept.sort_unstable();
        kept.dedup();
        if let Some(&place) = kept.last().filter(|&&place| place >= types.len()) {
            return Err(Error::internal(format!("a join reads column {place} of {}", types.len())));
        }
        let fields = kept.iter().map(|&place| Field::new(format!("c{place}"), carried_type(&types[place]), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { types, kept, keys: keys.to_vec(), schema })
    }

    /// The kept columns of a chunk.
    pub fn kept_of(&self, chunk: &Chunk) -> Result<Vec<ArrayRef>> {
        let column = |&place: &usize| {
            let column = chunk.columns.get(place).filter(|column| column.len() == chunk.rows);
            column.cloned().ok_or_else(|| Error::internal(format!("a join's chunk lacks column {place}")))
        };
        self.kept.iter().map(column).collect()
    }

    /// The kept columns of a chunk in the form that goes to disk.
    pub fn plain_of(&self, chunk: &Chunk) -> Result<Vec<ArrayRef>> {
        let columns = self.kept_of(chunk)?;
        self.kept.iter().zip(&columns).map(|(&place, column)| plain(column, &self.types[place])).collect()
    }

    /// A chunk with the kept columns in their places, and nothing in the others.
    pub fn chunk_of(&self, columns: &[ArrayRef], rows: usize) -> Chunk {
        let nothing: ArrayRef = Arc::new(NullArray::new(rows));
        let mut all = vec![nothing; self.types.len()];
        for (&place, column) in self.kept.iter().zip(columns) {
            all[place] = Arc::clone(column);
        }
        Chunk::new(all, rows)
    }

    /// Where a column is among the kept ones.
    pub fn position(&self, place: usize) -> Option<usize> {
        self.kept.binary_search(&place).ok()
    }

    /// The keys, from the kept columns.
    pub fn keys_of(&self, kept: &[ArrayRef]) -> Result<Vec<Key>> {
        let key = |&place: &usize| {
            let column = self.position(place).and_then(|position| kept.get(position));
            let column = column.ok_or_else(|| Error::internal(format!("a join has lost its key column {place}")))?;
            key_column(column, &self.types[place])
        };
        self.keys.iter().map(key).collect()
    }
}

impl Plan {
    pub fn new(spec: JoinSpec, build: Vec<DataType>, probe: Vec<DataType>, tuning: Tuning) -> Result<Self> {
        if spec.build_keys.len() != spec.probe_keys.len() {
            return Err(Error::internal(format!("a join with keys that do not pair: {spec}")));
        }
        if spec.kind == JoinKind::ProbeAntiNullAware && spec.build_keys.len() != 1 {
            return Err(Error::internal(format!("NOT IN has one key: {spec}")));
        }
        let width = probe.len();
        let residual = spec.residual.as_ref().map(|residual| residual.columns()).unwrap_or_default();
        let (residual_probe, residual_build): (Vec<_>, Vec<_>) = residual.into_iter().partition(|&place| place < width);
        let residual_build = residual_build.into_iter().map(|place| place - width).collect::<Vec<_>>();
        let mut outputs = (Vec::new(), Vec::new());
        for column in &spec.output {
            match column {
                JoinColumn::Probe(place) => outputs.0.push(*place),
                JoinColumn::Build(place) => outputs.1.push(*place),
                JoinColumn::Mark => {}
            }
        }
        check_output(&spec, &outputs)?;
        let probe = Side::new(probe, &spec.probe_keys, outputs.0.iter().chain(&residual_probe).copied())?;
        let build = Side::new(build, &spec.build_keys, outputs.1.iter().chain(&residual_build).copied())?;
        for (&ours, &theirs) in build.keys.iter().zip(&probe.keys) {
            let (ours, theirs) = (&build.types[ours], &probe.types[theirs]);
            if carried_type(ours) != carried_type(theirs) {
                return Err(Error::internal(format!("join keys of types {theirs} and {ours}: {spec}")));
            }
        }
        let null_aware = spec.kind == JoinKind::ProbeAntiNullAware;
        let kind = if null_aware { JoinKind::ProbeAnti } else { spec.kind };
        Ok(Self {
            spec,
            kind,
            null_aware,
            build,
            probe,
            residual_probe,
            residual_build,
            tuning,
            depth: 0,
            keeps_keys: false,
        })
    }

    /// The same join of one partition.
    pub fn of_partition(&self) -> Self {
        self.with_kind(self.kind, self.depth + 1)
    }

    /// The same join, whose table keeps its keys as columns.
    pub fn keeping_keys(&self) -> Self {
        let same = self.with_kind(self.kind, self.depth);
        Self { null_aware: self.null_aware, spec: self.spec.clone(), keeps_keys: true, ..same }
    }

    /// The same join, but of another kind.
    pub fn with_kind(&self, kind: JoinKind, depth: u32) -> Self {
        Self {
            spec: JoinSpec { kind, ..self.spec.clone() },
            kind,
            null_aware: false,
            build: self.build.clone(),
            probe: self.probe.clone(),
            residual_probe: self.residual_probe.clone(),
            residual_build: self.residual_build.clone(),
            tuning: self.tuning,
            depth,
            keeps_keys: self.keeps_keys,
        }
    }

    pub fn work(&self) -> Work {
        use JoinKind::{BuildAnti, BuildMark, BuildSemi, ProbeAnti, ProbeAntiNullAware, ProbeMark, ProbeSemi};
        match self.kind {
            ProbeSemi | ProbeAnti | ProbeAntiNullAware | ProbeMark => Work::Found,
            BuildSemi | BuildAnti | BuildMark => Work::Marks,
            _ => Work::Pairs,
        }
    }

    /// Whether rows of the probe side come out without a partner, besides pairs.
    pub fn keeps_lone_probe_rows(&self) -> bool {
        matches!(self.kind, JoinKind::ProbeOuter | JoinKind::FullOuter)
    }

    pub fn has_residual(&self) -> bool {
        self.spec.residual.is_some()
    }

    pub fn output_types(&self) -> Vec<DataType> {
        let logical = |column: &JoinColumn| match column {
            JoinColumn::Probe(place) => self.probe.types[*place].clone(),
            JoinColumn::Build(place) => self.build.types[*place].clone(),
            JoinColumn::Mark => DataType::Boolean,
        };
        self.spec.output.iter().map(logical).collect()
    }
}

fn check_output(spec: &JoinSpec, (probe, build): &(Vec<usize>, Vec<usize>)) -> Result<()> {
    use JoinKind::{BuildAnti, BuildMark, BuildSemi, ProbeAnti, ProbeAntiNullAware, ProbeMark, ProbeSemi};
    let marked = spec.output.contains(&JoinColumn::Mark);
    let fits = match spec.kind {
        ProbeSemi | ProbeAnti | ProbeAntiNullAware => build.is_empty() && !marked,
        ProbeMark => build.is_empty(),
        BuildSemi | BuildAnti => probe.is_empty() && !marked,
        BuildMark => probe.is_empty(),
        _ => !marked,
    };
    if fits { Ok(()) } else { Err(Error::internal(format!("a join's kind has no such output: {spec}"))) }
}
