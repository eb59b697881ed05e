//! Layouts that users ask for, schedules of products, and tiles that MPI codes have.

use bireme::array::Schedule;
use bireme::prelude::*;

fn session(ranks: usize) -> Session {
    Session::builder().threads(ranks.min(2)).local_ranks(ranks).arrays_whole_below(1).build().unwrap()
}

/// Small whole numbers, so that sums in any order are the same.
fn numbers(session: &Session, shape: [usize; 2], seed: u64) -> Array<f64> {
    session.random_integers(shape, -8, 9, seed).astype::<f64>()
}

fn product(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let element = |i: usize, j: usize| (0..k).map(|s| a[i * k + s] * b[s * n + j]).sum::<f64>();
    (0..m).flat_map(|i| (0..n).map(move |j| element(i, j))).collect()
}

/// Runs a product of m × k and k × n by a schedule, from the layouts that it wishes; bytes that moved must be those of the formula.
fn check(schedule: &Schedule, ranks: usize, extents: [usize; 3], grid: &[usize], layouts: [&str; 2], formula: usize) {
    let [m, n, k] = extents;
    let what = format!("{schedule} of {m}, {n}, {k} on {grid:?} of {ranks}");
    let session = session(ranks);
    // Ranks outside of the grid have nothing.
    let machine = bireme::Grid::new(grid).unwrap();
    let a = numbers(&session, [m, k], 1).distribute(layouts[0], &machine).unwrap();
    let b = numbers(&session, [k, n], 2).distribute(layouts[1], &machine).unwrap();
    compute_all([&a, &b]).unwrap();
    let before = session.progress().array_bytes_sent;
    let c = einsum("ik,kj->ij", [&a, &b]).unwrap().schedule(schedule.clone().on_grid(grid)).unwrap();
    c.compute().unwrap();
    assert_eq!(session.progress().array_bytes_sent - before, 8 * formula as u64, "{what}");
    assert_eq!(c.to_vec().unwrap(), product(&a.to_vec().unwrap(), &b.to_vec().unwrap(), extents), "{what}");
    session.close().unwrap();
}

const SIZES: [[usize; 3]; 2] = [[37, 23, 41], [8, 50, 13]];
const TILES: [&str; 2] = ["A(i,k) -> M(i,k)", "B(k,j) -> M(k,j)"];

#[test]
fn summa_and_cosma_run_on_any_number_of_ranks() {
    for ranks in 1..=12 {
        for [m, n, k] in SIZES {
            let rows = (1_usize..=ranks)
                .filter(|rows| ranks.is_multiple_of(*rows))
                .min_by_key(|rows| rows.abs_diff(ranks / rows))
                .unwrap();
            let columns = ranks / rows;
            let moved = m * k * (columns - 1) + k * n * (rows - 1);
            check(&Schedule::summa(), ranks, [m, n, k], &[rows, columns], TILES, moved);
            let depth = if columns % 2 == 0 { 2 } else { 1 };
            let [x, y, z] = [rows, columns / depth, depth];
            let moved = (y - 1) * m * k + (x - 1) * k * n + (z - 1) * m * n;
            let layouts = ["A(i,k) -> M(i,i',k)", "B(k,j) -> M(j',j,k)"];
            check(&Schedule::cosma(), ranks, [m, n, k], &[x, y, z], layouts, moved);
        }
    }
}

#[test]
fn cannon_and_pumma_run_on_squares() {
    for (ranks, edge) in [(1, 1), (4, 2), (9, 3), (5, 2)] {
        for [m, n, k] in SIZES {
            for schedule in [Schedule::cannon(), Schedule::pumma()] {
                check(&schedule, ranks, [m, n, k], &[edge, edge], TILES, (edge - 1) * (m * k + k * n));
            }
        }
    }
}

