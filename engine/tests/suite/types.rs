//! Every Arrow type, through every way a batch can go: cut by lane, joined with others, over the wire, to disk.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray,
    GenericListArray, GenericListViewArray, Int32Array, Int64Array, MapArray, NullArray, OffsetSizeTrait, RecordBatch,
    RunArray, StringArray, StructArray, UInt64Array, UnionArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{
    DataType, Field, Fields, Int8Type, Int32Type, IntervalUnit, Schema, SchemaRef, TimeUnit, UInt64Type, UnionFields,
};
use bireme_engine::stage::{Feed, Partitioner, Route};
use bireme_engine::{Error, Result};

use super::bodies::{Builder, Kept, forward, source};
use super::cases::on_all;
use super::{Case, Rank, expect};

pub const CASES: &[(&str, Case)] = &[
    ("every type", every_type),
    ("every type spilled", every_type_spilled),
    ("dictionaries that overflow", overflowing_dictionaries),
];

/// Rows of each producer.
const ROWS: usize = 90;

fn every_type(rank: &mut Rank) -> Result<()> {
    for (name, column) in columns(1) {
        // One type at a time, so that a failure says which.
        check(rank, &name, &[(name.clone(), column)])?;
    }
    check(rank, "all at once", &columns(1))
}

fn every_type_spilled(rank: &mut Rank) -> Result<()> {
    rank.limit_memory(256);
    check(rank, "all at once", &columns(1))
}

/// Batches with 100 values each, all different: their dictionaries cannot become one with keys of 8 bits, so the
/// batches cannot be joined on their way.
fn overflowing_dictionaries(rank: &mut Rank) -> Result<()> {
    let text = |lane: usize, batch: usize, row: usize| format!("value {row} of batch {batch} of lane {lane}");
    let batches = move |_, lane: usize| {
        let batch = |batch: usize| {
            let values = (0..100).map(|row| text(lane, batch, row)).collect::<Vec<_>>();
            let column = DictionaryArray::<Int8Type>::from_iter(values.iter().map(String::as_str));
            RecordBatch::try_from_iter([("text", Arc::new(column) as ArrayRef)]).unwrap()
        };
        (0..10).map(batch).collect::<Vec<_>>()
    };
    let everywhere = on_all(rank.ranks(), 1);
    rank.context.batch_rows = 10_000;
    let mut builder = Builder::new(rank.ranks());
    let renamed = batches(0, 0)[0].schema();
    let producer = builder.stage("dictionaries", &everywhere, &[], source(batches));
    let exchange = builder.exchange(producer, Route::Keep, &renamed);
    let feed = Feed::Lanes((0..everywhere.len()).map(|lane| everywhere.len() - 1 - lane).collect());
    let consumer = builder.stage("forward", &everywhere, &[(exchange, feed)], forward());
    let kept = Kept::new();
    builder.keep(consumer, &kept);
    rank.run(&builder.place()?)?;
    let from = rank.ranks() - 1 - rank.rank();
    let mut texts = Vec::new();
    for batch in kept.batches() {
        let plain = cast(batch.column(0), &DataType::Utf8)?;
        texts.extend(plain.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()));
    }
    let expected = (0..10).flat_map(|batch| (0..100).map(move |row| text(from, batch, row))).collect::<Vec<_>>();
    expect(texts == expected, || format!("{} texts", texts.len()))
}

