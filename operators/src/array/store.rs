//! What lies on a rank while a plan runs, and the steps that work on it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};
use parking_lot::Mutex;

use super::dtype::{DType, Native, Scalar, with_native};
use super::leaf::result;
use super::lines::along;
use super::operand::Operand;
use super::run::{Folded, Subtree, run, together};
use super::sparse_tile::{Input, SparseTile};
use super::step::{Bound, FoldTo, Segment, Slot, Step};
use super::sums::Sum;
use super::take::{scatter, take};
use super::tile::{Region, Tile, strides};
use crate::accelerator::{Accelerator, Work};
use crate::contract::{Epilogue, View, contract};
use crate::sparse::{Number, Operand as Factor, Output, contract_sparse};

/// What lies in the slots of one rank while a plan runs, and the numbers it runs with.
pub struct Store {
    slots: Mutex<Vec<Held>>,
    numbers: Vec<Scalar>,
    /// Bytes of elements that were given to other ranks.
    sent: AtomicU64,
    /// Where loops run, if not on the CPU.
    accelerator: Option<Accelerator>,
}

#[derive(Clone, Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Tile(Tile),
    Sparse(SparseTile),
    Subtrees(Vec<Subtree>),
}

impl Store {
    /// A store of so many slots, of which the first have these inputs.
    pub fn new(slots: usize, inputs: impl IntoIterator<Item = impl Into<Input>>, numbers: Vec<Scalar>) -> Self {
        let held = |input: Input| match input {
            Input::Dense(tile) => Held::Tile(tile),
            Input::Sparse(tile) => Held::Sparse(tile),
        };
        let mut held = inputs.into_iter().map(|input| held(input.into())).collect::<Vec<_>>();
        held.resize(slots.max(held.len()), Held::Nothing);
        Self { slots: Mutex::new(held), numbers, sent: AtomicU64::new(0), accelerator: None }
    }

    /// Runs loops and products on a device, where they have a kernel.
    #[must_use]
    pub fn on(mut self, accelerator: Option<Accelerator>) -> Self {
        // What earlier plans left there that nobody has any more.
        accelerator.iter().for_each(|accelerator| accelerator.copies().forget());
        self.accelerator = accelerator;
        self
    }

    /// The tile in a slot.
    ///
    /// # Errors
    /// There is none: always a bug of ours.
    pub fn tile(&self, slot: Slot) -> Result<Tile> {
        match self.slots.lock().get(slot) {
            Some(Held::Tile(tile)) => Ok(tile.clone()),
            _ => Err(Error::internal(format!("there is no array in slot {slot}"))),
        }
    }

    /// The sparse rows in a slot, if it has some.
    fn sparse(&self, slot: Slot) -> Option<SparseTile> {
        match self.slots.lock().get(slot) {
            Some(Held::Sparse(tile)) => Some(tile.clone()),
            _ => None,
        }
    }

    /// Whether there is something in a slot.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.slots.lock().get(slot).is_some_and(|held| !matches!(held, Held::Nothing))
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of elements that this rank gave to others so far, but for folds.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn subtrees(&self, slot: Slot) -> Result<Vec<Subtree>> {
        match self.slots.lock().get(slot) {
            Some(Held::Subtrees(subtrees)) => Ok(subtrees.clone()),
            _ => Err(Error::internal(format!("there is no fold in slot {slot}"))),
        }
    }

    fn put(&self, slot: Slot, held: Held) {
        if let Some(place) = self.slots.lock().get_mut(slot) {
            *place = held;
        }
    }

    pub(super) fn put_tile(&self, to: &(Slot, Region), dtype: DType, data: Buffer) {
        self.put(to.0, Held::Tile(Tile { dtype, indices: to.1.clone(), data }));
    }

