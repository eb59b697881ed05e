//! Grids that algorithms choose.

/// All grids of so many ranks and dimensions, in ascending order.
pub fn factorizations<const N: usize>(ranks: usize) -> Vec<[usize; N]> {
    let mut all = Vec::new();
    let mut grid = [1; N];
    fill(&mut grid, 0, ranks, &mut all);
    all
}

fn fill<const N: usize>(grid: &mut [usize; N], at: usize, left: usize, all: &mut Vec<[usize; N]>) {
    if at + 1 >= N {
        if let Some(last) = grid.last_mut() {
            *last = left;
        }
        all.push(*grid);
        return;
    }
    for extent in (1..=left).filter(|extent| left.is_multiple_of(*extent)) {
        grid[at] = extent;
        fill(grid, at + 1, left / extent, all);
    }
}

/// The longest edge of a cube of `dimensions` dimensions with at most so many ranks.
pub fn edge(ranks: usize, dimensions: u32) -> usize {
    (1..=ranks)
        .take_while(|edge: &usize| edge.checked_pow(dimensions).is_some_and(|cube| cube <= ranks))
        .last()
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_all_ranks() {
        assert_eq!(factorizations::<2>(6), [[1, 6], [2, 3], [3, 2], [6, 1]]);
        assert_eq!(factorizations::<3>(4).len(), 6);
        assert!(
            (1..40).all(|ranks| factorizations::<3>(ranks).iter().all(|grid| grid.iter().product::<usize>() == ranks))
        );
        assert_eq!([1, 3, 4, 8, 9, 15].map(|ranks| edge(ranks, 2)), [1, 1, 2, 2, 3, 3]);
        assert_eq!([1, 7, 8, 26, 27].map(|ranks| edge(ranks, 3)), [1, 1, 2, 2, 3]);
    }
}
