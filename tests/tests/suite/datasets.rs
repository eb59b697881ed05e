//! Typed datasets against the same steps on vectors, on one rank and on several.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bireme::dataset::Record;
use bireme::{Session, SessionBuilder};

/// Sessions on one to five ranks, one of them with little memory.
fn sessions() -> Vec<(String, Session)> {
    let make = |name: String, builder: SessionBuilder| (name, builder.build().unwrap());
    let on = |ranks: usize| make(format!("{ranks} ranks"), Session::builder().threads(2).local_ranks(ranks));
    let mut all = [1, 2, 3, 5].map(on).to_vec();
    all.push(make("little memory".into(), Session::builder().threads(2).local_ranks(2).memory_limit(64 << 10)));
    all
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}

fn check<T: Ord + Debug>(name: &str, got: bireme::Result<Vec<T>>, wanted: &[T]) {
    assert_eq!(sorted(got.unwrap()), wanted, "{name}");
}

fn numbers() -> Vec<i64> {
    (0..3000_i64).map(|x| x * 7919 % 1009).collect()
}

#[test]
fn steps_and_actions_are_those_of_vectors() {
    let values = numbers();
    for (name, session) in sessions() {
        let all = session.dataset(values.clone());
        assert_eq!(all.count().unwrap(), 3000, "{name}");
        assert_eq!(all.collect().unwrap(), values, "{name}");
        assert_eq!(all.take(7).unwrap(), values[..7], "{name}");
        assert_eq!(all.take(0).unwrap(), Vec::<i64>::new(), "{name}");
        assert_eq!(all.first().unwrap(), Some(0), "{name}");
        assert_eq!(all.reduce(i64::max).unwrap(), Some(1008), "{name}");
        assert_eq!(all.fold(5, |a, b| a + b).unwrap(), 5 + values.iter().sum::<i64>(), "{name}");
        let (sum, count) =
            all.aggregate((0, 0_u64), |(sum, n), x| (sum + x, n + 1), |a, b| (a.0 + b.0, a.1 + b.1)).unwrap();
        assert_eq!((sum, count), (values.iter().sum(), 3000), "{name}");
        let mut largest = sorted(values.clone());
        largest.reverse();
        assert_eq!(all.top(10, |x| *x).unwrap(), largest[..10], "{name}");
        let odd = all.clone().filter(|x| x % 2 == 1).map(|x| x * 2).flat_map(|x| [x, x + 1]);
        let wanted = values.iter().filter(|x| *x % 2 == 1).flat_map(|x| [2 * x, 2 * x + 1]).collect::<Vec<_>>();
        assert_eq!(odd.collect().unwrap(), wanted, "{name}");
        assert_eq!(
            odd.clone().boxed().union(session.dataset([1, 2])).count().unwrap(),
            wanted.len() as u64 + 2,
            "{name}"
        );
        let different = sorted(values.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
        check(&name, all.clone().distinct().collect(), &different);
        assert_eq!(all.clone().sort_by(|x| std::cmp::Reverse(*x)).collect().unwrap(), largest, "{name}");
        assert_eq!(all.clone().sort_by(|x| *x).take(3).unwrap(), [0, 0, 0], "{name}");
        let numbered = values.iter().copied().zip(0_u64..).collect::<Vec<_>>();
        assert_eq!(all.clone().zip_with_index().collect().unwrap(), numbered, "{name}");
        let sums = all.clone().map(|x| (x % 50, x)).reduce_by_key(|a, b| a + b).zip_with_index();
        let numbers = sums.map(|(_, number)| number).collect().unwrap();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "{name}");
        for parts in [1, 3, 256] {
            let spread = all.clone().repartition(parts).unwrap();
            check(&name, spread.collect(), &sorted(values.clone()));
            let by_number = all.clone().partition_by(parts, move |x| *x as usize % parts).unwrap();
            let sizes = by_number.map_partitions(|part| [part.map(|x| x % 256).collect::<BTreeSet<_>>()]);
            let kinds = sizes.map(|kinds| kinds.len() as u64).collect().unwrap();
            assert_eq!(kinds.len(), parts, "{name}");
        }
        // Two partitions of one dataset, which two workers read at once.
        let one = all.clone().repartition(1).unwrap();
        for _ in 0..20 {
            assert_eq!(one.clone().union(one.clone()).count().unwrap(), 6000, "{name}");
        }
        assert!(all.clone().repartition(0).is_err() && all.clone().repartition(257).is_err());
        let beyond = all.clone().partition_by(3, |x| *x as usize).unwrap().count().unwrap_err();
        assert!(beyond.message().contains("of 3"), "{beyond}");
        let none = all.filter(|_| false);
        assert_eq!((none.count().unwrap(), none.first().unwrap(), none.reduce(i64::max).unwrap()), (0, None, None));
        assert_eq!(none.sort_by(|x| *x).collect().unwrap(), Vec::<i64>::new());
    }
}

