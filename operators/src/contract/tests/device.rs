//! Products on devices, against the same loop over all indices.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::device::Device;

use super::*;
use crate::accelerator::{devices, download};

/// As [`super::check`], on a device; with something to add to if `adds`.
fn check_on<T: Tested>(device: &Device, text: &str, extents: &[(char, usize)], lying: Lying, adds: bool, seed: u64)
where
    T::Sum: PartialEq,
{
    let einsum = Einsum::parse(text).unwrap();
    let of = |letter: &char| extents.iter().find(|one| one.0 == *letter).unwrap().1;
    let dice = &mut Dice(seed);
    let operands = einsum.operands().iter();
    let arrays = operands.map(|letters| Array::new(&letters.iter().map(of).collect::<Vec<_>>(), lying, dice));
    let arrays = arrays.collect::<Vec<Array<T>>>();
    let views = arrays.iter().map(Array::view).collect::<Vec<_>>();
    let product = reference::contract(&einsum, &views);
    let before = product.iter().map(|_| dice.roll(9) as i32 - 4).collect::<Vec<_>>();
    let upload = |values: &[T]| device.upload(Buffer::from_slice_ref(values).as_slice()).unwrap();
    let factors = arrays.iter().zip(&views).map(|(array, view)| Factor::of(Arc::new(upload(&array.data)), view));
    let factors = factors.collect::<Vec<_>>();
    let old = upload(&before.iter().map(|&old| T::small(old)).collect::<Vec<_>>());
    let out = contract_on::<T>(device, &einsum, &factors, adds.then_some(&old)).unwrap().unwrap();
    let out = download::<T>(device, &out, product.len()).unwrap();
    for (place, (&sum, &old)) in product.iter().zip(&before).enumerate() {
        let expected = T::narrow(if adds { sum + T::sum(old) } else { sum });
        assert_eq!(out[place], expected, "{text} {extents:?} {lying:?} adds {adds} seed {seed}, element {place}");
    }
}

fn check_all_on(device: &Device, text: &str, extents: &[(char, usize)]) {
    for (seed, lying) in [Lying::Contiguous, Lying::Permuted, Lying::Strided].into_iter().enumerate() {
        check_on::<f64>(device, text, extents, lying, false, seed as u64);
        check_on::<f32>(device, text, extents, lying, true, seed as u64);
    }
    check_on::<i64>(device, text, extents, Lying::Permuted, true, 5);
    check_on::<i32>(device, text, extents, Lying::Contiguous, false, 6);
}

#[test]
fn products_on_devices_are_as_the_obvious_loop_has_them() {
    for device in devices() {
        let sizes = [('b', 3), ('i', 37), ('j', 41), ('k', 29), ('l', 7)];
        for text in [
            "ij,jk->ik",
            "ji,kj->ki",
            "bij,bjk->bik",
            "ibj,jbk->ikb",
            "ijk,jkl->il",
            "lij,jlk->ik",
            "ijl,jk->kil",
            "ij,kl->ikjl",
            "ij,jk,kl->il",
            "iij,jb->ib",
            "ijk->ki",
        ] {
            check_all_on(&device, text, &sizes);
        }
    }
}

#[test]
fn tiles_and_pieces_of_sums_have_ragged_ends() {
    for device in devices() {
        for (i, j, k) in [(64, 16, 64), (65, 17, 63), (130, 33, 1), (1, 5000, 1), (2, 4097, 3)] {
            check_all_on(&device, "ij,jk->ik", &[('i', i), ('j', j), ('k', k)]);
        }
        for text in ["ij,j->i", "ij,i->j", "ij,ij->", "ij->j", "ij,j->ij"] {
            check_all_on(&device, text, &[('i', 3), ('j', 3000)]);
            check_all_on(&device, text, &[('i', 301), ('j', 33)]);
        }
    }
}

#[test]
fn products_that_are_no_sums_keep_the_sign_of_zero() {
    for device in devices() {
        let values = [-0.0, 0.0, 2.0, -3.0];
        let of = |shape: &[usize]| {
            let memory = Arc::new(device.upload(Buffer::from_slice_ref(values).as_slice()).unwrap());
            Factor::of(memory, &View::contiguous(&values, shape).unwrap())
        };
        for (text, factors) in [
            ("ij->ji", vec![of(&[2, 2])]),
            ("i,i->i", vec![of(&[4]), of(&[4])]),
            ("i,j->ij", vec![of(&[4]), of(&[4])]),
            ("ii->i", vec![of(&[2, 2])]),
        ] {
            let einsum = Einsum::parse(text).unwrap();
            let shapes = factors.iter().map(|factor| factor.shape.clone()).collect::<Vec<_>>();
            let views = shapes.iter().map(|shape| View::contiguous(&values, shape).unwrap()).collect::<Vec<_>>();
            let shapes = shapes.iter().map(Vec::as_slice).collect::<Vec<_>>();
            let elements = einsum.extents(&shapes).unwrap().elements(einsum.output()).unwrap();
            let mut wanted = vec![0.0; elements];
            contract(&einsum, &views, Epilogue::REPLACE, &mut wanted).unwrap();
            let got = contract_on::<f64>(&device, &einsum, &factors, None).unwrap().unwrap();
            let got = download::<f64>(&device, &got, elements).unwrap();
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&wanted), "{text}");
        }
    }
}

#[test]
fn sums_of_integers_that_do_not_fit_are_not_told() {
    for device in devices() {
        let of = |values: Vec<i64>| {
            let shape = [values.len()];
            let memory = Arc::new(device.upload(Buffer::from_slice_ref(&values).as_slice()).unwrap());
            Factor::of(memory, &View::contiguous(&values, &shape).unwrap())
        };
        let dot = |left: Vec<i64>, right: Vec<i64>| {
            let product = contract_on::<i64>(&device, &Einsum::parse("i,i->").unwrap(), &[of(left), of(right)], None);
            product.unwrap().map(|product| download::<i64>(&device, &product, 1).unwrap()[0])
        };
        // On the way it does not fit, in the end it does.
        assert_eq!(dot(vec![i64::MAX, i64::MAX, 3], vec![2, -2, 5]), Some(15));
        assert_eq!(dot(vec![i64::MAX, 1], vec![1, 1]), None);
        assert_eq!(dot(vec![i64::MIN, 1], vec![1, -1]), None);
        assert_eq!(dot(vec![i64::MIN; 3000], vec![i64::MIN; 3000]), None);
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn any_products_on_devices(
        (text, extents) in any_contraction(1..=3), lying in any_lying(), adds: bool, seed: u64,
    ) {
        let extents = extents.into_iter().map(|(letter, extent)| (letter, extent.max(1))).collect::<Vec<_>>();
        for device in devices() {
            check_on::<f64>(&device, &text, &extents, lying, adds, seed);
            check_on::<i32>(&device, &text, &extents, lying, adds, seed);
        }
    }
}
