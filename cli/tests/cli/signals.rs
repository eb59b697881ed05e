//! Ctrl-C and SIGTERM: the work ends, nothing is left behind, and the exit code is 2.

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Folder, Ran, bireme};

/// Never ends by itself within a test.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 3000000) AS a(x) \
                       CROSS JOIN generate_series(1, 3000000) AS b(y) WHERE (x * y) % 7 = 3";

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits for the end, and kills what does not end.
fn ended(mut child: Child, within: Duration) -> Ran {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > within {
            child.kill().unwrap();
            panic!("still running {within:?} after the signal: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn the_first_signal_ends_the_work() {
    for (name, ranks) in [("-INT", "1"), ("-TERM", "3")] {
        let folder = Folder::new();
        let temp = folder.path("");
        let child = bireme(&["sql", "-c", ENDLESS, "--temp-dir", &temp, "--ranks", ranks]).spawn().unwrap();
        thread::sleep(Duration::from_millis(1500));
        signal(&child, name);
        ended(child, Duration::from_secs(20)).fails(2, &["cancelled"]);
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
}

#[test]
fn what_spills_is_wiped_away() {
    let folder = Folder::new();
    let temp = folder.path("");
    let query = "SELECT x FROM generate_series(1, 2000000000) AS t(x) ORDER BY x DESC";
    let child = bireme(&["sql", "-c", query, "--format", "none", "--temp-dir", &temp, "--memory-limit", "96MiB"])
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(2500));
    signal(&child, "-INT");
    ended(child, Duration::from_secs(20)).fails(2, &["cancelled"]);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn generate_leaves_no_file() {
    let folder = Folder::new();
    let child = bireme(&["generate", "tpch", "--scale", "50", "--out", &folder.path("out")]).spawn().unwrap();
    thread::sleep(Duration::from_millis(2500));
    signal(&child, "-INT");
    ended(child, Duration::from_secs(20)).fails(2, &["cancelled"]);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn a_shell_that_waits_for_input_ends_too() {
    let mut child = bireme(&["sql"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let open = child.stdin.take();
    thread::sleep(Duration::from_millis(1000));
    signal(&child, "-TERM");
    ended(child, Duration::from_secs(10)).fails(2, &["cancelled"]);
    drop(open);
}

#[test]
fn an_echo_of_a_signal_is_no_second_one() {
    let folder = Folder::new();
    let temp = folder.path("");
    let child = bireme(&["sql", "-c", ENDLESS, "--temp-dir", &temp]).spawn().unwrap();
    thread::sleep(Duration::from_millis(1000));
    // As `timeout` does it: to the process, and again to its group.
    signal(&child, "-INT");
    signal(&child, "-INT");
    ended(child, Duration::from_secs(20)).fails(2, &["cancelled"]);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}
