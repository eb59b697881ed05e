//! Cases in tests/fixtures/arrays/, which make.py writes: a program, and what NumPy says of its result.

use super::program::{Elements, GOLDEN, extents, mix};

/// One line of a fixture.
pub struct Case<'a> {
    pub words: Vec<&'a str>,
    dtype: &'a str,
    shape: Vec<usize>,
    mode: Mode,
    elements: Expected<'a>,
}

/// How elements are compared. Every NaN equals every other one.
enum Mode {
    /// By their bits.
    Bits,
    /// By their bits, but 0 equals -0.
    Values,
    /// Within so many units in the last place.
    Ulps(u64),
    /// Within a distance.
    Within(f64),
}

/// What is known of the elements.
enum Expected<'a> {
    /// A hash of all bits.
    Hash(u64),
    /// Each so-manieth one.
    Each(usize, Vec<&'a str>),
}

/// The lines of a fixture.
pub fn cases(text: &str) -> Vec<Case<'_>> {
    text.lines().map(case).collect()
}

fn case(line: &str) -> Case<'_> {
    let parts = line.split('\t').collect::<Vec<_>>();
    let [program, kind, mode, elements] = parts[..] else { panic!("no case: {line}") };
    let (dtype, shape) = kind.split_once(':').unwrap();
    let mode = match mode.split_at(1) {
        ("=", _) => Mode::Bits,
        ("z", _) => Mode::Values,
        ("u", ulps) => Mode::Ulps(ulps.parse().unwrap()),
        ("a", distance) => Mode::Within(distance.parse().unwrap()),
        other => panic!("no way to compare: {other:?}"),
    };
    let elements = match elements.as_bytes() {
        [b'#', ..] => Expected::Hash(u64::from_str_radix(&elements[1..], 16).unwrap()),
        [b'%', ..] => {
            let (each, some) = elements[1..].split_once(' ').unwrap();
            Expected::Each(each.parse().unwrap(), some.split(' ').collect())
        }
        _ => Expected::Each(1, elements.split_whitespace().collect()),
    };
    Case { words: program.split(' ').collect(), dtype, shape: extents(shape), mode, elements }
}

impl Case<'_> {
    /// What differs, if anything does.
    pub fn difference(&self, got: &Elements) -> Option<String> {
        if (got.dtype, &got.shape) != (self.dtype, &self.shape) {
            return Some(format!("{} {:?}, expected {} {:?}", got.dtype, got.shape, self.dtype, self.shape));
        }
        match &self.elements {
            Expected::Hash(hash) => {
                let ours = hashed(got, matches!(self.mode, Mode::Values));
                let some = || (0..got.bits.len().min(12)).map(|at| shown(got, at)).collect::<Vec<_>>().join(" ");
                (ours != *hash).then(|| format!("the bits differ; the first are {}", some()))
            }
            Expected::Each(each, some) => {
                let count = got.bits.len().div_ceil(*each);
                if some.len() != count {
                    return Some(format!("{} of {} expected elements", count, some.len()));
                }
                let differs = |(at, text): (usize, &&str)| {
                    let wanted = self.parsed(text);
                    (!self.equal(got.bits[at * each], wanted))
                        .then(|| format!("element {} is {}, expected {text}", at * each, shown(got, at * each)))
                };
                some.iter().enumerate().find_map(differs)
            }
        }
    }

    fn parsed(&self, text: &str) -> u64 {
        let float = text.parse::<f64>();
        match self.dtype {
            "f64" if float.as_ref().is_ok_and(|x| x.is_nan()) => 0x7ff8_0000_0000_0000,
            "f32" if float.as_ref().is_ok_and(|x| x.is_nan()) => 0x7fc0_0000,
            "f64" => float.unwrap().to_bits(),
            "f32" => u64::from(text.parse::<f32>().unwrap().to_bits()),
            _ => text.parse::<i64>().unwrap() as u64,
        }
    }

    fn equal(&self, got: u64, wanted: u64) -> bool {
        if got == wanted {
            return true;
        }
        let float =
            |bits: u64| if self.dtype == "f64" { f64::from_bits(bits) } else { f64::from(f32::from_bits(bits as u32)) };
        if !self.dtype.starts_with('f') || float(got).is_nan() || float(wanted).is_nan() {
            return false;
        }
        match self.mode {
            Mode::Bits => false,
            Mode::Values => float(got) == 0.0 && float(wanted) == 0.0,
            Mode::Ulps(ulps) => place(self.dtype, got).abs_diff(place(self.dtype, wanted)) <= ulps,
            Mode::Within(distance) => {
                float(got) == float(wanted)
                    || (float(got) - float(wanted)).abs() <= distance && float(wanted).is_finite()
            }
        }
    }
}

