//! Rows of bits, each padded to whole words.

use rayon::prelude::*;

/// A matrix of bits.
#[derive(Debug)]
pub struct Bits {
    words: Vec<u64>,
    /// Words of a row.
    step: usize,
}

impl Bits {
    pub fn new(rows: usize, columns: usize) -> Self {
        let step = columns.div_ceil(64);
        Self { words: vec![0; rows * step], step }
    }

    #[inline(always)]
    pub fn set(&mut self, row: usize, column: usize) {
        self.words[row * self.step + column / 64] |= 1 << (column % 64);
    }

    pub fn get(&self, row: usize, column: usize) -> bool {
        self.words[row * self.step + column / 64] >> (column % 64) & 1 == 1
    }

    pub fn count(&self) -> usize {
        self.words.par_iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The ones of a row.
    pub fn count_row(&self, row: usize) -> usize {
        self.row(row).iter().map(|word| word.count_ones() as usize).sum()
    }

    fn row(&self, row: usize) -> &[u64] {
        &self.words[row * self.step..][..self.step]
    }

    /// Of batches of rows of two matrices: whether row `m` of one and row `n` of the other have a one in common.
    pub fn meet(left: &Bits, right: &Bits, batch: usize, rows: usize, columns: usize) -> Bits {
        let mut met = Bits::new(batch * rows, columns);
        if met.step == 0 {
            return met;
        }
        met.words.par_chunks_mut(met.step).enumerate().for_each(|(row, words)| {
            let (one, first) = (left.row(row), row / rows * columns);
            for column in 0..columns {
                let other = right.row(first + column);
                if one.iter().zip(other).any(|(a, b)| a & b != 0) {
                    words[column / 64] |= 1 << (column % 64);
                }
            }
        });
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_meet_where_they_have_a_one_in_common() {
        let (mut left, mut right) = (Bits::new(4, 70), Bits::new(6, 70));
        left.set(0, 69);
        left.set(3, 1);
        right.set(2, 69);
        right.set(4, 1);
        right.set(5, 0);
        let met = Bits::meet(&left, &right, 2, 2, 3);
        let ones = (0..4).flat_map(|row| (0..3).map(move |column| (row, column)));
        assert_eq!(ones.filter(|&(row, column)| met.get(row, column)).collect::<Vec<_>>(), [(0, 2), (3, 1)]);
        assert_eq!((met.count(), met.count_row(0), met.count_row(1)), (2, 1, 0));
    }
}
