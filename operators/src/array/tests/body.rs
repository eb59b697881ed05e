//! Steps in a store, and what ranks give each other.

use std::ops::Range;

use arrow::array::{Array, LargeBinaryArray, RecordBatch, UInt32Array};
use bireme_engine::stage::Partitioner;

use super::super::body::{Arrivals, MESSAGE, messages};
use super::super::program::{Instr, Loop, Reduction};
use super::super::{
    Binary, Bound, ByName, Fold, FoldTo, Line, Move, Piece, Region, Segment, Step, Store, Tile, message_schema, strides,
};
use super::random::{Dice, FOLDS};
use super::*;
use crate::contract::Einsum;

fn tile<T: Native>(shape: &[usize], values: Vec<T>) -> Tile {
    Tile::of(Region::whole(shape), values)
}

fn bound(slot: usize, dtype: DType, shape: &[usize]) -> Bound {
    Bound { slot, dtype, steps: strides(shape), offset: 0 }
}

/// Runs one step, of which the result is in the slot behind the inputs.
fn ran(inputs: Vec<Tile>, numbers: Vec<Scalar>, step: Step) -> bireme_engine::error::Result<Store> {
    let store = Store::new(inputs.len() + 3, inputs, numbers);
    store.run(&Segment { steps: vec![step], moves: Vec::new() })?;
    Ok(store)
}

#[test]
fn loops_fill_slots() {
    let looped = Loop {
        shape: vec![2, 3],
        instructions: vec![
            Instr::Load(0, DType::F64),
            Instr::Number(0, DType::F64),
            Instr::Binary(Binary::Multiply, 0, 1),
        ],
        stores: vec![2],
        reductions: vec![Reduction { fold: Fold::Sum, value: 2 }, Reduction { fold: Fold::ArgMaximum, value: 0 }],
        folded: (0, 1),
    };
    let to = |slot| FoldTo { slot, region: Some(Region::whole(&[3])), results: 3 };
    let step = Step::Loop {
        looped,
        rows: 0..2,
        inputs: vec![bound(0, DType::F64, &[2, 3])],
        numbers: vec![1],
        stores: vec![(1, Region::whole(&[2, 3]))],
        folds: vec![to(2), to(3)],
    };
    let input = || vec![tile(&[2, 3], vec![1.0, 5.0, 3.0, 4.0, 2.0, 3.0])];
    let store = ran(input(), vec![Scalar::F64(7.0), Scalar::I32(10)], step.clone()).unwrap();
    assert_eq!(store.tile(1).unwrap().values::<f64>(), [10.0, 50.0, 30.0, 40.0, 20.0, 30.0]);
    assert_eq!(store.tile(2).unwrap().values::<f64>(), [50.0, 70.0, 60.0]);
    assert_eq!(store.tile(3).unwrap().values::<i64>(), [1, 0, 0]);
    assert!(store.tile(9).is_err());
    // A number that the plan does not have.
    assert!(ran(input(), vec![Scalar::F64(7.0)], step).is_err());
}

#[test]
fn products_fill_slots() {
    let inputs = vec![tile(&[2, 2], vec![1_i64, 2, 3, 4]), tile(&[2, 2], vec![5_i64, 6, 7, 8])];
    // The second one is transposed.
    let turned = Bound { slot: 1, dtype: DType::I64, steps: vec![1, 2], offset: 0 };
    let step = Step::Contract {
        einsum: Einsum::parse("ij,jk->ik").unwrap(),
        dtype: DType::I64,
        shapes: vec![vec![2, 2]; 2],
        operands: vec![bound(0, DType::I64, &[2, 2]), turned],
        to: (2, Region::whole(&[2, 2])),
        part: Region::whole(&[2, 2]),
        adds: false,
    };
    assert_eq!(ran(inputs, Vec::new(), step).unwrap().tile(2).unwrap().values::<i64>(), [17, 23, 39, 53]);
}

