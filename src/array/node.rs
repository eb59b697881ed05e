//! Nodes of array programs.

use std::sync::{Arc, Weak};

use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_operators::array::{DType, Input, Scalar, SparseTile, Tile};
use bireme_planner::array::{Op, Tiling};
use parking_lot::Mutex;

use crate::session::Session;

/// One array of a program.
pub(super) struct Node {
    session: Session,
    dtype: DType,
    shape: Vec<usize>,
    /// Constants and seeds, which are no part of a plan.
    numbers: Vec<Scalar>,
    state: Mutex<State>,
    /// Alive as long as the program holds the array.
    hold: Weak<()>,
    /// What is made of it.
    consumers: Mutex<Vec<Weak<Node>>>,
}

/// How far a node is.
#[derive(Clone)]
pub(super) enum State {
    /// It is still to be made.
    Pending(Op, Vec<Arc<Node>>),
    /// It is there.
    Ready(Ready),
    /// It cannot be made.
    Failed(Error),
}

/// An array that is there: its tiles on the ranks of this process, ascending.
#[derive(Clone)]
pub(super) struct Ready {
    pub tiles: Vec<Tile>,
    /// Of a sparse tensor the rows on the ranks of this process, in place of tiles.
    pub sparse: Vec<SparseTile>,
    /// Where the tiles of all ranks lie, if not by rows.
    pub tiling: Option<Arc<Tiling>>,
    /// The memory they take from the ranks' budgets.
    _reserved: Arc<Vec<Reservation>>,
}

impl Ready {
    pub fn new(tiles: Vec<Tile>, tiling: Option<Arc<Tiling>>, reserved: Vec<Reservation>) -> Self {
        Self { tiles, sparse: Vec::new(), tiling, _reserved: Arc::new(reserved) }
    }

    /// The rows of a sparse tensor.
    pub fn sparse(sparse: Vec<SparseTile>, tiling: Arc<Tiling>, reserved: Vec<Reservation>) -> Self {
        Self { tiles: Vec::new(), sparse, tiling: Some(tiling), _reserved: Arc::new(reserved) }
    }

    /// What a program of a rank of this process starts from.
    pub fn input(&self, at: usize) -> Option<Input> {
        let sparse = self.sparse.get(at).cloned().map(Input::Sparse);
        sparse.or_else(|| self.tiles.get(at).cloned().map(Input::Dense))
    }
}

impl Node {
    pub fn pending(
        session: &Session,
        hold: &Arc<()>,
        dtype: DType,
        op: Op,
        shape: Vec<usize>,
        operands: Vec<Arc<Node>>,
        numbers: Vec<Scalar>,
    ) -> Arc<Self> {
        if let Some(error) = operands.iter().find_map(|operand| operand.check().err()) {
            return Self::failed(session, hold, dtype, error);
        }
        let others = operands.iter().find(|operand| !operand.session.is_same(session));
        if others.is_some() {
            return Self::failed(session, hold, dtype, Error::user("arrays of two sessions do not go together"));
        }
        let node = Arc::new(Self {
            session: session.clone(),
            dtype,
            shape,
            numbers,
            state: Mutex::new(State::Pending(op, operands.clone())),
            hold: Arc::downgrade(hold),
            consumers: Mutex::default(),
        });
        for operand in operands {
            let mut consumers = operand.consumers.lock();
            // Those that are gone are forgotten when the list would grow.
            if consumers.len() == consumers.capacity() {
                consumers.retain(|consumer| consumer.strong_count() > 0);
            }
            consumers.push(Arc::downgrade(&node));
        }
        node
    }

    pub fn ready(session: &Session, hold: &Arc<()>, dtype: DType, shape: Vec<usize>, ready: Ready) -> Arc<Self> {
        Arc::new(Self {
            session: session.clone(),
            dtype,
            shape,
            numbers: Vec::new(),
            state: Mutex::new(State::Ready(ready)),
            hold: Arc::downgrade(hold),
            consumers: Mutex::default(),
        })
    }

    pub fn failed(session: &Session, hold: &Arc<()>, dtype: DType, error: Error) -> Arc<Self> {
        Arc::new(Self {
            session: session.clone(),
            dtype,
            shape: Vec::new(),
            numbers: Vec::new(),
            state: Mutex::new(State::Failed(error)),
            hold: Arc::downgrade(hold),
            consumers: Mutex::default(),
        })
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn numbers(&self) -> &[Scalar] {
        &self.numbers
    }

    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Whether the program holds it.
    pub fn is_held(&self) -> bool {
        self.hold.strong_count() > 0
    }

    pub fn check(&self) -> Result<()> {
        match &*self.state.lock() {
            State::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Its tiles, if it is there.
    pub fn tiles(&self) -> Option<Vec<Tile>> {
        self.there().map(|ready| ready.tiles)
    }

    /// What is there, if it is.
    pub fn there(&self) -> Option<Ready> {
        match &*self.state.lock() {
            State::Ready(ready) => Some(ready.clone()),
            _ => None,
        }
    }

    /// It is there now; what it was made of is let go.
    pub fn set_ready(&self, ready: Ready) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Ready(ready));
        // Dropped outside of the lock: it may be the last of many.
        drop(before);
    }

    /// What is made of it and still there.
    pub fn consumers(&self) -> Vec<Arc<Node>> {
        self.consumers.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Node {
    /// Takes a chain of nodes apart link by link: dropped one within the other, a long one would not fit on the stack.
    fn drop(&mut self) {
        let mut waiting = operands_of(&mut self.state);
        while let Some(node) = waiting.pop() {
            if let Some(mut last) = Arc::into_inner(node) {
                waiting.append(&mut operands_of(&mut last.state));
            }
        }
    }
}

fn operands_of(state: &mut Mutex<State>) -> Vec<Arc<Node>> {
    match state.get_mut() {
        State::Pending(_, operands) => std::mem::take(operands),
        _ => Vec::new(),
    }
}
