//! What a rank is doing, in words, for the moment at which something goes wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};
use crate::stage::StageId;

/// What one rank is doing. Clones are the same rank's.
///
/// It reads `between actions`, `planning action 3`, `in action 3, stages s4 s5`, or, when the others still work, `in action
/// 3, done with stages s4 s5`.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    step: Step,
    running: BTreeSet<StageId>,
    ended: BTreeSet<StageId>,
    /// Why the action will not end well.
    failure: Option<String>,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Between,
    Planning(u64),
    Running(u64),
}

impl Activity {
    /// The rank plans an action, until it runs it or is idle.
    pub fn plans(&self, action: u64) {
        *self.state.lock() = State { step: Step::Planning(action), ..State::default() };
    }

    /// Between two actions.
    pub fn rests(&self) {
        *self.state.lock() = State::default();
    }

    pub(crate) fn runs(&self, action: u64) {
        *self.state.lock() = State { step: Step::Running(action), ..State::default() };
    }

    pub(crate) fn starts(&self, stage: StageId) {
        self.state.lock().running.insert(stage);
    }

    pub(crate) fn ends(&self, stage: StageId) {
        let mut state = self.state.lock();
        state.running.remove(&stage);
        state.ended.insert(stage);
    }

    /// A lost rank is what the words are for; they need not say it twice.
    pub(crate) fn fails(&self, cause: &Error) {
        if cause.kind() != ErrorKind::PeerLost {
            self.state.lock().failure.get_or_insert_with(|| cause.to_string());
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        match state.step {
            Step::Between => f.write_str("between actions"),
            Step::Planning(action) => write!(f, "planning action {action}"),
            Step::Running(action) => {
                write!(f, "in action {action}")?;
                let (words, stages) =
                    if state.running.is_empty() { (", done with", &state.ended) } else { (",", &state.running) };
                if !stages.is_empty() {
                    write!(f, "{words} stage{}", if stages.len() == 1 { "" } else { "s" })?;
                    stages.iter().try_for_each(|stage| write!(f, " {stage}"))?;
                }
                state.failure.iter().try_for_each(|failure| write!(f, ", which was ending ({failure})"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_in_words() {
        let activity = Activity::default();
        let check = |words: &str| assert_eq!(activity.to_string(), words);
        check("between actions");
        activity.plans(3);
        check("planning action 3");
        activity.runs(3);
        check("in action 3");
        activity.starts(StageId(5));
        activity.starts(StageId(4));
        check("in action 3, stages s4 s5");
        activity.ends(StageId(4));
        check("in action 3, stage s5");
        activity.ends(StageId(5));
        check("in action 3, done with stages s4 s5");
        activity.fails(&Error::peer_lost("rank 7"));
        activity.fails(&Error::user("why"));
        check("in action 3, done with stages s4 s5, which was ending (error: why)");
        activity.rests();
        check("between actions");
    }
}