#[test]
fn steps_by_key_are_those_of_maps() {
    let pairs = numbers().into_iter().enumerate().map(|(n, x)| (format!("k{}", x % 37), n as i64)).collect::<Vec<_>>();
    let mut groups = BTreeMap::<String, Vec<i64>>::new();
    pairs.iter().for_each(|(key, value)| groups.entry(key.clone()).or_default().push(*value));
    let others = (0..50_i64).map(|x| (format!("k{}", x * 2 % 60), x)).collect::<Vec<_>>();
    let of =
        |wanted: &dyn Fn(&[i64]) -> i64| groups.iter().map(|(key, all)| (key.clone(), wanted(all))).collect::<Vec<_>>();
    for (name, session) in sessions() {
        let all = session.dataset(pairs.clone());
        check(&name, all.clone().reduce_by_key(|a, b| a + b).collect(), &of(&|all| all.iter().sum()));
        let counts = all.clone().count_by_key().map_values(|n| n as i64);
        check(&name, counts.collect(), &of(&|all| all.len() as i64));
        let grouped = all.clone().group_by_key().map_values(|all| all.into_iter().max().unwrap());
        check(&name, grouped.collect(), &of(&|all| *all.iter().max().unwrap()));
        let longest = all.clone().aggregate_by_key(0, |a, b: i64| a.max(b), i64::max);
        check(&name, longest.collect(), &of(&|all| *all.iter().max().unwrap()));
        let keys = sorted(groups.keys().cloned().collect::<Vec<_>>());
        check(&name, all.clone().keys().distinct().collect(), &keys);

        let right = session.dataset(others.clone());
        let partners = |key: &str| others.iter().filter(|(other, _)| other == key).map(|(_, w)| *w).collect::<Vec<_>>();
        let joined = pairs.iter().flat_map(|(k, v)| partners(k).into_iter().map(|w| (k.clone(), (*v, w))));
        check(&name, all.clone().join(right.clone()).collect(), &sorted(joined.collect()));
        let left = pairs.iter().flat_map(|(k, v)| {
            let partners = partners(k).into_iter().map(Some).collect::<Vec<_>>();
            let partners = if partners.is_empty() { vec![None] } else { partners };
            partners.into_iter().map(|w| (k.clone(), (*v, w)))
        });
        check(&name, all.clone().left_join(right.clone()).collect(), &sorted(left.collect()));
        let mirrored = right.clone().right_join(all.clone()).map_values(|(w, v)| (v, w));
        check(&name, mirrored.collect(), &sorted(all.clone().left_join(right.clone()).collect().unwrap()));
        let lonely = others.iter().filter(|(k, _)| !groups.contains_key(k)).count();
        let full = all.clone().full_join(right.clone());
        assert_eq!(full.filter(|(_, (v, _))| v.is_none()).count().unwrap() as usize, lonely, "{name}");
        let with = pairs.iter().filter(|(k, _)| !partners(k).is_empty()).cloned().collect::<Vec<_>>();
        let without = pairs.iter().filter(|(k, _)| partners(k).is_empty()).cloned().collect::<Vec<_>>();
        check(&name, all.clone().semi_join(right.clone()).collect(), &sorted(with));
        check(&name, all.clone().anti_join(right.clone()).collect(), &sorted(without));
        // A dataset that two stages read.
        let sums = all.reduce_by_key(|a, b| a + b);
        let twice = sums.clone().union(sums).reduce_by_key(|a, b| a + b);
        check(&name, twice.collect(), &of(&|all| 2 * all.iter().sum::<i64>()));
    }
}

