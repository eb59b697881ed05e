#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap is a failed test")]

//! Every kind of join, over every form of key, against a nested loop over texts.

mod union;

use std::collections::BTreeSet;

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float64Array,
    Int32Array, Int64Array, StringArray, StringViewArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme_engine::budget::Budget;
use bireme_engine::morsel::{CHUNK_ROWS, to_carried, to_logical};
use proptest::prelude::*;

mod memory;

use super::*;
use crate::pipeline::ir::{CompareOp, Expr, ExprKind, JoinColumn, JoinKind};

type Text = Option<String>;

/// A small generator, so that a case is its seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        (keys::mix(self.0) >> 11) % sides
    }
}

const KINDS: [JoinKind; 11] = [
    JoinKind::Inner,
    JoinKind::ProbeOuter,
    JoinKind::BuildOuter,
    JoinKind::FullOuter,
    JoinKind::ProbeSemi,
    JoinKind::ProbeAnti,
    JoinKind::ProbeAntiNullAware,
    JoinKind::ProbeMark,
    JoinKind::BuildSemi,
    JoinKind::BuildAnti,
    JoinKind::BuildMark,
];

#[derive(Clone, Copy, Debug)]
enum KeyType {
    Small,
    Sparse,
    Int32,
    Date,
    Unsigned,
    Narrow,
    Wide,
    Float,
    Bool,
    Text,
    Fixed,
}

const KEY_TYPES: [KeyType; 11] = [
    KeyType::Small,
    KeyType::Sparse,
    KeyType::Int32,
    KeyType::Date,
    KeyType::Unsigned,
    KeyType::Narrow,
    KeyType::Wide,
    KeyType::Float,
    KeyType::Bool,
    KeyType::Text,
    KeyType::Fixed,
];

impl KeyType {
    /// Values in the logical type; NULLs now and then, sometimes mostly or only.
    fn make(self, dice: &mut Dice, rows: usize, domain: u64) -> ArrayRef {
        let nulls = [1, 1, 1, 1, 1, 1, 7, 8][dice.roll(8) as usize];
        let picks =
            (0..rows).map(|_| (dice.roll(8) >= nulls).then(|| dice.roll(domain) as i64)).collect::<Vec<Option<i64>>>();
        let picked = picks.iter().copied();
        match self {
            KeyType::Small => Arc::new(picked.collect::<Int64Array>()),
            KeyType::Sparse => {
                let ends = [i64::MIN, i64::MAX, -1, 0];
                let spread = |v: i64| ends.get(v as usize).copied().unwrap_or(keys::mix(v as u64) as i64);
                Arc::new(picked.map(|v| v.map(spread)).collect::<Int64Array>())
            }
            KeyType::Int32 => Arc::new(picked.map(|v| v.map(|v| v as i32 - 3)).collect::<Int32Array>()),
            KeyType::Date => Arc::new(picked.map(|v| v.map(|v| 9000 + v as i32 * 5)).collect::<Date32Array>()),
            KeyType::Unsigned => {
                Arc::new(picked.map(|v| v.map(|v| u64::MAX / 2 - 2 + v as u64)).collect::<UInt64Array>())
            }
            KeyType::Narrow => {
                let scaled = picked.map(|v| v.map(|v| if v == 0 { 10_i128.pow(15) - 1 } else { i128::from(v) * -25 }));
                Arc::new(scaled.collect::<Decimal128Array>().with_precision_and_scale(15, 2).unwrap())
            }
            KeyType::Wide => {
                let scaled = picked.map(|v| {
                    v.map(|v| match v {
                        0 => 10_i128.pow(38) - 1,
                        1 => 1 - 10_i128.pow(38),
                        v => i128::from(v) * 100,
                    })
                });
                Arc::new(scaled.collect::<Decimal128Array>().with_precision_and_scale(38, 2).unwrap())
            }
            KeyType::Float => {
                let special = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY];
                let float = |v: i64| special.get(v as usize).copied().unwrap_or(v as f64 / 3.0);
                Arc::new(picked.map(|v| v.map(float)).collect::<Float64Array>())
            }
            KeyType::Bool => Arc::new(picked.map(|v| v.map(|v| v % 2 == 0)).collect::<BooleanArray>()),
            KeyType::Text => Arc::new(picked.map(|v| v.map(text)).collect::<StringArray>()),
            KeyType::Fixed => {
                let bytes = picked.map(|v| v.map(|v| [v as u8, 7, 9]));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 3).unwrap())
            }
        }
    }
}

