//! Matrix Market files: sparse and dense matrices as text.
//!
//! Source: R. F. Boisvert, R. Pozo, K. A. Remington, "The Matrix Market Exchange Formats: Initial Design", NISTIR 5935,
//! 1996.
//!
//! ```text
//!  %%MatrixMarket matrix coordinate real symmetric      what it is
//!  % any comments
//!  3 3 2                                                rows, columns, entries that follow
//!  1 1 2.5                                              row, column (both from 1), value
//!  3 1 -1                                               stands for (3, 1) and (1, 3)
//! ```
//!
//! ```text
//!             real, integer    pattern (all values 1)    complex
//!  coordinate read             read                      refused
//!  array      read             is none                   refused       column by column, one value a line
//! ```
//!
//! Matrices may be general, symmetric or skew-symmetric: what the file leaves out is filled in. Words are read in
//! upper and lower case. Blank lines and lines of comments may stand anywhere after the first.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use bireme_engine::{Error, Result};
use memchr::memchr;

use super::mapped::Mapped;
use super::{create_new, room, shown_text};

#[cfg(test)]
mod tests;

/// What the shortest lines take, the end of the line included: `1 1` and `1`.
const SHORTEST_ENTRY: usize = 4;
const SHORTEST_VALUE: usize = 2;

/// Integers up to here are exact as floats of 64 bits.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

/// What a Matrix Market file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Matrix {
    /// A sparse matrix.
    Coordinate(CoordinateMatrix),
    /// A dense matrix.
    Dense(DenseMatrix),
}

/// A sparse matrix: entry `i` stands at row `row[i]`, column `column[i]`, both from 0.
///
/// Entries are in the order of the file; the mirror image of an entry follows it. A place that the file names twice is
/// there twice: by custom, such values are added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoordinateMatrix {
    /// How many rows the matrix has.
    pub rows: usize,
    /// How many columns it has.
    pub columns: usize,
    /// The row of each entry.
    pub row: Vec<i64>,
    /// The column of each entry.
    pub column: Vec<i64>,
    /// The value of each entry.
    pub values: Vec<f64>,
}

/// A dense matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseMatrix {
    /// How many rows the matrix has.
    pub rows: usize,
    /// How many columns it has.
    pub columns: usize,
    /// Its values, row by row.
    pub values: Vec<f64>,
}

/// Reads a Matrix Market file.
///
/// ```
/// use bireme_connectors::array_file::matrix_market::{self, Matrix};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.mtx");
/// std::fs::write(&path, "%%MatrixMarket matrix coordinate real symmetric\n3 3 2\n1 1 2.5\n3 1 -1\n")?;
///
/// let Matrix::Coordinate(matrix) = matrix_market::read(&path)? else { unreachable!() };
/// assert_eq!((matrix.row, matrix.column, matrix.values), (vec![0, 2, 0], vec![0, 0, 2], vec![2.5, -1.0, -1.0]));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// There is no such file; it is complex or Hermitian; a line is not what it should be, which the message numbers;
/// memory ran out.
pub fn read(path: &Path) -> Result<Matrix> {
    let file = Mapped::open(path)?;
    parse(file.bytes()).map_err(|error| error.context(format!("reading {}", file.shown())))
}

/// Writes a sparse matrix as `coordinate real general`. What is read back has the same values, bit by bit, except that
/// all NaNs are one.
///
/// ```
/// use bireme_connectors::array_file::matrix_market::{self, CoordinateMatrix, Matrix};
///
/// let matrix = CoordinateMatrix { rows: 2, columns: 3, row: vec![1], column: vec![2], values: vec![0.1] };
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.mtx");
/// matrix_market::write(&path, &matrix)?;
/// assert_eq!(matrix_market::read(&path)?, Matrix::Coordinate(matrix));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// The file exists or cannot be created; an entry lies outside of the matrix; the disk is full.
pub fn write(path: &Path, matrix: &CoordinateMatrix) -> Result<()> {
    let attempted = |error: Error| error.context(format!("writing {}", path.display()));
    check_entries(matrix).map_err(attempted)?;
    let file = create_new(path)?;
    write_lines(file, matrix).map_err(|error| attempted(Error::from(error)))
}