/// A product in rounds: the second adds to what the first has made, the third to a part of it.
#[test]
fn products_are_added_to_what_is_there() {
    let one = |adds, part: Region| Step::Contract {
        einsum: Einsum::parse("i,j->ij").unwrap(),
        dtype: DType::I32,
        shapes: vec![vec![part.shape()[0]], vec![part.shape()[1]]],
        operands: vec![bound(0, DType::I32, &[2]), bound(1, DType::I32, &[3])],
        to: (2, Region::new([4..6, 0..3])),
        part,
        adds,
    };
    let (whole, corner) = (Region::new([4..6, 0..3]), Region::new([5..6, 1..3]));
    let inputs = || vec![tile(&[2], vec![1_i32, 2]), tile(&[3], vec![1_i32, 10, 100])];
    let run = |steps: Vec<Step>, inputs: Vec<Tile>| {
        let store = Store::new(3, inputs, Vec::new());
        store.run(&Segment { steps, moves: Vec::new() }).map(|()| store)
    };
    let steps = vec![one(false, whole.clone()), one(true, whole.clone()), one(true, corner.clone())];
    let store = run(steps, inputs()).unwrap();
    assert_eq!(store.tile(2).unwrap().values::<i32>(), [2, 20, 200, 4, 41, 410]);
    // Only a part is made: the rest is zero.
    let store = run(vec![one(false, corner.clone()), Step::Free(vec![0])], inputs()).unwrap();
    assert_eq!(store.tile(2).unwrap().values::<i32>(), [0, 0, 0, 0, 1, 10]);
    assert!(store.tile(0).is_err());
    // Sums of integers do not wrap, in a part as little as in the whole.
    for part in [whole.clone(), corner] {
        let large = vec![tile(&[2], vec![1_i32 << 30; 2]), tile(&[3], vec![1_i32; 3])];
        assert!(run(vec![one(false, whole.clone()), one(true, part)], large).is_err());
    }
}

#[test]
fn regions_without_others_are_regions() {
    let mut dice = Dice(33);
    for _ in 0..300 {
        let mut region = || {
            Region::new(
                (0..3)
                    .map(|_| {
                        let start = dice.below(6);
                        start..start + dice.below(4)
                    })
                    .collect::<Vec<_>>(),
            )
        };
        let (whole, cut) = (region(), region());
        let left = whole.minus(&cut);
        assert_eq!(left.iter().map(Region::len).sum::<usize>(), whole.len() - whole.intersection(&cut).len());
        for (at, part) in left.iter().enumerate() {
            assert!(part.is_within(&whole) && part.intersection(&cut).is_empty());
            assert!(left[..at].iter().all(|other| other.intersection(part).is_empty()));
        }
        // Runs of a part are its elements, where they lie.
        let (all, part) = (elements::<i32>(&whole, &[10, 10, 10]), whole.intersection(&cut));
        let mut found = vec![0; part.len()];
        for (at, to, len) in whole.runs_of(&part) {
            found[to..to + len].copy_from_slice(&all[at..at + len]);
        }
        assert_eq!(found, elements::<i32>(&part, &[10, 10, 10]), "{part} of {whole}");
    }
}

#[test]
fn lines_fill_slots_with_the_part_that_is_to_be_there() {
    let step = |line, region| Step::Lines { line, axis: 0, from: 0, to: (1, region) };
    let input = || vec![tile(&[4], vec![3.0_f32, 1.0, 2.0, 1.0])];
    let store = ran(input(), Vec::new(), step(Line::ArgSort, Region::new([1..3]))).unwrap();
    assert_eq!(store.tile(1).unwrap().values::<i64>(), [3, 2]);
    let store = ran(input(), Vec::new(), step(Line::RunningSum, Region::whole(&[4]))).unwrap();
    assert_eq!(store.tile(1).unwrap().values::<f32>(), [3.0, 4.0, 6.0, 7.0]);
    let store = ran(input(), Vec::new(), step(Line::Sort, Region::empty(1))).unwrap();
    assert_eq!(store.tile(1).unwrap().values::<f32>(), [0.0; 0]);
}

#[test]
fn slices_fill_slots() {
    let inputs = || vec![tile(&[3, 2], vec![0_i32, 1, 2, 3, 4, 5]), tile(&[2], vec![-1_i64, 0])];
    let step = |extent, region| Step::Take { axis: 0, extent, from: 0, indices: 1, to: (2, region) };
    let store = ran(inputs(), Vec::new(), step(3, Region::whole(&[2, 2]))).unwrap();
    assert_eq!(store.tile(2).unwrap().values::<i32>(), [4, 5, 0, 1]);
    let store = ran(inputs(), Vec::new(), step(3, Region::new([1..2, 0..2]))).unwrap();
    assert_eq!(store.tile(2).unwrap().values::<i32>(), [0, 1]);
    assert!(ran(inputs(), Vec::new(), step(4, Region::whole(&[2, 2]))).is_err());
}

