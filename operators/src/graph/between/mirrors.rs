//! Values that owners send to copies, and that come back from these.

use std::ops::Range;

use arrow::buffer::Buffer;
use bireme_engine::error::{Error, Result};
use bireme_engine::feedback::Letter;

use crate::graph::Csr;
use crate::graph::edges::Held;
use crate::graph::talk::{Plain, Talk, numbers};

/// Which values of vertices go to which ranks.
pub(in crate::graph) struct Mirrors {
    own: Range<usize>,
    /// By rank: the vertices whose values go there, ascending.
    there: Vec<Vec<u32>>,
    /// By rank: those whose values come from there, ascending.
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
    /// From owners to copies: of the vertices that the rows of this rank name. All ranks call it.
    pub async fn meet(held: &Held, rows: &Csr, talk: &mut Talk) -> Result<Self> {
        let mut mirrors = Self::of(held, rows.targets(), talk).await?;
        // What is here needs no copy.
        (mirrors.there[talk.place()], mirrors.here[talk.place()]) = (Vec::new(), Vec::new());
        Ok(mirrors)
    }

    /// The other way: to the owners of vertices for which this rank has something; it may be one of them. All ranks
    /// call it.
    pub async fn to_owners(held: &Held, vertices: &[u32], talk: &mut Talk) -> Result<Self> {
        let Self { own, there, here } = Self::of(held, vertices, talk).await?;
        Ok(Self { own, there: here, here: there })
    }

    /// From owners to this rank, which names some vertices.
    async fn of(held: &Held, vertices: &[u32], talk: &mut Talk) -> Result<Self> {
        let mut named = vec![0_u64; held.vertices().div_ceil(64)];
        vertices.iter().for_each(|&vertex| named[vertex as usize / 64] |= 1 << (vertex % 64));
        // Cuts are multiples of 64, but for the end.
        let words = |place: usize| match &held.cuts[place..place + 2] {
            // Behind the last vertex, which may be in the middle of a word.
            [first, end] if first == end => 0..0,
            cuts => cuts[0] / 64..cuts[1].div_ceil(64),
        };
        let here = (0..talk.ranks()).map(|place| bits_of(&named[words(place)], held.cuts[place]));
        let here = here.collect::<Vec<_>>();
        let asks = here.iter().enumerate().map(|(place, here)| match here.is_empty() {
            true => Buffer::default(),
            false => Buffer::from_slice_ref(&named[words(place)]),
        });
        let letters = talk.round(&[], asks.collect()).await?;
        let own = held.own();
        let asked = |letter: &Letter| bits_of(&numbers(&letter.bytes).collect::<Vec<_>>(), own.start);
        let there = letters.iter().map(asked).collect();
        Ok(Self { own, there, here })
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
        let bytes = self.packed(|vertex| changed[vertex as usize - self.own.start], |vertex| all[vertex as usize]);
        let letters = talk.round(words, bytes).await?;
        let mut vertices = Vec::new();
        self.unpack(&letters, |_, vertex, value| {
            all[vertex as usize] = value;
            vertices.push(vertex);
        })?;
        Ok(Arrived { letters, vertices })
    }

    /// For each rank, the values that changed of those that go there.
    pub fn packed<V: AsBytes>(&self, changed: impl Fn(u32) -> bool, value: impl Fn(u32) -> V) -> Vec<Buffer> {
        self.there.iter().map(|there| packed(there, &changed, &value)).collect()
    }

    /// Reads what [`Mirrors::packed`] of each rank has for this one: the slot of each value, its vertex, and the value.
    /// Slots are the places of all values that may come, rank by rank.
    pub fn unpack<V: Plain>(&self, letters: &[Letter], mut take: impl FnMut(usize, u32, V)) -> Result<()> {
        let mut first = 0;
        for (letter, here) in letters.iter().zip(&self.here) {
            unpack(&letter.bytes, here.len(), |place, value| take(first + place, here[place], value))?;
            first += here.len();
        }
        Ok(())
    }

    /// The slots of own vertices, as rows; each in the order of the ranks.
    pub fn slots(&self) -> Csr {
        let comes = || self.here.iter().flatten().map(|vertex| *vertex as usize - self.own.start);
        let mut offsets = vec![0; self.own.len() + 1];
        comes().for_each(|row| offsets[row + 1] += 1);
        for row in 0..self.own.len() {
            offsets[row + 1] += offsets[row];
        }
        let mut next = offsets.clone();
        let mut slots = vec![0; offsets[self.own.len()]];
        for (slot, row) in (0..).zip(comes()) {
            slots[next[row]] = slot;
            next[row] += 1;
        }
        Csr::from_parts(offsets, slots)
    }
}

/// Which of some values changed, as bits or as a list, whichever is less; then the values.
fn packed<V: AsBytes>(there: &[u32], changed: impl Fn(u32) -> bool, value: impl Fn(u32) -> V) -> Buffer {
    let places = (0_u32..).zip(there).filter(|(_, vertex)| changed(**vertex)).map(|(place, _)| place);
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
    places.iter().for_each(|&place| value(there[place as usize]).append_to(&mut bytes));
    Buffer::from_vec(bytes)
}

/// Reads it: the place of each value among so many, and the value.
fn unpack<V: Plain>(bytes: &[u8], of: usize, mut take: impl FnMut(usize, V)) -> Result<()> {
    let Some((form, rest)) = bytes.split_first() else { return Ok(()) };
    let (places, values) = if *form == BITS {
        let (bits, values) = split(rest, of.div_ceil(8))?;
        let is_set = |place: &u32| bits[*place as usize / 8] >> (place % 8) & 1 == 1;
        ((0..of as u32).filter(is_set).collect::<Vec<_>>(), values)
    } else {
        let (count, rest) = split(rest, 4)?;
        let count = numbers::<u32>(count).next().unwrap_or_default() as usize;
        let (places, values) = split(rest, 4 * count)?;
        (numbers::<u32>(places).collect(), values)
    };
    if values.len() != places.len() * size_of::<V>() {
        return Err(Error::internal(format!("{} bytes for {} values", values.len(), places.len())));
    }
    if places.iter().any(|place| *place as usize >= of) {
        return Err(Error::internal("a value that nobody asked for"));
    }
    // What has no value has no bytes.
    let mut values = values.chunks_exact(size_of::<V>().max(1));
    for place in places {
        take(place as usize, values.next().map_or_else(V::default, V::read));
    }
    Ok(())
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

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    bytes.split_at_checked(at).ok_or_else(|| Error::internal("a round's values are cut short"))
}

/// Numbers of the bits that are set, from `first` on.
pub(super) fn bits_of(words: &[u64], first: usize) -> Vec<u32> {
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
