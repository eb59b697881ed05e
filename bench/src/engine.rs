//! An engine behind a child process: it is asked one question at a time.
//!
//! A child that dies or stays silent for too long has failed that question only: the next one starts it anew.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::peak_bytes;
use crate::protocol::{Done, Greeting, Ready, Reply, Request};

/// How long a child gets to end by itself when there are no more questions.
const FAREWELL: Duration = Duration::from_secs(5);

/// What can go wrong with a child, in words; it is said in the report and ends nothing.
pub(crate) type Failure = String;

/// An engine, running or not.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    command: Box<dyn Fn() -> Command>,
    timeout: Duration,
    process: Option<Process>,
    peak: u64,
}

impl Engine {
    /// An engine that this command starts.
    pub(crate) fn new(name: &'static str, timeout: Duration, command: impl Fn() -> Command + 'static) -> Self {
        Self { name, command: Box::new(command), timeout, process: None, peak: 0 }
    }

    /// Starts it, and waits until its tables are registered.
    ///
    /// # Errors
    /// It is not installed, or ends, or says nothing.
    pub(crate) fn start(&mut self) -> Result<Ready, Failure> {
        let mut process = Process::spawn(&mut (self.command)())?;
        let greeting = process.hear(self.timeout)?;
        match greeting {
            Greeting::Ready(ready) => {
                self.process = Some(process);
                Ok(ready)
            }
            Greeting::Missing { missing } => Err(missing),
        }
    }

    /// Asks it a question.
    ///
    /// # Errors
    /// The engine fails at it, dies of it, or does not answer in time.
    pub(crate) fn ask(&mut self, query: &str, sql: &str, answer: bool) -> Result<Done, Failure> {
        if self.process.is_none() {
            self.start().map_err(|failure| format!("it does not start again: {failure}"))?;
        }
        let Some(process) = &mut self.process else { return Err("it is not running".into()) };
        let request = Request { query: query.into(), sql: sql.into(), answer };
        let reply = process.say(&request).and_then(|()| process.hear(self.timeout));
        self.peak = self.peak.max(peak_bytes(process.child.id()).unwrap_or(0));
        match reply {
            Ok(Reply::Done(done)) => Ok(done),
            Ok(Reply::Failed { error }) => Err(error),
            Err(failure) => {
                self.process = None;
                Err(failure)
            }
        }
    }

    /// The most memory its process had, as seen after each answer; none before the first.
    pub(crate) fn peak(&self) -> Option<u64> {
        (self.peak > 0).then_some(self.peak)
    }
}

/// A child and its two pipes.
struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    replies: Receiver<String>,
}

impl Process {
    fn spawn(command: &mut Command) -> Result<Self, Failure> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))?;
        let requests = child.stdin.take();
        let (sender, replies) = channel();
        if let Some(output) = child.stdout.take() {
            // A pipe cannot be read with a time limit; a channel can.
            thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        }
        Ok(Self { child, requests, replies })
    }

    fn say(&mut self, request: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_string(request).map_err(|error| error.to_string())?;
        line.push('\n');
        let sent = self.requests.as_mut().map(|pipe| pipe.write_all(line.as_bytes()));
        if let Some(Ok(())) = sent { Ok(()) } else { Err(self.obituary()) }
    }

    fn hear<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, Failure> {
        match self.replies.recv_timeout(within) {
            Ok(line) => serde_json::from_str(&line).map_err(|error| {
                let start = line.chars().take(200).collect::<String>();
                format!("its reply cannot be read ({error}): {start}")
            }),
            Err(RecvTimeoutError::Disconnected) => Err(self.obituary()),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(format!("no answer in {} s", within.as_secs()))
            }
        }
    }

    /// How it ended.
    fn obituary(&mut self) -> Failure {
        match self.wait(FAREWELL) {
            Some(status) => format!("its process ended ({status})"),
            None => "its process closed its output".into(),
        }
    }

    fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if started.elapsed() < within => thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended just now; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input tells it to go, which lets it remove its temporary files.
        self.requests = None;
        if self.wait(FAREWELL).is_none() {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn shell(script: &'static str) -> Engine {
        Engine::new("shell", Duration::from_millis(500), move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        })
    }

    const GREETING: &str = r#"echo '{"engine":"shell","version":"1","note":null}'; "#;

    fn greeting_then(script: &str) -> Engine {
        shell(Box::leak(format!("{GREETING}{script}").into_boxed_str()))
    }

    #[test]
    fn answers_in_turn() {
        let mut engine = greeting_then(r#"while read line; do echo '{"ms":1.5,"rows":2}'; done"#);
        assert_eq!(engine.start().unwrap().version, "1");
        for _ in 0..3 {
            let done = engine.ask("q1", "select", false).unwrap();
            assert_eq!((done.ms, done.rows), (1.5, 2));
        }
        assert!(engine.peak().is_some());
    }

    #[test]
    fn one_that_is_not_there() {
        let missing = shell(r#"echo '{"missing":"No module"}'"#).start().unwrap_err();
        assert_eq!(missing, "No module");
        let nowhere = Engine::new("x", Duration::from_secs(1), || Command::new("/no/such/program")).start();
        assert!(nowhere.unwrap_err().contains("/no/such/program"));
        assert!(shell("exit 3").start().unwrap_err().contains("3"));
    }

    #[test]
    fn a_question_it_fails_at_dies_of_or_ponders() {
        let mut fails = greeting_then(r#"read line; echo '{"error":"no"}'; read line; echo '{"ms":1,"rows":0}'"#);
        fails.start().unwrap();
        assert_eq!(fails.ask("q1", "", true).unwrap_err(), "no");
        assert!(fails.ask("q2", "", true).is_ok());

        let mut dies = greeting_then("read line; kill -9 $$");
        dies.start().unwrap();
        for _ in 0..2 {
            // Also the second time: it was started anew in between.
            let failure = dies.ask("q1", "", true).unwrap_err();
            assert!(failure.contains("signal: 9"), "{failure}");
        }

        let mut ponders = greeting_then("exec sleep 60");
        ponders.start().unwrap();
        assert!(ponders.ask("q1", "", true).unwrap_err().contains("no answer"));

        let mut raves = greeting_then("read line; echo nonsense");
        raves.start().unwrap();
        assert!(raves.ask("q1", "", true).unwrap_err().contains("nonsense"));
    }
}
