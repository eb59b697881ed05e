#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

//! Chains and exchanges against the same steps on vectors, on one to five ranks that live here.

use std::collections::BTreeMap;
use std::io::Write as _;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use bireme_engine::budget::Budget;
use bireme_engine::cancel::Cancel;
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::*;

/// Records that went to disk in all tests.
static SPILLED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The records of a chain by partition number, on so many ranks with so much memory each; stages run one after the other.
fn run_on<C: Chain>(chain: &C, ranks: usize, memory: Option<usize>) -> Result<Vec<C::Item>> {
    let mut needs = Needs::default();
    chain.needs(&mut needs);
    let run = |rank| Run::new(rank, ranks, Budget::new(memory), Cancel::new(), std::env::temp_dir());
    let runs = (0..ranks).map(run).collect::<Vec<_>>();
    for work in &needs.stages {
        runs.iter().try_for_each(|run| (work.run)(run))?;
        let Some(exchanged) = &work.exchanged else { continue };
        // All is sent before anything is taken, as ranks do.
        let mut sent = Vec::new();
        for from in &runs {
            for group in 0..exchanged.groups(from) {
                for message in exchanged.messages(from, group)? {
                    let to = message.column(0).as_primitive::<UInt32Type>().value(0) as usize;
                    assert_ne!(to, from.rank);
                    assert_eq!(message.schema(), exchanged.schema());
                    sent.push((to, message));
                }
            }
        }
        sent.iter().try_for_each(|(to, message)| exchanged.take(&runs[*to], message))?;
    }
    if memory == Some(1) && !needs.stages.is_empty() {
        let spilled = |run: &Run| run.spilled.load(std::sync::atomic::Ordering::Relaxed);
        SPILLED.fetch_add(runs.iter().map(spilled).sum(), std::sync::atomic::Ordering::Relaxed);
    }
    let all = Mutex::new(BTreeMap::new());
    for run in &runs {
        let part = |all: &mut &Mutex<BTreeMap<u64, Vec<C::Item>>>, number, part: &Part<'_>| {
            let mut records = Vec::new();
            let _end = chain.drive(part, &mut |record| {
                records.push(record);
                Flow::Continue(())
            })?;
            assert!(all.lock().insert(number, records).is_none(), "partition {number} twice");
            Ok(())
        };
        for_parts(chain, run, "test", || Ok(&all), part, |_| Ok(()))?;
    }
    Ok(all.into_inner().into_values().flatten().collect())
}

