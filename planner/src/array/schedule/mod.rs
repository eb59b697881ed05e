//! How a product is cut over ranks and time: schedules, as lists of primitives that one executor reads.
//!
//! A contraction is a nest of loops, one a letter. Primitives change the nest, as in DISTAL (R. Yadav, A. Aiken, F. Kjolstad: DISTAL, the
//! distributed tensor algebra compiler, PLDI 2022):
//!
//! ```text
//!   divide      i → io, ii      io counts so many pieces of nearly equal size, ii is within a piece
//!   split       k → ko, ki      ko counts pieces of a size, ki is within one
//!   reorder                     which loop is within which
//!   distribute  io, jo          these loops are the ranks: a grid
//!   communicate 0 at ko         operand 0 is brought here once an iteration of ko: what all loops within it read
//!   rotate      ko by io, jo    ko runs from another place on each rank: ko = (kos + io + jo) mod its extent
//! ```
//!
//! Loops within the last one at which something is communicated are the leaf, one local product. Iterations of the sequential loops above
//! are *rounds*: in each, a rank lacks some elements of its operands, and gets them from the nearest rank that has them, be it as their
//! owner or because it needed them in the round before. Where a distributed loop cuts an index that is summed over, ranks have summands,
//! which are added up where the result is to lie.
//!
//! The algorithms of the literature are such lists, one a file. What each moves is a formula there, and a test compares it with the bytes.

mod bound;
mod cannon;
mod cosma;
mod grids;
mod johnson;
mod nest;
mod product;
mod pumma;
mod solomonik;
mod stationary;
mod summa;
#[cfg(test)]
mod tests;

use std::fmt;

use bireme_engine::error::{Error, Result};
use bireme_operators::contract::{Einsum, Extents};

pub use bound::least_received;
pub use nest::Nest;
pub use product::Product;

/// A change of the nest of loops.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Primitive {
    /// A loop as so many pieces and the loop within a piece.
    Divide { of: String, outer: String, inner: String, parts: usize },
    /// A loop as pieces of a size and the loop within a piece.
    Split { of: String, outer: String, inner: String, size: usize },
    /// The order of loops, outermost first; those that are not named keep their places.
    Reorder(Vec<String>),
    /// Loops that are dimensions of the grid of ranks.
    Distribute(Vec<String>),
    /// A loop at which an operand is brought.
    Communicate { operand: usize, at: String },
    /// A loop that begins elsewhere on each rank.
    Rotate { of: String, by: Vec<String>, to: String },
}

/// A schedule of a product over ranks.
///
/// ```
/// use bireme_planner::array::Schedule;
///
/// // SUMMA on 2 × 2 ranks, written out.
/// let summa = Schedule::new("my own")
///     .divide("i", "io", "ii", 2)
///     .divide("j", "jo", "ji", 2)
///     .divide("k", "ko", "ki", 4)
///     .reorder(["io", "jo", "ko", "ii", "ji", "ki"])
///     .distribute(["io", "jo"])
///     .communicate(0, "ko")
///     .communicate(1, "ko");
/// assert_eq!(summa.to_string(), "my own");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    algorithm: Algorithm,
    grid: Option<Vec<usize>>,
    steps: Option<usize>,
    /// Whether primitives were given to an algorithm that has its own.
    stray: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Summa,
    Cannon,
    Pumma,
    Johnson,
    Solomonik(Option<usize>),
    Cosma,
    Stationary(usize),
    Own { name: String, primitives: Vec<Primitive>, on_face: bool },
}

/// What an algorithm asks for, on a grid that it has chosen.
pub struct Recipe {
    /// The primitives, in order.
    pub primitives: Vec<Primitive>,
    /// Whether sums go to the ranks at coordinate 0 of what is summed over, or a part to each.
    pub on_face: bool,
    /// How the operands and the result should lie.
    pub layouts: Vec<String>,
}

/// What an algorithm sees.
struct Setting<'a> {
    einsum: &'a Einsum,
    extents: &'a Extents,
    grid: Option<&'a [usize]>,
    steps: Option<usize>,
    ranks: usize,
}

impl Schedule {
    fn of(algorithm: Algorithm) -> Self {
        Self { algorithm, grid: None, steps: None, stray: false }
    }

    /// SUMMA: the result stays, in rounds along the summed index parts of both operands are broadcast.
    pub fn summa() -> Self {
        Self::of(Algorithm::Summa)
    }