fn text(value: i64) -> String {
    match value % 3 {
        0 => format!("a{value}"),
        1 => format!("a text that is longer than twelve, {value}"),
        _ => String::new(),
    }
}

/// A side: keys, then a number for each row, then a text. Logical types.
#[derive(Clone)]
struct Table {
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Table {
    fn make(dice: &mut Dice, key_types: &[KeyType], rows: usize, domain: u64) -> Self {
        let mut columns = key_types.iter().map(|key| key.make(dice, rows, domain)).collect::<Vec<_>>();
        columns.push(Arc::new((0..rows as i64).collect::<Int64Array>()));
        columns.push(KeyType::Text.make(dice, rows, 50));
        Self { columns, rows }
    }

    fn types(&self) -> Vec<DataType> {
        self.columns.iter().map(|column| column.data_type().clone()).collect()
    }

    /// Chunks of random sizes, each column in a random carried form.
    fn chunks(&self, dice: &mut Dice) -> Vec<Chunk> {
        let most = [1, 7, 100, 4000][dice.roll(4) as usize];
        self.chunks_of(dice, |dice| 1 + dice.roll(most) as usize)
    }

    fn chunks_of(&self, dice: &mut Dice, size: impl Fn(&mut Dice) -> usize) -> Vec<Chunk> {
        let (mut chunks, mut from) = (Vec::new(), 0);
        while from < self.rows {
            let rows = size(dice).min(self.rows - from);
            let columns = self.columns.iter().map(|column| carry(dice, &column.slice(from, rows))).collect();
            chunks.push(Chunk::new(columns, rows));
            from += rows;
        }
        chunks
    }

    fn texts(&self) -> Vec<Vec<Text>> {
        rows_of(&self.columns, self.rows)
    }
}

fn carry(dice: &mut Dice, column: &ArrayRef) -> ArrayRef {
    let coin = dice.roll(2) == 0;
    match column.data_type() {
        DataType::Utf8 if coin => {
            let form = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View));
            let dictionary = cast(column, &form).unwrap();
            if dice.roll(2) == 0 { dictionary } else { with_null_value(dictionary.as_dictionary()) }
        }
        DataType::Decimal128(38, _) if coin => {
            let values = column.as_primitive::<arrow::datatypes::Decimal128Type>();
            let narrow = values.iter().map(|v| v.map(i64::try_from).transpose()).collect::<Result<Int64Array, _>>();
            narrow.map_or_else(|_| to_carried(column).unwrap(), |narrow| Arc::new(narrow))
        }
        _ => to_carried(column).unwrap(),
    }
}

/// The same rows, but NULLs are those of a value.
fn with_null_value(dictionary: &DictionaryArray<UInt32Type>) -> ArrayRef {
    let values = dictionary.values().as_string_view();
    let more = values.iter().chain([None]).collect::<StringViewArray>();
    let keys = dictionary.keys().iter().map(|key| key.unwrap_or(values.len() as u32));
    Arc::new(DictionaryArray::new(keys.collect::<Vec<_>>().into(), Arc::new(more)))
}

fn rows_of(columns: &[ArrayRef], rows: usize) -> Vec<Vec<Text>> {
    let options = FormatOptions::new();
    let mut texts = vec![Vec::new(); rows];
    for column in columns {
        let format = ArrayFormatter::try_new(column, &options).unwrap();
        for (row, texts) in texts.iter_mut().enumerate() {
            texts.push(column.is_valid(row).then(|| format.value(row).to_string()));
        }
    }
    texts
}

/// A key's text, where all floats that are equal are the same.
fn canonical(key: &Text) -> Text {
    key.as_ref().map(|key| match key.as_str() {
        "-0.0" => "0.0".into(),
        "-NaN" => "NaN".into(),
        other => other.into(),
    })
}

/// True, false and NULL in turns, over the numbers of both sides.
fn passes(probe: i64, build: i64) -> Option<bool> {
    let sum = probe * 3 + build;
    (sum % 7 != 0).then_some(sum % 3 != 0)
}

struct Numbers {
    probe: usize,
    build: usize,
}

