#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

//! Contractions against the obvious loop over all indices.
//!
//! Elements are small integers, also those of floats: then every sum is exact in whatever order it is made, and results must be
//! equal to the last bit. A result that is replaced begins as NaN, so that reading it shows.

mod device;
mod notation;
mod order;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rayon::ThreadPoolBuilder;

use super::reference::{self, Exact};
use super::*;

/// A small generator, so that an array is its seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % sides
    }
}

/// A type of elements that tests know.
trait Tested: Element + Exact + PartialEq {
    fn small(value: i32) -> Self;
    fn nonsense() -> Self;
    fn sum(value: i32) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
}

macro_rules! tested {
    ($($element:ty, $nonsense:expr;)*) => {$(
        impl Tested for $element {
            fn small(value: i32) -> Self {
                value as $element
            }
            fn nonsense() -> Self {
                $nonsense
            }
            fn sum(value: i32) -> Self::Sum {
                value.into()
            }
            fn narrow(sum: Self::Sum) -> Self {
                sum as $element
            }
        }
    )*};
}

tested! {
    f32, f32::NAN;
    f64, f64::NAN;
    i32, 1 << 20;
    i64, 1 << 40;
}

/// How an operand lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lying {
    /// Row-major without gaps.
    Contiguous,
    /// Axes in any order, without gaps.
    Permuted,
    /// Axes in any order, with gaps, some backwards, some standing still.
    Strided,
}

struct Array<T> {
    data: Vec<T>,
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
}

impl<T: Tested> Array<T> {
    fn new(shape: &[usize], lying: Lying, dice: &mut Dice) -> Self {
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if lying != Lying::Contiguous {
            for at in (1..axes.len()).rev() {
                axes.swap(at, dice.roll(at + 1));
            }
        }
        let (mut strides, mut stride, mut offset) = (vec![0; shape.len()], 1_isize, 0);
        for &axis in axes.iter().rev() {
            let strange = if lying == Lying::Strided { dice.roll(8) } else { 7 };
            if strange == 0 {
                continue;
            }
            stride += isize::from(strange == 1);
            strides[axis] = if strange == 2 { -stride } else { stride };
            let reach = stride * (shape[axis].max(1) as isize - 1);
            offset += if strange == 2 { reach as usize } else { 0 };
            stride += reach;
        }
        let data = (0..stride).map(|_| T::small(dice.roll(7) as i32 - 3)).collect();
        Self { data, shape: shape.to_vec(), strides, offset }
    }

    fn view(&self) -> View<'_, T> {
        View::new(&self.data, &self.shape, &self.strides, self.offset).unwrap()
    }
}

/// Computes a contraction and compares it with the oracle.
fn check<T: Tested>(text: &str, extents: &[(char, usize)], lying: Lying, (alpha, beta): (i32, i32), seed: u64)
where
    T::Sum: PartialEq,
{
    let einsum = Einsum::parse(text).unwrap();
    let of = |letter: &char| extents.iter().find(|one| one.0 == *letter).unwrap().1;
    let dice = &mut Dice(seed);
    let arrays: Vec<Array<T>> = einsum
        .operands()
        .iter()
        .map(|letters| Array::new(&letters.iter().map(of).collect::<Vec<_>>(), lying, dice))
        .collect();
    let views: Vec<View<'_, T>> = arrays.iter().map(Array::view).collect();
    let product = reference::contract(&einsum, &views);
    let before: Vec<i32> = product.iter().map(|_| dice.roll(9) as i32 - 4).collect();
    let mut out: Vec<T> = before.iter().map(|&old| if beta == 0 { T::nonsense() } else { T::small(old) }).collect();
    let epilogue = Epilogue { alpha: T::small(alpha), beta: T::small(beta) };
    contract(&einsum, &views, epilogue, &mut out).unwrap();
    for (place, (&sum, &old)) in product.iter().zip(&before).enumerate() {
        let expected = T::narrow(T::sum(alpha) * sum + T::sum(beta * old));
        assert_eq!(
            out[place], expected,
            "{text} {extents:?} {lying:?} alpha {alpha} beta {beta} seed {seed}, element {place}"
        );
    }
}

/// One contraction in all ways that matter.
fn check_all(text: &str, extents: &[(char, usize)]) {
    for (seed, lying) in [Lying::Contiguous, Lying::Permuted, Lying::Strided].into_iter().enumerate() {
        check::<f64>(text, extents, lying, (1, 0), seed as u64);
        check::<f32>(text, extents, lying, (2, 1), seed as u64);
    }
    check::<i64>(text, extents, Lying::Permuted, (1, 0), 5);
}

