//! Products in einsum notation.

use bireme_engine::error::ErrorKind;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// In what form a sparse operand is given.
#[derive(Clone, Copy, Debug)]
enum Form {
    Dense,
    Coordinates,
    /// A matrix by rows, if it is one.
    Csr,
    /// A tree whose axes are turned by so many.
    Csf(usize),
}

enum Made<T> {
    Dense(Vec<T>, Vec<usize>, Vec<isize>, usize),
    Coordinates(Coordinates<T>),
    Csr(Csr<T>),
    Csf(Csf<T>),
}

impl<T: Tested> Made<T> {
    fn new(shape: &[usize], form: Form, pattern: Pattern, dice: &mut Dice) -> Self {
        if let Form::Dense = form {
            let (mut strides, mut offset, mut stride) = (vec![0; shape.len()], 0, 1_isize);
            let turn = dice.roll(shape.len().max(1));
            for at in 0..shape.len() {
                // Axes in some order, with gaps, some backwards.
                let axis = (at + turn) % shape.len();
                stride += dice.roll(2) as isize;
                let back = dice.roll(4) == 0;
                let reach = stride * (shape[axis].max(1) as isize - 1);
                strides[axis] = if back { -stride } else { stride };
                offset += if back { reach as usize } else { 0 };
                stride += reach;
            }
            return Made::Dense(dense(&[stride as usize], dice), shape.to_vec(), strides, offset);
        }
        let elements: usize = shape.iter().product();
        let tensor = tensor(shape, pattern, elements / 2, dice);
        match form {
            Form::Csr if shape.len() == 2 => Made::Csr(Csr::new(tensor).unwrap()),
            Form::Csf(turn) if !shape.is_empty() => {
                let order: Vec<usize> = (0..shape.len()).map(|level| (level + turn) % shape.len()).collect();
                Made::Csf(Csf::new(&tensor, &order).unwrap())
            }
            _ => Made::Coordinates(tensor),
        }
    }

    fn operand(&self) -> Operand<'_, T> {
        match self {
            Made::Dense(data, shape, strides, offset) => View::new(data, shape, strides, *offset).unwrap().into(),
            Made::Coordinates(tensor) => tensor.into(),
            Made::Csr(matrix) => matrix.into(),
            Made::Csf(tree) => tree.into(),
        }
    }

    fn elements(&self) -> Option<Vec<T>> {
        match self {
            Made::Dense(..) => None,
            Made::Coordinates(tensor) => Some(tensor.to_dense().unwrap()),
            Made::Csr(matrix) => Some(matrix.clone().into_coordinates().unwrap().to_dense().unwrap()),
            Made::Csf(tree) => Some(tree.to_coordinates().unwrap().to_dense().unwrap()),
        }
    }
}

fn check<T: Tested>(text: &str, extents: &[(char, usize)], forms: &[Form], pattern: Pattern, seed: u64)
where
    <T as Exact>::Sum: PartialEq,
{
    let einsum = Einsum::parse(text).unwrap();
    let of = |letter: &char| extents.iter().find(|one| one.0 == *letter).unwrap().1;
    let dice = &mut Dice(seed);
    let shapes: Vec<Vec<usize>> = einsum.operands().iter().map(|letters| letters.iter().map(of).collect()).collect();
    let made: Vec<Made<T>> =
        shapes.iter().zip(forms).map(|(shape, &form)| Made::new(shape, form, pattern, dice)).collect();
    let operands: Vec<Operand<'_, T>> = made.iter().map(Made::operand).collect();
    let elements: Vec<Option<Vec<T>>> = made.iter().map(Made::elements).collect();
    let views: Vec<View<'_, T>> = operands
        .iter()
        .zip(&elements)
        .zip(&shapes)
        .map(|((operand, elements), shape)| match (operand, elements) {
            (_, Some(elements)) => View::contiguous(elements, shape).unwrap(),
            (Operand::Dense(view), None) => view.clone(),
            _ => panic!("a sparse operand has elements"),
        })
        .collect();
    let expected: Vec<T> = reference::contract(&einsum, &views).into_iter().map(T::narrow).collect();
    let told = format!("{text} {extents:?} {forms:?} {pattern:?} seed {seed}");
    let sparse: Vec<bool> = forms.iter().map(|form| !matches!(form, Form::Dense)).collect();
    let result = contract_sparse(&einsum, &operands).unwrap_or_else(|error| panic!("{told}: {error}"));
    let (shape, result) = match result {
        Output::Dense(shape, elements) => {
            assert!(!is_sparse(&einsum, &sparse), "{told}");
            (shape, elements)
        }
        Output::Sparse(tensor) => {
            assert!(is_sparse(&einsum, &sparse), "{told}");
            (tensor.shape().to_vec(), tensor.to_dense().unwrap())
        }
    };
    assert_eq!(shape, einsum.output().iter().map(of).collect::<Vec<_>>(), "{told}");
    assert!(result == expected, "{told}: {result:?} instead of {expected:?}");
}