impl Residual for Numbers {
    fn test(&self, chunk: &Chunk) -> Result<BooleanArray> {
        let probe = chunk.columns[self.probe].as_primitive::<Int64Type>();
        let build = chunk.columns[self.build].as_primitive::<Int64Type>();
        Ok(probe.values().iter().zip(build.values()).map(|(&p, &b)| passes(p, b)).collect())
    }
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    kind: JoinKind,
    keys: Vec<KeyType>,
    residual: bool,
    nulls_match: bool,
    build_rows: usize,
    probe_rows: usize,
    domain: u64,
    workers: usize,
    tuning: Tuning,
    limit: Option<usize>,
    /// Rows of a chunk, or random ones.
    chunk_rows: Option<usize>,
}

impl Case {
    fn spec(&self) -> JoinSpec {
        use JoinKind::{BuildAnti, BuildMark, BuildSemi, ProbeAnti, ProbeAntiNullAware, ProbeMark, ProbeSemi};
        let keys = self.keys.len();
        let number = |place| Box::new(Expr::column(place, DataType::Int64));
        let residual = Expr::boolean(ExprKind::Compare(CompareOp::Less, number(keys), number(keys + 2 + keys)));
        let (probe, build) = match self.kind {
            ProbeSemi | ProbeAnti | ProbeAntiNullAware | ProbeMark => (true, false),
            BuildSemi | BuildAnti | BuildMark => (false, true),
            _ => (true, true),
        };
        let mut output = Vec::new();
        if build {
            output.extend((0..keys + 2).rev().map(JoinColumn::Build));
        }
        if matches!(self.kind, ProbeMark | BuildMark) {
            output.push(JoinColumn::Mark);
        }
        if probe {
            output.extend((0..keys + 2).map(JoinColumn::Probe));
        }
        JoinSpec {
            kind: self.kind,
            build_keys: (0..keys).collect(),
            probe_keys: (0..keys).collect(),
            nulls_match: self.nulls_match,
            residual: self.residual.then_some(residual),
            output,
        }
    }

    fn tables(&self) -> (Table, Table) {
        let mut dice = Dice(self.seed);
        let build = Table::make(&mut dice, &self.keys, self.build_rows, self.domain);
        // Some keys that the build side has not.
        (build, Table::make(&mut dice, &self.keys, self.probe_rows, self.domain + 2))
    }

    fn keys_match(&self, probe: &[Text], build: &[Text]) -> bool {
        (0..self.keys.len()).all(|key| match (canonical(&probe[key]), canonical(&build[key])) {
            (None, None) => self.nulls_match,
            (one, other) => one == other,
        })
    }

    /// The answer, sorted.
    fn reference(&self, build: &Table, probe: &Table) -> Vec<Vec<Text>> {
        let (builds, probes, keys) = (build.texts(), probe.texts(), self.keys.len());
        let number = |row: &[Text]| row[keys].as_ref().unwrap().parse::<i64>().unwrap();
        let matches = |probe: &[Text], build: &[Text]| {
            self.keys_match(probe, build) && (!self.residual || passes(number(probe), number(build)) == Some(true))
        };
        let spec = self.spec();
        let row = |probe: Option<&[Text]>, build: Option<&[Text]>, mark: bool| {
            let column = |column: &JoinColumn| match *column {
                JoinColumn::Probe(place) => probe.and_then(|row| row[place].clone()),
                JoinColumn::Build(place) => build.and_then(|row| row[place].clone()),
                JoinColumn::Mark => Some(mark.to_string()),
            };
            spec.output.iter().map(column).collect::<Vec<_>>()
        };
        let null_key = |row: &[Text]| row[0].is_none();
        let mut out = Vec::new();
        let mut used = vec![false; builds.len()];
        for probe in &probes {
            let partners = (0..builds.len()).filter(|&b| matches(probe, &builds[b])).collect::<Vec<_>>();
            partners.iter().for_each(|&b| used[b] = true);
            let any = !partners.is_empty();
            match self.kind {
                JoinKind::Inner | JoinKind::ProbeOuter | JoinKind::BuildOuter | JoinKind::FullOuter => {
                    out.extend(partners.iter().map(|&b| row(Some(probe), Some(&builds[b]), true)));
                    if !any && matches!(self.kind, JoinKind::ProbeOuter | JoinKind::FullOuter) {
                        out.push(row(Some(probe), None, false));
                    }
                }
                JoinKind::ProbeSemi if any => out.push(row(Some(probe), None, true)),
                JoinKind::ProbeAnti if !any => out.push(row(Some(probe), None, true)),
                JoinKind::ProbeMark => out.push(row(Some(probe), None, any)),
                JoinKind::ProbeAntiNullAware => {
                    let stays =
                        builds.is_empty() || !builds.iter().any(|build| null_key(build)) && !null_key(probe) && !any;
                    out.extend(stays.then(|| row(Some(probe), None, false)));
                }
                _ => {}
            }
        }
        for (build, used) in builds.iter().zip(used) {
            match self.kind {
                JoinKind::BuildOuter | JoinKind::FullOuter | JoinKind::BuildAnti if !used => {
                    out.push(row(None, Some(build), false));
                }
                JoinKind::BuildSemi if used => out.push(row(None, Some(build), true)),
                JoinKind::BuildMark => out.push(row(None, Some(build), used)),
                _ => {}
            }
        }
        out.sort();
        out
    }

