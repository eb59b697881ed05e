//! Where the files of a table are: from the text a user types to a sorted list of files.
//!
//! ```text
//! lineitem.parquet          one file                     file:///data/a.csv     the same, as a URL
//! data/*.csv                a glob (* ? [a-z] **)        local:///scratch/*.pq  files on each host's own disk
//! data/                     a directory, recursively     s3://bucket/data/      a cloud store (feature `cloud`)
//! ```
//!
//! Files and directories whose names start with `.` or `_` belong to other programs and are skipped, unless a glob
//! names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bireme_engine::{Error, Result};
use datafusion::common::utils::datafusion_strsim::levenshtein;
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path as StorePath};
use url::Url;

use crate::error;
use crate::glob::{self, is_glob};

/// Directories below directories are followed this deep; deeper is a loop of links.
const MAX_DEPTH: usize = 64;

/// Where the files of a table are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// As the user wrote it.
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A path of the file system, absolute; with `own_disk`, of each host's own.
    Local { path: PathBuf, own_disk: bool },
    /// A key (or a pattern of keys) in a cloud store.
    Cloud { store: Url, key: String },
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Its key in the object store.
    pub(crate) key: StorePath,
    /// Its name in messages.
    pub(crate) shown: String,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    /// The directories between the location's fixed part and the file: `["year=2024", "month=3"]`.
    pub(crate) below: Vec<String>,
}

impl Location {
    /// Understands a user's path text. Touches no file.
    ///
    /// # Errors
    /// An unknown scheme, a malformed URL, or a cloud URL in a build without the feature `cloud`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::user("an empty path names no file"));
        }
        let kind = match text.split_once("://") {
            None => Kind::Local { path: absolute(text)?, own_disk: false },
            Some(("file", rest)) => Kind::Local { path: url_path(text, rest)?, own_disk: false },
            Some(("local", rest)) => Kind::Local { path: url_path(text, rest)?, own_disk: true },
            Some((scheme, _)) => cloud(text, scheme)?,
        };
        Ok(Self { text: text.to_string(), kind })
    }

    /// Whether its files lie on each host's own disk.
    pub fn own_disk(&self) -> bool {
        matches!(self.kind, Kind::Local { own_disk: true, .. })
    }

    /// The object store that holds it, such as `file:///` or `s3://bucket`.
    pub fn store_url(&self) -> String {
        match &self.kind {
            Kind::Local { .. } => "file:///".to_string(),
            Kind::Cloud { store, .. } => store.to_string(),
        }
    }

    /// Whether it is a path of a file system, and which.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Local { path, .. } => Some(path),
            Kind::Cloud { .. } => None,
        }
    }

    /// The files on the file system, sorted by path, with their sizes in bytes.
    ///
    /// # Errors
    /// There are none, they cannot be looked at, or the location is in an object store.
    pub fn local_files(&self) -> Result<Vec<(PathBuf, u64)>> {
        match &self.kind {
            Kind::Local { path, own_disk: false } => {
                let found = list_local(path, &self.text, &|_| true)?;
                Ok(found.into_iter().map(|file| (PathBuf::from(file.shown), file.size)).collect())
            }
            Kind::Local { .. } | Kind::Cloud { .. } => Err(Error::unsupported(format!(
                "{}: text is read from file systems that all ranks see, not from object stores or each host's own disk",
                self.text
            ))),
        }
    }

    /// The files, sorted by key. `claims` tells a directory's files of the wanted format by their names; a directory
    /// without any of them is taken whole.
    pub(crate) async fn list(
        &self,
        store: &Arc<dyn ObjectStore>,
        claims: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<FoundFile>> {
        let files = match &self.kind {
            Kind::Local { path, .. } => list_local(path, &self.text, claims)?,
            Kind::Cloud { store: url, key } => list_cloud(store, url, key, &self.text, claims).await?,
        };
        if files.is_empty() {
            return Err(Error::user(format!("{}: there is no file in it", self.text)));
        }
        Ok(files)
    }
}

fn absolute(text: &str) -> Result<PathBuf> {
    std::path::absolute(text).map_err(|cause| error::io(&cause, format!("resolving the path {text}")))
}

