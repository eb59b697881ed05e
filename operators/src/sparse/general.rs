//! One sparse operand and any number of dense ones: entry by entry.
//!
//! For each entry, for each combination of the indices that it leaves open: the product of one element of each operand. It is right for
//! whatever the notation can say, and as slow as that: entries times combinations, by one worker if the result is dense. Products that
//! are worth a kernel do not come here.

use bireme_engine::error::Result;
use rayon::prelude::*;

use super::Coordinates;
use super::einsum::Named;
use super::number::{Number, overflow, zeros};
use super::operand::{Entries, Output};
use crate::contract::{Extents, View};

const WHAT: &str = "a product with a sparse operand";

pub(super) fn run<T: Number>(
    entries: &Entries<'_, T>,
    dense: &[Named<'_, T>],
    output: &[char],
    extents: &Extents,
) -> Result<Output<T>> {
    let mut open: Vec<char> = dense.iter().flat_map(|one| one.letters).copied().collect();
    open.retain(|letter| !entries.letters.contains(letter));
    open.sort_unstable();
    open.dedup();
    let job = Job {
        entries,
        arrays: dense.iter().map(|one| Array::new(&one.view, one.letters, entries, &open)).collect(),
        open: open.iter().map(|&letter| extents.of(letter)).collect(),
    };
    let sparse = output.len() == entries.letters.len() && output.iter().all(|letter| entries.letters.contains(letter));
    if sparse {
        let sum = |entry| {
            let mut sum = T::Sum::default();
            job.entry(entry, |_, left, right| T::add_product(&mut sum, left, right))?;
            T::finish(sum)
        };
        let values = (0..entries.len()).into_par_iter().map(sum).collect::<Option<Vec<T>>>();
        let indices = output.iter().map(|&letter| entries.of(letter).unwrap_or(&[]).to_vec()).collect();
        let values = values.ok_or_else(|| overflow::<T>(WHAT))?;
        return Coordinates::new(&extents.shape(output), indices, values).map(Output::Sparse);
    }
    let mut sums = zeros::<T::Sum>(extents.elements(output)?, "the result of a product")?;
    let shape = extents.shape(output);
    let made = Array { data: &[], offset: 0, ..Array::strided(output, &strides(&shape), entries, &open) };
    let add = |entry| {
        let base = made.place(entries, entry);
        job.entry(entry, |index, left, right| T::add_product(&mut sums[made.at(base, index)], left, right))
    };
    (0..entries.len()).try_for_each(add).ok_or_else(|| overflow::<T>(WHAT))?;
    let values: Option<Vec<T>> = sums.into_iter().map(T::finish).collect();
    Ok(Output::Dense(shape, values.ok_or_else(|| overflow::<T>(WHAT))?))
}

struct Job<'a, T: Clone> {
    entries: &'a Entries<'a, T>,
    arrays: Vec<Array<'a, T>>,
    /// The extents of the open indices.
    open: Vec<usize>,
}

/// How far an array's elements are apart along the entries' indices and along the open ones.
struct Array<'a, T> {
    data: &'a [T],
    offset: isize,
    of_entries: Vec<isize>,
    of_open: Vec<isize>,
}

impl<'a, T: Number> Array<'a, T> {
    fn new(view: &View<'a, T>, letters: &[char], entries: &Entries<'_, T>, open: &[char]) -> Self {
        let strided = Self::strided(letters, view.strides(), entries, open);
        Self { data: view.data(), offset: view.offset() as isize, ..strided }
    }

    fn strided(letters: &[char], strides: &[isize], entries: &Entries<'_, T>, open: &[char]) -> Self {
        // A letter that stands twice walks along the diagonal.
        let stride =
            |letter: &char| letters.iter().zip(strides).filter(|axis| axis.0 == letter).map(|axis| axis.1).sum();
        Self {
            data: &[],
            offset: 0,
            of_entries: entries.letters.iter().map(stride).collect(),
            of_open: open.iter().map(stride).collect(),
        }
    }

    fn place(&self, entries: &Entries<'_, T>, entry: usize) -> isize {
        let steps = entries.indices.iter().zip(&self.of_entries);
        self.offset + steps.map(|(list, stride)| list[entry] as isize * stride).sum::<isize>()
    }

    fn at(&self, base: isize, index: &[usize]) -> usize {
        let steps = index.iter().zip(&self.of_open);
        (base + steps.map(|(&index, stride)| index as isize * stride).sum::<isize>()) as usize
    }
}

impl<T: Number> Job<'_, T> {
    /// Calls `add` with the open indices and the two last factors of each product.
    fn entry(&self, entry: usize, mut add: impl FnMut(&[usize], T, T)) -> Option<()> {
        let bases: Vec<isize> = self.arrays.iter().map(|array| array.place(self.entries, entry)).collect();
        let mut index = vec![0; self.open.len()];
        if self.open.contains(&0) {
            return Some(());
        }
        loop {
            let (mut product, mut last) = (self.entries.values[entry], T::ONE);
            for (array, &base) in self.arrays.iter().zip(&bases) {
                product = T::times(product, last)?;
                last = array.data[array.at(base, &index)];
            }
            add(&index, product, last);
            let mut axes = index.iter_mut().zip(&self.open).rev();
            // The next combination: the last index that can go on does, those behind it begin again.
            let went_on = axes.any(|(index, &extent)| {
                *index = (*index + 1) % extent;
                *index != 0
            });
            if !went_on {
                return Some(());
            }
        }
    }
}

fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}
