#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;

use super::*;

fn hash(array: impl Array + 'static) -> Vec<u64> {
    let mut out = Vec::new();
    let rows = array.len();
    hash_columns(&[Arc::new(array)], rows, &mut out).unwrap();
    out
}

fn hash_as(array: &ArrayRef, to: &DataType) -> Vec<u64> {
    hash(Arc::clone(&cast(array, to).unwrap()))
}

fn words(count: usize) -> Vec<Option<String>> {
    (0..count).map(|i| (i % 7 != 3).then(|| "xyzzy-".repeat(i % 23) + &(i % 31).to_string())).collect()
}

#[test]
fn hashes_never_change() {
    // Written files and golden plans may depend on these.
    let bytes: Vec<u8> = (0..=255).collect();
    let lengths = [0, 1, 2, 3, 4, 8, 9, 16, 17, 33, 96, 97, 200, 256];
    let all: Vec<u64> = lengths.iter().map(|&length| hash_bytes(&bytes[..length])).collect();
    let sum = all.iter().fold(0u64, |sum, hash| sum.rotate_left(7) ^ hash);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), lengths.len());
    assert_eq!(sum, 0x1902_aff2_f503_3352, "{sum:#018x}");
    let number = hash(Int64Array::from(vec![42]))[0];
    assert_eq!(number, 0x13ae_ef33_dd25_3cd9, "{number:#018x}");
}

#[test]
fn every_byte_counts() {
    for length in [1, 2, 3, 5, 8, 12, 16, 17, 31, 32, 48, 49, 95, 96, 97, 144, 145, 200] {
        let plain = vec![0x5a_u8; length];
        let mut seen = HashSet::from([hash_bytes(&plain)]);
        for place in 0..length {
            for bit in 0..8 {
                let mut changed = plain.clone();
                changed[place] ^= 1 << bit;
                assert!(seen.insert(hash_bytes(&changed)), "length {length}, byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn text_hashes_alike_in_all_encodings() {
    let plain: ArrayRef = Arc::new(StringArray::from(words(500)));
    let expected = hash(Arc::clone(&plain));
    let dictionary = |key: DataType, value: DataType| DataType::Dictionary(Box::new(key), Box::new(value));
    let encodings = [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        dictionary(DataType::Int32, DataType::Utf8),
        dictionary(DataType::UInt16, DataType::LargeUtf8),
        dictionary(DataType::Int64, DataType::Utf8View),
    ];
    for encoding in &encodings {
        let encoded = cast(&plain, encoding).unwrap();
        assert_eq!(hash(Arc::clone(&encoded)), expected, "{encoding}");
        assert_eq!(hash(encoded.slice(100, 5)), expected[100..105], "{encoding}, sliced");
    }
}

#[test]
fn a_null_in_the_dictionary_is_null() {
    let values = Arc::new(StringArray::from(vec![Some("a"), None]));
    let array = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![Some(0), Some(1), None]), values);
    assert_eq!(hash(array), hash(StringArray::from(vec![Some("a"), None, None])));
    let nothing = DictionaryArray::<Int8Type>::new(Int8Array::new_null(2), Arc::new(StringArray::new_null(0)));
    assert_eq!(hash(nothing), hash(NullArray::new(2)));
}

#[test]
fn runs_hash_like_plain_rows() {
    let runs = Int32Array::from(vec![2, 3, 10]);
    let array = RunArray::<Int32Type>::try_new(&runs, &Int64Array::from(vec![Some(7), None, Some(9)])).unwrap();
    let plain = [vec![Some(7), Some(7), None], vec![Some(9); 7]].concat();
    let expected = hash(Int64Array::from(plain));
    assert_eq!(hash(array.clone()), expected);
    for (offset, length) in [(0, 10), (1, 3), (2, 1), (5, 5), (4, 0), (9, 1)] {
        assert_eq!(hash(array.slice(offset, length)), expected[offset..offset + length], "{offset} {length}");
    }
}

#[test]
fn equal_floats_hash_alike() {
    let odd_nan = f64::from_bits(f64::NAN.to_bits() | 0x8000_0000_0000_0123);
    let hashes = hash(Float64Array::from(vec![0.0, -0.0, f64::NAN, odd_nan, -f64::NAN, 1.0]));
    assert_eq!(hashes[0], hashes[1]);
    assert!(hashes[2] == hashes[3] && hashes[3] == hashes[4]);
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 3);
    let hashes = hash(Float32Array::from(vec![0.0, -0.0, f32::NAN, -f32::NAN]));
    assert!(hashes[0] == hashes[1] && hashes[2] == hashes[3]);
}

#[test]
fn null_is_one_constant() {
    let types = [
        DataType::Null,
        DataType::Boolean,
        DataType::Int32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Utf8View,
        DataType::Decimal256(50, 3),
        DataType::FixedSizeBinary(3),
        DataType::new_list(DataType::Int8, true),
        DataType::new_fixed_size_list(DataType::Int8, 2, true),
        DataType::ListView(Arc::new(Field::new("item", DataType::Int8, true))),
        DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int8, true)])),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
    ];
    for data_type in types {
        assert_eq!(hash(new_null_array(&data_type, 2)), [NULL, NULL], "{data_type}");
    }
}

