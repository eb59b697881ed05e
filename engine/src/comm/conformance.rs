//! Checks that a back end keeps the laws of [`Communicator`]; every back end runs them, with odd numbers of ranks too.
//!
//! All ranks call [`suite`] with a fresh communicator; it attaches its own handler, and closes. Frames carry a number
//! that counts up for each (sender, receiver, thread), and slices of one pattern that every rank can make by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::buffer::{Buffer, MutableBuffer};
use parking_lot::{Condvar, Mutex};

use super::{Communicator, Frame};

const PATIENCE: Duration = Duration::from_secs(60);
const THREADS: usize = 4;

/// What a frame is for; the first byte of its header.
const DATA: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;
const ECHO: u8 = 3;

type Outcome<T = ()> = Result<T, String>;

/// Runs all checks on one rank; the other ranks must run them at the same time.
///
/// # Errors
/// A law is broken; the message says which, and on which rank.
pub fn suite(comm: Arc<dyn Communicator>) -> Result<(), String> {
    let (rank, size) = (comm.rank(), comm.size());
    let check = Check { pattern: pattern(6 << 20), inbox: Arc::new(Inbox::new(size)), comm };
    type Phase = fn(&Check) -> Outcome;
    let phases: [(&str, Phase); 8] = [
        ("identity", Check::knows_itself),
        ("frames before attach", Check::early_frames_wait),
        ("tiny frames", Check::tiny_frames_keep_order),
        ("sizes", Check::all_sizes_arrive_whole),
        ("many threads", Check::threads_do_not_mix),
        ("flood", Check::everyone_sends_before_anyone_reads),
        ("sending handlers", Check::handlers_may_send),
        ("close", Check::close_loses_nothing),
    ];
    for (name, phase) in phases {
        tracing::debug!(rank, phase = name, "conformance");
        phase(&check).map_err(|error| format!("rank {rank} of {size}, {name}: {error}"))?;
    }
    Ok(())
}

struct Check {
    comm: Arc<dyn Communicator>,
    inbox: Arc<Inbox>,
    pattern: Buffer,
}

impl Check {
    fn knows_itself(&self) -> Outcome {
        ensure(self.comm.rank() < self.comm.size(), || "its number is not below the number of ranks".into())?;
        ensure(!self.comm.backend().is_empty(), || "no name".into())?;
        ensure(self.comm.send(self.comm.size(), Frame::default()).is_err(), || {
            "sent to a rank that is not there".into()
        })
    }

    fn early_frames_wait(&self) -> Outcome {
        for number in 0..100 {
            self.to_all(|_| self.frame(number, 0, &[number as usize]))?;
        }
        thread::sleep(Duration::from_millis(30 * self.comm.rank() as u64));
        self.attach();
        self.hear_all(100, |number| vec![number as usize])
    }

    fn attach(&self) {
        let (inbox, rank) = (Arc::clone(&self.inbox), self.comm.rank());
        // Weak, as a handler that holds its communicator would keep it for ever.
        let comm = Arc::downgrade(&self.comm);
        self.comm.attach(Arc::new(move |from, frame: Frame| {
            let kind = frame.header.first().copied();
            if kind == Some(PING)
                && let Some(comm) = comm.upgrade()
            {
                // To oneself first: the echo must come later, but before anything sent here afterwards.
                let echo = Frame { header: vec![ECHO, from as u8], buffers: vec![] };
                let pong = Frame { header: vec![PONG], buffers: frame.buffers };
                if let Err(error) = comm.send(rank, echo).and_then(|()| comm.send(from, pong)) {
                    inbox.fail(format!("sending from the handler: {error}"));
                }
                return;
            }
            inbox.put(from, frame);
        }));
    }

    fn tiny_frames_keep_order(&self) -> Outcome {
        // No buffers, empty buffers, one byte.
        let lengths = |number: u64| vec![(number % 2) as usize; (number % 4) as usize];
        for number in 0..2000 {
            self.to_all(|_| self.frame(number, 0, &lengths(number)))?;
        }
        self.hear_all(2000, lengths)
    }