const FORMS: [Form; 4] = [Form::Coordinates, Form::Csr, Form::Csf(0), Form::Csf(1)];

#[test]
fn products_of_one_sparse_operand() {
    let sizes = [('a', 4), ('b', 6), ('c', 5), ('i', 17), ('j', 13), ('k', 19), ('l', 7), ('r', 3)];
    for text in [
        "ij,j->i",
        "ij,i->j",
        "ij,jk->ik",
        "ji,jk->ik",
        "ij,kj->ik",
        "ij,jk->ki",
        "ij,ij->ij",
        "ij,ij->",
        "ij,ij->i",
        "ij,ji->ij",
        "ij,j->ij",
        "ij,j->ji",
        "ij,->ij",
        "ij,->",
        "abk,kc->abc",
        "abk,kc->cab",
        "kab,ck->bca",
        "bij,bjk->bik",
        "bij,bjk->ikb",
        "ij,kl->ikjl",
        "ij,k->ijk",
        "ijk,jk->i",
        "ijk,kj->i",
        "ijk,j->ik",
        "ii,i->i",
        "ii,ij->j",
        "iij,jk->ik",
        "ijk,kjl->il",
        "ij,jkl->ik",
        "ij,jj->i",
        "i,i->",
        "i,j->ij",
        ",ij->ij",
        ",i->",
        "ij,k->i",
        "ij,kk->ij",
        "abc,abcr->r",
    ] {
        for pattern in PATTERNS {
            for form in FORMS {
                check::<f64>(text, &sizes, &[form, Form::Dense], pattern, 1);
                check::<i64>(text, &sizes, &[form, Form::Dense], pattern, 2);
                let (operands, output) = text.split_once("->").unwrap();
                let (one, other) = operands.split_once(',').unwrap();
                check::<f32>(&format!("{other},{one}->{output}"), &sizes, &[Form::Dense, form], pattern, 3);
            }
        }
    }
    for text in
        ["ij->ji", "ij->i", "ij->j", "ij->", "ii->i", "ii->", "ijk->kij", "ijk->ki", "ijk->j", "ijj->ji", "->", "i->i"]
    {
        for pattern in PATTERNS {
            for form in FORMS {
                check::<i32>(text, &sizes, &[form], pattern, 4);
            }
        }
    }
}

#[test]
fn products_of_two_sparse_operands() {
    let sizes = [('a', 4), ('b', 6), ('c', 5), ('i', 17), ('j', 13), ('k', 19), ('l', 7)];
    for text in [
        "ij,jk->ik",
        "ji,jk->ik",
        "ij,kj->ik",
        "ij,jk->ki",
        "ij,ij->ij",
        "ij,ji->ij",
        "ij,ij->",
        "ij,ij->i",
        "ij,j->i",
        "ij,j->ij",
        "ij,i->ji",
        "bij,bjk->bik",
        "bij,bjk->ikb",
        "ibj,jkb->kbi",
        "ijk,kjl->li",
        "ij,kl->ikjl",
        "ij,k->i",
        "ij,k->",
        "ii,ij->j",
        "i,i->",
        "i,j->ji",
        ",ij->ij",
        ",->",
        "ijk,jkl->il",
        "abc,cab->bac",
    ] {
        for pattern in PATTERNS {
            for (left, right) in [(0, 0), (1, 1), (2, 3), (3, 0)] {
                check::<f64>(text, &sizes, &[FORMS[left], FORMS[right]], pattern, 5);
                check::<i32>(text, &sizes, &[FORMS[left], FORMS[right]], pattern, 6);
            }
        }
    }
}

