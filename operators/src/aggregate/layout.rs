//! How the columns of a key are laid into 64-bit words.
//!
//! ```text
//!   date (32 bits), text number (32), decimal (64), may be NULL:
//!     word 0: |      decimal      |     word 1: |  text  |  date  |     word 2: |            n|
//! ```
//!
//! Widest first, each field into the first word with room for it. A NULL has the bits 0 and a flag, and flags exist
//! only of columns that have had a NULL: two integers of 32 bits are one word as long as nothing is NULL.

/// Bits of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    word: usize,
    shift: u32,
    mask: u64,
}

/// Where a column lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) low: Place,
    /// The upper half of a value of 128 bits.
    pub(super) high: Option<Place>,
    pub(super) null: Option<Place>,
}

/// Where all columns lie.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) words: usize,
    pub(super) fields: Vec<Field>,
}

impl Layout {
    /// Of columns of so many bits each (1 to 64, or 128), of which some may be NULL.
    pub(super) fn new(bits: &[u32], nullable: &[bool]) -> Self {
        let mut used = Vec::<u32>::new();
        let mut place = |bits: u32| {
            let word = used.iter().position(|&used| used + bits <= 64).unwrap_or(used.len());
            if word == used.len() {
                used.push(0);
            }
            let shift = used[word];
            used[word] += bits;
            Place { word, shift, mask: u64::MAX >> (64 - bits) }
        };
        let mut order = (0..bits.len()).collect::<Vec<_>>();
        order.sort_by_key(|&column| std::cmp::Reverse(bits[column]));
        let mut fields = vec![None; bits.len()];
        for column in order {
            let wide = bits[column] == 128;
            let low = place(if wide { 64 } else { bits[column] });
            fields[column] = Some(Field { low, high: wide.then(|| place(64)), null: None });
        }
        let mut fields = fields.into_iter().flatten().collect::<Vec<_>>();
        for (field, _) in fields.iter_mut().zip(nullable).filter(|(_, nullable)| **nullable) {
            field.null = Some(place(1));
        }
        Self { words: used.len().max(1), fields }
    }

    /// Puts bits into a key.
    #[inline(always)]
    pub(super) fn put(key: &mut [u64], place: Place, bits: u64) {
        key[place.word] |= (bits & place.mask) << place.shift;
    }

    /// Takes bits from a key.
    #[inline(always)]
    pub(super) fn get(key: &[u64], place: Place) -> u64 {
        key[place.word] >> place.shift & place.mask
    }
}

impl Place {
    /// Puts the bits of all rows into keys of `words` words.
    pub(super) fn put_all(self, keys: &mut [u64], words: usize, bits: impl Iterator<Item = u64>) {
        if words == 1 {
            for (key, bits) in keys.iter_mut().zip(bits) {
                *key |= (bits & self.mask) << self.shift;
            }
            return;
        }
        for (key, bits) in keys.chunks_exact_mut(words).zip(bits) {
            key[self.word] |= (bits & self.mask) << self.shift;
        }
    }
}
