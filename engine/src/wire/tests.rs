#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::*;

use super::*;

const ROWS: usize = 203;

fn batch(array: ArrayRef) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("a", array.data_type().clone(), true)]);
    RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap()
}

/// What arrives when `batch` is sent: the header goes through bincode, the buffers through fresh memory if `copied`.
fn travel(batch: &RecordBatch, copied: bool) -> RecordBatch {
    let (header, mut buffers) = encode(batch);
    let bytes = bincode::encode_to_vec(&header, bincode::config::standard()).unwrap();
    let (header, _) = bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    if copied {
        buffers = buffers.iter().map(|buffer| Buffer::from_slice_ref(buffer.as_slice())).collect();
    }
    decode(&batch.schema(), header, buffers).unwrap()
}

fn sent_bytes(array: &ArrayRef) -> usize {
    encode(&batch(Arc::clone(array))).1.iter().map(Buffer::len).sum()
}

fn check(name: &str, array: &ArrayRef) {
    for copied in [false, true] {
        let batch = batch(Arc::clone(array));
        let arrived = travel(&batch, copied);
        assert_eq!(arrived, batch, "{name}");
        assert_eq!(from_bytes(&batch.schema(), &to_bytes(&batch).unwrap()).unwrap(), batch, "{name} as bytes");
        arrived.column(0).to_data().validate_full().map_err(|error| format!("{name}: {error}")).unwrap();
    }
}

/// The whole, slices, slices of slices, and nothing.
fn check_slices(name: &str, array: &ArrayRef) {
    check(name, array);
    for (offset, length) in [(0, 10), (1, 1), (3, 77), (8, 64), (13, 190), (202, 1), (100, 0), (203, 0)] {
        let slice = array.slice(offset, length);
        check(&format!("{name} from {offset}, {length} rows"), &slice);
        if length > 20 {
            check(&format!("{name} from {offset}, sliced again"), &slice.slice(5, length - 9));
        }
    }
}

fn valid(row: usize) -> bool {
    row % 5 != 2 && !(40..60).contains(&row)
}

fn numbers() -> ArrayRef {
    Arc::new(Int64Array::from_iter((0..ROWS).map(|row| valid(row).then_some(row as i64 % 100))))
}

fn texts() -> ArrayRef {
    let text = |row: usize| format!("{}{row}", "long enough to lie outside ".repeat(row % 3));
    Arc::new(StringArray::from_iter((0..ROWS).map(|row| valid(row).then(|| text(row)))))
}

fn dictionary(key: DataType, value: DataType) -> DataType {
    DataType::Dictionary(Box::new(key), Box::new(value))
}

fn flat() -> Vec<ArrayRef> {
    use DataType::*;
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut types = vec![Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64];
    types.extend([Decimal32(9, 2), Decimal64(18, 2), Decimal128(38, 5), Decimal256(70, 8), Date32, Date64]);
    types.extend([Time32(TimeUnit::Second), Time32(TimeUnit::Millisecond)]);
    types.extend([Time64(TimeUnit::Microsecond), Time64(TimeUnit::Nanosecond)]);
    types.extend(units.map(Duration));
    types.extend(units.map(|unit| Timestamp(unit, None)));
    types.extend(units.map(|unit| Timestamp(unit, Some("Europe/Berlin".into()))));
    let mut arrays: Vec<ArrayRef> = types
        .iter()
        .map(|to| {
            let days = cast(&cast(&numbers(), &Int32).unwrap(), to);
            days.or_else(|_| cast(&numbers(), to)).unwrap()
        })
        .collect();
    let texts_as = [
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        dictionary(Int8, Utf8),
        dictionary(UInt32, LargeUtf8),
    ];
    let some: ArrayRef =
        Arc::new(StringArray::from_iter((0..ROWS).map(|row| valid(row).then(|| format!("value {}", row % 17)))));
    arrays.extend(texts_as.iter().map(|to| match to {
        Dictionary(_, _) => cast(&some, to).unwrap(),
        _ => cast(&texts(), to).unwrap(),
    }));
    arrays.push(cast(&some, &dictionary(Int64, Utf8View)).unwrap());
    arrays.push(Arc::new(NullArray::new(ROWS)));
    let bytes = (0..ROWS).map(|row| valid(row).then_some([row as u8; 3]));
    arrays.push(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 3).unwrap()));
    arrays.push(Arc::new(IntervalYearMonthArray::from_iter((0..ROWS).map(|row| valid(row).then_some(row as i32)))));
    arrays.push(Arc::new(IntervalDayTimeArray::from_iter(
        (0..ROWS).map(|row| valid(row).then_some(IntervalDayTime { days: row as i32, milliseconds: 1 })),
    )));
    arrays.push(Arc::new(IntervalMonthDayNanoArray::from_iter(
        (0..ROWS).map(|row| valid(row).then_some(IntervalMonthDayNano { months: 1, days: row as i32, nanoseconds: 7 })),
    )));
    arrays.push(Arc::new(runs::<Int16Type>()));
    arrays.push(Arc::new(runs::<Int32Type>()));
    arrays.push(Arc::new(runs::<Int64Type>()));
    arrays
}

