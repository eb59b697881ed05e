//! Sparse arrays: entries by coordinates, rows cut over ranks so that each has as many entries.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Int64Array, RecordBatch, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Int64Type};
use bireme_connectors::array_file::matrix_market::{self, Matrix};
use bireme_engine::block_on::block_on;
use bireme_engine::error::{Error, Result};
use bireme_engine::layout::Partition;
use bireme_operators::array::{Region, SparseTile};
use bireme_operators::contract::{Einsum, View};
use bireme_operators::sparse::{Coordinates, Operand, Output, contract_sparse, is_sparse};
use bireme_planner::array::{Op, Tiling};

use super::node::{Node, Ready};
use super::tables::{numbers, schema, value_type};
use super::{Array, Element, Number};
use crate::frame::DataFrame;
use crate::session::Session;

/// A sparse array of any number of axes: entries with coordinates; what is not there is 0, and meets neither NaN nor infinity in a product.
/// It is made at once, and its rows (along the first axis) lie on ranks so that each has as many entries. Products with dense arrays are lazy
/// and dense; products whose result is sparse are made at once.
///
/// ```
/// use bireme::prelude::*;
///
/// let session = Session::new()?;
/// // 2 0 1
/// // 0 3 0
/// let a = session.sparse::<f64>([2, 3], vec![vec![0, 0, 1], vec![0, 2, 1]], vec![2.0, 1.0, 3.0])?;
/// let x = session.array(vec![1.0, 10.0, 100.0], [3])?;
/// assert_eq!(a.dot(&x)?.to_vec()?, [102.0, 30.0]);
/// assert_eq!(a.matmul(&a.transpose()?)?.to_array()?.to_vec()?, [5.0, 0.0, 0.0, 9.0]);
/// # Ok::<(), Error>(())
/// ```
pub struct SparseArray<T: Number> {
    node: Arc<Node>,
    hold: Arc<()>,
    entries: usize,
    element: PhantomData<T>,
}

impl<T: Number> Clone for SparseArray<T> {
    fn clone(&self) -> Self {
        let (node, hold) = (Arc::clone(&self.node), Arc::clone(&self.hold));
        Self { node, hold, entries: self.entries, element: PhantomData }
    }
}

impl<T: Number> fmt::Debug for SparseArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SparseArray<{}>({:?}, {} entries)", T::DTYPE, self.shape(), self.entries)
    }
}

impl Session {
    /// A sparse array of these entries: for each axis the index of every entry, and their values. Entries with the same indices add up.
    /// Every rank of a job gives the same ones.
    ///
    /// # Errors
    /// There are not as many indices as values along each axis, one is outside of the shape, an integer sum does not fit, or there is no
    /// memory.
    pub fn sparse<T: Number>(
        &self,
        shape: impl Into<Vec<usize>>,
        indices: Vec<Vec<u32>>,
        values: Vec<T>,
    ) -> Result<SparseArray<T>> {
        let values = stored::<T>(&T::buffer(values));
        SparseArray::of_whole(self, &Coordinates::new(&shape.into(), indices, values)?)
    }

    /// A matrix in a Matrix Market file, sparse: entries that the file has twice add up.
    ///
    /// # Errors
    /// There is no such file, or it is no Matrix Market file; and as [`Session::sparse`].
    pub fn read_matrix_market_sparse(&self, path: impl AsRef<Path>) -> Result<SparseArray<f64>> {
        match matrix_market::read(path.as_ref())? {
            Matrix::Dense(dense) => {
                SparseArray::of_whole(self, &Coordinates::from_dense(&[dense.rows, dense.columns], &dense.values)?)
            }
            Matrix::Coordinate(sparse) => {
                if sparse.rows.max(sparse.columns) > u32::MAX as usize {
                    let (rows, columns) = (sparse.rows, sparse.columns);
                    return Err(Error::unsupported(format!(
                        "a sparse matrix of {rows} x {columns}: indices have 32 bits"
                    )));
                }
                let indices = [&sparse.row, &sparse.column].map(|all| all.iter().map(|&index| index as u32).collect());
                self.sparse([sparse.rows, sparse.columns], indices.to_vec(), sparse.values)
            }
        }
    }
}

