//! Arrays as tables, and tables as arrays.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef};
use bireme_connectors::array_file::npy;
use bireme_connectors::memory_table::MemoryTable;
use bireme_connectors::tile_rows::TileRows;
use bireme_engine::error::{Error, Result};
use bireme_operators::array::{DType, Region, Tile};
use datafusion::catalog::TableProvider;

use super::action::by_rows;
use super::files::of_file;
use super::{Array, Element, Number};
use crate::frame::DataFrame;
use crate::session::Session;

impl Session {
    /// Makes an array a table, with a column for the index along each axis and one for the value. Nothing is copied: index columns are
    /// made when they are read. A join on index columns with a SUM of products runs as a product of matrices.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let a = session.array(vec![1.0, 2.0, 3.0, 4.0], [2, 2])?;
    /// session.register_array("a", &a, ["i", "k"], "v")?;
    /// let rows = session.sql("SELECT i, SUM(v) AS total FROM a WHERE k > 0 GROUP BY i")?;
    /// assert_eq!(rows.count()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// There is a table of that name, the names are not one an axis and all different; and as [`Array::compute`].
    pub fn register_array<T: Element>(
        &self,
        name: &str,
        array: &Array<T>,
        dims: impl IntoIterator<Item = impl Into<String>>,
        value: &str,
    ) -> Result<()> {
        let table = array.table(dims, value)?;
        self.register(name, table)
    }

    /// A table over an NPY file: a column for the index along each axis, one for the value.
    pub(crate) fn npy_table(&self, path: &str, dims: Vec<String>, value: &str) -> Result<Arc<dyn TableProvider>> {
        let path = std::path::Path::new(path);
        match of_file(npy::open(path)?.dtype()) {
            DType::F64 => self.read_npy::<f64>(path)?.table(dims, value),
            DType::F32 => self.read_npy::<f32>(path)?.table(dims, value),
            DType::I64 => self.read_npy::<i64>(path)?.table(dims, value),
            DType::I32 => self.read_npy::<i32>(path)?.table(dims, value),
            DType::Bool => self.read_npy::<bool>(path)?.table(dims, value),
        }
    }
}

impl<T: Element> Array<T> {
    /// The array as a lazy table, as [`Session::register_array`] makes it.
    ///
    /// # Errors
    /// As there.
    pub fn to_dataframe(&self, dims: impl IntoIterator<Item = impl Into<String>>, value: &str) -> Result<DataFrame> {
        self.session().scan("array", self.table(dims, value)?)
    }

    fn table(&self, dims: impl IntoIterator<Item = impl Into<String>>, value: &str) -> Result<Arc<dyn TableProvider>> {
        self.check()?;
        let dims = dims.into_iter().map(Into::into).collect::<Vec<String>>();
        let schema = schema(&dims, value, self.shape(), T::DTYPE)?;
        self.compute()?;
        let session = self.session();
        let ready = self.node.there().ok_or_else(|| Error::internal("an array that is not there"))?;
        let places = session.places();
        // Tiles are rows where they lie, if each element has one place; else the array is cut by rows first.
        let once = ready.tiling.as_ref().and_then(|tiling| each_once(tiling.regions(), self.size()));
        let (regions, tiles) = match once {
            Some(regions) => (regions, ready.tiles),
            None if places.cuts(self.shape()) => {
                (places.regions(self.shape()).into_iter().map(Some).collect(), by_rows(session, &self.node)?)
            }
            None => (vec![None], by_rows(session, &self.node)?),
        };
        let local = session.local_ranks();
        let mut lanes = Vec::new();
        if let [None] = regions.as_slice() {
            let rows = TileRows::new(tiles[0].indices.ranges().to_vec(), values(&tiles[0]))?;
            lanes.push((None, self.size() as u64, Some(rows)));
        } else {
            for (rank, region) in regions.into_iter().enumerate() {
                let Some(region) = region else { continue };
                let here = local.iter().position(|one| one.number == rank);
                let rows = here.map(|at| TileRows::new(region.ranges().to_vec(), values(&tiles[at]))).transpose()?;
                lanes.push((Some(rank), region.len() as u64, rows));
            }
        }
        Ok(Arc::new(MemoryTable::of_tiles(schema, lanes)))
    }
}

/// What each rank has, without copies of what an earlier one has; `None` if tiles overlap in another way, or some elements are missing.
fn each_once(regions: &[Region], elements: usize) -> Option<Vec<Option<Region>>> {
    let mut all: Vec<Option<Region>> = Vec::with_capacity(regions.len());
    for region in regions {
        let earlier = all.iter().flatten().any(|earlier| earlier == region);
        all.push((!earlier && !region.is_empty()).then(|| region.clone()));
    }
    let kept = all.iter().flatten().collect::<Vec<_>>();
    let apart =
        kept.iter().enumerate().all(|(at, one)| kept[..at].iter().all(|other| other.intersection(one).is_empty()));
    (apart && kept.len() > 1 && kept.iter().map(|region| region.len()).sum::<usize>() == elements).then_some(all)
}

