//! Arrays that read like NumPy's: lazy, of any number of axes, on one rank or cut over many.
//!
//! An [`Array`] is a node of a program. Nothing is computed before an action (`item`, `to_vec`, `compute`, `save_npy`, `save_zarr`,
//! `show`); then all that the action needs is planned as one program: element-wise work on one shape is one pass over memory, products
//! run as matrix kernels, and a program of the same form as an earlier one is not planned again.
//!
//! What a program holds in a variable is kept once it was computed, as in NumPy; what it does not hold is never stored. An action also
//! computes what depends on its parts element by element and is held, so that a solver's vectors do not grow chains.
//!
//! Operators cannot return errors. Where shapes do not fit they make an array that has failed, and the first method with a `Result`
//! returns the error.

mod action;
mod create;
mod element;
mod files;
mod functions;
mod indices;
mod layouts;
mod node;
mod operators;
mod products;
mod rearrange;
mod reductions;
mod sparse;
mod tables;
#[cfg(feature = "zarr")]
mod zarr;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_planner::array::Op;

pub(crate) use action::ArrayPlans;
pub use action::compute_all;
pub use element::{Element, Float, Number};
pub use functions::{maximum, minimum, where_};
pub use indices::{Index, IntoIndices};
pub use layouts::{IntoLocalTiles, LocalTile};
pub use products::einsum;
pub use rearrange::{concatenate, stack};
pub use sparse::SparseArray;

use node::Node;

pub use bireme_planner::array::{Primitive, Schedule};

use crate::session::Session;

/// An array of numbers or truth values: lazy, with any number of axes. Clones are the same array.
///
/// ```
/// use bireme::prelude::*;
///
/// let session = Session::new()?;
/// let a = session.array(vec![1.0_f64, 2.0, 3.0, 4.0], [2, 2])?;
/// let x = session.array(vec![1.0, 0.5], [2])?;
/// let y = a.dot(&x)? * 2.0 - 1.0;
/// assert_eq!(y.to_vec()?, [3.0, 9.0]);
/// assert_eq!(y.max().item()?, 9.0);
/// # Ok::<(), Error>(())
/// ```
pub struct Array<T: Element> {
    node: Arc<Node>,
    /// As long as it lives, the program holds the array.
    hold: Arc<()>,
    element: PhantomData<T>,
}

impl<T: Element> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node), hold: Arc::clone(&self.hold), element: PhantomData }
    }
}

impl<T: Element> Array<T> {
    /// An array that is made of others.
    fn make(
        session: &Session,
        op: Op,
        shape: Vec<usize>,
        operands: Vec<Arc<Node>>,
        numbers: Vec<bireme_operators::array::Scalar>,
    ) -> Self {
        let hold = Arc::new(());
        let node = Node::pending(session, &hold, T::DTYPE, op, shape, operands, numbers);
        Self { node, hold, element: PhantomData }
    }

    /// An array that failed, for operators that cannot return an error.
    fn failed(session: &Session, error: Error) -> Self {
        let hold = Arc::new(());
        Self { node: Node::failed(session, &hold, T::DTYPE, error), hold, element: PhantomData }
    }

    fn or_failed(session: &Session, made: Result<Self>) -> Self {
        made.unwrap_or_else(|error| Self::failed(session, error))
    }

    fn session(&self) -> &Session {
        self.node.session()
    }

    /// The extent of each axis; none for a single number.
    pub fn shape(&self) -> &[usize] {
        self.node.shape()
    }

    /// How many axes it has.
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }

    /// The extent of the first axis; 1 for a single number.
    #[allow(clippy::len_without_is_empty, reason = "as in NumPy; `size` is what could be empty")]
    pub fn len(&self) -> usize {
        self.shape().first().copied().unwrap_or(1)
    }

    /// How many elements it has.
    pub fn size(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether making it failed.
    ///
    /// # Errors
    /// Why it did.
    pub fn check(&self) -> Result<&Self> {
        self.node.check().map(|()| self)
    }
}

impl<T: Element> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node.check() {
            Ok(()) => write!(f, "Array<{}>({:?})", T::DTYPE, self.shape()),
            Err(error) => write!(f, "Array<{}>(failed: {error})", T::DTYPE),
        }
    }
}