fn runs<R: RunEndIndexType>() -> RunArray<R> {
    let ends = PrimitiveArray::<R>::from_iter_values([1, 4, 5, 80, 100, 150, 203].map(R::Native::usize_as));
    RunArray::try_new(&ends, &StringArray::from(vec![Some("a"), None, Some("b"), Some("c"), None, Some(""), Some("d")]))
        .unwrap()
}

fn list<O: OffsetSizeTrait>(values: ArrayRef) -> ArrayRef {
    // ROWS lists of 0, 1 or 2 values; the rest of the values belongs to nobody.
    let mut offsets = vec![O::usize_as(3)];
    let mut at = 3;
    for row in 0..ROWS {
        at = usize::min(at + row % 3, ROWS);
        offsets.push(O::usize_as(at));
    }
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = NullBuffer::from_iter((0..ROWS).map(|row| row % 7 != 1));
    Arc::new(GenericListArray::<O>::new(field, OffsetBuffer::new(offsets.into()), values, Some(nulls)))
}

fn list_view<O: OffsetSizeTrait>(values: ArrayRef) -> ArrayRef {
    // Backwards, and overlapping.
    let offsets: Vec<O> = (0..ROWS).map(|row| O::usize_as((ROWS - row).saturating_sub(10))).collect();
    let sizes: Vec<O> = (0..ROWS).map(|row| O::usize_as(row % 4)).collect();
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = NullBuffer::from_iter((0..ROWS).map(|row| row % 7 != 1));
    Arc::new(GenericListViewArray::<O>::new(field, offsets.into(), sizes.into(), values, Some(nulls)))
}

fn nested(values: &ArrayRef) -> Vec<ArrayRef> {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = || Some(NullBuffer::from_iter((0..ROWS).map(|row| row % 6 != 3)));
    let doubled = arrow::compute::concat(&[values.as_ref(), values.as_ref()]).unwrap();
    let fields =
        Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", values.data_type().clone(), true)]);
    let structs = StructArray::new(fields, vec![numbers(), Arc::clone(values)], nulls());
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| row.to_string())));
    let fields = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", values.data_type().clone(), true),
    ]);
    let entries = StructArray::new(fields.clone(), vec![keys, Arc::clone(values)], None);
    let offsets = OffsetBuffer::new((0..=ROWS as i32).map(|row| row / 2).collect::<Vec<_>>().into());
    let map = MapArray::new(
        Arc::new(Field::new("entries", DataType::Struct(fields), false)),
        offsets,
        entries,
        nulls(),
        false,
    );
    let union = |offsets: Option<ScalarBuffer<i32>>| {
        let ids = ScalarBuffer::from((0..ROWS).map(|row| if row % 3 == 0 { 4_i8 } else { 9 }).collect::<Vec<_>>());
        let fields =
            [(4, Field::new("n", DataType::Int64, true)), (9, Field::new("v", values.data_type().clone(), true))];
        let fields = UnionFields::from_iter(fields.map(|(id, field)| (id, Arc::new(field))));
        UnionArray::try_new(fields, ids, offsets, vec![numbers(), Arc::clone(values)]).unwrap()
    };
    vec![
        list::<i32>(Arc::clone(values)),
        list::<i64>(Arc::clone(values)),
        list_view::<i32>(Arc::clone(values)),
        list_view::<i64>(Arc::clone(values)),
        Arc::new(FixedSizeListArray::new(field, 2, doubled, nulls())),
        Arc::new(structs),
        Arc::new(map),
        Arc::new(union(None)),
        Arc::new(union(Some((0..ROWS as i32).rev().collect::<Vec<_>>().into()))),
    ]
}

#[test]
fn flat_types_travel() {
    for array in flat() {
        check_slices(&array.data_type().to_string(), &array);
    }
}

#[test]
fn nested_types_travel() {
    for array in flat().iter().flat_map(nested) {
        check_slices(&array.data_type().to_string(), &array);
    }
}

#[test]
fn deeper_types_travel() {
    for inner in [texts(), numbers(), cast(&texts(), &DataType::Utf8View).unwrap(), flat()[0].clone()] {
        for array in nested(&inner).iter().flat_map(nested) {
            check_slices(&array.data_type().to_string(), &array);
        }
    }
}

#[test]
fn all_nulls_and_no_rows_travel() {
    let types: Vec<DataType> = flat()
        .iter()
        .flat_map(|array| [vec![Arc::clone(array)], nested(array)].concat())
        .map(|array| array.data_type().clone())
        .collect();
    for data_type in &types {
        check(&format!("nulls of {data_type}"), &new_null_array(data_type, 9));
        check(&format!("empty {data_type}"), &new_empty_array(data_type));
    }
    // Offsets may be missing altogether.
    let nothing =
        ArrayData::builder(DataType::Utf8).buffers(vec![Buffer::default(), Buffer::default()]).build().unwrap();
    check("no offsets", &make_array(nothing));
}

#[test]
fn a_batch_without_columns_keeps_its_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(42));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(travel(&batch, true).num_rows(), 42);
    assert_eq!(encode(&batch).0.rows(), 42);
}

