//! SQL statements: where they come from, and how one is run.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bireme::prelude::{DataFrame, Error, Result, Session};
use clap::Args;

use crate::format::Format;
use crate::output::Output;
use crate::progress::Watch;
use crate::{interrupt, report};

/// Where statements come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StatementOptions {
    /// Statements, separated by `;`
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "file")]
    pub(crate) text: Option<String>,
    /// A file of statements; it stops at the first that fails
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl StatementOptions {
    /// The statements that were given; none if there is neither a text nor a file.
    ///
    /// # Errors
    /// The file cannot be read, or a quote or comment is left open.
    pub(crate) fn statements(&self) -> Result<Option<Vec<String>>> {
        if let Some(text) = &self.text {
            return bireme::sql::split(text).map(Some);
        }
        let Some(path) = &self.file else { return Ok(None) };
        let reading = format!("reading statements from {}", path.display());
        let bytes = fs::read(path).map_err(|error| Error::user(error.to_string()).context(&reading))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Error::user(format!("byte {valid} is not UTF-8; save the file as UTF-8")).context(&reading)
        })?;
        bireme::sql::split(&text).map(Some).map_err(|error| error.context(path.display()))
    }
}

/// Runs statements one after the other and shows what they give.
pub(crate) struct Runner {
    pub(crate) session: Session,
    pub(crate) output: Output,
    pub(crate) format: Format,
    pub(crate) timing: bool,
    /// Stops when nobody reads the output any more. Not where ranks are processes: the others would wait for this one.
    pub(crate) stop_when_closed: bool,
}

impl Runner {
    /// Runs all of them; the first failure ends it.
    ///
    /// # Errors
    /// A statement fails, or its rows cannot be written.
    pub(crate) fn run_all(&mut self, statements: &[String]) -> Result<()> {
        for statement in statements {
            if self.finished() {
                break;
            }
            self.run(statement)?;
        }
        Ok(())
    }

    /// Whether nobody wants the rest.
    pub(crate) fn finished(&self) -> bool {
        self.stop_when_closed && self.output.is_closed()
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// It fails, or its rows cannot be written.
    pub(crate) fn run(&mut self, statement: &str) -> Result<()> {
        interrupt::check()?;
        let started = Instant::now();
        let watch = Watch::start(&self.session);
        let frame = self.session.sql(statement)?;
        let rows = self.fetch(&frame)?;
        let elapsed = started.elapsed();
        drop(watch);
        if let Some(batches) = rows {
            self.output.rows(self.format, &frame.schema(), &batches)?;
        }
        if self.timing && self.session.is_root() {
            report::line(format_args!("time_ms {:.3}", elapsed.as_secs_f64() * 1e3));
        }
        Ok(())
    }

    /// The rows, on rank 0; with no format they are thrown away where they arise.
    fn fetch(&self, frame: &DataFrame) -> Result<Option<Vec<arrow::array::RecordBatch>>> {
        if self.format == Format::None && frame.is_query() {
            frame.run()?;
            return Ok(None);
        }
        frame.collect_root()
    }
}

/// The first word of a statement in upper case, behind blanks, comments and opening parentheses.
pub(crate) fn first_word(statement: &str) -> String {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_block_comment(comment);
        } else {
            break;
        }
    }
    rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// What follows a block comment, whose opening is already read; such comments nest.
fn after_block_comment(text: &str) -> &str {
    let (mut rest, mut depth) = (text, 1);
    while depth > 0 {
        match (rest.find("/*"), rest.find("*/")) {
            (Some(open), Some(close)) if open < close => (rest, depth) = (&rest[open + 2..], depth + 1),
            (_, Some(close)) => (rest, depth) = (&rest[close + 2..], depth - 1),
            (_, None) => return "",
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn first_words() {
        let check = |statement: &str, word: &str| assert_eq!(first_word(statement), word, "{statement}");
        check("select 1", "SELECT");
        check("  ((select 1))", "SELECT");
        check("-- a comment\n/* and /* a nested */ one */ create view v as select 1", "CREATE");
        check("--only a comment", "");
        check("/* left open", "");
        check("", "");
        check("EXPLAIN(x)", "EXPLAIN");
    }
}
