//! What EXPLAIN says of a plan over arrays.

use std::fmt;

use super::lower::ArrayPlan;

impl ArrayPlan {
    /// Canonical text: the same on every rank.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ArrayPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, lines) in self.lines.iter().enumerate() {
            writeln!(f, "segment {number}")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        let kept = self.kept.iter().map(|(_, slot)| format!("%{slot}")).collect::<Vec<_>>().join(" ");
        writeln!(f, "kept: {kept}; {} B moved between ranks", self.moved)
    }
}
