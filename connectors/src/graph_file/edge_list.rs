//! Edge lists: an edge a line, as the GAP benchmark (`.el`, `.wel`) and the Stanford collection (SNAP) have them.
//!
//! ```text
//!  # comments, also with %
//!  0 1            two columns: where an edge comes from, and where it goes
//!  7 3 -2.5       or three: and its weight; either all lines have one or none
//! ```
//!
//! Columns are parted by blanks and tabs. Vertices are any numbers of 64 bits without a sign; what they are to mean is left to
//! the caller. Weights are integers, or floats if one of them is none.
//!
//! The file is cut into pieces of a mebibyte, which threads take in turn. A line belongs to the piece in which it begins:
//!
//! ```text
//!  12 7\n3 4\n5 1│00\n6 6\n…        the first piece reads on to the end of its last line, the second one begins with `6 6`
//! ```
//!
//! Beside the edges, memory holds a piece a thread, and while the pieces are put together, one column twice.
//!
//! J. Leskovec, A. Krevl: SNAP Datasets: Stanford Large Network Dataset Collection, 2014.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bireme_engine::error::{Error, Result};
use memchr::{memchr, memchr_iter, memrchr};

use super::{open, room};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests;

/// How many bytes a piece has.
const PIECE: u64 = 1 << 20;

/// A line with more bytes than this is taken for a sign that the file is no text.
const LONGEST_LINE: usize = 1 << 20;

/// Messages show so many bytes of a word.
const SHOWN: usize = 40;

/// What an edge list holds: edge `i` goes from `from[i]` to `to[i]`, in the order of the lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeList {
    /// Where each edge comes from.
    pub from: Vec<u64>,
    /// Where each edge goes.
    pub to: Vec<u64>,
    /// The weight of each edge.
    pub weights: Weights,
}

/// The third column.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Weights {
    /// There is none, or there are no edges.
    #[default]
    None,
    /// All are integers of 64 bits.
    Integers(Vec<i64>),
    /// Others.
    Floats(Vec<f64>),
}

/// Reads an edge list with so many threads (at least one).
///
/// ```
/// use bireme_connectors::graph_file::edge_list::{self, Weights};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.wel");
/// std::fs::write(&path, "# from to weight\n0 1 5\n7 3 -2\n")?;
/// let edges = edge_list::read(&path, 2)?;
/// assert_eq!((edges.from, edges.to, edges.weights), (vec![0, 7], vec![1, 3], Weights::Integers(vec![5, -2])));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// There is no such file; a line is not what it should be, which the message numbers; memory ran out.
pub fn read(path: &Path, threads: usize) -> Result<EdgeList> {
    read_pieces(path, threads, PIECE).map_err(|error| error.context(format!("reading {}", path.display())))
}

fn read_pieces(path: &Path, threads: usize, piece: u64) -> Result<EdgeList> {
    let (file, bytes) = open(path)?;
    let pieces = bytes.div_ceil(piece);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let read = || {
        let (mut buffer, mut parsed) = (Vec::new(), Vec::new());
        // Pieces are taken in order: when one fails, those before it were taken, and are read to their end.
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= pieces {
                break;
            }
            let piece = read_piece(&file, bytes, number * piece..bytes.min((number + 1) * piece), &mut buffer);
            failed.fetch_or(piece.as_ref().map_or(true, |piece| piece.problem.is_some()), Ordering::Relaxed);
            parsed.push((number, piece));
        }
        parsed
    };
    let mut parsed = thread::scope(|scope| {
        let others =
            (1..threads as u64).take_while(|&thread| thread < pieces).map(|_| scope.spawn(read)).collect::<Vec<_>>();
        let mut parsed = read();
        for other in others {
            // A thread that panicked panics here too.
            parsed.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parsed
    });
    parsed.sort_unstable_by_key(|(number, _)| *number);
    let mut pieces = Vec::with_capacity(parsed.len());
    for (_, piece) in parsed {
        match piece {
            Ok(piece) => pieces.push(piece),
            Err(error) => return Err(check_lines(&pieces).err().unwrap_or(error)),
        }
    }
    put_together(pieces)
}