fn check(rank: &mut Rank, name: &str, columns: &[(String, ArrayRef)]) -> Result<()> {
    let batch = with_ids(0, columns);
    for route in [Route::Hash(Arc::new(ByPlace)), Route::Keep, Route::Broadcast, Route::Spread] {
        // 13 rows a batch and 32 to send: batches are cut, joined and sliced.
        rank.context.batch_rows = 32;
        let at = |found: String| Error::internal(format!("{name} over {}: {found}", route.describe()));
        let everywhere = on_all(rank.ranks(), 1);
        let mut builder = Builder::new(rank.ranks());
        let whole = batch.clone();
        let pieces = move |_, lane: usize| {
            let whole = with_ids(
                lane,
                &whole.columns()[2..].iter().map(|c| (String::new(), Arc::clone(c))).collect::<Vec<_>>(),
            );
            let whole = RecordBatch::try_new(batch_schema(&whole), whole.columns().to_vec()).unwrap();
            (0..ROWS).step_by(13).map(|from| whole.slice(from, 13.min(ROWS - from))).collect()
        };
        let renamed = batch_schema(&batch);
        let producer = builder.stage("typed rows", &everywhere, &[], source(pieces));
        let exchange = builder.exchange(producer, route.clone(), &renamed);
        builder.edit(exchange).spooled = true;
        let feed = if matches!(route, Route::Broadcast) {
            Feed::EveryRank
        } else {
            Feed::Lanes((0..everywhere.len()).collect())
        };
        let consumer = builder.stage("forward", &everywhere, &[(exchange, feed)], forward());
        let kept = Kept::new();
        builder.keep(consumer, &kept);
        rank.run(&builder.place()?).map_err(|error| at(error.to_string()))?;
        let here = compare(&kept, &batch, &renamed).map_err(|error| at(error.to_string()))?;
        let copies = if matches!(route, Route::Broadcast) { rank.ranks() } else { 1 };
        let all = rank.sum(here as u64)?;
        expect(all == (ROWS * rank.ranks() * copies) as u64, || {
            format!("{name} over {}: {all} rows", route.describe())
        })?;
    }
    Ok(())
}

/// Compares what arrived here with what was sent, row by row; returns how many rows.
fn compare(kept: &Kept, sent: &RecordBatch, schema: &SchemaRef) -> Result<usize> {
    let mut rows = 0;
    for batch in kept.batches() {
        let places = batch.column(1).as_primitive::<UInt64Type>();
        for (column, (got, whole)) in batch.columns()[2..].iter().zip(&sent.columns()[2..]).enumerate() {
            let expected = take(whole, places, None)?;
            got.to_data().validate_full()?;
            let same = match (got.data_type(), expected.data_type()) {
                // Run ends differ where batches were cut; the values may not.
                (DataType::RunEndEncoded(_, _), _) => expand(got)?.as_ref() == expand(&expected)?.as_ref(),
                _ => got.as_ref() == expected.as_ref(),
            };
            expect(same, || format!("column {} differs: {got:?} instead of {expected:?}", schema.field(column + 2)))?;
        }
        rows += batch.num_rows();
    }
    Ok(rows)
}

fn expand(runs: &ArrayRef) -> Result<ArrayRef> {
    let runs =
        runs.as_any().downcast_ref::<RunArray<Int32Type>>().ok_or_else(|| Error::internal("not runs of 32 bits"))?;
    let rows = (0..runs.len()).map(|row| runs.get_physical_index(row) as u64);
    Ok(take(runs.values(), &UInt64Array::from_iter_values(rows), None)?)
}

/// Lane by the row's place.
#[derive(Debug)]
struct ByPlace;

impl Partitioner for ByPlace {
    fn describe(&self) -> String {
        "hash(place)".into()
    }

    fn assign(&self, batch: &RecordBatch, lanes: usize, out: &mut Vec<u32>) -> Result<()> {
        let places = batch.column(1).as_primitive::<UInt64Type>();
        out.extend(places.values().iter().map(|place| (place * 7 % lanes as u64) as u32));
        Ok(())
    }
}

fn batch_schema(batch: &RecordBatch) -> SchemaRef {
    let fields = batch.columns().iter().enumerate();
    Arc::new(Schema::new(
        fields
            .map(|(place, column)| Field::new(format!("c{place}"), column.data_type().clone(), true))
            .collect::<Vec<_>>(),
    ))
}

fn with_ids(producer: usize, columns: &[(String, ArrayRef)]) -> RecordBatch {
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![producer as u64; ROWS])),
        Arc::new(UInt64Array::from_iter_values(0..ROWS as u64)),
    ];
    all.extend(columns.iter().map(|(_, column)| Arc::clone(column)));
    let fields =
        all.iter().enumerate().map(|(place, column)| Field::new(format!("c{place}"), column.data_type().clone(), true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), all).unwrap()
}

