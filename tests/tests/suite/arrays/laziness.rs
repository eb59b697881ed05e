//! What is computed, when, and how often.

use bireme::prelude::*;

use super::cut_over;

fn sessions() -> [Session; 2] {
    [Session::builder().threads(2).build().unwrap(), cut_over(3, 1)]
}

/// The lines of a program, one an array.
fn program<T: bireme::array::Element>(array: &Array<T>) -> Vec<String> {
    let text = array.explain().unwrap();
    let lines = text.lines().skip(1).take_while(|line| !line.starts_with("==")).map(str::to_owned);
    lines.collect()
}

#[test]
fn what_is_held_is_computed_once() {
    for session in sessions() {
        let x = session.random::<f64>([9000], 1);
        let held = x.exp();
        let sum = held.sum();
        assert!(program(&sum).iter().any(|line| line.contains("= exp")), "{:?}", program(&sum));
        let first = sum.item().unwrap();
        // `held` was needed for the sum, and is there now.
        let again = program(&held.sum());
        assert!(again.iter().all(|line| !line.contains("exp")), "{again:?}");
        assert!(again[0].contains("= input"), "{again:?}");
        assert_eq!(held.sum().item().unwrap().to_bits(), first.to_bits());
        assert_eq!(held.to_vec().unwrap(), x.exp().to_vec().unwrap());
    }
}

#[test]
fn what_is_not_held_is_not_kept() {
    for session in sessions() {
        let x = session.random::<f64>([9000], 1);
        x.compute().unwrap();
        let sum = x.exp().sum();
        let lines = program(&sum);
        let kept = lines.iter().filter(|line| line.ends_with("kept")).collect::<Vec<_>>();
        assert_eq!(kept.len(), 1, "{lines:?}");
        sum.item().unwrap();
        // The sum alone is an input of what follows.
        let after = program(&(&sum + 1.0));
        assert_eq!(after.iter().filter(|line| line.contains("= input")).count(), 1, "{after:?}");
        assert!(after.iter().all(|line| !line.contains("exp")), "{after:?}");
    }
}

#[test]
fn a_view_of_what_is_held_keeps_it() {
    for session in sessions() {
        let x = session.random::<f64>([130, 41], 1);
        let view = (&x * 2.0).slice("::2, 1").unwrap();
        let total = (&view + 1.0).sum();
        total.item().unwrap();
        let wanted = x.to_vec().unwrap().chunks(41).step_by(2).map(|row| row[1] * 2.0).collect::<Vec<_>>();
        assert_eq!(view.to_vec().unwrap(), wanted);
    }
}

#[test]
fn held_arrays_beside_what_is_computed_do_not_become_chains() {
    for session in sessions() {
        let step = session.ones::<f64>([5000]);
        let mut x = session.zeros::<f64>([5000]);
        let mut r = session.full([5000], 1e6);
        for _ in 0..40 {
            x = &x + &step * 0.5;
            r = &r - &step;
            // Only r is computed, but x is made of what was computed, too, or stays short.
            r.sum().item().unwrap();
        }
        assert!(x.to_vec().unwrap().iter().all(|&value| value == 20.0));
        assert!(r.to_vec().unwrap().iter().all(|&value| value == 1e6 - 40.0));
    }
}

#[test]
fn a_held_sibling_is_computed_in_the_same_action() {
    let session = Session::builder().threads(2).build().unwrap();
    let x = session.random::<f64>([100], 3);
    let y = x.exp();
    let twice = &y * 2.0;
    y.sum().item().unwrap();
    let lines = program(&(&twice + 1.0));
    assert!(lines[0].contains("= input"), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("exp")), "{lines:?}");
}

#[test]
fn ten_thousand_steps_are_one_action() {
    for session in sessions() {
        let start = session.array((0..50_i64).collect::<Vec<_>>(), [50]).unwrap();
        let y = session.array((0..50_i64).map(|at| at % 3).collect::<Vec<_>>(), [50]).unwrap();
        let mut x = start.clone();
        for _ in 0..10_000 {
            x = x + &y;
        }
        let lines = program(&x);
        assert!(lines.len() >= 10_002, "{} arrays", lines.len());
        assert_eq!(lines.iter().filter(|line| line.ends_with("kept")).count(), 1);
        assert_eq!(x.to_vec().unwrap(), (0..50).map(|at| at + 10_000 * (at % 3)).collect::<Vec<_>>());
        assert_eq!(program(&x).len(), 1, "it is there now");
    }
}

/// Runs on a stack of 256 KiB.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
}

/// A chain of nodes that were dropped one within the other would need as many frames.
#[test]
fn long_chains_are_dropped_on_a_small_stack() {
    on_a_small_stack(|| {
        let session = Session::builder().threads(2).build().unwrap();
        let y = session.ones::<f64>([100]);
        let mut x = session.zeros::<f64>([100]);
        for _ in 0..10_000 {
            x = x + &y;
        }
        drop(x);
        // Of two chains that share their operands.
        let (mut a, mut b) = (session.zeros::<f64>([3]), session.ones::<f64>([3]));
        for _ in 0..10_000 {
            (a, b) = (&a + &b, &a - &b);
        }
        drop(b);
        drop(a);
    });
}

