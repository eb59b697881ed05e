//! Arrays from nothing, from vectors, and of random numbers.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::error::{Error, Result};
use bireme_operators::array::{Binary, Compare, DType, Draw, Region, Scalar, Tile, cut};
use bireme_planner::array::{Op, elements};

use super::node::{Node, Ready};
use super::{Array, Element, Float, Number};
use crate::session::Session;

impl Session {
    /// An array of these elements, row-major. Every rank of a job gives the same ones.
    ///
    /// # Errors
    /// The shape has another number of elements; they do not fit into the memory limit.
    pub fn array<T: Element>(&self, values: impl Into<Vec<T>>, shape: impl Into<Vec<usize>>) -> Result<Array<T>> {
        let (values, shape) = (values.into(), shape.into());
        if elements(&shape)? != values.len() {
            return Err(Error::user(format!("{} elements are no array of shape {shape:?}", values.len())));
        }
        Array::of_whole(self, T::buffer(values), shape)
    }

    /// An array without axes: one number that is there.
    ///
    /// # Errors
    /// As [`Session::array`].
    pub fn scalar<T: Element>(&self, value: T) -> Result<Array<T>> {
        self.array(vec![value], [])
    }

    /// An array of zeros.
    pub fn zeros<T: Element>(&self, shape: impl Into<Vec<usize>>) -> Array<T> {
        self.full(shape, T::of(Scalar::I32(0)))
    }

    /// An array of ones.
    pub fn ones<T: Element>(&self, shape: impl Into<Vec<usize>>) -> Array<T> {
        self.full(shape, T::of(Scalar::I32(1)))
    }

    /// An array of one value.
    pub fn full<T: Element>(&self, shape: impl Into<Vec<usize>>, value: T) -> Array<T> {
        let shape = shape.into();
        let made = elements(&shape).map(|_| Array::number(self, shape, value.scalar()));
        Array::or_failed(self, made)
    }

    /// The identity matrix.
    pub fn eye<T: Number>(&self, extent: usize) -> Array<T> {
        let made = elements(&[extent, extent]).map(|_| {
            let index = |axis| Array::<i64>::make(self, Op::Index(axis), vec![extent, extent], Vec::new(), Vec::new());
            let operands = [index(0), index(1)].map(|index| index.node).to_vec();
            let same =
                Array::<bool>::make(self, Op::Compare(Compare::Equal), vec![extent, extent], operands, Vec::new());
            same.astype::<T>()
        });
        Array::or_failed(self, made)
    }

    /// `start`, `start + step`, … up to but without `stop`, as NumPy's `arange`.
    pub fn arange<T: Number>(&self, start: T, stop: T, step: T) -> Array<T> {
        let wide = |value: T| value.scalar().cast(DType::F64);
        let (Scalar::F64(first), Scalar::F64(last), Scalar::F64(by)) = (wide(start), wide(stop), wide(step)) else {
            return Array::failed(self, Error::internal("a number that is none"));
        };
        let count = ((last - first) / by).ceil();
        if !count.is_finite() {
            return Array::failed(self, Error::user(format!("no range goes from {first} to {last} in steps of {by}")));
        }
        let index = Array::<i64>::make(self, Op::Index(0), vec![count.max(0.0) as usize], Vec::new(), Vec::new());
        let index = index.astype::<T>();
        // As NumPy: the second element, less the first, is what each adds.
        let by = match T::of(Scalar::F64(first + by)).scalar() {
            Scalar::F64(second) => Scalar::F64(second - first),
            Scalar::F32(second) => Scalar::F32(second - first as f32),
            _ => step.scalar(),
        };
        let times = index.with_number(Binary::Multiply, by, false);
        times.with_number(Binary::Add, start.scalar(), false)
    }

