//! Who may know whom: the arrows between our crates, as docs/ARCHITECTURE.md draws them.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// For each crate, the crates of ours it may depend on.
const ARROWS: [(&str, &[&str]); 9] = [
    ("bireme-derive", &[]),
    ("bireme-engine", &[]),
    ("bireme-operators", &["bireme-engine"]),
    ("bireme-connectors", &["bireme-engine"]),
    ("bireme-planner", &["bireme-engine", "bireme-operators"]),
    ("bireme", &["bireme-derive", "bireme-engine", "bireme-operators", "bireme-connectors", "bireme-planner"]),
    ("bireme-cli", &["bireme"]),
    ("bireme-bench", &["bireme"]),
    ("bireme-tests", &["bireme"]),
];

/// Crates that a crate must not name, whatever the reason.
const BANS: [(&str, &[&str]); 4] = [
    ("bireme-engine", &["datafusion", "tokio", "parquet", "object_store"]),
    ("bireme-operators", &["mpi"]),
    ("bireme-planner", &["mpi", "tokio", "cudarc"]),
    ("bireme-connectors", &["mpi"]),
];

#[test]
fn no_arrow_that_is_not_drawn() {
    let manifest = bireme_tests::root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let allowed = BTreeMap::from(ARROWS);
    let ours = metadata.packages.iter().map(|package| package.name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ours, allowed.keys().map(|name| (*name).to_owned()).collect(), "the drawing names other crates");
    for package in &metadata.packages {
        let name = package.name.as_str();
        let wanted = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        for dependency in wanted {
            let to = dependency.name.as_str();
            assert!(!ours.contains(to) || allowed[name].contains(&to), "{name} must not know {to}");
            let banned = BANS.iter().any(|(from, banned)| *from == name && banned.contains(&to));
            assert!(!banned, "{name} must not know {to}");
        }
    }
}