#[test]
fn decimals_of_one_type_agree() {
    for (narrow, wide) in [
        (DataType::Decimal128(12, 2), DataType::Decimal128(12, 2)),
        (DataType::Decimal256(40, 2), DataType::Decimal256(40, 2)),
    ] {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-5, 0, 17, 123_456]));
        let hashes = hash_as(&numbers, &narrow);
        assert_eq!(hashes, hash_as(&numbers, &wide));
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 4);
    }
}

#[test]
fn lists_of_all_kinds_agree() {
    let rows = vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![Some(3), Some(4)]),
        Some(vec![None, None]),
        Some(vec![Some(2), Some(1)]),
    ];
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone());
    let expected = hash(list.clone());
    assert_eq!(expected.iter().collect::<HashSet<_>>().len(), 5);
    assert_eq!(hash(LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone())), expected);
    assert_eq!(hash(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows, 2)), expected);
    assert_eq!(hash(list.slice(2, 2)), expected[2..4]);
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let views: ArrayRef = Arc::new(ListViewArray::from(list));
    assert_eq!(hash(Arc::clone(&views)), expected);
    assert_eq!(hash_as(&views, &DataType::LargeListView(field)), expected);
}

#[test]
fn lists_are_told_apart() {
    // The same elements, cut differently; empty lists.
    let one = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), Some(2)]),
        Some(vec![]),
        Some(vec![None]),
    ]);
    let hashes = hash(one);
    assert_eq!(hashes.iter().chain([&NULL]).collect::<HashSet<_>>().len(), 4);
}

#[test]
fn structs_and_maps_hash_their_parts() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 1]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "x"]));
    let fields = Fields::from(vec![Field::new("n", DataType::Int32, true), Field::new("s", DataType::Utf8, true)]);
    let plain =
        StructArray::new(fields, vec![Arc::clone(&numbers), Arc::clone(&names)], Some(vec![true, true, true].into()));
    let hashes = hash(plain.clone());
    assert!(hashes[0] == hashes[2] && hashes[0] != hashes[1]);
    let fields = Fields::from(vec![Field::new("n", DataType::Int32, true), Field::new("s", DataType::Utf8View, true)]);
    let views = StructArray::new(fields, vec![numbers, cast(&names, &DataType::Utf8View).unwrap()], None);
    assert_eq!(hash(views), hashes);
    assert_eq!(hash(plain.slice(1, 2)), hashes[1..]);

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for (key, value) in [("a", 1), ("b", 2)] {
        map.keys().append_value(key);
        map.values().append_value(value);
        map.append(true).unwrap();
    }
    map.append(false).unwrap();
    let map = map.finish();
    let hashes = hash(map.clone());
    assert_eq!(hashes[2], NULL);
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(hash(map.slice(1, 1)), hashes[1..2]);
}

#[test]
fn unions_hash_type_and_value() {
    let fields = UnionFields::from_iter([
        (3, Arc::new(Field::new("i", DataType::Int32, true))),
        (5, Arc::new(Field::new("j", DataType::Int32, true))),
    ]);
    let ids = ScalarBuffer::from(vec![3_i8, 5, 3, 5]);
    let sparse: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 0, 2, 0])),
        Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(0), None])),
    ];
    let sparse = UnionArray::try_new(fields.clone(), ids.clone(), None, sparse).unwrap();
    let dense: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(Int32Array::from(vec![Some(1), None]))];
    let dense = UnionArray::try_new(fields, ids, Some(vec![0, 0, 1, 1].into()), dense).unwrap();
    let hashes = hash(sparse.clone());
    assert_eq!(hash(dense.clone()), hashes);
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(hashes[3], NULL);
    assert_eq!(hash(sparse.slice(1, 2)), hashes[1..3]);
    assert_eq!(hash(dense.slice(1, 2)), hashes[1..3]);
}

