#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

//! Functions of tensors against loops, and what does not fit.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, LargeListArray, ListArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use super::{tensor, tensor_cosine, tensor_dot, tensor_matvec, tensor_norm};

const METADATA: &str = "ARROW:extension:metadata";

/// A column with the metadata of its field.
#[derive(Clone)]
struct Column {
    field: FieldRef,
    values: ArrayRef,
}

impl Column {
    fn new(values: ArrayRef, metadata: &str) -> Self {
        let field = Field::new("c", values.data_type().clone(), true);
        let field = match metadata {
            "" => field,
            text => field.with_metadata(HashMap::from([
                ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
                (METADATA.to_owned(), text.to_owned()),
            ])),
        };
        Self { field: Arc::new(field), values }
    }

    fn slice(&self, from: usize, rows: usize) -> Self {
        Self { field: Arc::clone(&self.field), values: self.values.slice(from, rows) }
    }
}

/// Calls a function as plans do: types first, then the rows.
fn call(function: &ScalarUDF, columns: &[Column]) -> Result<Column> {
    let types = columns.iter().map(|column| column.field.data_type().clone()).collect::<Vec<_>>();
    assert_eq!(function.inner().coerce_types(&types)?, types, "columns of floats stay as they are");
    let fields = columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>();
    let scalars = vec![None; columns.len()];
    let field = function.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars })?;
    let arguments = ScalarFunctionArgs {
        args: columns.iter().map(|column| ColumnarValue::Array(Arc::clone(&column.values))).collect(),
        arg_fields: fields,
        number_rows: columns[0].values.len(),
        return_field: Arc::clone(&field),
        config_options: Arc::new(ConfigOptions::default()),
    };
    let values = function.invoke_with_args(arguments)?.into_array(columns[0].values.len())?;
    assert_eq!(values.data_type(), field.data_type());
    Ok(Column { field, values })
}

fn refusal(function: &ScalarUDF, columns: &[Column]) -> String {
    match call(function, columns) {
        Ok(made) => panic!("{:?} was made", made.values),
        Err(error) => error.to_string(),
    }
}

/// Numbers between -1 and 1 with few common bits.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn fixed<T: FromElements>(values: &[f64], size: usize, nulls: Option<Vec<bool>>) -> ArrayRef {
    let elements = T::column(values);
    let element = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(element, size as i32, elements, nulls.map(NullBuffer::from)))
}

trait FromElements {
    fn column(values: &[f64]) -> ArrayRef;
}

impl FromElements for f32 {
    fn column(values: &[f64]) -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(values.iter().map(|&value| value as f32)))
    }
}

impl FromElements for f64 {
    fn column(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }
}

