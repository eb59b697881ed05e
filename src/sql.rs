//! SQL text: statements apart, and errors that point at the place.

use bireme_engine::error::{Error, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

/// The statements of a script, in order, without their semicolons; comments and quotes are respected.
///
/// ```
/// let statements = bireme::sql::split("SELECT ';' AS a; -- one;\nSELECT 2;")?;
/// assert_eq!(statements, ["SELECT ';' AS a", "-- one;\nSELECT 2"]);
/// # Ok::<(), bireme::Error>(())
/// ```
///
/// # Errors
/// A quote or comment is not closed; the message shows where it starts.
pub fn split(text: &str) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    let (mut start, mut worth) = (0, false);
    for token in tokens(text)? {
        match token.token {
            Token::SemiColon => {
                let end = offset(text, token.span.start);
                if worth {
                    statements.push(text[start..end].trim().to_owned());
                }
                (start, worth) = (end + 1, false);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => worth = true,
        }
    }
    if worth {
        statements.push(text[start..].trim().to_owned());
    }
    Ok(statements)
}

/// Whether the text ends a statement: its last token is a semicolon.
pub fn is_complete(text: &str) -> bool {
    let Ok(tokens) = tokens(text) else { return false };
    let mut last = tokens.iter().rev().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    last.next().is_some_and(|token| token.token == Token::SemiColon)
}

/// Parses exactly one statement.
pub(crate) fn parse(text: &str) -> Result<Statement> {
    let dialect = GenericDialect {};
    let parsed =
        DFParserBuilder::new(text).with_dialect(&dialect).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| syntax_error(text, &error.strip_backtrace()))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (Some(_), more) => Err(Error::user(format!(
            "expected one SQL statement, found {}; run them one by one (bireme::sql::split takes a script apart)",
            more + 1
        ))),
        (None, _) => Err(Error::user("expected a SQL statement, found nothing")),
    }
}

fn tokens(text: &str) -> Result<Vec<datafusion::sql::sqlparser::tokenizer::TokenWithSpan>> {
    let dialect = GenericDialect {};
    Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        let place = Some((error.location.line as usize, error.location.column as usize));
        pointed(text, &error.message, place)
    })
}

/// The byte offset of a place in the text; lines and columns count from 1, columns in characters.
fn offset(text: &str, place: Location) -> usize {
    let mut start = 0;
    for line in text.split_inclusive('\n').take((place.line as usize).saturating_sub(1)) {
        start += line.len();
    }
    let line = &text[start..];
    let within = line.char_indices().nth((place.column as usize).saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    start + within
}

/// The parser's message, with the line it is about and a caret under the place.
fn syntax_error(text: &str, message: &str) -> Error {
    let message = message.strip_prefix("SQL error: ").unwrap_or(message);
    let message = message.trim_start_matches("ParserError(\"").trim_start_matches("TokenizerError(\"");
    let message = message.trim_end_matches("\")").replace("\\\"", "\"");
    match message.rsplit_once(" at Line: ") {
        Some((said, place)) => {
            let mut numbers = place
                .split(", Column: ")
                .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok());
            let place = numbers.next().flatten().zip(numbers.next().flatten());
            pointed(text, said, place)
        }
        None => pointed(text, &message, None),
    }
}

fn pointed(text: &str, said: &str, place: Option<(usize, usize)>) -> Error {
    let Some((line, column)) = place else {
        // The parser gives no place when the text ends too early.
        return Error::user(format!("SQL syntax: {said} (at the end of the statement)"));
    };
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let margin = format!("{line} | ");
    let caret = " ".repeat(margin.chars().count() + column.saturating_sub(1));
    Error::user(format!("SQL syntax: {said} (line {line}, column {column})\n{margin}{source}\n{caret}^"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it fails")]
mod tests {
    use super::*;

    #[test]
    fn splits_only_at_statement_ends() {
        let text = "SELECT 'a;b'; /* ; */ SELECT \"c;d\"\n;;\n -- end;\n";
        assert_eq!(split(text).unwrap(), ["SELECT 'a;b'", "/* ; */ SELECT \"c;d\""]);
        assert_eq!(split("SELECT 'ä'; SELECT 2").unwrap(), ["SELECT 'ä'", "SELECT 2"]);
        assert!(split("").unwrap().is_empty());
        assert!(split("SELECT 'open").is_err());
    }

    #[test]
    fn knows_when_a_statement_has_ended() {
        assert!(is_complete("SELECT 1;  \n"));
        assert!(!is_complete("SELECT 1"));
        assert!(!is_complete("SELECT ';"));
        assert!(!is_complete("SELECT 1 -- ;"));
    }

    #[test]
    fn syntax_errors_point_at_the_place() {
        let error = parse("SELECT a\n  FROM t WHERE )").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(error.lines().last().unwrap().ends_with('^'), "{error}");
        assert!(parse("SELECT 1; SELECT 2").unwrap_err().to_string().contains("found 2"));
    }
}
