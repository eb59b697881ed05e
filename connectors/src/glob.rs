//! Patterns of file names: `*`, `?`, `[a-z]`, `[!a-z]` inside a name, and `**` for any number of directories.

/// Whether a text holds a pattern at all.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether one name matches one pattern without `/`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    matches_chars(&pattern, &name)
}

/// Whether the parts of a path match the segments of a pattern.
pub(crate) fn matches_path(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), None) => matches_path(rest, parts),
        (Some((&"**", rest)), Some((_, later))) => {
            rest.is_empty() || matches_path(rest, parts) || matches_path(pattern, later)
        }
        (Some((segment, rest)), Some((part, later))) => matches(segment, part) && matches_path(rest, later),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Two fingers and one way back to the last `*`: linear but for patterns of many stars.
fn matches_chars(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some('[') => {
                if let Some((length, true)) = class(&pattern[at..], name[seen]) {
                    at += length;
                    seen += 1;
                    continue;
                }
            }
            Some(&wanted) if wanted == '?' || wanted == name[seen] => {
                at += 1;
                seen += 1;
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = star else { return false };
        (at, seen, star) = (after, from + 1, Some((after, from + 1)));
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

/// The length of the class `[…]` that `pattern` starts with, and whether `letter` is in it.
fn class(pattern: &[char], letter: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let start = if negated { 2 } else { 1 };
    // A `]` right at the start is a letter like any other.
    let end = (start + 1..pattern.len()).find(|&place| pattern[place] == ']')?;
    let mut place = start;
    let mut inside = false;
    while place < end {
        if place + 2 < end && pattern[place + 1] == '-' {
            inside |= (pattern[place]..=pattern[place + 2]).contains(&letter);
            place += 3;
        } else {
            inside |= pattern[place] == letter;
            place += 1;
        }
    }
    Some((end + 1, inside != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, wanted) in [
            ("*.csv", "a.csv", true),
            ("*.csv", ".csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]y", "]y", true),
            ("part-[0-9][0-9]", "part-07", true),
            ("", "", true),
            ("**", "abc", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} on {name}");
        }
    }

    #[test]
    fn paths() {
        assert!(matches_path(&["**", "*.csv"], &["a", "b", "c.csv"]));
        assert!(matches_path(&["**", "*.csv"], &["c.csv"]));
        assert!(matches_path(&["a", "**"], &["a", "b"]));
        assert!(!matches_path(&["*", "*.csv"], &["c.csv"]));
    }
}