#[test]
fn products_with_several_dense_operands() {
    let sizes = [('b', 3), ('i', 9), ('j', 8), ('k', 7), ('l', 4), ('r', 5)];
    for text in [
        "ijk,jr,kr->ir",
        "ijk,ir,kr->jr",
        "ijk,ri,jr->kr",
        "ijk,jr,kr->ri",
        "ijkl,jr,kr,lr->ir",
        "ijkl,ir,jr,kr->lr",
        "ijk,kr,jr->ir",
        "ij,ik,kj->ij",
        "ij,ki,kj->ij",
        "ij,ik,jk->ji",
        "bij,bik,bkj->bij",
        "ij,ikl,klj->ij",
        "ij,i,j->ij",
        "ij,k,k->ij",
        "ijk,jr,kl->irl",
        "ijk,jr,kr->r",
        "ijk,jr,kr->ijk",
        "ij,jk,kl->il",
        "ijk,i,j,k->",
        "ij,i,j,ij->ij",
        "ij,ikk,kj->ij",
        "iij,ir,jr->ir",
    ] {
        let operands = text.split(',').count();
        for pattern in PATTERNS {
            for form in FORMS {
                let mut forms = vec![Form::Dense; operands];
                forms[0] = form;
                check::<f64>(text, &sizes, &forms, pattern, 7);
                check::<i64>(text, &sizes, &forms, pattern, 8);
            }
        }
    }
    check::<f64>("jr,ijk,kr->ir", &sizes, &[Form::Dense, Form::Coordinates, Form::Dense], Pattern::Uniform, 9);
    check::<f64>("jr,kr,ijk->ir", &sizes, &[Form::Dense, Form::Dense, Form::Csf(2)], Pattern::Uniform, 9);
}

fn any_form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Coordinates), Just(Form::Csr), (0..4_usize).prop_map(Form::Csf)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, rng_seed: RngSeed::Fixed(23), ..ProptestConfig::default() })]

    #[test]
    fn pairs_are_as_the_obvious_loop_has_them(
        lists in prop::collection::vec(prop::collection::vec(0..6_u8, 0..5), 1..=2), kept: u64,
        sizes in prop::collection::vec(0..100_usize, 6), forms in (any_form(), any_form(), any::<bool>()),
        pattern in 0..PATTERNS.len(), seed: u64,
    ) {
        let letter = |number: u8| char::from(b'a' + number);
        let mut output: Vec<u8> = lists.iter().flatten().copied().collect();
        output.sort_by_key(|number| ((kept >> (8 + 8 * number)) & 0xff, *number));
        output.dedup();
        output.retain(|number| kept >> number & 1 == 1);
        let written: Vec<String> = lists.iter().map(|list| list.iter().copied().map(letter).collect()).collect();
        let output: String = output.into_iter().map(letter).collect();
        let extent = |size: usize| if size < 3 { 0 } else { 1 + size % 5 };
        let extents: Vec<_> = sizes.into_iter().enumerate().map(|(at, size)| (letter(at as u8), extent(size))).collect();
        let forms = [forms.0, if forms.2 { forms.1 } else { Form::Dense }];
        let text = format!("{}->{output}", written.join(","));
        check::<f64>(&text, &extents, &forms[..written.len()], PATTERNS[pattern], seed);
        check::<i64>(&text, &extents, &forms[..written.len()], PATTERNS[pattern], seed);
    }
}

