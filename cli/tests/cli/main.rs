//! Drives the program as a user does: arguments in; output, messages and exit codes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it fails")]

mod bad_input;
mod commands;
mod program;
mod shell;
mod signals;
mod sql;