#[derive(Clone, Debug, PartialEq, PartialOrd, Record)]
struct Order {
    #[record(rename = "o_orderkey")]
    key: i64,
    price: Option<f64>,
    #[record(rename = "o_comment")]
    comment: String,
    parts: Vec<i32>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, PartialOrd, Record)]
struct Place {
    town: Option<String>,
    code: u16,
}

#[test]
fn tables_and_records_are_two_faces_of_rows() {
    let orders = (0..500_i64).map(|n| Order {
        key: n,
        price: (n % 3 != 0).then_some(n as f64 / 4.0),
        comment: "x".repeat(n as usize % 20),
        parts: (0..n as i32 % 4).collect(),
        place: Place { town: (n % 5 != 0).then(|| format!("town {n}")), code: n as u16 },
    });
    let orders = orders.collect::<Vec<_>>();
    for (name, session) in sessions() {
        let frame = session.dataset(orders.clone()).to_dataframe().unwrap();
        let columns = frame.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        assert_eq!(columns, ["o_orderkey", "price", "o_comment", "parts", "place"], "{name}");
        session.register_view("orders", &frame).unwrap();
        let sum = session.sql("SELECT SUM(o_orderkey), COUNT(price) FROM orders").unwrap();
        assert_eq!(sum.typed::<(Option<i64>, i64)>().unwrap().collect().unwrap(), [(Some(499 * 250), 333)], "{name}");
        let mut back = frame.typed::<Order>().unwrap().collect().unwrap();
        back.sort_by_key(|order| order.key);
        assert_eq!(back, orders, "{name}");
        let error = session.sql("SELECT 1 AS o_orderkey").unwrap().typed::<Order>().map(drop).unwrap_err();
        assert!(error.message().contains("no column \"price\""), "{error}");
        let error = session.sql("SELECT 'x' AS a").unwrap().typed::<i64>().map(drop).unwrap_err();
        assert!(error.message().contains("cast the column"), "{error}");
    }
}

#[test]
fn text_is_read_by_lines_and_written_by_partitions() {
    let scratch = tempfile::tempdir().unwrap();
    let text = (0..2000).map(|n| format!("line {n} \u{e4}\n")).collect::<String>();
    for file in ["a.txt", "b.txt"] {
        std::fs::write(scratch.path().join(file), &text).unwrap();
    }
    let pattern = scratch.path().join("*.txt");
    for (name, session) in sessions() {
        let lines = session.read_text(pattern.to_str().unwrap()).unwrap();
        assert_eq!(lines.collect().unwrap().len(), 4000, "{name}");
        let out = scratch.path().join(&name);
        let written = lines.filter(|line| line.contains('7')).write_text(out.to_str().unwrap()).unwrap();
        let mut parts = std::fs::read_dir(&out).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
        parts.sort();
        assert!(parts[0].ends_with("_SUCCESS"), "{parts:?}");
        let all = parts[1..].iter().map(|part| std::fs::read_to_string(part).unwrap()).collect::<String>();
        let wanted =
            [&text, &text].map(|text| text.lines().filter(|line| line.contains('7')).collect::<Vec<_>>()).concat();
        assert_eq!(all.lines().collect::<Vec<_>>(), wanted, "{name}");
        assert_eq!(written as usize, wanted.len(), "{name}");
        let error = session.read_text(scratch.path().join("c.txt").to_str().unwrap()).map(drop).unwrap_err();
        assert!(error.message().contains("c.txt"), "{error}");
        let again = session.dataset(["x"]).write_text(out.to_str().unwrap()).unwrap_err();
        assert!(again.message().contains(&name) && out.join("_SUCCESS").exists(), "{again}");
    }
}

#[test]
fn a_panic_in_a_closure_ends_the_action_on_all_ranks() {
    for (name, session) in sessions() {
        let pairs = session.dataset(0..1000_i64).map(|x| {
            assert!(x != 777, "777 is no answer");
            (x % 5, x)
        });
        let error = pairs.clone().reduce_by_key(|a, b| a + b).collect().unwrap_err();
        assert!(error.message().contains("777 is no answer"), "{name}: {error}");
        assert!(error.message().contains("reduce_by_key") && error.message().contains("record"), "{name}: {error}");
        // The session goes on.
        assert_eq!(session.dataset(0..10_i64).count().unwrap(), 10, "{name}");
    }
}
