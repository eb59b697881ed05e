//! Options, vectors and tuples of records.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, make_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use bireme_engine::error::{Error, Result};

use super::support::nothing;
use super::{Record, field, struct_column, support, without_nulls};

/// NULL or a value. Of options of options all that is no value is the outer one's NULL.
impl<T: Record> Record for Option<T> {
    type Builder = (T::Builder, Vec<bool>);
    type Column = (T::Column, Option<NullBuffer>);
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }

    fn put(&self, (values, valid): &mut Self::Builder) {
        valid.push(self.is_some());
        match self {
            Some(value) => value.put(values),
            None => T::put_nothing(values),
        }
    }

    fn put_nothing((values, valid): &mut Self::Builder) {
        valid.push(false);
        T::put_nothing(values);
    }

    fn finish((values, valid): &mut Self::Builder) -> ArrayRef {
        let (valid, values) = (NullBuffer::from(std::mem::take(valid)), T::finish(values));
        if valid.len() != values.len() {
            return nothing();
        }
        with_nulls(&values, Some(valid).filter(|valid| valid.null_count() > 0))
    }

    fn column(name: &str, array: &ArrayRef) -> Result<Self::Column> {
        if array.data_type() == &DataType::Null {
            let mut nothing = T::Builder::default();
            (0..array.len()).for_each(|_| T::put_nothing(&mut nothing));
            return Ok((T::column(name, &T::finish(&mut nothing))?, Some(NullBuffer::new_null(array.len()))));
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        // What is behind a NULL is nobody's value, whatever it is.
        let array = match &nulls {
            Some(nulls) => filled(array, nulls)?,
            None => Arc::clone(array),
        };
        Ok((T::column(name, &array)?, nulls))
    }

    fn get((values, nulls): &Self::Column, row: usize) -> Self {
        let there = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        there.then(|| T::get(values, row))
    }

    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }

    fn detached(self) -> Self {
        self.map(T::detached)
    }
}

/// The same values with other NULLs.
fn with_nulls(array: &ArrayRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let nulls = NullBuffer::union(array.nulls(), nulls.as_ref());
    let data = array.to_data().into_builder().nulls(nulls);
    // SAFETY: the nulls are as many as the values, of which nothing else changes.
    make_array(unsafe { data.build_unchecked() })
}

/// A column with some other row's value in place of each NULL; with no row at all if there is none.
fn filled(array: &ArrayRef, nulls: &NullBuffer) -> Result<ArrayRef> {
    let plain = !array.data_type().is_nested() && !matches!(array.data_type(), DataType::Dictionary(..));
    if plain && array.nulls().is_some_and(|own| own.null_count() == nulls.null_count()) {
        let data = array.to_data().into_builder().nulls(None);
        // SAFETY: values of these types are valid behind NULLs, too.
        return Ok(make_array(unsafe { data.build_unchecked() }));
    }
    let Some(some) = nulls.valid_indices().next() else { return Ok(array.slice(0, 0)) };
    let rows = (0..array.len()).map(|row| if nulls.is_valid(row) { row as u64 } else { some as u64 });
    let rows = arrow::array::UInt64Array::from_iter_values(rows);
    Ok(arrow::compute::take(array, &rows, None)?)
}

/// Lists.
impl<T: Record> Record for Vec<T> {
    type Builder = (T::Builder, Vec<i32>);
    type Column = (T::Column, OffsetBuffer<i32>);

    fn data_type() -> DataType {
        DataType::List(Arc::new(item::<T>()))
    }

    fn put(&self, (values, ends): &mut Self::Builder) {
        self.iter().for_each(|value| value.put(values));
        let end = ends.last().copied().unwrap_or(0) as usize + self.len();
        ends.push(i32::try_from(end).unwrap_or(i32::MAX));
    }

    fn put_nothing((_, ends): &mut Self::Builder) {
        ends.push(ends.last().copied().unwrap_or(0));
    }

    fn finish((values, ends): &mut Self::Builder) -> ArrayRef {
        let (ends, values) = (std::mem::take(ends), T::finish(values));
        let elements = ends.last().map_or(0, |end| *end as usize);
        // Of more elements than there are numbers for ends, or of elements that are no column.
        if elements != values.len() {
            return nothing();
        }
        let offsets = OffsetBuffer::new(std::iter::once(0).chain(ends).collect());
        Arc::new(ListArray::new(Arc::new(item::<T>()), offsets, values, None))
    }

