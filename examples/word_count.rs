//! How often each word is in some books, the most frequent ones first.
//!
//! ```text
//! mkdir books; echo "to be or not to be" > books/hamlet.txt
//! cargo run --release --example word_count
//! cat counts/*.csv
//! ```
//!
//! ```text
//! _1,_2
//! be,2
//! to,2
//! ```

use bireme::prelude::*;

fn main() -> Result<()> {
    Session::new()?
        .read_text("books/*.txt")?
        .flat_map(|line| line.split_whitespace().map(|w| (w.to_lowercase(), 1u64)))
        .reduce_by_key(|a, b| a + b)
        .sort_by(|(_, n)| std::cmp::Reverse(*n))
        .write_csv("counts")
}
