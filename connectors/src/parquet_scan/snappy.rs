//! Snappy, for pages.
//!
//! A compressed block is its length and then elements, each with a tag byte in front: literals, and copies of what was
//! written `offset` bytes before.
//!
//! ```text
//!  tag  nnnnnn00            n + 1 bytes of literals (from 60 on, the length follows in 1 to 4 bytes)
//!  tag  ooonnn01 oooooooo   n + 4 bytes from an 11-bit offset
//!  tag  nnnnnn10 o o        n + 1 bytes from a 16-bit offset
//!  tag  nnnnnn11 o o o o    n + 1 bytes from a 32-bit offset
//! ```
//!
//! Pages are mostly numbers of eight bytes, of which the low bytes differ and the high ones are zero. They become an
//! endless row of *a few literals, then a copy with offset 8*. What limits a decoder there is not the copying but the
//! chain tag → length → next tag, a dozen cycles an element. So after such a pair it is tried whether the next pair
//! has the same tags: then all lengths are known before anything is loaded, and the processor runs ahead.
//!
//! ```text
//!  08 a b c 05 08 │ 08 d e f 05 08 │ 08 g h i 05 08 │ …      tags 08 (3 literals) and 05 08 (5 bytes, offset 8)
//! ```
//!
//! Copies are whole vectors that may write past their end: the output has [`SLACK`] bytes more than the block.

use super::buffers::SLACK;
use super::damage::{Damage, Decoded};

/// Bytes that the fast loop may read beyond an element's tag.
const AHEAD: usize = 80;

fn damaged() -> Damage {
    Damage::new("a Snappy block is damaged")
}

/// Decompresses a block that must give exactly `out.len() - SLACK` bytes; the slack is overwritten.
pub(super) fn decompress(block: &[u8], out: &mut [u8]) -> Decoded<()> {
    let len = out.len().checked_sub(SLACK).ok_or_else(|| Damage::internal("a buffer without slack"))?;
    let (claimed, start) = preamble(block)?;
    if claimed != len {
        return Err(Damage::new("a Snappy block has another length than its page"));
    }
    let (read, written) = fast(block, start, out, len)?;
    careful(block, read, &mut out[..len], written)
}

fn preamble(block: &[u8]) -> Decoded<(usize, usize)> {
    let mut len = 0_u64;
    for (at, &byte) in block.iter().take(5).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((len as usize, at + 1));
        }
    }
    Err(damaged())
}