    fn column(name: &str, array: &ArrayRef) -> Result<Self::Column> {
        without_nulls(name, array)?;
        let other = || Error::user(format!("column \"{name}\" is {}, and a list is wanted", array.data_type()));
        let list = match array.data_type() {
            DataType::List(_) => Arc::clone(array),
            DataType::LargeList(of) | DataType::FixedSizeList(of, _) | DataType::ListView(of) => {
                arrow::compute::cast(array, &DataType::List(Arc::clone(of)))?
            }
            _ => return Err(other()),
        };
        let list = list.as_list_opt::<i32>().ok_or_else(other)?;
        Ok((T::column(name, list.values())?, list.offsets().clone()))
    }

    fn get((values, offsets): &Self::Column, row: usize) -> Self {
        (offsets[row] as usize..offsets[row + 1] as usize).map(|at| T::get(values, at)).collect()
    }

    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::heap_bytes).sum::<usize>()
    }

    fn detached(self) -> Self {
        self.into_iter().map(T::detached).collect()
    }
}

fn item<T: Record>() -> Field {
    field::<T>("item")
}

macro_rules! tuples {
    ($(($($type:ident $place:tt),+))*) => {$(
        /// Fields `_1`, `_2` and so on.
        impl<$($type: Record),+> Record for ($($type,)+) {
            type Builder = ($($type::Builder,)+);
            type Column = ($($type::Column,)+);

            fn data_type() -> DataType {
                DataType::Struct(Fields::from(vec![$(field::<$type>(concat!("_", tuples!(@one $place)))),+]))
            }

            fn put(&self, builder: &mut Self::Builder) {
                $(self.$place.put(&mut builder.$place);)+
            }

            fn put_nothing(builder: &mut Self::Builder) {
                $($type::put_nothing(&mut builder.$place);)+
            }

            fn finish(builder: &mut Self::Builder) -> ArrayRef {
                support::structure(Self::data_type(), vec![$($type::finish(&mut builder.$place)),+])
            }

            fn column(name: &str, array: &ArrayRef) -> Result<Self::Column> {
                let fields = struct_column(name, array)?;
                let wanted = [$($place),+].len();
                if fields.num_columns() != wanted {
                    return Err(Error::user(format!(
                        "a tuple of {wanted} is read from {} columns: {}; select as many",
                        fields.num_columns(),
                        fields.column_names().join(", ")
                    )));
                }
                Ok(($($type::column(fields.column_names()[$place], fields.column($place))?,)+))
            }

            #[inline]
            fn get(column: &Self::Column, row: usize) -> Self {
                ($($type::get(&column.$place, row),)+)
            }

            fn heap_bytes(&self) -> usize {
                0 $(+ self.$place.heap_bytes())+
            }

            fn detached(self) -> Self {
                ($(self.$place.detached(),)+)
            }
        }
    )*};
    (@one 0) => { "1" };
    (@one 1) => { "2" };
    (@one 2) => { "3" };
    (@one 3) => { "4" };
    (@one 4) => { "5" };
    (@one 5) => { "6" };
    (@one 6) => { "7" };
    (@one 7) => { "8" };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// So many values: a list of fixed size.
impl<T: Record, const N: usize> Record for [T; N] {
    type Builder = (T::Builder, usize);
    type Column = T::Column;

    fn data_type() -> DataType {
        DataType::FixedSizeList(Arc::new(item::<T>()), N as i32)
    }

    fn put(&self, (values, rows): &mut Self::Builder) {
        self.iter().for_each(|value| value.put(values));
        *rows += 1;
    }

    fn put_nothing((values, rows): &mut Self::Builder) {
        (0..N).for_each(|_| T::put_nothing(values));
        *rows += 1;
    }

    fn finish((values, rows): &mut Self::Builder) -> ArrayRef {
        let (rows, values) = (std::mem::take(rows), T::finish(values));
        let list = FixedSizeListArray::try_new_with_length(Arc::new(item::<T>()), N as i32, values, None, rows);
        list.map_or_else(|_| nothing(), |list| Arc::new(list) as ArrayRef)
    }

    fn column(name: &str, array: &ArrayRef) -> Result<T::Column> {
        without_nulls(name, array)?;
        match array.as_fixed_size_list_opt() {
            Some(list) if list.value_length() as usize == N => {
                T::column(name, &list.values().slice(list.value_offset(0) as usize, list.len() * N))
            }
            _ => Err(Error::user(format!(
                "column \"{name}\" is {}, and a list of fixed size {N} is wanted",
                array.data_type()
            ))),
        }
    }

    #[inline]
    fn get(column: &T::Column, row: usize) -> Self {
        std::array::from_fn(|at| T::get(column, row * N + at))
    }

    fn heap_bytes(&self) -> usize {
        self.iter().map(T::heap_bytes).sum()
    }

    fn detached(self) -> Self {
        self.map(T::detached)
    }
}
