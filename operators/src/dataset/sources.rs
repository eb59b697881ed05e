//! Where records come from.
//!
//! ```text
//!   Lines    files in splits of 16 MiB:  … ⏎ a line ⏎ an│other line ⏎ …     a line is of the split in which it begins
//!   Values   what the program has: every rank has all of it, and reads its share
//!   Held     batches that the ranks have already
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};
use memchr::{memchr, memrchr};

use super::chain::{Chain, Flow, Needs};
use super::record::{Batches, Record, Text};
use super::run::{ON, Part, Parts, Run};

/// Bytes of a split; few in tests.
pub const SPLIT: u64 = if cfg!(test) { 64 } else { 16 << 20 };

/// Bytes that are read at a time.
const READ: usize = if cfg!(test) { 24 } else { 1 << 20 };

/// Partitions that a program's own values are cut into, at most.
const CUTS: usize = 64;

/// A range of bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The file.
    pub path: PathBuf,
    /// Its first byte.
    pub start: u64,
    /// Behind its last byte.
    pub end: u64,
}

/// The lines of files, without their ends.
#[derive(Clone, Debug)]
pub struct Lines {
    splits: Arc<Vec<Split>>,
}

impl Lines {
    /// Of files with their sizes in bytes.
    pub fn new(files: impl IntoIterator<Item = (PathBuf, u64)>) -> Self {
        let of_file = |(path, size): (PathBuf, u64)| {
            let split = move |start: u64| Split { path: path.clone(), start, end: (start + SPLIT).min(size) };
            (0..size).step_by(SPLIT as usize).map(split)
        };
        Self { splits: Arc::new(files.into_iter().flat_map(of_file).collect()) }
    }
}

/// The partitions of a rank, of so many that ranks have in runs.
fn in_runs(run: &Run, total: usize) -> Parts {
    Parts { numbers: run.share(total as u64).collect(), total: total as u64 }
}

impl Chain for Lines {
    type Item = Text;

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(in_runs(run, self.splits.len()))
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(Text) -> Flow) -> Result<Flow> {
        let first = part.run.share(self.splits.len() as u64).start as usize;
        let Split { path, start, end } = &self.splits[first + part.place];
        let file =
            File::open(path).map_err(|error| Error::from(error).context(format!("opening {}", path.display())))?;
        let mut reader = Reader { file, path, at: *start, rest: Buffer::default(), checked: 0 };
        if *start > 0 {
            // A line that began before is the split's before; one that begins here has an end right before.
            reader.at -= 1;
            reader.skip_line()?;
        }
        while reader.place() < *end {
            let Some(line) = reader.next_line()? else { break };
            part.next()?;
            if sink(line).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, _: &mut Needs) {}

    fn describe(&self, lines: &mut Vec<String>) {
        let files = self.splits.chunk_by(|a, b| a.path == b.path).count();
        lines.push(format!("lines of {files} files, {} splits", self.splits.len()));
    }
}

/// Reads lines from a place in a file on.
struct Reader<'a> {
    file: File,
    path: &'a PathBuf,
    /// Where the file is read next.
    at: u64,
    /// What has been read and not handed out.
    rest: Buffer,
    /// So many of its first bytes are known to be UTF-8.
    checked: usize,
}

impl Reader<'_> {
    /// Where the next line begins.
    fn place(&self) -> u64 {
        self.at - self.rest.len() as u64
    }

    /// Passes over what is left of a line, which may begin within a character.
    fn skip_line(&mut self) -> Result<()> {
        loop {
            if let Some(end) = memchr(b'\n', self.rest.as_slice()) {
                self.rest = self.rest.slice(end + 1);
                return Ok(());
            }
            self.rest = Buffer::default();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<Text>> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = memchr(b'\n', &self.rest.as_slice()[looked_at..]) {
                let end = looked_at + end;
                if self.checked <= end {
                    self.check(looked_at)?;
                }
                let line = self.rest.slice_with_length(0, end);
                self.rest = self.rest.slice(end + 1);
                self.checked -= end + 1;
                return Ok(Some(self.text(line)));
            }
            looked_at = self.rest.len();
            if !self.fill()? {
                self.check(self.rest.len())?;
                let line = std::mem::take(&mut self.rest);
                self.checked = 0;
                return Ok((!line.is_empty()).then(|| self.text(line)));
            }
        }
    }

    /// Reads some more; says whether there was something.
    fn fill(&mut self) -> Result<bool> {
        let kept = self.rest.len();
        let mut buffer = MutableBuffer::from_len_zeroed(kept + READ.max(kept));
        buffer.as_slice_mut()[..kept].copy_from_slice(self.rest.as_slice());
        let mut filled = kept;
        while filled < buffer.len() {
            let read = self.file.read_at(&mut buffer.as_slice_mut()[filled..], self.at);
            match read {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from(error).context(format!("reading {}", self.path.display()))),
            }
        }
        buffer.truncate(filled);
        self.rest = buffer.into();
        Ok(filled > kept)
    }

    /// Checks all whole lines that have been read; if there are none, so many bytes.
    fn check(&mut self, least: usize) -> Result<()> {
        let end = memrchr(b'\n', self.rest.as_slice()).map_or(least, |end| end + 1);
        if let Err(error) = std::str::from_utf8(&self.rest.as_slice()[..end]) {
            let at = self.place() + error.valid_up_to() as u64;
            return Err(Error::corrupt(format!("{}: there is no UTF-8 at byte {at}: {error}", self.path.display())));
        }
        self.checked = end;
        Ok(())
    }

    /// A line that has been checked.
    fn text(&self, line: Buffer) -> Text {
        let line =
            if line.as_slice().last() == Some(&b'\r') { line.slice_with_length(0, line.len() - 1) } else { line };
        // SAFETY: that it is UTF-8 was checked; before and behind it are line ends, which are no part of a character.
        unsafe { Text::new_unchecked(line) }
    }
}

