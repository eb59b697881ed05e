//! Processes, known well enough to say later whether they are gone.
//!
//! A process's number is given to another one some time after it has ended, so a process is known by its number and the
//! moment at which it started. Numbers mean something only to those who share a table of processes: one boot of one host,
//! and one PID namespace there. Of a process in another table nothing can be said.
//!
//! What belongs to a process (a folder for spill files, a half-written result) has a [`ProcessId`] in its name, so whoever
//! comes next can take away what a killed process left.

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use bincode::{Decode, Encode};

use crate::machine;

/// A process of some host. As text, part of a file name without `-`: `table_number_start`, hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProcessId {
    /// Which table of processes.
    table: u64,
    number: u32,
    /// When it started, in the kernel's ticks after boot; 0 where that cannot be read.
    started: u64,
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        let number = std::process::id();
        Self { table: own_table(), number, started: look(number).map_or(0, |look| look.started) }
    }

    /// Its number, as `ps` shows it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether this process can see whether that one is gone.
    pub fn is_near(&self) -> bool {
        self.table == own_table()
    }

    /// Whether it has ended; `None` if that cannot be seen from here. Another user's process may count as there for as
    /// long as its number is in use.
    pub fn is_gone(&self) -> Option<bool> {
        if !self.is_near() {
            return None;
        }
        if !number_is_used(self.number) {
            return Some(true);
        }
        let look = look(self.number);
        Some(look.is_some_and(|look| look.has_ended || self.started != 0 && look.started != self.started))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        let mut next = || u64::from_str_radix(parts.next()?, 16).ok();
        let (table, number, started) = (next()?, u32::try_from(next()?).ok()?, next()?);
        // Number 0 and numbers past the kernel's are nobody's.
        (parts.next().is_none() && number != 0 && i32::try_from(number).is_ok()).then_some(Self {
            table,
            number,
            started,
        })
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}_{:x}_{:x}", self.table, self.number, self.started)
    }
}

fn own_table() -> u64 {
    static TABLE: OnceLock<u64> = OnceLock::new();
    *TABLE.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        machine::host().hash(&mut hasher);
        machine::read("/proc/sys/kernel/random/boot_id").hash(&mut hasher);
        fs::read_link("/proc/self/ns/pid").ok().hash(&mut hasher);
        hasher.finish()
    })
}

/// What the kernel says of a process.
struct Look {
    /// It only waits for its parent to take note of its end.
    has_ended: bool,
    started: u64,
}

/// Reads `/proc/<number>/stat`: `number (name) state …`; the 22nd field is the start. The name may have anything in it.
fn look(number: u32) -> Option<Look> {
    let text = machine::read(format!("/proc/{number}/stat"))?;
    let fields = text.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
    Some(Look { has_ended: matches!(*fields.first()?, "Z" | "X" | "x"), started: fields.get(19)?.parse().ok()? })
}

fn number_is_used(number: u32) -> bool {
    let Ok(number) = libc::pid_t::try_from(number) else { return false };
    // SAFETY: takes no pointers; signal 0 is sent to nobody, it only asks whether one could be sent.
    let answer = unsafe { libc::kill(number, 0) };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let own = ProcessId::own();
        assert_eq!(ProcessId::parse(&own.to_string()), Some(own));
        assert!(!own.to_string().contains('-'));
        for text in ["", "x", "1_2", "1_0_3", "1_2_3_4", "1_ffffffff_3", "a1b2c3"] {
            assert_eq!(ProcessId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_process_is_seen() {
        assert_eq!(ProcessId::own().is_gone(), Some(false));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = look(child.id()).map_or(0, |look| look.started);
        let process = ProcessId { number: child.id(), started, ..ProcessId::own() };
        assert_eq!(process.is_gone(), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.is_gone(), Some(true));
    }

    #[test]
    fn a_number_in_other_hands_is_another_process() {
        let own = ProcessId::own();
        assert_eq!(ProcessId { table: own.table ^ 1, ..own }.is_gone(), None, "another host");
        if own.started != 0 {
            assert_eq!(ProcessId { started: own.started + 1, ..own }.is_gone(), Some(true));
        }
    }
}