#[test]
fn long_chains_are_computed_on_a_small_stack() {
    on_a_small_stack(|| {
        let session = Session::builder().threads(2).build().unwrap();
        let mut x = session.zeros::<f64>([3]);
        for step in 0..5000 {
            x = x + 1.0;
            if step == 2500 {
                x.compute().unwrap();
            }
        }
        assert_eq!(x.to_vec().unwrap(), [5000.0; 3]);
    });
}

#[test]
fn views_of_views_of_views() {
    for session in sessions() {
        let mut x = session.arange(0_i64, 9000, 1).reshape([3, 3000]).unwrap();
        for step in 0..501 {
            x = x.flip(step % 2).unwrap();
        }
        // 251 times along the first axis, 250 times along the second.
        let wanted = (0..9000).map(|at| (2 - at / 3000) * 3000 + at % 3000).collect::<Vec<_>>();
        assert_eq!(x.to_vec().unwrap(), wanted);
    }
}

#[test]
fn several_arrays_are_one_program() {
    for session in sessions() {
        let x = session.random::<f64>([9000], 7);
        let (low, high, mean) = (x.min(), x.max(), x.mean());
        compute_all([&low, &high, &mean]).unwrap();
        for one in [&low, &high, &mean] {
            assert_eq!(program(one).len(), 1);
        }
        let all = x.to_vec().unwrap();
        assert_eq!(low.item().unwrap(), all.iter().copied().fold(f64::INFINITY, f64::min));
        assert_eq!(high.item().unwrap(), all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        assert!((mean.item().unwrap() - 0.5).abs() < 0.02);
    }
}

#[test]
fn slices_of_lazy_arrays_know_their_shapes() {
    for session in sessions() {
        let a = session.arange(0_i32, 60, 1).reshape([3, 4, 5]).unwrap() * 2 + 1;
        let at = |i: i32, j: i32, k: i32| (i * 20 + j * 5 + k) * 2 + 1;
        assert_eq!(a.slice(1).unwrap().shape(), [4, 5]);
        assert_eq!(a.slice((.., 1..3, -1)).unwrap().shape(), [3, 2]);
        assert_eq!(a.slice("..., newaxis, ::-2").unwrap().shape(), [3, 4, 1, 3]);
        assert_eq!(a.slice((2, -1, 0)).unwrap().item().unwrap(), at(2, 3, 0));
        assert_eq!(a.slice((0.., ..1, 3)).unwrap().to_vec().unwrap(), [at(0, 0, 3), at(1, 0, 3), at(2, 0, 3)]);
        let twice = a.slice("::2").unwrap().slice((1, .., ..2)).unwrap();
        assert_eq!(twice.to_vec().unwrap(), (0..4).flat_map(|j| [at(2, j, 0), at(2, j, 1)]).collect::<Vec<_>>());
        // Steps may be as large as they like.
        for (text, wanted) in [
            ("::9223372036854775807", vec![at(0, 3, 4)]),
            ("::-9223372036854775807", vec![at(2, 3, 4)]),
            ("1:9223372036854775807:2", vec![at(1, 3, 4)]),
            ("-9223372036854775807:1", vec![at(0, 3, 4)]),
        ] {
            assert_eq!(a.slice("..., 3, 4").unwrap().slice(text).unwrap().to_vec().unwrap(), wanted, "{text}");
        }
    }
}

#[test]
fn set_changes_this_array_only() {
    for session in sessions() {
        let before = session.zeros::<f64>([3, 4]);
        let mut a = before.clone();
        let view = a.slice("1").unwrap();
        let double = &a * 2.0 + 1.0;
        a.set("1, ::2", 5.0).unwrap();
        assert_eq!(before.sum().item().unwrap(), 0.0);
        assert_eq!(view.to_vec().unwrap(), [0.0; 4]);
        assert_eq!(double.to_vec().unwrap(), [1.0; 12]);
        assert_eq!(a.slice(1).unwrap().to_vec().unwrap(), [5.0, 0.0, 5.0, 0.0]);
        // Of a failed set nothing is left.
        assert!(a.set("7", 1.0).is_err());
        assert_eq!(a.sum().item().unwrap(), 10.0);
    }
}

#[test]
fn random_numbers_depend_on_seed_and_place_alone() {
    let [alone, cut] = sessions();
    let bits = |session: &Session, seed| {
        session.random::<f64>([130, 41], seed).to_vec().unwrap().into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(&alone, 5), bits(&cut, 5));
    assert_ne!(bits(&alone, 5), bits(&alone, 6));
    assert_eq!(
        alone.random::<f64>([5330], 5).to_vec().unwrap(),
        cut.random::<f64>([130, 41], 5).ravel().to_vec().unwrap()
    );
    for session in [&alone, &cut] {
        let (normal, whole) = (session.random_normal::<f64>([9000], 2), session.random_integers([9000], -2, 3, 9));
        assert!(normal.mean().item().unwrap().abs() < 0.05);
        assert!((normal.std().item().unwrap() - 1.0).abs() < 0.03);
        assert_eq!((whole.min().item().unwrap(), whole.max().item().unwrap()), (-2, 2));
        for value in -2..3_i64 {
            assert!(whole.equal(value).count_nonzero().item().unwrap() > 1600);
        }
    }
    let f32s = |session: &Session| session.random_normal::<f32>([9000], 2).to_vec().unwrap();
    assert_eq!(f32s(&alone), f32s(&cut));
    assert_eq!(
        alone.random_integers([9000], -5, 1 << 40, 9).to_vec().unwrap(),
        cut.random_integers([9000], -5, 1 << 40, 9).to_vec().unwrap()
    );
}
