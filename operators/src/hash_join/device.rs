//! What a device wants to know of a join's table.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::table::JoinTable;
use super::{JoinBuilder, Shared};
use crate::pipeline::ir::JoinSpec;

impl JoinBuilder {
    /// Tables keep their keys as columns, for a device that makes an index of its own.
    #[must_use]
    pub(crate) fn keeping_keys(self) -> Self {
        let Shared { plan, resources, forced, .. } = &*self.shared;
        let plan = plan.keeping_keys();
        Self::of(Arc::new(plan), resources.clone(), *forced)
    }
}

impl JoinTable {
    /// The columns of the build side by their places, as far as something needs them; `None` if some rows are on disk.
    pub(crate) fn rows_kept(&self) -> Option<Vec<(usize, ArrayRef)>> {
        if self.spilled.is_some() {
            return None;
        }
        let kept = self.plan.build.kept.iter();
        Some(kept.filter_map(|&place| Some((place, Arc::clone(self.build_column(place).ok()?)))).collect())
    }

    /// The join.
    pub(crate) fn spec(&self) -> &JoinSpec {
        &self.plan.spec
    }

    /// Places and logical types of the keys on the build side.
    pub(crate) fn build_keys(&self) -> Vec<(usize, DataType)> {
        self.plan.build.keys.iter().map(|&place| (place, self.plan.build.types[place].clone())).collect()
    }

    /// What `NOT IN` must know: no row has a key (0), one of them has a NULL (1), or neither (2).
    pub(crate) fn nulls_on_build_side(&self) -> u64 {
        match self.seen {
            seen if seen.rows == 0 => 0,
            seen if seen.null_key => 1,
            _ => 2,
        }
    }

    /// Marks rows of the build side that have a partner: a bit each.
    pub(crate) fn mark(&self, bits: &[u32]) {
        let Some(marks) = &self.built.marks else { return };
        for (word, &bits) in bits.iter().enumerate() {
            (0..32).filter(|bit| bits >> bit & 1 != 0).for_each(|bit| marks.set(32 * word as u32 + bit));
        }
    }
}
