//! How much of what operators do, and what each costs.
//!
//! A plan's work is a vector: so many values decoded, rows hashed, look-ups that miss the cache. A core's time is its product with the
//! vector of prices. So prices can be found by measurement alone: `bireme-bench model --json FILE` writes the vectors of many queries
//! beside their times, and `bench/model/fit.py FILE` finds the prices that explain them best (least
//! absolute relative errors). Those here are of TPC-H at scale 1 and three shuffles on 1, 2 and 4 ranks (`bench/results/model-2cores.json`);
//! kinds that TPC-H hardly has, such as windows, are guesses still.

use std::ops::{Add, AddAssign, Index, IndexMut, Mul};

macro_rules! kinds {
    ($($kind:ident $name:literal $nanoseconds:literal $doc:literal,)*) => {
        /// What takes time, once a row or a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $doc] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Its name in records.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// Nanoseconds of a core of the reference machine.
            pub fn nanoseconds(self) -> f64 {
                match self { $(Kind::$kind => $nanoseconds,)* }
            }
        }
    };
}

kinds! {
    Read "read" 3.3 "Reads a value of a file and undoes its compression, whether it is wanted or not.",
    Number "number" 0.3 "Decodes a number, or a code of a dictionary, from a file.",
    Text "text" 0.8 "Decodes a text from a file.",
    Held "held" 0.3 "Takes a value from memory.",
    Test "test" 0.1 "Tests a condition.",
    Compute "compute" 0.4 "Computes a value.",
    Build "build" 45.0 "Puts a row into a hash table.",
    Probe "probe" 9.5 "Looks a key up in a hash table that is in the cache.",
    Miss "miss" 10.0 "More for each, in one that is not.",
    Gather "gather" 7.5 "Gathers a value of a join's result.",
    Group "group" 5.6 "Finds a row's group.",
    Update "update" 0.7 "Adds a value to a group.",
    Compare "compare" 11.0 "Compares two rows of a sort.",
    Move "move" 50.0 "Moves a row of a sort or a window.",
    Top "top" 2.0 "Sees whether a row is among the first few.",
    Output "output" 0.8 "Hands a value on.",
    Scatter "scatter" 5.0 "Finds the lane of a row, and gathers it there.",
    Copy "copy" 0.85 "Copies a byte of a row to its lane and takes it in on the other side.",
    Stage "stage" 85000.0 "Starts and ends a stage.",
}

const KINDS: usize = Kind::ALL.len();

/// An amount of each kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work([f64; KINDS]);

impl Work {
    /// Nothing to do.
    pub const NONE: Work = Work([0.0; KINDS]);

    /// So much of one kind.
    pub fn of(kind: Kind, amount: f64) -> Self {
        let mut work = Self::NONE;
        work[kind] = amount;
        work
    }

    /// Seconds of a core of the reference machine.
    pub fn seconds(&self) -> f64 {
        Kind::ALL.iter().map(|&kind| self[kind] * kind.nanoseconds() * 1e-9).sum()
    }

    /// What there is of each kind, where there is anything.
    pub fn amounts(&self) -> impl Iterator<Item = (Kind, f64)> {
        Kind::ALL.iter().map(|&kind| (kind, self[kind])).filter(|(_, amount)| *amount > 0.0)
    }
}

impl Index<Kind> for Work {
    type Output = f64;

    fn index(&self, kind: Kind) -> &f64 {
        &self.0[kind as usize]
    }
}

impl IndexMut<Kind> for Work {
    fn index_mut(&mut self, kind: Kind) -> &mut f64 {
        &mut self.0[kind as usize]
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine += more;
        }
    }
}

impl Add for Work {
    type Output = Work;

    fn add(mut self, other: Work) -> Work {
        self += other;
        self
    }
}

impl Mul<f64> for Work {
    type Output = Work;

    fn mul(self, factor: f64) -> Work {
        Work(self.0.map(|amount| amount * factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_adds_up() {
        let work = Work::of(Kind::Build, 1e9) + Work::of(Kind::Probe, 2e9) * 0.5;
        let expected = Kind::Build.nanoseconds() + Kind::Probe.nanoseconds();
        assert!((work.seconds() - expected).abs() < 1e-9);
        assert_eq!(work.amounts().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["build", "probe"]);
    }

    #[test]
    fn every_kind_has_a_place_a_name_and_a_price() {
        for (place, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, place);
            assert!(kind.nanoseconds() >= 0.0 && !kind.name().is_empty());
        }
    }
}
