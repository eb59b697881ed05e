//! What the notation means, and what it says about mistakes.

use super::*;

#[test]
fn texts_are_read_as_numpy_reads_them() {
    for (text, canonical) in [
        ("ij,jk->ik", "ij,jk->ik"),
        (" i j , j k -> i k ", "ij,jk->ik"),
        ("ij,jk", "ij,jk->ik"),
        ("ba", "ba->ab"),
        ("ii", "ii->"),
        ("ii->i", "ii->i"),
        ("i,i", "i,i->"),
        ("bA,AC", "bA,AC->Cb"),
        ("", "->"),
        (",i->i", ",i->i"),
        ("->", "->"),
        ("ij,jk,kl", "ij,jk,kl->il"),
        ("ijj,k", "ijj,k->ik"),
    ] {
        assert_eq!(Einsum::parse(text).unwrap().to_string(), canonical, "{text}");
    }
}

#[test]
fn mistakes_are_shown_where_they_are() {
    for (text, message) in [
        ("ij,j2->i", "einsum \"ij,j2->i\", character 5: `2` is no index: use a letter, a to z or A to Z"),
        ("ij->ik", "einsum \"ij->ik\", character 6: index `k` of the output is in no operand"),
        ("ij->ii", "einsum \"ij->ii\", character 6: index `i` stands twice in the output"),
        ("i->i->i", "einsum \"i->i->i\", character 5: a second `->`"),
        ("i->i,i", "einsum \"i->i,i\", character 5: a comma after `->`: there is one output"),
        ("i-j", "einsum \"i-j\", character 2: `-` is no index: use a letter, a to z or A to Z"),
        ("...i", "einsum \"...i\", character 1: an ellipsis is not supported: name every axis with a letter"),
    ] {
        assert_eq!(Einsum::parse(text).unwrap_err().message(), message);
    }
}

#[test]
fn extents_that_differ_name_both_shapes() {
    let product = Einsum::parse("ij,jk").unwrap();
    for (shapes, message) in [
        (
            vec![&[2, 3][..], &[4, 5]],
            "einsum \"ij,jk->ik\": index `j` is 3 along axis 1 of operand 1 (shape [2, 3]), but 4 along axis 0 of operand 2 \
             (shape [4, 5]); extents must be equal, 1 is not stretched",
        ),
        (
            vec![&[2, 1][..], &[4, 5]],
            "einsum \"ij,jk->ik\": index `j` is 1 along axis 1 of operand 1 (shape [2, 1]), but 4 along axis 0 of operand 2 \
             (shape [4, 5]); extents must be equal, 1 is not stretched",
        ),
        (
            vec![&[2, 3, 4][..], &[4, 5]],
            "einsum \"ij,jk->ik\": operand 1 is written \"ij\", with 2 axes, but its shape [2, 3, 4] has 3",
        ),
        (vec![&[2, 3][..]], "einsum \"ij,jk->ik\" has 2 operands, but 1 arrays were given"),
    ] {
        assert_eq!(product.extents(&shapes).unwrap_err().message(), message);
    }
    assert!(Einsum::parse("ii->").unwrap().extents(&[&[3, 4]]).is_err());
}

#[test]
fn letters_can_be_given() {
    let made = Einsum::new(vec![vec!['i', 'j'], vec![]], vec!['j']).unwrap();
    assert_eq!(made, Einsum::parse("ij,->j").unwrap());
    for (operands, output) in
        [(vec![vec!['i']], vec!['j']), (vec![], vec![]), (vec![vec![' ']], vec![]), (vec![vec!['ä']], vec![])]
    {
        assert!(Einsum::new(operands, output).is_err());
    }
}

#[test]
fn arrays_too_large_to_count_are_errors() {
    let outer = Einsum::parse("i,j,k->ijk").unwrap();
    let extents = outer.extents(&[&[1 << 30], &[1 << 30], &[1 << 30]]).unwrap();
    assert!(extents.elements(outer.output()).is_err());
    assert_eq!(extents.elements(&['i', 'j']).unwrap(), 1 << 60);
}
