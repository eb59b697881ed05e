//! The thread that waits for the end of other processes.
//!
//! Linux gives a descriptor of a process that becomes readable when it ends (`pidfd_open(2)`, since 5.3), so the thread
//! sleeps until something happens. Where there are no such descriptors it looks five times a second.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use super::Shared;
use crate::error::Result;
use crate::process::ProcessId;

/// Milliseconds between two looks at processes without a descriptor.
const LOOK: i32 = 200;

/// A process that has not ended.
struct Watched {
    rank: usize,
    process: ProcessId,
    descriptor: Option<OwnedFd>,
}

/// Starts the thread, which ends when what is returned is dropped; `None` if there is nobody to watch.
pub(super) fn start(peers: &Arc<Shared>) -> Result<Option<UnixStream>> {
    let near = peers.others().filter(|(_, card)| card.process.is_near());
    let watch = |(rank, card): (usize, &super::Card)| Watched {
        rank,
        process: card.process,
        descriptor: descriptor_of(card.process.number()),
    };
    let watched = near.map(watch).collect::<Vec<_>>();
    if watched.is_empty() {
        return Ok(None);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let peers = Arc::clone(peers);
    thread::Builder::new().name("bireme-peers".into()).spawn(move || run(&peers, watched, &theirs))?;
    Ok(Some(ours))
}

fn run(peers: &Shared, mut watched: Vec<Watched>, end: &UnixStream) {
    // Also at first: a process may have ended, and its number may be in other hands, before it was opened.
    let mut ended = vec![false; watched.len()];
    loop {
        let looked = watched.iter().zip(&ended).map(|(one, ended)| *ended || one.process.is_gone() == Some(true));
        let gone = looked.collect::<Vec<_>>();
        let mut place = 0;
        watched.retain(|one| {
            let gone = gone[place];
            place += 1;
            if gone {
                peers.gone(one.rank);
            }
            !gone
        });
        if watched.is_empty() {
            return;
        }
        let descriptors = watched.iter().map(|one| one.descriptor.as_ref().map(|descriptor| descriptor.as_raw_fd()));
        let descriptors = descriptors.chain([Some(end.as_raw_fd())]).collect::<Vec<_>>();
        ended = wait(&descriptors);
        if ended.pop() == Some(true) {
            return;
        }
    }
}

/// Waits until one of the descriptors is readable or closed; says which are. Where one is missing it does not wait long.
fn wait(descriptors: &[Option<RawFd>]) -> Vec<bool> {
    let timeout = if descriptors.contains(&None) { LOOK } else { -1 };
    // The kernel passes over negative descriptors.
    let entry =
        |descriptor: &Option<RawFd>| libc::pollfd { fd: descriptor.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
    let mut entries = descriptors.iter().map(entry).collect::<Vec<_>>();
    // SAFETY: the pointer and the length are those of `entries`, which the kernel writes to before the call returns; the
    // caller keeps the descriptors open.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
    // Interrupted or failed: nothing is known.
    entries.iter().map(|entry| ready > 0 && entry.revents != 0).collect()
}

#[cfg(target_os = "linux")]
fn descriptor_of(number: u32) -> Option<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    let number = libc::pid_t::try_from(number).ok()?;
    // SAFETY: takes two integers; returns a new descriptor or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
    let descriptor = RawFd::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0)?;
    // SAFETY: the kernel has just made it, so it is open and nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(not(target_os = "linux"))]
fn descriptor_of(_number: u32) -> Option<OwnedFd> {
    None
}
