//! MPI, made safe for one thread: raw calls, checked calls, and the types [`World`], [`Sending`] and [`Landing`].
//!
//! - *Raw*: the functions of the crate `mpi` (`mpi::ffi`).
//! - *Checked*: [`check`] turns a return code into an [`Error`]; the communicator is set to return codes instead of
//!   aborting.
//! - *Safe*: a message that is being sent or received owns its memory until MPI says that it is done. If it has to be
//!   dropped before (the job fails), its memory is given up, not freed: MPI may still read or write it. Nothing is
//!   cancelled, and nothing ends the process.
//!
//! [`World`] is not `Send`: it is made, used and finalised on one thread, so `MPI_THREAD_FUNNELED` is enough where we have
//! started MPI. A guest of somebody's MPI needs `MPI_THREAD_MULTIPLE`: the host calls it as well.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr;

use arrow::buffer::{Buffer, MutableBuffer};
use mpi::ffi;
use mpi::raw::AsRaw;

use crate::error::{Error, ErrorKind, Result};

/// The two streams of messages between each pair of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Envelopes: what is sent, with everything that is small.
    Envelope = 1,
    /// Pieces of large buffers, in the order of the envelopes that announce them.
    Chunk = 2,
}

/// A communicator that somebody else made, on its way to the thread that will copy it.
#[derive(Debug)]
pub(super) struct Foreign(ffi::MPI_Comm);

// SAFETY: a handle of MPI is an integer or an address that means the same on every thread; it is used only after MPI has
// said that any thread may call it (see `World::over`).
unsafe impl Send for Foreign {}

impl Foreign {
    pub(super) fn new(communicator: &impl AsRaw<Raw = ffi::MPI_Comm>) -> Self {
        Self(communicator.as_raw())
    }
}

/// A private copy of a communicator, on the one thread that uses it.
#[derive(Debug)]
pub(super) struct World {
    comm: ffi::MPI_Comm,
    pub(super) rank: usize,
    pub(super) size: usize,
    /// Whether we have started MPI, and so end it.
    owns_mpi: bool,
    _stays_on_its_thread: PhantomData<*mut ()>,
}

/// Turns a code of MPI into an error that says what was attempted.
fn check(code: c_int, attempted: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let mut text = [0 as c_char; 8192];
    let mut length = 0;
    // SAFETY: the buffer is longer than MPI_MAX_ERROR_STRING of any MPI, and starts filled with terminators.
    let named = unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr(), &mut length) } == 0;
    // SAFETY: the last byte was never written, so the text ends inside the array.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy();
    Err(Error::peer_lost(format!(
        "{attempted}: MPI says {}",
        if named { text.into_owned() } else { format!("code {code}") }
    )))
}

fn count_of(bytes: usize) -> Result<c_int> {
    c_int::try_from(bytes)
        .map_err(|_| Error::internal(format!("a message of {bytes} bytes is too long for MPI's counts")))
}

impl World {
    /// Initialises MPI on this thread.
    ///
    /// # Errors
    /// MPI runs already, does not start, or cannot live with other threads.
    pub(super) fn init() -> Result<World> {
        Self::start().map_err(|error| match error.kind() {
            // Not a peer that went away: this machine's MPI does not work.
            ErrorKind::PeerLost => Error::resources(error.message()),
            _ => error,
        })
    }

    fn start() -> Result<World> {
        let mut running = 0;
        // SAFETY: may be called at any time; writes one integer.
        check(unsafe { ffi::MPI_Initialized(&mut running) }, "asking for MPI's state")?;
        if running != 0 {
            return Err(Error::user("MPI was initialised by somebody else in this process; Bireme must own it"));
        }
        // SAFETY: a constant that the binding library initialises.
        let wanted = unsafe { ffi::RSMPI_THREAD_FUNNELED };
        let mut granted = 0;
        // SAFETY: MPI was not initialised before; it accepts null in place of the program's arguments.
        let code = unsafe { ffi::MPI_Init_thread(ptr::null_mut(), ptr::null_mut(), wanted, &mut granted) };
        check(code, "starting MPI")?;
        if granted < wanted {
            return Err(Error::unsupported(
                "this MPI grants only MPI_THREAD_SINGLE, but the process has threads; use one built with threads",
            ));
        }
        // SAFETY: constant, set by MPI_Init_thread at the latest.
        Self::copy(unsafe { ffi::RSMPI_COMM_WORLD }, true)
    }