fn doubles(column: &Column) -> Vec<f64> {
    column.values.as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn measures_are_those_of_loops_for_all_lengths_and_types() {
    for size in [1, 2, 7, 8, 15, 16, 17, 31, 32, 100, 768] {
        let rows = 5;
        let (a, b) = (numbers(size as u64, rows * size), numbers(size as u64 + 99, rows * size));
        let columns = [fixed::<f32>(&a, size, None), fixed::<f64>(&a, size, None)];
        let others = [fixed::<f32>(&b, size, None), fixed::<f64>(&b, size, None)];
        for (a_column, b_column) in columns.iter().flat_map(|a| others.iter().map(move |b| (a, b))) {
            let pair = [Column::new(Arc::clone(a_column), ""), Column::new(Arc::clone(b_column), "")];
            let dots = doubles(&call(&tensor_dot(), &pair).unwrap());
            let cosines = doubles(&call(&tensor_cosine(), &pair).unwrap());
            let norms = doubles(&call(&tensor_norm(), &pair[..1]).unwrap());
            for row in 0..rows {
                let of = |values: &[f64]| values[row * size..(row + 1) * size].to_vec();
                let (a, b) = (of(&a), of(&b));
                let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                // Elements of `f32` were rounded.
                let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-6 * size as f64;
                assert!(near(dots[row], sum(&a, &b)), "{size}");
                assert!(near(norms[row], sum(&a, &a).sqrt()), "{size}");
                assert!(near(cosines[row], sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()), "{size}");
            }
        }
    }
}

/// A row has the same bits wherever batches are cut and in whatever list it lies.
#[test]
fn bits_do_not_depend_on_batches() {
    let (rows, size) = (23, 37);
    let metadata = "{\"shape\":[37]}";
    let a = Column::new(fixed::<f64>(&numbers(3, rows * size), size, None), metadata);
    let b = Column::new(fixed::<f64>(&numbers(4, rows * size), size, None), "");
    for function in [tensor_dot(), tensor_cosine()] {
        let whole = call(&function, &[a.clone(), b.clone()]).unwrap().values;
        for step in [1, 2, 5, 22] {
            let pieces = (0..rows).step_by(step).map(|from| {
                let count = step.min(rows - from);
                call(&function, &[a.slice(from, count), b.slice(from, count)]).unwrap().values
            });
            let pieces = pieces.collect::<Vec<_>>();
            let joined = concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>()).unwrap();
            assert_eq!(&joined, &whole);
        }
        let lists = |column: &Column| {
            let values = Arc::clone(column.values.as_fixed_size_list().values());
            let element = Arc::new(Field::new_list_field(DataType::Float64, true));
            let small = ListArray::new(
                Arc::clone(&element),
                OffsetBuffer::from_lengths(vec![size; rows]),
                Arc::clone(&values),
                None,
            );
            let large = LargeListArray::new(element, OffsetBuffer::from_lengths(vec![size; rows]), values, None);
            (Column::new(Arc::new(small), ""), Column::new(Arc::new(large), ""))
        };
        let pair = [lists(&a).0, lists(&b).1];
        assert_eq!(&call(&function, &pair).unwrap().values, &whole);
    }
}

#[test]
fn a_permuted_matrix_is_the_transposed_one() {
    let (rows, height, width) = (4, 3, 5);
    let stored = numbers(8, rows * height * width);
    let transposed = (0..rows).flat_map(|row| {
        let stored = &stored;
        let place = move |i: usize, j: usize| row * height * width + i * width + j;
        (0..width).flat_map(move |j| (0..height).map(move |i| stored[place(i, j)]))
    });
    let transposed = transposed.collect::<Vec<_>>();
    let x = Column::new(fixed::<f64>(&numbers(9, rows * width), width, None), "");
    let plain = Column::new(fixed::<f64>(&stored, height * width, None), "{\"shape\":[3,5]}");
    let expected = call(&tensor_matvec(), &[plain, x.clone()]).unwrap();
    assert_eq!(expected.field.metadata()[METADATA], "{\"shape\":[3]}");
    let expected = doubles(&Column::new(Arc::clone(expected.values.as_fixed_size_list().values()), ""));
    for metadata in [
        "{\"shape\":[5,3],\"permutation\":[1,0]}",
        "{\"shape\":[5,3],\"dim_names\":[\"j\",\"i\"],\"permutations\":[1,0]}",
    ] {
        let permuted = Column::new(fixed::<f64>(&transposed, height * width, None), metadata);
        let found = call(&tensor_matvec(), &[permuted, x.clone()]).unwrap();
        let found = doubles(&Column::new(Arc::clone(found.values.as_fixed_size_list().values()), ""));
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14), "{found:?} {expected:?}");
    }
    let same = Column::new(fixed::<f64>(&stored, 15, None), "{\"shape\":[3,5],\"permutation\":[0,1]}");
    let found = call(&tensor_matvec(), &[same, x]).unwrap();
    assert_eq!(doubles(&Column::new(Arc::clone(found.values.as_fixed_size_list().values()), "")), expected);
}