    /// Cannon's algorithm: the result stays, tiles of both operands go round on a square grid.
    pub fn cannon() -> Self {
        Self::of(Algorithm::Cannon)
    }

    /// PUMMA: the result stays, tiles of the first operand are broadcast, those of the second go round.
    pub fn pumma() -> Self {
        Self::of(Algorithm::Pumma)
    }

    /// Johnson's algorithm: a cube of ranks, one product each.
    pub fn johnson() -> Self {
        Self::of(Algorithm::Johnson)
    }

    /// Solomonik's 2.5-D algorithm: Cannon's on several layers, each of which makes a part of the sum. `copies` layers, or as many as fit.
    pub fn solomonik(copies: impl Into<Option<usize>>) -> Self {
        Self::of(Algorithm::Solomonik(copies.into()))
    }

    /// COSMA: a grid of three dimensions whose tiles are as close to cubes as the extents allow.
    pub fn cosma() -> Self {
        Self::of(Algorithm::Cosma)
    }

    /// One operand stays where it is, cut along all of its indices; the others come to it. For a tensor times vectors or matrices, and
    /// for MTTKRP, where the tensor is much the largest.
    pub fn stationary(operand: usize) -> Self {
        Self::of(Algorithm::Stationary(operand))
    }

    /// A schedule of one's own, to be written in primitives.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(Algorithm::Own { name: name.into(), primitives: Vec::new(), on_face: false })
    }

    /// The extents of the grid; else the algorithm chooses. For a schedule of one's own the primitives say them.
    #[must_use]
    pub fn on_grid(mut self, extents: impl Into<Vec<usize>>) -> Self {
        self.grid = Some(extents.into());
        self
    }

    /// In how many rounds along the summed index, where that is free: more of them need less memory for copies.
    #[must_use]
    pub fn in_steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Cuts a loop into `parts` pieces of nearly equal size.
    #[must_use]
    pub fn divide(self, of: &str, outer: &str, inner: &str, parts: usize) -> Self {
        self.with(Primitive::Divide { of: of.into(), outer: outer.into(), inner: inner.into(), parts })
    }

    /// Cuts a loop into pieces of `size`, the last of which may be smaller.
    #[must_use]
    pub fn split(self, of: &str, outer: &str, inner: &str, size: usize) -> Self {
        self.with(Primitive::Split { of: of.into(), outer: outer.into(), inner: inner.into(), size })
    }

    /// Puts loops into this order, in the places that they have together.
    #[must_use]
    pub fn reorder(self, loops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(Primitive::Reorder(loops.into_iter().map(Into::into).collect()))
    }

    /// Makes loops the dimensions of the grid of ranks, in this order.
    #[must_use]
    pub fn distribute(self, loops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(Primitive::Distribute(loops.into_iter().map(Into::into).collect()))
    }

    /// Brings an operand, counted from 0, at each iteration of a loop; without it, once.
    #[must_use]
    pub fn communicate(self, operand: usize, at: &str) -> Self {
        self.with(Primitive::Communicate { operand, at: at.into() })
    }

    /// Lets a loop begin elsewhere on each rank: `of = (to + Σ by) mod extent`.
    #[must_use]
    pub fn rotate(self, of: &str, by: impl IntoIterator<Item = impl Into<String>>, to: &str) -> Self {
        self.with(Primitive::Rotate { of: of.into(), by: by.into_iter().map(Into::into).collect(), to: to.into() })
    }

    /// Leaves sums on the ranks at coordinate 0 of what is summed over, instead of a part on each.
    #[must_use]
    pub fn sums_on_face(mut self) -> Self {
        if let Algorithm::Own { on_face, .. } = &mut self.algorithm {
            *on_face = true;
        } else {
            self.stray = true;
        }
        self
    }

    fn with(mut self, primitive: Primitive) -> Self {
        if let Algorithm::Own { primitives, .. } = &mut self.algorithm {
            primitives.push(primitive);
        } else {
            self.stray = true;
        }
        self
    }

    /// The layouts in which the operands and then the result of a product should lie, so that nothing more is moved than the algorithm
    /// must; none of a schedule of one's own, which has no wishes.
    ///
    /// # Errors
    /// As [`Nest`]'s.
    pub fn layouts(&self, einsum: &Einsum, extents: &Extents, ranks: usize) -> Result<Vec<String>> {
        Ok(self.recipe(einsum, extents, ranks)?.layouts)
    }

    /// The nest of loops of a product of these extents on so many ranks.
    ///
    /// # Errors
    /// The schedule is not for such a product, asks for more ranks than there are, or its primitives do not fit each other: the message
    /// says which.
    pub fn nest(&self, einsum: &Einsum, extents: &Extents, ranks: usize) -> Result<Nest> {
        let recipe = self.recipe(einsum, extents, ranks)?;
        let nest = Nest::new(self.to_string(), einsum, extents, &recipe)?;
        match nest.grid().ranks() {
            asked if asked > ranks => Err(Error::user(format!(
                "the schedule {self} is for a grid of {}, {asked} ranks, and there are {ranks}",
                nest.grid()
            ))),
            _ => Ok(nest),
        }
    }

    fn recipe(&self, einsum: &Einsum, extents: &Extents, ranks: usize) -> Result<Recipe> {
        let setting = Setting { einsum, extents, grid: self.grid.as_deref(), steps: self.steps, ranks };
        if self.stray {
            return Err(Error::user(format!(
                "{self} has primitives of its own: write a schedule with Schedule::new to change them"
            )));
        }
        let product = || Product::of(einsum, extents, &self.to_string());
        let asked = self.grid.iter().flatten().product::<usize>();
        if self.grid.is_some() && (asked == 0 || asked > ranks) {
            let grid = self.grid.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
            return Err(Error::user(format!("the schedule {self} on a grid of {grid}: there are {ranks} ranks")));
        }
        match &self.algorithm {
            Algorithm::Summa => summa::recipe(&setting, &product()?),
            Algorithm::Cannon => cannon::recipe(&setting, &product()?),
            Algorithm::Pumma => pumma::recipe(&setting, &product()?),
            Algorithm::Johnson => johnson::recipe(&setting, &product()?),
            Algorithm::Solomonik(copies) => solomonik::recipe(&setting, &product()?, *copies),
            Algorithm::Cosma => cosma::recipe(&setting, &product()?),
            Algorithm::Stationary(operand) => stationary::recipe(&setting, *operand),
            Algorithm::Own { primitives, on_face, .. } => {
                Ok(Recipe { primitives: primitives.clone(), on_face: *on_face, layouts: Vec::new() })
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.algorithm {
            Algorithm::Summa => f.write_str("SUMMA"),
            Algorithm::Cannon => f.write_str("Cannon"),
            Algorithm::Pumma => f.write_str("PUMMA"),
            Algorithm::Johnson => f.write_str("Johnson"),
            Algorithm::Solomonik(_) => f.write_str("2.5-D"),
            Algorithm::Cosma => f.write_str("COSMA"),
            Algorithm::Stationary(operand) => write!(f, "stationary operand {operand}"),
            Algorithm::Own { name, .. } => f.write_str(name),
        }
    }
}

impl Setting<'_> {
    /// The grid that was asked for, if it has so many dimensions.
    fn grid_of<const N: usize>(&self, algorithm: &str) -> Result<Option<[usize; N]>> {
        let Some(grid) = self.grid else { return Ok(None) };
        let fits = <[usize; N]>::try_from(grid);
        fits.map(Some).map_err(|_| {
            Error::user(format!("{algorithm} is for a grid of {N} dimensions, and {} were given", grid.len()))
        })
    }
}

fn divide(of: char, outer: &str, parts: usize) -> Primitive {
    Primitive::Divide { of: of.into(), outer: outer.into(), inner: format!("{of}'"), parts }
}

/// Loops within pieces are within all that count them.
fn inside(product: &Product, counting: &[&str]) -> Primitive {
    let inner = [product.rows, product.columns, product.summed].map(|letter| format!("{letter}'"));
    Primitive::Reorder(names(counting).into_iter().chain(inner).collect())
}

fn names(loops: &[&str]) -> Vec<String> {
    loops.iter().map(|&name| name.to_owned()).collect()
}

fn communicate(operands: &[usize], at: &str) -> Vec<Primitive> {
    operands.iter().map(|&operand| Primitive::Communicate { operand, at: at.into() }).collect()
}

/// `A(i,k) -> M(…)` of an operand's letters.
fn layout(name: &str, letters: &[char], axes: &[String]) -> String {
    let letters = letters.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("{name}({letters}) -> M({})", axes.join(","))
}
