//! Arrays against NumPy's own results, on one rank and cut over several; and what only Bireme has: laziness, tables, files.

mod files;
mod fixture;
mod laziness;
mod mistakes;
mod program;
mod schedules;
mod sparse;
mod tables;
#[cfg(feature = "zarr")]
mod zarr;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bireme::prelude::*;
use bireme::{Device, DeviceWork};

use fixture::{Case, cases, shown};
use program::{Elements, Inputs, Value, run};

/// What cases run on.
struct Sessions {
    /// The first is the one that others must agree with.
    alone: Session,
    /// Every array with axes is cut over three ranks.
    cut: Session,
    /// Small arrays lie on each of three ranks, others are cut.
    mixed: Session,
    /// As users have it, on two ranks.
    plain: Session,
}

impl Sessions {
    fn start() -> Self {
        Self {
            alone: Session::builder().threads(2).build().unwrap(),
            cut: cut_over(3, 1),
            mixed: cut_over(3, 64),
            plain: Session::builder().threads(2).local_ranks(2).build().unwrap(),
        }
    }
}

fn cut_over(ranks: usize, whole_below: usize) -> Session {
    Session::builder().threads(ranks).local_ranks(ranks).arrays_whole_below(whole_below).build().unwrap()
}

/// Parts of a file that run side by side: actions of several ranks are mostly spent waiting for each other.
const PARTS: usize = 3;

/// Runs all cases of a file on all sessions.
fn check(name: &str) {
    let path = bireme_tests::root().join("tests/fixtures/arrays").join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases = cases(&text);
    assert!(cases.len() > 100, "{} has {} cases", path.display(), cases.len());
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let parts = (0..PARTS).map(|part| {
            let cases = &cases;
            scope.spawn(move || failures_of(part, cases))
        });
        let parts = parts.collect::<Vec<_>>();
        failures.extend(parts.into_iter().flat_map(|part| part.join().unwrap()));
    });
    failures.sort_unstable();
    let most = std::env::var("BIREME_ARRAY_FAILURES").ok().and_then(|most| most.parse().ok()).unwrap_or(12);
    let shown = failures.iter().take(most).map(|(line, failure)| format!("line {line}: {failure}"));
    assert!(
        failures.is_empty(),
        "{} of {} cases of {name} failed (python make.py --show 'PROGRAM' prints what NumPy has):\n{}",
        failures.len(),
        cases.len(),
        shown.collect::<Vec<_>>().join("\n")
    );
}