/// One column of each type, with NULLs and with values of uneven lengths.
fn columns(seed: i64) -> Vec<(String, ArrayRef)> {
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter((0..ROWS as i64).map(|row| (row % 7 > 0).then_some((row * 31 + seed) % 100))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter(
        (0..ROWS).map(|row| (row % 5 > 0).then(|| format!("text {row} {}", "long ".repeat(row % 9)))),
    ));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(NullArray::new(ROWS)), Arc::clone(&numbers), Arc::clone(&texts)];
    columns.extend(numeric_types().iter().map(|to| cast(&numbers, to).unwrap()));
    columns.extend(temporal_types().iter().map(|to| {
        let narrow = cast(&numbers, &DataType::Int32).unwrap();
        cast(&numbers, to).or_else(|_| cast(&narrow, to)).unwrap()
    }));
    columns.extend(intervals(seed));
    columns.extend(
        [DataType::LargeUtf8, DataType::Utf8View, DataType::Binary, DataType::LargeBinary, DataType::BinaryView]
            .map(|to| cast(&texts, &to).unwrap()),
    );
    columns.push(Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| (row % 4 > 0).then_some(row % 3 == 0)))));
    let fixed = (0..ROWS).map(|row| (row % 6 > 0).then_some([row as u8, 1, 2]));
    columns.push(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 3).unwrap()));
    columns.extend(nested(&numbers, &texts));
    columns.extend(encoded(&texts));
    columns.into_iter().map(|column| (column.data_type().to_string(), column)).collect()
}

fn numeric_types() -> Vec<DataType> {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    use DataType::{Float16, Float32, Float64, Int8, Int16, Int32, UInt8, UInt16, UInt32, UInt64};
    let decimals = [Decimal32(9, 2), Decimal64(18, 3), Decimal128(38, 4), Decimal256(76, 5)];
    [Int8, Int16, Int32, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64].into_iter().chain(decimals).collect()
}

fn temporal_types() -> Vec<DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let mut types = vec![DataType::Date32, DataType::Date64, DataType::Time32(Second), DataType::Time32(Millisecond)];
    types.extend([DataType::Time64(Microsecond), DataType::Time64(Nanosecond)]);
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        let zone = Some("+02:00".into());
        types.extend([DataType::Timestamp(unit, None), DataType::Timestamp(unit, zone), DataType::Duration(unit)]);
    }
    types
}

fn intervals(seed: i64) -> Vec<ArrayRef> {
    use arrow::array::{IntervalDayTimeArray, IntervalMonthDayNanoArray, IntervalYearMonthArray};
    use arrow::datatypes::{IntervalDayTime, IntervalMonthDayNano};
    let some = |row: usize| !row.is_multiple_of(3);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(IntervalYearMonthArray::from_iter((0..ROWS).map(|row| some(row).then_some(row as i32)))),
        Arc::new(IntervalDayTimeArray::from_iter(
            (0..ROWS).map(|row| some(row).then(|| IntervalDayTime::new(row as i32, 7))),
        )),
        Arc::new(IntervalMonthDayNanoArray::from_iter(
            (0..ROWS).map(|row| some(row).then(|| IntervalMonthDayNano::new(1, row as i32, seed))),
        )),
    ];
    assert!(matches!(arrays[0].data_type(), DataType::Interval(IntervalUnit::YearMonth)));
    arrays
}

/// Lengths 0, 1, 2, 3, 0, … of as many items as there are.
fn offsets<O: OffsetSizeTrait>() -> OffsetBuffer<O> {
    OffsetBuffer::from_lengths((0..ROWS).map(|row| row % 4).scan(0, |used, len| {
        let len = len.min(ROWS - *used);
        *used += len;
        Some(len)
    }))
}

fn nulls(every: usize) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter((0..ROWS).map(|row| row % every > 0)))
}

fn list<O: OffsetSizeTrait>(items: &ArrayRef) -> GenericListArray<O> {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    GenericListArray::try_new(field, offsets::<O>(), Arc::clone(items), nulls(5)).unwrap()
}

fn list_view<O: OffsetSizeTrait>(items: &ArrayRef) -> GenericListViewArray<O> {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    // Out of order and overlapping, as only views can be.
    let starts = ScalarBuffer::from_iter((0..ROWS).map(|row| O::usize_as((ROWS - row - 1) % (ROWS - 3))));
    let sizes = ScalarBuffer::from_iter((0..ROWS).map(|row| O::usize_as(row % 4)));
    GenericListViewArray::try_new(field, starts, sizes, Arc::clone(items), nulls(5)).unwrap()
}

