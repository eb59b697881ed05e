//! Mistakes: what is said, and when. Operators keep the error until the first method with a `Result`.

use bireme::prelude::*;

use super::cut_over;

/// The message of an error has all parts.
fn fails<T>(made: Result<T>, parts: &[&str]) {
    let error = made.err().unwrap_or_else(|| panic!("no error that says {parts:?}"));
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "`{part}` is not in: {}", error.message());
    }
}

#[test]
fn operators_name_both_shapes_at_the_first_result() {
    let session = Session::builder().threads(2).build().unwrap();
    let (a, b) = (session.zeros::<f64>([2, 3]), session.zeros::<f64>([4]));
    let both = ["[2, 3]", "[4]"];
    let mask = session.zeros::<bool>([4]);
    for failed in [
        &a + &b,
        &a - &b,
        &b * &a,
        &a / &b,
        &a % &b,
        a.minimum(&b),
        a.maximum(&b),
        a.pow(&b),
        a.floor_divide(&b),
        a.arctan2(&b),
        a.hypot(&b),
        a.clip(&b, 1.0),
        where_(&mask, &a, 0.0),
        where_(&mask, &b, &a),
        -(&a + &b),
        (&a + &b).exp() * 2.0 + &a,
        1.0 - (&a + &b),
        (&a + &b).t(),
        (&a + &b).ravel().expand_dims(3).squeeze(),
        (&a + &b).sum(),
        (&a + &b).mean_axis(1).std(),
        (&a + &b).var_axis(0),
        (&a + &b).cumsum(1).sort(0),
        (&a + &b).astype::<f32>().astype(),
        (&a + &b).sum_axes(&[0, 1]),
        (&a + &b).norm(),
        Array::zeros_like(&(&a + &b)),
    ] {
        fails(failed.check(), &both);
        fails(failed.to_vec(), &both);
        fails(failed.item(), &both);
        fails(failed.compute(), &both);
        assert!(format!("{failed:?}").contains("[2, 3]"), "{failed:?}");
    }
    fails(a.equal(&b).check(), &both);
    fails((a.lt(&b) & a.gt(&b)).check(), &both);
    fails((!a.lt(&b)).any().check(), &both);
    fails((&a + &b).argmin().check(), &both);
    fails((&a + &b).argsort(0).check(), &both);
    fails((&a + &b).count_nonzero().check(), &both);
    fails((&a + &b).is_nan().all_axis(1).check(), &both);
}

#[test]
fn methods_pass_on_what_failed_before() {
    let session = Session::builder().threads(2).build().unwrap();
    let (a, b) = (session.zeros::<f64>([2, 3]), session.zeros::<f64>([4]));
    let failed = &a + &b;
    let both = ["[2, 3]", "[4]"];
    fails(failed.slice("0"), &both);
    fails(failed.transpose(&[1, 0]), &both);
    fails(failed.swap_axes(0, 1), &both);
    fails(failed.broadcast_to([2, 3]), &both);
    fails(failed.reshape([6]), &both);
    fails(failed.diag(), &both);
    fails(failed.flip(0), &both);
    fails(failed.take(&session.zeros::<i64>([1]), 0), &both);
    fails(failed.compress(&failed.gt(0.0)), &both);
    fails(a.compress(&failed.gt(0.0)), &both);
    fails(failed.dot(&a), &both);
    fails(a.dot(&failed), &both);
    fails(failed.matmul(&a), &both);
    fails(failed.outer(&a), &both);
    fails(einsum("ij,ij->", [&a, &failed]), &both);
    fails(concatenate([&a, &failed], 0), &both);
    fails(stack([&failed, &a], 0), &both);
    fails(failed.clone().set("0", 1.0), &both);
    fails(a.clone().set("0", &failed), &both);
    fails(failed.explain(), &both);
    fails(failed.to_dataframe(["i", "j"], "v"), &both);
    fails(session.register_array("t", &failed, ["i", "j"], "v"), &both);
    fails(failed.save_npy("/nowhere/x.npy"), &both);
    fails(compute_all([&a, &failed]), &both);
}

