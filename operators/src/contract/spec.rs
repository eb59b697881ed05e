//! Einsum notation: which indices a contraction has, and where they stand.
//!
//! One letter is one index; an operand's letters name its axes, the output's letters those of the result:
//!
//! ```text
//! c[i,k] = sum over j of a[i,j] * b[j,k]        ij,jk->ik
//!                                               ── ──  ──
//!                                               a  b   c
//! ```
//!
//! An index that is not in the output is summed over, wherever it stands; one that stands twice in one operand walks along its
//! diagonal (`ii->i`, the trace is `ii->`); one that is in several operands and in the output is a batch. An empty operand is a
//! scalar. Without `->` the output has, in alphabetical order (capitals first), the letters that stand in the text once, as
//! NumPy does it.
//!
//! Equal letters are equal extents: an axis of extent 1 is not stretched, since in a join on index columns, which is what the
//! notation means here, index 0 would meet index 0 alone.

use std::fmt;

use bireme_engine::error::{Error, Result};

/// A contraction of any number of operands, as index letters.
///
/// ```
/// use bireme_operators::contract::Einsum;
///
/// let product = Einsum::parse("ij, jk")?;
/// assert_eq!(product.to_string(), "ij,jk->ik");
/// let extents = product.extents(&[&[2, 3], &[3, 4]])?;
/// assert_eq!(extents.shape(product.output()), [2, 4]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Einsum {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Einsum {
    /// Reads the notation; spaces do not count.
    ///
    /// # Errors
    ///
    /// A user's error that names the text, the place and what is wrong there: no letter, an output letter that stands twice or in
    /// no operand, two arrows, an ellipsis.
    ///
    /// Source: the `subscripts` of `numpy.einsum`, without the ellipsis and without stretched axes.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lists = vec![Vec::new()];
        let mut arrow = false;
        let mut characters = text.chars().enumerate().peekable();
        while let Some((place, character)) = characters.next() {
            match character {
                ' ' => {}
                ',' if arrow => return Err(misread(text, place, "a comma after `->`: there is one output")),
                ',' => lists.push(Vec::new()),
                '-' if characters.peek().is_some_and(|next| next.1 == '>') => {
                    if arrow {
                        return Err(misread(text, place, "a second `->`"));
                    }
                    characters.next();
                    arrow = true;
                    lists.push(Vec::new());
                }
                '.' => return Err(misread(text, place, "an ellipsis is not supported: name every axis with a letter")),
                letter if letter.is_ascii_alphabetic() => {
                    if let Some(list) = lists.last_mut() {
                        list.push((place, letter));
                    }
                }
                other => {
                    return Err(misread(
                        text,
                        place,
                        &format!("`{other}` is no index: use a letter, a to z or A to Z"),
                    ));
                }
            }
        }
        let output = if arrow { lists.pop().unwrap_or_default() } else { implicit_output(&lists) };
        for (position, &(place, letter)) in output.iter().enumerate() {
            if output[..position].iter().any(|&(_, earlier)| earlier == letter) {
                return Err(misread(text, place, &format!("index `{letter}` stands twice in the output")));
            }
            if !lists.iter().flatten().any(|&(_, one)| one == letter) {
                return Err(misread(text, place, &format!("index `{letter}` of the output is in no operand")));
            }
        }
        let letters = |list: Vec<(usize, char)>| list.into_iter().map(|(_, letter)| letter).collect();
        Ok(Self { output: letters(output), operands: lists.into_iter().map(letters).collect() })
    }

    /// The contraction with these letters, for programs that make them.
    ///
    /// # Errors
    ///
    /// As [`Einsum::parse`] of the text that they make.
    pub fn new(operands: Vec<Vec<char>>, output: Vec<char>) -> Result<Self> {
        let made = Self { operands, output };
        // What holds for a text is checked in one place.
        match Self::parse(&made.to_string())? {
            parsed if parsed == made => Ok(made),
            _ => Err(Error::user(format!(
                "einsum \"{made}\": an index is an ASCII letter, and there is at least one operand"
            ))),
        }
    }

    /// The letters of each operand's axes.
    pub fn operands(&self) -> &[Vec<char>] {
        &self.operands
    }

    /// The letters of the result's axes.
    pub fn output(&self) -> &[char] {
        &self.output
    }

    /// All indices, each once, in the order in which they first stand.
    pub fn letters(&self) -> Vec<char> {
        let mut letters = Vec::new();
        for &letter in self.operands.iter().flatten() {
            if !letters.contains(&letter) {
                letters.push(letter);
            }
        }
        letters
    }

    /// What extent each index has, given the operands' shapes.
    ///
    /// # Errors
    ///
    /// A user's error if the number of operands or of an operand's axes differs, or an index has two extents; it names both shapes.
    pub fn extents(&self, shapes: &[&[usize]]) -> Result<Extents> {
        if shapes.len() != self.operands.len() {
            return Err(Error::user(format!(
                "einsum \"{self}\" has {} operands, but {} arrays were given",
                self.operands.len(),
                shapes.len()
            )));
        }
        let mut found: Vec<Found> = Vec::new();
        for (operand, (letters, shape)) in self.operands.iter().zip(shapes).enumerate() {
            if letters.len() != shape.len() {
                return Err(Error::user(format!(
                    "einsum \"{self}\": operand {} is written \"{}\", with {} axes, but its shape {shape:?} has {}",
                    operand + 1,
                    letters.iter().collect::<String>(),
                    letters.len(),
                    shape.len()
                )));
            }
            for (axis, (&letter, &extent)) in letters.iter().zip(*shape).enumerate() {
                match found.iter().find(|one| one.letter == letter) {
                    None => found.push(Found { letter, extent, operand, axis }),
                    Some(one) if one.extent == extent => {}
                    Some(one) => {
                        return Err(Error::user(format!(
                            "einsum \"{self}\": index `{letter}` is {} along axis {} of operand {} (shape {:?}), but {extent} along \
                             axis {axis} of operand {} (shape {shape:?}); extents must be equal, 1 is not stretched",
                            one.extent,
                            one.axis,
                            one.operand + 1,
                            shapes[one.operand],
                            operand + 1,
                        )));
                    }
                }
            }
        }
        Ok(Extents(found.into_iter().map(|one| (one.letter, one.extent)).collect()))
    }
}

