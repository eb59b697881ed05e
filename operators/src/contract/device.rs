//! Products on a device.
//!
//! ```text
//!   columns and rows   tiles      a block makes a tile of the result
//!   rows alone         sums       32 threads, or one, sum the products of an element, or a piece of them
//!                      together   pieces of sums become elements
//! ```
//!
//! Kernels take the same classes of indices as the host's ([`Groups`]) and read operands as they lie. Which thread sums what depends on
//! extents and strides alone, so results are the same on every device; sums of floats are in another order than the host's. Integers are
//! summed in 128 bits, and what does not fit is left to the host, which says what there is to say.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::device::{Argument, Buffer as Memory, Device, Grid, Source};
use bireme_engine::error::{Error, Result};

use super::groups::{Axis, Groups, Kernel, Place, volume};
use super::order::order;
use super::pair::{Lettered, check_output, classify};
use super::view::row_major;
use super::{Einsum, Element, View};
use crate::accelerator::download;

const PRODUCTS: &str = include_str!("device/products.cu");

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over.
const BLOCKS: u32 = 132 * 16;

/// Rows and columns of a tile, and summed indices that are read together.
const TILE: usize = 64;
const DEPTH: usize = 16;

/// Threads that sum together.
const TEAM: usize = 32;

/// Teams that keep a GPU busy: sums of fewer elements are cut into pieces, of at least so many products.
const TEAMS: usize = 1 << 12;
const PIECE: usize = 1 << 10;

/// An operand in the memory of a device.
#[derive(Clone)]
pub(crate) struct Factor {
    pub memory: Arc<Memory>,
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
    /// Where the element of all indices 0 lies.
    pub offset: usize,
}

impl Factor {
    /// What lies on the device as a view lies in its buffer.
    pub fn of<T: Copy>(memory: Arc<Memory>, view: &View<'_, T>) -> Self {
        Self { memory, shape: view.shape().to_vec(), strides: view.strides().to_vec(), offset: view.offset() }
    }

    fn contiguous(memory: Arc<Memory>, shape: Vec<usize>) -> Self {
        let strides = row_major(&shape);
        Self { memory, shape, strides, offset: 0 }
    }
}

/// `einsum(operands)`, plus `before` if there is one: row-major; `None` if a sum of integers does not fit. No extent is 0.
///
/// # Errors
/// The device fails, or has no memory.
pub(crate) fn contract<T: Element>(
    device: &Device,
    einsum: &Einsum,
    operands: &[Factor],
    before: Option<&Memory>,
) -> Result<Option<Memory>> {
    let shapes = operands.iter().map(|operand| operand.shape.as_slice()).collect::<Vec<_>>();
    let extents = einsum.extents(&shapes)?;
    check_output(einsum, &shapes, extents.elements(einsum.output())?)?;
    let run = Run::<T> { device, status: device.filled(4, 0)?, elements: std::marker::PhantomData };
    let out = match operands {
        [one] => run.one(&run.lettered(&einsum.operands()[0], one), einsum.output(), before)?,
        [left, right] => run.pair(einsum, left, right, before)?,
        _ => {
            let mut all = operands.to_vec();
            let steps = order(einsum, &extents)?.steps;
            let (last, steps) = steps.split_last().ok_or_else(|| Error::internal("a contraction without steps"))?;
            for step in steps {
                let [left, right] = step.operands.map(|at| &all[at]);
                let made = run.pair(&step.einsum, left, right, None)?;
                all.push(Factor::contiguous(Arc::new(made), extents.shape(step.einsum.output())));
            }
            let [left, right] = last.operands.map(|at| &all[at]);
            run.pair(&last.einsum, left, right, before)?
        }
    };
    let failed = download::<u32>(device, &run.status, 1)?[0] != 0;
    Ok((!failed).then_some(out))
}

/// Products of one type on one device.
struct Run<'a, T> {
    device: &'a Device,
    /// Whether a sum did not fit.
    status: Memory,
    elements: std::marker::PhantomData<T>,
}

/// An operand whose axes have letters.
#[derive(Clone)]
struct Named {
    memory: Arc<Memory>,
    lies: Lettered,
}