    /// `count` numbers from `start` to `stop`, at equal distances.
    pub fn linspace(&self, start: f64, stop: f64, count: usize) -> Array<f64> {
        let step = (stop - start) / count.saturating_sub(1).max(1) as f64;
        let index = Array::<i64>::make(self, Op::Index(0), vec![count], Vec::new(), Vec::new());
        let last = count.saturating_sub(1) as i64;
        let inner = index.astype::<f64>() * step + start;
        // The end is met exactly.
        let at_end = index.equal(last.max(1));
        let end = self.full([], stop);
        super::where_(&at_end, &end, &inner)
    }

    /// Random numbers, equally over [0, 1): each depends on the seed and on its row-major place alone, not on how the array is cut
    /// (Philox, Salmon et al. 2011).
    pub fn random<T: Float>(&self, shape: impl Into<Vec<usize>>, seed: u64) -> Array<T> {
        Array::drawn(self, Draw::Uniform, shape.into(), seed)
    }

    /// Random numbers, normally with mean 0 and deviation 1; otherwise as [`Session::random`].
    pub fn random_normal<T: Float>(&self, shape: impl Into<Vec<usize>>, seed: u64) -> Array<T> {
        Array::drawn(self, Draw::Normal, shape.into(), seed)
    }

    /// Random integers from `low` up to but without `high`; otherwise as [`Session::random`].
    pub fn random_integers(&self, shape: impl Into<Vec<usize>>, low: i64, high: i64, seed: u64) -> Array<i64> {
        if low >= high {
            return Array::failed(
                self,
                Error::user(format!("there is no integer from {low} up to but without {high}")),
            );
        }
        Array::drawn(self, Draw::Integers(low, high), shape.into(), seed)
    }
}

impl<T: Element> Array<T> {
    /// Zeros in the shape of another array.
    pub fn zeros_like<U: Element>(other: &Array<U>) -> Self {
        other
            .check()
            .map_or_else(|error| Self::failed(other.session(), error), |other| other.session().zeros(other.shape()))
    }

    /// Ones in the shape of another array.
    pub fn ones_like<U: Element>(other: &Array<U>) -> Self {
        other
            .check()
            .map_or_else(|error| Self::failed(other.session(), error), |other| other.session().ones(other.shape()))
    }

    pub(super) fn number(session: &Session, shape: Vec<usize>, value: Scalar) -> Self {
        Self::make(session, Op::Number, shape, Vec::new(), vec![value])
    }

    fn drawn(session: &Session, draw: Draw, shape: Vec<usize>, seed: u64) -> Self {
        let numbers = vec![Scalar::I64(seed as i64), Scalar::I64(0)];
        let made = elements(&shape).map(|_| Self::make(session, Op::Random(draw), shape, Vec::new(), numbers));
        Self::or_failed(session, made)
    }

    /// An array whose elements every rank has: each keeps its part, without a copy.
    pub(super) fn of_whole(session: &Session, data: Buffer, shape: Vec<usize>) -> Result<Self> {
        let whole = Region::whole(&shape);
        let part = |region: &Region| cut(T::DTYPE, &data, &whole, region);
        Self::of_parts(session, shape, part)
    }

    /// An array of which this process can make any part.
    pub(super) fn of_parts(
        session: &Session,
        shape: Vec<usize>,
        part: impl Fn(&Region) -> Result<Buffer>,
    ) -> Result<Self> {
        let places = session.places();
        let (mut tiles, mut reserved) = (Vec::new(), Vec::new());
        for rank in session.local_ranks() {
            let indices = places.region(&shape, rank.number);
            let tile = Tile { dtype: T::DTYPE, data: part(&indices)?, indices };
            let memory = rank.context.budget.reserve("arrays");
            memory.try_grow(tile.bytes()).map_err(|error| error.context("making an array"))?;
            tiles.push(tile);
            reserved.push(memory);
        }
        let hold = Arc::new(());
        let node = Node::ready(session, &hold, T::DTYPE, shape, Ready::new(tiles, None, reserved));
        Ok(Self { node, hold, element: std::marker::PhantomData })
    }
}