    fn all_sizes_arrive_whole(&self) -> Outcome {
        let kib = 1 << 10;
        let sizes: Vec<Vec<usize>> = vec![
            vec![0],
            vec![1, 0, 63, 64, 65],
            vec![256 * kib - 100],
            vec![256 * kib],
            vec![256 * kib + 1],
            vec![7, 300 * kib, 0, 5, 1000 * kib + 3],
            vec![17; 300],
            vec![64 * kib; 9],
            vec![5000 * kib + 1],
            vec![1],
        ];
        for (number, lengths) in sizes.iter().enumerate() {
            self.to_all(|_| self.frame(number as u64, 0, lengths))?;
        }
        self.hear_all(sizes.len() as u64, |number| sizes[number as usize].clone())?;
        // A long header, next to nothing, and nothing at all.
        self.to_all(|_| Frame {
            header: vec![DATA; 300 * kib],
            buffers: vec![self.pattern.slice_with_length(64, 10)],
        })?;
        self.to_all(|_| Frame::default())?;
        for from in 0..self.comm.size() {
            let long = self.inbox.take(from)?;
            ensure(long.header.len() == 300 * kib && long.buffers.len() == 1, || {
                format!("long header: {}", long.len())
            })?;
            let empty = self.inbox.take(from)?;
            ensure(empty.is_empty() && empty.buffers.is_empty(), || format!("empty frame: {} bytes", empty.len()))?;
        }
        Ok(())
    }

    fn threads_do_not_mix(&self) -> Outcome {
        const FRAMES: u64 = 100;
        let lengths = |number: u64| match number % 10 {
            9 => vec![300 << 10, 1],
            other => vec![other as usize * 100],
        };
        let sent = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        (0..FRAMES).try_for_each(|number| self.to_all(|_| self.frame(number, thread, &lengths(number))))
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err("a thread panicked".into())))
                .collect::<Vec<_>>()
        });
        sent.into_iter().collect::<Outcome>()?;
        for from in 0..self.comm.size() {
            let mut next = [0; THREADS];
            for _ in 0..FRAMES * THREADS as u64 {
                let frame = self.inbox.take(from)?;
                let thread = usize::from(frame.header.get(1).copied().unwrap_or_default()) % THREADS;
                self.verify(from, &frame, next[thread], thread, &lengths(next[thread]))?;
                next[thread] += 1;
            }
        }
        Ok(())
    }

    fn everyone_sends_before_anyone_reads(&self) -> Outcome {
        let size = (4 << 20) + 13;
        let started = Instant::now();
        for number in 0..8 {
            self.to_all(|_| self.frame(number, 0, &[size, 100]))?;
        }
        ensure(started.elapsed() < PATIENCE / 2, || "send waited for the receivers".into())?;
        self.hear_all(8, |_| vec![size, 100])?;
        let silence = (0..self.comm.size()).map(|rank| self.comm.silence(rank)).max().unwrap_or_default();
        ensure(silence < PATIENCE, || format!("silent for {silence:?} although frames arrive"))
    }

    fn handlers_may_send(&self) -> Outcome {
        let size = self.comm.size();
        for _ in 0..50 {
            self.to_all(|_| Frame { header: vec![PING], buffers: vec![self.pattern.slice_with_length(0, 400 << 10)] })?;
        }
        // From every rank 50 answers; from oneself also one echo for each ping that came here.
        for from in 0..size {
            let echoes = if from == self.comm.rank() { 50 * size } else { 0 };
            let (mut pongs, mut heard) = (0, 0);
            while pongs + heard < 50 + echoes {
                let frame = self.inbox.take(from)?;
                match frame.header.first() {
                    Some(&PONG) => {
                        ensure(frame.buffers[0] == self.pattern.slice_with_length(0, 400 << 10), || "damaged".into())?;
                        pongs += 1;
                    }
                    Some(&ECHO) => heard += 1,
                    other => return Err(format!("from rank {from}: frame kind {other:?} between the answers")),
                }
            }
            ensure(pongs == 50, || format!("from rank {from}: {pongs} answers to 50 questions"))?;
        }
        Ok(())
    }

    fn close_loses_nothing(&self) -> Outcome {
        // Ranks close at different times, with frames still on their way.
        let lengths = |number: u64| vec![(number as usize % 3) * (200 << 10), 3];
        thread::sleep(Duration::from_millis(20 * (self.comm.rank() as u64 % 3)));
        for number in 0..60 {
            self.to_all(|_| self.frame(number, 0, &lengths(number)))?;
        }
        self.comm.close(PATIENCE).map_err(|error| error.to_string())?;
        ensure(self.comm.send(0, Frame::default()).is_err(), || "sent after close".into())?;
        self.hear_all(60, lengths)?;
        ensure(self.inbox.is_empty(), || "more frames arrived than were sent".into())
    }

    /// A frame of the given lengths, its bytes cut from the pattern at places that depend on the numbers.
    fn frame(&self, number: u64, thread: usize, lengths: &[usize]) -> Frame {
        let mut header = vec![DATA, thread as u8];
        header.extend(number.to_le_bytes());
        let cut = |(place, &length): (usize, &usize)| self.cut(number, place, length);
        Frame { header, buffers: lengths.iter().enumerate().map(cut).collect() }
    }

    fn cut(&self, number: u64, place: usize, length: usize) -> Buffer {
        self.pattern.slice_with_length(64 * ((number as usize * 31 + place * 7) % 1000), length)
    }

    fn verify(&self, from: usize, frame: &Frame, number: u64, thread: usize, lengths: &[usize]) -> Outcome {
        let expected = self.frame(number, thread, lengths);
        let story = |what: &str| format!("from rank {from}, frame {number}: {what}");
        ensure(frame.header == expected.header, || {
            story(&format!("header {:?} instead of {:?}", &frame.header[..frame.header.len().min(20)], expected.header))
        })?;
        ensure(frame.buffers.len() == lengths.len(), || story(&format!("{} buffers", frame.buffers.len())))?;
        for (place, (arrived, sent)) in frame.buffers.iter().zip(&expected.buffers).enumerate() {
            ensure(arrived.len() == sent.len(), || story(&format!("buffer {place} has {} bytes", arrived.len())))?;
            ensure(arrived == sent, || story(&format!("buffer {place} of {} bytes is damaged", sent.len())))?;
            let aligned = arrived.is_empty() || (arrived.as_ptr() as usize).is_multiple_of(64);
            ensure(aligned, || story(&format!("buffer {place} is not aligned")))?;
        }
        Ok(())
    }

    /// Sends a frame to every rank, starting behind oneself so that no rank is everyone's first.
    fn to_all(&self, frame: impl Fn(usize) -> Frame) -> Outcome {
        let (rank, size) = (self.comm.rank(), self.comm.size());
        (1..=size)
            .map(|step| (rank + step) % size)
            .try_for_each(|to| self.comm.send(to, frame(to)).map_err(|error| format!("to rank {to}: {error}")))
    }

    fn hear_all(&self, count: u64, lengths: impl Fn(u64) -> Vec<usize>) -> Outcome {
        for from in 0..self.comm.size() {
            for number in 0..count {
                let frame = self.inbox.take(from)?;
                self.verify(from, &frame, number, 0, &lengths(number))?;
            }
        }
        Ok(())
    }
}