/// The edges of the lines that begin in a range of bytes.
fn read_piece(file: &File, bytes: u64, range: std::ops::Range<u64>, buffer: &mut Vec<u8>) -> Result<Piece> {
    // With the byte before, which tells whether a line begins with the first one.
    let start = range.start.saturating_sub(1);
    buffer.clear();
    read_on(file, start, range.end, buffer)?;
    let first = if range.start == 0 { Some(0) } else { memchr(b'\n', buffer).map(|end| end + 1) };
    let Some(first) = first.filter(|&first| first < buffer.len()) else { return Ok(Piece::default()) };
    let mut end = range.end;
    let mut last_line = memrchr(b'\n', buffer).map_or(0, |end| end + 1);
    while last_line < buffer.len() && end < bytes {
        let seen = buffer.len();
        if seen - last_line > LONGEST_LINE {
            return Err(Error::corrupt(format!("a line of more than {LONGEST_LINE} bytes: it is no text")));
        }
        let more = bytes.min(end + 4096);
        read_on(file, end, more, buffer)?;
        end = more;
        if let Some(line) = memchr(b'\n', &buffer[seen..]) {
            buffer.truncate(seen + line + 1);
            last_line = buffer.len();
        }
    }
    Piece::parse(&buffer[first..])
}

fn read_on(file: &File, start: u64, end: u64, buffer: &mut Vec<u8>) -> Result<()> {
    let seen = buffer.len();
    buffer.resize(seen + (end - start) as usize, 0);
    Ok(file.read_exact_at(&mut buffer[seen..], start)?)
}

/// Edges of some lines.
#[derive(Debug, Default)]
struct Piece {
    from: Vec<u64>,
    to: Vec<u64>,
    weights: WeightColumn,
    /// How many lines there are, also without edges.
    lines: u64,
    /// How many columns the lines have, and the number of the first one that has an edge.
    columns: Option<(usize, u64)>,
    /// The line that is wrong, and what is; nothing was read after it. Lines are counted from 1 in the piece.
    problem: Option<(u64, String)>,
}

impl Piece {
    fn parse(text: &[u8]) -> Result<Self> {
        let lines = memchr_iter(b'\n', text).count() + 1;
        let mut piece = Self { from: room(lines)?, to: room(lines)?, ..Self::default() };
        let mut words = Words { text, at: 0 };
        while words.at < text.len() {
            piece.lines += 1;
            if let Err(what) = piece.line(&mut words) {
                piece.problem = Some((piece.lines, what));
                break;
            }
        }
        Ok(piece)
    }

    fn line(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        if matches!(words.start(), None | Some(b'#' | b'%')) {
            words.skip_line();
            return Ok(());
        }
        let from = words.vertex("the vertex that an edge comes from")?;
        let to = words.vertex("the vertex that an edge goes to")?;
        let columns = if words.start().is_some() { 3 } else { 2 };
        let (expected, _) = *self.columns.get_or_insert((columns, self.lines));
        if columns != expected {
            return Err(other_columns(columns, expected));
        }
        if columns == 3 {
            self.weights.read(words)?;
        }
        if words.start().is_some() {
            return Err(format!("'{}' follows after three columns, where the line should end", shown(words.word())));
        }
        words.skip_line();
        self.from.push(from);
        self.to.push(to);
        Ok(())
    }
}

fn other_columns(columns: usize, expected: usize) -> String {
    format!(
        "it has {columns} columns, the lines before have {expected}: either all edges have a weight, or none has one"
    )
}

/// Weights while they are read.
#[derive(Debug, Default)]
struct WeightColumn {
    /// The weights, as long as all of them are integers.
    integers: Vec<i64>,
    /// Once one is not, all of them.
    floats: Vec<f64>,
}

impl WeightColumn {
    fn read(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let integer = words.integer();
        if let (Some(integer), true) = (integer, self.floats.is_empty()) {
            self.integers.push(integer);
            return Ok(());
        }
        let float = match integer {
            Some(integer) => integer as f64,
            None => float(words.word())?,
        };
        self.make_floats();
        self.floats.push(float);
        Ok(())
    }

    /// An integer becomes the same float whether its text or its value is rounded.
    fn make_floats(&mut self) {
        self.floats.extend(std::mem::take(&mut self.integers).into_iter().map(|integer| integer as f64));
    }
}