/// The path of `file:///a%20b` or `local:///a`; a pattern may stand in it, which a URL parser would take apart.
fn url_path(text: &str, rest: &str) -> Result<PathBuf> {
    if !rest.starts_with('/') {
        return Err(Error::user(format!(
            "{text}: write three slashes before an absolute path, as in file:///data/a.csv"
        )));
    }
    match decode_percent(rest) {
        Some(path) => absolute(&path),
        None => Err(Error::user(format!("{text}: not a valid URL: a % is not followed by two hexadecimal digits"))),
    }
}

pub(crate) fn decode_percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn cloud(text: &str, scheme: &str) -> Result<Kind> {
    let known = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https"];
    if !known.contains(&scheme) {
        return Err(Error::user(format!(
            "{text}: unknown scheme {scheme}://; known are plain paths, file://, local://, s3://, gs://, az:// and \
             https://"
        )));
    }
    if cfg!(not(feature = "cloud")) {
        return Err(Error::unsupported(format!(
            "{text}: this build reads no {scheme}:// URLs; build bireme with the feature `cloud`"
        )));
    }
    // A `?` or `#` would end the path in the parser's eyes, but in a key it is a pattern or a plain character.
    let escaped =
        if scheme.starts_with("http") { text.to_string() } else { text.replace('?', "%3F").replace('#', "%23") };
    let url = Url::parse(&escaped).map_err(|cause| Error::user(format!("{text}: not a valid URL: {cause}")))?;
    let key = decode_percent(url.path().trim_start_matches('/'))
        .ok_or_else(|| Error::user(format!("{text}: its path is not UTF-8")))?;
    let mut store = url.clone();
    store.set_path("");
    store.set_query(None);
    store.set_fragment(None);
    Ok(Kind::Cloud { store, key })
}

// ---- the file system ----

fn list_local(path: &Path, text: &str, claims: &dyn Fn(&str) -> bool) -> Result<Vec<FoundFile>> {
    let mut found = BTreeMap::new();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let mut walk = Walk { base: path, found: BTreeMap::new() };
            walk.directory(path, 0)?;
            let any = walk.found.values().any(|file| claims(&file.shown));
            found.extend(walk.found.into_iter().filter(|(_, file)| !any || claims(&file.shown)));
        }
        Ok(_) => {
            let base = path.parent().unwrap_or(path);
            Walk { base, found: BTreeMap::new() }.file(path, &mut found)?;
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let pattern = path.to_string_lossy().into_owned();
            if !is_glob(&pattern) {
                return Err(missing(path, text));
            }
            found = expand(&pattern)?;
            if found.is_empty() {
                return Err(Error::user(format!("{text}: no file matches")));
            }
        }
        Err(cause) => return Err(error::io(&cause, format!("looking for {}", path.display()))),
    }
    Ok(found.into_values().collect())
}

struct Walk<'a> {
    base: &'a Path,
    found: BTreeMap<PathBuf, FoundFile>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::user(format!("{}: more than {MAX_DEPTH} levels of directories", directory.display())));
        }
        for (name, path) in entries(directory)? {
            if name.starts_with(['.', '_']) {
                continue;
            }
            if path.is_dir() {
                self.directory(&path, depth + 1)?;
            } else {
                let mut found = std::mem::take(&mut self.found);
                self.file(&path, &mut found)?;
                self.found = found;
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path, found: &mut BTreeMap<PathBuf, FoundFile>) -> Result<()> {
        let failed = |cause: std::io::Error| error::io(&cause, format!("looking at {}", path.display()));
        let meta = std::fs::metadata(path).map_err(failed)?;
        let key = StorePath::from_absolute_path(path)
            .map_err(|cause| Error::user(format!("{}: not a path that can be read: {cause}", path.display())))?;
        let below = path.parent().and_then(|parent| parent.strip_prefix(self.base).ok());
        let below = below.map(|rest| rest.iter().map(|part| part.to_string_lossy().into_owned()).collect());
        let file = FoundFile {
            key,
            shown: path.display().to_string(),
            size: meta.len(),
            modified: meta.modified().map_err(failed)?,
            below: below.unwrap_or_default(),
        };
        found.insert(path.to_path_buf(), file);
        Ok(())
    }
}

/// The files that a pattern such as `/data/year=*/**/*.csv` matches; a directory it matches stands for its files.
fn expand(pattern: &str) -> Result<BTreeMap<PathBuf, FoundFile>> {
    let segments: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty()).collect();
    let fixed = segments.iter().take_while(|segment| !is_glob(segment)).count();
    let base = segments[..fixed].iter().fold(PathBuf::from("/"), |path, segment| path.join(segment));
    let mut walk = Walk { base: &base, found: BTreeMap::new() };
    if base.is_dir() {
        expand_in(&mut walk, &base, &segments[fixed..], 0)?;
    }
    Ok(walk.found)
}