#[test]
fn pieces_fill_slots_later_over_earlier() {
    let inputs = vec![tile(&[2, 3], vec![0_i32, 1, 2, 3, 4, 5]), tile(&[2], vec![-1_i32, -2])];
    let pieces = vec![
        Piece { shape: vec![2, 3], first: 0, steps: vec![3, 1], from: bound(0, DType::I32, &[2, 3]) },
        // The last column, from below.
        Piece { shape: vec![2], first: 5, steps: vec![-3], from: bound(1, DType::I32, &[2]) },
    ];
    let step = Step::Assemble { dtype: DType::I32, pieces, to: (2, Region::whole(&[2, 3])) };
    assert_eq!(ran(inputs, Vec::new(), step).unwrap().tile(2).unwrap().values::<i32>(), [0, 1, -2, 3, 4, -1]);
}

#[test]
fn names_are_changed() {
    let step = |shape: &[usize]| Step::Rename { from: 0, to: (1, Region::whole(shape)) };
    let input = || vec![tile(&[2, 3], vec![0_i32, 1, 2, 3, 4, 5])];
    let store = ran(input(), Vec::new(), step(&[3, 2])).unwrap();
    assert_eq!(store.tile(1).unwrap().indices.shape(), [3, 2]);
    assert!(ran(input(), Vec::new(), step(&[7])).is_err());
}

const RANKS: usize = 3;

/// What three ranks have after a segment, if messages come in any order. `make` says what a rank has, and what moves.
fn moved(dice: &mut Dice, make: impl Fn(usize) -> (Store, Vec<Move>)) -> Vec<Store> {
    let all = (0..RANKS).map(|rank| {
        let (store, moves) = make(rank);
        (store, Segment { steps: Vec::new(), moves })
    });
    let all = all.collect::<Vec<_>>();
    let mut sent: Vec<RecordBatch> = Vec::new();
    for (rank, (store, segment)) in all.iter().enumerate() {
        for (number, one) in segment.moves.iter().enumerate() {
            sent.extend(messages(number, one, store, rank, RANKS).unwrap());
        }
    }
    (1..sent.len()).rev().for_each(|at| sent.swap(at, dice.below(at + 1)));
    let mut arrivals = all.iter().enumerate();
    let arrivals =
        arrivals.by_ref().map(|(rank, (store, segment))| Arrivals::start(segment, store, rank, RANKS).unwrap());
    let mut arrivals = arrivals.collect::<Vec<_>>();
    for message in &sent {
        assert!(message.column(4).as_any().downcast_ref::<LargeBinaryArray>().unwrap().value(0).len() <= MESSAGE);
        let mut to = Vec::new();
        ByName.assign(message, RANKS, &mut to).unwrap();
        arrivals[to[0] as usize].take(message).unwrap();
    }
    for (arrival, (store, segment)) in arrivals.into_iter().zip(&all) {
        arrival.finish(segment, store).unwrap();
    }
    all.into_iter().map(|(store, _)| store).collect()
}

/// Elements of a region that say where they are.
fn elements<T: Native>(region: &Region, shape: &[usize]) -> Vec<T> {
    let steps = strides(shape);
    let mut all = vec![0_i64];
    for (range, &step) in region.ranges().iter().zip(&steps) {
        all = all
            .iter()
            .flat_map(|&so_far| range.clone().map(move |index| so_far + (index as isize * step) as i64))
            .collect();
    }
    all.into_iter().map(|place| T::of(Scalar::I64(place))).collect()
}

fn others(rank: usize) -> impl Iterator<Item = usize> {
    (0..RANKS).filter(move |&other| other != rank)
}

/// A region as two, one behind the other along the second axis: a rank may get several from one other.
fn halves(region: Option<Region>) -> impl Iterator<Item = Region> {
    let cut = |region: Region| {
        let second = region.ranges()[1].clone();
        let middle = usize::midpoint(second.start, second.end);
        [second.start..middle, middle..second.end].map(|half| {
            let mut ranges = region.ranges().to_vec();
            ranges[1] = half;
            Region::new(ranges)
        })
    };
    region.into_iter().flat_map(cut).filter(|half| !half.is_empty())
}

