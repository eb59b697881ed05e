//! `A(i,j) -> M(i,*)`: which dimension of a collection is cut along which dimension of a grid.
//!
//! ```text
//!   layout     = name "(" dimensions ")" "->" name "(" axes ")"
//!   dimension  = name [ "cyclic" [ "(" indices ")" ] ] [ "halo" "(" indices ")" ]
//!   axis       = name        cut along this dimension of the collection
//!              | name "'"    cut again along it, within each piece: tiles that ranks share
//!              | "*"         the same on all ranks along this dimension of the grid
//!              | number      on the ranks with this coordinate alone
//!              | "+"         a summand on each rank: their sum is the collection
//! ```
//!
//! A dimension that no axis names is not cut. Without `cyclic` the indices are cut into as many runs of nearly equal length as
//! there are ranks; with it, runs of so many indices (1 if it does not say) are dealt to the ranks in turn. A `halo` of `h` asks
//! for `h` more indices on either side of each run: ghost cells, owned by the neighbours.

use std::fmt;

use crate::error::{Error, Result};

/// A layout without sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// What the collection is called; only for people.
    pub collection: String,
    /// Its dimensions.
    pub dimensions: Vec<Dimension>,
    /// What the grid is called; only for people.
    pub machine: String,
    /// For each dimension of the grid, what it does.
    pub axes: Vec<Axis>,
}

/// A dimension of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// How its indices are cut, if they are.
    pub spread: Spread,
    /// Indices on either side of each run that are wanted as well.
    pub halo: usize,
}

/// How indices are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// One run for each rank, of nearly equal lengths.
    Blocks,
    /// Runs of so many indices, dealt in turn.
    Cyclic(usize),
}

/// What a dimension of the grid does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Cuts a dimension of the collection, by its place.
    Along(usize),
    /// Cuts the pieces of a dimension that another axis has cut.
    Within(usize),
    /// Holds the same everywhere.
    Replicated,
    /// Holds something at this coordinate alone.
    Face(usize),
    /// Holds summands.
    Summands,
}