#[test]
fn columns_are_ordered_and_counted() {
    let both = |a: Vec<i64>, b: Vec<i64>| {
        let mut out = Vec::new();
        let rows = a.len();
        hash_columns(&[Arc::new(Int64Array::from(a)), Arc::new(Int64Array::from(b))], rows, &mut out).unwrap();
        out
    };
    let hashes = both(vec![1, 2, 1, 2], vec![2, 1, 1, 2]);
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 4);
    let mut out = Vec::new();
    hash_columns(&[], 3, &mut out).unwrap();
    assert_eq!(out, vec![out[0]; 3]);
    assert!(hash_columns(&[Arc::new(NullArray::new(1))], 2, &mut out).is_err());
}

/// Chi-square of how `hashes` fall into `lanes`, divided by its degrees of freedom: about 1 for a random function.
fn unevenness(hashes: &[u64], lanes: usize, lane: impl Fn(u64) -> usize) -> f64 {
    let mut counts = vec![0_u64; lanes];
    hashes.iter().for_each(|&hash| counts[lane(hash)] += 1);
    let expected = hashes.len() as f64 / lanes as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum::<f64>() / (lanes - 1) as f64
}

#[test]
fn regular_keys_spread_evenly() {
    let count = 40_000_i64;
    let keys: Vec<(&str, Vec<u64>)> = vec![
        ("consecutive", hash(Int64Array::from_iter_values(0..count))),
        ("pages", hash(Int64Array::from_iter_values((0..count).map(|i| i * 4096)))),
        ("high bits only", hash(Int64Array::from_iter_values((0..count).map(|i| i << 40)))),
        ("negative", hash(Int32Array::from_iter_values((0..count as i32).map(|i| -i)))),
        ("days", hash(Date32Array::from_iter_values((0..count as i32).map(|i| i / 2)))),
        ("whole floats", hash(Float64Array::from_iter_values((0..count).map(|i| i as f64)))),
        ("decimals", hash(Decimal128Array::from_iter_values((0..count).map(i128::from)))),
        ("short text", hash(StringArray::from_iter_values((0..count).map(|i| i.to_string())))),
        ("long text", hash(StringArray::from_iter_values((0..count).map(|i| format!("{}{i:08}", "x".repeat(120)))))),
    ];
    for (name, hashes) in &keys {
        for lanes in [2, 3, 8, 61, 64, 1000] {
            let expected = if *name == "days" { 2.0 } else { 1.0 };
            // A sum of k squares strays by about sqrt(2 / k); allow five times that.
            let most = expected * (1.0 + 5.0 * (2.0 / (lanes - 1) as f64).sqrt().max(0.1) * 1.5);
            let high = unevenness(hashes, lanes, |hash| (((hash >> 32) * lanes as u64) >> 32) as usize);
            let low = unevenness(hashes, lanes, |hash| (hash % lanes as u64) as usize);
            let middle = unevenness(hashes, lanes, |hash| ((hash >> 20) % lanes as u64) as usize);
            assert!(high.max(low).max(middle) < most, "{name}, {lanes} lanes: {high} {low} {middle}, at most {most}");
        }
    }
}

#[test]
fn pairs_of_small_numbers_do_not_collide() {
    let (a, b): (Vec<i64>, Vec<i64>) = (0..300).flat_map(|a| (0..300).map(move |b| (a, b))).unzip();
    let rows = a.len();
    let mut out = Vec::new();
    hash_columns(&[Arc::new(Int64Array::from(a)), Arc::new(Int64Array::from(b))], rows, &mut out).unwrap();
    assert_eq!(out.iter().collect::<HashSet<_>>().len(), rows);
    assert!(unevenness(&out, 64, |hash| (hash % 64) as usize) < 2.0);
}

#[test]
fn nested_values_are_reached() {
    // list<struct<list<dictionary>>> against the same values without the dictionary.
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", "c"]));
    let build = |text: ArrayRef| {
        let item = Arc::new(Field::new("item", text.data_type().clone(), true));
        let inner: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::new(vec![0, 1, 3, 4].into()), text, None));
        let fields = Fields::from(vec![Field::new("l", inner.data_type().clone(), true)]);
        let middle: ArrayRef = Arc::new(StructArray::new(fields, vec![inner], None));
        let item = Arc::new(Field::new("item", middle.data_type().clone(), true));
        ListArray::new(item, OffsetBuffer::new(vec![0, 0, 2, 3].into()), middle, None)
    };
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let plain = hash(build(Arc::clone(&text)));
    assert_eq!(hash(build(cast(&text, &dictionary).unwrap())), plain);
    assert_eq!(plain.iter().collect::<HashSet<_>>().len(), 3);
}