/// All ranks have rows and want parts of other rows: several moves at once, of several types.
#[test]
fn tiles_come_in_pieces() {
    let mut dice = Dice(31);
    for round in 0..100 {
        let shape = [dice.below(12), dice.below(9), 1 + dice.below(3)];
        let mut cuts = [0, dice.below(shape[0] + 1), dice.below(shape[0] + 1), shape[0]];
        cuts.sort_unstable();
        let has = |rank: usize| Region::new([cuts[rank]..cuts[rank + 1], 0..shape[1], 0..shape[2]]);
        let mut range = |extent: usize| -> Range<usize> {
            let start = dice.below(extent + 1);
            start..start + dice.below(extent - start + 1)
        };
        let wants =
            (0..RANKS).map(|_| Region::new([range(shape[0]), range(shape[1]), 0..shape[2]])).collect::<Vec<_>>();
        let stores = moved(&mut dice, |rank| {
            let own = has(rank);
            let tiles = [
                Tile::of(own.clone(), elements::<f64>(&own, &shape)),
                Tile::of(own.clone(), elements::<i32>(&own, &shape)),
                Tile::of(own.clone(), elements::<u8>(&own, &shape)),
            ];
            let part =
                |to: usize, from: usize| Some(wants[to].intersection(&has(from))).filter(|part| !part.is_empty());
            let moves = tiles.iter().enumerate().map(|(slot, tile)| Move::Tiles {
                to: Some((3 + slot, wants[rank].clone())),
                dtype: tile.dtype,
                sends: others(rank).flat_map(|to| halves(part(to, rank)).map(move |part| (to, slot, part))).collect(),
                receives: others(rank)
                    .flat_map(|from| halves(part(rank, from)).map(move |part| (from, part)))
                    .collect(),
                own: part(rank, rank).map(|part| (slot, part)).into_iter().collect(),
            });
            let moves = moves.collect();
            (Store::new(6, tiles, Vec::new()), moves)
        });
        for (store, want) in stores.iter().zip(&wants) {
            let what = format!("round {round}, {want} of {shape:?}");
            assert_eq!(store.tile(3).unwrap().values::<f64>(), elements::<f64>(want, &shape), "{what}");
            assert_eq!(store.tile(4).unwrap().values::<i32>(), elements::<i32>(want, &shape), "{what}");
            assert_eq!(store.tile(5).unwrap().values::<u8>(), elements::<u8>(want, &shape), "{what}");
        }
    }
}

