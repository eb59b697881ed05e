//! What islands of one rank run on: a tokio runtime with the rank's threads, and DataFusion's runtime environment.

use std::path::Path;
use std::sync::Arc;

use bireme_engine::budget::Budget;
use bireme_engine::error::{Error, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::runtime::{Builder, Handle, Runtime};

use super::memory_pool::BudgetPool;
use crate::errors::from_datafusion;

/// Threads, memory, spill space and object stores for the islands of one rank.
#[derive(Debug)]
pub struct IslandRuntime {
    // In an Option so that dropping can hand the runtime to `shutdown_background`: a tokio runtime must not be dropped
    // inside of another one, and a user may hold a session there.
    tokio: Option<Runtime>,
    environment: Arc<RuntimeEnv>,
    threads: usize,
}

impl IslandRuntime {
    /// Starts `threads` workers for `rank`, spilling to `temp_dir`.
    ///
    /// # Errors
    /// Threads cannot be started, or the directory cannot be used.
    pub fn start(rank: usize, threads: usize, budget: Budget, temp_dir: &Path) -> Result<Self> {
        let tokio = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(format!("bireme-{rank}"))
            .enable_all()
            .build()
            .map_err(|error| Error::from(error).context(format!("starting {threads} worker threads")))?;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![temp_dir.to_path_buf()]));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(BudgetPool::new(budget)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(from_datafusion)?;
        Ok(Self { tokio: Some(tokio), environment, threads })
    }

    /// DataFusion's environment: the pool, the disk manager, the object stores.
    pub fn environment(&self) -> &Arc<RuntimeEnv> {
        &self.environment
    }

    /// How many workers there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs a future to its end on the calling thread, with the runtime at hand. Not from within the runtime.
    ///
    /// # Errors
    /// Those of the future.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.tokio {
            // Not tokio's own `block_on`, which panics on a thread of another runtime, where a user may be.
            Some(tokio) => {
                let _inside = tokio.enter();
                bireme_engine::block_on::block_on(future)
            }
            None => Err(Error::internal("the island runtime has been shut down")),
        }
    }

    pub(super) fn handle(&self) -> Result<Handle> {
        match &self.tokio {
            Some(tokio) => Ok(tokio.handle().clone()),
            None => Err(Error::internal("the island runtime has been shut down")),
        }
    }
}

impl Drop for IslandRuntime {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
    }
}