/// Files with what is in them.
#[derive(Clone, Debug)]
pub struct WholeFiles {
    files: Arc<Vec<PathBuf>>,
}

impl WholeFiles {
    /// Of some files.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files: Arc::new(files) }
    }
}

impl Chain for WholeFiles {
    type Item = (String, Text);

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(in_runs(run, self.files.len()))
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut((String, Text)) -> Flow) -> Result<Flow> {
        let first = part.run.share(self.files.len() as u64).start as usize;
        let path = &self.files[first + part.place];
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Error::from(error).context(format!("reading {}", path.display())))?;
        part.next()?;
        Ok(sink((path.display().to_string(), Text::from(text))))
    }

    fn needs(&self, _: &mut Needs) {}

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("{} whole files", self.files.len()));
    }
}

/// Values that every rank has.
#[derive(Debug)]
pub struct Values<T> {
    values: Arc<Vec<T>>,
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self { values: Arc::clone(&self.values) }
    }
}

impl<T: Clone + Send + Sync + 'static> Values<T> {
    /// The values, in order.
    pub fn new(values: Vec<T>) -> Self {
        Self { values: Arc::new(values) }
    }

    fn cuts(&self) -> usize {
        self.values.len().min(CUTS)
    }
}

impl<T: Clone + Send + Sync + 'static> Chain for Values<T> {
    type Item = T;

    fn parts(&self, run: &Run) -> Result<Parts> {
        Ok(in_runs(run, self.cuts()))
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(T) -> Flow) -> Result<Flow> {
        let (all, cuts) = (self.values.len(), self.cuts());
        let number = part.run.share(cuts as u64).start as usize + part.place;
        for value in &self.values[all * number / cuts..all * (number + 1) / cuts] {
            part.next()?;
            if sink(value.clone()).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, _: &mut Needs) {}

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("{} values", self.values.len()));
    }
}

/// Records of batches that ranks have, each its own.
pub struct Held<T> {
    /// By rank of this process.
    batches: Arc<Vec<Vec<RecordBatch>>>,
    /// The rank of the first of them.
    first_rank: usize,
    /// How many batches each rank of the job has.
    counts: Arc<Vec<u64>>,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        let (batches, counts) = (Arc::clone(&self.batches), Arc::clone(&self.counts));
        Self { batches, counts, first_rank: self.first_rank, records: std::marker::PhantomData }
    }
}

impl<T: Record> Held<T> {
    /// Of batches by rank of this process, of which the first is `first_rank`, and of how many each rank of the job has.
    pub fn new(batches: Vec<Vec<RecordBatch>>, first_rank: usize, counts: Vec<u64>) -> Self {
        Self { batches: Arc::new(batches), first_rank, counts: Arc::new(counts), records: std::marker::PhantomData }
    }
}

impl<T: Record> Chain for Held<T> {
    type Item = T;

    fn parts(&self, run: &Run) -> Result<Parts> {
        let before = self.counts[..run.rank].iter().sum::<u64>();
        Ok(Parts { numbers: (before..before + self.counts[run.rank]).collect(), total: self.counts.iter().sum() })
    }

    fn drive(&self, part: &Part<'_>, sink: &mut impl FnMut(T) -> Flow) -> Result<Flow> {
        let batches = self.batches.get(part.run.rank - self.first_rank);
        let batch = batches.and_then(|batches| batches.get(part.place));
        let batch = batch.ok_or_else(|| Error::internal("a batch that is not held"))?;
        for record in Batches::<T>::read(batch)? {
            part.next()?;
            if sink(record).is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(ON)
    }

    fn needs(&self, _: &mut Needs) {}

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("{} batches", self.counts.iter().sum::<u64>()));
    }
}
