//! Products of matrices within contractions.

use bireme_engine::error::{Error, Result};
use bireme_operators::contract::{Einsum, Extents};

/// The indices along which a product of matrices is cut: of several in one role, the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Of the first operand and the result.
    pub rows: char,
    /// Of the second operand and the result.
    pub columns: char,
    /// Of both operands.
    pub summed: char,
    /// How many indices these have: rows, columns, summed.
    pub extents: [usize; 3],
}

impl Product {
    /// The roles in a contraction of two operands.
    ///
    /// # Errors
    /// It is no product of matrices: some role has no index.
    pub fn of(einsum: &Einsum, extents: &Extents, algorithm: &str) -> Result<Self> {
        let no = |what: &str| Error::user(format!("{algorithm} is for products of matrices, and \"{einsum}\" {what}"));
        let [left, right] = einsum.operands() else {
            return Err(no(&format!("has {} operands", einsum.operands().len())));
        };
        let output = einsum.output();
        let longest = |is: &dyn Fn(&char) -> bool| {
            let letters = einsum.letters().into_iter().filter(|letter| is(letter));
            // The first of equal ones.
            letters.rev_max_by(|&letter| extents.of(letter))
        };
        let (one, two, out) = (
            |letter: &char| left.contains(letter),
            |letter: &char| right.contains(letter),
            |letter: &char| output.contains(letter),
        );
        let rows = longest(&|letter| one(letter) && !two(letter) && out(letter));
        let columns = longest(&|letter| !one(letter) && two(letter) && out(letter));
        let summed = longest(&|letter| one(letter) && two(letter) && !out(letter));
        let rows = rows.ok_or_else(|| no("has no index of the first operand and the result alone"))?;
        let columns = columns.ok_or_else(|| no("has no index of the second operand and the result alone"))?;
        let summed = summed.ok_or_else(|| no("sums over no index of both operands"))?;
        Ok(Self { rows, columns, summed, extents: [rows, columns, summed].map(|letter| extents.of(letter)) })
    }
}

trait RevMax: Iterator + Sized {
    /// The first item with the largest key.
    fn rev_max_by<K: Ord>(self, key: impl Fn(&Self::Item) -> K) -> Option<Self::Item> {
        self.fold(None, |best, item| match best {
            Some(best) if key(&best) >= key(&item) => Some(best),
            _ => Some(item),
        })
    }
}

impl<I: Iterator> RevMax for I {}