fn everywhere<C: Chain>(chain: &C, check: impl Fn(Vec<C::Item>)) {
    for ranks in 1..=5 {
        check(run_on(chain, ranks, None).unwrap());
    }
    check(run_on(chain, 2, Some(1)).unwrap());
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

struct Sum;

impl Combine<i64, i64> for Sum {
    fn begin(&self, value: i64) -> i64 {
        value
    }
    fn add(&self, so_far: i64, value: i64) -> i64 {
        so_far + value
    }
    fn join(&self, so_far: i64, other: i64) -> i64 {
        so_far + other
    }
}

#[test]
fn steps_are_those_of_iterators() {
    let values = (0..1000_i64).collect::<Vec<_>>();
    let chain = Filter::new(Map::new(Values::new(values.clone()), |x: i64| x * 3), |x: &i64| x % 2 == 0);
    let chain = FlatMap::new(chain, |x: i64| [x, -x]);
    let wanted = values.iter().map(|x| x * 3).filter(|x| x % 2 == 0).flat_map(|x| [x, -x]).collect::<Vec<_>>();
    everywhere(&chain, |got| assert_eq!(got, wanted));
    let both = Union::new(chain.clone(), Any::new(Values::new(vec![7_i64, 8])));
    everywhere(&both, |got| assert_eq!(got, [wanted.clone(), vec![7, 8]].concat()));
    let none = Values::new(Vec::<i64>::new());
    everywhere(&Map::new(none, |x: i64| x), |got| assert_eq!(got, Vec::<i64>::new()));
    let sums = MapPartitions::new(Values::new(values), |part: std::vec::IntoIter<i64>| [part.sum::<i64>()]);
    everywhere(&sums, |got| assert_eq!(got.iter().sum::<i64>(), 999 * 500));
}

#[test]
fn samples_are_the_same_on_all_ranks() {
    let chain = Sampled::new(Values::new((0..10_000_i64).collect()), 0.3, 5);
    let first = run_on(&chain, 1, None).unwrap();
    assert!((2800..3200).contains(&first.len()), "{}", first.len());
    everywhere(&chain, |got| assert_eq!(got, first));
    let other = run_on(&Sampled::new(Values::new((0..10_000_i64).collect()), 0.3, 6), 1, None).unwrap();
    assert_ne!(first, other);
    for (fraction, count) in [(0.0, 0), (1.0, 100)] {
        assert_eq!(run_on(&Sampled::new(Values::new(vec![1_i64; 100]), fraction, 1), 2, None).unwrap().len(), count);
    }
}

#[test]
fn values_are_combined_by_key() {
    let pairs = (0..3000_i64).map(|x| (format!("key {}", x * x % 211 % (1 + x % 97)), x)).collect::<Vec<_>>();
    let mut wanted = BTreeMap::new();
    pairs.iter().for_each(|(key, value)| *wanted.entry(key.clone()).or_insert(0) += value);
    let wanted = wanted.into_iter().collect::<Vec<_>>();
    let sums = Combined::new(1, "reduce_by_key", Values::new(pairs.clone()), Sum);
    everywhere(&sums, |got| assert_eq!(sorted(got), wanted));
    let groups = Combined::new(2, "group_by_key", Values::new(pairs), Grouped);
    let totals = Map::new(groups, |(key, values): (String, Vec<i64>)| (key, values.iter().sum::<i64>()));
    everywhere(&totals, |got| assert_eq!(sorted(got), wanted));
    // Behind each other, and read twice.
    let again = Combined::new(3, "again", Union::new(sums.clone(), Any::new(sums)), Sum);
    everywhere(&again, |got| {
        assert_eq!(sorted(got), wanted.iter().map(|(key, sum)| (key.clone(), 2 * sum)).collect::<Vec<_>>());
    });
    // One key, and as many keys as records.
    let hot = Combined::new(4, "hot", Values::new(vec![(1_u8, 1_i64); 5000]), Sum);
    everywhere(&hot, |got| assert_eq!(got, [(1, 5000)]));
    let all = Combined::new(5, "all", Values::new((0..2000_u64).map(|key| (key, 1_i64)).collect()), Sum);
    everywhere(&all, |got| assert_eq!(sorted(got), (0..2000).map(|key| (key, 1)).collect::<Vec<_>>()));
    assert!(SPILLED.load(std::sync::atomic::Ordering::Relaxed) > 5000, "little memory, and hardly anything on disk");
}

#[test]
fn records_are_sorted_over_all_partitions() {
    let values = (0..4000_i64).map(|x| (x * 7919 % 1009, x)).collect::<Vec<_>>();
    let by_key = Sorted::new(1, Values::new(values.clone()), |pair: &(i64, i64)| pair.0);
    everywhere(&by_key, |got| {
        assert!(got.is_sorted_by_key(|pair| pair.0));
        assert_eq!(sorted(got), sorted(values.clone()));
    });
    let backwards = Sorted::new(10, Sorted::new(1, Values::new(values.clone()), |pair| pair.0), |pair: &(i64, i64)| {
        std::cmp::Reverse(pair.1)
    });
    let mut wanted = values;
    wanted.sort_by_key(|pair| std::cmp::Reverse(pair.1));
    everywhere(&backwards, |got| assert!(got == wanted));
    // Ranges are of like sizes, whatever the order and the sizes of partitions.
    let uneven = Union::new(Values::new((0..60_000_i64).collect()), Values::new((0..64_i64).map(|x| -x).collect()));
    let sizes = MapPartitions::new(Sorted::new(1, uneven, |x: &i64| *x), |part: std::vec::IntoIter<i64>| [part.len()]);
    let largest = run_on(&sizes, 2, None).unwrap().into_iter().max().unwrap();
    assert!(largest < 2000, "a range of {largest} records");
    for values in [vec![], vec![1_u8], vec![3; 2000]] {
        let chain = Sorted::new(1, Values::new(values.clone()), |x: &u8| *x);
        everywhere(&chain, |got| assert_eq!(got, values));
    }
    let texts = (0..900_u32).map(|x| format!("{:x}", x.wrapping_mul(2_654_435_761))).collect::<Vec<_>>();
    let chain = Sorted::new(1, Values::new(texts.clone()), |text: &String| text.clone());
    everywhere(&chain, |got| assert_eq!(got, sorted(texts.clone())));
}

#[test]
fn lines_are_read_once_wherever_splits_cut_them() {
    let directory = std::env::temp_dir().join(format!("bireme-lines-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let texts = [
        "",
        "\n",
        "one line",
        "a\nb\r\n\nc",
        "ends\n",
        &"x".repeat(300),
        &(0..500).map(|n| "word ".repeat(n % 7) + "\n").collect::<String>(),
        &format!("{}\n{}\n", "a".repeat(63), "b".repeat(63)),
        &format!("{}\n{}\n", "a".repeat(64), "\u{e4}\u{f6}\u{fc}".repeat(40)),
        &format!("{}\n{}\n", "a".repeat(65), "\u{e4}\u{f6}\u{fc}".repeat(40)),
    ];
    let files = texts.iter().enumerate().map(|(number, text)| {
        let path = directory.join(number.to_string());
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        (path, text.len() as u64)
    });
    let files = files.collect::<Vec<_>>();
    let wanted = texts.iter().flat_map(|text| text.lines().map(str::to_owned)).collect::<Vec<_>>();
    everywhere(&Map::new(Lines::new(files.clone()), |line: Text| line.to_string()), |got| assert_eq!(got, wanted));
    let words =
        FlatMap::new(Lines::new(files.clone()), |line: Text| line.split_whitespace().map(|word| word.to_string()));
    let wanted = texts.iter().flat_map(|text| text.split_whitespace().map(str::to_owned)).collect::<Vec<_>>();
    everywhere(&words, |got| assert_eq!(got, wanted));
    let whole = WholeFiles::new(files.into_iter().map(|(path, _)| path).collect());
    everywhere(&Map::new(whole, |(_, text): (String, Text)| text.to_string()), |got| assert_eq!(got, texts));
    let unicode = "\u{3000}a\u{a0}\u{85}b \u{1680}c\u{200b}d\t\u{e4}\x1ce ";
    let words = Text::from(unicode).split_whitespace().map(|word| word.to_string()).collect::<Vec<_>>();
    assert_eq!(words, unicode.split_whitespace().collect::<Vec<_>>());
    let bad = directory.join("bad");
    std::fs::write(&bad, b"good\n\xff\xfe\n").unwrap();
    let error = run_on(&Lines::new([(bad, 8)]), 1, None).unwrap_err();
    assert!(error.message().contains("bad") && error.message().contains("UTF-8"), "{error}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_closure_that_panics_is_an_error_that_names_the_record() {
    let chain = Map::new(Values::new((0..100_i64).collect()), |x: i64| {
        assert!(x != 42, "no answer");
        x
    });
    for ranks in [1, 3] {
        let error = run_on(&chain, ranks, None).unwrap_err();
        assert!(error.message().contains("no answer") && error.message().contains("record"), "{error}");
    }
    struct Broken;
    impl Combine<i64, i64> for Broken {
        fn begin(&self, value: i64) -> i64 {
            value
        }
        fn add(&self, _: i64, _: i64) -> i64 {
            panic!("cannot add")
        }
        fn join(&self, so_far: i64, _: i64) -> i64 {
            so_far
        }
    }
    let broken = Combined::new(1, "reduce_by_key", Values::new(vec![(1_i64, 1_i64); 9]), Broken);
    let error = run_on(&broken, 1, None).unwrap_err();
    assert!(error.message().contains("cannot add") && error.message().contains("reduce_by_key"), "{error}");
}

fn there_and_back<T: Record + PartialEq + std::fmt::Debug + Clone>(records: &[T]) {
    let mut batches = Batches::<T>::default();
    records.iter().for_each(|record| batches.push(record));
    let batch = batches.finish().unwrap();
    assert_eq!(batch.schema(), schema::<T>());
    assert_eq!(Batches::<T>::read(&batch).unwrap().collect::<Vec<_>>(), records);
    let half = batch.slice(batch.num_rows() / 2, batch.num_rows() - batch.num_rows() / 2);
    assert_eq!(Batches::<T>::read(&half).unwrap().collect::<Vec<_>>(), records[records.len() / 2..]);
    batches.push(&records[0]);
    assert_eq!(Batches::<T>::read(&batches.finish().unwrap()).unwrap().collect::<Vec<_>>(), records[..1]);
}

#[test]
fn records_come_back_from_columns() {
    there_and_back(&[1_i8, -5, 7]);
    there_and_back(&[1.5_f64, f64::NEG_INFINITY]);
    there_and_back(&[true, false, true]);
    there_and_back(&['a', '\u{1f600}']);
    there_and_back(&[String::new(), "text".into()]);
    there_and_back(&[Text::from(""), Text::from("text")]);
    there_and_back(&[Some("x".to_owned()), None, Some(String::new())]);
    there_and_back(&[None::<bool>, None]);
    there_and_back(&[vec![1_u16, 2], vec![], vec![3]]);
    there_and_back(&[[1_u8, 2, 3], [4, 5, 6], [7, 8, 9]]);
    there_and_back(&[(["a".to_owned(), String::new()], Some([1.5_f64; 4])), ([String::new(), "b".to_owned()], None)]);
    there_and_back(&[Some(vec![Some(1.0_f32), None]), None, Some(vec![])]);
    there_and_back(&[(1_i32, "a".to_owned(), Some((2_u64, 'b'))), (3, "c".to_owned(), None)]);
    there_and_back(&[vec![(1_i64, vec!["x".to_owned()])], vec![]]);
    let date = chrono::NaiveDate::from_ymd_opt(1969, 7, 20).unwrap();
    there_and_back(&[(date, date.and_hms_micro_opt(20, 17, 40, 7).unwrap())]);
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let mut batches = Batches::<(i32, Option<i64>)>::default();
    batches.push(&(1, None));
    batches.push(&(2, Some(3)));
    let batch = batches.finish().unwrap();
    let read = |error: Result<()>| error.unwrap_err().message().to_owned();
    assert_eq!(Batches::<(i64, Option<i64>)>::read(&batch).unwrap().count(), 2, "wider types are read");
    assert!(read(Batches::<(i16, Option<i64>)>::read(&batch).map(drop)).contains("\"_1\" is Int32"));
    assert!(read(Batches::<(i32, i64)>::read(&batch).map(drop)).contains("\"_2\" has 1 NULLs"));
    assert!(read(Batches::<(i32,)>::read(&batch).map(drop)).contains("a tuple of 1"));
    assert!(read(Batches::<i32>::read(&batch).map(drop)).contains("one column"));
}