fn check_entries(matrix: &CoordinateMatrix) -> Result<()> {
    let CoordinateMatrix { rows, columns, row, column, values } = matrix;
    if row.len() != column.len() || row.len() != values.len() {
        let message = format!("{} rows, {} columns and {} values of entries", row.len(), column.len(), values.len());
        return Err(Error::user(format!("{message}: an entry has one of each")));
    }
    let inside = |index: i64, length: usize| usize::try_from(index).is_ok_and(|index| index < length);
    let bad = row.iter().zip(column).position(|(&row, &column)| !inside(row, *rows) || !inside(column, *columns));
    match bad {
        None => Ok(()),
        Some(bad) => Err(Error::user(format!(
            "entry {bad} stands at ({}, {}), outside of a matrix of {rows} × {columns}; places count from 0",
            row[bad], column[bad],
        ))),
    }
}

fn write_lines(file: File, matrix: &CoordinateMatrix) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    writeln!(out, "%%MatrixMarket matrix coordinate real general")?;
    writeln!(out, "{} {} {}", matrix.rows, matrix.columns, matrix.values.len())?;
    for ((row, column), value) in matrix.row.iter().zip(&matrix.column).zip(&matrix.values) {
        // `{:?}` is the shortest text that reads back as the same number, with an exponent where there are many zeros.
        writeln!(out, "{} {} {value:?}", row + 1, column + 1)?;
    }
    out.flush()
}

fn parse(bytes: &[u8]) -> Result<Matrix> {
    let mut lines = Lines { rest: bytes, number: 0 };
    let banner = Banner::read(&mut lines)?;
    match banner.format {
        Format::Coordinate => Ok(Matrix::Coordinate(coordinates(&banner, &mut lines)?)),
        Format::Array => Ok(Matrix::Dense(dense(&banner, &mut lines)?)),
    }
}

/// The first line.
struct Banner {
    format: Format,
    field: Field,
    symmetry: Symmetry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Coordinate,
    Array,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Real,
    Integer,
    Pattern,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Symmetry {
    General,
    Symmetric,
    Skew,
}

impl Banner {
    fn read(lines: &mut Lines<'_>) -> Result<Self> {
        let line = lines.next().unwrap_or_default();
        let text = String::from_utf8_lossy(&line[..line.len().min(200)]).to_ascii_lowercase();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let &["%%matrixmarket", object, format, field, symmetry] = words.as_slice() else {
            let message = format!(
                "a Matrix Market file starts with '%%MatrixMarket matrix coordinate real general' or the like, not with \
                 '{}'",
                shown_text(line),
            );
            return Err(lines.corrupt(message));
        };
        if object != "matrix" {
            return Err(lines.unsupported(format!("it holds a {object}; write it as a matrix of one column")));
        }
        let banner = Self {
            format: match format {
                "coordinate" => Format::Coordinate,
                "array" => Format::Array,
                other => return Err(lines.corrupt(format!("unknown format '{other}': known are coordinate and array"))),
            },
            field: match field {
                "real" => Field::Real,
                "integer" => Field::Integer,
                "pattern" => Field::Pattern,
                "complex" => {
                    let message = "its values are complex; write the real and the imaginary parts as two real matrices";
                    return Err(lines.unsupported(message));
                }
                other => {
                    return Err(lines.corrupt(format!("unknown values '{other}': known are real, integer and pattern")));
                }
            },
            symmetry: match symmetry {
                "general" => Symmetry::General,
                "symmetric" => Symmetry::Symmetric,
                "skew-symmetric" => Symmetry::Skew,
                "hermitian" => {
                    let message = "it is Hermitian, so complex; a real Hermitian matrix is 'real symmetric'";
                    return Err(lines.unsupported(message));
                }
                other => {
                    let message = format!("unknown symmetry '{other}': known are general, symmetric, skew-symmetric");
                    return Err(lines.corrupt(message));
                }
            },
        };
        match (banner.format, banner.field, banner.symmetry) {
            (Format::Array, Field::Pattern, _) => Err(lines.corrupt("an array lists values, so it is no pattern")),
            (_, Field::Pattern, Symmetry::Skew) => Err(lines.corrupt("a pattern has no signs, so it is not skew")),
            _ => Ok(banner),
        }
    }

