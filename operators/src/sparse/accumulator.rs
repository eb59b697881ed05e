//! Where the sums of one row of a sparse product are collected.
//!
//! *Wide:* an array with one sum a column, and a bit for each column that was met. Reading the bits in order gives the columns
//! sorted, without sorting; a second row of bits says which words of the first have any, so that clearing and reading cost what was
//! met and not what there might be.
//!
//! *Narrow:* a hash table of the columns met, sorted when the row is done. For matrices so wide that an array of sums a thread would
//! neither fit into a cache nor, perhaps, into memory.
//!
//! Both add to 0, in the order in which products come, so they make the same bits.
//!
//! J. R. Gilbert, C. Moler, R. Schreiber: Sparse matrices in MATLAB, SIAM J. Matrix Anal. Appl. 13 (1992), for the array; Y. Nagasaka,
//! S. Matsuoka, A. Azad, A. Buluç: High-performance sparse matrix-matrix products on Intel KNL and multicore architectures (ICPP
//! Workshops 2018), for hash tables and when they win.

use super::number::Number;

/// The sums of a row.
pub(super) trait Accumulator<T: Number> {
    /// `sums[column] += left · right`.
    fn add_product(&mut self, column: u32, left: T, right: T);

    /// Appends columns, sorted, and sums, and forgets them; `None` if a sum does not fit.
    fn drain(&mut self, columns: &mut Vec<u32>, values: &mut Vec<T>) -> Option<()>;
}

/// An array of sums.
#[derive(Debug)]
pub(super) struct Wide<S> {
    sums: Vec<S>,
    /// Which columns were met.
    met: Vec<u64>,
    /// Which words of `met` are not 0.
    words: Vec<u64>,
}

impl<S: Copy + Default> Wide<S> {
    pub fn new(columns: usize) -> Self {
        let words = columns.div_ceil(64);
        Self { sums: vec![S::default(); columns], met: vec![0; words], words: vec![0; words.div_ceil(64)] }
    }
}

impl<T: Number> Accumulator<T> for Wide<T::Sum> {
    #[inline(always)]
    fn add_product(&mut self, column: u32, left: T, right: T) {
        let column = column as usize;
        T::add_product(&mut self.sums[column], left, right);
        let word = &mut self.met[column / 64];
        if *word == 0 {
            self.words[column / 4096] |= 1 << (column / 64 % 64);
        }
        *word |= 1 << (column % 64);
    }

    #[inline(always)]
    fn drain(&mut self, columns: &mut Vec<u32>, values: &mut Vec<T>) -> Option<()> {
        let first = columns.len();
        for (at, words) in self.words.iter_mut().enumerate() {
            let mut words = std::mem::take(words);
            while words != 0 {
                let word = at * 64 + words.trailing_zeros() as usize;
                words &= words - 1;
                let mut met = std::mem::take(&mut self.met[word]);
                while met != 0 {
                    columns.push((word * 64) as u32 + met.trailing_zeros());
                    met &= met - 1;
                }
            }
        }
        // In a loop of their own, sums are read many at a time; between bits, one after the other.
        let met = &columns[first..];
        values.reserve(met.len());
        for &column in met {
            values.push(T::finish(std::mem::take(&mut self.sums[column as usize]))?);
        }
        Some(())
    }
}

/// A hash table with as many places as a power of two, at most half full.
#[derive(Debug)]
pub(super) struct Narrow<S> {
    /// A column, or `EMPTY`, and its sum.
    places: Vec<(u64, S)>,
    /// Columns met, each above its place.
    met: Vec<u64>,
    shift: u32,
}

const EMPTY: u64 = u64::MAX;

impl<S: Copy + Default> Narrow<S> {
    pub fn new() -> Self {
        Self { places: Vec::new(), met: Vec::new(), shift: 63 }
    }

    /// Makes room for so many columns; there must be no sums in it.
    pub fn reserve(&mut self, columns: usize) {
        let places = (2 * columns).next_power_of_two().max(32);
        if self.places.len() < places {
            self.places.clear();
            self.places.resize(places, (EMPTY, S::default()));
        }
        // Of a large table a small row uses the beginning, which is in the cache.
        self.shift = 64 - places.trailing_zeros();
    }
}

impl<T: Number> Accumulator<T> for Narrow<T::Sum> {
    #[inline(always)]
    fn add_product(&mut self, column: u32, left: T, right: T) {
        let key = u64::from(column);
        // Fibonacci hashing: the upper bits of a product with 2⁶⁴ divided by the golden ratio.
        let mut place = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        let last = (1_usize << (64 - self.shift)) - 1;
        loop {
            let (there, sum) = &mut self.places[place];
            if *there == key {
                return T::add_product(sum, left, right);
            }
            if *there == EMPTY {
                *there = key;
                self.met.push(key << 32 | place as u64);
                return T::add_product(sum, left, right);
            }
            place = (place + 1) & last;
        }
    }

    #[inline(always)]
    fn drain(&mut self, columns: &mut Vec<u32>, values: &mut Vec<T>) -> Option<()> {
        self.met.sort_unstable();
        for met in self.met.drain(..) {
            columns.push((met >> 32) as u32);
            let place = &mut self.places[met as u32 as usize];
            values.push(T::finish(std::mem::replace(place, (EMPTY, T::Sum::default())).1)?);
        }
        Some(())
    }
}
