//! The scan of a file table on one rank: only its lanes, and only if the files are still those of the snapshot.

use std::sync::Arc;

use bireme_engine::{Error, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::from_datafusion;
use crate::snapshot::{FileTag, nanoseconds};

/// How many files are looked at at the same time.
const AT_ONCE: usize = 32;

/// The files that a node of a plan scans, if it scans files.
pub fn scan_of(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// The scan of `plan` with only the given lanes of it, in that order, for one rank to run. `None` if it scans no files.
pub fn slice_scan(plan: &dyn ExecutionPlan, lanes: &[usize]) -> Option<Arc<dyn ExecutionPlan>> {
    let config = scan_of(plan)?;
    let groups = lanes.iter().filter_map(|&lane| config.file_groups.get(lane).cloned()).collect();
    let sliced = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build();
    Some(DataSourceExec::from_data_source(sliced))
}

/// Checks, when an action starts, that this rank sees the files of its lanes as the snapshot's rank saw them.
///
/// # Errors
/// A file is missing here, or has another size or (on a file system) another date.
pub async fn verify_files(runtime: &RuntimeEnv, config: &FileScanConfig, lanes: &[usize], rank: usize) -> Result<()> {
    let url = &config.object_store_url;
    let store = runtime.object_store(url).map_err(|error| from_datafusion(&error).context(format!("opening {url}")))?;
    let dated = url.as_str().starts_with("file:");
    let groups = lanes.iter().filter_map(|&lane| config.file_groups.get(lane));
    let mut files: Vec<&PartitionedFile> = groups.flat_map(|group| group.files()).collect();
    // A file that is cut stands in several lanes.
    files.dedup_by(|a, b| a.path() == b.path());
    let checks: Vec<_> = files.into_iter().map(|file| verify(&store, file, dated, rank)).collect();
    futures::stream::iter(checks).buffered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn verify(store: &Arc<dyn ObjectStore>, file: &PartitionedFile, dated: bool, rank: usize) -> Result<()> {
    let tag = file.extension::<FileTag>();
    let shown = tag.map_or_else(|| file.path().to_string(), |tag| tag.shown.to_string());
    let advice = "all ranks must see the same files; use local:// for files that lie on each host's own disk";
    let here = match store.head(file.path()).await {
        Ok(meta) => meta,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(Error::user(format!("rank {rank} does not see {shown}, which rank 0 saw: {advice}")));
        }
        Err(cause) => return Err(from_datafusion(&cause.into()).context(format!("rank {rank} looking at {shown}"))),
    };
    let planned = &file.object_meta;
    if here.size != planned.size {
        return Err(Error::user(format!(
            "rank {rank} sees {shown} with {} bytes, rank 0 saw {}: {advice}",
            here.size, planned.size
        )));
    }
    if dated && nanoseconds(here.last_modified.into()) != nanoseconds(planned.last_modified.into()) {
        return Err(Error::user(format!(
            "{shown} as rank {rank} sees it was changed after rank 0 looked at it: register the table again; {advice}"
        )));
    }
    Ok(())
}
