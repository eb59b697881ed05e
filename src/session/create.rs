//! `CREATE EXTERNAL TABLE` and `CREATE TABLE [AS]`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use bireme_connectors::memory_table::{LaneBatches, LaneInfo, MemorySink, MemoryTable, lane_infos};
use bireme_connectors::options::{
    Compression, CsvOptions, FileFormatOptions, IpcOptions, JsonOptions, ParquetOptions, WireSchema,
};
use bireme_engine::error::{Error, Result};
use bireme_planner::Delivery;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::logical_expr::{CreateExternalTable, CreateMemoryTable, LogicalPlan};

use super::Session;
use super::insert::{External, full_name};
use crate::frame::DataFrame;

/// The rows of a query in memory.
pub(super) struct Filled {
    /// Those of this process.
    pub here: LaneBatches,
    /// What lanes all ranks have, the same list on every rank.
    pub all: Vec<LaneInfo>,
    /// By which columns the rank of a row is known.
    pub hashed_by: Vec<Vec<usize>>,
}

impl Session {
    pub(super) fn create_external_table(&self, create: &CreateExternalTable) -> Result<DataFrame> {
        if !self.may_create(&create.name, create.if_not_exists, create.or_replace)? {
            return self.nothing();
        }
        if create.unbounded || !create.order_exprs.is_empty() {
            return Err(Error::unsupported("CREATE EXTERNAL TABLE with UNBOUNDED or WITH ORDER"));
        }
        if create.file_type.eq_ignore_ascii_case("npy") {
            let table = self.npy_of(create)?;
            self.replace(&create.name, table)?;
            return self.nothing();
        }
        // The directories' names say the values of partition columns, and so their types.
        let in_files = |field: &&FieldRef| !create.table_partition_cols.contains(field.name());
        let columns = create.schema.fields().iter().filter(in_files).cloned().collect::<Vec<_>>();
        let schema = (!columns.is_empty()).then(|| Arc::new(Schema::new(columns)));
        let format = external_format(&create.file_type, schema.clone(), &create.options)?;
        let table = match (self.not_there_yet(&create.locations)?, schema) {
            // A directory to fill: its columns are said, its files come by INSERT.
            (true, Some(schema)) => {
                let nothing = RecordBatch::new_empty(Arc::clone(&schema));
                Arc::new(MemoryTable::replicated(schema, vec![nothing], 1)?) as Arc<dyn TableProvider>
            }
            _ => self.file_table(&create.locations, Some(format.clone()))?,
        };
        self.replace(&create.name, table)?;
        let partition_by = create.table_partition_cols.clone();
        let external = External { locations: create.locations.clone(), format, partition_by };
        self.inner.externals.lock().insert(full_name(&create.name), external);
        self.nothing()
    }

    /// `STORED AS NPY OPTIONS (dims 'i,k', value 'v')`: an array as a table.
    fn npy_of(&self, create: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        let options = create.options.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect();
        let mut said = Said { kind: &create.file_type, options };
        let dims = said.text(&["format.dims", "dims"]);
        let dims =
            dims.ok_or_else(|| Error::user("STORED AS NPY needs the names of the axes: OPTIONS (dims 'i,k')"))?;
        let value = said.text(&["format.value", "value"]).unwrap_or_else(|| "value".to_owned());
        said.nothing_left()?;
        let [location] = create.locations.as_slice() else {
            return Err(Error::user("STORED AS NPY reads one file"));
        };
        if !create.schema.fields().is_empty() || !create.table_partition_cols.is_empty() {
            return Err(Error::user("STORED AS NPY: the columns are the axes and the value, which OPTIONS names"));
        }
        self.npy_table(location, dims.split(',').map(|name| name.trim().to_owned()).collect(), &value)
    }

    pub(super) fn create_table_as(&self, create: &CreateMemoryTable) -> Result<DataFrame> {
        if !self.may_create(&create.name, create.if_not_exists, create.or_replace)? {
            return self.nothing();
        }
        let schema: SchemaRef = Arc::new(create.input.schema().as_arrow().clone());
        if let Some(twice) = duplicate(&schema) {
            return Err(Error::user(format!("table `{}` would have two columns `{twice}`; rename one", create.name)));
        }
        let Filled { here, all, hashed_by } = self.fill(&create.input)?;
        let defaults = create.column_defaults.iter().cloned().collect();
        let table = MemoryTable::partitioned(schema, here, &all)?.with_layout(hashed_by).with_defaults(defaults);
        self.replace(&create.name, Arc::new(table))?;
        self.nothing()
    }

