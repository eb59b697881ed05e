//! Numbers for vertices: the places of what users call them, in order.
//!
//! ```text
//!   edges of all ranks   7→3  3→9        vertices 3 7 9 are 0 1 2:   1→0  0→2
//! ```
//!
//! The order is that of the integers, or of the bytes of texts, so the smallest vertex of a set is the smallest to its user,
//! and numbers depend on no rank. Integers that lie close together cost a bit for each number of their span, which ranks send
//! each other; others, and texts, are sorted by each rank, once each, and merged by all.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Int64Type};
use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::algorithm::Vertex;
use super::talk::{Talk, numbers};

/// The vertices of a graph, by number.
#[derive(Debug)]
pub(super) enum Numbering {
    /// The integers from `first` on.
    Range { first: i64, count: usize },
    /// Those integers from `first` on whose bit is set; `before[i]` counts the bits before word `i`.
    Bits { first: i64, words: Vec<u64>, before: Vec<u32> },
    /// Integers, ascending.
    Integers(Vec<i64>),
    /// Texts, ascending.
    Texts(StringViewArray),
}

/// The two ends of the edges that a rank has read.
pub(super) enum Ends {
    Integers([Vec<i64>; 2]),
    Texts([Vec<StringViewArray>; 2]),
}

impl Ends {
    /// Columns 0 and 1 of batches, which are `Int64` or `Utf8View`; `names` are those that messages use.
    ///
    /// # Errors
    /// A vertex is NULL: a user's error.
    pub fn read(batches: &[RecordBatch], names: [&str; 2], is_text: bool) -> Result<Self> {
        for (at, name) in names.iter().enumerate() {
            if batches.iter().any(|batch| batch.column(at).null_count() > 0) {
                return Err(Error::user(format!(
                    "column {name} has NULLs, which are no vertices; leave such edges out: WHERE {name} IS NOT NULL"
                )));
            }
        }
        Ok(if is_text {
            let column =
                |at| batches.iter().map(|batch: &RecordBatch| batch.column(at).as_string_view().clone()).collect();
            Ends::Texts([column(0), column(1)])
        } else {
            let column = |at| {
                let values =
                    batches.par_iter().map(|batch| batch.column(at).as_primitive::<Int64Type>().values().as_ref());
                values.collect::<Vec<&[i64]>>().concat()
            };
            Ends::Integers([column(0), column(1)])
        })
    }

    /// The edges with their ends as numbers, and what these mean. All ranks call it.
    pub async fn number(self, talk: &mut Talk) -> Result<(Numbering, [Vec<u32>; 2])> {
        match self {
            Ends::Integers(ends) => number_integers(ends, talk).await,
            Ends::Texts(ends) => number_texts(ends, talk).await,
        }
    }
}

impl Numbering {
    /// How many vertices there are.
    pub fn vertices(&self) -> usize {
        match self {
            Numbering::Range { count, .. } => *count,
            Numbering::Bits { words, before, .. } => {
                before.last().map_or(0, |before| *before as usize)
                    + words.last().map_or(0, |word| word.count_ones() as usize)
            }
            Numbering::Integers(keys) => keys.len(),
            Numbering::Texts(keys) => keys.len(),
        }
    }

    /// The number of a vertex, if it is one.
    pub fn find(&self, vertex: &Vertex) -> Option<u32> {
        let at = match (self, vertex) {
            (Numbering::Range { first, count }, Vertex::Integer(key)) => {
                usize::try_from(key.checked_sub(*first)?).ok().filter(|at| at < count)
            }
            (Numbering::Bits { first, words, before }, Vertex::Integer(key)) => {
                let at = usize::try_from(key.checked_sub(*first)?).ok()?;
                let is_set = words.get(at / 64)? >> (at % 64) & 1 == 1;
                is_set.then(|| rank_of(words, before, at) as usize)
            }
            (Numbering::Integers(keys), Vertex::Integer(key)) => keys.binary_search(key).ok(),
            (Numbering::Texts(keys), Vertex::Text(key)) => place_of(keys, key),
            _ => None,
        };
        at.and_then(|at| u32::try_from(at).ok())
    }

    /// What a vertex is called.
    pub fn vertex(&self, number: u32) -> Vertex {
        match self {
            Numbering::Range { first, .. } => Vertex::Integer(first + i64::from(number)),
            Numbering::Bits { first, words, before } => Vertex::Integer(first + selected(words, before, number) as i64),
            Numbering::Integers(keys) => Vertex::Integer(keys[number as usize]),
            Numbering::Texts(keys) => Vertex::Text(keys.value(number as usize).to_owned()),
        }
    }

