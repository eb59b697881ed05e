//! Elements by index, by mask, and to other places.

use arrow::buffer::MutableBuffer;

use super::super::operand::Operand;
use super::super::take::{put, scatter, take};
use super::super::{Region, Tile, compress, cut, strides};
use super::random::Dice;
use super::*;

fn numbers(len: usize) -> Vec<i64> {
    (0..len as i64).collect()
}

#[test]
fn slices_are_taken_from_both_ends() {
    let tile = Tile::of(Region::whole(&[2, 4, 3]), numbers(24));
    let taken = take(&tile, 1, 4, &[3, 0, -1, -4, 3]).unwrap();
    let row = |plane: i64, place: i64| (0..3).map(move |column| plane * 12 + place * 3 + column);
    let wanted = (0..2).flat_map(|plane| [3, 0, 3, 0, 3].into_iter().flat_map(move |place| row(plane, place)));
    assert_eq!(taken.typed_data::<i64>(), wanted.collect::<Vec<_>>());
    assert_eq!(take(&tile, 2, 3, &[]).unwrap().len(), 0);
    assert_eq!(take(&tile, 2, 3, &[-1]).unwrap().typed_data::<i64>(), [2, 5, 8, 11, 14, 17, 20, 23]);
}

#[test]
fn indices_outside_are_refused() {
    let tile = Tile::of(Region::whole(&[4]), numbers(4));
    for index in [4, -5, i64::MAX, i64::MIN] {
        let refused = take(&tile, 0, 4, &[0, index]).unwrap_err().to_string();
        assert!(refused.contains(&format!("index {index} is outside of axis 0, which has 4")), "{refused}");
    }
    let none = Tile::of(Region::whole(&[0, 3]), Vec::<i64>::new());
    assert!(take(&none, 0, 0, &[0]).is_err());
    assert_eq!(take(&none, 0, 0, &[]).unwrap().len(), 0);
    // A tile that is a part: indices are the whole's.
    let part = Tile::of(Region::new([2..4]), vec![2_i64, 3]);
    assert_eq!(take(&part, 0, 4, &[-1, 2]).unwrap().typed_data::<i64>(), [3, 2]);
    assert!(take(&part, 0, 4, &[1]).is_err());
}

#[test]
fn elements_by_mask() {
    let data = Buffer::from_vec(vec![1.5_f32, 2.5, 3.5]);
    assert_eq!(compress(DType::F32, &data, &[1, 0, 1]).typed_data::<f32>(), [1.5, 3.5]);
    assert_eq!(compress(DType::F32, &data, &[0, 0, 0]).len(), 0);
}

#[test]
fn elements_go_to_any_places() {
    let operand = |shape: &[usize]| {
        let data = Buffer::from_vec(numbers(shape.iter().product()));
        Operand::new(DType::I64, data, shape, &(0..shape.first().copied().unwrap_or(1)), &strides(shape), 0).unwrap()
    };
    let mut out = vec![-1_i64; 12];
    scatter(&mut out, &[3, 2], &[-4, 2], 8, &operand(&[3, 2]));
    assert_eq!(out, [4, -1, 5, -1, 2, -1, 3, -1, 0, -1, 1, -1]);
    let mut out = vec![-1_i64; 4];
    scatter(&mut out, &[4], &[-1], 3, &operand(&[4]));
    assert_eq!(out, [3, 2, 1, 0]);
    scatter(&mut out, &[], &[], 2, &operand(&[]));
    assert_eq!(out, [3, 2, 0, 0]);
    scatter(&mut out, &[0, 4], &[4, 1], 0, &operand(&[0, 4]));
    scatter(&mut out, &[4, 0], &[1, 1], 0, &operand(&[4, 0]));
    assert_eq!(out, [3, 2, 0, 0]);
}

/// A region of a region, with the elements' places in the whole as elements.
fn region(dice: &mut Dice, within: &Region) -> Region {
    let part = |range: &std::ops::Range<usize>| {
        let start = range.start + dice.below(range.len() + 1);
        start..start + dice.below(range.end - start + 1)
    };
    Region::new(within.ranges().iter().map(part).collect::<Vec<_>>())
}

fn elements(region: &Region) -> Vec<i64> {
    let mut all = vec![0];
    for range in region.ranges() {
        all = all.iter().flat_map(|&so_far| range.clone().map(move |index| so_far * 100 + index as i64)).collect();
    }
    all
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn regions_are_cut_and_put_back(seed: u64) {
        let mut dice = Dice(seed);
        let whole = Region::new((0..dice.below(5)).map(|_| {
            let start = dice.below(4);
            start..start + dice.below(7)
        }).collect::<Vec<_>>());
        let part = region(&mut dice, &whole);
        let data = cut(DType::I64, &Buffer::from_vec(elements(&whole)), &whole, &part).unwrap();
        prop_assert_eq!(data.typed_data::<i64>(), elements(&part));
        let mut out = MutableBuffer::from_len_zeroed(whole.len() * 8);
        let shape = part.shape();
        let rows = 0..shape.first().copied().unwrap_or(1);
        let operand = Operand::new(DType::I64, data, &shape, &rows, &strides(&shape), 0).unwrap();
        put(DType::I64, &mut out, &whole, &part, &operand).unwrap();
        let own = elements(&part);
        let wanted = elements(&whole).into_iter().map(|element| if own.contains(&element) { element } else { 0 });
        prop_assert_eq!(out.typed_data::<i64>(), wanted.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_not_within_is_refused() {
    let data = Buffer::from_vec(numbers(6));
    assert!(cut(DType::I64, &data, &Region::new([2..8]), &Region::new([1..3])).is_err());
    assert!(cut(DType::I64, &data, &Region::new([2..8]), &Region::new([7..9])).is_err());
    // Nothing is within everything.
    assert_eq!(cut(DType::I64, &data, &Region::new([2..8]), &Region::empty(1)).unwrap().len(), 0);
    assert_eq!(cut(DType::I64, &data, &Region::new([2..5, 1..3]), &Region::empty(2)).unwrap().len(), 0);
    // One piece is not copied.
    let part = cut(DType::I64, &data, &Region::new([2..5, 1..3]), &Region::new([3..5, 1..3])).unwrap();
    assert_eq!(part.as_ptr(), data.slice(16).as_ptr());
}