/// A loop whose folds are put together by all ranks, next to a sum.
#[test]
fn folds_and_sums_are_put_together() {
    let mut dice = Dice(32);
    for (shape, cuts) in
        [(vec![30, 1000], [0, 12, 16, 30]), (vec![9, 50, 100], [0, 0, 4, 9]), (vec![20_000], [0, 4096, 4096, 20_000])]
    {
        for dtype in [DType::F64, DType::F32, DType::I32, DType::Bool] {
            let sums = dtype != DType::Bool;
            let to = if shape.len() == 3 { 2 } else { 1 };
            let values = (0..shape.iter().product()).map(|_| dice.scalar(dtype)).collect::<Vec<_>>();
            // Sums of integers that fit: others are an error.
            let small = |scalar: Scalar| match scalar {
                Scalar::I32(value) => Scalar::I32(value / 4),
                other => other,
            };
            let summands = (0..RANKS).map(|_| (0..50).map(|_| small(dice.scalar(dtype))).collect::<Vec<_>>());
            let summands = summands.collect::<Vec<_>>();
            let result = Region::whole(&shape[to..]);
            let folds = FOLDS.len();
            let stores = moved(&mut dice, |rank| {
                let rows = cuts[rank]..cuts[rank + 1];
                let width = shape[1..].iter().product::<usize>();
                let mut own = vec![rows.clone()];
                own.extend(shape[1..].iter().map(|&extent| 0..extent));
                let part = Tile {
                    dtype,
                    indices: Region::new(own),
                    data: buffer(dtype, &values[rows.start * width..rows.end * width]),
                };
                let summand = Tile { dtype, indices: Region::whole(&[50]), data: buffer(dtype, &summands[rank]) };
                let store = Store::new(3 + 2 * folds, [part, summand], Vec::new());
                let looped = Loop {
                    shape: shape.clone(),
                    instructions: vec![Instr::Load(0, dtype)],
                    stores: Vec::new(),
                    reductions: FOLDS.map(|fold| Reduction { fold, value: 0 }).to_vec(),
                    folded: (0, to),
                };
                let offset = -((rows.start * width) as isize);
                let step = Step::Loop {
                    looped,
                    rows,
                    inputs: vec![Bound { offset, ..bound(0, dtype, &shape) }],
                    numbers: Vec::new(),
                    stores: Vec::new(),
                    folds: (0..folds).map(|at| FoldTo { slot: 2 + at, region: None, results: result.len() }).collect(),
                };
                store.run(&Segment { steps: vec![step], moves: Vec::new() }).unwrap();
                let moves = FOLDS.iter().enumerate().map(|(at, &fold)| Move::Folds {
                    from: 2 + at,
                    to: (2 + folds + at, result.clone()),
                    dtype,
                    fold,
                });
                // Every rank gets a part of the sum, the last one nothing.
                let parts = [0..20, 20..50, 0..0].map(|part| Region::new([part]));
                let sum = sums.then(|| Move::Sums {
                    from: 1,
                    to: (2 + 2 * folds, parts[rank].clone()),
                    dtype,
                    sends: others(rank).filter(|&to| to < 2).map(|to| (to, parts[to].clone())).collect(),
                    receives: (0..if rank < 2 { RANKS } else { 0 }).map(|from| (from, parts[rank].clone())).collect(),
                });
                (store, moves.chain(sum).collect())
            });
            for (rank, store) in stores.iter().enumerate() {
                for (at, &fold) in FOLDS.iter().enumerate() {
                    let tile = store.tile(2 + folds + at).unwrap();
                    let wanted = reference::folded(fold, dtype, &values, &shape, (0, to));
                    assert_same(&format!("{fold} of {dtype} {shape:?}"), &scalars(tile.dtype, &tile.data), &wanted);
                }
                if !sums {
                    continue;
                }
                let sum = [0..20, 20..50, 0..0][rank].clone().map(|at| {
                    let first = reference::binary(Binary::Add, summands[0][at], summands[1][at]);
                    reference::binary(Binary::Add, first, summands[2][at])
                });
                let tile = store.tile(2 + 2 * folds).unwrap();
                assert_same("sum", &scalars(dtype, &tile.data), &sum.collect::<Vec<_>>());
            }
        }
    }
}

/// What is missing, or nobody waits for, is told.
#[test]
fn messages_that_do_not_fit_are_refused() {
    let shape = [40];
    let parts = [0..20, 20..40, 40..40].map(|rows| Region::new([rows]));
    let segment = |rank: usize| {
        let other = 1 - rank;
        Segment {
            steps: Vec::new(),
            moves: vec![Move::Tiles {
                to: Some((1, Region::whole(&shape))),
                dtype: DType::F64,
                sends: vec![(other, 0, parts[rank].clone())],
                receives: vec![(other, parts[other].clone())],
                own: vec![(0, parts[rank].clone())],
            }],
        }
    };
    let store =
        |rank: usize| Store::new(2, [Tile::of(parts[rank].clone(), elements::<f64>(&parts[rank], &shape))], Vec::new());
    let sent = messages(0, &segment(1).moves[0], &store(1), 1, RANKS).unwrap();
    assert_eq!(sent.len(), 160_usize.div_ceil(MESSAGE));
    // One is missing.
    let mut arrivals = Arrivals::start(&segment(0), &store(0), 0, RANKS).unwrap();
    sent.iter().skip(1).for_each(|message| arrivals.take(message).unwrap());
    assert!(arrivals.finish(&segment(0), &store(0)).unwrap_err().to_string().contains("bytes came of [20:40]"));
    // Of a move that is none, of a rank that sends nothing, to a rank that is none.
    let mut arrivals = Arrivals::start(&segment(0), &store(0), 0, RANKS).unwrap();
    assert!(arrivals.take(&messages(1, &segment(1).moves[0], &store(1), 1, RANKS).unwrap()[0]).is_err());
    assert!(arrivals.take(&messages(0, &segment(1).moves[0], &store(1), 2, RANKS).unwrap()[0]).is_err());
    let mut to = Vec::new();
    assert!(ByName.assign(&sent[0], 0, &mut to).is_err());
    assert_eq!(sent[0].column(0).as_any().downcast_ref::<UInt32Array>().unwrap().value(0), 0);
    assert_eq!(sent[0].schema(), message_schema());
}
