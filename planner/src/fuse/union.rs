//! `UnionExec`, `InterleaveExec`.
//!
//! ```text
//! UnionExec                                  pipeline 0: union
//!   DataSourceExec: a                 ──►      branch 0: scan a
//!   FilterExec                                 branch 1: scan b where …
//!     DataSourceExec: b
//! ```
//!
//! Branches are read one after the other into the same steps and the same sink: no branch is ever kept.

use arrow::datatypes::SchemaRef;
use bireme_engine::stage::Pin;
use bireme_operators::pipeline::ir::{Branch, Source};

use super::Fused;
use super::fragment::types_of;

impl Fused {
    /// The rows of all of these, which have the same types, in the same lanes.
    pub fn union(parts: Vec<Fused>, schema: SchemaRef, lanes: Vec<Pin>) -> Self {
        let mut union = Self::reading(Source::Union(Vec::new()), schema, lanes);
        let mut branches = Vec::new();
        let layouts = parts.iter().map(|part| part.layout.clone());
        union.layout = layouts.reduce(|all, one| all.or(&one)).unwrap_or_default();
        for mut part in parts {
            match part.reading_source() {
                Source::Union(inner) if part.steps.is_empty() => {
                    branches.extend(inner);
                    union.origins.branches_of(part.origins);
                }
                source => {
                    branches.push(Branch { source, steps: part.steps, types: part.types });
                    union.origins.branch(part.origins);
                }
            }
            union.pipelines.append(&mut part.pipelines);
            union.inputs.append(&mut part.inputs);
            union.loose.append(&mut part.loose);
            union.leaves.append(&mut part.leaves);
            union.expressions.append(&mut part.expressions);
        }
        union.types = types_of(&union.schema);
        union.source = Source::Union(branches);
        union
    }

    /// Whether ranks that have no part of its sources have none of its rows either.
    pub fn only_reads(&self) -> bool {
        self.pipelines.is_empty()
    }
}
