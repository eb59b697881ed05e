//! The ways in which ranks multiply two matrices of N rows and columns, and what each moves.
//!
//! ```text
//!   way       grid             operands lie             elements that ranks receive, all together (formulas in planner/array/schedule)
//!   summa     r x c            A(i,k), B(k,j)           (c − 1) · N² + (r − 1) · N²
//!   cannon    q x q            A(i,k), B(k,j)           (q − 1) · 2 N²
//!   2.5-D     q x q x 1        on layer 0               (q − 1) · 2 N²           four ranks have one layer only
//!   cosma     r x c x 2        shared by who needs them (c − 1) · N² + (r − 1) · N² + N²
//! ```

use bireme::prelude::Schedule;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// Operands lie by rows, and the planner chooses; on one rank there is nothing to choose.
    Chosen,
    Summa,
    Cannon,
    Solomonik,
    Cosma,
}

/// What a way asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) schedule: Schedule,
    pub(super) grid: Vec<usize>,
    /// Of both operands.
    pub(super) layouts: [&'static str; 2],
    /// Elements that ranks receive, all together.
    pub(super) elements: usize,
}

impl Way {
    /// On the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Chosen => "chosen",
            Way::Summa => "summa",
            Way::Cannon => "cannon",
            Way::Solomonik => "solomonik",
            Way::Cosma => "cosma",
        }
    }

    /// In the report.
    pub(super) fn label(self) -> &'static str {
        match self {
            Way::Chosen => "as the planner chooses",
            Way::Summa => "SUMMA",
            Way::Cannon => "Cannon",
            Way::Solomonik => "2.5-D",
            Way::Cosma => "COSMA",
        }
    }

    /// Grid, layouts and schedule on so many ranks; nothing of the planner's choice. Cannon and 2.5-D are for square numbers of ranks,
    /// COSMA's grid has two layers and is for even ones.
    pub(super) fn asked(self, ranks: usize, n: usize) -> Option<Asked> {
        const TILES: [&str; 2] = ["A(i,k) -> M(i,k)", "B(k,j) -> M(k,j)"];
        let ([rows, columns], cells) = (near_square(ranks), n * n);
        let planar = |schedule: Schedule| Asked {
            schedule: schedule.on_grid([rows, columns]),
            grid: vec![rows, columns],
            layouts: TILES,
            elements: cells * (columns - 1) + cells * (rows - 1),
        };
        match self {
            Way::Chosen => None,
            Way::Summa => Some(planar(Schedule::summa())),
            Way::Cannon => Some(planar(Schedule::cannon())),
            Way::Solomonik => Some(Asked {
                schedule: Schedule::solomonik(1).on_grid([rows, columns, 1]),
                grid: vec![rows, columns, 1],
                layouts: ["A(i,k) -> M(i,k,0)", "B(k,j) -> M(k,j,0)"],
                ..planar(Schedule::summa())
            }),
            Way::Cosma => {
                let [x, y] = near_square(ranks / 2);
                let (x, y) = (x.max(y), x.min(y));
                Some(Asked {
                    schedule: Schedule::cosma().on_grid([x, y, 2]),
                    grid: vec![x, y, 2],
                    layouts: ["A(i,k) -> M(i,i',k)", "B(k,j) -> M(j',j,k)"],
                    elements: cells * (y - 1) + cells * (x - 1) + cells,
                })
            }
        }
    }
}

/// Two factors as near to each other as there are, the smaller one first.
fn near_square(ranks: usize) -> [usize; 2] {
    let rows = (1..=ranks).take_while(|rows| rows * rows <= ranks).filter(|rows| ranks.is_multiple_of(*rows)).last();
    let rows = rows.unwrap_or(1);
    [rows, ranks / rows]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_and_elements() {
        let of = |way: Way, ranks| way.asked(ranks, 10).map(|asked| (asked.grid, asked.elements));
        assert_eq!(of(Way::Summa, 2), Some((vec![1, 2], 100)));
        assert_eq!(of(Way::Summa, 4), Some((vec![2, 2], 200)));
        assert_eq!(of(Way::Cannon, 4), Some((vec![2, 2], 200)));
        assert_eq!(of(Way::Solomonik, 4), Some((vec![2, 2, 1], 200)));
        assert_eq!(of(Way::Cosma, 4), Some((vec![2, 1, 2], 200)));
        assert_eq!(of(Way::Chosen, 4), None);
    }
}
