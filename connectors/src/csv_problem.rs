//! What the CSV decoder's messages say.

/// What an Arrow CSV message says, with the number of the record (from 1) taken out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CsvProblem {
    pub(crate) ordinal: u64,
    pub(crate) what: String,
}

impl CsvProblem {
    pub(crate) fn parse(message: &str) -> Option<Self> {
        if let Some(rest) = message.strip_prefix("incorrect number of fields for line ") {
            let (ordinal, rest) = number(rest)?;
            let (expected, rest) = number(rest.strip_prefix(", expected ")?)?;
            let found = rest.strip_prefix(" got ")?;
            return Some(Self { ordinal, what: format!("{found} fields instead of {expected}") });
        }
        if let Some(rest) = message.strip_prefix("Encountered invalid UTF-8 data for line ") {
            let (ordinal, rest) = number(rest)?;
            let (field, _) = number(rest.strip_prefix(" and field ")?)?;
            return Some(Self { ordinal, what: format!("field {field} is not UTF-8") });
        }
        // `… for column 1 at line 4. Row data: '[…]'` and `Error parsing column 1 at line 4: …` count from 0.
        let (before, after) = message.split_once(" at line ")?;
        let (from_zero, rest) = number(after)?;
        let what = match before.strip_prefix("Error while parsing value ") {
            Some(value) => format!("cannot read {value}"),
            None => format!("{before}{rest}"),
        };
        Some(Self { ordinal: from_zero + 1, what })
    }
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_messages() {
        let parse = |message| CsvProblem::parse(message).map(|problem| (problem.ordinal, problem.what));
        let ragged = "incorrect number of fields for line 12, expected 3 got 2";
        assert_eq!(parse(ragged), Some((12, "2 fields instead of 3".into())));
        let long = "incorrect number of fields for line 1, expected 3 got more than 3";
        assert_eq!(parse(long), Some((1, "more than 3 fields instead of 3".into())));
        let value = "Error while parsing value '4.x4' as type 'Float32' for column 1 at line 4. Row data: '[4,4.x4]'";
        assert_eq!(parse(value), Some((5, "cannot read '4.x4' as type 'Float32' for column 1".into())));
        assert_eq!(parse("something new"), None);
    }
}