    fn run(&self, build: &Table, probe: &Table) -> Outcome {
        let mut dice = Dice(self.seed ^ 0xabcd);
        let resources = Resources { budget: Budget::new(self.limit), ..Resources::for_tests() };
        let (budget, metrics) = (resources.budget.clone(), Arc::clone(&resources.metrics));
        let builder = JoinBuilder::tuned(self.spec(), build.types(), probe.types(), resources, self.tuning).unwrap();
        let mut locals = (0..self.workers).map(|_| builder.local().unwrap()).collect::<Vec<_>>();
        let chunks = |table: &Table, dice: &mut Dice| match self.chunk_rows {
            Some(rows) => table.chunks_of(dice, |_| rows),
            None => table.chunks(dice),
        };
        for chunk in chunks(build, &mut dice) {
            locals[dice.roll(self.workers as u64) as usize].consume(&chunk).unwrap();
        }
        let table = builder.finish(locals).unwrap();
        let types = table.output_types();
        let width = probe.columns.len();
        let residual: Arc<dyn Residual> = Arc::new(Numbers { probe: self.keys.len(), build: width + self.keys.len() });
        let residual = self.residual.then_some(&residual);
        let mut rows = Vec::new();
        let mut take = |chunk: Chunk| {
            assert!(chunk.rows > 0 && chunk.rows <= CHUNK_ROWS, "{} rows", chunk.rows);
            let logical =
                chunk.columns.iter().zip(&types).map(|(column, logical)| to_logical(column, logical).unwrap());
            rows.extend(rows_of(&logical.collect::<Vec<_>>(), chunk.rows));
        };
        for chunk in chunks(probe, &mut dice) {
            let mut cursor = table.probe(residual, chunk).unwrap();
            while let Some(chunk) = cursor.next().unwrap() {
                take(chunk);
            }
        }
        if let Some(rest) = table.rest(residual).unwrap() {
            for morsel in 0..rest.morsels() {
                let mut reader = rest.read(morsel).unwrap();
                while let Some(chunk) = reader.next().unwrap() {
                    take(chunk);
                }
            }
        }
        drop(table);
        assert_eq!(budget.used(), 0, "all memory is given back");
        rows.sort();
        Outcome { rows, spilled: metrics.extra("spilled_bytes").is_some() }
    }

    fn check(&self) -> Outcome {
        let (build, probe) = self.tables();
        let outcome = self.run(&build, &probe);
        assert_same(&outcome.rows, &self.reference(&build, &probe), self);
        outcome
    }
}

struct Outcome {
    rows: Vec<Vec<Text>>,
    spilled: bool,
}

fn assert_same(found: &[Vec<Text>], wanted: &[Vec<Text>], case: &Case) {
    if found == wanted {
        return;
    }
    let odd = found.iter().zip(wanted).position(|(one, other)| one != other).unwrap_or(found.len().min(wanted.len()));
    panic!(
        "{case:?}: {} rows instead of {}; first difference at {odd}: {:?} instead of {:?}",
        found.len(),
        wanted.len(),
        found.get(odd),
        wanted.get(odd)
    );
}