    /// What vertices are called.
    pub fn names(&self, of: impl IndexedParallelIterator<Item = u32>) -> ArrayRef {
        let integers = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        match self {
            Numbering::Range { first, .. } => integers(of.map(|vertex| first + i64::from(vertex)).collect()),
            Numbering::Bits { first, words, before } => {
                integers(of.map(|vertex| first + selected(words, before, vertex) as i64).collect())
            }
            Numbering::Integers(keys) => integers(of.map(|vertex| keys[vertex as usize]).collect()),
            Numbering::Texts(keys) => {
                let views = of.map(|vertex| keys.views()[vertex as usize]).collect::<Vec<_>>();
                let buffers = keys.data_buffers().to_vec();
                // SAFETY: the views are those of a valid array with the same buffers, which has no NULLs.
                Arc::new(unsafe { StringViewArray::new_unchecked(views.into(), buffers, None) })
            }
        }
    }

    /// What the vertices of a range are called.
    pub fn names_of(&self, range: Range<usize>) -> ArrayRef {
        self.names((range.start..range.end).into_par_iter().map(|vertex| vertex as u32))
    }

    /// The type of names.
    pub fn is_text(&self) -> bool {
        matches!(self, Numbering::Texts(_))
    }
}

/// The type in which vertices reach a graph, of the type that a user has; `None`: they can be no vertices.
pub fn vertex_type(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8View),
        DataType::Dictionary(_, values) => vertex_type(values),
        integer if integer.is_integer() => Some(DataType::Int64),
        _ => None,
    }
}

/// How many bits are set before a bit.
fn rank_of(words: &[u64], before: &[u32], at: usize) -> u32 {
    before[at / 64] + (words[at / 64] & ((1 << (at % 64)) - 1)).count_ones()
}

/// Which bit is the `rank`-th one that is set.
fn selected(words: &[u64], before: &[u32], rank: u32) -> usize {
    let word = before.partition_point(|before| *before <= rank) - 1;
    let mut bits = words[word];
    for _ in before[word]..rank {
        bits &= bits - 1;
    }
    word * 64 + bits.trailing_zeros() as usize
}