    fn check_square(&self, rows: usize, columns: usize, lines: &Lines<'_>) -> Result<()> {
        if rows != columns && self.symmetry != Symmetry::General {
            return Err(lines.corrupt(format!("{rows} × {columns}: a symmetric matrix has as many rows as columns")));
        }
        Ok(())
    }
}

fn coordinates(banner: &Banner, lines: &mut Lines<'_>) -> Result<CoordinateMatrix> {
    let [rows, columns, entries] = lines.size("rows, columns and entries")?;
    banner.check_square(rows, columns, lines)?;
    lines.check_room(entries, SHORTEST_ENTRY)?;
    let filled = if banner.symmetry == Symmetry::General { entries } else { entries.saturating_mul(2) };
    let mut matrix =
        CoordinateMatrix { rows, columns, row: room(filled)?, column: room(filled)?, values: room(filled)? };
    for read in 0..entries {
        let line = lines.content(|| format!("entry {} of {entries}", read + 1))?;
        let mut words = words(line);
        let row = lines.index(words.next(), rows, "row")?;
        let column = lines.index(words.next(), columns, "column")?;
        let value = match banner.field {
            Field::Pattern => 1.0,
            field => lines.value(words.next(), field)?,
        };
        lines.end(words.next())?;
        lines.check_triangle(banner.symmetry, row, column)?;
        matrix.push(row, column, value);
        match banner.symmetry {
            Symmetry::Symmetric if row != column => matrix.push(column, row, value),
            Symmetry::Skew => matrix.push(column, row, -value),
            _ => {}
        }
    }
    lines.nothing_more(entries)?;
    Ok(matrix)
}

impl CoordinateMatrix {
    fn push(&mut self, row: usize, column: usize, value: f64) {
        self.row.push(row as i64);
        self.column.push(column as i64);
        self.values.push(value);
    }
}

fn dense(banner: &Banner, lines: &mut Lines<'_>) -> Result<DenseMatrix> {
    let [rows, columns] = lines.size("rows and columns")?;
    banner.check_square(rows, columns, lines)?;
    let too_large = || lines.corrupt(format!("{rows} × {columns} values are more than any memory holds"));
    let all = rows.checked_mul(columns).ok_or_else(too_large)?;
    let written = match banner.symmetry {
        Symmetry::General => all,
        Symmetry::Symmetric => (all - rows) / 2 + rows,
        Symmetry::Skew => (all - rows) / 2,
    };
    lines.check_room(written, SHORTEST_VALUE)?;
    let mut values = room(all)?;
    values.resize(all, 0.0);
    let mut read = 0;
    for column in 0..columns {
        let first = match banner.symmetry {
            Symmetry::General => 0,
            Symmetry::Symmetric => column,
            Symmetry::Skew => column + 1,
        };
        for row in first..rows {
            read += 1;
            let line = lines.content(|| format!("value {read} of {written}"))?;
            let mut words = words(line);
            let value = lines.value(words.next(), banner.field)?;
            lines.end(words.next())?;
            values[row * columns + column] = value;
            match banner.symmetry {
                Symmetry::General => {}
                Symmetry::Symmetric => values[column * columns + row] = value,
                Symmetry::Skew => values[column * columns + row] = -value,
            }
        }
    }
    lines.nothing_more(written)?;
    Ok(DenseMatrix { rows, columns, values })
}

/// The lines that were not read yet.
struct Lines<'a> {
    rest: &'a [u8],
    /// The number of the line that was read last, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = &self.rest[self.rest.len().min(end + 1)..];
        Some(line)
    }

    /// The next line that is neither blank nor a comment.
    fn next_content(&mut self) -> Option<&'a [u8]> {
        loop {
            let line = self.next()?;
            if !line.starts_with(b"%") && !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
    }

    fn content(&mut self, what: impl Fn() -> String) -> Result<&'a [u8]> {
        let line = self.next_content();
        line.ok_or_else(|| self.corrupt(format!("the file ends before {}: it was cut short", what())))
    }

    fn size<const N: usize>(&mut self, what: &str) -> Result<[usize; N]> {
        let line = self.content(|| format!("the numbers of {what}"))?;
        let numbers: Option<Vec<usize>> = words(line).map(number).collect();
        let numbers = numbers.and_then(|numbers| <[usize; N]>::try_from(numbers).ok());
        // Indexes are handed out as integers of 64 bits with a sign.
        let numbers = numbers.filter(|numbers| numbers.iter().all(|&number| i64::try_from(number).is_ok()));
        numbers.ok_or_else(|| self.corrupt(format!("expected the numbers of {what}, not '{}'", shown_text(line))))
    }

    /// Fails if the file is too short for so many lines, before memory is taken for them.
    fn check_room(&self, lines: usize, shortest: usize) -> Result<()> {
        // The last line may have no end.
        if lines > 0 && lines.saturating_mul(shortest) > self.rest.len().saturating_add(1) {
            let message = format!("{lines} lines should follow, but {} bytes do: it was cut short", self.rest.len());
            return Err(self.corrupt(message));
        }
        Ok(())
    }

    fn index(&self, word: Option<&[u8]>, length: usize, what: &str) -> Result<usize> {
        let Some(word) = word else { return Err(self.corrupt(format!("the {what} is missing"))) };
        match number::<usize>(word) {
            Some(index) if (1..=length).contains(&index) => Ok(index - 1),
            _ => Err(self.corrupt(format!("{what} '{}' is not one of 1 to {length}", shown_text(word)))),
        }
    }

    fn value(&self, word: Option<&[u8]>, field: Field) -> Result<f64> {
        let Some(word) = word else { return Err(self.corrupt("the value is missing")) };
        let value = if field == Field::Integer {
            let value = number::<i64>(word);
            if value.is_some_and(|value| value.unsigned_abs() > EXACT) {
                let message =
                    format!("integer {} has more than 53 bits, which a 64-bit float rounds", shown_text(word));
                return Err(self.unsupported(message));
            }
            value.map(|value| value as f64)
        } else {
            real(word)
        };
        let what = if field == Field::Integer { "an integer" } else { "a number" };
        value.ok_or_else(|| self.corrupt(format!("'{}' is not {what} that a 64-bit float holds", shown_text(word))))
    }

    fn check_triangle(&self, symmetry: Symmetry, row: usize, column: usize) -> Result<()> {
        let (row, column) = (row + 1, column + 1);
        match symmetry {
            Symmetry::Skew if row == column => {
                Err(self.corrupt(format!("({row}, {column}): the diagonal of a skew-symmetric matrix is not written")))
            }
            Symmetry::Symmetric | Symmetry::Skew if row < column => {
                let message =
                    format!("({row}, {column}) lies above the diagonal; of a symmetric matrix, the lower triangle");
                Err(self.corrupt(format!("{message} is written")))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, word: Option<&[u8]>) -> Result<()> {
        match word {
            None => Ok(()),
            Some(word) => Err(self.corrupt(format!("'{}' follows where the line should end", shown_text(word)))),
        }
    }

    fn nothing_more(&mut self, promised: usize) -> Result<()> {
        match self.next_content() {
            None => Ok(()),
            Some(line) => {
                Err(self.corrupt(format!("'{}' follows after the {promised} lines that it promises", shown_text(line))))
            }
        }
    }

    fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("line {}: {what}", self.number.max(1)))
    }

    fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format!("line {}: {what}", self.number.max(1)))
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A float as C or Fortran writes it: `1.5`, `-2e3`, `1.0D+03`, `nan`, `inf`. Too large a number is none.
fn real(word: &[u8]) -> Option<f64> {
    let value = number::<f64>(word).or_else(|| {
        let exponent = word.iter().position(|byte| matches!(byte, b'd' | b'D'))?;
        let mut word = word.to_vec();
        word[exponent] = b'e';
        number(&word)
    })?;
    (value.is_finite() || !word.iter().any(u8::is_ascii_digit)).then_some(value)
}
