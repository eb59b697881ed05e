//! Kernels on patterns large enough to be cut, on several numbers of threads.

use super::super::accumulator::{Accumulator, Narrow, Wide};
use super::*;

/// The same pattern with fractions for values, whose sums tell orders apart.
fn fractions(tensor: &Coordinates<f64>, dice: &mut Dice) -> Coordinates<f64> {
    let (shape, indices, values) = tensor.clone().into_parts();
    let values = values.iter().map(|_| dice.roll(1 << 30) as f64 / 1e9 - 0.5).collect();
    Coordinates::new(&shape, indices, values).unwrap()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A matrix of each pattern, each with more entries than one task takes.
fn matrices<T: Tested>() -> Vec<Coordinates<T>> {
    let mut made = Vec::new();
    for (pattern, shape, entries) in [
        (Pattern::Uniform, [2000, 900], 60_000),
        (Pattern::HeavyRow, [90, 30_000], 100_000),
        (Pattern::Power, [5000, 700], 150_000),
        (Pattern::Full, [150, 170], 0),
        (Pattern::Uniform, [1, 90_000], 50_000),
        (Pattern::Uniform, [90_000, 1], 40_000),
        (Pattern::Uniform, [120_000, 50], 10),
        (Pattern::Empty, [40_000, 3], 0),
    ] {
        made.push(tensor(&shape, pattern, entries, &mut Dice(made.len() as u64)));
    }
    made
}

fn dense_of<T: Tested>(shape: &[usize], seed: u64) -> Vec<T> {
    dense(shape, &mut Dice(seed))
}

/// The obvious loop over entries of a matrix, since dense ones of these sizes take too long.
fn times<T: Tested>(a: &Coordinates<T>, b: &[T], columns: usize) -> Vec<T>
where
    <T as Exact>::Sum: std::ops::AddAssign,
{
    let mut sums = vec![<T as Exact>::ZERO; a.shape()[0] * columns];
    for entry in 0..a.entries() {
        let (row, inner) = (a.indices(0)[entry] as usize, a.indices(1)[entry] as usize);
        for column in 0..columns {
            sums[row * columns + column] += a.values()[entry].widen() * b[inner * columns + column].widen();
        }
    }
    sums.into_iter().map(T::narrow).collect()
}

fn check_times<T: Tested>()
where
    <T as Exact>::Sum: std::ops::AddAssign,
{
    for a in matrices::<T>() {
        let rows = Csr::new(a.clone()).unwrap();
        let x: Vec<T> = dense_of(&a.shape()[1..], 5);
        let mut y = vec![T::small(99); a.shape()[0]];
        spmv(&rows, &x, &mut y).unwrap();
        assert!(y == times(&a, &x, 1), "{:?}", a.shape());
        for columns in [1, 3, 8, 47] {
            if columns * a.shape()[0] > 1 << 18 {
                continue;
            }
            let b: Vec<T> = dense_of(&[a.shape()[1], columns], 6);
            let expected = times(&a, &b, columns);
            let view = View::contiguous(&b, &[a.shape()[1], columns]).unwrap();
            let mut c = vec![T::small(99); a.shape()[0] * columns];
            spmm(&rows, &view, &mut c).unwrap();
            assert!(c == expected, "{:?} {columns}", a.shape());
            // The same matrix by columns, and with gaps.
            let mut turned = vec![T::small(0); 2 * b.len()];
            for (place, &element) in b.iter().enumerate() {
                turned[2 * (place % columns * a.shape()[1] + place / columns)] = element;
            }
            let view = View::new(&turned, view.shape(), &[2, 2 * a.shape()[1] as isize], 0).unwrap();
            spmm(&rows, &view, &mut c).unwrap();
            assert!(c == expected, "{:?} {columns} by columns", a.shape());
        }
    }
}

#[test]
fn sparse_times_dense_in_parts() {
    check_times::<f64>();
    check_times::<f32>();
    check_times::<i64>();
    check_times::<i32>();
}

#[test]
fn threads_change_no_bit() {
    for a in matrices::<f64>() {
        let a = fractions(&a, &mut Dice(9));
        let rows = Csr::new(a.clone()).unwrap();
        let x: Vec<f64> = (0..a.shape()[1]).map(|at| 1.0 / (at + 1) as f64).collect();
        alike(|| {
            let mut y = vec![0.0; a.shape()[0]];
            spmv(&rows, &x, &mut y).unwrap();
            bits(&y)
        });
        let b: Vec<f64> = (0..a.shape()[1] * 5).map(|at| 1.0 / (at + 1) as f64).collect();
        let view = View::contiguous(&b, &[a.shape()[1], 5]).unwrap();
        alike(|| {
            let mut c = vec![0.0; a.shape()[0] * 5];
            spmm(&rows, &view, &mut c).unwrap();
            bits(&c)
        });
        if a.shape().iter().product::<usize>() <= 3_000_000 && a.shape()[0] < 3000 {
            let turned = rows.transposed().unwrap();
            alike(|| {
                let product = spgemm(&rows, &turned).unwrap();
                (product.indices().to_vec(), bits(product.values()))
            });
        }
        let (left, right) = (dense_of::<f64>(&[a.shape()[0], 21], 1), dense_of::<f64>(&[21, a.shape()[1]], 2));
        let views = [View::contiguous(&left, &[a.shape()[0], 21]), View::contiguous(&right, &[21, a.shape()[1]])];
        let [left, right] = views.map(Result::unwrap);
        alike(|| bits(sddmm(&a, &left, &right).unwrap().values()));
    }
}

#[test]
fn sparse_times_sparse_in_tasks() {
    for (pattern, shape, entries) in [
        (Pattern::Uniform, [700, 600, 500], 20_000),
        (Pattern::HeavyRow, [300, 400, 900], 20_000),
        (Pattern::Power, [2000, 2000, 2000], 15_000),
        (Pattern::Uniform, [1, 3000, 1], 2000),
        (Pattern::Empty, [10, 20, 30], 0),
    ] {
        let a = tensor::<i64>(&shape[..2], pattern, entries, &mut Dice(1));
        let b = tensor::<i64>(&shape[1..], pattern, entries, &mut Dice(2));
        let (left, right) = (Csr::new(a.clone()).unwrap(), Csr::new(b.clone()).unwrap());
        let product = alike(|| spgemm(&left, &right).unwrap()).into_coordinates().unwrap();
        let mut expected = std::collections::BTreeMap::<(u32, u32), i64>::new();
        for entry in 0..a.entries() {
            let (columns, values) = right.row(a.indices(1)[entry] as usize);
            for (&column, value) in columns.iter().zip(values) {
                *expected.entry((a.indices(0)[entry], column)).or_default() += a.values()[entry] * value;
            }
        }
        assert_eq!(product.entries(), expected.len(), "{pattern:?}");
        for (entry, (place, value)) in expected.into_iter().enumerate() {
            let there = (product.indices(0)[entry], product.indices(1)[entry]);
            assert_eq!((there, product.values()[entry]), (place, value), "{pattern:?}");
        }
    }
}

/// Matrices of more columns than an array of sums is made for, with rows for which it is made all the same.
#[test]
fn sums_of_very_wide_rows() {
    let columns = (1 << 22) + 5;
    let heavy: Vec<u32> = (0..200_000).map(|at| at * 20).collect();
    let mut indices = vec![vec![0; heavy.len()], heavy];
    for (row, column) in [(1, 3), (1, columns as u32 - 1), (2, 3), (2, 77)] {
        indices[0].push(row);
        indices[1].push(column);
    }
    let values = vec![1_i64; indices[0].len()];
    let b = Csr::new(Coordinates::new(&[3, columns], indices, values).unwrap()).unwrap();
    let a = Csr::new(
        Coordinates::new(&[3, 3], vec![vec![0, 0, 1, 1, 2], vec![0, 1, 1, 2, 0]], vec![2, 3, 5, 7, 11]).unwrap(),
    )
    .unwrap();
    let c = alike(|| spgemm(&a, &b).unwrap());
    assert_eq!(c.row(1), (&[3, 77, columns as u32 - 1][..], &[12, 7, 5][..]));
    assert_eq!(c.row(2).0.len(), 200_000);
    assert_eq!(c.row(0).0.len(), 200_002);
    assert!(c.row(0).0.is_sorted() && c.row(0).1.iter().sum::<i64>() == 400_006);
}

#[test]
fn both_accumulators_make_the_same() {
    let dice = &mut Dice(3);
    let (mut wide, mut narrow) = (Wide::new(10_000), Narrow::new());
    for products in [0, 1, 5, 300, 4000, 20] {
        Narrow::<f64>::reserve(&mut narrow, products);
        for _ in 0..products {
            let (column, left, right) =
                (dice.roll(10_000) as u32, dice.roll(99) as f64 / 7.0, dice.roll(99) as f64 / 3.0);
            Accumulator::<f64>::add_product(&mut wide, column, left, right);
            Accumulator::<f64>::add_product(&mut narrow, column, left, right);
        }
        let (mut one, mut other) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        Accumulator::<f64>::drain(&mut wide, &mut one.0, &mut one.1).unwrap();
        Accumulator::<f64>::drain(&mut narrow, &mut other.0, &mut other.1).unwrap();
        let same = one.0 == other.0 && bits(&one.1) == bits(&other.1);
        assert!(one.0.is_sorted() && same, "{products}");
    }
}

#[test]
fn sampled_products() {
    for s in matrices::<i64>() {
        for inner in [0, 1, 16, 37] {
            let (left, right) =
                (dense_of::<i64>(&[s.shape()[0], inner], 1), dense_of::<i64>(&[inner, s.shape()[1]], 2));
            let a = View::contiguous(&left, &[s.shape()[0], inner]).unwrap();
            let b = View::contiguous(&right, &[inner, s.shape()[1]]).unwrap();
            let made = sddmm(&s, &a, &b).unwrap();
            assert_eq!((made.indices(0), made.indices(1)), (s.indices(0), s.indices(1)));
            for entry in 0..s.entries() {
                let (row, column) = (s.indices(0)[entry] as usize, s.indices(1)[entry] as usize);
                let sum: i64 = (0..inner).map(|k| left[row * inner + k] * right[k * s.shape()[1] + column]).sum();
                assert_eq!(made.values()[entry], s.values()[entry] * sum);
            }
        }
    }
}

fn check_mttkrp<T: Tested>(shape: &[usize], pattern: Pattern, entries: usize, rank: usize)
where
    <T as Exact>::Sum: std::ops::AddAssign,
{
    let x = tensor::<T>(shape, pattern, entries, &mut Dice(shape.len() as u64));
    let matrices: Vec<Vec<T>> = shape.iter().map(|&extent| dense_of(&[extent, rank], extent as u64)).collect();
    for axis in 0..shape.len() {
        let mut sums = vec![<T as Exact>::ZERO; shape[axis] * rank];
        for entry in 0..x.entries() {
            for column in 0..rank {
                let mut product = x.values()[entry].widen();
                for other in (0..shape.len()).filter(|&other| other != axis) {
                    product = product * matrices[other][x.indices(other)[entry] as usize * rank + column].widen();
                }
                sums[x.indices(axis)[entry] as usize * rank + column] += product;
            }
        }
        let expected: Vec<T> = sums.into_iter().map(T::narrow).collect();
        let factors: Vec<View<'_, T>> = (0..shape.len())
            .filter(|&other| other != axis)
            .map(|other| View::contiguous(&matrices[other], &[shape[other], rank]).unwrap())
            .collect();
        for turn in 0..shape.len() {
            let order: Vec<usize> = (0..shape.len()).map(|level| (level + turn) % shape.len()).collect();
            let tree = Csf::new(&x, &order).unwrap();
            let mut out = vec![T::small(99); expected.len()];
            mttkrp(&tree, axis, &factors, &mut out).unwrap();
            assert!(out == expected, "{shape:?} {pattern:?} axis {axis} order {order:?} rank {rank}");
        }
    }
}

#[test]
fn mttkrp_of_every_axis_in_every_tree() {
    for pattern in PATTERNS {
        check_mttkrp::<f64>(&[13, 9, 11], pattern, 500, 5);
        check_mttkrp::<i64>(&[6, 5, 4, 7], pattern, 400, 3);
        check_mttkrp::<f32>(&[4, 3, 5, 2, 3], pattern, 300, 17);
        check_mttkrp::<i32>(&[20, 30], pattern, 300, 2);
    }
    // Many fibres of few entries, so that rows are cut; and an axis too long for outputs of its own.
    check_mttkrp::<f64>(&[30, 400, 300], Pattern::HeavyRow, 70_000, 20);
    check_mttkrp::<f64>(&[200, 50, 40_000], Pattern::Power, 70_000, 4);
    check_mttkrp::<f64>(&[40_000, 50, 60_000], Pattern::Uniform, 70_000, 16);
    check_mttkrp::<f64>(&[5, 0, 3], Pattern::Uniform, 10, 2);
    check_mttkrp::<f64>(&[5, 2, 3], Pattern::Uniform, 10, 0);
}

#[test]
fn mttkrp_on_any_number_of_threads() {
    let x = fractions(&tensor::<f64>(&[60, 500, 300], Pattern::HeavyRow, 90_000, &mut Dice(4)), &mut Dice(5));
    let matrices: Vec<Vec<f64>> =
        [60, 500, 300].iter().map(|extent| (0..extent * 18).map(|at| 1.0 / (at + 1) as f64).collect()).collect();
    for axis in 0..3 {
        for order in [[0, 1, 2], [1, 2, 0], [2, 1, 0]] {
            let tree = Csf::new(&x, &order).unwrap();
            alike(|| {
                let others = (0..3).filter(|&other| other != axis);
                let factors: Vec<View<'_, f64>> =
                    others.map(|other| View::contiguous(&matrices[other], &[x.shape()[other], 18]).unwrap()).collect();
                let mut out = vec![0.0; x.shape()[axis] * 18];
                mttkrp(&tree, axis, &factors, &mut out).unwrap();
                bits(&out)
            });
        }
    }
}

/// Zeros that are not there meet no infinities.
#[test]
fn missing_entries_are_exact_zeros() {
    let a = Csr::new(Coordinates::new(&[2, 2], vec![vec![0], vec![1]], vec![2.0]).unwrap()).unwrap();
    let mut y = [f64::NAN; 2];
    spmv(&a, &[f64::INFINITY, 3.0], &mut y).unwrap();
    assert_eq!(y, [6.0, 0.0]);
    let x = Coordinates::new(&[3, 2, 2, 2], vec![vec![1], vec![1], vec![0], vec![1]], vec![2.0]).unwrap();
    let factor = [f64::INFINITY, 3.0];
    let view = || View::contiguous(&factor, &[2, 1]).unwrap();
    let mut out = [f64::NAN; 3];
    let tree = Csf::new(&x, &[0, 1, 2, 3]).unwrap();
    mttkrp(&tree, 0, &[view(), View::contiguous(&[2.0, 1.0], &[2, 1]).unwrap(), view()], &mut out).unwrap();
    assert_eq!(out, [0.0, 36.0, 0.0]);
}

#[test]
fn shapes_must_fit() {
    let a = Csr::new(tensor::<f64>(&[3, 4], Pattern::Full, 0, &mut Dice(1))).unwrap();
    let data = [1.0; 20];
    let view = |shape: &[usize]| View::contiguous(&data[..shape.iter().product()], shape).unwrap();
    assert!(spmv(&a, &data[..3], &mut [0.0; 3]).is_err());
    assert!(spmv(&a, &data[..4], &mut [0.0; 4]).is_err());
    assert!(spmm(&a, &view(&[3, 2]), &mut [0.0; 6]).is_err());
    assert!(spmm(&a, &view(&[4, 2]), &mut [0.0; 5]).is_err());
    assert!(spmm(&a, &view(&[4]), &mut [0.0; 3]).is_err());
    assert!(spgemm(&a, &a).is_err());
    let s = tensor::<f64>(&[3, 4], Pattern::Full, 0, &mut Dice(1));
    assert!(sddmm(&s, &view(&[3, 2]), &view(&[3, 4])).is_err());
    assert!(sddmm(&s, &view(&[2, 2]), &view(&[2, 4])).is_err());
    let tree = Csf::new(&s, &[0, 1]).unwrap();
    assert!(mttkrp(&tree, 0, &[view(&[4, 2])], &mut [0.0; 6]).is_ok());
    assert!(mttkrp(&tree, 0, &[view(&[3, 2])], &mut [0.0; 6]).is_err());
    assert!(mttkrp(&tree, 2, &[view(&[4, 2])], &mut [0.0; 6]).is_err());
    assert!(mttkrp(&tree, 0, &[], &mut [0.0; 6]).is_err());
    assert!(mttkrp(&tree, 0, &[view(&[4, 2])], &mut [0.0; 7]).is_err());
}