pub(super) fn schema(dims: &[String], value: &str, shape: &[usize], dtype: DType) -> Result<SchemaRef> {
    if dims.len() != shape.len() {
        return Err(Error::user(format!("{} names {dims:?} for the axes of an array of shape {shape:?}", dims.len())));
    }
    let mut fields = dims.iter().map(|name| Field::new(name, DataType::Int64, false)).collect::<Vec<_>>();
    let value_type = match dtype {
        DType::Bool => DataType::Boolean,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::F32 => DataType::Float32,
        DType::F64 => DataType::Float64,
    };
    fields.push(Field::new(value, value_type, false));
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            return Err(Error::user(format!("a table of an array would have two columns `{}`", field.name())));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A tile's elements as a column, without a copy but for truth values.
fn values(tile: &Tile) -> ArrayRef {
    let (data, len) = (tile.data.clone(), tile.indices.len());
    match tile.dtype {
        DType::Bool => Arc::new(BooleanArray::from_iter(tile.values::<u8>().iter().map(|&byte| Some(byte != 0)))),
        DType::I32 => Arc::new(PrimitiveArray::<Int32Type>::new(ScalarBuffer::new(data, 0, len), None)),
        DType::I64 => Arc::new(PrimitiveArray::<Int64Type>::new(ScalarBuffer::new(data, 0, len), None)),
        DType::F32 => Arc::new(PrimitiveArray::<Float32Type>::new(ScalarBuffer::new(data, 0, len), None)),
        DType::F64 => Arc::new(PrimitiveArray::<Float64Type>::new(ScalarBuffer::new(data, 0, len), None)),
    }
}

impl DataFrame {
    /// The rows as a dense array: `dims` are columns of indices, from 0, `value` is the column of elements. Elements without a row are 0,
    /// and values of rows with the same indices add up. This is an action, which brings all rows to every rank.
    ///
    /// ```
    /// use bireme::prelude::*;
    ///
    /// let session = Session::new()?;
    /// let rows = session.sql("SELECT * FROM (VALUES (0, 1, 2.5), (1, 0, 4.0)) AS t(i, k, v)")?;
    /// assert_eq!(rows.to_array::<f64>(["i", "k"], "v", [2, 2])?.to_vec()?, [0.0, 2.5, 4.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A column does not exist or is of another kind, an index is NULL or outside of the shape, a value is NULL.
    pub fn to_array<T: Number>(
        &self,
        dims: impl IntoIterator<Item = impl AsRef<str>>,
        value: &str,
        shape: impl Into<Vec<usize>>,
    ) -> Result<Array<T>> {
        let dims = dims.into_iter().map(|name| name.as_ref().to_owned()).collect::<Vec<_>>();
        let shape = shape.into();
        if dims.len() != shape.len() {
            return Err(Error::user(format!(
                "{} columns of indices {dims:?} for an array of shape {shape:?}",
                dims.len()
            )));
        }
        let elements = bireme_planner::array::elements(&shape)?;
        let columns = dims.iter().map(String::as_str).chain([value]);
        let batches = self.select_columns(columns)?.collect()?;
        let mut sums = vec![T::default(); elements];
        for batch in batches {
            let mut places = vec![0_usize; batch.num_rows()];
            for (at, (name, &extent)) in dims.iter().zip(&shape).enumerate() {
                let column = numbers(batch.column(at), &DataType::Int64, name)?;
                for (place, &index) in places.iter_mut().zip(column.as_primitive::<Int64Type>().values()) {
                    let index = usize::try_from(index).ok().filter(|&index| index < extent).ok_or_else(|| {
                        Error::user(format!(
                            "column {name} has index {index}, and the array has {extent} along that axis"
                        ))
                    })?;
                    *place = *place * extent + index;
                }
            }
            let values = numbers(batch.column(dims.len()), &value_type(T::DTYPE), value)?;
            let data = values.to_data();
            let values = T::values(&data.buffers()[0].slice(data.offset() * T::DTYPE.bytes()), data.len());
            for (place, value) in places.into_iter().zip(values) {
                sums[place] = T::of(added(sums[place].scalar(), value.scalar()));
            }
        }
        Array::of_whole(self.session(), T::buffer(sums), shape)
    }
}

pub(super) fn value_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float32,
        DType::F64 => DataType::Float64,
        DType::I32 => DataType::Int32,
        DType::I64 | DType::Bool => DataType::Int64,
    }
}

pub(super) fn numbers(column: &ArrayRef, wanted: &DataType, name: &str) -> Result<ArrayRef> {
    let odd = || Error::user(format!("column {name} is {}, which is no {wanted}", column.data_type()));
    if column.null_count() > 0 {
        return Err(Error::user(format!("column {name} has NULLs, which no array has: filter them out")));
    }
    if wanted.is_integer() && !column.data_type().is_integer() && *column.data_type() != DataType::Boolean {
        return Err(odd());
    }
    let made = cast(column, wanted).map_err(|_| odd())?;
    // What does not fit becomes NULL.
    if made.null_count() > 0 { Err(odd()) } else { Ok(made) }
}

fn added(a: bireme_operators::array::Scalar, b: bireme_operators::array::Scalar) -> bireme_operators::array::Scalar {
    use bireme_operators::array::Scalar::{Bool, F32, F64, I32, I64};
    match (a, b) {
        (F64(a), F64(b)) => F64(a + b),
        (F32(a), F32(b)) => F32(a + b),
        (I64(a), I64(b)) => I64(a.wrapping_add(b)),
        (I32(a), I32(b)) => I32(a.wrapping_add(b)),
        (Bool(a), Bool(b)) => Bool(a || b),
        (a, _) => a,
    }
}