impl<T: Number> SparseArray<T> {
    /// Entries that every process has: each rank keeps its rows.
    fn of_whole(session: &Session, all: &Coordinates<T::Stored>) -> Result<Self> {
        let shape = all.shape();
        bireme_planner::array::elements(shape)?;
        let Some(&rows) = shape.first() else { return Err(Error::user("a sparse array has at least one axis")) };
        let mut weights = vec![0_u64; rows];
        all.indices(0).iter().for_each(|&row| weights[row as usize] += 1);
        let partition = Partition::equal_weight(&weights, session.ranks());
        // Ranks without rows stand where the one before ends.
        let mut end = 0;
        let ranges = partition.parts().iter().map(|part| {
            let range = part.runs().first().map_or(end..end, Clone::clone);
            end = range.end;
            range
        });
        let ranges = ranges.collect::<Vec<_>>();
        let part = |rank: usize| {
            let range = &ranges[rank];
            let [from, to] =
                [range.start, range.end].map(|row| all.indices(0).partition_point(|&at| (at as usize) < row));
            let mut local = shape.to_vec();
            local[0] = range.len();
            let indices = (0..shape.len()).map(|axis| {
                let first = if axis == 0 { range.start as u32 } else { 0 };
                all.indices(axis)[from..to].iter().map(|&index| index - first).collect()
            });
            Coordinates::new(&local, indices.collect(), all.values()[from..to].to_vec())
        };
        let parts = session.local_ranks().iter().map(|rank| part(rank.number)).collect();
        let regions = ranges.iter().map(|rows| region(rows.clone(), shape)).collect();
        Self::of_parts(session, shape.to_vec(), regions, parts)
    }

    /// Rows of the ranks of this process, each counted from its first.
    fn of_parts(
        session: &Session,
        shape: Vec<usize>,
        regions: Vec<Region>,
        parts: Result<Vec<Coordinates<T::Stored>>>,
    ) -> Result<Self> {
        let kept = parts.and_then(|parts| {
            let (mut tiles, mut reserved) = (Vec::new(), Vec::new());
            for (rank, part) in session.local_ranks().iter().zip(parts) {
                let first = regions[rank.number].ranges()[0].start;
                let tile = SparseTile::new(first, part)?;
                let memory = rank.context.budget.reserve("sparse arrays");
                memory.try_grow(tile.bytes()).map_err(|error| error.context("making a sparse array"))?;
                tiles.push(tile);
                reserved.push(memory);
            }
            Ok((tiles, reserved))
        });
        // A rank that could not tells the others.
        let ours = kept.as_ref().map(|(tiles, _)| tiles.iter().map(|tile| tile.entries as u64).sum::<u64>());
        let all = session.on_all_ranks("a sparse array", &ours.map_err(Clone::clone))?;
        let entries = all.into_iter().sum::<Result<u64>>()? as usize;
        let (tiles, reserved) = kept?;
        let hold = Arc::new(());
        let tiling = Arc::new(Tiling::of_regions("rows with equally many entries", regions));
        let ready = Ready::sparse(tiles, tiling, reserved);
        let node = Node::ready(session, &hold, T::DTYPE, shape, ready);
        Ok(Self { node, hold, entries, element: PhantomData })
    }

    fn session(&self) -> &Session {
        self.node.session()
    }

    /// The extent of each axis.
    pub fn shape(&self) -> &[usize] {
        self.node.shape()
    }

    /// How many entries there are, with those that are 0.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The product with a dense vector or matrix: the sum over this array's last axis and the other's first. Lazy; the rows are multiplied
    /// where they lie.
    ///
    /// # Errors
    /// The shapes do not fit; the message has both.
    pub fn dot(&self, other: &Array<T>) -> Result<Array<T>> {
        other.check()?;
        let axes = self.shape().len();
        if other.ndim() == 0 || self.shape().last() != other.shape().first() {
            let (one, two) = (self.shape(), other.shape());
            return Err(Error::user(format!(
                "dot of a sparse array of shape {one:?} and an array of shape {two:?}: they do not fit"
            )));
        }
        let letters = ('a'..='z').chain('A'..='Z').collect::<Vec<_>>();
        if axes + other.ndim() > letters.len() {
            return Err(Error::user("a product of arrays with more than 52 axes"));
        }
        let left = letters[..axes].iter().collect::<String>();
        let right = letters[axes - 1..axes - 1 + other.ndim()].iter().collect::<String>();
        let kept = letters[..axes + other.ndim() - 1].iter().filter(|letter| **letter != letters[axes - 1]);
        self.einsum(&format!("{left},{right}->{}", kept.collect::<String>()), [other])
    }

