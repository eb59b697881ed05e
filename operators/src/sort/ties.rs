//! Comparisons of rows, for what integers of 128 bits do not decide.

use std::cmp::Ordering;

use arrow::array::{Array, BinaryViewArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use bireme_engine::error::Result;

use super::blocks::{Block, split};
use super::layout::{Key, bytes_of, not_a_key};
use super::ordered::{Ordered, WordVisitor, visit_words};

/// Compares two rows, given by their ids, by some keys.
pub(super) struct Comparison {
    keys: Vec<Box<dyn CompareKey>>,
}

/// Compares two rows by one key.
trait CompareKey: Send + Sync {
    fn compare(&self, a: u64, b: u64) -> Ordering;
}

impl Comparison {
    /// By these keys, the first one first.
    pub fn new(blocks: &[Block], keys: &[Key]) -> Result<Self> {
        let keys = keys.iter().map(|key| if key.word { words(blocks, key) } else { bytes(blocks, key) });
        Ok(Self { keys: keys.collect::<Result<_>>()? })
    }

    pub fn compare(&self, a: u64, b: u64) -> Ordering {
        self.keys.iter().map(|key| key.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// The values of a key, block by block.
struct Column<V> {
    blocks: Vec<(V, Option<NullBuffer>)>,
    key: Key,
}

impl<V> Column<V> {
    /// Compares with NULLs where the key wants them.
    fn compare_with(&self, a: u64, b: u64, values: impl Fn(&V, usize, &V, usize) -> Ordering) -> Ordering {
        let ((block_a, row_a), (block_b, row_b)) = (split(a), split(b));
        let ((values_a, nulls_a), (values_b, nulls_b)) = (&self.blocks[block_a], &self.blocks[block_b]);
        let null = |nulls: &Option<NullBuffer>, row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match (null(nulls_a, row_a), null(nulls_b, row_b)) {
            (true, true) => Ordering::Equal,
            (a, b) if a != b => {
                if a == self.key.nulls_first {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            _ => {
                let order = values(values_a, row_a, values_b, row_b);
                if self.key.descending { order.reverse() } else { order }
            }
        }
    }
}

impl CompareKey for Column<BinaryViewArray> {
    fn compare(&self, a: u64, b: u64) -> Ordering {
        self.compare_with(a, b, |a, row_a, b, row_b| {
            // SAFETY: ids name rows of their blocks.
            unsafe { a.value_unchecked(row_a).cmp(b.value_unchecked(row_b)) }
        })
    }
}

impl<T: Ordered> CompareKey for Column<ScalarBuffer<T>> {
    fn compare(&self, a: u64, b: u64) -> Ordering {
        self.compare_with(a, b, |a, row_a, b, row_b| a[row_a].ordered().cmp(&b[row_b].ordered()))
    }
}

fn bytes(blocks: &[Block], key: &Key) -> Result<Box<dyn CompareKey>> {
    let blocks = blocks.iter().map(|block| {
        let array = bytes_of(&block.columns[key.column])?;
        let nulls = array.nulls().cloned();
        Ok((array, nulls))
    });
    Ok(Box::new(Column { blocks: blocks.collect::<Result<_>>()?, key: key.clone() }))
}

fn words(blocks: &[Block], key: &Key) -> Result<Box<dyn CompareKey>> {
    let Some(first) = blocks.first().map(|block| &block.columns[key.column]) else {
        return Ok(Box::new(Column::<ScalarBuffer<u8>> { blocks: Vec::new(), key: key.clone() }));
    };
    visit_words(first, AllBlocks { blocks, key }).unwrap_or_else(|| Err(not_a_key(first)))
}

/// Learns the type from the first block and takes it from all of them.
struct AllBlocks<'a> {
    blocks: &'a [Block],
    key: &'a Key,
}

impl WordVisitor for AllBlocks<'_> {
    type Out = Result<Box<dyn CompareKey>>;

    fn visit<T: Ordered>(self, _: ScalarBuffer<T>, _: Option<NullBuffer>) -> Self::Out {
        let blocks = self.blocks.iter().map(|block| {
            let array = &block.columns[self.key.column];
            visit_words(array, Same::<T>::default()).flatten().ok_or_else(|| not_a_key(array))
        });
        Ok(Box::new(Column { blocks: blocks.collect::<Result<_>>()?, key: self.key.clone() }))
    }
}

/// The values as they are, if they are of type `T`.
struct Same<T>(std::marker::PhantomData<T>);

impl<T> Default for Same<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Ordered> WordVisitor for Same<T> {
    type Out = Option<(ScalarBuffer<T>, Option<NullBuffer>)>;

    fn visit<U: Ordered>(self, values: ScalarBuffer<U>, nulls: Option<NullBuffer>) -> Self::Out {
        let same = std::any::TypeId::of::<T>() == std::any::TypeId::of::<U>();
        same.then(|| {
            let rows = values.len();
            (ScalarBuffer::new(values.into_inner(), 0, rows), nulls)
        })
    }
}