impl Layout {
    /// Reads the notation.
    ///
    /// ```
    /// # use bireme_engine::layout::Layout;
    /// let layout = Layout::parse("A(i cyclic(64), j halo(1)) -> M(j, *)")?;
    /// assert_eq!(layout.to_string(), "A(i cyclic(64),j halo(1)) -> M(j,*)");
    /// # Ok::<(), bireme_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// It is not a layout: the message shows where, and what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        Parser { text, at: 0 }.layout()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dimensions = self.dimensions.iter().map(|dimension| {
            let mut text = dimension.name.clone();
            if let Spread::Cyclic(run) = dimension.spread {
                text += &format!(" cyclic({run})");
            }
            if dimension.halo > 0 {
                text += &format!(" halo({})", dimension.halo);
            }
            text
        });
        let axes = self.axes.iter().map(|axis| match axis {
            Axis::Along(dimension) => self.dimensions[*dimension].name.clone(),
            Axis::Within(dimension) => format!("{}'", self.dimensions[*dimension].name),
            Axis::Replicated => "*".into(),
            Axis::Face(at) => at.to_string(),
            Axis::Summands => "+".into(),
        });
        let [dimensions, axes] = [dimensions.collect::<Vec<_>>(), axes.collect()].map(|parts| parts.join(","));
        write!(f, "{}({dimensions}) -> {}({axes})", self.collection, self.machine)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn layout(mut self) -> Result<Layout> {
        let collection = self.name("the name of a collection, as in `A(i,j) -> M(i,j)`")?.to_owned();
        let mut dimensions: Vec<Dimension> = Vec::new();
        self.list(|parser| {
            let start = parser.start();
            let dimension = parser.dimension()?;
            if dimensions.iter().any(|other| other.name == dimension.name) {
                return Err(parser.wrong(start, &format!("dimension `{}` is there twice", dimension.name)));
            }
            dimensions.push(dimension);
            Ok(())
        })?;
        self.expect("->")?;
        let machine = self.name("the name of a grid, as in `A(i,j) -> M(i,j)`")?.to_owned();
        let mut axes = Vec::new();
        self.list(|parser| {
            let start = parser.start();
            let axis = parser.axis(&dimensions)?;
            if matches!(axis, Axis::Along(_) | Axis::Within(_)) && axes.contains(&axis) {
                return Err(parser
                    .wrong(start, "this dimension is cut already: a grid can cut it once, and once again with `'`"));
            }
            if let Axis::Within(dimension) = axis
                && dimensions[dimension].spread != Spread::Blocks
            {
                return Err(parser.wrong(start, "only a dimension in blocks can be cut again"));
            }
            axes.push(axis);
            Ok(())
        })?;
        let end = self.start();
        if end < self.text.len() {
            return Err(self.wrong(end, "nothing was expected here"));
        }
        if axes.is_empty() {
            return Err(self.wrong(end, "a grid has at least one dimension"));
        }
        let alone = axes.iter().find_map(|axis| match axis {
            Axis::Within(dimension) if !axes.contains(&Axis::Along(*dimension)) => Some(*dimension),
            _ => None,
        });
        if let Some(dimension) = alone {
            let name = &dimensions[dimension].name;
            return Err(self.wrong(end, &format!("`{name}'` cuts pieces of `{name}`, which no axis has cut")));
        }
        Ok(Layout { collection, dimensions, machine, axes })
    }

    fn dimension(&mut self) -> Result<Dimension> {
        let name = self.name("the name of a dimension")?.to_owned();
        let mut dimension = Dimension { name, spread: Spread::Blocks, halo: 0 };
        if self.word("cyclic") {
            let run = if self.token("(") { self.closed_number("the indices of a run")? } else { 1 };
            if run == 0 {
                return Err(self.wrong(self.at, "a run has at least one index"));
            }
            dimension.spread = Spread::Cyclic(run);
        }
        if self.word("halo") {
            self.expect("(")?;
            dimension.halo = self.closed_number("the indices of a halo")?;
        }
        Ok(dimension)
    }

    fn axis(&mut self, dimensions: &[Dimension]) -> Result<Axis> {
        if self.token("*") {
            return Ok(Axis::Replicated);
        }
        if self.token("+") {
            return Ok(Axis::Summands);
        }
        if let Some(face) = self.number() {
            return Ok(Axis::Face(face));
        }
        let start = self.start();
        let name = self.name("a dimension of the collection, `*`, `+` or a coordinate")?;
        let found = dimensions.iter().position(|dimension| dimension.name == name);
        let along = if self.token("'") { Axis::Within } else { Axis::Along };
        found.map(along).ok_or_else(|| {
            let names = dimensions.iter().map(|dimension| dimension.name.as_str()).collect::<Vec<_>>().join(", ");
            self.wrong(start, &format!("the collection has no dimension `{name}`, only {names}"))
        })
    }

    /// `( … , … )`, which may be empty.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect("(")?;
        if self.token(")") {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.token(",") {
                return self.expect(")");
            }
        }
    }

    fn closed_number(&mut self, what: &str) -> Result<usize> {
        let start = self.start();
        let number = self.number().ok_or_else(|| self.wrong(start, &format!("{what}, a number, was expected")))?;
        self.expect(")")?;
        Ok(number)
    }

    /// Skips space; where the next token starts.
    fn start(&mut self) -> usize {
        let left = &self.text[self.at..];
        self.at += left.len() - left.trim_start().len();
        self.at
    }

    fn token(&mut self, token: &str) -> bool {
        let start = self.start();
        let is_there = self.text[start..].starts_with(token);
        if is_there {
            self.at += token.len();
        }
        is_there
    }

    /// A word that is not the beginning of a longer one.
    fn word(&mut self, word: &str) -> bool {
        let start = self.start();
        let is_there = self.identifier() == word;
        if !is_there {
            self.at = start;
        }
        is_there
    }

    fn identifier(&mut self) -> &'a str {
        let start = self.start();
        let inside = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = self.text[start..].find(|letter| !inside(letter)).unwrap_or(self.text.len() - start);
        self.at = start + length;
        &self.text[start..self.at]
    }

    fn name(&mut self, what: &str) -> Result<&'a str> {
        let start = self.start();
        let name = self.identifier();
        if name.is_empty() || name.starts_with(|letter: char| letter.is_numeric()) {
            return Err(self.wrong(start, &format!("{what} was expected")));
        }
        Ok(name)
    }

    fn number(&mut self) -> Option<usize> {
        let start = self.start();
        let digits = self.text[start..].bytes().take_while(u8::is_ascii_digit).count();
        let number = self.text[start..start + digits].parse().ok()?;
        self.at = start + digits;
        Some(number)
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        let start = self.start();
        if self.token(token) { Ok(()) } else { Err(self.wrong(start, &format!("`{token}` was expected"))) }
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        let column = self.text[..at].chars().count();
        Error::user(format!("{what}\n  {}\n  {}^", self.text, " ".repeat(column)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "A(i,j) -> M(i,j)",
            "A(i,j) -> M(*,j)",
            "B(x) -> G(0,x,+)",
            "v(i cyclic(4) halo(2)) -> M(i)",
            "scalar() -> M(*)",
            "cyclic(halo halo(1)) -> M(halo)",
            "A(i,k) -> M(i,i',k)",
        ] {
            let layout = Layout::parse(text).unwrap();
            assert_eq!(layout.to_string(), text);
            assert_eq!(Layout::parse(&format!("  {} ", text.replace(',', " , "))).unwrap(), layout);
        }
        assert_eq!(Layout::parse("A(i cyclic) -> M(i)").unwrap().to_string(), "A(i cyclic(1)) -> M(i)");
    }

    fn check(text: &str, column: usize, expected: &str) {
        let message = Layout::parse(text).unwrap_err().to_string();
        let lines = message.lines().collect::<Vec<_>>();
        assert!(message.contains(expected), "{message}");
        assert_eq!(lines[lines.len() - 1].find('^'), Some(column + 2), "{message}");
    }

    #[test]
    fn mistakes_are_shown() {
        check("A(i,j) M(i)", 7, "`->` was expected");
        check("A(i,j) -> M(i,k)", 14, "no dimension `k`, only i, j");
        check("A(i,i) -> M(i)", 4, "`i` is there twice");
        check("A(i) -> M(i,i)", 12, "a grid can cut it once");
        check("A(i) -> M(i,i',i')", 15, "a grid can cut it once");
        check("A(i cyclic(2)) -> M(i,i')", 22, "only a dimension in blocks");
        check("A(i,j) -> M(j,i')", 17, "which no axis has cut");
        check("A(i) -> M()", 11, "at least one dimension");
        check("A(i cyclic(0)) -> M(i)", 13, "at least one index");
        check("A(i halo(x)) -> M(i)", 9, "a number, was expected");
        check("A(i -> M(i)", 4, "`)` was expected");
        check("A(i) -> M(i) x", 13, "nothing was expected here");
        check("(i) -> M(i)", 0, "the name of a collection");
        check("", 0, "the name of a collection");
    }
}
