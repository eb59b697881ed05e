//! Copies of values that other ranks own.

use std::ops::Range;

use arrow::buffer::Buffer;
use bireme_engine::error::{Error, Result};
use bireme_engine::feedback::Letter;

use crate::graph::Csr;
use crate::graph::edges::Held;
use crate::graph::talk::{Plain, Talk, numbers};

/// Who has copies of which vertices.
pub(in crate::graph) struct Mirrors {
    own: Range<usize>,
    /// By rank: the vertices of this one that it has copies of, ascending.
    there: Vec<Vec<u32>>,
    /// By rank: its vertices that this one has copies of, ascending.
    here: Vec<Vec<u32>>,
}

/// What came in a round.
pub(in crate::graph) struct Arrived {
    pub letters: Vec<Letter>,
    /// Vertices of other ranks whose values came.
    pub vertices: Vec<u32>,
}

const LIST: u8 = 0;
const BITS: u8 = 1;

impl Mirrors {
    /// Of the vertices that the rows of this rank name. All ranks call it.
    pub async fn meet(held: &Held, rows: &Csr, talk: &mut Talk) -> Result<Self> {
        let mut named = vec![0_u64; held.vertices().div_ceil(64)];
        rows.targets().iter().for_each(|&vertex| named[vertex as usize / 64] |= 1 << (vertex % 64));
        // Cuts are multiples of 64, but for the end.
        let words = |place: usize| match &held.cuts[place..place + 2] {
            // Behind the last vertex, which may be in the middle of a word.
            [first, end] if first == end => 0..0,
            cuts => cuts[0] / 64..cuts[1].div_ceil(64),
        };
        let here = (0..talk.ranks()).map(|place| bits_of(&named[words(place)], held.cuts[place]));
        let here = here.collect::<Vec<_>>();
        let asks = (0..talk.ranks()).map(|place| Buffer::from_slice_ref(&named[words(place)])).collect();
        let letters = talk.round(&[], asks).await?;
        let own = held.own();
        let asked = |letter: &Letter| bits_of(&numbers(&letter.bytes).collect::<Vec<_>>(), own.start);
        let there = letters.iter().map(asked).collect();
        let mut mirrors = Self { own, there, here };
        // What is here needs no copy.
        (mirrors.there[talk.place()], mirrors.here[talk.place()]) = (Vec::new(), Vec::new());
        Ok(mirrors)
    }

    /// Sends the values of own vertices that changed (a flag each) to whoever has copies, and writes what came to `all`, which
    /// has a value for each vertex of the graph; `words` go to all ranks. All ranks call it.
    pub async fn share<V: Plain + AsBytes>(
        &self,
        changed: &[bool],
        all: &mut [V],
        words: &[u64],
        talk: &mut Talk,
    ) -> Result<Arrived> {
        let bytes = self.there.iter().map(|there| self.packed(there, changed, all)).collect();
        let letters = talk.round(words, bytes).await?;
        let mut vertices = Vec::new();
        for (letter, here) in letters.iter().zip(&self.here) {
            unpack(&letter.bytes, here, all, &mut vertices)?;
        }
        Ok(Arrived { letters, vertices })
    }

    /// Which of the copies change, as bits or as a list, whichever is less; then their values.
    fn packed<V: Plain + AsBytes>(&self, there: &[u32], changed: &[bool], all: &[V]) -> Buffer {
        let is_new = |vertex: &u32| changed[*vertex as usize - self.own.start];
        let places = (0_u32..).zip(there).filter(|(_, vertex)| is_new(vertex)).map(|(place, _)| place);
        let places = places.collect::<Vec<_>>();
        if places.is_empty() {
            return Buffer::default();
        }
        let bits = there.len().div_ceil(8);
        let mut bytes = Vec::with_capacity(5 + bits.min(4 * places.len()) + places.len() * size_of::<V>());
        if bits < 4 * places.len() {
            bytes.push(BITS);
            let first = bytes.len();
            bytes.resize(first + bits, 0);
            places.iter().for_each(|&place| bytes[first + place as usize / 8] |= 1 << (place % 8));
        } else {
            bytes.push(LIST);
            bytes.extend_from_slice(&(places.len() as u32).to_ne_bytes());
            places.iter().for_each(|place| bytes.extend_from_slice(&place.to_ne_bytes()));
        }
        places.iter().for_each(|&place| all[there[place as usize] as usize].append_to(&mut bytes));
        Buffer::from_vec(bytes)
    }
}

