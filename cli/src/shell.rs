//! The interactive shell, and statements from a pipe.
//!
//! A statement ends with `;` and may span lines. On a terminal, lines are edited and remembered, and a failure is shown
//! and survived. A pipe is a script: it ends with the first statement that fails.

use std::env;
use std::fs;
use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use bireme::prelude::{Error, Result, Session};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Config, Editor, Helper, Highlighter, Hinter};

use crate::format::Format;
use crate::statements::Runner;
use crate::{columns, interrupt, report};

const WELCOME: &str = "Statements end with `;` and may span lines. \\? helps, \\q quits.";
const HELP: &str = "\
\\d          lists tables
\\d NAME     shows the columns of a table
\\timing     prints the time of each statement, or no longer
\\?          shows this
\\q          quits, as Ctrl-D does
Ctrl-C ends the statement that runs. Everything else is SQL, up to a `;`.";

/// Runs statements from the terminal or a pipe until they end. `open` opens another session, with its tables, when one
/// was cancelled.
///
/// # Errors
/// A statement from a pipe fails, or lines cannot be read.
pub(crate) fn run(runner: &mut Runner, open: &dyn Fn() -> Result<Session>) -> Result<()> {
    if stdin().is_terminal() { interactive(runner, open) } else { piped(runner) }
}

/// What a line of input led to.
enum After {
    GoOn,
    Quit,
}

// --- a terminal ---

/// Keeps a statement open in the editor until its `;`.
#[derive(Completer, Helper, Highlighter, Hinter)]
struct Statement;

impl Validator for Statement {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let complete = is_whole(context.input());
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

fn interactive(runner: &mut Runner, open: &dyn Fn() -> Result<Session>) -> Result<()> {
    let mut editor = editor().map_err(cannot_read)?;
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    report::line(WELCOME);
    loop {
        match editor.readline("bireme> ") {
            Ok(input) if input.trim().is_empty() => {}
            Ok(input) => {
                let _ = editor.add_history_entry(input.trim_end());
                match obey(runner, &input) {
                    Ok(After::GoOn) => {}
                    Ok(After::Quit) => break,
                    Err(error) => report::line(error),
                }
                if interrupt::requested() {
                    start_afresh(runner, open)?;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(cannot_read(error)),
        }
        if runner.finished() {
            break;
        }
    }
    remember(&mut editor, history.as_ref());
    Ok(())
}

/// A cancelled session runs nothing any more: another one takes its place.
fn start_afresh(runner: &mut Runner, open: &dyn Fn() -> Result<Session>) -> Result<()> {
    interrupt::reset();
    // What it has to say about closing was said when its statement was cancelled.
    let _ = runner.session.close();
    runner.session = open()?;
    report::line("a new session: the tables of the command line are there, those that statements made are gone");
    Ok(())
}

fn editor() -> rustyline::Result<Editor<Statement, DefaultHistory>> {
    let config = Config::builder().max_history_size(10_000)?.history_ignore_dups(true)?.build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Statement));
    Ok(editor)
}

fn remember(editor: &mut Editor<Statement, DefaultHistory>, history: Option<&PathBuf>) {
    let Some(path) = history else { return };
    let saved = match path.parent().map(fs::create_dir_all) {
        Some(Err(error)) => Err(error.to_string()),
        _ => editor.save_history(path).map_err(|error| error.to_string()),
    };
    if let Err(error) = saved {
        report::line(format_args!("warning: the history was not saved to {}: {error}", path.display()));
    }
}

/// `BIREME_HISTORY`, or a file in the user's folder for state.
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = || set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    set("BIREME_HISTORY").or_else(|| Some(state()?.join("bireme/history")))
}

fn cannot_read(error: ReadlineError) -> Error {
    Error::resources(format!("reading from the terminal: {error}"))
}

// --- a pipe ---

fn piped(runner: &mut Runner) -> Result<()> {
    let lines = lines_of_stdin();
    let mut open = String::new();
    while let Some(line) = next_line(&lines)? {
        open.push_str(&line);
        open.push('\n');
        if !is_whole(&open) {
            continue;
        }
        if let After::Quit = obey(runner, &open)? {
            return Ok(());
        }
        open.clear();
        if runner.finished() {
            return Ok(());
        }
    }
    // The last statement may go without its `;`.
    obey(runner, &open).map(|_| ())
}

/// Reads lines on a thread of its own, so that a signal is noticed while the pipe is silent.
fn lines_of_stdin() -> Receiver<std::io::Result<String>> {
    let (sender, lines) = sync_channel(16);
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn next_line(lines: &Receiver<std::io::Result<String>>) -> Result<Option<String>> {
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(Ok(line)) => return Ok(Some(line)),
            Ok(Err(error)) => return Err(Error::user(format!("reading statements from standard input: {error}"))),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
        }
    }
}

// --- both ---

/// Whether input can be acted upon: a command of the shell, nothing at all, or whole statements.
fn is_whole(input: &str) -> bool {
    let input = input.trim();
    input.is_empty() || input.starts_with('\\') || bireme::sql::is_complete(input)
}

fn obey(runner: &mut Runner, input: &str) -> Result<After> {
    let input = input.trim();
    if let Some(command) = input.strip_prefix('\\') {
        return shell_command(runner, command);
    }
    for statement in bireme::sql::split(input)? {
        runner.run(&statement)?;
    }
    Ok(After::GoOn)
}

fn shell_command(runner: &mut Runner, command: &str) -> Result<After> {
    let mut words = command.trim_end_matches([';', ' ']).split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("q"), None, _) => return Ok(After::Quit),
        (Some("?"), None, _) => runner.output.line(HELP)?,
        (Some("timing"), None, _) => {
            runner.timing = !runner.timing;
            report::line(format_args!("timing is {}", if runner.timing { "on" } else { "off" }));
        }
        (Some("d"), None, _) => {
            for name in runner.session.tables() {
                runner.output.line(&name)?;
            }
        }
        (Some("d"), Some(name), None) => {
            let columns = columns::describe(&runner.session.table(name)?.schema())?;
            let format = if runner.format == Format::None { Format::Table } else { runner.format };
            runner.output.rows(format, &columns.schema(), std::slice::from_ref(&columns))?;
        }
        _ => return Err(Error::user(format!("`\\{}` is no command of the shell; \\? lists them", command.trim()))),
    }
    Ok(After::GoOn)
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn what_can_be_acted_upon() {
        for input in ["", "  \n", "\\d", "\\q\n", "select 1;", "select ';' ;\n"] {
            assert!(is_whole(input), "{input}");
        }
        for input in ["select 1", "select ';", "select 1 -- ;"] {
            assert!(!is_whole(input), "{input}");
        }
    }
}