    /// The ranks of a communicator of somebody who has started MPI and will end it.
    ///
    /// # Errors
    /// MPI was not told that several threads will call it, or is not running.
    pub(super) fn over(Foreign(comm): Foreign) -> Result<World> {
        let (mut running, mut ended) = (0, 0);
        // SAFETY: may be called at any time; each writes one integer.
        check(unsafe { ffi::MPI_Initialized(&mut running) }, "asking for MPI's state")?;
        // SAFETY: as above.
        check(unsafe { ffi::MPI_Finalized(&mut ended) }, "asking for MPI's state")?;
        if running == 0 || ended != 0 {
            return Err(Error::user("a session over a communicator needs an MPI that is running"));
        }
        let mut granted = 0;
        // SAFETY: MPI is running; writes one integer.
        check(unsafe { ffi::MPI_Query_thread(&mut granted) }, "asking for MPI's threading")?;
        // SAFETY: a constant that the binding library initialises.
        if granted < unsafe { ffi::RSMPI_THREAD_MULTIPLE } {
            return Err(Error::user(
                "a session has a thread of its own that calls MPI: start MPI with `MPI_THREAD_MULTIPLE` \
                 (`mpi::initialize_with_threading(Threading::Multiple)`)",
            ));
        }
        Self::copy(comm, false)
    }

    fn copy(original: ffi::MPI_Comm, owns_mpi: bool) -> Result<World> {
        // SAFETY: a constant that the binding library initialises.
        let errors_return = unsafe { ffi::RSMPI_ERRORS_RETURN };
        let mut comm = original;
        // SAFETY: MPI is initialised, all ranks do the same; the copy keeps our messages apart from anybody else's.
        check(unsafe { ffi::MPI_Comm_dup(original, &mut comm) }, "copying MPI's communicator")?;
        // SAFETY: `comm` is live, the handler is predefined.
        check(unsafe { ffi::MPI_Comm_set_errhandler(comm, errors_return) }, "setting MPI's error handler")?;
        let (mut rank, mut size) = (0, 0);
        // SAFETY: `comm` is live; each call writes one integer.
        check(unsafe { ffi::MPI_Comm_rank(comm, &mut rank) }, "asking for this rank")?;
        // SAFETY: as above.
        check(unsafe { ffi::MPI_Comm_size(comm, &mut size) }, "asking for the number of ranks")?;
        Ok(World { comm, rank: rank as usize, size: size as usize, owns_mpi, _stays_on_its_thread: PhantomData })
    }

    /// Starts to send `memory`, which must be shorter than 2 GiB.
    pub(super) fn send(&self, to: usize, tag: Tag, memory: Buffer) -> Result<Sending> {
        let count = count_of(memory.len())?;
        let mut request = Request::none();
        // SAFETY: `memory` is immutable and lives until the request is done (`Sending` gives it up rather than free it
        // earlier); its address does not change when the `Buffer` moves.
        let code = unsafe {
            let data = memory.as_ptr().cast::<c_void>();
            ffi::MPI_Isend(data, count, ffi::RSMPI_UINT8_T, to as c_int, tag as c_int, self.comm, &mut request.raw)
        };
        check(code, &format!("sending to rank {to}"))?;
        Ok(Sending { request, memory: Some(memory) })
    }

    /// The sender and length of an envelope that has arrived, if there is one.
    pub(super) fn probe(&self) -> Result<Option<(usize, usize)>> {
        let mut flag = 0;
        // SAFETY: MPI_Status is plain data; any bits will do until MPI writes it.
        let mut status: ffi::MPI_Status = unsafe { mem::zeroed() };
        let tag = Tag::Envelope as c_int;
        // SAFETY: `self.comm` is live; flag and status are written before the call returns.
        let code = unsafe { ffi::MPI_Iprobe(ffi::RSMPI_ANY_SOURCE, tag, self.comm, &mut flag, &mut status) };
        check(code, "looking for messages")?;
        if flag == 0 {
            return Ok(None);
        }
        Ok(Some((status.MPI_SOURCE as usize, received_bytes(&status)?)))
    }

    /// Memory for `length` bytes from a rank, to arrive in messages of `chunk` bytes (the last may be shorter).
    pub(super) fn landing(from: usize, tag: Tag, length: usize, chunk: usize) -> Landing {
        let memory = MutableBuffer::with_capacity(length);
        Landing { memory, from, tag, length, chunk, posted: 0, pending: VecDeque::new() }
    }

    /// Tells MPI where the next messages of a landing go, at most `most` of them; returns how many. MPI fills receives
    /// of one sender and tag in the order in which they are posted.
    pub(super) fn post(&self, landing: &mut Landing, most: usize) -> Result<usize> {
        let (from, tag) = (landing.from, landing.tag);
        for posted in 0..most {
            if landing.is_posted() {
                return Ok(posted);
            }
            let bytes = landing.chunk.min(landing.length - landing.posted);
            let count = count_of(bytes)?;
            let base = landing.memory.as_mut_ptr();
            let mut request = Request::none();
            // SAFETY: the range lies within the capacity of the memory, no two ranges overlap, and `Landing` neither
            // touches nor frees the memory before all requests are done; it stays where it is when `Landing` moves.
            let code = unsafe {
                let data = base.add(landing.posted).cast::<c_void>();
                ffi::MPI_Irecv(
                    data,
                    count,
                    ffi::RSMPI_UINT8_T,
                    from as c_int,
                    tag as c_int,
                    self.comm,
                    &mut request.raw,
                )
            };
            check(code, &format!("receiving from rank {from}"))?;
            landing.pending.push_back((request, bytes));
            landing.posted += bytes;
        }
        Ok(most)
    }

