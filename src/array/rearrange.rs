//! The same elements in other shapes and orders, and arrays of arrays.

use bireme_engine::error::{Error, Result};
use bireme_planner::array::{Affine, Op, elements, normal_axis};

use super::{Array, Element};

impl<T: Element> Array<T> {
    fn view(&self, shape: Vec<usize>, affine: Affine) -> Self {
        Self::make(self.session(), Op::View(affine), shape, vec![self.node.clone()], Vec::new())
    }

    /// The axes in reverse order: of a matrix its transpose. A view.
    pub fn t(&self) -> Self {
        let order = (0..self.ndim() as isize).rev().collect::<Vec<_>>();
        Self::or_failed(self.session(), self.check().and_then(|_| self.transpose(&order)))
    }

    /// The axes in another order. A view.
    ///
    /// # Errors
    /// The order does not name each axis once.
    pub fn transpose(&self, order: &[isize]) -> Result<Self> {
        self.check()?;
        let axes = order.iter().map(|&axis| normal_axis(axis, self.shape())).collect::<Result<Vec<_>>>()?;
        let once = (0..self.ndim()).all(|axis| axes.iter().filter(|&&one| one == axis).count() == 1);
        if !once || axes.len() != self.ndim() {
            return Err(Error::user(format!(
                "{order:?} is no order of the axes of an array of shape {:?}",
                self.shape()
            )));
        }
        let shape = axes.iter().map(|&axis| self.shape()[axis]).collect();
        let place = |axis: usize| axes.iter().position(|&one| one == axis).unwrap_or(axis);
        Ok(self.view(shape, Affine::new(axes.len(), (0..axes.len()).map(|axis| (0, Some((place(axis), 1)))))))
    }

    /// Two axes exchanged. A view.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn swap_axes(&self, one: isize, other: isize) -> Result<Self> {
        self.check()?;
        let (one, other) = (normal_axis(one, self.shape())?, normal_axis(other, self.shape())?);
        let mut order = (0..self.ndim() as isize).collect::<Vec<_>>();
        order.swap(one, other);
        self.transpose(&order)
    }

    /// A new axis of extent 1 before `axis`; negative ones count from the end of the new shape. A view.
    pub fn expand_dims(&self, axis: isize) -> Self {
        let made = self.check().and_then(|_| {
            let mut shape = self.shape().to_vec();
            shape.push(1);
            let at = normal_axis(axis, &shape)?;
            let mut shape = self.shape().to_vec();
            shape.insert(at, 1);
            let along = |axis: usize| (0, Some((axis + usize::from(axis >= at), 1)));
            Ok(self.view(shape, Affine::new(self.ndim() + 1, (0..self.ndim()).map(along))))
        });
        Self::or_failed(self.session(), made)
    }

    /// Without axes of extent 1. A view.
    pub fn squeeze(&self) -> Self {
        let kept = (0..self.ndim()).filter(|&axis| self.shape()[axis] != 1).collect::<Vec<_>>();
        let shape = kept.iter().map(|&axis| self.shape()[axis]).collect();
        let along = |axis: usize| (0, kept.iter().position(|&one| one == axis).map(|at| (at, 1)));
        let made = self.check().map(|_| self.view(shape, Affine::new(kept.len(), (0..self.ndim()).map(along))));
        Self::or_failed(self.session(), made)
    }

    /// Stretched to a shape: extents of 1 and missing axes in front. A view.
    ///
    /// # Errors
    /// The array does not fit the shape.
    pub fn broadcast_to(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        self.check()?;
        let shape = shape.into();
        elements(&shape)?;
        if bireme_planner::array::broadcast(self.shape(), &shape)? != shape {
            return Err(Error::user(format!("an array of shape {:?} cannot be stretched to {shape:?}", self.shape())));
        }
        let affine = Affine::broadcast(self.shape(), &shape);
        Ok(self.view(shape, affine))
    }

    /// The same elements, row-major, with other axes.
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        self.check()?;
        let shape = shape.into();
        if elements(&shape)? != self.size() {
            return Err(Error::user(format!("an array of shape {:?} cannot be reshaped to {shape:?}", self.shape())));
        }
        Ok(Self::make(self.session(), Op::Reshape, shape, vec![self.node.clone()], Vec::new()))
    }

    /// All elements along one axis.
    pub fn ravel(&self) -> Self {
        Self::or_failed(self.session(), self.check().and_then(|_| self.reshape([self.size()])))
    }

    /// Of a matrix its diagonal, a view; of a vector the matrix with it as diagonal, zeros elsewhere.
    ///
    /// # Errors
    /// The array has neither one axis nor two.
    pub fn diag(&self) -> Result<Self> {
        self.check()?;
        match *self.shape() {
            [rows, columns] => {
                Ok(self.view(vec![rows.min(columns)], Affine::new(1, [(0, Some((0, 1))), (0, Some((0, 1)))])))
            }
            [extent] => {
                elements(&[extent, extent])?;
                let zeros = self.session().zeros::<T>([extent, extent]);
                let onto = Affine::new(1, [(0, Some((0, 1))), (0, Some((0, 1)))]);
                let operands = vec![zeros.node.clone(), self.node.clone()];
                Ok(Self::make(self.session(), Op::Update(onto), vec![extent, extent], operands, Vec::new()))
            }
            _ => Err(Error::user(format!("an array of shape {:?} has no diagonal", self.shape()))),
        }
    }

    /// Elements in reverse order along an axis. A view.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn flip(&self, axis: isize) -> Result<Self> {
        self.check()?;
        let axis = normal_axis(axis, self.shape())?;
        let mut indices = vec![super::Index::ALL; self.ndim()];
        indices[axis] = super::Index::Range { start: None, stop: None, step: -1 };
        self.slice(indices.as_slice())
    }
}

/// Arrays one behind the other along an axis.
///
/// # Errors
/// There are none, or they have different extents along another axis.
pub fn concatenate<'a, T: Element>(arrays: impl IntoIterator<Item = &'a Array<T>>, axis: isize) -> Result<Array<T>> {
    let arrays = arrays.into_iter().collect::<Vec<_>>();
    let first = arrays.first().ok_or_else(|| Error::user("no arrays to put together"))?;
    arrays.iter().try_for_each(|array| array.check().map(drop))?;
    let axis = normal_axis(axis, first.shape())?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    for array in &arrays {
        let fits = array.ndim() == shape.len()
            && (0..shape.len()).all(|one| one == axis || array.shape()[one] == first.shape()[one]);
        if !fits {
            return Err(Error::user(format!(
                "arrays of shapes {:?} and {:?} cannot stand one behind the other along axis {axis}",
                first.shape(),
                array.shape()
            )));
        }
        shape[axis] += array.shape()[axis];
    }
    elements(&shape)?;
    let operands = arrays.iter().map(|array| array.node.clone()).collect();
    Ok(Array::make(first.session(), Op::Concatenate(axis), shape, operands, Vec::new()))
}

/// Arrays of one shape along a new axis.
///
/// # Errors
/// As [`concatenate`].
pub fn stack<'a, T: Element>(arrays: impl IntoIterator<Item = &'a Array<T>>, axis: isize) -> Result<Array<T>> {
    let arrays = arrays.into_iter().map(|array| array.expand_dims(axis)).collect::<Vec<_>>();
    concatenate(&arrays, axis)
}