fn expand_in(walk: &mut Walk<'_>, directory: &Path, segments: &[&str], depth: usize) -> Result<()> {
    let Some((&segment, rest)) = segments.split_first() else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(Error::user(format!("{}: more than {MAX_DEPTH} levels of directories", directory.display())));
    }
    if segment == "**" {
        if rest.is_empty() {
            return walk.directory(directory, depth);
        }
        expand_in(walk, directory, rest, depth + 1)?;
    }
    for (name, path) in entries(directory)? {
        if segment == "**" {
            if path.is_dir() && !name.starts_with(['.', '_']) {
                expand_in(walk, &path, segments, depth + 1)?;
            }
            continue;
        }
        if !glob::matches(segment, &name) || (name.starts_with('.') && !segment.starts_with('.')) {
            continue;
        }
        match (path.is_dir(), rest.is_empty()) {
            (true, true) => walk.directory(&path, depth + 1)?,
            (true, false) => expand_in(walk, &path, rest, depth + 1)?,
            (false, true) => {
                let mut found = std::mem::take(&mut walk.found);
                walk.file(&path, &mut found)?;
                walk.found = found;
            }
            (false, false) => {}
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |cause: std::io::Error| error::io(&cause, format!("listing {}", directory.display()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        entries.push((name, path));
    }
    entries.sort();
    Ok(entries)
}

fn missing(path: &Path, text: &str) -> Error {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(parent) = path.parent() else { return Error::user(format!("{text}: there is no such file")) };
    if !parent.is_dir() {
        return Error::user(format!("{text}: there is no such file, nor a directory {}", parent.display()));
    }
    let names = entries(parent).unwrap_or_default().into_iter().map(|(name, _)| name);
    match nearest(&name, names) {
        Some(near) => Error::user(format!("{text}: there is no such file; did you mean {near}?")),
        None => Error::user(format!("{text}: there is no such file")),
    }
}

/// The name that is close enough to be a slip of the keys.
pub(crate) fn nearest(wanted: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let close = |name: &String| levenshtein(&wanted.to_lowercase(), &name.to_lowercase());
    let best = names.into_iter().min_by_key(close)?;
    (close(&best) <= (wanted.chars().count() / 3).max(1)).then_some(best)
}

// ---- cloud stores ----

async fn list_cloud(
    store: &Arc<dyn ObjectStore>,
    url: &Url,
    key: &str,
    text: &str,
    claims: &dyn Fn(&str) -> bool,
) -> Result<Vec<FoundFile>> {
    let failed = |cause: object_store::Error| error::from_datafusion(&cause.into()).context(format!("listing {text}"));
    let web = url.scheme().starts_with("http");
    let segments: Vec<&str> = key.split('/').filter(|segment| !segment.is_empty()).collect();
    let fixed = segments.iter().take_while(|segment| web || !is_glob(segment)).count();
    let exact = StorePath::from(segments[..fixed].join("/"));
    let found = |meta: object_store::ObjectMeta, base: &StorePath| FoundFile {
        shown: format!("{}/{}", url.as_str().trim_end_matches('/'), meta.location),
        below: below_of(&meta.location, base),
        size: meta.size,
        modified: meta.last_modified.into(),
        key: meta.location,
    };
    if fixed == segments.len() && !key.ends_with('/') && fixed > 0 {
        let parent = StorePath::from(segments[..fixed - 1].join("/"));
        let options = object_store::GetOptions { head: true, ..Default::default() };
        match store.get_opts(&exact, options).await {
            Ok(result) => return Ok(vec![found(result.meta, &parent)]),
            Err(object_store::Error::NotFound { .. }) if !web => {}
            Err(cause) => return Err(failed(cause)),
        }
    }
    let metas: Vec<_> = store.list(Some(&exact)).try_collect().await.map_err(failed)?;
    let pattern = &segments[fixed..];
    let mut files: Vec<FoundFile> = metas
        .into_iter()
        .map(|meta| found(meta, &exact))
        .filter(|file| {
            let name = file.key.filename().unwrap_or_default();
            let hidden = |part: &str| part.starts_with(['.', '_']);
            if pattern.is_empty() {
                !hidden(name) && !file.below.iter().any(|part| hidden(part))
            } else {
                let parts: Vec<&str> = file.below.iter().map(String::as_str).chain([name]).collect();
                glob::matches_path(pattern, &parts)
            }
        })
        .collect();
    if pattern.is_empty() && files.iter().any(|file| claims(&file.shown)) {
        files.retain(|file| claims(&file.shown));
    }
    if files.is_empty() {
        let problem = if pattern.is_empty() { "there is no such file" } else { "no file matches" };
        return Err(Error::user(format!("{text}: {problem}")));
    }
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(files)
}

fn below_of(key: &StorePath, base: &StorePath) -> Vec<String> {
    let mut parts: Vec<String> =
        key.prefix_match(base).map(|rest| rest.map(|part| part.as_ref().to_string()).collect()).unwrap_or_default();
    parts.pop();
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a failed test may end the test")]
    use bireme_engine::ErrorKind;
    use object_store::local::LocalFileSystem;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in
            ["a.csv", "b.csv", "sub/c.csv", "sub/k=1/d.csv", ".hidden.csv", "_SUCCESS", "_tmp/e.csv", "notes.md"]
        {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n1\n").unwrap();
        }
        directory
    }

    fn list(text: &str) -> Result<Vec<String>> {
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
        let location = Location::parse(text)?;
        let claims = |name: &str| name.ends_with(".csv");
        let files = futures::executor::block_on(location.list(&store, &claims))?;
        Ok(files.into_iter().map(|file| file.shown).collect())
    }

    fn names(directory: &Path, text: &str) -> Vec<String> {
        let prefix = format!("{}/", directory.display());
        list(&format!("{prefix}{text}")).unwrap().into_iter().map(|name| name.replace(&prefix, "")).collect()
    }

    #[test]
    fn files_directories_and_globs() {
        let directory = tree();
        let root = directory.path();
        assert_eq!(names(root, "a.csv"), ["a.csv"]);
        assert_eq!(names(root, ""), ["a.csv", "b.csv", "sub/c.csv", "sub/k=1/d.csv"]);
        assert_eq!(names(root, "*.csv"), ["a.csv", "b.csv"]);
        assert_eq!(names(root, "[!a].csv"), ["b.csv"]);
        assert_eq!(names(root, "?.csv"), ["a.csv", "b.csv"]);
        assert_eq!(names(root, "**/*.csv"), ["a.csv", "b.csv", "sub/c.csv", "sub/k=1/d.csv"]);
        assert_eq!(names(root, "s*b/k=*"), ["sub/k=1/d.csv"]);
        assert_eq!(list(&format!("file://{}/a.csv", root.display())).unwrap().len(), 1);
    }

    #[test]
    fn what_is_below_the_fixed_part_is_kept() {
        let directory = tree();
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
        let location = Location::parse(&format!("{}/sub/k=*/*.csv", directory.path().display())).unwrap();
        let files = futures::executor::block_on(location.list(&store, &|_: &str| true)).unwrap();
        assert_eq!(files[0].below, ["k=1"]);
    }

    #[test]
    fn errors_name_the_path_and_the_nearest_file() {
        let directory = tree();
        let root = directory.path().display();
        let error = list(&format!("{root}/b.csw")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().ends_with("there is no such file; did you mean b.csv?"), "{error}");
        let error = list(&format!("{root}/*.parquet")).unwrap_err();
        assert!(error.message().ends_with("/*.parquet: no file matches"), "{error}");
        let error = list(&format!("{root}/none/a.csv")).unwrap_err();
        assert!(error.message().contains("nor a directory"), "{error}");
    }

    #[test]
    fn schemes() {
        assert_eq!(Location::parse("ftp://host/a").unwrap_err().kind(), ErrorKind::User);
        assert!(Location::parse("local:///scratch/a.csv").unwrap().own_disk());
        assert_eq!(Location::parse("file:///a%20b").unwrap().local_path().unwrap(), Path::new("/a b"));
        let cloud = Location::parse("s3://bucket/data/*.parquet");
        if cfg!(feature = "cloud") {
            assert_eq!(cloud.unwrap().store_url(), "s3://bucket");
        } else {
            let error = cloud.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("feature `cloud`"), "{error}");
        }
    }
}