/// Decodes while at least [`AHEAD`] bytes are left to read; returns how far it came in the block and in the output.
fn fast(block: &[u8], start: usize, out: &mut [u8], len: usize) -> Decoded<(usize, usize)> {
    let (source, target) = (block.as_ptr(), out.as_mut_ptr());
    let Some(last) = block.len().checked_sub(AHEAD) else { return Ok((start, 0)) };
    let (mut read, mut written) = (start, 0_usize);
    // SAFETY of all accesses below: `read <= last` holds where a tag is read, so `AHEAD` bytes from there on are in
    // the block. `written <= len` holds always (each element checks what it adds before it counts), and `out` has
    // SLACK = 64 bytes behind `len`, so up to 64 bytes may be written at `written`. Copies start `offset` bytes
    // before `written`, which is checked to be inside of the output; bytes of `out` are all initialised.
    while read <= last {
        // SAFETY: see above.
        let tag = unsafe { *source.add(read) };
        if tag & 3 == 0 {
            let count = usize::from(tag >> 2) + 1;
            if count > 60 {
                (read, written) = long_literal(block, read, out, len, written)?;
                continue;
            }
            if count > len - written {
                return Err(damaged());
            }
            // SAFETY: a literal of up to 60 bytes and its tag fit AHEAD; 64 bytes fit the slack.
            unsafe {
                let (from, to) = (source.add(read + 1), target.add(written));
                if count <= 16 {
                    copy::<16>(from, to);
                } else {
                    copy::<64>(from, to);
                }
            }
            read += 1 + count;
            written += count;
            // A copy of the short form with offset 8 or more: perhaps the first of many such pairs.
            // SAFETY: at most 61 bytes were consumed, so the tag lies within AHEAD.
            let (next, low) = unsafe { (*source.add(read), *source.add(read + 1)) };
            if next & 3 == 1 && count <= 16 {
                let offset = usize::from(next >> 5) << 8 | usize::from(low);
                let copied = usize::from(next >> 2 & 7) + 4;
                if offset > written || copied > len - written || offset == 0 {
                    return Err(damaged());
                }
                if offset < 8 {
                    continue;
                }
                // SAFETY: the offset is at least 8 and inside; two steps of 8 bytes read what was written before.
                unsafe { copy_short(target, written, offset) };
                read += 2;
                written += copied;
                let (pair, grown) = (count + 3, count + copied);
                // SAFETY: `read <= last` is checked before each look; a pair takes at most 19 bytes.
                unsafe {
                    while read <= last
                        && *source.add(read) == tag
                        && *source.add(read + count + 1) == next
                        && *source.add(read + count + 2) == low
                        && grown <= len - written
                    {
                        copy::<16>(source.add(read + 1), target.add(written));
                        copy_short(target, written + count, offset);
                        read += pair;
                        written += grown;
                    }
                }
            }
            continue;
        }
        // SAFETY: five bytes lie within AHEAD.
        let word = unsafe { source.add(read + 1).cast::<u32>().read_unaligned().to_le() };
        let (copied, offset, taken) = match tag & 3 {
            1 => (usize::from(tag >> 2 & 7) + 4, usize::from(tag >> 5) << 8 | (word & 0xff) as usize, 2),
            2 => (usize::from(tag >> 2) + 1, (word & 0xffff) as usize, 3),
            _ => (usize::from(tag >> 2) + 1, word as usize, 5),
        };
        if offset == 0 || offset > written || copied > len - written {
            return Err(damaged());
        }
        read += taken;
        // SAFETY: the offset is inside; each way writes at most 64 bytes from `written` on, and none reads a byte
        // that it has not written itself or that was not written before.
        unsafe {
            let to = target.add(written);
            if offset >= 8 && copied <= 16 {
                copy_short(target, written, offset);
            } else if offset >= 16 {
                for step in (0..copied).step_by(16) {
                    copy::<16>(to.sub(offset).add(step), to.add(step));
                }
            } else {
                for at in 0..copied {
                    *to.add(at) = *to.sub(offset).add(at);
                }
            }
        }
        written += copied;
    }
    Ok((read, written))
}

/// # Safety
/// `N` bytes can be read at `from` and written at `to`, and the two do not overlap.
#[inline(always)]
unsafe fn copy<const N: usize>(from: *const u8, to: *mut u8) {
    // SAFETY: as the caller says.
    unsafe { std::ptr::copy_nonoverlapping(from, to, N) }
}

/// Writes 16 bytes at `written`, from `offset >= 8` bytes before; the second half may read what the first wrote.
///
/// # Safety
/// `8 <= offset <= written`, and 16 bytes can be written there.
#[inline(always)]
unsafe fn copy_short(target: *mut u8, written: usize, offset: usize) {
    // SAFETY: as the caller says; halves of 8 bytes do not overlap with what lies 8 or more bytes before.
    unsafe {
        let to = target.add(written);
        let from = to.sub(offset);
        copy::<8>(from, to);
        copy::<8>(from.add(8), to.add(8));
    }
}

/// A literal whose length follows its tag; returns the new places.
#[inline(never)]
fn long_literal(block: &[u8], read: usize, out: &mut [u8], len: usize, written: usize) -> Decoded<(usize, usize)> {
    let bytes = usize::from(block[read] >> 2) - 59;
    let mut count = 1_usize;
    for at in 0..bytes {
        count += usize::from(*block.get(read + 1 + at).ok_or_else(damaged)?) << (8 * at);
    }
    let start = read + 1 + bytes;
    let literal = block.get(start..).and_then(|rest| rest.get(..count)).ok_or_else(damaged)?;
    if count > len - written {
        return Err(damaged());
    }
    out[written..written + count].copy_from_slice(literal);
    Ok((start + count, written + count))
}