    /// Runs a segment's steps, on the rayon pool that it is called in.
    ///
    /// # Errors
    /// A user's error in what is computed (an index that is outside, a sum of integers that does not fit), or a bug of ours.
    pub fn run(&self, segment: &Segment) -> Result<()> {
        segment.steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&self, step: &Step) -> Result<()> {
        if let (Some(accelerator), Some(what)) = (&self.accelerator, step.without_kernel()) {
            accelerator.count_on_cpu(Work::Steps, what.into());
        }
        match step {
            Step::Loop { .. } => self.looped(step),
            Step::Contract { dtype, .. } => match dtype {
                DType::F64 => self.contract::<f64>(step),
                DType::F32 => self.contract::<f32>(step),
                DType::I64 => self.contract::<i64>(step),
                DType::I32 => self.contract::<i32>(step),
                DType::Bool => Err(Error::internal("a product of truth values")),
            },
            Step::Lines { line, axis, from, to } => {
                let tile = self.tile(*from)?;
                let data = along(*line, tile.dtype, &tile.indices.shape(), *axis, &tile.data);
                self.put_part(to, line.result(tile.dtype), &tile.indices, data)
            }
            Step::Take { axis, extent, from, indices, to } => {
                let (tile, indices) = (self.tile(*from)?, self.tile(*indices)?);
                let data = take(&tile, *axis, *extent, indices.values::<i64>())?;
                let mut whole = tile.indices.ranges().to_vec();
                whole[*axis] = 0..indices.indices.len();
                self.put_part(to, tile.dtype, &Region::new(whole), data)
            }
            Step::Assemble { dtype, pieces, to } => {
                let mut out = MutableBuffer::from_len_zeroed(to.1.len() * dtype.bytes());
                for piece in pieces {
                    let rows = 0..piece.shape.first().copied().unwrap_or(1);
                    let operand = self.operand(&piece.from, &piece.shape, &rows)?;
                    with_native!(*dtype, T => {
                        scatter(out.typed_data_mut::<T>(), &piece.shape, &piece.steps, piece.first, &operand);
                    });
                }
                self.put_tile(to, *dtype, out.into());
                Ok(())
            }
            Step::Rename { from, to } => {
                let tile = self.tile(*from)?;
                if tile.indices.len() != to.1.len() {
                    return Err(Error::internal(format!("{tile:?} cannot be {}", to.1)));
                }
                self.put_tile(to, tile.dtype, tile.data);
                Ok(())
            }
            Step::Free(slots) => {
                slots.iter().for_each(|&slot| self.put(slot, Held::Nothing));
                self.accelerator.iter().for_each(|accelerator| accelerator.copies().forget());
                Ok(())
            }
        }
    }

    /// Keeps the part of an array that a rank is to have.
    fn put_part(&self, to: &(Slot, Region), dtype: DType, whole: &Region, data: Buffer) -> Result<()> {
        let data = if to.1 == *whole { data } else { cut(dtype, &data, whole, &to.1)? };
        self.put_tile(to, dtype, data);
        Ok(())
    }

    fn operand(&self, bound: &Bound, shape: &[usize], rows: &std::ops::Range<usize>) -> Result<Operand> {
        Operand::new(bound.dtype, self.tile(bound.slot)?.data, shape, rows, &bound.steps, bound.offset)
    }

    fn looped(&self, step: &Step) -> Result<()> {
        let Step::Loop { looped, rows, inputs, numbers, stores, folds } = step else { return Ok(()) };
        let operands = inputs.iter().map(|input| self.operand(input, &looped.shape, rows));
        let operands = operands.collect::<Result<Vec<_>>>()?;
        let lost = |number: usize| Error::internal(format!("there is no number {number}"));
        let numbers = numbers.iter().map(|&number| self.numbers.get(number).copied().ok_or_else(|| lost(number)));
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let on_device = match &self.accelerator {
            Some(accelerator) => accelerator.run(looped, rows, &operands, &numbers)?,
            None => None,
        };
        let ran = match on_device {
            Some(ran) => ran,
            None => run(looped, rows, &operands, &numbers)?,
        };
        let types = looped.types();
        for ((&value, to), data) in looped.stores.iter().zip(stores).zip(ran.stores) {
            self.put_tile(to, types[value], data);
        }
        for ((reduction, to), folded) in looped.reductions.iter().zip(folds).zip(ran.folds) {
            self.fold(types[reduction.value], reduction.fold, to, folded)?;
        }
        Ok(())
    }