#[test]
fn johnson_and_solomonik_run_on_cubes_and_layers() {
    for [m, n, k] in SIZES {
        for edge in [1, 2] {
            let layouts = ["A(i,k) -> M(i,0,k)", "B(k,j) -> M(0,j,k)"];
            let moved = (edge - 1) * (m * k + k * n + m * n);
            check(&Schedule::johnson(), edge * edge * edge, [m, n, k], &[edge; 3], layouts, moved);
        }
        for [edge, layers] in [[2, 1], [2, 2]] {
            let layouts = ["A(i,k) -> M(i,k,0)", "B(k,j) -> M(k,j,0)"];
            let first = k * (edge / layers) / edge;
            let moved = edge * (m * k + k * n) - first * (m + n) + (layers - 1) * m * n;
            let (schedule, ranks) = (Schedule::solomonik(layers), edge * edge * layers);
            check(&schedule, ranks, [m, n, k], &[edge, edge, layers], layouts, moved);
        }
    }
}

/// Sums of ranks that are made in several rounds, and are read by another product: nobody gets them before they are whole.
#[test]
fn sums_of_several_rounds_are_whole() {
    let session = session(8);
    let machine = session.machine().grid([2, 2, 2]).unwrap();
    let a = numbers(&session, [40, 60], 7).distribute("A(i,k) -> M(i,0,k)", &machine).unwrap();
    let b = numbers(&session, [60, 30], 8).distribute("B(k,j) -> M(0,j,k)", &machine).unwrap();
    let in_rounds = |schedule: Schedule| {
        let c = einsum("ik,kj->ij", [&a, &b]).unwrap().schedule(schedule.in_steps(5)).unwrap();
        (c.to_vec().unwrap(), einsum("ij,ik->kj", [&c, &a]).unwrap().to_vec().unwrap())
    };
    let expected = product(&a.to_vec().unwrap(), &b.to_vec().unwrap(), [40, 30, 60]);
    for schedule in [Schedule::cosma().on_grid([2, 2, 2]), Schedule::summa().on_grid([4, 2])] {
        let (c, again) = in_rounds(schedule);
        assert_eq!(c, expected);
        let first = (0..40).map(|i| expected[i * 30] * a.to_vec().unwrap()[i * 60]).sum::<f64>();
        assert_eq!(again[0], first);
    }
}

#[test]
fn tensors_stay_and_factors_come() {
    let session = session(4);
    let machine = session.machine().grid([2, 1, 2]).unwrap();
    let (shape, rank) = ([9, 7, 5], 4);
    let tensor = session.random_integers(shape, -5, 6, 3).distribute("T(i,j,k) -> M(i,j,k)", &machine).unwrap();
    let factors = [[shape[1], rank], [shape[2], rank]].map(|shape| session.random_integers(shape, -5, 6, 4));
    let by = |schedule: Option<Schedule>| {
        let made = einsum("ijk,jr,kr->ir", [&tensor, &factors[0], &factors[1]]).unwrap();
        schedule.map_or(made.clone(), |schedule| made.schedule(schedule).unwrap()).to_vec().unwrap()
    };
    let t = tensor.to_vec().unwrap();
    let [b, c] = [0, 1].map(|at| factors[at].to_vec().unwrap());
    let element = |i: usize, r: usize| {
        let of = |j: usize, k: usize| t[(i * 7 + j) * 5 + k] * b[j * rank + r] * c[k * rank + r];
        (0..7).flat_map(|j| (0..5).map(move |k| (j, k))).map(|(j, k)| of(j, k)).sum::<i64>()
    };
    let expected = (0..9).flat_map(|i| (0..rank).map(move |r| element(i, r))).collect::<Vec<_>>();
    assert_eq!(by(Some(Schedule::stationary(0).on_grid([2, 1, 2]))), expected);
    assert_eq!(by(None), expected);
    // Sums of integers over ranks do not wrap, as they do not on one.
    let large = session.full([2, 8], i64::MAX / 4).distribute("A(i,k) -> M(k)", &session.machine().grid([4]).unwrap());
    let ones = session.ones::<i64>([8]);
    let wrapped = einsum("ik,k->i", [&large.unwrap(), &ones]).unwrap().compute().map(drop).unwrap_err();
    assert!(wrapped.to_string().contains("does not fit i64"), "{wrapped}");
}