    /// A product with any number of dense arrays in Einstein's notation, of which this array is the first operand: `ijk,jr,kr->ir` is an
    /// MTTKRP. Lazy.
    ///
    /// # Errors
    /// The text is no product, shapes do not fit it, or its result would be sparse: see [`SparseArray::multiply`] and
    /// [`SparseArray::sampled`].
    pub fn einsum<'a>(&self, text: &str, others: impl IntoIterator<Item = &'a Array<T>>) -> Result<Array<T>> {
        let others = others.into_iter().collect::<Vec<_>>();
        others.iter().try_for_each(|other| other.check().map(drop))?;
        let einsum = Einsum::parse(text)?;
        let shapes = std::iter::once(self.shape()).chain(others.iter().map(|other| other.shape())).collect::<Vec<_>>();
        let shape = einsum.extents(&shapes)?.shape(einsum.output());
        bireme_planner::array::elements(&shape)?;
        let sparse = (0..shapes.len()).map(|at| at == 0).collect::<Vec<_>>();
        if is_sparse(&einsum, &sparse) {
            return Err(Error::unsupported(format!(
                "\"{einsum}\" of a sparse array has a sparse result: use multiply or sampled"
            )));
        }
        let operands = std::iter::once(&self.node).chain(others.iter().map(|other| &other.node)).map(Arc::clone);
        Ok(Array::make(self.session(), Op::Contract(einsum, None), shape, operands.collect(), Vec::new()))
    }

    /// The product with a sparse matrix, sparse (Gustavson 1978). Every rank gets all of the other matrix.
    ///
    /// # Errors
    /// One of them is no matrix, the shapes do not fit (the message has both), an integer does not fit, or there is no memory.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        let (one, two) = (self.shape(), other.shape());
        if one.len() != 2 || two.len() != 2 || one[1] != two[0] {
            return Err(Error::user(format!(
                "a product of sparse arrays of shapes {one:?} and {two:?}: they do not fit"
            )));
        }
        let right = other.whole()?;
        self.made(vec![one[0], two[1]], move |tile, _| product("ij,jk->ik", &[tile.operand()?, (&right).into()]))
    }

    /// Each entry times the dense element with the same indices.
    ///
    /// # Errors
    /// The shapes differ; the message has both.
    pub fn multiply(&self, other: &Array<T>) -> Result<Self> {
        if self.shape() != other.check()?.shape() {
            let (one, two) = (self.shape(), other.shape());
            return Err(Error::user(format!("a sparse array of shape {one:?} times an array of shape {two:?}")));
        }
        let (dense, shape) = (stored::<T>(&T::buffer(other.to_vec()?)), self.shape().to_vec());
        let letters = ('a'..='z').take(shape.len()).collect::<String>();
        let behind = shape[1..].iter().product::<usize>();
        self.made(shape.clone(), move |tile, local| {
            let rows = tile.indices.ranges()[0].clone();
            let view = View::contiguous(&dense[rows.start * behind..rows.end * behind], local)?;
            product(&format!("{letters},{letters}->{letters}"), &[tile.operand()?, view.into()])
        })
    }

    /// The product of two dense matrices at this matrix's entries alone, times these: `s_ij · Σ_k a_ik · b_kj` (SDDMM).
    ///
    /// # Errors
    /// They are no matrices, or the shapes do not fit; the message has all of them.
    pub fn sampled(&self, a: &Array<T>, b: &Array<T>) -> Result<Self> {
        let (shape, left, right) = (self.shape().to_vec(), a.check()?.shape().to_vec(), b.check()?.shape().to_vec());
        let fits = matches!((&shape[..], &left[..], &right[..]), ([m, n], [rows, k], [l, columns]) if m == rows && n == columns && k == l);
        if !fits {
            return Err(Error::user(format!(
                "a product of shapes {left:?} and {right:?} at the entries of {shape:?}: they do not fit"
            )));
        }
        let [a, b] = [a.to_vec()?, b.to_vec()?].map(|values| stored::<T>(&T::buffer(values)));
        self.made(shape, move |tile, local| {
            let rows = tile.indices.ranges()[0].clone();
            let a = View::contiguous(&a[rows.start * left[1]..rows.end * left[1]], &[local[0], left[1]])?;
            product("ij,ik,kj->ij", &[tile.operand()?, a.into(), View::contiguous(&b, &right)?.into()])
        })
    }

    /// The axes in the opposite order.
    ///
    /// # Errors
    /// There is no memory, or a rank is lost.
    pub fn transpose(&self) -> Result<Self> {
        let (mut shape, mut indices, values) = self.whole()?.into_parts();
        shape.reverse();
        indices.reverse();
        Self::of_whole(self.session(), &Coordinates::new(&shape, indices, values)?)
    }

    /// All elements, also those that are not there.
    ///
    /// # Errors
    /// They do not fit into memory.
    pub fn to_array(&self) -> Result<Array<T>> {
        let dense = self.whole()?.to_dense()?;
        Array::of_whole(self.session(), Buffer::from_vec(dense), self.shape().to_vec())
    }

    /// The entries as a lazy table: a column of indices for each axis, and one of values. Rows stay on their ranks.
    ///
    /// # Errors
    /// There is not one name an axis, or two columns have the same.
    pub fn to_dataframe(&self, dims: impl IntoIterator<Item = impl Into<String>>, value: &str) -> Result<DataFrame> {
        let dims = dims.into_iter().map(Into::into).collect::<Vec<String>>();
        let schema = schema(&dims, value, self.shape(), T::DTYPE)?;
        let mut batches = Vec::new();
        for tile in self.tiles()? {
            let (_, indices, values) = tile.coordinates::<T::Stored>()?.into_parts();
            let first = tile.indices.ranges()[0].start as i64;
            let column = |(axis, all): (usize, Vec<u32>)| -> ArrayRef {
                let first = if axis == 0 { first } else { 0 };
                Arc::new(Int64Array::from_iter_values(all.into_iter().map(|index| first + i64::from(index))))
            };
            let mut columns = indices.into_iter().enumerate().map(column).collect::<Vec<_>>();
            let data = arrow::array::ArrayData::builder(schema.field(dims.len()).data_type().clone());
            let data = data.len(values.len()).add_buffer(Buffer::from_vec(values)).build();
            columns.push(make_array(data.map_err(|error| Error::internal(format!("a column of values: {error}")))?));
            batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        }
        DataFrame::from_local_batches(self.session(), schema, batches)
    }

    fn tiles(&self) -> Result<Vec<SparseTile>> {
        self.node.there().map(|ready| ready.sparse).ok_or_else(|| Error::internal("a sparse array that is not there"))
    }

    /// All entries, on every process.
    fn whole(&self) -> Result<Coordinates<T::Stored>> {
        let mut ours: (Vec<Vec<u32>>, Vec<u8>) = (vec![Vec::new(); self.shape().len()], Vec::new());
        for tile in self.tiles()? {
            let first = tile.indices.ranges()[0].start as u32;
            let (_, indices, values) = tile.coordinates::<T::Stored>()?.into_parts();
            for (axis, (all, more)) in ours.0.iter_mut().zip(indices).enumerate() {
                let first = if axis == 0 { first } else { 0 };
                all.extend(more.into_iter().map(|index| first + index));
            }
            ours.1.extend_from_slice(Buffer::from_vec(values).as_slice());
        }
        let all = self.session().on_all_ranks("entries of a sparse array", &ours)?;
        let mut indices = vec![Vec::new(); self.shape().len()];
        let mut bytes = Vec::new();
        for (more, values) in all {
            indices.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
            bytes.extend(values);
        }
        Coordinates::new(self.shape(), indices, stored::<T>(&Buffer::from_slice_ref(bytes)))
    }

    /// A sparse array of which each rank makes the rows that it has of this one.
    fn made(
        &self,
        shape: Vec<usize>,
        make: impl Fn(&SparseTile, &[usize]) -> Result<Coordinates<T::Stored>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let session = self.session();
        let ready = self.node.there().ok_or_else(|| Error::internal("a sparse array that is not there"))?;
        let make = Arc::new(make);
        let run = |(rank, tile): (&crate::session::Rank, SparseTile)| {
            let workers = rank.workers().ok_or_else(|| Error::internal("a rank without workers"))?;
            let make = Arc::clone(&make);
            block_on(workers.run(move || make(&tile, &tile.indices.shape())))
        };
        let parts = session.local_ranks().iter().zip(ready.sparse).map(run).collect::<Result<Vec<_>>>();
        let rows = ready.tiling.iter().flat_map(|tiling| tiling.regions()).map(|region| region.ranges()[0].clone());
        let regions = rows.map(|rows| region(rows, &shape)).collect();
        Self::of_parts(session, shape, regions, parts)
    }
}