/// The failures of every so-manieth case, by line.
fn failures_of(part: usize, cases: &[Case<'_>]) -> Vec<(usize, String)> {
    let sessions = Sessions::start();
    let mut inputs = Inputs::default();
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate().skip(part).step_by(PARTS) {
        let ran = catch_unwind(AssertUnwindSafe(|| on_all(&sessions, &mut inputs, number / PARTS, case)));
        let failure = ran.unwrap_or_else(|_| Some("it panicked".to_owned()));
        failures.extend(failure.map(|failure| (number + 1, format!("{}\n    {failure}", case.words.join(" ")))));
    }
    failures
}

/// What goes wrong in one case, if anything does.
fn on_all(sessions: &Sessions, inputs: &mut Inputs, number: usize, case: &Case<'_>) -> Option<String> {
    let (expected, reordered, _) = match computed(&sessions.alone, inputs, &case.words, false) {
        Ok(ran) => ran,
        Err(error) => return Some(format!("on one rank: {error}")),
    };
    if let Some(difference) = case.difference(&expected) {
        return Some(format!("on one rank: {difference}"));
    }
    let others = [
        ("one rank, with all in variables", &sessions.alone, true, 2, 1),
        ("three ranks", &sessions.cut, false, 1, 0),
        ("three ranks, with all in variables", &sessions.cut, true, 2, 0),
        ("three ranks, some arrays cut", &sessions.mixed, number.is_multiple_of(2), 3, 0),
        ("two ranks", &sessions.plain, false, 5, 0),
    ];
    for (name, session, hold, each, first) in others {
        if number % each != first {
            continue;
        }
        let (got, _, held) = match computed(session, inputs, &case.words, hold) {
            Ok(ran) => ran,
            Err(error) => return Some(format!("on {name}: {error}")),
        };
        // Only sums of products may be made in another order (law 10).
        let difference = if reordered { case.difference(&got) } else { parted(&got, &expected) };
        if let Some(difference) = difference {
            return Some(format!("on {name}: {difference}"));
        }
        if let Some(difference) = of_held(sessions, inputs, number, case, &held) {
            return Some(format!("on {name}: {difference}"));
        }
    }
    None
}

/// A program's result, whether its sums may be made in another order elsewhere, and what it held.
fn computed(
    session: &Session,
    inputs: &mut Inputs,
    words: &[&str],
    hold: bool,
) -> Result<(Elements, bool, Vec<Value>)> {
    let ran = run(session, inputs, words, hold)?;
    Ok((ran.value.elements()?, ran.reordered, ran.held))
}

/// Whether one of the arrays that were held is what the beginning of the program makes.
fn of_held(sessions: &Sessions, inputs: &mut Inputs, number: usize, case: &Case<'_>, held: &[Value]) -> Option<String> {
    let at = number.wrapping_mul(7) % held.len().max(1);
    let one = held.get(at).filter(|one| !matches!(one, Value::Number(_)))?;
    let made = computed(&sessions.alone, inputs, &case.words[..=at], false);
    let difference = match (one.elements(), made) {
        (Ok(got), Ok((expected, false, _))) => parted(&got, &expected),
        (Ok(_), Ok(_)) => None,
        (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
    };
    difference.map(|difference| format!("what was held behind word {at}, {}: {difference}", case.words[at]))
}

/// Where bits differ.
fn parted(got: &Elements, expected: &Elements) -> Option<String> {
    if (got.dtype, &got.shape) != (expected.dtype, &expected.shape) {
        return Some(format!("{} {:?} instead of {} {:?}", got.dtype, got.shape, expected.dtype, expected.shape));
    }
    let at = got.bits.iter().zip(&expected.bits).position(|(one, other)| one != other)?;
    Some(format!("element {at} is {} instead of {}", shown(got, at), shown(expected, at)))
}

#[test]
fn elementwise() {
    check("elementwise");
}

/// Kernels of element-wise work, as a GPU would run them: each is compiled, so only some cases are tried.
#[test]
fn element_wise_work_on_the_emulated_device() {
    let session = match Session::builder().threads(1).device(Device::Emulated).build() {
        Ok(session) => session,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let (mut inputs, mut failures) = (Inputs::default(), Vec::new());
    for (name, each) in [("elementwise", 5), ("compositions", 17), ("views", 61)] {
        let path = bireme_tests::root().join("tests/fixtures/arrays").join(name).with_extension("txt");
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, case) in cases(&text).iter().enumerate().step_by(each) {
            let got = computed(&session, &mut inputs, &case.words, false);
            let failure = got.map_or_else(|error| Some(error.to_string()), |(got, ..)| case.difference(&got));
            failures
                .extend(failure.map(|why| format!("{name} line {}: {}\n    {why}", number + 1, case.words.join(" "))));
        }
    }
    let report = session.device_reports().remove(0);
    eprintln!("{report}");
    assert!(failures.is_empty(), "{} failed\n{}\n{report}", failures.len(), failures.join("\n"));
    assert!(report.share(DeviceWork::Loops).on_device > 300, "{report}");
}

#[test]
fn a_gpu_that_is_not_there_is_said() {
    match Session::builder().device(Device::Gpu).build() {
        Ok(session) => eprintln!("SKIPPED: there is a GPU: {}", session.device_reports()[0]),
        Err(error) => assert!(error.to_string().contains("CUDA") || error.to_string().contains("NVRTC"), "{error}"),
    }
    assert!("quantum".parse::<Device>().unwrap_err().to_string().contains("`emulated`"));
}

#[test]
fn reductions() {
    check("reductions");
}

#[test]
fn views() {
    check("views");
}

#[test]
fn products() {
    check("products");
}

#[test]
fn creation() {
    check("creation");
}

#[test]
fn compositions() {
    check("compositions");
}
