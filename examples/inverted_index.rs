//! Which documents each word is in: a MapReduce classic. Prints the same on any number of ranks:
//!
//! ```text
//! cargo run --release --example inverted_index
//! mpirun -n 2 target/release/examples/inverted_index
//! ```
//!
//! ```text
//! galley: 1 3
//! oar: 1 2 3
//! rower: 2
//! ship: 2 3
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::BTreeSet;

use bireme::prelude::*;

fn main() -> Result<()> {
    let session = Session::new()?;
    let documents = [(1_u64, "galley oar oar"), (2, "ship oar rower"), (3, "ship galley oar")];
    let index = session
        .dataset(documents)
        .flat_map(|(id, text)| text.split(' ').map(move |word| (word.to_owned(), id)))
        .combine_by_key(|id| vec![id], with, |ids, others| others.into_iter().fold(ids, with))
        .map_values(|ids| ids.into_iter().collect::<BTreeSet<_>>())
        .map_values(|ids| ids.into_iter().collect::<Vec<_>>())
        .sort_by(|(word, _)| word.clone())
        .collect()?;
    if session.is_root() {
        for (word, ids) in index {
            let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>();
            println!("{word}: {}", ids.join(" "));
        }
    }
    Ok(())
}

/// With one more, if it is not there already: lists stay short before they are sent.
fn with(mut ids: Vec<u64>, id: u64) -> Vec<u64> {
    if !ids.contains(&id) {
        ids.push(id);
    }
    ids
}
