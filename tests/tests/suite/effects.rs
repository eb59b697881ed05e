//! What happens once for the whole job, and what must not be left behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bireme::prelude::*;
use bireme::{Fault, Session};
use bireme_tests::tpch;

fn three_ranks() -> Session {
    Session::builder().threads(3).local_ranks(3).build().unwrap()
}

/// Everything below a directory, as relative paths.
fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn every_byte_is_read_once_by_all_ranks_together() {
    let data = tpch::data(0.1);
    let read_by = |session: Session| {
        let lineitem = session.read_parquet(data.join("lineitem.parquet").to_str().unwrap()).unwrap();
        // All columns, so that all data pages are read.
        let rows = lineitem.collect_local().unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
        (rows, session.bytes_read().values().sum::<u64>())
    };
    let (rows, alone) = read_by(Session::builder().threads(1).build().unwrap());
    let (rows_of_three, three) = read_by(three_ranks());
    // Read by one rank alone it would be read once as well: the file must be cut, a lane to each rank.
    let plan = three_ranks().read_parquet(data.join("lineitem.parquet").to_str().unwrap()).unwrap().explain().unwrap();
    assert!(plan.contains("file_groups={3 groups") && plan.contains("lanes on ranks 0 1 2"), "{plan}");
    assert_eq!(rows, 600_572);
    assert_eq!(rows, rows_of_three);
    let size = fs::metadata(data.join("lineitem.parquet")).unwrap().len();
    assert!(alone <= size + size / 50, "{alone} bytes read of {size}");
    // Each rank reads the footer; the data pages are read once.
    assert!(three <= alone + alone / 20, "three ranks read {three} bytes, one reads {alone}");
    assert!(three >= size * 9 / 10, "{three} bytes read of {size}: the counter misses some");
}

#[test]
fn csv_bytes_are_read_once_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("n.csv");
    let text = (0..400_000).map(|n| format!("{n},row number {n}\n")).collect::<String>();
    fs::write(&path, format!("n,t\n{text}")).unwrap();
    let session = three_ranks();
    session.sql("SET datafusion.optimizer.repartition_file_min_size = 1024").unwrap();
    let frame = session.read_csv(path.to_str().unwrap()).unwrap();
    let total = frame
        .group_by([])
        .unwrap()
        .agg([sum(col("n")).alias("s"), count_star().alias("c")])
        .unwrap()
        .collect()
        .unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&total).unwrap().to_string();
    assert!(text.contains("79999800000") && text.contains("400000"), "{text}");
    let (size, read) = (fs::metadata(&path).unwrap().len(), session.bytes_read().values().sum::<u64>());
    // Lanes look a little past their range for the end of a line.
    assert!(read <= size + size / 10, "{read} bytes read of {size}");
}

#[test]
fn copy_publishes_once_and_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let session = three_ranks();
    let target = directory.path().join("out");
    let copy = format!(
        "COPY (SELECT value AS n, value % 3 AS p FROM generate_series(1, 999)) TO '{}' STORED AS PARQUET PARTITIONED BY (p)",
        target.display()
    );
    session.sql(&copy).unwrap();
    let files = tree(&target);
    assert!(files.iter().all(|file| !file.contains(".bireme")), "{files:?}");
    assert!(files.iter().any(|file| file.starts_with("p=0/")), "{files:?}");
    assert_eq!(session.read_parquet(target.to_str().unwrap()).unwrap().count().unwrap(), 999);
    let again = session.sql(&copy).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::User, "{again}");
    assert!(again.to_string().contains("exists"), "{again}");
    assert_eq!(session.read_parquet(target.to_str().unwrap()).unwrap().count().unwrap(), 999);
}

#[test]
fn a_failing_copy_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let session = three_ranks();
    let target = directory.path().join("out.parquet");
    let copy = format!("COPY (SELECT 1 / (value - 500) AS n FROM generate_series(1, 999)) TO '{}'", target.display());
    let error = session.sql(&copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert_eq!(tree(directory.path()), Vec::<String>::new());
}

#[test]
fn planning_that_fails_on_one_rank_ends_all_with_its_cause() {
    let builder = Session::builder().threads(3).local_ranks(3).timeout(Duration::from_secs(30));
    let session = builder.fault(Fault::Planning(1)).build().unwrap();
    let error = session.sql("SELECT 1").unwrap().collect().unwrap_err();
    assert!(error.to_string().contains("rank 1"), "{error}");
    // The session is still whole: the next action meets the same cause, not a hang.
    assert!(session.sql("SELECT 2").unwrap().collect().is_err());
}

#[test]
fn a_rank_that_fails_while_others_run_ends_all_with_the_first_cause() {
    let session = three_ranks();
    let query = "SELECT SUM(1 / (a.value - 77777)) FROM generate_series(1, 100000) a JOIN generate_series(1, 100000) b \
                 ON a.value = b.value";
    let error = session.sql(query).unwrap().collect().unwrap_err();
    assert!(error.to_string().to_lowercase().contains("divi"), "{error}");
    assert_eq!(session.sql("SELECT 1").unwrap().count().unwrap(), 1, "the session goes on");
}

#[test]
fn cancelling_ends_a_query_soon_and_leaves_no_files() {
    let scratch = tempfile::tempdir().unwrap();
    let session = Session::builder().threads(2).local_ranks(2).temp_dir(scratch.path()).build().unwrap();
    let canceller = session.canceller();
    let stop = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        canceller.cancel("stopped by the test");
    });
    let endless = "SELECT COUNT(*) FROM generate_series(1, 10000000) a CROSS JOIN generate_series(1, 1000000) b";
    let started = std::time::Instant::now();
    let error = session.sql(endless).unwrap().collect().unwrap_err();
    stop.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(session);
    assert_eq!(tree(scratch.path()), Vec::<String>::new());
}

#[test]
fn ranks_that_see_different_files_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "a\n1\n").unwrap();
    let session = three_ranks();
    let frame = session.read_csv(path.to_str().unwrap()).unwrap();
    fs::write(&path, "a\n1\n22\n").unwrap();
    let error = frame.collect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains("a.csv"), "{error}");
}