#[test]
fn products_of_small_floats_are_small_floats() {
    let m = Column::new(fixed::<f32>(&[1.0, 2.0, 3.0, 4.0], 4, None), "{\"shape\":[2,2]}");
    let small = call(&tensor_matvec(), &[m.clone(), Column::new(fixed::<f32>(&[1.0, 10.0], 2, None), "")]).unwrap();
    let elements = small.values.as_fixed_size_list().values();
    assert_eq!(elements.as_primitive::<Float32Type>().values().to_vec(), [21.0, 43.0]);
    let wide = call(&tensor_matvec(), &[m, Column::new(fixed::<f64>(&[1.0, 10.0], 2, None), "")]).unwrap();
    assert_eq!(wide.values.as_fixed_size_list().value_type(), DataType::Float64);
}

#[test]
fn null_rows_are_null_whatever_lies_in_them() {
    let element = Arc::new(Field::new_list_field(DataType::Float64, true));
    let elements = Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(4.0), Some(3.0), Some(4.0)]);
    let nulls = NullBuffer::from(vec![true, false, true]);
    let holed = FixedSizeListArray::new(Arc::clone(&element), 2, Arc::new(elements.clone()), Some(nulls));
    let norms = call(&tensor_norm(), &[Column::new(Arc::new(holed.clone()), "")]).unwrap();
    assert_eq!(norms.values.as_ref(), &Float64Array::from(vec![Some(5_f64.sqrt()), None, Some(5.0)]));
    let made = call(&tensor(), &[Column::new(Arc::new(holed), "")]).unwrap();
    assert_eq!(made.values.as_fixed_size_list().values().null_count(), 0);
    assert_eq!(made.values.null_count(), 1);
    assert_eq!(made.field.metadata()[METADATA], "{\"shape\":[2]}");
    let unsound = FixedSizeListArray::new(element, 2, Arc::new(elements), None);
    assert!(refusal(&tensor_norm(), &[Column::new(Arc::new(unsound), "")]).contains("NULL among its elements"));
}

#[test]
fn no_rows_are_no_results() {
    let none = Column::new(fixed::<f64>(&[], 4, None), "{\"shape\":[2,2]}");
    let x = Column::new(fixed::<f64>(&[], 2, None), "");
    assert_eq!(call(&tensor_matvec(), &[none.clone(), x]).unwrap().values.len(), 0);
    assert_eq!(call(&tensor_norm(), &[none]).unwrap().values.len(), 0);
}

#[test]
fn cosines_stay_in_their_range() {
    let values = [0.1, 0.2, 0.3, 1e-30, 1e-30, 1e-30, 0.0, 0.0, 0.0];
    let column = Column::new(fixed::<f64>(&values, 3, None), "");
    let cosines = doubles(&call(&tensor_cosine(), &[column.clone(), column]).unwrap());
    assert_eq!(cosines[..2], [1.0, 1.0]);
    assert!(cosines[2].is_nan());
}

#[test]
fn metadata_that_contradict_themselves_are_refused() {
    let x = Column::new(fixed::<f64>(&[1.0, 2.0], 2, None), "");
    for (metadata, words) in [
        ("{", "no JSON"),
        ("{}", "no `shape`"),
        ("{\"shape\":[2,-2]}", "no list of numbers as `shape`"),
        ("{\"shape\":[2,3]}", "a shape that does not fit"),
        ("{\"shape\":[2,2],\"permutation\":[0,2]}", "no permutation of the axes"),
        ("{\"shape\":[4]}", "which are no matrices"),
    ] {
        let m = Column::new(fixed::<f64>(&[0.0; 4], 4, None), metadata);
        let told = refusal(&tensor_matvec(), &[m, x.clone()]);
        assert!(told.contains(words), "{told}");
    }
    let permuted = Column::new(fixed::<f64>(&[0.0; 4], 4, None), "{\"shape\":[2,2],\"permutation\":[1,0]}");
    let plain = Column::new(fixed::<f64>(&[0.0; 4], 4, None), "{\"shape\":[2,2]}");
    assert!(refusal(&tensor_dot(), &[permuted, plain]).contains("(permuted)"));
}
