//! The hybrid encoding of dictionary codes and levels: runs of one value, and runs of packed values.
//!
//! ```text
//!  header n<<1   │ value              the value n times
//!  header n<<1|1 │ n * width bytes    8n values of `width` bits, packed
//! ```
//!
//! A page's runs are found first, which touches a few bytes a run; then any values can be had in any order: ranges are
//! unpacked vector-wise, single values are picked out of the packed bits. Writers end packed runs after 504 values, so
//! there are about two runs a thousand values.
//!
//! Codes are not trusted: whoever looks something up checks them against [`largest`] first.

use super::buffers::Bytes;
use super::damage::{Damage, Decoded};
use super::unpack::{self, unpack};

#[derive(Clone, Copy, Debug)]
enum Form {
    Repeated(u32),
    /// Packed values that start at this byte.
    Packed(usize),
}

#[derive(Clone, Copy, Debug)]
struct Run {
    /// The place of its first value.
    first: u32,
    form: Form,
}

/// The values of one page in the hybrid encoding.
#[derive(Debug)]
pub(super) struct Runs {
    bytes: Bytes,
    width: u32,
    len: usize,
    runs: Vec<Run>,
}

impl Runs {
    /// Finds the runs of `len` values of `width` bits. `reuse` lends its memory.
    pub(super) fn parse(bytes: Bytes, width: u32, len: usize, reuse: Option<Runs>) -> Decoded<Self> {
        if width > unpack::WIDEST {
            return Err(Damage::new("codes of more than 32 bits"));
        }
        let mut runs = reuse.map(|old| old.runs).unwrap_or_default();
        runs.clear();
        let data = bytes.as_slice();
        let value_bytes = width.div_ceil(8) as usize;
        let (mut at, mut first) = (0, 0_usize);
        while first < len {
            let header = varint(data, &mut at)?;
            let (count, form) = if header & 1 == 1 {
                let count = (header >> 1) as usize * 8;
                let start = at;
                let needed = (count.min(len - first) * width as usize).div_ceil(8);
                if needed > data.len() - at {
                    return Err(Damage::new("packed codes are cut off"));
                }
                // The last run of a page may lack its padding.
                at = (at + count / 8 * width as usize).min(data.len());
                (count, Form::Packed(start))
            } else {
                let Some(value) = data.get(at..at + value_bytes) else {
                    return Err(Damage::new("a run of codes is cut off"));
                };
                at += value_bytes;
                let mut word = [0; 4];
                word[..value_bytes].copy_from_slice(value);
                ((header >> 1) as usize, Form::Repeated(u32::from_le_bytes(word)))
            };
            if count > 0 {
                runs.push(Run { first: first as u32, form });
            }
            first = first.saturating_add(count);
        }
        Ok(Self { bytes, width, len, runs })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn width(&self) -> u32 {
        self.width
    }

    /// The value that all have, if they are one run of it.
    pub(super) fn constant(&self) -> Option<u32> {
        match self.runs.as_slice() {
            [Run { form: Form::Repeated(value), .. }] => Some(*value),
            _ => None,
        }
    }

    /// The index of the run that holds the value at this place.
    fn run_of(&self, place: usize) -> usize {
        self.runs.partition_point(|run| run.first as usize <= place).saturating_sub(1)
    }

    fn end_of(&self, run: usize) -> usize {
        self.runs.get(run + 1).map_or(self.len, |next| next.first as usize)
    }

    /// Calls `packed(data, start, len)` or `repeated(value, len)` for each piece of `start..start + len`, in order:
    /// packed values start at the `start`-th of `data`.
    pub(super) fn pieces(&self, start: usize, len: usize, mut each: impl FnMut(Piece<'_>)) {
        let data = self.bytes.with_slack();
        let (mut at, end) = (start, start + len);
        let mut run = self.run_of(start);
        while at < end && run < self.runs.len() {
            let piece_end = self.end_of(run).min(end);
            let count = piece_end - at;
            match self.runs[run].form {
                Form::Repeated(value) => each(Piece::Repeated { value, count }),
                Form::Packed(byte) => {
                    let skipped = at - self.runs[run].first as usize;
                    each(Piece::Packed { data: &data[byte..], skipped, count });
                }
            }
            at = piece_end;
            run += 1;
        }
    }

    /// The values `start..start + out.len()`.
    pub(super) fn unpack_range(&self, start: usize, out: &mut [u32]) {
        let mut rest = out;
        let len = rest.len();
        self.pieces(start, len, |piece| {
            let all = std::mem::take(&mut rest);
            let (part, behind) = all.split_at_mut(piece.count());
            match piece {
                Piece::Repeated { value, .. } => part.fill(value),
                Piece::Packed { data, skipped, .. } => unpack(data, self.width, skipped, part),
            }
            rest = behind;
        });
    }

    /// Appends the values at some places, which must not descend, to `out`.
    pub(super) fn pick(&self, places: &[u32], out: &mut Vec<u32>) {
        let data = self.bytes.with_slack();
        let Some(&first) = places.first() else { return };
        out.reserve(places.len());
        let mut run = self.run_of(first as usize);
        let mut rest = places;
        while !rest.is_empty() && run < self.runs.len() {
            let end = self.end_of(run) as u32;
            let count = rest.iter().position(|&place| place >= end).unwrap_or(rest.len());
            let (here, behind) = rest.split_at(count);
            match self.runs[run].form {
                Form::Repeated(value) => out.extend(std::iter::repeat_n(value, here.len())),
                Form::Packed(byte) => {
                    pick_packed(&data[byte..], self.width, self.runs[run].first, here, out);
                }
            }
            rest = behind;
            run += 1;
        }
    }
}

/// Values that are unpacked together: a packed run of most writers and a bit more.
const BLOCK: usize = 512;

/// While one of so many values is wanted, unpacking all of them is less work than picking.
const DENSE: usize = 6;

/// Appends the values at some places of a packed run that starts at `start`.
fn pick_packed(data: &[u8], width: u32, start: u32, places: &[u32], out: &mut Vec<u32>) {
    let mut rest = places;
    while let Some(&first) = rest.first() {
        let count = rest.iter().take(BLOCK).position(|&place| (place - first) as usize >= BLOCK);
        let (here, behind) = rest.split_at(count.unwrap_or(rest.len().min(BLOCK)));
        let span = here.last().map_or(0, |&last| (last - first) as usize + 1);
        if here.len() * DENSE < span {
            out.extend(here.iter().map(|&place| unpack::one(data, width, (place - start) as usize)));
        } else {
            let mut block = [0; BLOCK];
            unpack(data, width, (first - start) as usize, &mut block[..span]);
            // The remainder changes nothing; it tells the compiler that the block is large enough.
            out.extend(here.iter().map(|&place| block[(place - first) as usize % BLOCK]));
        }
        rest = behind;
    }
}

/// Part of a run.
pub(super) enum Piece<'a> {
    Repeated { value: u32, count: usize },
    Packed { data: &'a [u8], skipped: usize, count: usize },
}

impl Piece<'_> {
    pub(super) fn count(&self) -> usize {
        match self {
            Piece::Repeated { count, .. } | Piece::Packed { count, .. } => *count,
        }
    }
}

/// The largest of some values, 0 if there are none.
pub(super) fn largest(values: &[u32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(values: &[u32]) -> u32 {
            values.iter().fold(0, |max, &value| max.max(value))
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { wide(values) };
        }
    }
    values.iter().fold(0, |max, &value| max.max(value))
}

/// A varint of at most 32 bits of payload.
fn varint(data: &[u8], at: &mut usize) -> Decoded<u32> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let Some(&byte) = data.get(*at) else {
            return Err(Damage::new("a run of codes is cut off"));
        };
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Damage::new("a run of codes is too long"));
        }
    }
    Err(Damage::new("a run of codes is too long"))
}
