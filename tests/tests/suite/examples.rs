//! The programs of examples/, run as users run them.

use std::path::PathBuf;
use std::process::Command;

use bireme_tests::tpch;

/// Where cargo puts the examples it builds together with this test.
fn example(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let path = target.unwrap_or_else(|| bireme_tests::root().join("target")).join("release/examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo test --release --workspace`, which builds examples",
        path.display()
    );
    path
}

#[test]
fn tables() {
    let scratch = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tpch::data(0.1), scratch.path().join("tpch")).unwrap();
    let ended = Command::new(example("tables")).current_dir(scratch.path()).output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.contains("| l_returnflag | l_linestatus | quantity   | discount | orders |"), "{text}");
    assert!(text.contains("| R            | F            | 3785523.00 |"), "{text}");
}

/// What the programs with graphs show, as their texts say.
#[test]
fn graphs() {
    for (name, rows) in [
        ("influencers", &["| Ada  | 0.348 |", "| Edda | 0.316 |", "| Cleo | 0.183 |"][..]),
        ("fraud_ring", &["| account 1 | 3        | 1750  |", "| account 4 | 2        | 900   |"][..]),
    ] {
        let ended = Command::new(example(name)).output().unwrap();
        let text = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        let places = rows.iter().map(|row| text.find(row)).collect::<Option<Vec<_>>>();
        assert!(places.is_some_and(|places| places.is_sorted()), "{name}: {text}");
    }
}

/// What the programs with arrays say, on one rank; scripts/test runs them under mpirun as well.
#[test]
fn arrays() {
    for (name, said) in [
        (
            "conjugate_gradient",
            "plain: residual below 1e-8\npreconditioned: residual below 1e-8\nthe solutions agree\n",
        ),
        ("jacobi", "the largest error after 50 iterations is below 1e-10\n"),
        ("black_scholes", "put-call parity holds for 1000000 options\n"),
        ("reacting_flow", "mass is conserved, and fuel is burnt\n"),
        ("friends", "three ways, one answer\n"),
    ] {
        let ended = Command::new(example(name)).output().unwrap();
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(String::from_utf8_lossy(&ended.stdout), said, "{name}");
    }
}

/// Programs over typed datasets, on one rank and on three.
#[test]
fn datasets() {
    for ranks in ["1", "3"] {
        for (name, said) in [
            ("inverted_index", "galley: 1 3\noar: 1 2 3\nrower: 2\nship: 2 3\n"),
            ("sessions", "2000 visits, 298 visitors, 910 sessions\n"),
        ] {
            let ended = Command::new(example(name)).env("BIREME_LOCAL_RANKS", ranks).output().unwrap();
            assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
            assert_eq!(String::from_utf8_lossy(&ended.stdout), said, "{name} on {ranks} ranks");
        }
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("books")).unwrap();
        std::fs::write(scratch.path().join("books/a.txt"), "to be or not\nTo be\n").unwrap();
        std::fs::write(scratch.path().join("books/b.txt"), "be a galley").unwrap();
        let mut program = Command::new(example("word_count"));
        let ended = program.current_dir(scratch.path()).env("BIREME_LOCAL_RANKS", ranks).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let files = std::fs::read_dir(scratch.path().join("counts")).unwrap().map(|file| file.unwrap().path());
        let mut files = files.collect::<Vec<_>>();
        files.sort();
        let lines = files.iter().flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        });
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(lines[..2], ["be,3", "to,2"], "{lines:?}");
        assert_eq!(lines.len(), 6, "{lines:?}");
    }
}