impl fmt::Display for Einsum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, letters) in self.operands.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}", letters.iter().collect::<String>())?;
        }
        write!(f, "->{}", self.output.iter().collect::<String>())
    }
}

/// The extents of a contraction's indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents(Vec<(char, usize)>);

impl Extents {
    /// The extent of an index; 1 for a letter that the contraction does not have.
    pub fn of(&self, letter: char) -> usize {
        self.0.iter().find(|one| one.0 == letter).map_or(1, |one| one.1)
    }

    /// The shape of an array with these axes.
    pub fn shape(&self, letters: &[char]) -> Vec<usize> {
        letters.iter().map(|&letter| self.of(letter)).collect()
    }

    /// How many elements an array with these axes has.
    ///
    /// # Errors
    ///
    /// A user's error if that is no number of 64 bits.
    pub fn elements(&self, letters: &[char]) -> Result<usize> {
        let shape = self.shape(letters);
        if shape.contains(&0) {
            return Ok(0);
        }
        shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent)).ok_or_else(|| {
            Error::user(format!("an array of shape {shape:?} has more elements than a 64-bit number can count"))
        })
    }
}

/// An extent, and where it was seen first.
struct Found {
    letter: char,
    extent: usize,
    operand: usize,
    axis: usize,
}

fn implicit_output(operands: &[Vec<(usize, char)>]) -> Vec<(usize, char)> {
    let all = operands.iter().flatten();
    let mut once: Vec<_> =
        all.clone().filter(|one| all.clone().filter(|other| other.1 == one.1).count() == 1).copied().collect();
    once.sort_by_key(|one| one.1);
    once
}

fn misread(text: &str, place: usize, what: &str) -> Error {
    Error::user(format!("einsum \"{text}\", character {}: {what}", place + 1))
}
