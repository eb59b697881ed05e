//! Orders of products against all orders there are.

use super::*;

/// The fewest multiplications of any order: every pair first, again and again.
fn fewest(operands: &[Vec<char>], output: &[char], extents: &Extents) -> f64 {
    if operands.len() < 2 {
        return 0.0;
    }
    let mut fewest = f64::INFINITY;
    for left in 0..operands.len() {
        for right in left + 1..operands.len() {
            let others: Vec<Vec<char>> = operands
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != left && *at != right)
                .map(|(_, list)| list.clone())
                .collect();
            let needed = |letter: &char| output.contains(letter) || others.iter().any(|list| list.contains(letter));
            let mut all = Vec::new();
            for (own, other) in [(left, right), (right, left)] {
                // What neither the other nor anybody else has is summed beforehand.
                let has = |letter: &&char| operands[other].contains(letter) || needed(letter);
                all.extend(operands[own].iter().filter(has).copied());
            }
            all.sort_unstable();
            all.dedup();
            let cost: f64 = all.iter().map(|&letter| extents.of(letter) as f64).product();
            let mut rest = others.clone();
            rest.push(all.into_iter().filter(needed).collect());
            fewest = fewest.min(cost + self::fewest(&rest, output, extents));
        }
    }
    fewest
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn no_order_costs_less((text, extents) in any_contraction(2..=5)) {
        let einsum = Einsum::parse(&text).unwrap();
        let of = |letter: &char| extents.iter().find(|one| one.0 == *letter).unwrap().1;
        let shapes: Vec<Vec<usize>> = einsum.operands().iter().map(|letters| letters.iter().map(of).collect()).collect();
        let extents = einsum.extents(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        let found = order(&einsum, &extents).unwrap();
        prop_assert_eq!(found.steps.len() + 1, einsum.operands().len());
        prop_assert_eq!(found.multiplications, fewest(einsum.operands(), einsum.output(), &extents), "{}", text);
    }
}

#[test]
fn a_chain_is_multiplied_from_its_narrow_end() {
    let chain = Einsum::parse("ab,bc,cd,de->ae").unwrap();
    let extents = chain.extents(&[&[30, 35], &[35, 15], &[15, 5], &[5, 10]]).unwrap();
    let found = order(&chain, &extents).unwrap();
    let texts: Vec<String> = found.steps.iter().map(|step| step.einsum.to_string()).collect();
    assert_eq!(texts, ["bc,cd->bd", "ab,bd->ad", "de,ad->ae"].map(String::from).to_vec().as_slice());
}

#[test]
fn beyond_what_is_exact_chains_are_still_cheap() {
    // 20 matrices of 8 × 8: 19 products of 512 multiplications, in whatever order, if no outer product is among them.
    let letters: Vec<char> = ('a'..='u').collect();
    let operands: Vec<Vec<char>> = letters.windows(2).map(<[char]>::to_vec).collect();
    let chain = Einsum::new(operands, vec!['a', 'u']).unwrap();
    let extents = chain.extents(&vec![&[8, 8][..]; 20]).unwrap();
    let found = order(&chain, &extents).unwrap();
    assert_eq!((found.steps.len(), found.multiplications, found.largest), (19, 19.0 * 512.0, 64.0));
    check::<f64>(
        &chain.to_string(),
        &letters[..2].iter().chain(&letters[2..]).map(|&letter| (letter, 1)).collect::<Vec<_>>(),
        Lying::Contiguous,
        (1, 0),
        1,
    );
}

#[test]
fn what_overflows_every_number_has_an_order() {
    let large = Einsum::parse("ab,cd,ef,gh,ij,kl->").unwrap();
    let extents = large.extents(&[&[usize::MAX, usize::MAX][..]; 6]).unwrap();
    assert_eq!(order(&large, &extents).unwrap().steps.len(), 5);
}
