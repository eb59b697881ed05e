//! The matrices.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use bireme::prelude::{DataFrame, Error, Result, Session};

/// Two square matrices as tables of coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub name: &'static str,
    size: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Every cell.
    Full,
    /// So many cells, anywhere.
    Uniform(u64),
    /// Each cell with this chance.
    Chance(f64),
    /// So many cells, most of them in few rows and columns: the density of index `i` falls as the square root of `i` grows.
    PowerLaw(u64),
}

impl Case {
    pub(super) const QUICK: Case = Case { name: "dense-200", size: 200, kind: Kind::Full };

    pub(super) const ALL: [Case; 6] = [
        Case { name: "dense-1000", size: 1000, kind: Kind::Full },
        Case { name: "dense-2000", size: 2000, kind: Kind::Full },
        Case { name: "uniform-10000-1%", size: 10_000, kind: Kind::Uniform(1_000_000) },
        Case { name: "uniform-100000-0.01%", size: 100_000, kind: Kind::Uniform(1_000_000) },
        Case { name: "powerlaw-10000-1%", size: 10_000, kind: Kind::PowerLaw(1_000_000) },
        Case { name: "powerlaw-100000-0.01%", size: 100_000, kind: Kind::PowerLaw(1_000_000) },
    ];

    /// Each cell is an entry with the chance `share`, and all are if that is 1.
    pub(super) fn uniform(name: &'static str, size: u64, share: f64) -> Self {
        Case { name, size, kind: if share < 1.0 { Kind::Chance(share) } else { Kind::Full } }
    }

    /// Writes both tables as Parquet files; how many rows they have.
    pub(super) fn write(&self, folder: &Path) -> Result<[usize; 2]> {
        std::fs::create_dir_all(folder)?;
        let session = Session::builder().threads(1).build()?;
        let mut rows = [0; 2];
        for (place, (name, columns)) in [("a", ["i", "k"]), ("b", ["k", "j"])].into_iter().enumerate() {
            let batch = self.table(place as u64, columns)?;
            rows[place] = batch.num_rows();
            let file = folder.join(format!("{name}.parquet"));
            DataFrame::from_local_batches(&session, batch.schema(), vec![batch])?
                .write_parquet(&file.to_string_lossy())?;
        }
        session.close()?;
        Ok(rows)
    }

    fn table(&self, seed: u64, names: [&str; 2]) -> Result<RecordBatch> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut cells = match self.kind {
            Kind::Full => (0..self.size * self.size).collect::<Vec<_>>(),
            Kind::Uniform(count) => self.some(count, || random.below(self.size) * self.size + random.below(self.size)),
            Kind::Chance(share) => (0..self.size * self.size).filter(|_| random.unit() < share).collect(),
            Kind::PowerLaw(count) => {
                let skewed = |random: &mut Random| {
                    let unit = random.unit();
                    ((unit * unit * self.size as f64) as u64).min(self.size - 1)
                };
                self.some(count, || skewed(&mut random) * self.size + skewed(&mut random))
            }
        };
        for place in (1..cells.len()).rev() {
            cells.swap(place, random.below(place as u64 + 1) as usize);
        }
        let rows = Int64Array::from_iter_values(cells.iter().map(|cell| (cell / self.size) as i64));
        let columns = Int64Array::from_iter_values(cells.iter().map(|cell| (cell % self.size) as i64));
        let values = Float64Array::from_iter_values(cells.iter().map(|_| random.unit()));
        let columns: [(&str, ArrayRef); 3] =
            [(names[0], Arc::new(rows)), (names[1], Arc::new(columns)), ("v", Arc::new(values))];
        RecordBatch::try_from_iter(columns).map_err(Error::from)
    }

    /// Different cells, in an order that does not depend on hashing.
    fn some(&self, count: u64, mut draw: impl FnMut() -> u64) -> Vec<u64> {
        let mut cells = (0..count + count / 8).map(|_| draw()).collect::<Vec<_>>();
        cells.sort_unstable();
        cells.dedup();
        cells.truncate(count as usize);
        cells
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