fn nested(numbers: &ArrayRef, texts: &ArrayRef) -> Vec<ArrayRef> {
    let fields = Fields::from(vec![
        Field::new("number", numbers.data_type().clone(), true),
        Field::new("text", texts.data_type().clone(), true),
    ]);
    let pair = StructArray::try_new(fields.clone(), vec![Arc::clone(numbers), Arc::clone(texts)], nulls(8)).unwrap();
    let of_three: ArrayRef =
        Arc::new(Int32Array::from_iter((0..3 * ROWS as i32).map(|item| (item % 11 > 0).then_some(item))));
    let item = Arc::new(Field::new_list_field(DataType::Int32, true));
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("key {row}"))));
    let entries =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Int64, true)]);
    let entries_array = StructArray::try_new(entries.clone(), vec![keys, Arc::clone(numbers)], None).unwrap();
    let entries_field = Arc::new(Field::new("entries", DataType::Struct(entries), false));
    let lists: ArrayRef = Arc::new(list::<i32>(texts));
    vec![
        Arc::new(pair.clone()),
        Arc::clone(&lists),
        Arc::new(list::<i64>(numbers)),
        Arc::new(list::<i32>(&lists)),
        Arc::new(list::<i32>(&(Arc::new(pair) as ArrayRef))),
        Arc::new(list_view::<i32>(texts)),
        Arc::new(list_view::<i64>(numbers)),
        Arc::new(FixedSizeListArray::try_new(item, 3, of_three, nulls(6)).unwrap()),
        Arc::new(MapArray::try_new(entries_field, offsets::<i32>(), entries_array, nulls(9), false).unwrap()),
        union(numbers, texts, false),
        union(numbers, texts, true),
    ]
}

fn union(numbers: &ArrayRef, texts: &ArrayRef, dense: bool) -> ArrayRef {
    let fields = [(0, Field::new("number", DataType::Int64, true)), (1, Field::new("text", DataType::Utf8, true))];
    let fields = UnionFields::from_iter(fields.map(|(id, field)| (id, Arc::new(field))));
    let ids = ScalarBuffer::from_iter((0..ROWS).map(|row| (row % 2) as i8));
    let offsets = dense.then(|| ScalarBuffer::from_iter((0..ROWS as i32).map(|row| row / 2)));
    Arc::new(UnionArray::try_new(fields, ids, offsets, vec![Arc::clone(numbers), Arc::clone(texts)]).unwrap())
}

fn encoded(texts: &ArrayRef) -> Vec<ArrayRef> {
    let small = DictionaryArray::<Int8Type>::from_iter(
        (0..ROWS).map(|row| (row % 4 > 0).then(|| ["one", "two", "three"][row % 3])),
    );
    let large = DictionaryArray::<Int32Type>::try_new(
        Int32Array::from_iter((0..ROWS as i32).map(|row| (row % 6 > 0).then_some((row * 17) % ROWS as i32))),
        Arc::clone(texts),
    );
    let binary: ArrayRef =
        Arc::new(BinaryArray::from_iter((0..ROWS).map(|row| (row % 5 > 0).then(|| vec![row as u8; row % 7]))));
    let of_binary =
        DictionaryArray::<UInt64Type>::try_new(UInt64Array::from_iter_values((0..ROWS as u64).rev()), binary);
    let values = StringArray::from(vec![Some("a"), None, Some("ccc")]);
    let ends = Int32Array::from(vec![10, 25, ROWS as i32]);
    vec![
        Arc::new(small),
        Arc::new(large.unwrap()),
        Arc::new(of_binary.unwrap()),
        Arc::new(RunArray::<Int32Type>::try_new(&ends, &values).unwrap()),
    ]
}

#[allow(dead_code, reason = "handy while looking for a bad row")]
fn joined(batches: &[RecordBatch]) -> Result<RecordBatch> {
    Ok(concat_batches(&batches[0].schema(), batches)?)
}
