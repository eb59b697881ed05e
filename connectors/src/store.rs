//! Counts the bytes that scans really read, per file.
//!
//! Every rank registers a [`CountingStore`] for `file://` and for each cloud store it reads. What counts is what the
//! store was asked for: a decoder that asks for a whole file and then stops early is counted whole.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bireme_engine::{Error, Result};
use bytes::Bytes;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use parking_lot::RwLock;
use url::Url;

/// Registers a counting store for `file://` and for the store of each URL; the counters are those of this runtime.
///
/// # Errors
/// A URL's store cannot be opened, or this build has no cloud stores.
pub fn register_stores(runtime: &RuntimeEnv, urls: &[Url]) -> Result<Arc<ReadCounters>> {
    let counters = Arc::new(ReadCounters::default());
    register_store(runtime, &local_url()?, &counters)?;
    for url in urls {
        register_store(runtime, url, &counters)?;
    }
    Ok(counters)
}

/// Registers a counting store for one more URL, unless this runtime has it already.
///
/// # Errors
/// The URL's store cannot be opened, or this build has no cloud stores.
pub fn register_store(runtime: &RuntimeEnv, url: &Url, counters: &Arc<ReadCounters>) -> Result<()> {
    let mut base = url.clone();
    base.set_path("");
    base.set_query(None);
    base.set_fragment(None);
    if !counters.registered.write().insert(base.to_string()) {
        return Ok(());
    }
    let inner: Arc<dyn ObjectStore> = match base.scheme() {
        "file" | "local" => Arc::new(LocalFileSystem::new()),
        _ => open_cloud(&base)?,
    };
    let prefix =
        if base.scheme() == "file" { "/".to_string() } else { format!("{}/", base.as_str().trim_end_matches('/')) };
    runtime.register_object_store(&base, Arc::new(CountingStore { inner, prefix, counters: Arc::clone(counters) }));
    Ok(())
}

fn local_url() -> Result<Url> {
    Url::parse("file:///").map_err(|cause| Error::internal(cause.to_string()))
}

/// Opens a store with the credentials of the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
#[cfg(feature = "cloud")]
fn open_cloud(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    let ours = ["aws_", "google_", "azure_"];
    let options = std::env::vars()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| ours.iter().any(|prefix| key.starts_with(prefix)));
    match object_store::parse_url_opts(url, options) {
        Ok((store, _)) => Ok(Arc::from(store)),
        Err(cause) => Err(Error::user(format!("opening the store {url}: {cause}"))),
    }
}

#[cfg(not(feature = "cloud"))]
fn open_cloud(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    Err(Error::unsupported(format!(
        "{url}: this build reads no {}:// URLs; build bireme with the feature `cloud`",
        url.scheme()
    )))
}

/// How many bytes were read, in all and per file.
#[derive(Debug, Default)]
pub struct ReadCounters {
    files: RwLock<BTreeMap<String, Arc<AtomicU64>>>,
    registered: RwLock<std::collections::BTreeSet<String>>,
}

impl ReadCounters {
    /// Bytes read from all files.
    pub fn total(&self) -> u64 {
        self.files.read().values().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes read from each file, by path (`/data/a.csv`, `s3://bucket/a.csv`).
    pub fn per_file(&self) -> BTreeMap<String, u64> {
        self.files.read().iter().map(|(path, bytes)| (path.clone(), bytes.load(Ordering::Relaxed))).collect()
    }

    /// Starts again from zero, for a new action.
    pub fn reset(&self) {
        self.files.write().clear();
    }

    /// The counter of a file, by path.
    pub fn file(&self, path: String) -> Arc<AtomicU64> {
        if let Some(known) = self.files.read().get(&path) {
            return Arc::clone(known);
        }
        Arc::clone(self.files.write().entry(path).or_default())
    }
}

/// An object store that counts what is read from the store inside it.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
    counters: Arc<ReadCounters>,
}

impl CountingStore {
    /// Counts what is read from `inner`; paths are shown with `prefix` in front.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: impl Into<String>, counters: Arc<ReadCounters>) -> Self {
        Self { inner, prefix: prefix.into(), counters }
    }

    fn counter(&self, location: &Path) -> Arc<AtomicU64> {
        self.counters.file(format!("{}{location}", self.prefix))
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counting({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let head = options.head;
        let mut result = self.inner.get_opts(location, options).await?;
        if head {
            return Ok(result);
        }
        let file = self.counter(location);
        result.payload = match result.payload {
            GetResultPayload::Stream(stream) => {
                let counted = stream.inspect(move |chunk| {
                    if let Ok(chunk) = chunk {
                        file.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    }
                });
                GetResultPayload::Stream(counted.boxed())
            }
            // Decoders read local files through their handle, out of our sight.
            whole @ GetResultPayload::File(..) => {
                file.fetch_add(result.range.end - result.range.start, Ordering::Relaxed);
                whole
            }
        };
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let parts = self.inner.get_ranges(location, ranges).await?;
        self.counter(location).fetch_add(parts.iter().map(|part| part.len() as u64).sum(), Ordering::Relaxed);
        Ok(parts)
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn counts_what_is_read() {
        futures::executor::block_on(async {
            let counters = Arc::new(ReadCounters::default());
            let store = CountingStore::new(Arc::new(InMemory::new()), "mem/", Arc::clone(&counters));
            let path = Path::from("a");
            store.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
            store.head(&path).await.unwrap();
            assert_eq!(counters.total(), 0);
            store.get(&path).await.unwrap().bytes().await.unwrap();
            store.get_range(&path, 2..5).await.unwrap();
            store.get_ranges(&path, &[0..1, 8..10]).await.unwrap();
            assert_eq!(counters.per_file(), BTreeMap::from([("mem/a".to_string(), 16)]));
        });
    }

    #[test]
    fn one_registration_a_store() {
        let runtime = RuntimeEnv::default();
        let counters = register_stores(&runtime, &[Url::parse("file:///x/y").unwrap()]).unwrap();
        assert_eq!(counters.registered.read().len(), 1);
        let refused = register_store(&runtime, &Url::parse("s3://bucket/a").unwrap(), &counters);
        assert_eq!(refused.is_ok(), cfg!(feature = "cloud"));
    }
}