/// What has arrived, by sender.
struct Inbox {
    frames: Mutex<Vec<VecDeque<Frame>>>,
    failure: Mutex<Option<String>>,
    arrived: Condvar,
}

impl Inbox {
    fn new(ranks: usize) -> Self {
        Self { frames: Mutex::new(vec![VecDeque::new(); ranks]), failure: Mutex::default(), arrived: Condvar::new() }
    }

    fn put(&self, from: usize, frame: Frame) {
        self.frames.lock()[from].push_back(frame);
        self.arrived.notify_all();
    }

    fn fail(&self, story: String) {
        self.failure.lock().get_or_insert(story);
    }

    fn take(&self, from: usize) -> Outcome<Frame> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = self.frames.lock();
        loop {
            if let Some(frame) = frames[from].pop_front() {
                return Ok(frame);
            }
            if let Some(story) = self.failure.lock().clone() {
                return Err(story);
            }
            if self.arrived.wait_until(&mut frames, deadline).timed_out() {
                let waiting: Vec<usize> = frames.iter().map(VecDeque::len).collect();
                return Err(format!(
                    "nothing more from rank {from} for {PATIENCE:?}; waiting from each rank: {waiting:?}"
                ));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.frames.lock().iter().all(VecDeque::is_empty)
    }
}

fn ensure(good: bool, story: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(story()) }
}

/// Bytes that do not repeat within a few KiB (a linear congruence, high byte).
fn pattern(length: usize) -> Buffer {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut bytes = MutableBuffer::from_len_zeroed(length);
    bytes.iter_mut().for_each(|byte| *byte = next());
    bytes.into()
}