/// Letters of operands, and of the output, by number; extents of all letters.
fn any_contraction(operands: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = (String, Vec<(char, usize)>)> {
    let operand = prop::collection::vec(0..6_u8, 0..5);
    let lists = prop::collection::vec(operand, operands);
    (lists, any::<u64>(), prop::collection::vec(0..100_usize, 6)).prop_map(|(lists, kept, sizes)| {
        let letter = |number: u8| char::from(b'a' + number);
        let mut output: Vec<u8> = lists.iter().flatten().copied().collect();
        output.sort_by_key(|number| ((kept >> (8 + 8 * number)) & 0xff, *number));
        output.dedup();
        output.retain(|number| kept >> number & 1 == 1);
        let lists: Vec<String> = lists.iter().map(|list| list.iter().copied().map(letter).collect()).collect();
        let output: String = output.into_iter().map(letter).collect();
        // An extent of 0 now and then, of 1 more often.
        let extent = |size: usize| if size < 3 { 0 } else { 1 + size % 5 };
        let extents = sizes.into_iter().enumerate().map(|(at, size)| (letter(at as u8), extent(size))).collect();
        (format!("{}->{output}", lists.join(",")), extents)
    })
}

fn any_lying() -> impl Strategy<Value = Lying> {
    prop_oneof![Just(Lying::Contiguous), Just(Lying::Permuted), Just(Lying::Strided)]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(17), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn pairs_are_as_the_obvious_loop_has_them(
        (text, extents) in any_contraction(1..=2), lying in any_lying(), alpha in -1..3, beta in -1..3, seed: u64,
    ) {
        check::<f64>(&text, &extents, lying, (alpha, beta), seed);
        check::<f32>(&text, &extents, lying, (alpha, beta), seed);
        check::<i64>(&text, &extents, lying, (alpha, beta), seed);
        check::<i32>(&text, &extents, lying, (alpha, beta), seed);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn networks_are_as_the_obvious_loop_has_them(
        (text, extents) in any_contraction(3..=4), lying in any_lying(), alpha in -1..3, beta in -1..3, seed: u64,
    ) {
        check::<f64>(&text, &extents, lying, (alpha, beta), seed);
        check::<i64>(&text, &extents, lying, (alpha, beta), seed);
    }
}

#[test]
fn matrix_products_of_many_forms() {
    let sizes = [('b', 3), ('i', 37), ('j', 41), ('k', 29), ('l', 7)];
    for text in [
        "ij,jk->ik",
        "ij,jk->ki",
        "ji,jk->ik",
        "ij,kj->ik",
        "bij,bjk->bik",
        "ijb,jkb->ikb",
        "ibj,jbk->ikb",
        "ijk,kl->ijl",
        "ijk,jl->ilk",
        "ijk,il->ljk",
        "ijk,jkl->il",
        "ikj,jlk->il",
        "bij,bjl->bil",
        "lij,jlk->ik",
        "ijl,jk->kil",
        "ij,kl->ikjl",
        "ijl,kjb->ikbl",
        "ijl,kjb->kibl",
        "il,ljb->jib",
    ] {
        check_all(text, &sizes);
    }
}

#[test]
fn large_matrix_products_go_to_all_workers() {
    check::<f64>("ij,jk->ik", &[('i', 130), ('j', 150), ('k', 140)], Lying::Contiguous, (1, 1), 1);
    check::<f32>("bij,bjk->bik", &[('b', 40), ('i', 30), ('j', 35), ('k', 40)], Lying::Permuted, (1, 0), 2);
    check::<f64>("ijb,kjb->bik", &[('b', 40), ('i', 30), ('j', 35), ('k', 40)], Lying::Contiguous, (1, 0), 3);
}

#[test]
fn arrays_times_vectors_in_strips_and_pieces() {
    for (text, sizes) in [
        ("ij,j->i", [3, 90_000]),
        ("ij,j->i", [90_000, 3]),
        ("ij,j->i", [700, 300]),
        ("ij,i->j", [90_000, 3]),
        ("ij,i->j", [3, 90_000]),
        ("ij,i->j", [150, 1300]),
        ("ij,ij->i", [5, 40_001]),
        ("ij,ij->j", [5, 40_001]),
        ("ij,ij->j", [40_001, 5]),
        ("ij->i", [301, 299]),
        ("ij->j", [301, 299]),
        ("ij->ji", [301, 299]),
        ("ij->", [301, 299]),
        ("j,ij->i", [9, 10_000]),
        ("ij,j->ij", [301, 299]),
        ("ij,ij->ij", [301, 299]),
        ("i,j->ji", [301, 299]),
        ("ij,ij->", [301, 299]),
        ("ij,ji->ij", [210, 210]),
        ("ij,ji->", [300, 300]),
    ] {
        check_all(text, &[('i', sizes[0]), ('j', sizes[1])]);
    }
    for text in [
        "ijk,k->ij",
        "ijk,j->ik",
        "ijk,i->jk",
        "ijk,jk->i",
        "ijk,ik->j",
        "ijk,ij->k",
        "ijk,ij->ki",
        "ijk,ij->ik",
        "ijk,k->kij",
    ] {
        check_all(text, &[('i', 23), ('j', 67), ('k', 91)]);
        check_all(text, &[('i', 5), ('j', 3), ('k', 8000)]);
        check_all(text, &[('i', 8000), ('j', 3), ('k', 5)]);
    }
}

#[test]
fn mttkrp_of_every_mode() {
    for sizes in [
        [('i', 33), ('j', 45), ('k', 70), ('r', 8)],
        [('i', 3), ('j', 300), ('k', 20), ('r', 5)],
        [('i', 2), ('j', 4), ('k', 1300), ('r', 3)],
    ] {
        for text in ["ijk,jr,kr->ir", "ijk,ir,kr->jr", "ijk,ir,jr->kr", "jr,ijk,rk->ir"] {
            assert!(mttkrp::recognise(&Einsum::parse(text).unwrap()).is_some(), "{text}");
            check_all(text, &sizes);
        }
    }
    for text in ["ijkl,jr,kr,lr->ir", "ijkl,ir,kr,lr->jr", "ijkl,ir,jr,lr->kr", "ijkl,ir,jr,kr->lr"] {
        check_all(text, &[('i', 7), ('j', 9), ('k', 11), ('l', 13), ('r', 4)]);
    }
}

#[test]
fn what_only_looks_like_an_mttkrp_is_none() {
    for text in [
        "ijk,jr,kr->ri",
        "ijk,jr,jr->ir",
        "ijk,jr,ks->ir",
        "iik,ir,kr->ir",
        "ijk,jr,kr->r",
        "ijk,jk,kr->ir",
        "ij,jr->ir",
    ] {
        assert_eq!(mttkrp::recognise(&Einsum::parse(text).unwrap()), None, "{text}");
    }
}

#[test]
fn a_kernel_is_chosen_by_its_indices() {
    for (text, expected) in [
        ("ij,jk->ik", Some(Kernel::Gemm)),
        ("ij,j->i", Some(Kernel::Ttv)),
        ("i,i->", Some(Kernel::Dot)),
        ("i,j->ij", Some(Kernel::Elementwise)),
        ("ij->ji", Some(Kernel::Elementwise)),
        ("ij->j", Some(Kernel::Ttv)),
        ("ii->", Some(Kernel::Dot)),
        ("bi,bi->b", Some(Kernel::Ttv)),
        ("ijk,jl,kl->il", Some(Kernel::Mttkrp)),
        ("ij,jk,kl->il", None),
    ] {
        let einsum = Einsum::parse(text).unwrap();
        let shapes: Vec<Vec<usize>> = einsum.operands().iter().map(|letters| vec![3; letters.len()]).collect();
        assert_eq!(kernel(&einsum, &shapes.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap(), expected, "{text}");
    }
}

/// How many workers there are changes no bit.
#[test]
fn workers_do_not_change_sums() {
    for (text, sizes) in [
        ("ij,jk->ik", [257, 300, 129]),
        ("bij,bjk->bik", [31, 40, 50]),
        ("ijk,k->ij", [40, 50, 60]),
        ("ij,i->j", [9000, 30, 1]),
        ("ij,j->i", [3, 90_000, 1]),
        ("ij,ij->", [300, 3001, 1]),
        ("ijk,jr,kr->ir", [40, 50, 60]),
        ("ijk,ir,jr->kr", [40, 50, 60]),
        ("ijk,ir,kr->jr", [40, 50, 60]),
    ] {
        let einsum = Einsum::parse(text).unwrap();
        let of = |letter: &char| match letter {
            'i' => sizes[0],
            'j' => sizes[1],
            'k' => sizes[2],
            _ => 20,
        };
        let mut dice = Dice(3);
        let shapes: Vec<Vec<usize>> =
            einsum.operands().iter().map(|letters| letters.iter().map(of).collect()).collect();
        let arrays: Vec<Vec<f64>> = shapes
            .iter()
            .map(|shape| (0..shape.iter().product()).map(|_| dice.roll(1 << 30) as f64 / 1e9 - 0.5).collect())
            .collect();
        let views: Vec<_> =
            arrays.iter().zip(&shapes).map(|(data, shape)| View::contiguous(data, shape).unwrap()).collect();
        let run = |workers: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
            let mut out = vec![0.0; einsum.output().iter().map(of).product()];
            pool.install(|| contract(&einsum, &views, Epilogue::REPLACE, &mut out)).unwrap();
            out.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        };
        let alone = run(1);
        for workers in [2, 3, 7] {
            assert!(run(workers) == alone, "{text} with {workers} workers");
        }
    }
}

#[test]
fn integers_do_not_wrap() {
    let dot = Einsum::parse("i,i->").unwrap();
    let run = |a: &[i64], b: &[i64], epilogue: Epilogue<i64>, old: i64| {
        let mut out = [old];
        let views = [View::contiguous(a, &[a.len()]).unwrap(), View::contiguous(b, &[b.len()]).unwrap()];
        contract(&dot, &views, epilogue, &mut out).map(|()| out[0])
    };
    let failure = run(&[i64::MAX, 1], &[1, 1], Epilogue::REPLACE, 0).unwrap_err();
    assert_eq!(failure.kind(), bireme_engine::error::ErrorKind::User);
    assert!(failure.message().contains("overflow") && failure.message().contains("i64"), "{failure}");
    // What is too large on the way may fit in the end, also what an i128 cannot hold.
    assert_eq!(run(&[i64::MAX, 1, -1], &[1, 1, 1], Epilogue::REPLACE, 0).unwrap(), i64::MAX);
    // 3 · 2^126, which an i128 cannot hold, less as much.
    let (a, b) = ([i64::MIN; 7], [i64::MIN, i64::MIN, i64::MIN, i64::MAX, i64::MAX, i64::MAX, 3]);
    assert_eq!(run(&a, &b, Epilogue::REPLACE, 0).unwrap(), 0);
    assert!(run(&a[..3], &b[..3], Epilogue::REPLACE, 0).is_err());
    // 2^128, of which an i128 that wraps would be left with 0.
    assert!(run(&[i64::MIN; 4], &[i64::MIN; 4], Epilogue::REPLACE, 0).is_err());
    assert!(run(&[1], &[1], Epilogue::ADD, i64::MAX).is_err());
    let mut out = [2_i32];
    let scalar = View::contiguous(&[i32::MAX], &[1]).unwrap();
    assert!(contract(&dot, &[scalar.clone(), scalar], Epilogue::REPLACE, &mut out).is_err());
}

#[test]
fn results_must_have_room() {
    let einsum = Einsum::parse("ij,jk->ik").unwrap();
    let data = [1.0_f32; 6];
    let views = [View::contiguous(&data, &[2, 3]).unwrap(), View::contiguous(&data, &[3, 2]).unwrap()];
    let failure = contract(&einsum, &views, Epilogue::REPLACE, &mut [0.0; 5]).unwrap_err();
    assert!(failure.message().contains("[2, 2]") && failure.message().contains("5 elements"), "{failure}");
    assert!(contract(&einsum, &views[..1], Epilogue::REPLACE, &mut [0.0; 4]).is_err());
}

#[test]
fn views_stay_in_their_buffers() {
    let data = [0_i32; 10];
    for (shape, strides, offset, fits) in [
        (&[2, 5][..], &[5, 1][..], 0, true),
        (&[2, 5], &[5, 1], 1, false),
        (&[2, 5], &[-5, 1], 5, true),
        (&[2, 5], &[-5, 1], 4, false),
        (&[2, 5], &[-5, -1], 9, true),
        (&[100, 5], &[0, 2], 1, true),
        (&[100, 5], &[0, 2], 2, false),
        (&[], &[], 9, true),
        (&[], &[], 10, false),
        (&[0, 99], &[1, 1], 70, true),
        (&[usize::MAX, usize::MAX], &[isize::MAX, isize::MAX], 0, false),
        (&[usize::MAX, usize::MAX], &[isize::MIN, isize::MAX], 0, false),
        (&[2], &[1, 1], 0, false),
    ] {
        assert_eq!(View::new(&data, shape, strides, offset).is_ok(), fits, "{shape:?} {strides:?} {offset}");
    }
    assert!(View::contiguous(&data, &[3, 3]).is_err());
    assert!(View::contiguous(&data, &[usize::MAX, 2]).is_err());
}
