//! The sink of an action that writes files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{Schema, SchemaRef};
use bireme_engine::stage::{LaneSink, Sink};
use bireme_engine::{Error, Result};

use super::job::Job;
use super::lane::{FileLane, Shared, part_name, write_empty};
use super::options::{Layout, WriteFormat, WriteMode, WriteOptions};
use super::target;
use crate::error;
use crate::location::nearest;

/// Writes the rows of an action to files, which appear together when they are published.
#[derive(Debug)]
pub struct FileSink {
    target: String,
    path: PathBuf,
    layout: Layout,
    mode: WriteMode,
    /// The columns of the rows that arrive.
    schema: SchemaRef,
    shared: Arc<Shared>,
    /// Directories above the target that are made for it, innermost first; they go with it if the job fails.
    made: Vec<PathBuf>,
}

impl FileSink {
    /// A sink for rows of the given schema. `job` names the action; it is the same on all ranks and different for every
    /// action, and becomes part of the files' names. Touches no file.
    ///
    /// # Errors
    /// The columns cannot be written in this format, or a partition column is not there.
    pub fn new(target: &str, schema: SchemaRef, options: WriteOptions, job: &Job) -> Result<Self> {
        let path = target::path_of(target)?;
        let layout = options.layout.unwrap_or_else(|| Layout::of(target));
        if layout == Layout::SingleFile && !options.partition_by.is_empty() {
            return Err(Error::user(format!(
                "{target} is one file, but partitions need a directory: leave the ending out"
            )));
        }
        check_types(&schema, &options.format)?;
        let partitions = partition_places(&schema, &options.partition_by)?;
        let is_partition = |place: &usize| partitions.iter().any(|(_, partition)| partition == place);
        let file_columns: Vec<usize> = (0..schema.fields().len()).filter(|place| !is_partition(place)).collect();
        if file_columns.is_empty() {
            return Err(Error::user(format!("writing to {target}: there is no column left for the files themselves")));
        }
        let stage = match (options.mode, layout) {
            (WriteMode::Append, Layout::Directory) if path.is_dir() => path.join(job.hidden()),
            _ => target::beside(&path, job, "new"),
        };
        let shared = Shared {
            stage,
            job: job.clone(),
            format: options.format,
            // What queries note about columns is no part of the data.
            file_schema: Arc::new(Schema::new(schema.project(&file_columns)?.fields().clone())),
            file_columns,
            partitions,
            open_files: options.open_files,
            ended: AtomicU64::new(0),
        };
        let made = path.ancestors().skip(1).take_while(|place| !place.exists()).map(Path::to_path_buf).collect();
        let target = target.to_string();
        Ok(Self { target, path, layout, mode: options.mode, schema, shared: Arc::new(shared), made })
    }

    /// Whether all rows have to come through one lane.
    pub fn single_lane(&self) -> bool {
        self.layout == Layout::SingleFile
    }

    /// How many files the lanes of this sink have ended.
    pub fn files_written(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Puts the files into place: on rank 0, after all ranks agreed that all went well. `expected` is the number of
    /// files that all ranks wrote ([`FileSink::files_written`], summed). Gives the number of files.
    ///
    /// # Errors
    /// Rank 0 does not see the others' files, the target came to exist, or the file system refuses.
    pub fn publish(&self, expected: u64) -> Result<u64> {
        let stage = &self.shared.stage;
        let mut parts = target::parts(stage)?;
        if parts.len() as u64 != expected {
            return Err(Error::user(format!(
                "writing to {}: rank 0 sees {} of {expected} files; write to a file system that all ranks share",
                self.target,
                parts.len()
            )));
        }
        if parts.is_empty() {
            parts.push(self.write_empty()?);
        }
        match self.layout {
            Layout::Directory => target::place_directory(stage, &self.path, self.mode, &self.shared.job)?,
            Layout::SingleFile => self.place_file(&parts)?,
        }
        Ok(parts.len() as u64)
    }

    /// Removes what was written. Any rank may call it, more than once.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn abort(&self) -> Result<()> {
        target::remove(&self.shared.stage)?;
        for directory in &self.made {
            // Only where nothing else has been put meanwhile.
            let _ = std::fs::remove_dir(directory);
        }
        Ok(())
    }

    /// A result without rows still has columns. With partitions they are all in the file: no directory says them.
    fn write_empty(&self) -> Result<PathBuf> {
        let stage = &self.shared.stage;
        let name = PathBuf::from(part_name(0, 0, &self.shared.job, &self.shared.format));
        std::fs::create_dir_all(stage).map_err(|cause| error::io(&cause, format!("creating {}", stage.display())))?;
        let schema = Arc::new(Schema::new(self.schema.fields().clone()));
        write_empty(&stage.join(&name), &schema, &self.shared.format)?;
        Ok(name)
    }

    fn place_file(&self, parts: &[PathBuf]) -> Result<()> {
        let [part] = parts else {
            return Err(Error::internal(format!("{} lanes wrote to the one file {}", parts.len(), self.target)));
        };
        if self.mode == WriteMode::Create && self.path.exists() {
            return Err(Error::user(format!(
                "{} has come to exist since the job began; nothing was written",
                self.target
            )));
        }
        target::rename(&self.shared.stage.join(part), &self.path)?;
        target::remove(&self.shared.stage)
    }
}

impl Sink for FileSink {
    fn describe(&self) -> String {
        let format = self.shared.format.extension();
        let mut text = match self.layout {
            Layout::SingleFile => format!("{format} file {}", self.target),
            Layout::Directory => format!("{format} files in {}", self.target),
        };
        if !self.shared.partitions.is_empty() {
            let names: Vec<&str> = self.shared.partitions.iter().map(|(name, _)| name.as_str()).collect();
            text.push_str(&format!(" by {}", names.join(", ")));
        }
        match self.mode {
            WriteMode::Create => text,
            WriteMode::Overwrite => format!("{text}, overwriting"),
            WriteMode::Append => format!("{text}, appending"),
        }
    }

    fn open(&self, _rank: usize, lane: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(FileLane::new(Arc::clone(&self.shared), lane)))
    }
}

fn check_types(schema: &Schema, format: &WriteFormat) -> Result<()> {
    if !matches!(format, WriteFormat::Csv(_)) {
        return Ok(());
    }
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => Err(Error::unsupported(format!(
            "column {} of type {} cannot be written as CSV; write Parquet or JSON, or leave it out",
            field.name(),
            field.data_type()
        ))),
    }
}

fn partition_places(schema: &Schema, names: &[String]) -> Result<Vec<(String, usize)>> {
    let place = |name: &String| match schema.column_with_name(name) {
        Some((_, field)) if field.data_type().is_nested() => {
            Err(Error::user(format!("column {name} of type {} cannot be a partition column", field.data_type())))
        }
        Some((place, _)) => Ok((name.clone(), place)),
        None => {
            let near = nearest(name, schema.fields().iter().map(|field| field.name().clone()));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Err(Error::user(format!("there is no column {name} to partition by{hint}")))
        }
    };
    names.iter().map(place).collect()
}