fn place_of(keys: &StringViewArray, key: &str) -> Option<usize> {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match keys.value(middle).cmp(key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn too_many(vertices: usize) -> Error {
    Error::unsupported(format!("a graph of {vertices} vertices; at most {} can be numbered", u32::MAX - 1))
}

// ---- integers ----

async fn number_integers(ends: [Vec<i64>; 2], talk: &mut Talk) -> Result<(Numbering, [Vec<u32>; 2])> {
    let (ends, bounds) = talk
        .run(move || {
            let bounds = ends
                .par_iter()
                .flat_map(|end| end.par_chunks(1 << 16))
                .map(|part| part.iter().fold((i64::MAX, i64::MIN), |(low, high), &key| (low.min(key), high.max(key))));
            let bounds = bounds.reduce(|| (i64::MAX, i64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
            Ok((ends, bounds))
        })
        .await?;
    let count = 2 * ends[0].len() as u64;
    let letters = talk.tell_all(&[bounds.0 as u64, bounds.1 as u64, count], Buffer::default()).await?;
    let word = |at: usize| letters.iter().filter_map(move |letter| letter.words.get(at).copied());
    let low = word(0).map(|low| low as i64).min().unwrap_or(i64::MAX);
    let high = word(1).map(|high| high as i64).max().unwrap_or(i64::MIN);
    let count = word(2).sum::<u64>();
    if count == 0 {
        return Ok((Numbering::Range { first: 0, count: 0 }, [Vec::new(), Vec::new()]));
    }
    let span = i128::from(high) - i128::from(low) + 1;
    // A bit for each number of the span, while that is less than the edges themselves.
    if span <= i128::from(count.saturating_mul(16).max(1 << 20)) && span < i128::from(u32::MAX) {
        number_by_bits(ends, low, span as usize, talk).await
    } else {
        number_by_sorting(ends, talk).await
    }
}

async fn number_by_bits(
    ends: [Vec<i64>; 2],
    first: i64,
    span: usize,
    talk: &mut Talk,
) -> Result<(Numbering, [Vec<u32>; 2])> {
    let (ends, mut words) = talk
        .run(move || {
            let words = (0..span.div_ceil(64)).into_par_iter().map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
            ends.par_iter().flat_map(|end| end.par_iter()).for_each(|key| {
                let at = (key - first) as usize;
                // Most are set already: looking first keeps the line with all threads.
                if words[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1 == 0 {
                    words[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
                }
            });
            Ok((ends, words.into_iter().map(AtomicU64::into_inner).collect::<Vec<_>>()))
        })
        .await?;
    if talk.ranks() > 1 {
        let own = Buffer::from_vec(words.clone());
        for letter in talk.tell_all(&[], own).await? {
            words.iter_mut().zip(numbers::<u64>(&letter.bytes)).for_each(|(word, other)| *word |= other);
        }
    }
    talk.run(move || {
        let mut before = Vec::with_capacity(words.len());
        let mut count = 0_u32;
        for word in &words {
            before.push(count);
            count += word.count_ones();
        }
        if count as usize == span {
            let ends = ends.map(|end| end.par_iter().map(|key| (key - first) as u32).collect());
            return Ok((Numbering::Range { first, count: span }, ends));
        }
        let ends = ends.map(|end| end.par_iter().map(|key| rank_of(&words, &before, (key - first) as usize)).collect());
        Ok((Numbering::Bits { first, words, before }, ends))
    })
    .await
}

async fn number_by_sorting(ends: [Vec<i64>; 2], talk: &mut Talk) -> Result<(Numbering, [Vec<u32>; 2])> {
    let (ends, mut keys) = talk
        .run(move || {
            let mut keys = ends.concat();
            keys.par_sort_unstable();
            keys.dedup();
            Ok((ends, keys))
        })
        .await?;
    if talk.ranks() > 1 {
        let letters = talk.tell_all(&[], Buffer::from_vec(keys)).await?;
        keys = talk
            .run(move || {
                let mut all = letters.iter().flat_map(|letter| numbers::<i64>(&letter.bytes)).collect::<Vec<_>>();
                all.par_sort_unstable();
                all.dedup();
                Ok(all)
            })
            .await?;
    }
    if keys.len() >= u32::MAX as usize {
        return Err(too_many(keys.len()));
    }
    talk.run(move || {
        let places = Places::new(&keys);
        let ends = ends.map(|end| end.par_iter().map(|key| places.of(&keys, *key)).collect());
        Ok((Numbering::Integers(keys), ends))
    })
    .await
}

/// Where integers stand in a sorted list, by hash: a few steps where a search takes twenty.
struct Places {
    shift: u32,
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl Places {
    fn new(keys: &[i64]) -> Self {
        let size = (2 * keys.len()).next_power_of_two().max(2);
        let mut places = Self { shift: 64 - size.trailing_zeros(), slots: vec![EMPTY; size] };
        for (place, &key) in keys.iter().enumerate() {
            let mut slot = places.slot(key);
            while places.slots[slot] != EMPTY {
                slot = (slot + 1) % size;
            }
            places.slots[slot] = place as u32;
        }
        places
    }

    fn slot(&self, key: i64) -> usize {
        (mixed(key as u64) >> self.shift) as usize
    }

    /// Of a key that is in the list.
    fn of(&self, keys: &[i64], key: i64) -> u32 {
        let mut slot = self.slot(key);
        loop {
            let place = self.slots[slot];
            if place == EMPTY || keys[place as usize] == key {
                return place;
            }
            slot = (slot + 1) % self.slots.len();
        }
    }
}

fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

// ---- texts ----

/// Eight bytes at a time; the texts of one graph are nobody's attack on another's.
#[derive(Default)]
struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = mixed(self.0.rotate_left(5) ^ u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
        self.0 = mixed(self.0.rotate_left(5) ^ rest);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

async fn number_texts(ends: [Vec<StringViewArray>; 2], talk: &mut Talk) -> Result<(Numbering, [Vec<u32>; 2])> {
    // Each text of this rank once, in the order in which they came; and the ends as places in it.
    let (own, mut codes) = talk
        .run(move || {
            let mut known: HashMap<&str, u32, BuildHasherDefault<TextHasher>> = HashMap::default();
            let codes = ends.each_ref().map(|end| {
                let texts = end.iter().flat_map(|part| part.iter().flatten());
                let coded = texts.map(|text| {
                    let next = known.len() as u32;
                    *known.entry(text).or_insert(next)
                });
                coded.collect::<Vec<_>>()
            });
            let mut texts = vec![""; known.len()];
            known.iter().for_each(|(text, code)| texts[*code as usize] = text);
            Ok((StringViewArray::from_iter_values(texts), codes))
        })
        .await?;
    let letters = if talk.ranks() > 1 { talk.tell_all(&[], packed(&own)).await? } else { Vec::new() };
    talk.run(move || {
        let mut all = own.iter().flatten().collect::<Vec<_>>();
        for letter in &letters {
            unpacked(&letter.bytes, &mut all)?;
        }
        all.par_sort_unstable();
        all.dedup();
        if all.len() >= u32::MAX as usize {
            return Err(too_many(all.len()));
        }
        let keys = StringViewArray::from_iter_values(all);
        let owned = (0..own.len()).into_par_iter();
        let places = owned.map(|code| place_of(&keys, own.value(code)).map_or(EMPTY, |place| place as u32));
        let places = places.collect::<Vec<_>>();
        codes.iter_mut().flatten().for_each(|code| *code = places[*code as usize]);
        Ok((Numbering::Texts(keys), codes))
    })
    .await
}

/// Texts as bytes: the length of each in four bytes, then its bytes.
fn packed(texts: &StringViewArray) -> Buffer {
    let mut bytes = Vec::new();
    for text in texts.iter().flatten() {
        bytes.extend_from_slice(&(text.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    Buffer::from_vec(bytes)
}

fn unpacked<'a>(mut bytes: &'a [u8], out: &mut Vec<&'a str>) -> Result<()> {
    let cut_short = || Error::internal("names of vertices that are cut short");
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize).ok_or_else(cut_short)?;
        out.push(std::str::from_utf8(text).map_err(|_| cut_short())?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(()) } else { Err(cut_short()) }
}