impl<T: Number> Array<T> {
    /// The elements that are not 0, as a sparse array.
    ///
    /// # Errors
    /// As [`Array::compute`]; the array has no axis.
    pub fn to_sparse(&self) -> Result<SparseArray<T>> {
        let elements = stored::<T>(&T::buffer(self.to_vec()?));
        SparseArray::of_whole(self.session(), &Coordinates::from_dense(self.shape(), &elements)?)
    }
}

impl DataFrame {
    /// The rows as a sparse array: `dims` are columns of indices, from 0, `value` is the column of entries. Rows with the same indices add up.
    /// This is an action, which brings all rows to every rank.
    ///
    /// # Errors
    /// A column does not exist or is of another kind, an index is NULL or outside of the shape, a value is NULL, an integer sum does not fit.
    pub fn to_sparse<T: Number>(
        &self,
        dims: impl IntoIterator<Item = impl AsRef<str>>,
        value: &str,
        shape: impl Into<Vec<usize>>,
    ) -> Result<SparseArray<T>> {
        let dims = dims.into_iter().map(|name| name.as_ref().to_owned()).collect::<Vec<_>>();
        let shape = shape.into();
        if dims.len() != shape.len() {
            let count = dims.len();
            return Err(Error::user(format!("{count} columns of indices {dims:?} for an array of shape {shape:?}")));
        }
        let batches = self.select_columns(dims.iter().map(String::as_str).chain([value]))?.collect()?;
        let (mut indices, mut values) = (vec![Vec::new(); dims.len()], Vec::new());
        for batch in batches {
            for (at, name) in dims.iter().enumerate() {
                let column = numbers(batch.column(at), &DataType::Int64, name)?;
                for &index in column.as_primitive::<Int64Type>().values() {
                    let fits = u32::try_from(index).ok().filter(|&index| (index as usize) < shape[at]);
                    indices[at].push(fits.ok_or_else(|| {
                        Error::user(format!(
                            "column {name} has index {index}, and the array has {} along that axis",
                            shape[at]
                        ))
                    })?);
                }
            }
            let column = numbers(batch.column(dims.len()), &value_type(T::DTYPE), value)?.to_data();
            let bytes = column.buffers()[0].slice(column.offset() * T::DTYPE.bytes());
            values.extend(T::values(&bytes, column.len()));
        }
        self.session().sparse(shape, indices, values)
    }
}

fn product<S: bireme_operators::sparse::Number>(text: &str, operands: &[Operand<'_, S>]) -> Result<Coordinates<S>> {
    match contract_sparse(&Einsum::parse(text)?, operands)? {
        Output::Sparse(made) => Ok(made),
        Output::Dense(shape, elements) => Coordinates::from_dense(&shape, &elements),
    }
}

fn region(rows: std::ops::Range<usize>, shape: &[usize]) -> Region {
    Region::new(std::iter::once(rows).chain(shape.iter().skip(1).map(|&extent| 0..extent)).collect::<Vec<_>>())
}

/// Elements as the type that they are stored as, which for numbers is their own.
fn stored<T: Element>(buffer: &Buffer) -> Vec<T::Stored> {
    buffer.typed_data::<T::Stored>().to_vec()
}
