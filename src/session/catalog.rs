//! Tables by name, and messages that know their names.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_connectors::memory_table::MemoryTable;
use bireme_engine::error::{Error, Result};
use bireme_operators::errors::from_datafusion;
use bireme_planner::suggest::nearest;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, TableReference};

use super::Session;
use crate::frame::DataFrame;

impl Session {
    /// The names of all tables and views, sorted; those outside the default schema with their schema.
    pub fn tables(&self) -> Vec<String> {
        let context = &self.inner.context;
        let mut names = Vec::new();
        for catalog in context.catalog_names() {
            let Some(provider) = context.catalog(&catalog) else { continue };
            for schema in provider.schema_names() {
                let Some(tables) = provider.schema(&schema) else { continue };
                if schema == "information_schema" {
                    continue;
                }
                let qualified = |table| if schema == "public" { table } else { format!("{schema}.{table}") };
                names.extend(tables.table_names().into_iter().map(qualified));
            }
        }
        names.sort();
        names
    }

    /// Gives a table of rows a name. Every rank must hand over the same rows; each keeps all and scans its part.
    ///
    /// # Errors
    /// The batches' schemas differ, or the name is not one.
    pub fn register_table(&self, name: &str, batches: Vec<RecordBatch>) -> Result<()> {
        let Some(first) = batches.first() else {
            return Err(Error::user(format!(
                "table `{name}`: no batch, so no columns; register an empty batch instead"
            )));
        };
        let schema = first.schema();
        if let Some(other) = batches.iter().find(|batch| batch.schema() != schema) {
            return Err(Error::user(format!(
                "table `{name}`: batches differ in their columns: {:?} and {:?}",
                schema.fields(),
                other.schema().fields()
            )));
        }
        let table = MemoryTable::replicated(schema, batches, self.inner.options.lanes)?;
        self.register(name, Arc::new(table))
    }

    /// Gives a query a name, like a view: it runs anew whenever the name is used.
    ///
    /// # Errors
    /// The name is not one.
    pub fn register_view(&self, name: &str, frame: &DataFrame) -> Result<()> {
        let view = datafusion::datasource::ViewTable::new(frame.program().clone(), None);
        self.register(name, Arc::new(view))
    }

    /// Gives a file, a directory or a glob a name; the format is found from the file names.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn register_path(&self, name: &str, path: &str) -> Result<()> {
        let table = self.file_table(&[path.to_owned()], None)?;
        self.register(name, table)
    }

    /// Gives every file and folder of a directory a name: its own, without extensions. Returns the names, sorted.
    ///
    /// # Errors
    /// The directory cannot be read, two entries would get the same name, or as [`Session::read`].
    pub fn register_directory(&self, directory: &str) -> Result<Vec<String>> {
        let entries = self.decide_on_root("list tables", || table_entries(Path::new(directory)))?;
        for (name, path) in &entries {
            self.register_path(name, path)?;
        }
        Ok(entries.into_iter().map(|(name, _)| name).collect())
    }

    pub(crate) fn register(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        // A name is taken as it is written, not parsed as SQL: `--table My-Table=…` works.
        let reference = if name.contains('.') { TableReference::from(name) } else { TableReference::bare(name) };
        self.register_at(reference, table)
    }

    pub(super) fn register_at(&self, name: TableReference, table: Arc<dyn TableProvider>) -> Result<()> {
        let registered = self.inner.context.register_table(name, table);
        registered.map(drop).map_err(|error| self.explain_error(error))
    }

    /// The error in our words, with the nearest name where one was not found.
    pub(crate) fn explain_error(&self, error: DataFusionError) -> Error {
        let error = from_datafusion(error);
        let Some(missing) = missing_table(error.message()) else { return error };
        let tables = self.tables();
        let hint = match nearest(missing, tables.iter().map(String::as_str)) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if tables.is_empty() => "; no tables are registered".into(),
            None => format!("; tables: {}", tables.join(", ")),
        };
        Error::user(format!("no table `{missing}`{hint}"))
    }
}

/// The bare name in DataFusion's `table 'catalog.schema.name' not found`.
fn missing_table(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("table '")?;
    let (name, _) = rest.split_once("' not found")?;
    Some(name.strip_prefix("bireme.public.").unwrap_or(name))
}

/// Every visible entry of a directory with the name its table gets.
fn table_entries(directory: &Path) -> Result<Vec<(String, String)>> {
    let attempt = || format!("reading the tables of {}", directory.display());
    let mut entries = Vec::<(String, String)>::new();
    for entry in std::fs::read_dir(directory).map_err(|error| Error::from(error).context(attempt()))? {
        let entry = entry.map_err(|error| Error::from(error).context(attempt()))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.path().is_dir();
        let readable = is_directory || bireme_connectors::options::FileFormatOptions::of_name(&file).is_some();
        if file.starts_with(['.', '_']) || !readable {
            continue;
        }
        let name = file.split('.').next().unwrap_or(&file).to_owned();
        if let Some((_, other)) = entries.iter().find(|(known, _)| *known == name) {
            let path = entry.path();
            return Err(Error::user(format!("{other} and {} would both be table `{name}`", path.display())));
        }
        entries.push((name, entry.path().to_string_lossy().into_owned()));
    }
    if entries.is_empty() {
        return Err(Error::user(format!("no table files (parquet, csv, json, arrow) in {}", directory.display())));
    }
    entries.sort();
    Ok(entries)
}
