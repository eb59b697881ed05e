//! The `.slt` files, on one rank, on three, and placed at random.

use bireme::{Session, SessionBuilder};
use bireme_tests::slt;

fn check_all(builder: impl Fn() -> SessionBuilder) {
    std::env::set_current_dir(bireme_tests::root()).unwrap();
    let failures = slt::files().into_iter().filter_map(|file| {
        let result = slt::run(&file, || builder().build().unwrap());
        result.err().map(|why| format!("{}: {why}", file.display()))
    });
    let failures = failures.collect::<Vec<_>>();
    assert!(failures.is_empty(), "{} files failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn one_rank() {
    check_all(|| Session::builder().threads(2));
}

#[test]
fn three_local_ranks() {
    check_all(|| Session::builder().threads(3).local_ranks(3));
}

#[test]
fn placed_at_random() {
    check_all(|| Session::builder().threads(6).local_ranks(3).random_mapper(11));
}

#[test]
fn tiny_batches() {
    check_all(|| Session::builder().threads(2).local_ranks(2).batch_rows(3));
}

#[test]
fn there_are_enough_records() {
    let records: usize = slt::files().iter().map(|file| slt::records(file)).sum();
    assert!(records >= 400, "{records} records");
}

/// Where SQL's standard says one thing and DataFusion's front end another, the standard's answers wait in
/// `tests/slt/deviations`. Once a file there holds, it moves to the suite.
#[test]
fn known_deviations_still_deviate() {
    std::env::set_current_dir(bireme_tests::root()).unwrap();
    let held = slt::files_in("tests/slt/deviations").into_iter().filter(|file| {
        let result = slt::run(file, || Session::builder().threads(2).build().unwrap());
        eprintln!("known deviations: {} of {}", if result.is_ok() { "none" } else { "some" }, file.display());
        result.is_ok()
    });
    assert_eq!(held.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "holds now: move it to tests/slt");
}