#[test]
fn what_is_made_of_tiles_stays_there() {
    let session = session(4);
    let machine = session.machine().grid([2, 2]).unwrap();
    let a = numbers(&session, [30, 21], 5).distribute("A(i,j) -> M(i,j)", &machine).unwrap();
    let b = numbers(&session, [30, 21], 6).distribute("B(x,y) -> N(x,y)", &machine).unwrap();
    compute_all([&a, &b]).unwrap();
    let moved = || session.progress().array_bytes_sent;
    let before = moved();
    let c = (&a + &b) * 2.0 - a.maximum(&b);
    c.compute().unwrap();
    assert_eq!(moved(), before, "element-wise work on tiles moved something");
    let tiles = c.local_tiles().unwrap();
    assert_eq!(tiles.iter().map(|tile| tile.shape()).collect::<Vec<_>>(), [[15, 10], [15, 11], [15, 10], [15, 11]]);
    let (left, right, made) = (a.to_vec().unwrap(), b.to_vec().unwrap(), c.to_vec().unwrap());
    let slow = left.iter().zip(&right).map(|(a, b)| (a + b) * 2.0 - a.max(*b));
    assert_eq!(made, slow.collect::<Vec<_>>());
    // Tiles and a sum over them in one program.
    let (held, sum) = (&a * &b, (&a * &b).sum());
    let both = &held + 1.0;
    let total = held.sum();
    compute_all([&both]).unwrap();
    assert_eq!((total.item().unwrap(), held.local_tiles().unwrap().len()), (sum.item().unwrap(), 4));
    let (fresh, again) = (&a - &b, (&a - &b).sum());
    let fresh_sum = fresh.sum();
    assert_eq!(fresh_sum.item().unwrap(), again.item().unwrap());
    // What needs to know where it is, folds, slices, sorts: by rows, with the same results as ever.
    let again = session.array(made.clone(), [30, 21]).unwrap();
    assert_eq!(c.sum_axis(0).to_vec().unwrap(), again.sum_axis(0).to_vec().unwrap());
    assert_eq!(c.sum().item().unwrap().to_bits(), again.sum().item().unwrap().to_bits());
    assert_eq!(c.t().to_vec().unwrap(), again.t().to_vec().unwrap());
    assert_eq!(c.slice("1:-1, ::2").unwrap().to_vec().unwrap(), again.slice("1:-1, ::2").unwrap().to_vec().unwrap());
    assert_eq!(c.sort(1).to_vec().unwrap(), again.sort(1).to_vec().unwrap());
    let noise = session.random::<f64>([30, 21], 9);
    assert_eq!((&c + &noise).to_vec().unwrap(), (&again + &noise).to_vec().unwrap());
    // A row for all rows is brought to each tile.
    let row = session.arange(0.0, 21.0, 1.0);
    assert_eq!((&c * &row).to_vec().unwrap(), (&again * &row).to_vec().unwrap());
    // As a table, rows are read where they lie.
    session.register_array("c", &c, ["i", "j"], "v").unwrap();
    let sent = session.progress().array_bytes_sent;
    let total = session.sql("SELECT count(*) AS n, sum(v * (i * 21 + j)) AS s FROM c").unwrap().collect().unwrap();
    assert_eq!(session.progress().array_bytes_sent, sent);
    let expected = made.iter().enumerate().map(|(at, value)| at as f64 * value).sum::<f64>();
    let column = total[0].column(1).as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert_eq!(column.value(0), expected);
    let folder = tempfile::tempdir().unwrap();
    c.save_npy(folder.path().join("c.npy")).unwrap();
    assert_eq!(session.read_npy::<f64>(folder.path().join("c.npy")).unwrap().to_vec().unwrap(), made);
}

