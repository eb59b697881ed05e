//! The nearest name, for "not found" messages.

/// The candidate most like `name`, if one is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| {
        let score = strsim::jaro_winkler(&lower, &candidate.to_lowercase());
        (candidate, score)
    });
    let best = scored.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    // Below this, the names share little more than a few letters.
    (best.1 > 0.75).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_typo_and_nothing_else() {
        let columns = ["l_orderkey", "l_shipdate", "l_comment"];
        assert_eq!(nearest("l_shpdate", columns), Some("l_shipdate"));
        assert_eq!(nearest("L_COMENT", columns), Some("l_comment"));
        assert_eq!(nearest("zzz", columns), None);
        assert_eq!(nearest("x", []), None);
    }
}