fn case(kind: JoinKind, keys: &[KeyType]) -> Case {
    Case {
        seed: 1,
        kind,
        keys: keys.to_vec(),
        residual: false,
        nulls_match: false,
        build_rows: 60,
        probe_rows: 80,
        domain: 20,
        workers: 2,
        tuning: Tuning::default(),
        limit: None,
        chunk_rows: None,
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let tuning = (
        prop::sample::select(vec![u64::MAX, u64::MAX, 0, 3]),
        any::<bool>(),
        prop::sample::select(vec![31, 31, 0, 2]),
        1..4_u32,
        0..3_u32,
    );
    let tuning = tuning.prop_map(|(hash_mask, dense, directory_bits, fan_bits, max_depth)| Tuning {
        hash_mask,
        dense,
        directory_bits,
        fan_bits,
        max_depth,
    });
    let shape = (
        any::<u64>(),
        prop::sample::select(KINDS.to_vec()),
        prop::collection::vec(prop::sample::select(KEY_TYPES.to_vec()), 0..3),
        any::<(bool, bool)>(),
        prop::sample::select(vec![0, 1, 5, 60, 200]),
        prop::sample::select(vec![0, 1, 70, 200]),
        prop::sample::select(vec![1, 4, 30, 500]),
        1..5_usize,
    );
    let limit = prop::sample::select(vec![None, None, Some(0), Some(3_000), Some(20_000), Some(200_000)]);
    (shape, tuning, limit).prop_map(|(shape, tuning, limit)| {
        let (seed, kind, keys, (residual, nulls_match), build_rows, probe_rows, domain, workers) = shape;
        let keys = if kind == JoinKind::ProbeAntiNullAware {
            keys.first().map_or(vec![KeyType::Small], |&key| vec![key])
        } else {
            keys
        };
        let nulls_match = nulls_match && kind != JoinKind::ProbeAntiNullAware;
        Case {
            seed,
            kind,
            keys,
            residual,
            nulls_match,
            build_rows,
            probe_rows,
            domain,
            workers,
            tuning,
            limit,
            chunk_rows: None,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn joins_like_a_nested_loop(case in any_case()) {
        case.check();
    }
}

#[test]
fn every_kind_with_every_key() {
    for kind in KINDS {
        for key in KEY_TYPES {
            for residual in [false, true] {
                Case { residual, ..case(kind, &[key]) }.check();
                if kind != JoinKind::ProbeAntiNullAware {
                    Case { residual, nulls_match: true, ..case(kind, &[key, KeyType::Text]) }.check();
                    Case { residual, ..case(kind, &[KeyType::Small, key]) }.check();
                }
                Case { residual, limit: Some(0), ..case(kind, &[key]) }.check();
            }
        }
        if kind != JoinKind::ProbeAntiNullAware {
            Case { residual: true, ..case(kind, &[]) }.check();
            Case { build_rows: 1, ..case(kind, &[]) }.check();
            Case { build_rows: 0, ..case(kind, &[]) }.check();
        }
    }
}

#[test]
fn a_filter_passes_every_row_that_has_a_partner() {
    for seed in 0..40 {
        for key in KEY_TYPES {
            for (nulls_match, dense) in [(false, true), (true, false)] {
                let tuning = Tuning { dense, ..Tuning::default() };
                let case = Case { seed, nulls_match, tuning, ..case(JoinKind::Inner, &[key, KeyType::Int32]) };
                let (build, probe) = case.tables();
                let builder =
                    JoinBuilder::tuned(case.spec(), build.types(), probe.types(), Resources::for_tests(), tuning)
                        .unwrap();
                let mut dice = Dice(seed);
                let mut local = builder.local().unwrap();
                build.chunks(&mut dice).iter().for_each(|chunk| local.consume(chunk).unwrap());
                let table = builder.finish(vec![local]).unwrap();
                let (builds, probes) = (build.texts(), probe.texts());
                let mut from = 0;
                for chunk in probe.chunks(&mut dice) {
                    for key in 0..2 {
                        let passes = table.key_filter(key).unwrap().test(&chunk.columns[key]).unwrap();
                        for row in 0..chunk.rows {
                            let partner = builds.iter().any(|build| case.keys_match(&probes[from + row], build));
                            assert!(passes.value(row) || !partner, "{case:?}: row {}", from + row);
                        }
                    }
                    from += chunk.rows;
                }
            }
        }
    }
}

#[test]
fn a_filter_knows_what_it_can_know() {
    let numbers =
        |values: Vec<Option<i64>>| Table { rows: values.len(), columns: vec![Arc::new(Int64Array::from(values))] };
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        build_keys: vec![0],
        probe_keys: vec![0],
        nulls_match: false,
        residual: None,
        output: vec![JoinColumn::Probe(0)],
    };
    let table = |values: Vec<Option<i64>>, kind| {
        let build = numbers(values);
        let spec = JoinSpec { kind, ..spec.clone() };
        let builder = JoinBuilder::new(spec, build.types(), build.types(), Resources::for_tests()).unwrap();
        let mut local = builder.local().unwrap();
        build.chunks(&mut Dice(1)).iter().for_each(|chunk| local.consume(chunk).unwrap());
        builder.finish(vec![local]).unwrap()
    };
    let small = table(vec![Some(-5), None, Some(10), Some(10)], JoinKind::Inner).key_filter(0).unwrap();
    assert_eq!((small.range(), small.is_exact()), (Some((-5, 10)), true));
    let asked: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(-5), None, Some(9), Some(10), Some(i64::MIN), Some(i64::MAX)]));
    let answer = small.test(&asked).unwrap();
    assert_eq!(answer.iter().collect::<Vec<_>>(), [true, false, false, true, false, false]);

    let values = small.few_values().unwrap();
    assert_eq!(values.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(-5), Some(10)]);

    let many = (0..100_000).map(|v| Some(keys::mix(v) as i64)).collect::<Vec<_>>();
    let sparse = table(many.clone(), JoinKind::Inner).key_filter(0).unwrap();
    assert!(!sparse.is_exact() && sparse.few_values().is_none());
    let there: ArrayRef = Arc::new(Int64Array::from(many));
    assert_eq!(sparse.test(&there).unwrap().count_set_bits(), 100_000);
    let others: ArrayRef = Arc::new((200_000..300_000).map(|v| keys::mix(v) as i64).collect::<Int64Array>());
    let wrong = sparse.test(&others).unwrap().count_set_bits();
    assert!(wrong < 4_000, "{wrong} of 100000 pass by mistake");

    let none = table(vec![], JoinKind::Inner).key_filter(0).unwrap();
    assert!(none.range().is_some_and(|(min, max)| min > max));
    assert_eq!(none.test(&asked).unwrap().count_set_bits(), 0);
    assert_eq!(none.few_values().unwrap().len(), 0);
    assert!(table(vec![Some(1)], JoinKind::ProbeAnti).key_filter(0).is_none());
}