#[test]
fn methods_name_what_does_not_fit() {
    let session = Session::builder().threads(2).build().unwrap();
    let a = session.arange(0.0, 6.0, 1.0).reshape([2, 3]).unwrap();
    let b = session.zeros::<f64>([4]);
    fails(a.dot(&b), &["dot", "[2, 3]", "[4]"]);
    fails(b.dot(&session.zeros([3])), &["dot", "[4]", "[3]"]);
    fails(a.dot(&a), &["dot", "[2, 3]"]);
    fails(a.matmul(&b), &["[2, 3]", "[4]"]);
    fails(session.zeros::<f64>([5, 2, 3]).matmul(&session.zeros([4, 3, 2])), &["[5]", "[4]"]);
    fails(session.zeros::<f64>([5, 2, 3]).matmul(&session.zeros([5, 4, 2])), &["matmul", "[5, 2, 3]", "[5, 4, 2]"]);
    fails(session.zeros::<f64>([]).matmul(&a), &["[]", "[2, 3]"]);
    fails(einsum("ij,jk->ik", [&a, &a]), &["einsum", "`j`", "[2, 3]"]);
    fails(einsum("ij->i", [&a, &a]), &["1 operands", "2 arrays"]);
    fails(einsum("ij,jk->iz", [&a, &a]), &["`z`"]);
    fails(concatenate([&a, &b], 0), &["[2, 3]", "[4]"]);
    fails(concatenate([&a, &session.zeros([2, 4])], 0), &["[2, 3]", "[2, 4]", "axis 0"]);
    fails(concatenate([&a], 2), &["[2, 3]", "axis 2"]);
    fails(stack([&a, &session.zeros([3, 2])], 0), &["3, 2"]);
    fails(concatenate::<f64>([], 0), &["no arrays"]);
    fails(a.reshape([4]), &["[2, 3]", "[4]"]);
    fails(a.broadcast_to([3, 3]), &["[2, 3]", "[3, 3]"]);
    fails(a.broadcast_to([3]), &["[2, 3]", "[3]"]);
    fails(a.transpose(&[0, 0]), &["[0, 0]", "[2, 3]"]);
    fails(a.transpose(&[0]), &["[0]", "[2, 3]"]);
    fails(a.transpose(&[0, 2]), &["axis 2", "[2, 3]"]);
    fails(a.flip(-3), &["axis -3", "[2, 3]"]);
    fails(a.slice("2"), &["index 2", "axis 0", "[2, 3]"]);
    fails(a.slice("0, -4"), &["index -4", "axis 1", "[2, 3]"]);
    fails(a.slice("0, 0, 0"), &["3 parts", "[2, 3]"]);
    fails(a.slice("..., ..."), &["...", "[2, 3]"]);
    fails(a.slice("::0"), &["0"]);
    fails(a.slice("1:x"), &["1:x"]);
    fails(a.slice("0,,1"), &["0,,1"]);
    fails(a.slice("1:2:3:4"), &["colons"]);
    fails(a.slice("1.5"), &["1.5"]);
    fails(a.clone().set("0", &b), &["[4]", "[3]"]);
    fails(a.clone().set("0", &a), &["[2, 3]", "[3]"]);
    fails(a.clone().set("9", 1.0), &["index 9", "[2, 3]"]);
    fails(a.compress(&session.zeros::<bool>([3])), &["[3]", "[2, 3]"]);
    fails(a.take(&session.zeros::<i64>([1, 1]), 0), &["[1, 1]"]);
    fails(a.take(&session.zeros::<i64>([1]), 5), &["axis 5", "[2, 3]"]);
    fails(a.item(), &["[2, 3]"]);
    fails(a.sum_axis(2).check(), &["axis 2", "[2, 3]"]);
    fails(a.mean_axis(-3).check(), &["axis -3", "[2, 3]"]);
    fails(a.std_axis(7).check(), &["axis 7", "[2, 3]"]);
    fails(a.sort(2).check(), &["axis 2", "[2, 3]"]);
    fails(a.expand_dims(4).check(), &["axis 4"]);
    fails(a.sum_axes(&[0, -2]).check(), &["[0, -2]"]);
    fails(session.zeros::<f64>([0, 3]).min().check(), &["minimum", "[0, 3]"]);
    fails(session.zeros::<f64>([0, 3]).argmax_axis(0).check(), &["argmax", "[0, 3]"]);
    fails(session.zeros::<f64>([2, 3, 4]).diag(), &["[2, 3, 4]"]);
    fails(session.array(vec![1.0, 2.0], [3]), &["2 elements", "[3]"]);
    fails(session.arange(0.0, 1.0, 0.0).check(), &["steps of 0"]);
    fails(session.arange(0, 1, 0).check(), &["steps of 0"]);
    fails(session.zeros::<f64>([1 << 40, 1 << 40]).check(), &["too large"]);
    fails(session.random_integers([2], 3, 3, 1).check(), &["from 3"]);
    let other = Session::builder().threads(2).build().unwrap();
    fails((&a + other.zeros::<f64>([2, 3])).check(), &["two sessions"]);
}

#[test]
fn mistakes_in_elements_end_the_action_on_every_rank() {
    for session in [Session::builder().threads(2).build().unwrap(), cut_over(3, 1)] {
        let a = session.arange(0_i64, 9000, 1).reshape([9000]).unwrap();
        for index in [9000, -9001, i64::MAX] {
            let index = session.array(vec![0, index], [2]).unwrap();
            let taken = a.take(&index, 0).unwrap();
            fails(taken.to_vec(), &["9000"]);
            fails((&taken * 2).sum().item(), &["9000"]);
        }
        // The session goes on.
        assert_eq!(a.sum().item().unwrap(), 9000 * 8999 / 2);

        let wide = session.full([3, 5000], 1_i64 << 40);
        let overflow = wide.dot(&session.full([5000, 2], 1_i64 << 40)).unwrap().to_vec().unwrap_err();
        assert!(overflow.message().contains("overflow") || overflow.message().contains("fit"), "{overflow}");
        assert_eq!(wide.max().item().unwrap(), 1 << 40);
    }
}

#[test]
fn integers_do_what_numpy_refuses() {
    let session = Session::builder().threads(2).build().unwrap();
    let a = session.array(vec![0, 1, -1, -1, 2, -7], [6]).unwrap();
    let exponents = session.array(vec![-1, -5, -3, -4, -1, -2], [6]).unwrap();
    assert_eq!(a.pow(&exponents).to_vec().unwrap(), [0, 1, -1, 1, 0, 0]);
    // Casts of what does not fit: the nearest that does; NaN is 0.
    let far =
        session.array(vec![1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 2_147_483_648.0], [6]).unwrap();
    assert_eq!(far.astype::<i32>().to_vec().unwrap(), [i32::MAX, i32::MIN, i32::MAX, i32::MIN, 0, i32::MAX]);
    assert_eq!(far.astype::<i64>().to_vec().unwrap(), [i64::MAX, i64::MIN, i64::MAX, i64::MIN, 0, 1 << 31]);
    assert_eq!(
        far.astype::<f32>().astype::<i64>().to_vec().unwrap(),
        [i64::MAX, i64::MIN, i64::MAX, i64::MIN, 0, 1 << 31]
    );
    assert!(session.zeros::<f64>([0]).mean().item().unwrap().is_nan(), "the mean of nothing");
}