/// A number's bytes, or none of what has no value.
pub trait AsBytes {
    /// Appends them, native.
    fn append_to(&self, bytes: &mut Vec<u8>);
}

macro_rules! as_bytes {
    ($($number:ty),*) => {
        $(impl AsBytes for $number {
            fn append_to(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_ne_bytes());
            }
        })*
    };
}

as_bytes!(u32, u64, i64, f64);

impl AsBytes for () {
    fn append_to(&self, _: &mut Vec<u8>) {}
}

impl Plain for () {
    fn read(_: &[u8]) -> Self {}
}

fn unpack<V: Plain>(bytes: &[u8], here: &[u32], all: &mut [V], vertices: &mut Vec<u32>) -> Result<()> {
    let Some((form, rest)) = bytes.split_first() else { return Ok(()) };
    let first = vertices.len();
    let values = if *form == BITS {
        let (bits, values) = split(rest, here.len().div_ceil(8))?;
        let set = |place: &usize| bits[place / 8] >> (place % 8) & 1 == 1;
        vertices.extend((0..here.len()).filter(set).map(|place| here[place]));
        values
    } else {
        let (count, rest) = split(rest, 4)?;
        let count = numbers::<u32>(count).next().unwrap_or_default() as usize;
        let (places, values) = split(rest, 4 * count)?;
        for place in numbers::<u32>(places) {
            vertices.push(*here.get(place as usize).ok_or_else(|| Error::internal("a copy that nobody asked for"))?);
        }
        values
    };
    let new = &vertices[first..];
    if values.len() != new.len() * size_of::<V>() {
        return Err(Error::internal(format!("{} bytes for {} values", values.len(), new.len())));
    }
    if size_of::<V>() > 0 {
        new.iter().zip(numbers(values)).for_each(|(vertex, value)| all[*vertex as usize] = value);
    }
    Ok(())
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    bytes.split_at_checked(at).ok_or_else(|| Error::internal("a round's values are cut short"))
}

/// Numbers of the bits that are set, from `first` on.
fn bits_of(words: &[u64], first: usize) -> Vec<u32> {
    let mut set = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        let mut word = word;
        while word != 0 {
            set.push((first + at * 64) as u32 + word.trailing_zeros());
            word &= word - 1;
        }
    }
    set
}

/// For each vertex of the graph, the rows that name it (numbered in the graph), ascending, and where: whom a change concerns.
pub(super) struct Named {
    offsets: Vec<usize>,
    rows: Vec<u32>,
    places: Vec<usize>,
}

impl Named {
    /// Of the rows of a rank's own vertices, which begin at `first`.
    pub fn new(rows: &Csr, first: usize, vertices: usize) -> Self {
        let mut offsets = vec![0; vertices + 1];
        rows.targets().iter().for_each(|&vertex| offsets[vertex as usize + 1] += 1);
        for vertex in 0..vertices {
            offsets[vertex + 1] += offsets[vertex];
        }
        let mut next = offsets.clone();
        let (mut named, mut places) = (vec![0; rows.edges()], vec![0; rows.edges()]);
        for row in 0..rows.vertices() {
            for place in rows.offsets()[row]..rows.offsets()[row + 1] {
                let at = &mut next[rows.targets()[place] as usize];
                (named[*at], places[*at]) = ((first + row) as u32, place);
                *at += 1;
            }
        }
        Self { offsets, rows: named, places }
    }

    /// The rows that name a vertex.
    pub fn by(&self, vertex: u32) -> &[u32] {
        &self.rows[self.offsets[vertex as usize]..self.offsets[vertex as usize + 1]]
    }

    /// At which places of the rows' targets.
    pub fn places(&self, vertex: u32) -> &[usize] {
        &self.places[self.offsets[vertex as usize]..self.offsets[vertex as usize + 1]]
    }
}