fn float(word: &[u8]) -> Result<f64, String> {
    let float = std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
    float.filter(|float| !float.is_nan()).ok_or_else(|| format!("'{}' is not a weight", shown(word)))
}

/// The words of a text, line by line.
struct Words<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied().filter(|&byte| byte != b'\n')
    }

    /// The first byte of the next word of the line.
    #[inline]
    fn start(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    #[inline]
    fn at_end(&self) -> bool {
        matches!(self.byte(), None | Some(b' ' | b'\t' | b'\r'))
    }

    /// All that is left of a word.
    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        while !self.at_end() {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    #[inline]
    fn skip_line(&mut self) {
        if self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
        } else {
            self.at = memchr(b'\n', &self.text[self.at..]).map_or(self.text.len(), |end| self.at + end + 1);
        }
    }

    #[inline]
    fn vertex(&mut self, what: &str) -> Result<u64, String> {
        if self.start().is_none() {
            return Err(format!("{what} is missing"));
        }
        let start = self.at;
        self.digits().ok_or_else(|| {
            self.at = start;
            format!("'{}' is not {what}: a number from 0 to 2^64 - 1", shown(self.word()))
        })
    }

    /// The next word, if it is an integer of 64 bits; else nothing is read.
    #[inline]
    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let negative = self.byte() == Some(b'-');
        self.at += usize::from(negative);
        let integer = self
            .digits()
            .and_then(|digits| if negative { 0_i64.checked_sub_unsigned(digits) } else { i64::try_from(digits).ok() });
        if integer.is_none() {
            self.at = start;
        }
        integer
    }

    /// The number that digits up to the end of the word make.
    #[inline]
    fn digits(&mut self) -> Option<u64> {
        let (start, mut number) = (self.at, 0_u64);
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start && self.at_end()).then_some(number)
    }
}

/// A word in a message: not all of a long one, and nothing that a terminal would obey.
fn shown(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(&word[..word.len().min(SHOWN)]);
    let mut shown: String = text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if word.len() > SHOWN {
        shown.push('…');
    }
    shown
}

fn put_together(pieces: Vec<Piece>) -> Result<EdgeList> {
    check_lines(&pieces)?;
    let edges = pieces.iter().map(|piece| piece.from.len()).sum();
    let floats = pieces.iter().any(|piece| !piece.weights.floats.is_empty());
    let (mut from, mut to, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for mut piece in pieces {
        if floats {
            piece.weights.make_floats();
        }
        from.push(piece.from);
        to.push(piece.to);
        weights.push(piece.weights);
    }
    let third = || -> Result<Weights> {
        if floats {
            return joined(weights.into_iter().map(|weights| weights.floats), edges).map(Weights::Floats);
        }
        let integers = joined(weights.into_iter().map(|weights| weights.integers), edges)?;
        Ok(if integers.is_empty() { Weights::None } else { Weights::Integers(integers) })
    };
    thread::scope(|scope| {
        let from = scope.spawn(|| joined(from.into_iter(), edges));
        let to = joined(to.into_iter(), edges)?;
        let weights = third()?;
        let from = from.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(EdgeList { from, to, weights })
    })
}

/// Says the first line that is wrong.
fn check_lines(pieces: &[Piece]) -> Result<()> {
    let mut before = 0;
    let mut expected = None;
    for piece in pieces {
        let at = |line: u64, what: &str| Error::corrupt(format!("line {}: {what}", before + line));
        if let Some((columns, line)) = piece.columns {
            let expected = *expected.get_or_insert(columns);
            if columns != expected {
                return Err(at(line, &other_columns(columns, expected)));
            }
        }
        if let Some((line, what)) = &piece.problem {
            return Err(at(*line, what));
        }
        before += piece.lines;
    }
    Ok(())
}

/// One vector after the other; each gives its memory back when it was copied.
fn joined<T: Copy>(parts: impl Iterator<Item = Vec<T>>, most: usize) -> Result<Vec<T>> {
    let mut parts = parts.filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Ok(Vec::new());
    }
    let mut all = room(most)?;
    parts.for_each(|part| all.extend_from_slice(&part));
    Ok(all)
}