    /// Gives the communicator back, and ends MPI if we have started it. All ranks do; it waits for them.
    pub(super) fn finalize(mut self) -> Result<()> {
        // SAFETY: `self.comm` is live and no request on it is open: the owner drains before.
        check(unsafe { ffi::MPI_Comm_free(&mut self.comm) }, "giving a communicator back")?;
        if !self.owns_mpi {
            return Ok(());
        }
        // SAFETY: same thread as MPI_Init_thread, and `self` is gone afterwards.
        check(unsafe { ffi::MPI_Finalize() }, "ending MPI")
    }

    /// Ends all ranks of the job at once.
    pub(super) fn abort(&self, code: i32) {
        // SAFETY: MPI is initialised; the call does not return on most systems.
        unsafe { ffi::MPI_Abort(self.comm, code) };
    }
}

fn received_bytes(status: &ffi::MPI_Status) -> Result<usize> {
    let mut count = 0;
    // SAFETY: the status was filled by MPI.
    check(unsafe { ffi::MPI_Get_count(status, ffi::RSMPI_UINT8_T, &mut count) }, "asking for a message's length")?;
    usize::try_from(count).map_err(|_| Error::internal(format!("MPI says that a message has {count} bytes")))
}

/// One open operation of MPI.
#[derive(Debug)]
struct Request {
    raw: ffi::MPI_Request,
}

impl Request {
    fn none() -> Self {
        // SAFETY: a constant that the binding library initialises.
        Self { raw: unsafe { ffi::RSMPI_REQUEST_NULL } }
    }

    /// The number of bytes received, once the operation is done. Not to be asked again after that.
    fn done(&mut self) -> Result<Option<usize>> {
        let mut flag = 0;
        // SAFETY: MPI_Status is plain data; any bits will do until MPI writes it.
        let mut status: ffi::MPI_Status = unsafe { mem::zeroed() };
        // SAFETY: the request is open, on the thread that owns MPI (it is not `Send`, as its raw pointer is not).
        check(unsafe { ffi::MPI_Test(&mut self.raw, &mut flag, &mut status) }, "moving a message")?;
        if flag == 0 { Ok(None) } else { received_bytes(&status).map(Some) }
    }
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    request: Request,
    memory: Option<Buffer>,
}

impl Sending {
    /// Whether MPI is done with the memory, which is released then.
    pub(super) fn done(&mut self) -> Result<bool> {
        if self.memory.is_some() {
            let mut flag = 0;
            // SAFETY: the request is open; MPI accepts its own constant instead of a status.
            let code = unsafe { ffi::MPI_Test(&mut self.request.raw, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
            check(code, "sending a message")?;
            if flag != 0 {
                self.memory = None;
            }
        }
        Ok(self.memory.is_none())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // MPI may still read it.
        mem::forget(self.memory.take());
    }
}

/// Memory into which messages are arriving.
#[derive(Debug)]
pub(super) struct Landing {
    memory: MutableBuffer,
    from: usize,
    tag: Tag,
    length: usize,
    chunk: usize,
    /// Bytes for which MPI knows the place.
    posted: usize,
    pending: VecDeque<(Request, usize)>,
}

impl Landing {
    /// Looks which messages have arrived; returns how many. Only the first that has not is asked for: they come in
    /// order.
    pub(super) fn advance(&mut self) -> Result<usize> {
        let mut arrived = 0;
        while let Some((request, expected)) = self.pending.front_mut() {
            match request.done()? {
                None => break,
                Some(bytes) if bytes == *expected => drop(self.pending.pop_front()),
                Some(bytes) => {
                    return Err(Error::internal(format!("a message of {expected} bytes arrived with {bytes}")));
                }
            }
            arrived += 1;
        }
        Ok(arrived)
    }

    /// How many messages MPI is waiting for.
    pub(super) fn open(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_posted(&self) -> bool {
        self.posted >= self.length
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_posted() && self.pending.is_empty()
    }

    /// The bytes; only when complete.
    pub(super) fn into_buffer(mut self) -> Result<Buffer> {
        if !self.is_complete() {
            return Err(Error::internal("a message was used before it had arrived"));
        }
        let mut memory = mem::take(&mut self.memory);
        // SAFETY: messages covering all of `length` bytes were received into the memory: their lengths were checked.
        unsafe { memory.set_len(self.length) };
        Ok(memory.into())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            // MPI may still write it.
            mem::forget(mem::take(&mut self.memory));
        }
    }
}
