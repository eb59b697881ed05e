//! DELTA_BINARY_PACKED: integers as differences, packed in miniblocks with a width each.
//!
//! ```text
//!  header: values a block │ miniblocks a block │ values │ first value
//!  block:  smallest delta │ a width a miniblock │ packed (delta - smallest) …
//! ```

use super::damage::{Damage, Decoded};

/// Values that one page may claim; more cannot be honest, and would only claim memory.
const MOST_VALUES: usize = 1 << 27;

/// Decodes all values; returns them and how many bytes they took. Sums wrap, as writers let them.
pub(super) fn decode(data: &[u8], most: usize) -> Decoded<(Vec<i64>, usize)> {
    let mut reader = Reader { data, at: 0 };
    let block = reader.varint()? as usize;
    let miniblocks = reader.varint()? as usize;
    let count = reader.varint()? as usize;
    let first = reader.zigzag()?;
    if count > most.min(MOST_VALUES) {
        return Err(Damage::new("a page of differences has more values than rows"));
    }
    if miniblocks == 0 || block > 1 << 20 || miniblocks > block || !block.is_multiple_of(miniblocks * 8) {
        return Err(Damage::new("a page of differences has blocks that cannot be"));
    }
    let each = block / miniblocks;
    let mut values = Vec::with_capacity(count);
    if count > 0 {
        values.push(first);
    }
    let mut last = first;
    while values.len() < count {
        let smallest = reader.zigzag()?;
        let widths = reader.take(miniblocks)?;
        for &width in widths {
            let wanted = each.min(count - values.len());
            if wanted == 0 {
                break;
            }
            if width > 64 {
                return Err(Damage::new("differences of more than 64 bits"));
            }
            let bytes = each / 8 * usize::from(width);
            // The last miniblock may lack its padding.
            let packed = reader.take_up_to(bytes);
            if packed.len() < (wanted * usize::from(width)).div_ceil(8) {
                return Err(Damage::new("differences are cut off"));
            }
            for at in 0..wanted {
                let delta = wide(packed, u32::from(width), at) as i64;
                last = last.wrapping_add(smallest).wrapping_add(delta);
                values.push(last);
            }
        }
    }
    Ok((values, reader.at))
}

/// The packed value of up to 64 bits at a place.
fn wide(data: &[u8], width: u32, at: usize) -> u64 {
    if width == 0 {
        return 0;
    }
    let bit = at * width as usize;
    let mut bytes = [0; 16];
    let source = &data[bit / 8..];
    match source.first_chunk::<16>() {
        Some(whole) => bytes = *whole,
        None => bytes[..source.len()].copy_from_slice(source),
    }
    let word = (u128::from_le_bytes(bytes) >> (bit % 8)) as u64;
    word & (u64::MAX >> (64 - width))
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Decoded<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::new("an integer is too long"))
    }

    fn zigzag(&mut self) -> Decoded<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, bytes: usize) -> Decoded<&'a [u8]> {
        let taken = self.take_up_to(bytes);
        if taken.len() < bytes { Err(Damage::new("differences are cut off")) } else { Ok(taken) }
    }

    fn take_up_to(&mut self, bytes: usize) -> &'a [u8] {
        let end = self.at.saturating_add(bytes).min(self.data.len());
        let taken = &self.data[self.at..end];
        self.at = end;
        taken
    }
}
