#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::comm::Communicator as _;
use crate::comm::local::LocalCommunicator;
use crate::error::ErrorKind;
use crate::stage::StageId;

/// Rank 0 of two; rank 1 is said to be the process of `child`.
fn pair(child: &Child) -> (Peers, Cancel, Activity, Receiver<()>, Vec<Arc<LocalCommunicator>>) {
    let group = LocalCommunicator::group(2);
    let switchboard = Switchboard::new(group[0].clone());
    let process = ProcessId::parse(&process_text(child.id())).unwrap();
    let other = Card { process, host: "n1".into(), scratch: "/tmp/of-rank-1".into() };
    let (cancel, activity) = (Cancel::new(), Activity::default());
    let cards = vec![Card::own(Path::new("/tmp/mine")), other];
    let peers = Peers::new(0, cards, Some(switchboard), cancel.clone(), activity.clone());
    let (tell, told) = channel();
    peers.on_loss(move || {
        let _ = tell.send(());
    });
    peers.shared.state.lock().watch = watch::start(&peers.shared).unwrap();
    (peers, cancel, activity, told, group)
}

fn process_text(number: u32) -> String {
    let own = ProcessId::own().to_string();
    let table = own.split('_').next().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
    format!("{table}_{number:x}_{:x}", started.unwrap_or(0))
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

#[test]
fn a_killed_process_is_a_lost_rank() {
    let mut child = sleeper();
    let (peers, cancel, activity, told, _group) = pair(&child);
    activity.runs(3);
    activity.starts(StageId(4));
    assert_eq!((peers.look(), peers.lost()), (None, None));
    child.kill().unwrap();
    told.recv_timeout(Duration::from_secs(5)).unwrap();
    let lost = peers.lost().unwrap();
    let number = child.id();
    let words = format!("rank 1 (process {number} on host n1) was lost; rank 0 was in action 3, stage s4");
    assert_eq!((lost.kind(), lost.message()), (ErrorKind::PeerLost, words.as_str()));
    assert_eq!(cancel.cause(), Some(lost));
    assert_eq!(peers.scratch_of_lost(), [PathBuf::from("/tmp/of-rank-1")]);
    assert!(loss_was_said());
    child.wait().unwrap();
}

#[test]
fn who_was_told_to_leave_is_not_lost() {
    let mut child = sleeper();
    let (peers, cancel, _, told, _group) = pair(&child);
    peers.stand_down();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!((peers.look(), cancel.cause()), (None, None));
}

#[test]
fn a_watch_that_ended_sees_nothing() {
    let mut child = sleeper();
    let (peers, _, _, told, _group) = pair(&child);
    peers.end();
    std::thread::sleep(Duration::from_millis(50));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!(peers.look(), None);
}

/// A launcher that sees the first rank end with an error tells the others to end: they may be closing still.
#[test]
fn who_has_said_goodbye_to_a_closing_rank_is_not_lost() {
    let mut child = sleeper();
    let (peers, cancel, _, told, group) = pair(&child);
    peers.close();
    group[1].close(Duration::ZERO).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((peers.look(), cancel.cause()), (None, None));
    assert!(told.recv_timeout(GOODBYE).is_err());
}

#[test]
fn who_ends_without_a_goodbye_is_lost_to_a_closing_rank() {
    let mut child = sleeper();
    let (peers, _, _, told, _group) = pair(&child);
    peers.close();
    child.kill().unwrap();
    child.wait().unwrap();
    let lost = peers.look().unwrap();
    assert!(lost.message().ends_with("was lost; rank 0 was closing its session"), "{lost}");
    told.recv_timeout(GOODBYE).unwrap();
}