/// Keys of build and probe, without references: the number of pairs is known.
fn count(build: Vec<i64>, probe: Vec<i64>, kind: JoinKind, limit: Option<usize>, workers: usize) -> (usize, bool) {
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let spec = JoinSpec {
        kind,
        build_keys: vec![0],
        probe_keys: vec![0],
        nulls_match: false,
        residual: None,
        output: match kind {
            JoinKind::ProbeSemi => vec![JoinColumn::Probe(0)],
            JoinKind::BuildSemi => vec![JoinColumn::Build(0)],
            _ => vec![JoinColumn::Probe(0), JoinColumn::Build(0)],
        },
    };
    let resources = Resources { budget: Budget::new(limit), workers, ..Resources::for_tests() };
    let metrics = Arc::clone(&resources.metrics);
    let builder = JoinBuilder::new(spec, vec![DataType::Int64], vec![DataType::Int64], resources).unwrap();
    let mut locals = (0..workers).map(|_| builder.local().unwrap()).collect::<Vec<_>>();
    for (number, keys) in build.chunks(CHUNK_ROWS).enumerate() {
        locals[number % workers].consume(&Chunk::new(vec![column(keys.to_vec())], keys.len())).unwrap();
    }
    let table = builder.finish(locals).unwrap();
    let mut rows = 0;
    let mut take = |chunk: Chunk| {
        assert!(chunk.rows > 0 && chunk.rows <= CHUNK_ROWS);
        if let ([one, other], JoinKind::Inner) = (chunk.columns.as_slice(), kind) {
            assert_eq!(one, other);
        }
        rows += chunk.rows;
    };
    for keys in probe.chunks(CHUNK_ROWS) {
        let mut cursor = table.probe(None, Chunk::new(vec![column(keys.to_vec())], keys.len())).unwrap();
        while let Some(chunk) = cursor.next().unwrap() {
            take(chunk);
        }
    }
    if let Some(rest) = table.rest(None).unwrap() {
        for morsel in 0..rest.morsels() {
            let mut reader = rest.read(morsel).unwrap();
            while let Some(chunk) = reader.next().unwrap() {
                take(chunk);
            }
        }
    }
    (rows, metrics.extra("spilled_bytes").is_some())
}

