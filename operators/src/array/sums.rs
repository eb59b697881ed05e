//! Sums of arrays of which each has a part.

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};

use super::dtype::{DType, Native};
use super::tile::Region;

/// A sum that grows summand by summand. Integers do not wrap.
pub struct Sum {
    dtype: DType,
    region: Region,
    data: MutableBuffer,
}

impl Sum {
    /// Zeros.
    pub fn new(dtype: DType, region: Region) -> Self {
        let data = MutableBuffer::from_len_zeroed(region.len() * dtype.bytes());
        Self { dtype, region, data }
    }

    /// A sum that has begun: its elements, row-major.
    pub fn of(dtype: DType, region: Region, data: MutableBuffer) -> Self {
        Self { dtype, region, data }
    }

    /// Adds the elements of a region, row-major.
    ///
    /// # Errors
    /// A sum of integers does not fit its type; the region is not within the sum's, always a bug of ours.
    pub fn add(&mut self, part: &Region, values: &Buffer) -> Result<()> {
        if !part.is_within(&self.region) || values.len() < part.len() * self.dtype.bytes() {
            return Err(Error::internal(format!("{} bytes of {part} for a sum over {}", values.len(), self.region)));
        }
        match self.dtype {
            DType::F64 => self.add_as::<f64>(part, values, |a, b| Some(a + b)),
            DType::F32 => self.add_as::<f32>(part, values, |a, b| Some(a + b)),
            DType::I64 => self.add_as(part, values, i64::checked_add),
            DType::I32 => self.add_as(part, values, i32::checked_add),
            DType::Bool => Err(Error::internal("a sum of truth values")),
        }
    }

    fn add_as<T: Native>(&mut self, part: &Region, values: &Buffer, plus: impl Fn(T, T) -> Option<T>) -> Result<()> {
        let (sums, values) = (self.data.typed_data_mut::<T>(), values.typed_data::<T>());
        let mut fits = true;
        for (to, from, len) in self.region.runs_of(part) {
            for (sum, &value) in sums[to..to + len].iter_mut().zip(&values[from..from + len]) {
                match plus(*sum, value) {
                    Some(more) => *sum = more,
                    None => fits = false,
                }
            }
        }
        if fits { Ok(()) } else { Err(Error::user(format!("a sum of products does not fit {}", self.dtype))) }
    }

    /// The elements, row-major.
    pub fn finish(self) -> Buffer {
        self.data.into()
    }
}
