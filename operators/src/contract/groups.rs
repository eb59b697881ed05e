//! The indices of a product of two, by what they do, fused where they can be.
//!
//! An index is of one of four classes, by where it stands (TTGT and GETT call them so; "batch" is Legion's and BLAS's word):
//!
//! ```text
//!            left  right  output
//!   batch      x     x      x
//!   rows       x            x        M of a GEMM
//!   columns          x      x        N
//!   inner      x     x               K
//! ```
//!
//! Two neighbours of a class are one index if they are stepped over alike in each array: `stride(outer) = extent(inner) ·
//! stride(inner)`. Three-index arrays become matrices that way, without being moved. Indices of extent 1 are left out first.

use std::fmt;
use std::ops::Range;

use super::element::Epilogue;

/// Which kernel computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Products of elements, nothing summed: Hadamard and outer products, transposition.
    Elementwise,
    /// All indices are summed: an inner product.
    Dot,
    /// One operand has all indices of the other: array times vector, sums.
    Ttv,
    /// Matrix times matrix, batches of them, array times matrix.
    Gemm,
    /// An array times a matrix for each of its axes but one.
    Mttkrp,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kernel::Elementwise => "elementwise",
            Kernel::Dot => "dot",
            Kernel::Ttv => "ttv",
            Kernel::Gemm => "gemm",
            Kernel::Mttkrp => "mttkrp",
        })
    }
}

/// One index, or several fused: its extent and how far apart neighbours are in each array (0 where it does not stand).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub extent: usize,
    pub left: isize,
    pub right: isize,
    pub out: isize,
}

impl Axis {
    /// The index with the operands exchanged.
    pub fn swapped(&self) -> Self {
        Self { left: self.right, right: self.left, ..*self }
    }

    /// How far `times` steps lead in each array.
    pub fn step(&self, times: usize) -> Place {
        let times = times as isize;
        Place { left: times * self.left, right: times * self.right, out: times * self.out }
    }
}

/// Where the element of some indices lies in each array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub left: isize,
    pub right: isize,
    pub out: isize,
}

impl std::ops::Add for Place {
    type Output = Place;

    fn add(self, other: Place) -> Place {
        Place { left: self.left + other.left, right: self.right + other.right, out: self.out + other.out }
    }
}

/// The indices of a product, by class, from the outermost to the innermost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    pub batch: Vec<Axis>,
    pub rows: Vec<Axis>,
    pub columns: Vec<Axis>,
    pub inner: Vec<Axis>,
}

impl Groups {
    /// The kernel for these classes.
    pub fn kernel(&self) -> Kernel {
        match (self.inner.is_empty(), self.rows.is_empty(), self.columns.is_empty()) {
            (true, _, _) => Kernel::Elementwise,
            (_, true, true) if self.batch.is_empty() => Kernel::Dot,
            (_, false, false) => Kernel::Gemm,
            _ => Kernel::Ttv,
        }
    }

    /// The same product with its operands exchanged.
    pub fn swapped(&self) -> Self {
        let swap = |axes: &[Axis]| axes.iter().map(Axis::swapped).collect();
        Self {
            batch: swap(&self.batch),
            rows: swap(&self.columns),
            columns: swap(&self.rows),
            inner: swap(&self.inner),
        }
    }
}

/// A product of two that is ready to run. No extent is 0 or 1; the output has as many elements as its indices say.
#[derive(Clone, Debug)]
pub struct Job<'a, T> {
    pub left: &'a [T],
    pub right: &'a [T],
    /// Where the elements of all indices 0 lie.
    pub origin: Place,
    pub groups: Groups,
    pub epilogue: Epilogue<T>,
}

impl<'a, T: Copy> Job<'a, T> {
    /// The same product with its operands exchanged.
    pub fn swapped(&self) -> Self {
        let origin = Place { left: self.origin.right, right: self.origin.left, out: self.origin.out };
        Self { left: self.right, right: self.left, origin, groups: self.groups.swapped(), epilogue: self.epilogue }
    }
}

/// The same indices, with neighbours fused that are stepped over alike everywhere.
pub fn fuse(axes: &[Axis]) -> Vec<Axis> {
    let mut fused: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        let whole = axis.step(axis.extent);
        match fused.last_mut() {
            Some(outer) if outer.left == whole.left && outer.right == whole.right && outer.out == whole.out => {
                *outer = Axis { extent: outer.extent * axis.extent, ..*axis };
            }
            _ => fused.push(*axis),
        }
    }
    fused
}

/// How many combinations of indices there are.
pub fn volume(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.extent).product()
}

/// Calls `body` with the place of each combination in `range`, counted row-major.
#[inline(always)]
pub fn walk(axes: &[Axis], range: Range<usize>, origin: Place, mut body: impl FnMut(Place)) {
    if range.is_empty() {
        return;
    }
    let mut index = vec![0; axes.len()];
    let (mut rest, mut place) = (range.start, origin);
    for (axis, index) in axes.iter().zip(&mut index).rev() {
        *index = rest % axis.extent;
        rest /= axis.extent;
        place = place + axis.step(*index);
    }
    for _ in range {
        body(place);
        for (axis, index) in axes.iter().zip(&mut index).rev() {
            *index += 1;
            place = place + axis.step(1);
            if *index < axis.extent {
                break;
            }
            let back = axis.step(axis.extent);
            place = Place { left: place.left - back.left, right: place.right - back.right, out: place.out - back.out };
            *index = 0;
        }
    }
}

/// An output that workers write at the same time, each its own elements.
#[derive(Clone, Copy, Debug)]
pub struct Shared<T>(*mut T, usize);

// SAFETY: it is only an address; `slot` says what its users must see to.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(out: &mut [T]) -> Self {
        Self(out.as_mut_ptr(), out.len())
    }

    /// The element at `place`.
    ///
    /// # Safety
    ///
    /// No two workers may be given the same place, and the slice that this was made of must not be used meanwhile.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "that is what it is for; the caller sees to it that elements are distinct")]
    pub unsafe fn slot(&self, place: isize) -> &mut T {
        debug_assert!((place as usize) < self.1);
        // SAFETY: a place of an output's indices is within the output, which the job's maker has checked.
        unsafe { &mut *self.0.offset(place) }
    }

    /// The address of the element at `place`.
    #[inline(always)]
    pub fn at(&self, place: isize) -> *mut T {
        debug_assert!((place as usize) < self.1);
        self.0.wrapping_offset(place)
    }
}
