//! How large the largest of some rows is.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray};
use arrow::datatypes::{ByteViewType, DataType, UInt32Type};
use bireme_engine::Result;

/// Bytes of a view, which texts have besides their own.
const VIEW: usize = size_of::<u128>();

/// Bytes of the largest row of columns in carried forms; 0 if there is none.
///
/// # Errors
/// Arrow refuses to say how large a value is.
pub(super) fn largest_row(columns: &[ArrayRef], rows: usize) -> Result<usize> {
    let mut bytes = vec![0; rows];
    for column in columns {
        add(column, &mut bytes)?;
    }
    Ok(bytes.into_iter().max().unwrap_or(0))
}

fn add(column: &ArrayRef, bytes: &mut [usize]) -> Result<()> {
    match column.data_type() {
        DataType::Utf8View => views(column.as_string_view(), bytes),
        DataType::BinaryView => views(column.as_binary_view(), bytes),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let mut values = vec![0; dictionary.values().len()];
            add(dictionary.values(), &mut values)?;
            if let Some(codes) = dictionary.keys().as_primitive_opt::<UInt32Type>() {
                bytes.iter_mut().zip(codes).for_each(|(bytes, code)| {
                    *bytes += code.and_then(|code| values.get(code as usize)).copied().unwrap_or(0);
                });
            }
        }
        other => match other.primitive_width() {
            Some(width) => bytes.iter_mut().for_each(|bytes| *bytes += width),
            None => {
                for (row, bytes) in bytes.iter_mut().enumerate() {
                    *bytes += column.slice(row, 1).to_data().get_slice_memory_size()?;
                }
            }
        },
    }
    Ok(())
}

fn views<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, bytes: &mut [usize]) {
    for (row, (bytes, length)) in bytes.iter_mut().zip(array.lengths()).enumerate() {
        // What lies behind a NULL need not be a view.
        *bytes += VIEW + if array.is_null(row) { 0 } else { length as usize };
    }
}