    fn fold(&self, dtype: DType, fold: super::Fold, to: &FoldTo, folded: Folded) -> Result<()> {
        let data = match (folded, &to.region) {
            (Folded::Partial(subtrees), None) => {
                self.put(to.slot, Held::Subtrees(subtrees));
                return Ok(());
            }
            (Folded::Partial(subtrees), Some(_)) => together(dtype, fold, to.results, subtrees)?,
            (Folded::Whole(data), _) => data,
        };
        let Some(region) = &to.region else { return Err(Error::internal("a fold is whole, and should be a part")) };
        self.put_tile(&(to.slot, region.clone()), result(dtype, fold), data);
        Ok(())
    }

    fn contract<T: Number + Native>(&self, step: &Step) -> Result<()> {
        let Step::Contract { einsum, shapes, operands, to, part, adds, .. } = step else { return Ok(()) };
        // An empty sum: an operand that lacks an index may lie anywhere.
        if shapes.iter().flatten().any(|&extent| extent == 0) {
            let out = if *adds { self.taken(to)? } else { zeros::<T>(&to.1) };
            self.put_tile(to, T::DTYPE, out.into());
            return Ok(());
        }
        if operands.iter().any(|operand| self.sparse(operand.slot).is_some()) {
            let no_kernel = || "a product of sparse arrays".to_owned();
            self.accelerator.iter().for_each(|device| device.count_on_cpu(Work::Products, no_kernel()));
            return self.contract_sparse::<T>(step);
        }
        let tiles = operands.iter().map(|operand| self.tile(operand.slot)).collect::<Result<Vec<_>>>()?;
        let mut views = Vec::with_capacity(tiles.len());
        for ((tile, bound), shape) in tiles.iter().zip(operands).zip(shapes) {
            let offset = usize::try_from(bound.offset).map_err(|_| Error::internal("an operand before its tile"))?;
            views.push(View::new(tile.values::<T>(), shape, &bound.steps, offset)?);
        }
        if self.contract_on_device(step, &tiles, &views)? {
            return Ok(());
        }
        if *part != to.1 {
            let mut product = zeros::<T>(part);
            contract(einsum, &views, Epilogue::REPLACE, product.typed_data_mut::<T>())?;
            return self.add_part::<T>(to, part, *adds, &product.into());
        }
        let mut out = if *adds { self.taken(to)? } else { zeros::<T>(&to.1) };
        let epilogue = if *adds { Epilogue::ADD } else { Epilogue::REPLACE };
        contract(einsum, &views, epilogue, out.typed_data_mut::<T>())?;
        self.put_tile(to, T::DTYPE, out.into());
        Ok(())
    }

