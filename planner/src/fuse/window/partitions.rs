//! Which rows of a sorted slot must stay together for the windows that read it.

use bireme_operators::pipeline::ir::{Expr, ExprKind, Pipeline, Sink, Source, Step};

/// What a pipeline with windows reads if nobody counts on the order of its rows: whole partitions of all windows, in any
/// order, if the rows of the slot are sorted by them first.
pub fn by_partitions(source: &Source, steps: &[Step], before: &[Pipeline]) -> Option<Source> {
    let Source::Slot(slot) = source else { return None };
    let (sort, types) = before.iter().find_map(|pipeline| match &pipeline.sink {
        Sink::Sort(filled, spec) if filled == slot => Some((spec, &pipeline.types)),
        _ => None,
    })?;
    let partition = common_partition(steps, types.len())?;
    let keys = sort.keys.iter().take(partition.len()).map(|key| key.column).collect::<Vec<_>>();
    let sorted_first = !keys.is_empty() && partition.iter().all(|column| keys.contains(column));
    sorted_first.then(|| Source::Partitions(*slot, keys.into_iter().map(|key| (key, types[key].clone())).collect()))
}

/// The columns of the source by which all windows partition; `None` if there is no window, or rows are counted.
fn common_partition(steps: &[Step], columns: usize) -> Option<Vec<usize>> {
    let mut origin = (0..columns).map(Some).collect::<Vec<_>>();
    let mut common: Option<Vec<usize>> = None;
    for step in steps {
        match step {
            Step::Filter(_) => {}
            Step::Limit { .. } => return None,
            // No window comes behind a join.
            Step::Probe(..) => break,
            Step::Project(exprs) => {
                let through = |expr: &Expr| match expr.kind {
                    ExprKind::Column(column) => origin[column],
                    _ => None,
                };
                origin = exprs.iter().map(through).collect();
            }
            Step::Window(spec, _) => {
                let mut partition = spec.partition.iter().filter_map(|&column| origin[column]).collect::<Vec<_>>();
                partition.sort_unstable();
                partition.dedup();
                if let Some(common) = &common {
                    partition.retain(|column| common.contains(column));
                }
                common = Some(partition);
                origin.extend(spec.calls.iter().map(|_| None));
            }
        }
    }
    common
}