/// The number of a float in their order; both zeros have 0.
fn place(dtype: &str, bits: u64) -> i64 {
    let (sign, rest) = if dtype == "f64" { (bits >> 63, bits << 1 >> 1) } else { (bits >> 31, bits & 0x7fff_ffff) };
    if sign == 1 { -(rest as i64) } else { rest as i64 }
}

/// The hash of all elements, as make.py has it.
fn hashed(elements: &Elements, zeros_are_equal: bool) -> u64 {
    let negative_zero = match elements.dtype {
        "f64" => 1 << 63,
        "f32" => 1 << 31,
        // No other element has these bits.
        _ => return elements.bits.iter().enumerate().fold(0, add),
    };
    let one = |&bits: &u64| if zeros_are_equal && bits == negative_zero { 0 } else { bits };
    elements.bits.iter().map(one).enumerate().fold(0, |sum, (at, bits)| add(sum, (at, &bits)))
}

fn add(sum: u64, (at, bits): (usize, &u64)) -> u64 {
    sum.wrapping_add(mix(bits.wrapping_add((at as u64).wrapping_mul(GOLDEN))))
}

/// An element as text.
pub fn shown(elements: &Elements, at: usize) -> String {
    let bits = elements.bits[at];
    match elements.dtype {
        "f64" => format!("{:?}", f64::from_bits(bits)),
        "f32" => format!("{:?}", f32::from_bits(bits as u32)),
        _ => (bits as i64).to_string(),
    }
}

#[test]
fn differences_are_seen() {
    let floats = |values: &[f64]| {
        let bits = values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        Elements { dtype: "f64", shape: vec![bits.len()], bits }
    };
    let differs = |line: &str, values: &[f64]| case(line).difference(&floats(values)).is_some();
    let next = f64::from_bits(1.0_f64.to_bits() + 3);
    assert!(!differs("p\tf64:2\t=\t1.0 nan", &[1.0, f64::NAN]));
    assert!(differs("p\tf64:2\t=\t1.0 2.0", &[1.0, f64::NAN]));
    assert!(differs("p\tf64:2\ta1e9\t1.0 nan", &[1.0, 2.0]));
    assert!(differs("p\tf64:2\ta1e9\t1.0 inf", &[1.0, 2.0]));
    assert!(differs("p\tf64:1\t=\t0.0", &[-0.0]));
    assert!(!differs("p\tf64:1\tz\t0.0", &[-0.0]));
    assert!(!differs("p\tf64:1\tu2\t0.0", &[-0.0]));
    assert!(differs("p\tf64:1\tu2\t1.0", &[next]));
    assert!(!differs("p\tf64:1\tu3\t1.0", &[next]));
    assert!(differs("p\tf64:1\tz\t1.0", &[next]));
    assert!(differs("p\tf64:1\ta1e-16\t1.0", &[next]));
    assert!(!differs("p\tf64:1\ta1e-15\t1.0", &[next]));
    assert!(differs("p\tf32:1\t=\t1.0", &[1.0]));
    assert!(differs("p\tf64:1x1\t=\t1.0", &[1.0]));
    assert!(differs("p\tf64:3\t=\t%2 1.0 3.0", &[1.0, 2.0, 4.0]));
    assert!(!differs("p\tf64:3\t=\t%2 1.0 3.0", &[1.0, 7.0, 3.0]));
    assert!(differs("p\tf64:2\t=\t#1", &[1.0, 2.0]));
}