/// Axes that are far longer together than there are entries, or than 32 bits can count.
#[test]
fn hypersparse_operands() {
    let far = 1_u32 << 31;
    let a = Coordinates::new(
        &[1 << 32, 1 << 32, 1 << 32],
        vec![vec![5, far, far], vec![far, 7, 8], vec![1, 2, 3]],
        vec![2_i64, 3, 5],
    );
    let b = Coordinates::new(
        &[1 << 32, 1 << 32, 1 << 32],
        vec![vec![far, 9, 8], vec![1, 2, 3], vec![far, 1, 0]],
        vec![7_i64, 11, 13],
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    let product = contract_sparse(&Einsum::parse("ijk,jkl->il").unwrap(), &[(&a).into(), (&b).into()]).unwrap();
    let expected = Coordinates::new(&[1 << 32, 1 << 32], vec![vec![5, far], vec![far, 0]], vec![14, 65]).unwrap();
    assert_eq!(product, Output::Sparse(expected));
    let square = contract_sparse(&Einsum::parse("ijk,ijk->kij").unwrap(), &[(&a).into(), (&a).into()]).unwrap();
    let expected =
        Coordinates::new(&[1 << 32; 3], vec![vec![1, 2, 3], vec![5, far, far], vec![far, 7, 8]], vec![4, 9, 25]);
    assert_eq!(square, Output::Sparse(expected.unwrap()));
    let dot = contract_sparse(&Einsum::parse("ijk,ijk->").unwrap(), &[(&a).into(), (&a).into()]).unwrap();
    assert_eq!(dot, Output::Dense(vec![], vec![38]));
}

#[test]
fn what_is_not_supported_says_so() {
    let a = tensor::<f64>(&[3, 3], Pattern::Full, 0, &mut Dice(1));
    let three: Vec<Operand<'_, f64>> = vec![(&a).into(), (&a).into(), (&a).into()];
    let failure = contract_sparse(&Einsum::parse("ij,jk,kl->il").unwrap(), &three).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unsupported);
    assert!(failure.message().contains("two by two"), "{failure}");
    let failure = contract_sparse(&Einsum::parse("ij,jk->ik").unwrap(), &three).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::User);
    let wide = tensor::<f64>(&[4, 3], Pattern::Full, 0, &mut Dice(1));
    let failure = contract_sparse(&Einsum::parse("ij,jk->ik").unwrap(), &[(&a).into(), (&wide).into()]).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::User);
    let long = Coordinates::new(&[1 << 32, 1 << 32], vec![vec![1], vec![1]], vec![1.0]).unwrap();
    let failure = contract_sparse(
        &Einsum::parse("ij,k->ijk").unwrap(),
        &[(&long).into(), View::contiguous(&[1.0], &[1]).unwrap().into()],
    );
    assert!(failure.is_err());
}

#[test]
fn integers_do_not_wrap() {
    let of = |values: Vec<i64>| {
        Coordinates::new(&[1, values.len()], vec![vec![0; values.len()], (0..values.len() as u32).collect()], values)
            .unwrap()
    };
    let (a, ones) = (of(vec![i64::MAX, 1, -1]), [1_i64, 1, 1]);
    let einsum = |text: &str, operands: &[Operand<'_, i64>]| contract_sparse(&Einsum::parse(text).unwrap(), operands);
    let vector = |data| Operand::Dense(View::contiguous(data, &[3]).unwrap());
    assert_eq!(einsum("ij,j->i", &[(&a).into(), vector(&ones)]).unwrap(), Output::Dense(vec![1], vec![i64::MAX]));
    for (text, operands) in [
        ("ij,j->i", vec![(&a).into(), vector(&[1, 1, 0])]),
        ("ij,j->ij", vec![(&a).into(), vector(&[2, 1, 0])]),
        ("ij,j,j->ij", vec![(&a).into(), vector(&[2, 1, 0]), vector(&[1, 1, 1])]),
        ("ij,j,j->i", vec![(&a).into(), vector(&[2, 1, 0]), vector(&[1, 1, 1])]),
        ("ij,j,->i", vec![(&a).into(), vector(&[2, 1, 0]), View::contiguous(&[1], &[]).unwrap().into()]),
        ("ij,ij->i", vec![(&a).into(), (&a).into()]),
        ("ij,ij->ij", vec![(&a).into(), (&a).into()]),
    ] {
        let failure = einsum(text, &operands).unwrap_err();
        assert!(failure.kind() == ErrorKind::User && failure.message().contains("overflow"), "{text}: {failure}");
    }
}
