//! Runs `.slt` files (sqllogictest) on a session.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme::{Error, Session};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};

/// The files of the suite, by name.
pub fn files() -> Vec<PathBuf> {
    files_in("tests/slt")
}

/// The `.slt` files of a directory of the repository, by name.
pub fn files_in(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(crate::root().join(directory)).expect("the directory exists");
    let mut files = entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    files
}

/// How many records (statements and queries) a file has.
pub fn records(file: &Path) -> usize {
    let text = fs::read_to_string(file).expect("a readable file");
    text.lines().filter(|line| line.starts_with("statement ") || line.starts_with("query ")).count()
}

/// Runs one file on a fresh session that `make` builds; the error tells the record.
///
/// # Errors
/// A record does not hold.
pub fn run(file: &Path, make: impl Fn() -> Session) -> Result<(), String> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let session = make();
    // Under MPI every rank must name the same directory.
    let scratch = std::env::var("BIREME_SLT_SCRATCH").unwrap_or_else(|_| scratch.path().display().to_string());
    let scratch = format!("{scratch}/{}", file.file_stem().unwrap_or_default().to_string_lossy());
    let _ = fs::create_dir_all(&scratch);
    let mut runner = Runner::new(|| {
        let database = Database { session: session.clone(), scratch: scratch.clone() };
        async move { Ok::<_, Error>(database) }
    });
    runner.run_file(file).map_err(|error| error.display(false).to_string())
}

struct Database {
    session: Session,
    scratch: String,
}

impl DB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let frame = self.session.sql(&sql.replace("__TEMP__", &self.scratch))?;
        let batches = frame.collect()?;
        if !frame.is_query() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let types = vec![DefaultColumnType::Any; frame.schema().fields().len()];
        Ok(DBOutput::Rows { types, rows: text(&batches)? })
    }

    fn engine_name(&self) -> &str {
        "bireme"
    }
}

/// Rows as the suite writes them: NULL, `(empty)`, floats to 12 significant digits, the rest as Arrow shows it.
fn text(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, Error> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = formatters.iter().zip(batch.columns()).map(|(formatter, column)| {
                let text = formatter.value(row).to_string();
                match column.data_type() {
                    DataType::Float32 | DataType::Float64 if column.is_valid(row) => float(&text),
                    _ if text.is_empty() => "(empty)".to_owned(),
                    _ => text,
                }
            });
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

fn float(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => {
            let rounded: f64 = format!("{value:.11e}").parse().expect("a number just printed");
            // -0 and 0 are one number to SQL.
            if rounded == 0.0 { "0".to_owned() } else { format!("{rounded}") }
        }
        Ok(value) => format!("{value}"),
        Err(_) => text.to_owned(),
    }
}
