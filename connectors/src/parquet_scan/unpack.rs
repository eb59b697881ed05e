//! Integers of a few bits each, packed without gaps (least significant bit first), as `u32`.
//!
//! With AVX-512 VBMI, sixteen values take four instructions: one shuffle brings the four bytes that hold a value into
//! its lane, a shift by lane and a mask do the rest. The shuffle depends only on the width, since sixteen values
//! always start at a whole byte:
//!
//! ```text
//!  width 12   bytes  b0 b1 b2 | b3 b4 b5 | …         value 0 in b0 b1, value 1 in b1 b2 (shift 4), value 2 in b3 b4
//!  shuffle    lanes [b0 b1 b2 b3] [b1 b2 b3 b4] [b3 b4 b5 b6] …    shift [0] [4] [0] …   mask 0xfff
//! ```
//!
//! Without it, a value is one unaligned load of eight bytes, a shift and a mask; loops over a constant width unroll.

/// The widest values that are unpacked.
pub(super) const WIDEST: u32 = 32;

/// Unpacks the values `start..start + out.len()` of `width` bits; what lies behind the end of `data` reads as zeros.
pub(super) fn unpack(data: &[u8], width: u32, start: usize, out: &mut [u32]) {
    debug_assert!(width <= WIDEST);
    if width == 0 {
        out.fill(0);
        return;
    }
    // Up to a value that starts at a whole byte.
    let head = (start.next_multiple_of(8) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    for (at, value) in first.iter_mut().enumerate() {
        *value = one(data, width, start + at);
    }
    let at = (start + head) / 8 * width as usize;
    let data = data.get(at..).unwrap_or(&[]);
    let done = aligned(data, width, rest);
    for (at, value) in rest.iter_mut().enumerate().skip(done) {
        *value = one(data, width, at);
    }
}

/// The value at a place.
#[inline]
pub(super) fn one(data: &[u8], width: u32, at: usize) -> u32 {
    let bit = at * width as usize;
    let mask = (1_u64 << width) - 1;
    let word = match data.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => {
            let tail = data.get(bit / 8..).unwrap_or(&[]);
            let mut bytes = [0; 8];
            bytes[..tail.len()].copy_from_slice(tail);
            u64::from_le_bytes(bytes)
        }
    };
    ((word >> (bit % 8)) & mask) as u32
}

