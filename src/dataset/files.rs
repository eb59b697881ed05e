//! From and to files and tables.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::RecordBatch;
use bireme_connectors::location::Location;
use bireme_engine::error::{Error, Result};
use bireme_operators::dataset::{Batches, Chain, Held, Lines, Record, Text, WholeFiles, schema};

use super::Dataset;
use crate::frame::DataFrame;
use crate::session::Session;

impl Session {
    /// The lines of text files: a file, a directory or a pattern such as `books/*.txt`, on a file system that all ranks see. Files are cut
    /// into splits of 16 MiB, of which every rank reads its own; a line that is cut is read once.
    ///
    /// ```no_run
    /// use bireme::prelude::*;
    /// let session = Session::new()?;
    /// let longest = session.read_text("books/*.txt")?.map(|line| line.len()).reduce(usize::max)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such file. Text that is not UTF-8 is found when an action reads it; the message has the file and the place.
    pub fn read_text(&self, path: &str) -> Result<Dataset<Text, Lines>> {
        Ok(Dataset::new(self, Lines::new(self.text_files(path)?)))
    }

    /// Text files with what is in them: their paths and contents, a file a record. Paths are as for [`Session::read_text`].
    ///
    /// # Errors
    /// As [`Session::read_text`].
    pub fn read_whole_files(&self, path: &str) -> Result<Dataset<(String, Text), WholeFiles>> {
        let files = self.text_files(path)?.into_iter().map(|(path, _)| path).collect();
        Ok(Dataset::new(self, WholeFiles::new(files)))
    }

    /// Files with their sizes, as rank 0 sees them.
    fn text_files(&self, path: &str) -> Result<Vec<(std::path::PathBuf, u64)>> {
        let location = Location::parse(path)?;
        self.decide_on_root("look at text files", || location.local_files())
    }
}

/// The rows of a query as records.
pub(super) fn typed<T: Record>(frame: &DataFrame) -> Result<Dataset<T, Held<T>>> {
    let session = frame.session().clone();
    // Columns that do not fit are found before the query runs.
    let none = RecordBatch::new_empty(frame.schema());
    Batches::<T>::read(&none)?;
    let batches = frame.collect_local()?;
    let counts = session.on_all_ranks("batches of records", &(batches.len() as u64))?;
    let local = session.local_ranks().len();
    if counts.len() == session.ranks() && local == 1 {
        return Ok(Dataset::new(&session, Held::new(vec![batches], session.rank(), counts)));
    }
    // Ranks are threads: their batches are all here, and are dealt out.
    let mut dealt = vec![Vec::new(); local];
    let all = batches.len();
    for (number, batch) in batches.into_iter().enumerate() {
        dealt[number * local / all].push(batch);
    }
    let counts = dealt.iter().map(|batches| batches.len() as u64).collect();
    Ok(Dataset::new(&session, Held::new(dealt, 0, counts)))
}

impl<T: Record, C: Chain<Item = T>> Dataset<T, C> {
    /// The records as a table: fields are columns; other records than structs and tuples are a column `value`. Runs the dataset.
    ///
    /// ```
    /// use bireme::prelude::*;
    /// let session = Session::new()?;
    /// let table = session.dataset([("a".to_owned(), 1_i64), ("b".to_owned(), 2)]).to_dataframe()?;
    /// assert_eq!(table.filter(col("_2").gt(lit(1)))?.count()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dataset::count`].
    pub fn to_dataframe(&self) -> Result<DataFrame> {
        let made = self.run("to_dataframe", |chain, _, part| {
            let (mut batches, mut columns) = (Vec::new(), Batches::<T>::default());
            let mut failure = None;
            let _end = chain.drive(part, &mut |record| {
                columns.push(&record);
                if columns.is_full() {
                    match columns.finish() {
                        Ok(batch) => batches.push(batch),
                        Err(error) => {
                            failure = Some(error);
                            return ControlFlow::Break(());
                        }
                    }
                }
                ControlFlow::Continue(())
            })?;
            failure.map_or(Ok(()), Err)?;
            if columns.rows() > 0 {
                batches.push(columns.finish()?);
            }
            Ok(batches)
        })?;
        let mut batches = made.into_iter().flatten().collect::<Vec<_>>();
        batches.sort_by_key(|(number, _)| *number);
        let batches = batches.into_iter().flat_map(|(_, batches)| batches).collect();
        DataFrame::from_local_batches(&self.session, schema::<T>(), batches)
    }