#[test]
fn large_tables_in_every_form() {
    let rows = 300_000_u64;
    let dense = (0..rows as i64).map(|v| v * 4).collect::<Vec<_>>();
    let repeated = (0..rows as i64).map(|v| v / 3).collect::<Vec<_>>();
    let random = (0..rows).map(|v| keys::mix(v) as i64).collect::<Vec<_>>();
    let random_twice = (0..rows).map(|v| keys::mix(v / 2) as i64).collect::<Vec<_>>();
    for workers in [1, 3] {
        for limit in [None, Some(1 << 20), Some(6 << 20)] {
            for (build, pairs) in [(&dense, 1), (&repeated, 3), (&random, 1), (&random_twice, 2)] {
                let probe =
                    build.iter().copied().step_by(pairs).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
                let (found, spilled) = count(build.clone(), probe, JoinKind::Inner, limit, workers);
                assert_eq!(found, rows as usize);
                assert_eq!(spilled, limit.is_some());
            }
        }
    }
}

#[test]
fn one_giant_key() {
    let build = vec![7; 50_000];
    let probe = (0..40).map(|v| if v % 2 == 0 { 7 } else { 8 }).collect::<Vec<_>>();
    for limit in [None, Some(100_000)] {
        assert_eq!(count(build.clone(), probe.clone(), JoinKind::Inner, limit, 2), (1_000_000, limit.is_some()));
        assert_eq!(count(build.clone(), probe.clone(), JoinKind::FullOuter, limit, 1).0, 1_000_020);
    }
    // Existence is cheap, however many partners there are.
    let often = vec![7; 50_000];
    assert_eq!(count(build.clone(), often.clone(), JoinKind::ProbeSemi, None, 1).0, 50_000);
    assert_eq!(count(build, often, JoinKind::BuildSemi, None, 1).0, 50_000);
}

#[test]
fn spilling_recurs() {
    let base =
        Case { build_rows: 5_000, probe_rows: 300, domain: 2_000, ..case(JoinKind::FullOuter, &[KeyType::Sparse]) };
    let tuning = Tuning { fan_bits: 1, max_depth: 3, ..Tuning::default() };
    for kind in KINDS {
        for residual in [false, true] {
            let case = Case { kind, residual, tuning, limit: Some(20_000), ..base.clone() };
            assert!(case.check().spilled);
        }
    }
}

#[test]
fn a_cancelled_query_stops() {
    let (build, probe) = case(JoinKind::Inner, &[KeyType::Small]).tables();
    let resources = Resources::for_tests();
    let cancel = resources.cancel.clone();
    let spec = case(JoinKind::Inner, &[KeyType::Small]).spec();
    let builder = JoinBuilder::new(spec, build.types(), probe.types(), resources).unwrap();
    let mut local = builder.local().unwrap();
    let chunks = build.chunks(&mut Dice(3));
    local.consume(&chunks[0]).unwrap();
    cancel.cancel(Error::cancelled("enough"));
    assert_eq!(local.consume(&chunks[0]).unwrap_err().message(), "enough");
    assert!(builder.finish(vec![local]).is_err());
}

#[test]
fn a_spec_that_does_not_fit_is_refused() {
    let good = case(JoinKind::Inner, &[KeyType::Small]).spec();
    let types = vec![DataType::Int64, DataType::Int64, DataType::Utf8];
    let make = |spec: JoinSpec, build: Vec<DataType>| {
        JoinBuilder::new(spec, build, types.clone(), Resources::for_tests()).map(|_| ())
    };
    make(good.clone(), types.clone()).unwrap();
    let other = vec![DataType::Int32, DataType::Int64, DataType::Utf8];
    make(good.clone(), other).unwrap_err();
    make(JoinSpec { output: vec![JoinColumn::Build(9)], ..good.clone() }, types.clone()).unwrap_err();
    make(JoinSpec { output: vec![JoinColumn::Mark], ..good.clone() }, types.clone()).unwrap_err();
    make(JoinSpec { build_keys: vec![], ..good }, types.clone()).unwrap_err();
}
