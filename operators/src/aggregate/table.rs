//! An open-addressing hash table from keys of a few words to group numbers.
//!
//! ```text
//!   one word                            more words
//!   slots: [key|group][  -  ][key|group]   slots: [tag|group][ - ][tag|group]
//!                                          keys:  [w0 w1][w0 w1]…  by group
//! ```
//!
//! A key of one word lies in its slot, so that a hit costs one cache miss; longer ones are told apart by 32 bits of
//! their hash before they are compared. Slots are prefetched a few rows ahead: the misses of a chunk overlap. Groups
//! are numbered in the order of their first rows.

/// No group.
pub(super) const NONE: u32 = u32::MAX;

pub(super) use crate::expr::simd::prefetch;

/// Rows between a prefetch and its use: about a memory latency of work.
const AHEAD: usize = 16;

const FIRST_SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    group: u32,
}

const FREE: Slot = Slot { key: 0, group: NONE };

/// Numbers keys of `words` words each.
pub(super) struct Table {
    words: usize,
    /// The words of all keys, by group.
    keys: Vec<u64>,
    groups: u32,
    /// One word: keys in slots.
    near: Vec<Slot>,
    /// More words: the upper half of the hash and the group; `u64::MAX` is free.
    far: Vec<u64>,
    /// Tests let hashes collide by it.
    hash_mask: u64,
    hashes: Vec<u64>,
}

impl Table {
    pub(super) fn new(words: usize, hash_mask: u64) -> Self {
        Self { words, keys: Vec::new(), groups: 0, near: Vec::new(), far: Vec::new(), hash_mask, hashes: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.groups as usize
    }

    /// The words of all keys, by group.
    pub(super) fn keys(&self) -> &[u64] {
        &self.keys
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * 8 + self.near.capacity() * size_of::<Slot>() + self.far.capacity() * 8
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.words, self.hash_mask);
    }

    /// The groups of many keys, new ones where needed.
    pub(super) fn assign(&mut self, keys: &[u64], groups: &mut Vec<u32>) {
        let rows = keys.len() / self.words;
        groups.clear();
        groups.resize(rows, NONE);
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        if self.words == 1 {
            hashes.extend(keys.iter().map(|&key| hash_word(key) & self.hash_mask));
            self.assign_near(keys, &hashes, groups);
        } else {
            hashes.extend(keys.chunks_exact(self.words).map(|key| hash_words(key) & self.hash_mask));
            self.assign_far(keys, &hashes, groups);
        }
        self.hashes = hashes;
    }

    /// The group of one key.
    pub(super) fn assign_one(&mut self, key: &[u64]) -> u32 {
        if let [word] = *key {
            self.near_one(word, hash_word(word) & self.hash_mask)
        } else {
            self.far_one(key, hash_words(key) & self.hash_mask)
        }
    }

    fn assign_near(&mut self, keys: &[u64], hashes: &[u64], groups: &mut [u32]) {
        let mut row = 0;
        while row < keys.len() {
            row = self.find_near(keys, hashes, groups, row);
            if row < keys.len() {
                groups[row] = self.near_one(keys[row], hashes[row]);
                row += 1;
            }
        }
    }

    /// Finds the groups of rows up to the first that has none; its place.
    fn find_near(&self, keys: &[u64], hashes: &[u64], groups: &mut [u32], start: usize) -> usize {
        let (slots, mask) = (self.near.as_slice(), self.near.len().wrapping_sub(1));
        if slots.is_empty() {
            return start;
        }
        for row in start..keys.len() {
            if let Some(&later) = hashes.get(row + AHEAD) {
                prefetch(slots, later as usize & mask);
            }
            let (key, mut at) = (keys[row], hashes[row] as usize & mask);
            loop {
                // SAFETY: there are `mask + 1` slots.
                let slot = unsafe { slots.get_unchecked(at) };
                if slot.group == NONE {
                    return row;
                }
                if slot.key == key {
                    groups[row] = slot.group;
                    break;
                }
                at = (at + 1) & mask;
            }
        }
        keys.len()
    }

    #[inline]
    fn near_one(&mut self, key: u64, hash: u64) -> u32 {
        let mask = self.near.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(slot) = self.near.get(at) {
            if slot.group == NONE {
                break;
            }
            if slot.key == key {
                return slot.group;
            }
            at = (at + 1) & mask;
        }
        self.insert_near(key, hash)
    }

    #[inline(never)]
    fn insert_near(&mut self, key: u64, hash: u64) -> u32 {
        if (self.len() + 1) * 2 > self.near.len() {
            let slots = (self.near.len() * 2).max(FIRST_SLOTS);
            self.near = vec![FREE; slots];
            for (group, &key) in self.keys.iter().enumerate() {
                put_near(&mut self.near, key, hash_word(key) & self.hash_mask, group as u32);
            }
        }
        let group = self.groups;
        put_near(&mut self.near, key, hash, group);
        self.keys.push(key);
        self.groups += 1;
        group
    }

    fn assign_far(&mut self, keys: &[u64], hashes: &[u64], groups: &mut [u32]) {
        for (row, (group, key)) in groups.iter_mut().zip(keys.chunks_exact(self.words)).enumerate() {
            if let Some(&later) = hashes.get(row + AHEAD) {
                prefetch(&self.far, later as usize & self.far.len().wrapping_sub(1));
            }
            *group = self.far_one(key, hashes[row]);
        }
    }

    #[inline]
    fn far_one(&mut self, key: &[u64], hash: u64) -> u32 {
        let mask = self.far.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(&slot) = self.far.get(at) {
            if slot == u64::MAX {
                break;
            }
            if slot >> 32 == hash >> 32 {
                let group = slot as u32;
                let start = group as usize * self.words;
                if self.keys[start..start + self.words] == *key {
                    return group;
                }
            }
            at = (at + 1) & mask;
        }
        self.insert_far(key, hash)
    }

    #[inline(never)]
    fn insert_far(&mut self, key: &[u64], hash: u64) -> u32 {
        if (self.len() + 1) * 2 > self.far.len() {
            let slots = (self.far.len() * 2).max(FIRST_SLOTS);
            self.far = vec![u64::MAX; slots];
            for (group, key) in self.keys.chunks_exact(self.words).enumerate() {
                put_far(&mut self.far, hash_words(key) & self.hash_mask, group as u32);
            }
        }
        let group = self.groups;
        put_far(&mut self.far, hash, group);
        self.keys.extend_from_slice(key);
        self.groups += 1;
        group
    }
}

fn put_near(slots: &mut [Slot], key: u64, hash: u64, group: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].group != NONE {
        at = (at + 1) & mask;
    }
    slots[at] = Slot { key, group };
}

fn put_far(slots: &mut [u64], hash: u64, group: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at] != u64::MAX {
        at = (at + 1) & mask;
    }
    slots[at] = hash >> 32 << 32 | u64::from(group);
}

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;
const K2: u64 = 0xa3b1_9535_4a39_b70d;

/// A folded multiply: both halves of the product count.
#[inline(always)]
pub(super) fn hash_word(word: u64) -> u64 {
    fold(word ^ K0, K1)
}

#[inline(always)]
fn hash_words(words: &[u64]) -> u64 {
    words.iter().fold(K2, |hash, &word| fold(hash ^ word, K1) ^ hash.rotate_left(23))
}

#[inline(always)]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
