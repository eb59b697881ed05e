//! How a frame is cut into messages, whose counts MPI holds in 32 bits.
//!
//! ```text
//!   envelope   kind | header length | buffers | inline limit | chunk | length of each buffer | header | pad
//!              | each buffer of at most `inline limit` bytes, each padded to 64
//!   chunks     every other buffer in turn, in pieces of `chunk` bytes
//! ```
//!
//! A small frame is an envelope with everything inline. The receiver slices the inline buffers out of the envelope,
//! whose memory is aligned, and lets the chunks of each large buffer arrive in the memory that becomes the buffer.

use arrow::buffer::{Buffer, MutableBuffer};

use super::MpiOptions;
use crate::comm::Frame;
use crate::error::{Error, Result};

const ALIGNMENT: usize = 64;
const FIXED: usize = 5 * 8;

/// In a frame that is too large to go inline as a whole, buffers up to so many bytes still do, if they are not too
/// many.
const SMALL_BUFFER: usize = 16 << 10;
const SMALL_BUFFERS: usize = 4 << 20;

/// What an envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Frame = 0,
    /// Nothing, but the rank lives.
    Heartbeat = 1,
    /// The rank sends no more frames.
    Bye = 2,
}

/// An envelope that arrived.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) header: Vec<u8>,
    /// How the sender cuts the buffers that are not inline.
    pub(super) chunk: usize,
    pub(super) buffers: Vec<Payload>,
}

/// A buffer of a frame.
#[derive(Debug)]
pub(super) enum Payload {
    /// It came with the envelope.
    Inline(Buffer),
    /// So many bytes follow in chunks.
    Follows(usize),
}

/// An envelope without a frame.
pub(super) fn sign(kind: Kind) -> Buffer {
    let mut bytes = MutableBuffer::with_capacity(FIXED);
    [kind as u64, 0, 0, 0, 1].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.into()
}

/// The messages of a frame: its envelope, and the chunks that follow it.
pub(super) fn pack(frame: Frame, options: &MpiOptions) -> (Buffer, Vec<Buffer>) {
    let limit = inline_limit(&frame, options);
    let inline = |buffer: &&Buffer| buffer.len() <= limit;
    let padded: usize =
        frame.buffers.iter().filter(inline).map(|buffer| buffer.len().next_multiple_of(ALIGNMENT)).sum();
    let start = (FIXED + 8 * frame.buffers.len() + frame.header.len()).next_multiple_of(ALIGNMENT);
    let mut envelope = MutableBuffer::with_capacity(start + padded);
    let counts = [Kind::Frame as usize, frame.header.len(), frame.buffers.len(), limit, options.chunk];
    for length in counts.into_iter().chain(frame.buffers.iter().map(Buffer::len)) {
        envelope.extend_from_slice(&(length as u64).to_le_bytes());
    }
    envelope.extend_from_slice(&frame.header);
    let mut chunks = Vec::new();
    for buffer in frame.buffers {
        if buffer.len() <= limit {
            envelope.resize(envelope.len().next_multiple_of(ALIGNMENT), 0);
            envelope.extend_from_slice(&buffer);
        } else {
            let starts = (0..buffer.len()).step_by(options.chunk);
            chunks.extend(starts.map(|start| buffer.slice_with_length(start, options.chunk.min(buffer.len() - start))));
        }
    }
    (envelope.into(), chunks)
}

/// Up to which length buffers travel in the envelope.
fn inline_limit(frame: &Frame, options: &MpiOptions) -> usize {
    if frame.len() <= options.inline {
        return options.inline;
    }
    let small = SMALL_BUFFER.min(options.inline);
    let sum: usize = frame.buffers.iter().map(Buffer::len).filter(|&length| length <= small).sum();
    if sum <= SMALL_BUFFERS { small } else { 0 }
}

/// Reads an envelope; `bytes` is aligned as all memory of arrow.
///
/// # Errors
/// It is damaged.
pub(super) fn unpack(bytes: &Buffer) -> Result<Envelope> {
    let damaged = || Error::internal("a message from another rank is damaged; do all ranks run the same build?");
    let word = |place: usize| -> Option<usize> {
        let bytes = bytes.get(place * 8..)?.first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let read = || -> Option<Envelope> {
        let kind =
            [Kind::Frame, Kind::Heartbeat, Kind::Bye].into_iter().find(|&kind| Some(kind as usize) == word(0))?;
        let (header, count, limit, chunk) = (word(1)?, word(2)?, word(3)?, word(4)?);
        let start = FIXED.checked_add(count.checked_mul(8)?)?;
        let end = start.checked_add(header)?;
        let header = bytes.get(start..end)?.to_vec();
        let mut at = end;
        let mut buffers = Vec::with_capacity(count);
        for place in 0..count {
            let length = word(5 + place)?;
            if length > limit {
                buffers.push(Payload::Follows(length));
                continue;
            }
            at = at.next_multiple_of(ALIGNMENT);
            let end = at.checked_add(length).filter(|&end| end <= bytes.len())?;
            buffers.push(Payload::Inline(bytes.slice_with_length(at, length)));
            at = end;
        }
        (chunk > 0).then_some(Envelope { kind, header, chunk, buffers })
    };
    read().ok_or_else(damaged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    fn check(lengths: &[usize], options: &MpiOptions, follows: usize, chunks: usize) {
        let buffers = lengths.iter().map(|&length| Buffer::from(vec![7_u8; length])).collect::<Vec<_>>();
        let (envelope, pieces) = pack(Frame { header: vec![1, 2, 3], buffers: buffers.clone() }, options);
        let Envelope { kind, header, chunk, buffers: arrived } = unpack(&envelope).unwrap();
        assert_eq!((kind, header, chunk), (Kind::Frame, vec![1, 2, 3], options.chunk));
        assert_eq!(pieces.len(), chunks);
        assert!(pieces.iter().all(|piece| piece.len() <= options.chunk));
        let mut following = 0;
        for (payload, sent) in arrived.iter().zip(&buffers) {
            match payload {
                Payload::Inline(buffer) => assert_eq!(buffer, sent),
                Payload::Follows(length) => {
                    assert_eq!(*length, sent.len());
                    following += 1;
                }
            }
        }
        assert_eq!((following, arrived.len()), (follows, buffers.len()));
        // Cut short anywhere, it is refused.
        for length in [0, 7, FIXED - 1, FIXED + 2, envelope.len() - 1] {
            assert!(unpack(&envelope.slice_with_length(0, length)).is_err() || lengths.is_empty(), "{length}");
        }
    }

    #[test]
    fn frames_survive() {
        let options = MpiOptions { chunk: 100, inline: 300, ..MpiOptions::default() };
        check(&[], &options, 0, 0);
        check(&[1, 0, 63, 65], &options, 0, 0);
        check(&[290], &options, 0, 0);
        check(&[298], &options, 0, 0);
        check(&[301, 5], &options, 1, 4);
        check(&[1000, 299, 1000], &options, 2, 20);
        check(&[70_000, 10], &MpiOptions::default(), 0, 0);
        check(&[400_000, 10, 20_000], &MpiOptions::default(), 2, 2);
        check(&[10_000; 500], &MpiOptions::default(), 500, 500);
    }

    #[test]
    fn signs_survive() {
        for kind in [Kind::Heartbeat, Kind::Bye] {
            assert_eq!(unpack(&sign(kind)).unwrap().kind, kind);
        }
    }
}
