//! Sizes as they are written: a number and a unit of 1024.

/// Bytes of a size as written; units of 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The size that another spelling of a unit most likely means: `2GB`, `64k`, `1Gi`.
pub(super) fn size_meant(text: &str) -> Option<String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_uppercase();
    let rest = unit.strip_prefix(['K', 'M', 'G', 'T'])?;
    let prefix = unit.strip_suffix(rest)?;
    ["", "B", "I", "IB"].contains(&rest).then(|| format!("{number}{prefix}iB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_of_1024_and_other_spellings_are_understood() {
        for (text, bytes) in [("64KiB", 64 << 10), ("3MiB", 3 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "-1KiB", "1.5MiB", "99999999999999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        for (text, meant) in [("2GB", "2GiB"), ("64k", "64KiB"), ("1Gi", "1GiB")] {
            assert_eq!(size_meant(text).as_deref(), Some(meant), "{text}");
        }
    }
}
