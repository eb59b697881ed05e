//! What the contest and its children say to each other: one JSON object a line.
//!
//! ```text
//!   child → {"engine": "us", "version": "0.1.0", "note": null}       once, when tables are registered
//!           {"missing": "No module named 'polars'"}                  instead, and the child ends
//!   parent→ {"query": "q6", "sql": "select …", "answer": true}
//!   child → {"ms": 412.3, "rows": 1, "answer": {"columns": […], "rows": [[…]]}}
//!           {"error": "…"}                                           instead; the child goes on
//! ```

use serde::{Deserialize, Serialize};

use crate::answers::Answer;

/// How a child starts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Greeting {
    /// It is ready.
    Ready(Ready),
    /// It is not there.
    Missing {
        /// Why.
        missing: String,
    },
}

/// An engine that is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) engine: String,
    pub(crate) version: String,
    /// What a reader of its times must know.
    pub(crate) note: Option<String>,
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) query: String,
    pub(crate) sql: String,
    /// Whether the rows are wanted, or only their number.
    pub(crate) answer: bool,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// An answer.
    Done(Done),
    /// None.
    Failed {
        /// Why.
        error: String,
    },
}

/// An answer with its time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// From handing in the text until all rows were in memory.
    pub(crate) ms: f64,
    pub(crate) rows: usize,
    /// The part of it that was planning, if the engine knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) planning_ms: Option<f64>,
    /// The rows, if they were wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn lines_as_the_script_writes_them() {
        let ready: Greeting = serde_json::from_str(r#"{"engine":"duckdb","version":"1.4","note":null}"#).unwrap();
        assert!(matches!(ready, Greeting::Ready(Ready { note: None, .. })));
        let missing: Greeting = serde_json::from_str(r#"{"missing": "No module"}"#).unwrap();
        assert!(matches!(missing, Greeting::Missing { .. }));
        let text = r#"{"ms":1,"rows":1,"answer":{"columns":["a"],"rows":[[{"d":"1.50"},null,"x",7,0.5]]}}"#;
        let Reply::Done(done) = serde_json::from_str(text).unwrap() else { unreachable!("it has a time") };
        assert_eq!(serde_json::to_string(&done.answer.unwrap().rows[0]).unwrap(), r#"[{"d":"1.50"},null,"x",7,0.5]"#);
        assert!(matches!(serde_json::from_str(r#"{"error":"no"}"#).unwrap(), Reply::Failed { .. }));
    }
}