#[test]
fn tiles_of_other_codes_are_arrays() {
    let session = session(3);
    let values = |from: usize, to: usize| (from * 4..to * 4).map(|at| at as f64).collect::<Vec<_>>();
    let tile = |from, to| LocalTile::<f64>::new(values(from, to), [from..to, 0..4]).unwrap();
    let layout = |text: &str| Layout::parse(text).unwrap();
    let tiles = vec![tile(0, 5), tile(5, 5), tile(5, 9)];
    let before = tiles[0].values().as_ptr();
    let array = Array::from_local(tiles, layout("A(x,y) -> M(x)"), &session).unwrap();
    assert_eq!((array.shape(), array.to_vec().unwrap()), (&[9, 4][..], values(0, 9)));
    assert_eq!(array.local_tiles().unwrap()[0].values().as_ptr(), before, "a tile was copied");
    // A product along the cut rows moves nothing, with what every rank has.
    let x = session.array(vec![1.0, 2.0, 3.0, 4.0], [4]).unwrap();
    let x = x.distribute("x(y) -> M(*)", &session.machine().grid([3]).unwrap()).unwrap();
    x.compute().unwrap();
    let moved = session.progress().array_bytes_sent;
    let y = array.dot(&x).unwrap();
    let local = y.local_tiles().unwrap();
    assert_eq!(local.iter().map(|tile| tile.shape()[0]).collect::<Vec<_>>(), [5, 0, 4]);
    assert_eq!(session.progress().array_bytes_sent, moved, "a product on tiles moved something");
    assert_eq!(y.to_vec().unwrap()[8], 32.0 + 66.0 + 102.0 + 140.0);

    let wrong = |tiles: Vec<LocalTile<f64>>, text: &str, expected: &str| {
        let error = Array::from_local(tiles, layout(text), &session).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    wrong(vec![tile(0, 5), tile(4, 7), tile(7, 9)], "A(x,y) -> M(x)", "overlap");
    wrong(vec![tile(0, 5), tile(6, 7), tile(7, 9)], "A(x,y) -> M(x)", "32 elements");
    wrong(vec![tile(0, 5), tile(5, 7), tile(7, 9)], "A(x,y) -> M(y)", "does not cut `x`");
    wrong(vec![tile(0, 5), tile(5, 7), tile(7, 9)], "A(x) -> M(x)", "is for 1 dimensions");
    wrong(vec![tile(0, 5), tile(5, 9)], "A(x,y) -> M(x)", "2 tiles for the 3 ranks");
    assert!(LocalTile::<f64>::new(vec![1.0], [0..2, 0..1]).is_err());
}

#[test]
fn the_planner_chooses_and_says_why() {
    let session = Session::builder().local_ranks(9).threads(2).build().unwrap();
    let a = session.random::<f64>([600, 600], 1);
    let b = session.random::<f64>([600, 600], 2);
    compute_all([&a, &b]).unwrap();
    let text = a.dot(&b).unwrap().explain().unwrap();
    assert!(text.contains("lower bound") && text.contains("rejected: "), "{text}");
    let (moved, c) = (session.progress().array_bytes_sent, a.dot(&b).unwrap());
    c.compute().unwrap();
    let moved = session.progress().array_bytes_sent - moved;
    // Rows of the result need all of one matrix on every rank: a grid needs less.
    assert!(moved < 8 * 600 * 600 * 8, "{moved} B moved\n{text}");
    // Schedules are for products, and must fit.
    let one = session.ones::<f64>([4, 4]);
    assert!(one.schedule(Schedule::summa()).unwrap_err().to_string().contains("is for a product"));
    let two = einsum("ij,j->i", [&a, &session.ones::<f64>([600])]).unwrap();
    assert!(two.schedule(Schedule::cannon()).unwrap_err().to_string().contains("products of matrices"));
    let grid = session.machine().grid([3, 3]).unwrap();
    assert!(a.distribute("A(i,j) -> M(i)", &grid).unwrap_err().to_string().contains("dimensions"));
    assert!(session.machine().grid([5, 2]).unwrap_err().to_string().contains("10 places"));
}