#[test]
fn several_columns_travel() {
    let columns = flat();
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    assert_eq!(travel(&batch, true), batch);
    assert_eq!(travel(&batch.slice(7, 100), true), batch.slice(7, 100));
}

#[test]
fn memory_is_shared_where_it_can_be() {
    let array = numbers();
    let (_, buffers) = encode(&batch(array.slice(16, 80)));
    let data = array.to_data();
    assert_eq!(buffers[1].as_ptr(), data.buffers()[0].as_slice()[128..].as_ptr());
    let long: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|row| row.to_string())));
    let arrived = travel(&batch(Arc::clone(&long)), false);
    assert_eq!(arrived.column(0).to_data().buffers()[1].as_ptr(), long.to_data().buffers()[1].as_ptr());
}

#[test]
fn a_small_slice_ships_few_bytes() {
    let rows = 1_000_000;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|row| (row % 3 != 0).then_some(row))));
    let text = |row: i64| format!("a text of more than twelve bytes, {row}");
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..rows).map(text)));
    let keys = Int32Array::from_iter_values(0..rows as i32);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(&texts)));
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let offsets = OffsetBuffer::new((0..=rows as i32).collect::<Vec<_>>().into());
    let lists: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::clone(&texts), None));
    let ends = Int32Array::from_iter_values(1..=rows as i32);
    let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&ends, &texts).unwrap());
    for array in [numbers, texts, views, dictionary, lists, runs] {
        for offset in [0, 500_003, 999_990] {
            let slice = array.slice(offset, 10);
            assert!(sent_bytes(&slice) < 1500, "{}: {} bytes", array.data_type(), sent_bytes(&slice));
            check("slice", &slice);
        }
    }
}

#[test]
fn views_drop_buffers_that_nobody_uses() {
    let long = |letter: &str| Buffer::from(letter.repeat(100_000).as_bytes());
    let view = |buffer: u32, offset: u32| arrow::array::make_view(&[b'a' + buffer as u8; 60_000], buffer, offset);
    let array = StringViewArray::new(vec![view(0, 0), view(2, 5)].into(), [long("a"), long("b"), long("c")], None);
    let array: ArrayRef = Arc::new(array);
    assert_eq!(sent_bytes(&array), 32 + 60_000 + 60_005);
    check("both", &array);
    assert_eq!(sent_bytes(&array.slice(1, 1)), 16 + 60_005);
    check("one", &array.slice(1, 1));
}

#[test]
fn damage_is_noticed() {
    let batch = batch(texts());
    let schema = batch.schema();
    let kind = |result: Result<RecordBatch>| result.unwrap_err().kind();
    let (header, buffers) = encode(&batch);
    assert_eq!(kind(decode(&schema, header.clone(), buffers[1..].to_vec())), crate::ErrorKind::Corrupt);
    for place in 0..buffers.len() {
        let mut short = buffers.clone();
        short[place] = short[place].slice_with_length(0, short[place].len() - 1);
        assert_eq!(kind(decode(&schema, header.clone(), short.clone())), crate::ErrorKind::Corrupt);
        // Even if the header agrees.
        let mut agreeing = header.clone();
        agreeing.lengths[place] -= 1;
        assert_eq!(kind(decode(&schema, agreeing, short)), crate::ErrorKind::Corrupt, "{place}");
    }
    for len in [0, ROWS as u64 + 1, ROWS as u64 * 8, u64::MAX] {
        let mut wrong = header.clone();
        wrong.nodes[0].len = len;
        assert_eq!(kind(decode(&schema, wrong, buffers.clone())), crate::ErrorKind::Corrupt);
    }
    let mut wrong = header.clone();
    wrong.rows += 1;
    assert_eq!(kind(decode(&schema, wrong, buffers.clone())), crate::ErrorKind::Corrupt);
    let other = Arc::new(Schema::new(vec![Field::new("a", DataType::Binary, true)]));
    assert_eq!(kind(decode(&other, header.clone(), buffers.clone())), crate::ErrorKind::Corrupt);
    let none = Arc::new(Schema::empty());
    assert_eq!(kind(decode(&none, header, buffers)), crate::ErrorKind::Corrupt);
}

#[test]
fn misaligned_buffers_are_realigned() {
    let batch = batch(numbers());
    let (header, buffers) = encode(&batch);
    let shifted = buffers.iter().map(|buffer| Buffer::from([&[0_u8], buffer.as_slice()].concat()).slice(1)).collect();
    assert_eq!(decode(&batch.schema(), header, shifted).unwrap(), batch);
}

#[test]
fn bytes_that_are_cut_short_are_noticed() {
    let batch = batch(Arc::new(StringArray::from(vec![Some("a"), None, Some("longer than a view holds by itself")])));
    let bytes = to_bytes(&batch).unwrap();
    for length in [0, 7, 8, 20, 64, bytes.len() - 1] {
        let error = from_bytes(&batch.schema(), &bytes.slice_with_length(0, length)).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{length} bytes: {error}");
    }
}
