//! DataFusion as it comes, on so many threads.

use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::SessionConfig;
use futures::StreamExt as _;
use tokio::runtime::{Builder, Runtime};

/// A session with its default settings, but for the number of its partitions, and the threads that run it.
pub struct Peer {
    runtime: Runtime,
    context: SessionContext,
}

impl Peer {
    /// On so many threads, with as many partitions.
    pub fn new(threads: usize) -> Self {
        let runtime = match threads {
            1 => Builder::new_current_thread().enable_all().build(),
            _ => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        };
        let config = SessionConfig::new().with_target_partitions(threads);
        Self { runtime: runtime.unwrap(), context: SessionContext::new_with_config(config) }
    }

    /// Where tables are registered.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Waits for what it promises.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The plan of a query, to be run once.
    pub fn plan(&self, query: &str) -> Arc<dyn ExecutionPlan> {
        self.block_on(async { self.context.sql(query).await.unwrap().create_physical_plan().await.unwrap() })
    }

    /// Runs a plan; how many rows come out. They are dropped as they come.
    pub fn run(&self, plan: Arc<dyn ExecutionPlan>) -> usize {
        let count = |mut stream: datafusion::execution::SendableRecordBatchStream| async move {
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch.unwrap().num_rows();
            }
            rows
        };
        self.block_on(async {
            // Some operators start tasks already here.
            let streams = execute_stream_partitioned(plan, self.context.task_ctx()).unwrap();
            let tasks = streams.into_iter().map(|stream| tokio::spawn(count(stream))).collect::<Vec<_>>();
            let mut rows = 0;
            for task in tasks {
                rows += task.await.unwrap();
            }
            rows
        })
    }
}