/// Unpacks as many values as whole loads allow, from the start of `data`; returns how many.
fn aligned(data: &[u8], width: u32, out: &mut [u32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if width <= vbmi::WIDEST && vbmi::available() {
        // SAFETY: the features were just detected.
        return unsafe { vbmi::unpack(data, width, out) };
    }
    by_width(data, width, out)
}

/// Whether the vector kernels can run here.
#[cfg(target_arch = "x86_64")]
pub(super) use vbmi::available as vbmi_available;

macro_rules! widths {
    ($data:expr, $width:expr, $out:expr, $($constant:literal)*) => {
        match $width {
            $($constant => eights::<$constant>($data, $out),)*
            _ => 0,
        }
    };
}

fn by_width(data: &[u8], width: u32, out: &mut [u32]) -> usize {
    widths!(data, width, out, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// Eight values of a constant width at a time.
fn eights<const WIDTH: usize>(data: &[u8], out: &mut [u32]) -> usize {
    // The last of eight values starts at most WIDTH - 1 bytes in, and eight bytes are loaded there.
    let whole = if data.len() < WIDTH + 8 { 0 } else { (data.len() - 8) / WIDTH };
    let mask = (1_u64 << WIDTH) - 1;
    let eights = out.as_chunks_mut::<8>().0;
    let count = eights.len().min(whole);
    for (at, values) in eights[..count].iter_mut().enumerate() {
        let base = &data[at * WIDTH..][..WIDTH + 8];
        for (place, value) in values.iter_mut().enumerate() {
            let bit = place * WIDTH;
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&base[bit / 8..][..8]);
            *value = ((u64::from_le_bytes(bytes) >> (bit % 8)) & mask) as u32;
        }
    }
    count * 8
}

#[cfg(target_arch = "x86_64")]
mod vbmi {
    use std::arch::x86_64::*;
    use std::sync::OnceLock;

    /// Four bytes hold a value of 25 bits at any shift.
    pub(super) const WIDEST: u32 = 25;

    struct Shuffle {
        bytes: [u8; 64],
        shifts: [u32; 16],
    }

    static SHUFFLES: [Shuffle; WIDEST as usize + 1] = shuffles();

    const fn shuffles() -> [Shuffle; WIDEST as usize + 1] {
        let mut all = [const { Shuffle { bytes: [0; 64], shifts: [0; 16] } }; WIDEST as usize + 1];
        let mut width = 1;
        while width <= WIDEST as usize {
            let mut lane = 0;
            while lane < 16 {
                let bit = lane * width;
                let mut byte = 0;
                while byte < 4 {
                    all[width].bytes[lane * 4 + byte] = (bit / 8 + byte) as u8;
                    byte += 1;
                }
                all[width].shifts[lane] = (bit % 8) as u32;
                lane += 1;
            }
            width += 1;
        }
        all
    }

    /// Whether this machine has what the kernels need.
    pub(crate) fn available() -> bool {
        static FOUND: OnceLock<bool> = OnceLock::new();
        *FOUND.get_or_init(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vbmi")
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn unpack(data: &[u8], width: u32, out: &mut [u32]) -> usize {
        let width = width as usize;
        let whole = if data.len() < 64 { 0 } else { (data.len() - 64) / (2 * width) + 1 };
        let sixteens = out.as_chunks_mut::<16>().0;
        let count = sixteens.len().min(whole);
        let shuffle = &SHUFFLES[width];
        // SAFETY: the arrays are 64 bytes long.
        let (places, shifts) = unsafe {
            (_mm512_loadu_si512(shuffle.bytes.as_ptr().cast()), _mm512_loadu_si512(shuffle.shifts.as_ptr().cast()))
        };
        let mask = _mm512_set1_epi32(((1_u64 << width) - 1) as i32);
        for (at, values) in sixteens[..count].iter_mut().enumerate() {
            // SAFETY: at < whole, so 64 bytes can be read at 2 * width * at; sixteen values are written to sixteen.
            unsafe {
                let bytes = _mm512_loadu_si512(data.as_ptr().add(2 * width * at).cast());
                let lanes = _mm512_permutexvar_epi8(places, bytes);
                let unpacked = _mm512_and_si512(_mm512_srlv_epi32(lanes, shifts), mask);
                _mm512_storeu_si512(values.as_mut_ptr().cast(), unpacked);
            }
        }
        count * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(values: &[u32], width: u32) -> Vec<u8> {
        let mut bytes = vec![0; (values.len() * width as usize).div_ceil(8)];
        for (at, value) in values.iter().enumerate() {
            for bit in 0..width as usize {
                let place = at * width as usize + bit;
                bytes[place / 8] |= ((value >> bit & 1) as u8) << (place % 8);
            }
        }
        bytes
    }

    #[test]
    fn every_width_start_and_length_comes_back() {
        for width in 0..=WIDEST {
            let mask = ((1_u64 << width) - 1) as u32;
            let values: Vec<u32> = (0..300_u32).map(|at| at.wrapping_mul(0x9e37_79b9) & mask).collect();
            let data = packed(&values, width);
            for (start, end) in [(0, 300), (1, 299), (8, 200), (13, 14), (16, 16), (250, 300)] {
                let mut out = vec![0; end - start];
                unpack(&data, width, start, &mut out);
                assert_eq!(out, values[start..end], "width {width}, {start}..{end}");
                let mut plain = vec![0; 300];
                let done = by_width(&data, width, &mut plain);
                assert_eq!(plain[..done], values[..done], "width {width}");
            }
        }
    }
}