    /// Writes CSV with a header, as [`DataFrame::write_csv`].
    ///
    /// # Errors
    /// As [`Dataset::count`] and [`DataFrame::write_csv`].
    pub fn write_csv(&self, path: &str) -> Result<()> {
        self.to_dataframe()?.write_csv(path).map(drop)
    }

    /// Writes Parquet, as [`DataFrame::write_parquet`].
    ///
    /// # Errors
    /// As [`Dataset::count`] and [`DataFrame::write_parquet`].
    pub fn write_parquet(&self, path: &str) -> Result<()> {
        self.to_dataframe()?.write_parquet(path).map(drop)
    }
}

impl<T: AsRef<str> + Send + 'static, C: Chain<Item = T>> Dataset<T, C> {
    /// Writes lines to a directory: `part-00000` and so on, a file a partition that has some, and `_SUCCESS` when all are there. Returns
    /// how many lines there are.
    ///
    /// # Errors
    /// The directory exists already or cannot be written to; and as [`Dataset::count`].
    pub fn write_text(&self, directory: &str) -> Result<u64> {
        let target = std::path::absolute(directory)?;
        let overwrites = self.session.overwrites();
        // Nothing is to be seen of it before all of it is there.
        let hidden = self.session.decide_on_root("making a directory", || {
            if target.exists() && !overwrites {
                return Err(Error::user(format!("{} exists already: choose another directory", target.display())));
            }
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            let hidden = target.with_file_name(format!(".{name}.{}.unfinished", std::process::id()));
            std::fs::create_dir(&hidden).map_err(|error| failed("making the directory", &hidden, error))?;
            Ok(hidden)
        })?;
        let to = hidden.clone();
        let made = self.run("write_text", move |chain, number, part| {
            let path = to.join(format!("part-{number:05}"));
            let (mut file, mut lines, mut failure) = (None, 0_u64, None);
            let _end = chain.drive(part, &mut |line| {
                let written = write_line(&mut file, &path, line.as_ref());
                lines += 1;
                match written {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            failure.map_or(Ok(()), Err)?;
            if let Some(mut file) = file {
                file.flush().map_err(|error| failed("writing", &path, error))?;
            }
            Ok(lines)
        });
        let lines = made.and_then(|made| {
            let lines = made.iter().flatten().map(|(_, lines)| lines).sum::<u64>();
            self.session.sum_over_ranks("lines", (lines, 0))
        });
        match lines {
            Ok((lines, _)) => {
                self.session.decide_on_root("all lines are written", || publish(&hidden, &target))?;
                Ok(lines)
            }
            Err(error) => {
                // What cannot be removed is hidden, and has no `_SUCCESS`.
                if self.session.is_root() {
                    let _ = std::fs::remove_dir_all(&hidden);
                }
                Err(error)
            }
        }
    }
}

/// Brings a directory that is finished to its place.
fn publish(hidden: &Path, target: &Path) -> Result<()> {
    File::create(hidden.join("_SUCCESS")).map_err(|error| failed("finishing", hidden, error))?;
    if target.exists() {
        std::fs::remove_dir_all(target).map_err(|error| failed("replacing", target, error))?;
    }
    std::fs::rename(hidden, target).map_err(|error| failed("moving the result to", target, error))
}

fn write_line(file: &mut Option<BufWriter<File>>, path: &Path, line: &str) -> Result<()> {
    let file = match file {
        Some(file) => file,
        none => none.insert(BufWriter::new(File::create(path).map_err(|error| failed("creating", path, error))?)),
    };
    let written = file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.map_err(|error| failed("writing", path, error))
}

fn failed(attempted: &str, path: &Path, error: std::io::Error) -> Error {
    Error::from(error).context(format!("{attempted} {}", path.display()))
}
