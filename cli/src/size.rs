//! Amounts of memory as people write them: `1GiB`, `512 MiB`, `2.5GB`, `1000000`.

/// Units, longest first, so that `MiB` is not read as `B`.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// Reads a number of bytes. Upper and lower case mean the same; without a unit it is bytes.
///
/// # Errors
/// It is not a positive number with one of the units, or it does not fit into 64 bits.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, bytes)| lower.strip_suffix(name).map(|number| (number.trim_end(), *bytes)))
        .unwrap_or((lower.as_str(), 1));
    let refuse = || format!("`{text}` is not an amount of memory; write for example 512MiB, 1.5GiB, 2GB or 1000000");
    let digits_only = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !digits_only {
        return Err(refuse());
    }
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| refuse())? * unit as f64;
            (bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    };
    match bytes {
        None => Err(format!("`{text}` is more than 64 bits can count")),
        Some(0) => Err(format!("`{text}` is no memory at all; leave the option out for no limit")),
        Some(bytes) => Ok(bytes),
    }
}

/// Writes a number of bytes for people: `1.8 MiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let (mut amount, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        let check = |text: &str, bytes: u64| assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        check("1", 1);
        check("1000000", 1_000_000);
        check("7B", 7);
        check("1KiB", 1 << 10);
        check("64KiB", 64 << 10);
        check("512 MiB", 512 << 20);
        check("1GiB", 1 << 30);
        check("1gib", 1 << 30);
        check("1.5GiB", 3 << 29);
        check(" 2GB ", 2_000_000_000);
        check("3mb", 3_000_000);
        check("10KB", 10_000);
        check("2TiB", 2 << 40);
    }

    #[test]
    fn sizes_that_are_none() {
        for text in
            ["", "GiB", "-1GiB", "1 GiBB", "one", "1e3", "1..5GB", "inf", "nan", "0", "0.1", "0GiB", "99999999999TiB"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(show_bytes(0), "0 B");
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(5 << 40), "5.0 TiB");
        assert_eq!(show_bytes(5000 << 40), "5000.0 TiB");
    }
}