    /// Runs a product on a device; says whether it has.
    fn contract_on_device<T: Number + Native>(
        &self,
        step: &Step,
        tiles: &[Tile],
        views: &[View<'_, T>],
    ) -> Result<bool> {
        let (Some(accelerator), Step::Contract { einsum, to, part, adds, .. }) = (&self.accelerator, step) else {
            return Ok(false);
        };
        let whole = *part == to.1;
        let before = if *adds && whole { Some(self.tile(to.0)?) } else { None };
        let factors = tiles.iter().map(|tile| &tile.data).zip(views.iter().cloned()).collect::<Vec<_>>();
        match accelerator.multiply(einsum, &factors, before.as_ref().map(|tile| &tile.data))? {
            Some(product) if whole => self.put_tile(to, T::DTYPE, product),
            Some(product) => self.add_part::<T>(to, part, *adds, &product)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Adds to a part of an array, or makes one that is zero elsewhere.
    fn add_part<T: Native>(&self, to: &(Slot, Region), part: &Region, adds: bool, product: &Buffer) -> Result<()> {
        let begun = if adds { self.taken(to)? } else { zeros::<T>(&to.1) };
        let mut sum = Sum::of(T::DTYPE, to.1.clone(), begun);
        sum.add(part, product)?;
        self.put_tile(to, T::DTYPE, sum.finish());
        Ok(())
    }

    /// A product with sparse operands, whose result is dense.
    fn contract_sparse<T: Number + Native>(&self, step: &Step) -> Result<()> {
        let Step::Contract { einsum, shapes, operands, to, part, adds, .. } = step else { return Ok(()) };
        let sparse = operands.iter().map(|operand| self.sparse(operand.slot)).collect::<Vec<_>>();
        let is_dense = |(operand, sparse): (&Bound, &Option<SparseTile>)| match sparse {
            Some(_) => Ok(None),
            None => self.tile(operand.slot).map(Some),
        };
        let dense = operands.iter().zip(&sparse).map(is_dense).collect::<Result<Vec<_>>>()?;
        let mut factors: Vec<Factor<'_, T>> = Vec::with_capacity(operands.len());
        for (((sparse, dense), bound), shape) in sparse.iter().zip(&dense).zip(operands).zip(shapes) {
            match (sparse, dense) {
                (Some(tile), _) => factors.push(tile.operand()?),
                (None, Some(tile)) => {
                    let offset =
                        usize::try_from(bound.offset).map_err(|_| Error::internal("an operand before its tile"))?;
                    factors.push(View::new(tile.values::<T>(), shape, &bound.steps, offset)?.into());
                }
                (None, None) => return Err(Error::internal("an operand that is nowhere")),
            }
        }
        let Output::Dense(_, values) = contract_sparse(einsum, &factors)? else {
            return Err(Error::internal(format!("\"{einsum}\" has a sparse result, which no slot takes")));
        };
        if *part == to.1 && !adds {
            self.put_tile(to, T::DTYPE, Buffer::from_vec(values));
            return Ok(());
        }
        self.add_part::<T>(to, part, *adds, &Buffer::from_vec(values))
    }

    /// The elements of a slot, to be changed; without a copy if nobody else has them.
    fn taken(&self, to: &(Slot, Region)) -> Result<MutableBuffer> {
        let tile = self.tile(to.0)?;
        self.put(to.0, Held::Nothing);
        if tile.indices != to.1 {
            return Err(Error::internal(format!("{tile:?} is added to as {}", to.1)));
        }
        Ok(tile.data.into_mutable().unwrap_or_else(|shared| {
            let mut copy = MutableBuffer::with_capacity(shared.len());
            copy.extend_from_slice(shared.as_slice());
            copy
        }))
    }
}

fn zeros<T: Native>(region: &Region) -> MutableBuffer {
    MutableBuffer::from_len_zeroed(region.len() * T::DTYPE.bytes())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({} slots)", self.slots.lock().len())
    }
}

/// The elements of a region of an array, row-major; without a copy where they lie in one piece.
///
/// # Errors
/// The region is not within the array: always a bug of ours.
pub fn cut(dtype: DType, data: &Buffer, whole: &Region, region: &Region) -> Result<Buffer> {
    if !region.is_within(whole) {
        return Err(Error::internal(format!("{region} is not within {whole}")));
    }
    if region.is_empty() {
        return Ok(MutableBuffer::default().into());
    }
    let (shape, steps) = (region.shape(), strides(&whole.shape()));
    let first = region.ranges().iter().zip(whole.ranges()).zip(&steps);
    let first = first.map(|((part, whole), step)| (part.start - whole.start) as isize * step).sum::<isize>();
    let lies_so =
        strides(&shape).iter().zip(&steps).zip(&shape).all(|((own, step), &extent)| own == step || extent <= 1);
    if lies_so {
        return Ok(data.slice_with_length(first as usize * dtype.bytes(), region.len() * dtype.bytes()));
    }
    let rows = 0..shape.first().copied().unwrap_or(1);
    let operand = Operand::new(dtype, data.clone(), &shape, &rows, &steps, first)?;
    let mut out = MutableBuffer::from_len_zeroed(region.len() * dtype.bytes());
    with_native!(dtype, T => operand.read(out.typed_data_mut::<T>(), 0));
    Ok(out.into())
}