impl<T: Element> Run<'_, T> {
    fn lettered(&self, letters: &[char], factor: &Factor) -> Named {
        let lies = Lettered::new(letters, &factor.shape, &factor.strides, factor.offset);
        Named { memory: Arc::clone(&factor.memory), lies }
    }

    fn pair(&self, einsum: &Einsum, left: &Factor, right: &Factor, before: Option<&Memory>) -> Result<Memory> {
        let [left_letters, right_letters] = einsum.operands() else {
            return Err(Error::internal(format!("einsum \"{einsum}\" is no product of two")));
        };
        let (left, right) = (self.lettered(left_letters, left), self.lettered(right_letters, right));
        self.named(left, right, einsum.output(), before)
    }

    /// Sums an operand over what is not kept, or puts its axes into another order.
    fn one(&self, operand: &Named, output: &[char], before: Option<&Memory>) -> Result<Memory> {
        let one = Arc::new(self.device.upload(Buffer::from_vec(vec![T::ONE]).as_slice())?);
        let ones = Named { memory: one, lies: operand.lies.one(output) };
        self.named(operand.clone(), ones, output, before)
    }

    fn named(&self, mut left: Named, mut right: Named, output: &[char], before: Option<&Memory>) -> Result<Memory> {
        left.lies = left.lies.squeezed();
        right.lies = right.lies.squeezed();
        let left_only = self.without_lonely(&left, &right, output)?;
        let right_only = self.without_lonely(&right, &left, output)?;
        let groups = classify(&left_only.lies, &right_only.lies, output);
        let origin = Place { left: left_only.lies.offset as isize, right: right_only.lies.offset as isize, out: 0 };
        let memory = [left_only.memory.as_ref(), right_only.memory.as_ref()];
        // What has no rows of its own is a product of the right operand with the left one.
        if groups.rows.is_empty() && !groups.columns.is_empty() {
            let origin = Place { left: origin.right, right: origin.left, out: 0 };
            return self.product([memory[1], memory[0]], origin, &groups.swapped(), before);
        }
        self.product(memory, origin, &groups, before)
    }

    fn without_lonely(&self, operand: &Named, other: &Named, output: &[char]) -> Result<Named> {
        let Some(lies) = operand.lies.without_lonely(&other.lies, output) else { return Ok(operand.clone()) };
        let sums = self.one(operand, &lies.letters(), None)?;
        Ok(Named { memory: Arc::new(sums), lies })
    }

    fn product(
        &self,
        [left, right]: [&Memory; 2],
        origin: Place,
        groups: &Groups,
        before: Option<&Memory>,
    ) -> Result<Memory> {
        let [batches, rows, columns, inner] =
            [&groups.batch, &groups.rows, &groups.columns, &groups.inner].map(|axes| volume(axes));
        // Each class has an axis, so that kernels need not ask.
        let classes = [&groups.batch, &groups.rows, &groups.columns, &groups.inner].map(|axes| match axes.is_empty() {
            true => vec![Axis { extent: 1, left: 0, right: 0, out: 0 }],
            false => axes.clone(),
        });
        let outputs = batches * rows * columns;
        let in_tiles = groups.kernel() == Kernel::Gemm || !groups.columns.is_empty();
        let nearest = |axes: &[Axis], step: fn(&Axis) -> isize| {
            axes.iter().filter(|axis| axis.extent > 1).map(|axis| step(axis).unsigned_abs()).min().unwrap_or(usize::MAX)
        };
        let inner_is_nearer = |own: &[Axis], step: fn(&Axis) -> isize| nearest(&classes[3], step) <= nearest(own, step);
        let by_inner =
            [inner_is_nearer(&classes[1], |axis| axis.left), inner_is_nearer(&classes[2], |axis| axis.right)];
        let team = if inner >= TEAM && by_inner[0] { TEAM } else { 1 };
        let pieces = match in_tiles {
            true => 1,
            false => (TEAMS * (TEAM / team)).div_ceil(outputs).clamp(1, inner.div_ceil(PIECE)),
        };
        let mut words = [batches, rows, columns, inner].map(|extent| extent as u64).to_vec();
        words.extend([origin.left as u64, origin.right as u64, pieces as u64]);
        words.push(u64::from(by_inner[0]) | u64::from(by_inner[1]) << 1);
        words.extend(classes.iter().map(|axes| axes.len() as u64));
        for axis in classes.iter().flatten() {
            words.extend([axis.extent as u64, axis.left as u64, axis.right as u64, axis.out as u64]);
        }
        let parameters = self.device.upload(Buffer::from_vec(words).as_slice())?;
        let module = self.device.load(&source::<T>(team))?;
        let out = self.device.allocate(outputs * size_of::<T>())?;
        let old = before.map_or(Argument::Nothing, Argument::Memory);
        let [p, l, r, to, status] = [&parameters, left, right, &out, &self.status].map(Argument::Memory);
        if in_tiles {
            let tiles = batches * rows.div_ceil(TILE) * columns.div_ceil(TILE);
            let grid = Grid::covering(tiles, 1, BLOCKS);
            let grid = Grid { threads: THREADS, ..grid };
            // SAFETY: the parameters of `tiles`; it reads operands at all combinations of their indices, which lie within them as
            // the makers of views have checked, and writes the elements of a row-major result, as it reads those of `before`.
            unsafe { module.launch("tiles", &grid, &[p, l, r, old, to, status])? };
            return Ok(out);
        }
        let partial = self.device.allocate(if pieces > 1 { outputs * pieces * sum_bytes::<T>() } else { 1 })?;
        let grid = Grid::covering(outputs * pieces * team, THREADS, BLOCKS);
        let several = Argument::Memory(&partial);
        // SAFETY: as above, of `sums`; it has room for the pieces of all elements if there are several.
        unsafe { module.launch("sums", &grid, &[p, l, r, old, to, several, status])? };
        if pieces > 1 {
            // SAFETY: as above, of `together`.
            unsafe {
                module.launch("together", &Grid::covering(outputs, THREADS, BLOCKS), &[p, several, old, to, status])?;
            }
        }
        Ok(out)
    }
}

/// Bytes of a sum.
fn sum_bytes<T: Element>() -> usize {
    if is_exact::<T>() { 16 } else { size_of::<T>() }
}

fn is_exact<T: Element>() -> bool {
    T::NAME.starts_with('i')
}

fn source<T: Element>(team: usize) -> Source {
    let exact = if is_exact::<T>() { "#define EXACT 1\n" } else { "" };
    let text = format!(
        "typedef {} number;\n{exact}#define TEAM {team}\n#define TILE {TILE}\n#define DEPTH {DEPTH}\n{PRODUCTS}",
        T::NAME
    );
    Source::new(text, ["sums", "together", "tiles"])
}