    /// Runs a query into memory.
    pub(super) fn fill(&self, input: &LogicalPlan) -> Result<Filled> {
        let sink = Arc::new(MemorySink::new());
        let acted = self.act(input, Delivery::Lanes, |_| Arc::clone(&sink) as _)?;
        let hashed_by = acted.into_iter().next().map(|acted| acted.planned.hashed_by).unwrap_or_default();
        let here = sink.take();
        let ours = self.inner.ranks.iter().flat_map(|rank| lane_infos(&here, rank.number)).collect::<Vec<_>>();
        let all = match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => {
                let all = rank.control.all_gather_values("lanes of a new table", &ours)?;
                all.into_iter().flatten().collect()
            }
            _ => ours,
        };
        Ok(Filled { here, all, hashed_by })
    }

    /// Whether the location is a directory (its name ends in `/`) that does not exist.
    fn not_there_yet(&self, locations: &[String]) -> Result<bool> {
        let [location] = locations else { return Ok(false) };
        self.decide_on_root("look at a directory", || Ok(location.ends_with('/') && !Path::new(location).exists()))
    }

    fn may_create(&self, name: &TableReference, if_not_exists: bool, or_replace: bool) -> Result<bool> {
        let exists = self.inner.context.table_exist(name.clone()).map_err(|error| self.explain_error(error))?;
        match (exists, if_not_exists, or_replace) {
            (true, _, true) | (false, _, _) => Ok(true),
            (true, true, false) => Ok(false),
            (true, false, false) => {
                Err(Error::user(format!("table `{name}` exists; DROP TABLE it or use CREATE OR REPLACE")))
            }
        }
    }

    pub(super) fn replace(&self, name: &TableReference, table: Arc<dyn TableProvider>) -> Result<()> {
        self.inner.externals.lock().remove(&full_name(name));
        self.inner.context.deregister_table(name.clone()).map_err(|error| self.explain_error(error))?;
        self.register_at(name.clone(), table)
    }
}

pub(super) fn duplicate(schema: &SchemaRef) -> Option<&str> {
    let mut seen = std::collections::BTreeSet::new();
    schema.fields().iter().map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
}

/// The read options that `STORED AS … OPTIONS (…)` spell.
fn external_format(
    kind: &str,
    schema: Option<SchemaRef>,
    options: &HashMap<String, String>,
) -> Result<FileFormatOptions> {
    let options = options.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect::<BTreeMap<_, _>>();
    let columns = schema.map(WireSchema);
    let mut said = Said { kind, options };
    let format = match kind.to_uppercase().as_str() {
        "PARQUET" => FileFormatOptions::Parquet(ParquetOptions::default()),
        "CSV" | "TSV" => {
            let mut csv = CsvOptions { schema: columns, ..CsvOptions::default() };
            if kind.eq_ignore_ascii_case("tsv") {
                csv.delimiter = b'\t';
            }
            said.flag(&["format.has_header", "has_header", "header"], &mut csv.header)?;
            said.byte(&["format.delimiter", "delimiter"], &mut csv.delimiter)?;
            said.byte(&["format.quote", "quote"], &mut csv.quote)?;
            csv.escape = said.optional_byte(&["format.escape", "escape"])?;
            csv.comment = said.optional_byte(&["format.comment", "comment"])?;
            csv.null_value = said.text(&["format.null_value", "null_value"]).or(csv.null_value);
            said.flag(&["format.newlines_in_values", "newlines_in_values"], &mut csv.newlines_in_values)?;
            csv.compression = said.compression()?;
            FileFormatOptions::Csv(csv)
        }
        "JSON" | "NDJSON" => {
            let compression = said.compression()?;
            FileFormatOptions::Json(JsonOptions { schema: columns, compression, ..JsonOptions::default() })
        }
        "ARROW" | "IPC" => FileFormatOptions::Ipc(IpcOptions::default()),
        other => {
            return Err(Error::unsupported(format!(
                "STORED AS {other}; formats are PARQUET, CSV, JSON, ARROW and NPY"
            )));
        }
    };
    said.nothing_left()?;
    Ok(format)
}

/// The options of a statement; what is understood is taken out.
struct Said<'a> {
    kind: &'a str,
    options: BTreeMap<String, String>,
}

impl Said<'_> {
    fn text(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.options.remove(*name))
    }

    fn flag(&mut self, names: &[&str], target: &mut bool) -> Result<()> {
        match self.text(names).map(|text| text.to_lowercase()).as_deref() {
            None => Ok(()),
            Some(yes @ ("true" | "false")) => {
                *target = yes == "true";
                Ok(())
            }
            Some(other) => Err(Error::user(format!("option {}: expected true or false, found `{other}`", names[0]))),
        }
    }

    fn byte(&mut self, names: &[&str], target: &mut u8) -> Result<()> {
        *target = self.optional_byte(names)?.unwrap_or(*target);
        Ok(())
    }

    fn optional_byte(&mut self, names: &[&str]) -> Result<Option<u8>> {
        match self.text(names).as_deref() {
            None => Ok(None),
            Some("\\t") => Ok(Some(b'\t')),
            Some(text) => match text.as_bytes() {
                [byte] => Ok(Some(*byte)),
                _ => Err(Error::user(format!("option {}: expected one byte, found `{text}`", names[0]))),
            },
        }
    }

    fn compression(&mut self) -> Result<Option<Compression>> {
        let Some(text) = self.text(&["format.compression", "compression"]) else { return Ok(None) };
        Ok(Some(match text.to_lowercase().as_str() {
            "uncompressed" | "none" => Compression::None,
            "gzip" | "gz" => Compression::Gzip,
            "bzip2" | "bz2" => Compression::Bzip2,
            "xz" => Compression::Xz,
            "zstd" | "zst" => Compression::Zstd,
            other => {
                return Err(Error::user(format!(
                    "option compression: `{other}`; use gzip, bzip2, xz, zstd or uncompressed"
                )));
            }
        }))
    }

    fn nothing_left(&self) -> Result<()> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(Error::user(format!("STORED AS {} has no option `{unknown}`", self.kind))),
        }
    }
}