/// Decodes the end of a block byte by byte.
fn careful(block: &[u8], mut read: usize, out: &mut [u8], mut written: usize) -> Decoded<()> {
    let len = out.len();
    while read < block.len() {
        let tag = block[read];
        let bytes = |from: usize, count: usize| {
            let bytes = block.get(read + from..read + from + count).ok_or_else(damaged)?;
            Ok::<_, Damage>(bytes.iter().rev().fold(0, |word, &byte| word << 8 | usize::from(byte)))
        };
        let (copied, offset, taken) = match tag & 3 {
            0 if tag >> 2 >= 60 => {
                (read, written) = long_literal(block, read, out, len, written)?;
                continue;
            }
            0 => {
                let count = usize::from(tag >> 2) + 1;
                let literal = block.get(read + 1..read + 1 + count).ok_or_else(damaged)?;
                out.get_mut(written..written + count).ok_or_else(damaged)?.copy_from_slice(literal);
                read += 1 + count;
                written += count;
                continue;
            }
            1 => (usize::from(tag >> 2 & 7) + 4, usize::from(tag >> 5) << 8 | bytes(1, 1)?, 2),
            2 => (usize::from(tag >> 2) + 1, bytes(1, 2)?, 3),
            _ => (usize::from(tag >> 2) + 1, bytes(1, 4)?, 5),
        };
        if offset == 0 || offset > written || copied > len - written {
            return Err(damaged());
        }
        for at in written..written + copied {
            out[at] = out[at - offset];
        }
        read += taken;
        written += copied;
    }
    if written == len { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::super::tests::Random;
    use super::*;

    fn there_and_back(plain: &[u8]) -> Vec<u8> {
        let block = snap::raw::Encoder::new().compress_vec(plain).unwrap();
        let mut out = vec![0xaa; plain.len() + SLACK];
        decompress(&block, &mut out).unwrap();
        assert!(out[..plain.len()] == *plain);
        block
    }

    fn samples(random: &mut Random) -> Vec<Vec<u8>> {
        let mut samples = vec![Vec::new(), vec![7], vec![0; 100_000], b"abcabcabcabcabc".repeat(50)];
        for (bits, count) in [(24, 5_000), (12, 3_000), (40, 700), (64, 300), (8, 9_000), (20, 17)] {
            let numbers = (0..count).flat_map(|_| (random.next() >> (64 - bits)).to_le_bytes());
            samples.push(numbers.collect());
        }
        for period in 1..20_u64 {
            samples.push(
                (0..1_000)
                    .map(|at| if random.below(50) == 0 { random.next() as u8 } else { (at % period) as u8 })
                    .collect(),
            );
        }
        samples
    }

    #[test]
    fn blocks_come_back() {
        let mut random = Random(5);
        samples(&mut random).iter().for_each(|plain| {
            there_and_back(plain);
        });
    }

    #[test]
    fn damaged_blocks_agree_with_the_slow_decoder() {
        let mut random = Random(6);
        for plain in samples(&mut random) {
            let block = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
            for _ in 0..200 {
                let mut damaged = block.clone();
                let at = random.below(damaged.len() as u64) as usize;
                damaged[at] = random.next() as u8;
                if random.below(4) == 0 {
                    damaged.truncate(at);
                }
                let mut expected = vec![0; plain.len()];
                let slow = snap::raw::Decoder::new().decompress(&damaged, &mut expected);
                let mut out = vec![0; plain.len() + SLACK];
                match decompress(&damaged, &mut out) {
                    Ok(()) => assert!(slow == Ok(plain.len()) && out[..plain.len()] == expected),
                    Err(_) => assert!(slow.is_err() || slow != Ok(plain.len())),
                }
            }
        }
    }
}
